"""The sliced Wasserstein distance: against small examples by hand, and that it ranks images as a viewer would."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from gankit_train.data import open_dataset
from gankit_train.metrics.sliced_wasserstein import _wasserstein, sliced_wasserstein
from tests.helpers.datasets import Images, random_images

N = 400


@pytest.fixture(scope="module")
def digits() -> tuple[Images, Images, NDArray[np.int64]]:
    """Returns real digits, other digits, and the classes of those."""
    data = open_dataset("digits")
    order = np.random.default_rng(0).permutation(len(data.images))
    images, classes = data.images[order], data.vectors[order].argmax(axis=1)
    return images[:N], images[N:], classes[N:]


def blurred(images: Images, radius: float) -> Images:
    blur = ImageFilter.GaussianBlur(radius)
    return np.stack([np.asarray(Image.fromarray(image[:, :, 0]).filter(blur))[:, :, None] for image in images])


def added(images: Images, change: NDArray[np.floating]) -> Images:
    return np.clip(np.rint(images + change), 0, 255).astype(np.uint8)


def test_the_distance_between_equally_many_numbers() -> None:
    a = np.array([[3, 0, 1], [5, 5, 5]], np.float32)
    b = np.array([[8, 5, 6], [4, 9, 5]], np.float32)
    assert _wasserstein(a, b).tolist() == pytest.approx([5, 5 / 3])  # 0→5, 1→6, 3→8; 5→4, 5→5, 5→9


def test_the_distance_between_different_counts_of_numbers() -> None:
    few, many = np.array([[2, 0]], np.float32), np.array([[1, 0, 0, 6]], np.float32)
    assert _wasserstein(few, many).tolist() == [1.25]  # each of the two numbers counts twice: 0→0, 0→0, 2→1, 2→6
    assert _wasserstein(many, few).tolist() == [1.25]
    assert _wasserstein(many, np.repeat(many, 3, axis=1)).tolist() == [0]


def test_the_distance_between_images_of_a_single_grey() -> None:
    """Every patch of an image with the single grey g projects to g times the sum of a direction."""
    real, fake = (np.tile(np.array(greys, np.uint8)[:, None, None, None], (1, 6, 6, 1)) for greys in ([0, 200], [100]))
    # |0 - 100| and |200 - 100| over the deviation 100, times E|sum of a random direction| = √(2/π) in high dimensions
    assert sliced_wasserstein(real, fake) == pytest.approx((2 / np.pi) ** 0.5, rel=0.15)


def test_identical_sets_have_distance_zero(digits: tuple[Images, Images, NDArray[np.int64]]) -> None:
    assert sliced_wasserstein(digits[0], digits[0]) == 0
    assert sliced_wasserstein(digits[0], digits[0][::-1]) < 0.01


def test_the_distance_depends_on_the_seed_alone(digits: tuple[Images, Images, NDArray[np.int64]]) -> None:
    real, fake, _ = digits
    state = torch.get_rng_state()
    first = sliced_wasserstein(real, fake[:N], seed=1)
    assert sliced_wasserstein(real, fake[:N], seed=1) == first
    assert sliced_wasserstein(real, fake[:N], seed=2) == pytest.approx(first, rel=0.3)
    assert torch.get_rng_state().equal(state)


def test_worse_digits_have_a_larger_distance(digits: tuple[Images, Images, NDArray[np.int64]]) -> None:
    real, held_out, classes = digits
    fake = held_out[:N]
    noise = np.random.default_rng(1).normal(size=fake.shape)
    checkers = 1 - 2 * (np.indices((28, 28)).sum(axis=0) % 2)[:, :, None]
    rankings = {
        "blur": [fake, blurred(fake, 0.5), blurred(fake, 1), blurred(fake, 2)],
        "noise": [fake, added(fake, 10 * noise), added(fake, 60 * noise)],
        "checkerboard": [fake, added(fake, 10 * checkers), added(fake, 40 * checkers)],
        "contrast": [fake, added(fake, fake * -0.1), added(fake, fake * -0.5)],
        "classes": [fake, held_out[classes < 5][:N], held_out[classes < 1][:N], np.repeat(fake[:1], N, axis=0)],
        "variety": [fake, np.resize(fake[:40], fake.shape), np.resize(fake[:5], fake.shape)],
    }
    for name, sets in rankings.items():
        distances = [sliced_wasserstein(real, images) for images in sets]
        assert distances[0] < 0.06, (name, distances)
        assert all(worse > 1.2 * better for better, worse in pairwise(distances)), (name, distances)


def test_the_distance_of_one_distribution_to_itself_falls_with_the_number_of_images() -> None:
    few, many = (sliced_wasserstein(random_images(n, 8, 8, 1), random_images(n, 8, 8, 1, seed=1)) for n in (50, 800))
    assert many == pytest.approx(few / 4, rel=0.2)


def test_sets_may_have_different_numbers_of_images(digits: tuple[Images, Images, NDArray[np.int64]]) -> None:
    real, fake, _ = digits
    equal = sliced_wasserstein(real, fake[:N])
    assert sliced_wasserstein(real, fake[: 2 * N + 1]) < 1.1 * equal
    assert equal < sliced_wasserstein(real, fake[: N // 8]) < 5 * equal


@pytest.mark.parametrize(
    "shape", [(6, 6, 1), (6, 6, 3), (7, 31, 3), (40, 6, 1), (32, 32, 3), (33, 67, 1), (64, 64, 3), (109, 89, 3)]
)
def test_images_may_have_any_size(shape: tuple[int, int, int]) -> None:
    real, same, dark = (random_images(70, *shape, seed=seed) for seed in range(3))
    assert 0 < sliced_wasserstein(real, same) < 0.5 * sliced_wasserstein(real, dark // 2)


def test_constant_images_have_a_finite_distance() -> None:
    grey = np.full((3, 8, 8, 1), 128, np.uint8)
    assert sliced_wasserstein(grey, grey[:1]) == pytest.approx(0, abs=1e-4)
    assert 1 < sliced_wasserstein(grey, grey + 10) < 20
