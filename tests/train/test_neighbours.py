"""Nearest training images, authenticity, density and coverage, against exhaustive searches and sums."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from gankit_train.data import open_dataset
from gankit_train.metrics.neighbours import density_coverage, is_authentic, nearest
from gankit_train.metrics.pca import PrincipalComponents
from tests.helpers.datasets import Images, normal, random_images
from tests.helpers.training import CPU

pytestmark = pytest.mark.usefixtures("global_random_state_stays")


def all_distances(images: Images, data: Images, exclude: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
    """Computes the mean absolute difference of each image to each training image: [n, m]."""
    distances = np.abs(images[:, None].astype(float) - data[None]).mean((2, 3, 4))
    if exclude is not None:
        np.put_along_axis(distances, exclude, np.inf, 1)
    return distances


def test_the_nearest_images_are_those_of_an_exhaustive_search() -> None:
    data, images = random_images(60), random_images(25, seed=1)
    pca = PrincipalComponents(data, CPU)
    excluded = np.random.default_rng(2).integers(0, 60, (25, 2))
    for exclude in (None, excluded):
        found = nearest(images, data, pca, pca(data), 3, exclude)
        distances = all_distances(images, data, exclude)
        assert np.array_equal(found.row, distances.argsort(1, kind="stable")[:, :3])
        np.testing.assert_allclose(found.distance, np.sort(distances, 1)[:, :3], rtol=1e-5)


def test_candidates_by_principal_components_include_the_nearest_image() -> None:
    data = open_dataset("digits").images
    pca = PrincipalComponents(data[:1000], CPU)
    rows = np.arange(0, 5000, 400)
    found = nearest(data[rows], data, pca, pca(data), 1, rows[:, None])
    for row, at in zip(rows, found.row[:, 0], strict=True):
        assert at == all_distances(data[row : row + 1], data, np.array([[row]])).argmin()


def test_authenticity_of_copies_new_images_and_training_images() -> None:
    data, new = random_images(80), random_images(40, seed=1)
    rng = np.random.default_rng(2)
    copies = np.clip(data[:40].astype(int) + rng.integers(-2, 3, new.shape), 0, 255).astype(np.uint8)
    pca = PrincipalComponents(data, CPU)
    projected = pca(data)

    def authentic(images: Images, rows: NDArray[np.int64] | None = None) -> NDArray[np.bool_]:
        exclude = None if rows is None else rows[:, None]
        return is_authentic(nearest(images, data, pca, projected, 1, exclude), data, pca, projected, rows)

    assert not authentic(copies).any()
    distances, own = all_distances(new, data), all_distances(data, data, np.arange(80)[:, None])
    assert np.array_equal(authentic(new), distances.min(1) > own.min(1)[distances.argmin(1)])
    # A training image is left out of the data: its nearest image, and the nearest one of that, are among the others.
    rows = np.arange(0, 80, 3)
    expected = []
    for i in rows:
        others = np.delete(np.arange(80), i)
        j = others[own[i, others].argmin()]
        expected.append(own[i, j] > np.delete(own[j], [i, j]).min())
    assert authentic(data[rows], rows).tolist() == expected
    assert 0.3 < np.mean(expected) < 0.9


def test_density_and_coverage_equal_the_sums_of_the_paper() -> None:
    real, fake, k = normal(40, 3), normal(25, 3, seed=1) * 1.3, 5
    radius = [sorted(float((x - y).norm()) for y in real)[k] for x in real]
    inside = [[float((x - y).norm()) < r for y in fake] for x, r in zip(real, radius, strict=True)]
    density, coverage = density_coverage(real, fake)
    assert density == pytest.approx(np.sum(inside) / (k * 25))
    assert coverage == pytest.approx(np.any(inside, axis=1).mean())


def test_density_and_coverage_of_two_samples_of_one_distribution() -> None:
    n, k = 1500, 5
    density, coverage = density_coverage(normal(n, 8), normal(n, 8, seed=1))
    assert density == pytest.approx(1, abs=0.05)
    # Naeem et al., lemma 2: the k + 1 nearest of all others, real or fake, are k real ones by chance.
    expected = 1 - math.prod((n - i) / (2 * n - i) for i in range(1, k + 1))
    assert coverage == pytest.approx(expected, abs=0.015) and expected == pytest.approx(1 - 2**-k, abs=0.001)
    assert density_coverage(normal(n, 8), normal(n, 8))[1] == 1
    assert density_coverage(normal(n, 8), normal(n, 8) + 100) == (0, 0)
