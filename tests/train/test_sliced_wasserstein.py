"""The distance between images: its formula by hand, and that it ranks as a viewer would."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from gankit_train.data import open_dataset
from gankit_train.metrics.sliced_wasserstein import _wasserstein, sliced_wasserstein

Images = NDArray[np.uint8]
N = 400


@pytest.fixture(scope="module")
def digits() -> tuple[Images, Images, NDArray[np.int64]]:
    """Real digits, others held out, and what those show."""
    data = open_dataset("digits")
    order = np.random.default_rng(0).permutation(len(data.images))
    images, classes = data.images[order], data.vectors[order].argmax(axis=1)
    return images[:N], images[N:], classes[N:]


def blurred(images: Images, radius: float) -> Images:
    blur = ImageFilter.GaussianBlur(radius)
    return np.stack([np.asarray(Image.fromarray(image[:, :, 0]).filter(blur))[:, :, None] for image in images])


def added(images: Images, change: NDArray[np.floating]) -> Images:
    return np.clip(np.rint(images + change), 0, 255).astype(np.uint8)


def bytes_of(*shape: int, seed: int = 0) -> Images:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_the_distance_of_numbers_by_hand() -> None:
    a = np.array([[3, 0, 1], [5, 5, 5]], np.float32)
    b = np.array([[8, 5, 6], [4, 9, 5]], np.float32)
    assert _wasserstein(a, b).tolist() == pytest.approx([5, 5 / 3])  # 0→5, 1→6, 3→8; 5→4, 5→5, 5→9


def test_the_distance_of_numbers_that_are_not_as_many() -> None:
    few, many = np.array([[2, 0]], np.float32), np.array([[1, 0, 0, 6]], np.float32)
    assert _wasserstein(few, many).tolist() == [1.25]  # each of the two is worth two: 0→0, 0→0, 2→1, 2→6
    assert _wasserstein(many, few).tolist() == [1.25]
    assert _wasserstein(many, np.repeat(many, 3, axis=1)).tolist() == [0]


def test_the_distance_of_flat_images_by_hand() -> None:
    """A flat image of grey g projects to g times the sum of a direction, whatever is cut out of it."""
    real, fake = (np.tile(np.array(greys, np.uint8)[:, None, None, None], (1, 6, 6, 1)) for greys in ([0, 200], [100]))
    # |0 - 100| and |200 - 100| over the deviation 100, times E|sum of a random direction| = √(2/π) in high dimensions
    assert sliced_wasserstein(real, fake) == pytest.approx((2 / np.pi) ** 0.5, rel=0.15)


def test_the_same_images_are_at_zero(digits: tuple[Images, Images, NDArray[np.int64]]) -> None:
    assert sliced_wasserstein(digits[0], digits[0]) == 0
    assert sliced_wasserstein(digits[0], digits[0][::-1]) < 0.01


def test_a_seed_always_gives_the_same(digits: tuple[Images, Images, NDArray[np.int64]]) -> None:
    real, fake, _ = digits
    state = torch.get_rng_state()
    first = sliced_wasserstein(real, fake[:N], seed=1)
    assert sliced_wasserstein(real, fake[:N], seed=1) == first
    assert sliced_wasserstein(real, fake[:N], seed=2) == pytest.approx(first, rel=0.3)
    assert torch.get_rng_state().equal(state)


def test_worse_digits_are_further_away(digits: tuple[Images, Images, NDArray[np.int64]]) -> None:
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
        far = [sliced_wasserstein(real, images) for images in sets]
        assert far[0] < 0.06, (name, far)
        assert all(worse > 1.2 * better for better, worse in pairwise(far)), (name, far)


def test_the_floor_falls_with_more_images() -> None:
    few, many = (sliced_wasserstein(bytes_of(n, 8, 8, 1), bytes_of(n, 8, 8, 1, seed=1)) for n in (50, 800))
    assert many == pytest.approx(few / 4, rel=0.2)


def test_sets_of_different_sizes(digits: tuple[Images, Images, NDArray[np.int64]]) -> None:
    real, fake, _ = digits
    equal = sliced_wasserstein(real, fake[:N])
    assert sliced_wasserstein(real, fake[: 2 * N + 1]) < 1.1 * equal
    assert equal < sliced_wasserstein(real, fake[: N // 8]) < 5 * equal


@pytest.mark.parametrize(
    "shape", [(6, 6, 1), (6, 6, 3), (7, 31, 3), (40, 6, 1), (32, 32, 3), (33, 67, 1), (64, 64, 3), (109, 89, 3)]
)
def test_any_size_of_image(shape: tuple[int, int, int]) -> None:
    real, same, dark = bytes_of(70, *shape), bytes_of(70, *shape, seed=1), bytes_of(70, *shape, seed=2) // 2
    assert 0 < sliced_wasserstein(real, same) < 0.5 * sliced_wasserstein(real, dark)


def test_sets_without_any_variety() -> None:
    grey = np.full((3, 8, 8, 1), 128, np.uint8)
    assert sliced_wasserstein(grey, grey[:1]) == pytest.approx(0, abs=1e-4)
    assert 1 < sliced_wasserstein(grey, grey + 10) < 20
