"""From sets of images to figures: a function for each name in the table of measures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gankit._errors import UsageError
from gankit_train.data import Dataset
from gankit_train.metrics import sliced_wasserstein as wasserstein
from gankit_train.metrics.classifier import FEATURES, LEAST, Classifier, Head, Progress, classifier_of, heads
from gankit_train.metrics.features import (
    Features,
    frechet_distance,
    inception,
    kernel_distance,
    no_inception,
)
from gankit_train.metrics.kmeans import assign, bins_for, different_bins, kmeans
from gankit_train.metrics.neighbours import Nearest, authentic, density_coverage, nearest
from gankit_train.metrics.pca import Images, Principal
from gankit_train.metrics.table import Measure

_CPU = torch.device("cpu")
MOST = 10_000
"""Images of each set, at the most: more make figures hardly steadier, and all of them slower."""
_FEW = 3_000  # the same for what takes more memory
_SURE = 0.9
_MODES = 10_000  # combinations of labels, at the most


@dataclass(frozen=True)
class Reference:
    """What images are compared with, and what all comparisons work out from it once."""

    data: Dataset
    """All training images."""
    real: Images
    """Some of them: uint8 [n, h, w, c]."""
    features: Features | None = None
    """Of a network that was given; else those of the data's classifier."""
    device: torch.device = _CPU
    progress: Progress = lambda what, done, total: None

    @cached_property
    def space(self) -> Principal:
        """The principal components of some real images."""
        return Principal(self.real, self.device)

    @cached_property
    def placed(self) -> Tensor:
        """All training images there."""
        return self.space(self.data.images)

    @cached_property
    def classifier(self) -> Classifier:
        """Of the data's labels; trained if it is not in the cache."""
        return classifier_of(self.data, self.device, self.progress)

    @cached_property
    def inception(self) -> Features:
        """The network that FID is defined by."""
        return inception(self.device)

    @property
    def features_name(self) -> str:
        """Whose features `frechet` compares."""
        return self.features.name if self.features else f"classifier of {self.data.name}"

    @cached_property
    def feature_count(self) -> int:
        """How many they are of an image."""
        if self.features:
            return self.features(self.real[:1]).shape[1]
        return FEATURES * (self.real.shape[3] if self.data.stacked else 1)

    @cached_property
    def mode_count(self) -> int:
        """How many combinations of labels there can be; 0 for none, and for too many to count."""
        count = math.prod(head.answers for head in heads(self.data))
        return count if 1 < count <= _MODES else 0


@dataclass(frozen=True)
class Sets:
    """Generated images, or others of the data in their place, and what they are compared with."""

    reference: Reference
    fake: Images
    """uint8 [m, h, w, c]."""
    asked: NDArray[np.uint8] | None = None
    """The label vectors that those were made for, in the order of the data's labels: [m, k]."""
    rows: NDArray[np.int64] | None = None
    """Where in the data those are, if they are real: [m]."""
    draws: int = 0
    """If they are real: how many samples they are to stand beside."""

    def __post_init__(self) -> None:
        """Raises UsageError where the images are of different sizes."""
        data = self.reference.data
        if self.fake.shape[1:] != data.images.shape[1:]:
            (h, w, c), (height, width, channels) = self.fake.shape[1:], data.images.shape[1:]
            raise UsageError(
                f"the images are {w}x{h}x{c} (width, height, channels) and those of {data.name} "
                f"{width}x{height}x{channels}: they cannot be compared"
            )

    def even(self, most: int = MOST) -> tuple[Images, Images]:
        """Real and fake ones, as many of each."""
        n = min(len(self.reference.real), len(self.fake), most)
        return self.reference.real[:n], self.fake[:n]

    @cached_property
    def points(self) -> tuple[Tensor, Tensor]:
        """Real and fake ones among the principal components, as many of each."""
        real, fake = self.even()
        return self.reference.space(real), self.reference.space(fake)

    @cached_property
    def near(self) -> Nearest:
        """The training image nearest to each fake, of 10,000 fakes at the most."""
        reference = self.reference
        without = None if self.rows is None else self.rows[:MOST, None]
        return nearest(self.fake[:MOST], reference.data.images, reference.space, reference.placed, 1, without)

    @cached_property
    def density_coverage(self) -> tuple[float, float]:
        """Both at once."""
        return density_coverage(*self.points)

    @cached_property
    def chances(self) -> NDArray[np.float32]:
        """What the classifier says of the fakes: a probability for each label, [m, k]."""
        return self.reference.classifier.judge(self.fake)[0]

    @cached_property
    def unseen(self) -> NDArray[np.bool_]:
        """Which fakes the classifier was not trained on: all, unless they are real. [m]."""
        if self.rows is None:
            return np.ones(len(self.fake), bool)
        return np.isin(self.rows, self.reference.classifier.held_out)

    @property
    def questions(self) -> tuple[Head, ...]:
        """What the classifier is asked of them; of real stacked digits only those that are surely not trained on."""
        known = self.reference.classifier
        return known.heads if self.rows is None else known.questions

    @cached_property
    def inception(self) -> tuple[Tensor, Tensor]:
        """FID's own features of real and fake ones."""
        real, fake = self.even()
        return self.reference.inception(real), self.reference.inception(fake)

    def refusal(self, name: str, measure: Measure) -> str:
        """Why a measure cannot be had of these images; empty where it can."""
        data, needs = self.reference.data, measure.needs
        of_labels = needs in ("labels", "modes", "asked")
        own_network = needs == "features" and self.reference.features is None
        if of_labels and not data.label_names:
            return f"{name} needs labels, and {data.name} has none: put each class into a folder of its own"
        if needs == "asked" and self.asked is None:
            return f"{name} needs images that were made for labels of {data.name}, as a cgan makes them"
        if own_network and not data.label_names:
            return f"{name} needs a network: give one by --features FILE, as {data.name} has no labels to train one on"
        if needs == "modes" and not self.reference.mode_count:
            return f"{name} counts combinations of labels, and the {len(data.label_names)} of {data.name} make too many"
        if needs == "inception" and (why := no_inception()):
            return why
        if (of_labels or own_network) and len(data.images) < LEAST:
            return f"{name} needs a classifier, and that at least {LEAST} images: {data.name} has {len(data.images)}"
        unit = 1 if needs not in ("modes", "features") else getattr(self.reference, f"{needs.rstrip('s')}_count")
        needed = measure.at_least * unit
        have = len(self.fake) if of_labels else min(len(self.fake), len(self.reference.real))
        if have < needed:
            half = f": half of the {len(data.images):,} of {data.name}" if have == len(data.images) // 2 else ""
            return f"{name} needs at least {needed:,} images of each set, and there are {have:,}{half}"
        return ""


def sliced_wasserstein(sets: Sets) -> float:
    """See `gankit_train.metrics.sliced_wasserstein`."""
    return wasserstein.sliced_wasserstein(*sets.even(_FEW))


def diversity(sets: Sets) -> float:
    """Root mean square distance between two of the fakes over that between two of the real ones, in pixels.

    The mean of ‖x - y‖² over all pairs is twice the sum of the pixels' variances, so that no pair has to be looked at.
    """
    real, fake = (spread(images) for images in sets.even())
    return float(np.sqrt(fake / real)) if real else 1.0


def spread(images: Images) -> float:
    """The sum over all pixels of their variance (of n - 1) over the images, uint8 [n, ...]."""
    total = squares = np.zeros(())
    for at in range(0, len(images), 256):
        part = images[at : at + 256].reshape(len(images[at : at + 256]), -1).astype(np.float64)
        total, squares = total + part.sum(0), squares + np.square(part).sum(0)
    n = len(images)
    return float((squares - total**2 / n).sum() / (n - 1))


def nearest_l1(sets: Sets) -> float:
    """The median over the fakes of the mean absolute difference to the nearest training image, in grey levels.

    The test of the texts against learning by heart (D. Foster, "Generative Deep Learning", 2nd ed. 2023, chapter 4).
    """
    return float(np.median(sets.near.distance))


def authenticity(sets: Sets) -> float:
    """The share of the fakes that are no copies, see `gankit_train.metrics.neighbours.authentic`."""
    reference, rows = sets.reference, None if sets.rows is None else sets.rows[:MOST]
    return float(authentic(sets.near, reference.data.images, reference.space, reference.placed, rows).mean())


def ndb(sets: Sets) -> float:
    """The share of statistically different bins, see `gankit_train.metrics.kmeans.different_bins`."""
    real, fake = sets.points
    centres = kmeans(real, bins_for(len(real)))
    ours, theirs = (torch.bincount(assign(x, centres), minlength=len(centres)) for x in (fake, real))
    return different_bins(theirs, ours)


def density(sets: Sets) -> float:
    """See `gankit_train.metrics.neighbours.density_coverage`."""
    return sets.density_coverage[0]


def coverage(sets: Sets) -> float:
    """See `gankit_train.metrics.neighbours.density_coverage`."""
    return sets.density_coverage[1]


def frechet(sets: Sets) -> float:
    """The Fréchet distance on the features of the network that was given, or of the data's classifier."""
    reference = sets.reference
    network = reference.features or (lambda images: reference.classifier.judge(images)[1].double())
    real, fake = map(network, sets.even())
    return frechet_distance(real, fake)


def label_fidelity(sets: Sets) -> float:
    """The share of the labels that were asked for and that the classifier finds in the image.

    For classes it is the share of the images; else the mean over all questions that the labels answer.
    """
    assert sets.asked is not None
    asked, found = sets.asked[sets.unseen], sets.chances[sets.unseen]
    return float(np.mean([head.of(found) == head.of(asked) for head in sets.questions]))


def shown(sets: Sets) -> dict[str, float]:
    """For each label: the share of the images asked for it in which the classifier finds it."""
    assert sets.asked is not None
    shares = {}
    for head in sets.questions:
        asked, found = head.of(sets.asked[sets.unseen]), head.of(sets.chances[sets.unseen])
        for i, column in enumerate(head.columns):
            wanted = asked == (i if len(head.columns) > 1 else 1)
            if wanted.any():
                shares[sets.reference.data.label_names[column]] = float((found == asked)[wanted].mean())
    return shares


def label_modes(sets: Sets) -> float:
    """How many of the label combinations that the data has are seen in at least one fake."""
    real, fake = _mode_counts(sets)
    return float(np.count_nonzero(fake[real > 0]))


def label_kl(sets: Sets) -> float:
    """Σ p log(p / q) over the label combinations, in nats: p their shares of the fakes, q of the data.

    The reverse divergence of the Stacked-MNIST test (Metz et al., "Unrolled GANs", 2017), where q is the same for all
    thousand, as everybody publishes it. A combination that the data has not counts as half an image there.
    """
    real, fake = _mode_counts(sets)
    return divergence(fake, np.ones(len(real)) if sets.reference.data.stacked else real)


def divergence(fake: NDArray[np.integer], real: NDArray[np.integer] | NDArray[np.floating]) -> float:
    """Of two histograms [k]: Σ p log(p / q)."""
    p, q = fake / fake.sum(), np.maximum(real, 0.5) / real.sum()
    some = p > 0
    return float((p[some] * np.log(p[some] / q[some])).sum())


def _mode_counts(sets: Sets) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How often each combination of labels comes in the data, by its labels, and in the fakes, by the classifier.

    In the place of fakes real images are as many draws from the data, which nothing better than chance keeps apart.
    """
    questions = sets.reference.classifier.heads

    def counts(vectors: NDArray[Any]) -> NDArray[np.int64]:
        answers = [head.of(vectors) for head in questions]
        modes = np.ravel_multi_index(answers, [head.answers for head in questions])
        return np.bincount(modes, minlength=sets.reference.mode_count)

    data = counts(sets.reference.data.vectors)
    if sets.rows is not None:
        return data, np.random.Generator(np.random.Philox(0)).multinomial(sets.draws, data / data.sum())
    return data, counts(sets.chances)


def confidence(sets: Sets) -> float:
    """The share of the classifier's answers that it gives a probability of 0.9 or more."""
    found = sets.chances[sets.unseen]
    sure = []
    for head in sets.questions:
        chance = found[:, head.columns]
        sure.append((np.maximum(chance, 1 - chance) if len(head.columns) == 1 else chance).max(1) >= _SURE)
    return float(np.mean(sure))


def fid(sets: Sets) -> float:
    """See `gankit_train.metrics.features.frechet_distance`."""
    return frechet_distance(*sets.inception)


def kid(sets: Sets) -> float:
    """See `gankit_train.metrics.features.kernel_distance`."""
    return kernel_distance(*(features[:_FEW] for features in sets.inception))
