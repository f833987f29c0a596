"""Generated images, the real images that they are compared with, and what several metrics compute from both."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gankit._errors import UsageError
from gankit_train.data import Dataset
from gankit_train.metrics.classifier import FEATURES, MIN_IMAGES, Classifier, Head, Progress, classifier_of, label_heads
from gankit_train.metrics.features import Features, inception_features, why_no_inception
from gankit_train.metrics.neighbours import Nearest, density_coverage, nearest
from gankit_train.metrics.pca import Images, PrincipalComponents, Rows
from gankit_train.metrics.table import Metric

_CPU = torch.device("cpu")
MAX_IMAGES = 10_000  # of each set that are compared: more make the values hardly more stable and all of them slower
_MAX_MODES = 10_000  # label combinations


@dataclass(frozen=True)
class Reference:
    """Real images, and what all comparisons with them share. Each property is computed once, when it is needed."""

    data: Dataset  # all training images
    real: Images  # some of them, to compare with: uint8 [n, h, w, c]
    features: Features | None = None  # for the Fréchet distance; None takes a classifier of the data's labels
    device: torch.device = _CPU
    progress: Progress = lambda task, done, total: None

    @cached_property
    def pca(self) -> PrincipalComponents:
        """Principal components of `real`."""
        return PrincipalComponents(self.real, self.device)

    @cached_property
    def projected(self) -> Tensor:
        """All training images in principal components: [all, d]."""
        return self.pca(self.data.images)

    @cached_property
    def classifier(self) -> Classifier:
        """Classifier of the data's labels, trained now unless it is cached."""
        return classifier_of(self.data, self.device, self.progress)

    @cached_property
    def inception(self) -> Features:
        """The network that defines FID."""
        return inception_features(self.device)

    @property
    def features_name(self) -> str:
        """Name of the network whose features `frechet` compares."""
        return self.features.name if self.features else f"classifier of {self.data.name}"

    @cached_property
    def feature_count(self) -> int:
        """Features of an image."""
        channels = self.real.shape[3] if self.data.stacked else 1
        return self.features(self.real[:1]).shape[1] if self.features else FEATURES * channels

    @cached_property
    def mode_count(self) -> int:
        """Label combinations that are possible; 0 if there are none or too many to count."""
        count = math.prod(head.answers for head in label_heads(self.data))
        return count if 1 < count <= _MAX_MODES else 0


@dataclass(frozen=True)
class Comparison:
    """Generated images and their reference.

    For the baseline on real data, `fake` holds real images; each one is left out of the data it is compared with.
    """

    reference: Reference
    fake: Images  # uint8 [m, h, w, c]
    requested: NDArray[np.uint8] | None = None  # labels [m, k] that `fake` was generated for, ordered as the data's
    rows: Rows | None = None  # for the baseline: the indices of `fake` in the data, [m]
    sample_count: int = 0  # for the baseline: how many samples it is compared with

    def __post_init__(self) -> None:
        """Raises UsageError if the images have different sizes."""
        data = self.reference.data
        fake, real = (f"{w}x{h}x{c}" for _, h, w, c in (self.fake.shape, data.images.shape))
        if fake != real:
            sizes = f"{fake} (width, height, channels) and those of {data.name} {real}"
            raise UsageError(f"the images are {sizes}: images of different sizes cannot be compared")

    def equal_sized(self, max_images: int = MAX_IMAGES) -> tuple[Images, Images]:
        """Returns real and fake images, equally many of both."""
        n = min(len(self.reference.real), len(self.fake), max_images)
        return self.reference.real[:n], self.fake[:n]

    @cached_property
    def points(self) -> tuple[Tensor, Tensor]:
        """Real and fake images in principal components, equally many: [n, d] each."""
        real, fake = self.equal_sized()
        return self.reference.pca(real), self.reference.pca(fake)

    @cached_property
    def nearest(self) -> Nearest:
        """The nearest training image of each of the first 10,000 fake images."""
        reference = self.reference
        fake, own = self.fake[:MAX_IMAGES], None if self.rows is None else self.rows[:MAX_IMAGES, None]
        return nearest(fake, reference.data.images, reference.pca, reference.projected, exclude=own)

    @cached_property
    def density_coverage(self) -> tuple[float, float]:
        """Density and coverage, which share their distances."""
        return density_coverage(*self.points)

    @cached_property
    def unseen(self) -> NDArray[np.bool_] | slice:
        """Selects the u fake images that the classifier was not trained on: all m if they are generated."""
        return slice(None) if self.rows is None else np.isin(self.rows, self.reference.classifier.held_out)

    @cached_property
    def probabilities(self) -> NDArray[np.float32]:
        """The classifier's probability of each label for each unseen fake image: [u, k]."""
        return self.reference.classifier.predict(self.fake[self.unseen])[0]

    @property
    def heads(self) -> tuple[Head, ...]:
        """The classifier's heads to evaluate; of real stacked images only those that never saw them in training."""
        classifier = self.reference.classifier
        return classifier.heads if self.rows is None else classifier.network_heads

    @cached_property
    def inception(self) -> tuple[Tensor, Tensor]:
        """Inception features of real and fake images."""
        real, fake = self.equal_sized()
        return self.reference.inception(real), self.reference.inception(fake)

    def why_unavailable(self, name: str, metric: Metric) -> str:
        """Explains why a metric is not available for these images; empty if it is."""
        reference, data, requires = self.reference, self.reference.data, metric.requires
        n, k = len(data.images), len(data.label_names)
        needs_labels = requires in ("labels", "modes", "requested")
        needs_classifier = needs_labels or (requires == "features" and reference.features is None)
        if needs_labels and not k:
            return f"{name} needs labels, and {data.name} has none: put each class into a folder of its own"
        if requires == "requested" and self.requested is None:
            return f"{name} needs images that were generated for labels of {data.name}, as by a cgan"
        if needs_classifier and not k:
            return f"{name} needs a network: give one with --features FILE, as {data.name} has no labels to train it"
        if requires == "modes" and not reference.mode_count:
            return f"{name} counts label combinations, and the {k} of {data.name} make too many"
        if requires == "inception" and (why := why_no_inception()):
            return why
        if needs_classifier and n < MIN_IMAGES:
            return f"{name} needs a classifier, which needs at least {MIN_IMAGES} images: {data.name} has {n}"
        unit = reference.mode_count if requires == "modes" else 1
        needed = metric.min_images * (reference.feature_count if requires == "features" else unit)
        available = len(self.fake) if needs_labels else min(len(self.fake), len(reference.real))
        half = f": half of the {n:,} of {data.name}" if available == n // 2 else ""
        short = f"{name} needs at least {needed:,} images of each set, and there are {available:,}{half}"
        return short if available < needed else ""
