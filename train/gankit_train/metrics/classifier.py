"""A small classifier of the data's labels, which recognises what generated images show."""

import hashlib
import json
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, pad

from gankit._files import atomic_write
from gankit_train.compute.devices import pick_precision
from gankit_train.compute.files import load_tensors
from gankit_train.compute.rng import seeded_initialisation
from gankit_train.data import Dataset
from gankit_train.data.cache import cache_folder
from gankit_train.metrics.pca import Images, Rows, chunks, downscale

Progress = Callable[[str, int, int], None]  # called with the name of a task, the finished images and all images

FEATURES = 64  # units of the second-to-last layer, whose activations are the features
MIN_IMAGES = 60  # that training a classifier needs
_VERSION = 1  # raised whenever the same data would train another classifier
_FILTERS, _BATCH, _LEARNING_RATE, _MAX_SHIFT = 16, 128, 4e-3, 2
_EPOCHS, _MAX_TRAINED = 20, 300_000  # images at most


@dataclass(frozen=True)
class Head:
    """One output of the classifier: which label of an exclusive group an image has, or whether it has a label."""

    columns: tuple[int, ...]  # of the label vectors; a single column is a yes-or-no head

    @property
    def answers(self) -> int:
        """Number of possible answers."""
        return max(2, len(self.columns))

    def decode(self, vectors: NDArray[Any]) -> NDArray[np.int64]:
        """Reads the answers from label vectors or probabilities [n, k]: [n]."""
        part = vectors[:, self.columns]
        answers: NDArray[np.int64] = part.argmax(1) if len(self.columns) > 1 else (part[:, 0] > 0.5).astype(np.int64)
        return answers


def label_heads(data: Dataset) -> tuple[Head, ...]:
    """Returns a head for each group of labels if every image has exactly one of them, and for each other label."""
    groups = [g for g in (data.labels.exclusive if data.labels else ()) if (data.vectors[:, g].sum(1) == 1).all()]
    grouped = {column for group in groups for column in group}
    return tuple(map(Head, [*groups, *((i,) for i in range(len(data.label_names)) if i not in grouped)]))


@dataclass
class Classifier:
    """A trained classifier of a data set's labels."""

    network: nn.Sequential  # `body` computes features, `last` logits from them
    heads: tuple[Head, ...]
    held_out: Rows  # indices of the images that it was not trained on
    accuracy: float  # share of correct answers on those
    stacked: bool  # whether each channel is classified by itself, see `Dataset.stacked`

    @property
    def network_heads(self) -> tuple[Head, ...]:
        """Heads of the network itself: those of one channel if the channels are classified separately."""
        return self.heads[:1] if self.stacked else self.heads

    def predict(self, images: Images) -> tuple[NDArray[np.float32], Tensor]:
        """Returns probabilities of the labels [n, k] and features float32 [n, f] of images uint8 [n, h, w, c]."""
        outputs: list[tuple[Tensor, Tensor]] = []
        body, last = self.network.eval()
        device = next(last.parameters()).device
        n, h, w, c = images.shape
        apart = np.ascontiguousarray(np.moveaxis(images, 3, 1)).reshape(n * c, h, w, 1) if self.stacked else images
        with torch.no_grad():
            for part in chunks(apart):
                features = body(_input(part).to(device))
                outputs.append((last(features).cpu(), features.cpu()))
        logits, features = (torch.cat(each).reshape(n, -1) for each in zip(*outputs, strict=True))
        probabilities = torch.sigmoid(logits)
        for head in self.heads:
            if len(head.columns) > 1:
                probabilities[:, head.columns] = torch.softmax(logits[:, head.columns], 1)
        return probabilities.numpy(), features


def fixed_permutation(n: int) -> Rows:
    """Returns a permutation of n indices that is always the same; the classifier holds the first ones out."""
    return np.random.Generator(np.random.Philox(0)).permutation(n)


def classifier_of(data: Dataset, device: torch.device, progress: Progress) -> Classifier:
    """Returns the classifier of a data set: from the cache, or trained now and cached by the data's content.

    A small convolutional network on images of at most 32 pixels, trained for 20 epochs or 300,000 images with one
    learning-rate cycle (Smith & Topin 2018). One image in six is held out, 10,000 at most. Training is reproducible
    and touches no global random state. Raises GankitError if the cache cannot be written.
    """
    n = len(data.images)
    held_out, rest = np.split(fixed_permutation(n), [min(10_000, n // 6)])
    heads = label_heads(data)
    settings = [_VERSION, FEATURES, _FILTERS, _BATCH, _LEARNING_RATE, _MAX_SHIFT, _EPOCHS, _MAX_TRAINED]
    key = json.dumps([data.fingerprint, data.label_names, [head.columns for head in heads], settings])
    path = cache_folder() / "classifiers" / f"{data.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.pt"
    images, vectors = _examples(data, held_out[:1])
    with seeded_initialisation(0):
        network = _build(_input(images).shape[1:], vectors.shape[1])
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    classifier = Classifier(network, heads, held_out, math.nan, data.stacked)
    if path.exists():
        document = load_tensors(path)
        network.load_state_dict(document["network"])
        classifier.accuracy = document["accuracy"]
        return classifier
    _train(classifier, data, rest, device, progress)
    rows = np.sort(held_out)
    found, labels = classifier.predict(data.images[rows])[0], data.vectors[rows]
    correct = [head.decode(found) == head.decode(labels) for head in classifier.network_heads]
    classifier.accuracy = float(np.mean(correct))
    with atomic_write(path) as temporary:
        torch.save({"network": network.state_dict(), "accuracy": classifier.accuracy}, temporary)
    return classifier


def _train(classifier: Classifier, data: Dataset, rows: Rows, device: torch.device, progress: Progress) -> None:
    """Trains the network on the images of these indices."""
    network = classifier.network.train()
    size = min(_BATCH, len(rows))
    batches = len(rows) // size  # of an epoch
    steps = max(1, min(_EPOCHS * batches, _MAX_TRAINED // size))
    optimizer = torch.optim.AdamW(network.parameters(), _LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=steps)
    autocast = pick_precision("auto", device)
    rng = np.random.Generator(np.random.Philox(1))
    for step in range(steps):
        if step % batches == 0:
            rows = rng.permutation(rows)
        images, vectors = _examples(data, np.sort(rows[step % batches * size :][:size]))
        x = _input(images)
        y, left = rng.integers(0, 2 * _MAX_SHIFT + 1, 2).tolist()
        x = pad(x, (_MAX_SHIFT,) * 4, mode="replicate")[:, :, y : y + x.shape[2], left : left + x.shape[3]]
        with autocast:
            logits = network(x.to(device))
        loss = _loss(logits.float(), torch.from_numpy(vectors).to(device), classifier.network_heads)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if step % 20 == 0 or step == steps - 1:
            progress("classifier", (step + 1) * size, steps * size)


def _loss(logits: Tensor, vectors: Tensor, heads: tuple[Head, ...]) -> Tensor:
    """Averages the cross-entropy over the heads: logits [n, k] and label vectors [n, k] → []."""
    losses = []
    for head in heads:
        loss = cross_entropy if len(head.columns) > 1 else binary_cross_entropy_with_logits
        losses.append(loss(logits[:, head.columns], vectors[:, head.columns].float()))
    return torch.stack(losses).mean()


def _examples(data: Dataset, rows: Rows) -> tuple[Images, NDArray[np.uint8]]:
    """Returns the images and label vectors that the network is trained with.

    Of stacked images only the red channel is used: each original is red exactly once, so a held-out original is never
    trained on. As green or blue channel it may be.
    """
    images, vectors = data.images[rows], data.vectors[rows]
    return (images[..., :1], vectors[:, : vectors.shape[1] // images.shape[3]]) if data.stacked else (images, vectors)


def _input(images: Images) -> Tensor:
    """Converts uint8 [n, h, w, c] to the network's input float32 [n, c, h, w] in [-1, 1]."""
    return (downscale(images) / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def _build(shape: torch.Size, k: int) -> nn.Sequential:
    """Builds a convolutional network from images [n, *shape] in [-1, 1] to logits [n, k]: `body`, then `last`."""
    channels, h, w = shape
    body: list[nn.Module] = []
    for i, stride in enumerate((1, 2, 2)):
        inputs, channels = channels, _FILTERS << i
        body += [nn.Conv2d(inputs, channels, 3, stride, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
        h, w = math.ceil(h / stride), math.ceil(w / stride)
    body += [nn.Flatten(), nn.Linear(channels * h * w, FEATURES), nn.ReLU()]
    return nn.Sequential(OrderedDict(body=nn.Sequential(*body), last=nn.Linear(FEATURES, k)))
