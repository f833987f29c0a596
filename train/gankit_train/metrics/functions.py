"""The metrics: functions from a `Comparison` to a number, listed in `gankit_train.metrics.compute`."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gankit_train.metrics import sliced_wasserstein as swd
from gankit_train.metrics.classifier import Head
from gankit_train.metrics.comparison import MAX_IMAGES, Comparison
from gankit_train.metrics.features import frechet_distance, kernel_distance
from gankit_train.metrics.kmeans import assign, bin_count, kmeans, share_of_different_bins
from gankit_train.metrics.neighbours import is_authentic
from gankit_train.metrics.pca import Images, chunks

_MAX_COSTLY = 3_000  # images of each set, for metrics that need much memory


def sliced_wasserstein(comparison: Comparison) -> float:
    """Sliced Wasserstein distance, see `gankit_train.metrics.sliced_wasserstein`."""
    return swd.sliced_wasserstein(*comparison.equal_sized(_MAX_COSTLY))


def diversity(comparison: Comparison) -> float:
    """Root mean square distance between two fake images, divided by that between two real images, in pixels.

    The mean of ‖x - y‖² over all pairs is twice the sum of the pixels' variances, so no pairs need to be formed.
    """
    real, fake = (total_variance(images) for images in comparison.equal_sized())
    return float(np.sqrt(fake / real)) if real else 1.0


def total_variance(images: Images) -> float:
    """Sums the unbiased variance of each pixel over the images, uint8 [n, ...]."""
    total = squares = np.zeros(())
    for part in chunks(images, 256):
        x = part.reshape(len(part), -1).astype(np.float64)
        total, squares = total + x.sum(0), squares + np.square(x).sum(0)
    n = len(images)
    return float((squares - total**2 / n).sum() / (n - 1))


def nearest_l1(comparison: Comparison) -> float:
    """Median over the fake images of the mean absolute difference to the nearest training image, in grey levels.

    The test against memorisation of D. Foster, "Generative Deep Learning", 2nd ed. 2023, chapter 4.
    """
    return float(np.median(comparison.nearest.distance))


def authenticity(comparison: Comparison) -> float:
    """Share of the fake images that are not copies, see `gankit_train.metrics.neighbours.is_authentic`."""
    reference, rows = comparison.reference, None if comparison.rows is None else comparison.rows[:MAX_IMAGES]
    authentic = is_authentic(comparison.nearest, reference.data.images, reference.pca, reference.projected, rows)
    return float(authentic.mean())


def ndb(comparison: Comparison) -> float:
    """Share of statistically different bins, see `gankit_train.metrics.kmeans.share_of_different_bins`."""
    real, fake = comparison.points
    centres = kmeans(real, bin_count(len(real)))
    real_counts, fake_counts = (torch.bincount(assign(x, centres), minlength=len(centres)) for x in (real, fake))
    return share_of_different_bins(real_counts, fake_counts)


def density(comparison: Comparison) -> float:
    """Density, see `gankit_train.metrics.neighbours.density_coverage`."""
    return comparison.density_coverage[0]


def coverage(comparison: Comparison) -> float:
    """Coverage, see `gankit_train.metrics.neighbours.density_coverage`."""
    return comparison.density_coverage[1]


def frechet(comparison: Comparison) -> float:
    """Fréchet distance on the features of the given network, or of the classifier of the data's labels."""
    reference = comparison.reference
    network = reference.features or (lambda images: reference.classifier.predict(images)[1].double())
    real, fake = map(network, comparison.equal_sized())
    return frechet_distance(real, fake)


def label_fidelity(comparison: Comparison) -> float:
    """Share of the requested labels that the classifier finds in the image, averaged over the classifier's heads."""
    return float(np.mean([found == requested for _, found, requested in _answers(comparison)]))


def fidelity_by_label(comparison: Comparison) -> dict[str, float]:
    """For each label: the share of the images requested with it in which the classifier finds it."""
    shares = {}
    for head, found, requested in _answers(comparison):
        for i, column in enumerate(head.columns):
            with_label = requested == (i if len(head.columns) > 1 else 1)
            if with_label.any():
                name = comparison.reference.data.label_names[column]
                shares[name] = float((found == requested)[with_label].mean())
    return shares


def _answers(comparison: Comparison) -> list[tuple[Head, NDArray[np.int64], NDArray[np.int64]]]:
    """Returns each head of the classifier with its answers and the requested ones for the unseen images, [u] each."""
    assert comparison.requested is not None
    found, requested = comparison.probabilities, comparison.requested[comparison.unseen]
    return [(head, head.decode(found), head.decode(requested)) for head in comparison.heads]


def label_modes(comparison: Comparison) -> float:
    """Number of label combinations of the data that the classifier finds in at least one fake image."""
    real, fake = _mode_counts(comparison)
    return float(np.count_nonzero(fake[real > 0]))


def label_kl(comparison: Comparison) -> float:
    """Reverse KL divergence Σ p log(p / q) over label combinations, in nats: p of the fake images, q of the data.

    As in the Stacked-MNIST test (Metz et al., "Unrolled GANs", 2017), where q is uniform over the 1000 modes.
    """
    real, fake = _mode_counts(comparison)
    return kl_divergence(fake, np.ones(len(real)) if comparison.reference.data.stacked else real)


def kl_divergence(fake: NDArray[np.integer], real: NDArray[np.integer] | NDArray[np.floating]) -> float:
    """KL divergence Σ p log(p / q) of two histograms [k]; a bin that is empty in `real` counts as half an image."""
    p, q = fake / fake.sum(), np.maximum(real, 0.5) / real.sum()
    some = p > 0
    return float((p[some] * np.log(p[some] / q[some])).sum())


def _mode_counts(comparison: Comparison) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Counts each label combination in the data, by its labels, and in the fake images, by the classifier.

    The baseline on real data draws as many samples from the data's distribution: it differs by chance alone.
    """
    heads = comparison.reference.classifier.heads

    def counts(vectors: NDArray[Any]) -> NDArray[np.int64]:
        modes = np.ravel_multi_index([head.decode(vectors) for head in heads], [head.answers for head in heads])
        return np.bincount(modes, minlength=comparison.reference.mode_count)

    data = counts(comparison.reference.data.vectors)
    if comparison.rows is not None:
        rng = np.random.Generator(np.random.Philox(0))
        return data, rng.multinomial(comparison.sample_count, data / data.sum())
    return data, counts(comparison.probabilities)


def confidence(comparison: Comparison) -> float:
    """Share of the classifier's answers with a probability of 0.9 or more."""
    parts = (comparison.probabilities[:, head.columns] for head in comparison.heads)
    best = [(p if p.shape[1] > 1 else np.maximum(p, 1 - p)).max(1) for p in parts]
    return float(np.mean(np.array(best) >= 0.9))


def fid(comparison: Comparison) -> float:
    """Fréchet inception distance, see `gankit_train.metrics.features.frechet_distance`."""
    return frechet_distance(*comparison.inception)


def kid(comparison: Comparison) -> float:
    """Kernel inception distance, see `gankit_train.metrics.features.kernel_distance`."""
    return kernel_distance(*(features[:_MAX_COSTLY] for features in comparison.inception))
