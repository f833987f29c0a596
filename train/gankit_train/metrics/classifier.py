"""A small classifier of the data's own labels, which says what generated images look like."""

from __future__ import annotations

import hashlib
import json
import math
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
from gankit_train.data import Dataset
from gankit_train.data.sources import cache_folder
from gankit_train.metrics.pca import Images, parts, reduced
from gankit_train.models.checkpoints import read_pickle

Progress = Callable[[str, int, int], None]
"""Called with what is done, how many images of it are and how many there are."""

FEATURES = 64
"""Units of the last layer but one."""
LEAST = 60
"""Images that a classifier cannot be trained with fewer of."""
_RECIPE = 1  # raised whenever the same data would train another classifier
_FILTERS, _BATCH, _RATE, _SHIFT = 16, 128, 4e-3, 2
_PASSES, _SEEN = 20, 300_000  # over the data, and in images at the most


@dataclass(frozen=True)
class Head:
    """One question that the labels answer: which of a group an image has, or whether it has a label."""

    columns: tuple[int, ...]
    """Of the label vectors; a single one is a question of yes or no."""

    @property
    def answers(self) -> int:
        """How many there are."""
        return max(2, len(self.columns))

    def of(self, vectors: NDArray[Any]) -> NDArray[np.int64]:
        """The answers in label vectors [n, k], or in probabilities: [n]."""
        part = vectors[:, self.columns]
        answers: NDArray[np.int64] = part.argmax(1) if len(self.columns) > 1 else (part[:, 0] > 0.5).astype(np.int64)
        return answers


def heads(data: Dataset) -> tuple[Head, ...]:
    """A question for each group of labels of which every image has exactly one, and for each other label."""
    groups = [g for g in (data.labels.exclusive if data.labels else ()) if (data.vectors[:, g].sum(1) == 1).all()]
    grouped = {column for group in groups for column in group}
    return tuple(map(Head, [*groups, *((i,) for i in range(len(data.label_names)) if i not in grouped)]))


@dataclass
class Classifier:
    """A trained one."""

    network: _Network
    heads: tuple[Head, ...]
    held_out: NDArray[np.int64]
    """Rows of the data that it was not trained on."""
    accuracy: float
    """Share of its answers that are right on those."""
    stacked: bool
    """Whether each channel is judged by itself, see `Dataset.stacked`."""

    @property
    def questions(self) -> tuple[Head, ...]:
        """What the network answers: the same for each channel where they are judged by themselves."""
        return self.heads[:1] if self.stacked else self.heads

    def judge(self, images: Images) -> tuple[NDArray[np.float32], Tensor]:
        """Probabilities of the labels [n, k] and features float32 [n, f] of images uint8 [n, h, w, c]."""
        device = self.network.device
        made: list[tuple[Tensor, Tensor]] = []
        self.network.eval()
        with torch.no_grad():
            for part in parts(_channels_apart(images) if self.stacked else images):
                features = self.network.body(_input(part).to(device))
                made.append((self.network.last(features).cpu(), features.cpu()))
        logits, features = (torch.cat(each).reshape(len(images), -1) for each in zip(*made, strict=True))
        chances = torch.sigmoid(logits)
        for head in self.heads:
            if len(head.columns) > 1:
                chances[:, head.columns] = torch.softmax(logits[:, head.columns], 1)
        return chances.numpy(), features


def order(n: int) -> NDArray[np.int64]:
    """The rows of data in an order that is always the same: the first ones are held out of training."""
    return np.random.Generator(np.random.Philox(0)).permutation(n)


def classifier_of(data: Dataset, device: torch.device, progress: Progress) -> Classifier:
    """The classifier of a data set: trained now, or found in the cache by the data's content and its own settings.

    Convolutions on images of at most 32 pixels, 20 passes over the data or 300,000 images with one cycle of the
    learning rate (Smith & Topin 2018); one image in six, 10,000 at the most, is held out. Trained in the same way
    every time, and apart from any other random state.

    Raises:
        GankitError: the cache cannot be written.
    """
    n = len(data.images)
    held_out, rest = np.split(order(n), [min(10_000, n // 6)])
    questions = heads(data)
    settings = [_RECIPE, FEATURES, _FILTERS, _BATCH, _RATE, _SHIFT, _PASSES, _SEEN]
    key = json.dumps([data.fingerprint, data.label_names, [head.columns for head in questions], settings])
    path = cache_folder() / "classifiers" / f"{data.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.pt"
    k = _shown(data, held_out[:1])[1].shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = _Network(_input(_shown(data, held_out[:1])[0]).shape[1:], k).to(
            device, memory_format=torch.channels_last
        )  # type: ignore[call-overload]
    found = Classifier(network, questions, held_out, math.nan, data.stacked)
    if path.exists():
        document = read_pickle(path)
        network.load_state_dict(document["network"])
        found.accuracy = document["accuracy"]
        return found
    _train(found, data, rest, progress)
    found.accuracy = _accuracy(found, data, held_out)
    document = {"network": network.state_dict(), "accuracy": found.accuracy}
    with atomic_write(path) as temporary:
        torch.save(document, temporary)
    return found


def _train(classifier: Classifier, data: Dataset, rows: NDArray[np.int64], progress: Progress) -> None:
    """Trains its network on these rows."""
    network, device = classifier.network, classifier.network.device
    size = min(_BATCH, len(rows))
    each = len(rows) // size  # batches of a pass
    steps = max(1, min(_PASSES * each, _SEEN // size))
    optimizer = torch.optim.AdamW(network.parameters(), _RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps)
    autocast = pick_precision("auto", device)
    noise = np.random.Generator(np.random.Philox(1))
    network.train()
    for step in range(steps):
        if step % each == 0:
            rows = noise.permutation(rows)
        images, vectors = _shown(data, np.sort(rows[step % each * size :][:size]))
        x = _input(images)
        y, left = noise.integers(0, 2 * _SHIFT + 1, 2).tolist()
        x = pad(x, (_SHIFT,) * 4, mode="replicate")[:, :, y : y + x.shape[2], left : left + x.shape[3]]
        with autocast:
            logits = network(x.to(device))
        loss = _loss(logits.float(), torch.from_numpy(vectors).to(device), classifier.questions)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if step % 20 == 0 or step == steps - 1:
            progress("classifier", (step + 1) * size, steps * size)


def _loss(logits: Tensor, vectors: Tensor, questions: tuple[Head, ...]) -> Tensor:
    """Cross-entropy of each question's answer, and the mean of all: [n, k] and [n, k] → []."""
    losses = []
    for head in questions:
        ours, theirs = logits[:, head.columns], vectors[:, head.columns].float()
        single = len(head.columns) == 1
        losses.append(binary_cross_entropy_with_logits(ours, theirs) if single else cross_entropy(ours, theirs))
    return torch.stack(losses).mean()


def _accuracy(classifier: Classifier, data: Dataset, rows: NDArray[np.int64]) -> float:
    """Share of right answers on these rows."""
    chances, vectors = classifier.judge(data.images[np.sort(rows)])[0], data.vectors[np.sort(rows)]
    return float(np.mean([head.of(chances) == head.of(vectors) for head in classifier.questions]))


def _shown(data: Dataset, rows: NDArray[np.int64]) -> tuple[Images, NDArray[np.uint8]]:
    """What the network is trained with: images and their label vectors.

    Of stacked pictures the red ones alone: each of the originals is red once, so that none that is held out is shown.
    (Where it is green or blue, it may be one that is shown.)
    """
    images, vectors = data.images[rows], data.vectors[rows]
    return (images[..., :1], vectors[:, : vectors.shape[1] // images.shape[3]]) if data.stacked else (images, vectors)


def _channels_apart(images: Images) -> Images:
    """[n, h, w, c] → [n·c, h, w, 1]."""
    return np.ascontiguousarray(np.moveaxis(images, 3, 1)).reshape(-1, *images.shape[1:3], 1)


def _input(images: Images) -> Tensor:
    """uint8 [n, h, w, c] → what the network takes."""
    return (reduced(images) / 127.5 - 1).contiguous(memory_format=torch.channels_last)


class _Network(nn.Module):
    """Images [n, c, h, w] in [-1, 1] → logits [n, k]."""

    def __init__(self, shape: torch.Size, k: int) -> None:
        super().__init__()
        channels, h, w = shape
        body: list[nn.Module] = []
        for i, stride in enumerate((1, 2, 2)):
            there = _FILTERS << i
            body += [nn.Conv2d(channels, there, 3, stride, 1, bias=False), nn.BatchNorm2d(there), nn.ReLU()]
            channels, h, w = there, math.ceil(h / stride), math.ceil(w / stride)
        self.body = nn.Sequential(*body, nn.Flatten(), nn.Linear(channels * h * w, FEATURES), nn.ReLU())
        self.last = nn.Linear(FEATURES, k)

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.last.weight.device

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.last(self.body(images))
        return logits
