"""Data sets: the built-in ones, how images are fitted to a size, and how they are packed into the cache."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gankit._errors import GankitError, UsageError
from gankit_train.data import open_dataset, open_source
from gankit_train.data.cache import cache_folder
from gankit_train.data.dataset import fit_image
from tests.helpers.datasets import COLOURS, celeba_folder, colour_folders, random_images

# Built-in data sets


@pytest.mark.parametrize(
    ("name", "shape", "k", "kind"),
    [
        ("digits", (5_000, 28, 28, 1), 10, "classes"),
        ("bricks", (10_000, 64, 64, 3), 16, "classes"),
        ("avatars", (10_000, 32, 32, 3), 6, "attributes"),
    ],
)
def test_built_in_data_sets_have_images_and_labels(name: str, shape: tuple[int, ...], k: int, kind: str) -> None:
    data = open_dataset(name, (32, 32) if name == "avatars" else None)
    assert data.images.shape == shape and data.images.dtype == np.uint8
    assert data.vectors.shape == (shape[0], k) and data.kind == kind
    assert data.labels is not None and len(data.labels.names) == k
    assert data.images[::50].reshape(-1).std() > 20  # not blank
    assert len(np.unique(data.images[:500].reshape(500, -1), axis=0)) > 480


def test_avatars_have_the_hair_colour_of_their_label() -> None:
    data = open_dataset("avatars", (32, 32))
    assert data.labels is not None and data.labels.exclusive == ((0, 1, 2, 3),)
    top = data.images[:1000, 3:7, 12:20].reshape(1000, -1, 3).mean(1)
    blond, black = (top[data.vectors[:1000, column] == 1].mean() for column in (0, 1))
    assert blond > black + 80


def test_stacked_digits_have_each_original_once_per_channel(cache: Path, tmp_path: Path) -> None:
    grey = np.random.default_rng(0).permutation(40 * 9).reshape(40, 3, 3) // 2
    np.savez(tmp_path / "grey.npz", images=grey.astype(np.uint8), labels=np.arange(40) % 4)
    data = open_dataset(f"stacked-mnist:{tmp_path / 'grey.npz'}")
    assert data.name == "stacked-mnist" and data.stacked and data.images.shape == (40, 3, 3, 3)
    originals = [[int((grey == image[:, :, c]).all((1, 2)).argmax()) for image in data.images] for c in range(3)]
    for c, digits in enumerate(originals):
        assert sorted(digits) == list(range(40))  # each once per channel
        assert data.vectors[:, 4 * c : 4 * c + 4].argmax(1).tolist() == [digit % 4 for digit in digits]
    assert originals[0] != originals[1] != originals[2]
    labels = data.labels
    assert labels is not None and labels.names[::4] == ("red-0", "green-0", "blue-0")
    assert labels.exclusive == ((0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10, 11))
    red = open_dataset(f"stacked-mnist:{tmp_path / 'grey.npz'}", (8, 8), attributes=("red-1",))
    assert red.images.shape == (40, 8, 8, 3) and red.label_names == ("red-1",) and not red.stacked


def test_stacking_needs_grey_images_with_classes(tmp_path: Path) -> None:
    np.savez(tmp_path / "colour.npz", images=random_images(6, 8, 8, 3), labels=np.arange(6))
    np.save(tmp_path / "plain.npy", random_images(6, 8, 8, 1))
    for name in ("colour.npz", "plain.npy"):
        with pytest.raises(UsageError, match="stacks grey images with class labels"):
            open_source(f"stacked-mnist:{tmp_path / name}")


# Labels


@pytest.mark.parametrize("names", [("Smiling", "Smiling"), ("smil", "Smiling", "smiling")])
def test_a_label_that_is_named_twice_is_one_column(cache: Path, tmp_path: Path, names: tuple[str, ...]) -> None:
    root = celeba_folder(tmp_path / "faces")
    data = open_dataset(str(root), attributes=names)
    assert data.label_names == ("Smiling",) and data.vectors.shape == (9, 1)
    both = open_dataset(str(root), attributes=("smiling", "blond", "smil"))
    assert both.label_names == ("Smiling", "Blond_Hair")  # in the order of their first mention


# Sizes and shapes


def test_images_of_several_sizes_are_cropped_and_scaled(cache: Path, tmp_path: Path) -> None:
    for i, size in enumerate([(10, 10), (200, 100), (64, 300)]):
        Image.new("L", size, 50 * i).save(tmp_path / f"{i}.png")
    data = open_dataset(str(tmp_path), (16, 16))
    assert data.images.shape == (3, 16, 16, 1)
    assert [int(image.mean()) for image in data.images] == [0, 50, 100]
    assert open_dataset(str(tmp_path), (16, 16), channels=3).images.shape == (3, 16, 16, 3)


def test_the_orientation_tag_of_a_camera_is_applied(cache: Path, tmp_path: Path) -> None:
    image = Image.new("RGB", (16, 16), "white")
    image.paste("black", (0, 0, 16, 8))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    image.save(tmp_path / "0.jpg", exif=exif, quality=95)
    packed = open_dataset(str(tmp_path), (16, 16)).images[0]
    assert packed[:6].mean() > 240 and packed[10:].mean() < 15


def test_images_of_16_bits_keep_their_range(cache: Path, tmp_path: Path) -> None:
    Image.fromarray(np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)).save(tmp_path / "0.png")
    packed = open_dataset(str(tmp_path)).images
    assert packed.shape[-1] == 1 and packed.min() == 0 and packed.max() == 255 and 120 < packed.mean() < 135


def test_the_crop_is_centred() -> None:
    image = np.zeros((10, 30, 3), np.uint8)
    image[:, 10:20] = 255
    assert (fit_image(Image.fromarray(image), 10, 10, 3) == 255).all()


def test_a_crop_may_take_the_whole_image() -> None:
    assert (
        fit_image(Image.new("L", (29, 40), 9), 28, 28, 1).tolist() == [[[9]] * 28] * 28
    )  # 28 * (29 / 28) is more than 29


def stripes(vertical: bool) -> Image.Image:
    """Draws a red, a green and a blue third, 300 wide and 100 high, or transposed."""
    image = Image.new("RGB", (300, 100), COLOURS["green"])
    image.paste(COLOURS["red"], (0, 0, 100, 100))
    image.paste(COLOURS["blue"], (200, 0, 300, 100))
    return image.transpose(Image.Transpose.TRANSPOSE) if vertical else image


@pytest.mark.parametrize("vertical", [False, True])
def test_other_aspect_ratios_are_cropped_padded_or_resized(cache: Path, tmp_path: Path, vertical: bool) -> None:
    stripes(vertical).save(tmp_path / "0.png")
    red, green, blue, black = *COLOURS.values(), (0, 0, 0)
    for fit, middle, across in [
        ("crop", [green, green, green], [green, green, green]),
        ("pad", [red, green, blue], [black, green, black]),
        ("resize", [red, green, blue], [green, green, green]),
    ]:
        image = open_dataset(str(tmp_path), (60, 60), fit=fit).images[0]
        image = image.transpose(1, 0, 2) if vertical else image
        assert image[30, [10, 30, 50]].tolist() == [list(colour) for colour in middle], fit
        assert image[[10, 30, 50], 30].tolist() == [list(colour) for colour in across], fit
    assert image.shape == (60, 60, 3)
    padded = open_dataset(str(tmp_path), (60, 60), fit="pad").images[0].any(2).any(int(not vertical))
    assert np.flatnonzero(padded).tolist() == list(range(20, 40))  # exactly the image, centred


def test_extreme_aspect_ratios_can_be_padded() -> None:
    assert fit_image(Image.new("L", (1000, 1), 255), 16, 16, 1, "pad").sum() == 255 * 16  # never thinner than a pixel
    assert (fit_image(Image.new("L", (16, 16), 7), 16, 16, 1, "pad") == 7).all()
    with pytest.raises(UsageError, match="must be one of crop, pad, resize, not 'fill'"):
        open_dataset("digits", fit="fill")


def test_transparent_parts_become_white() -> None:
    assert (fit_image(Image.new("RGBA", (8, 8), (0, 0, 0, 0)), 8, 8, 3) == 255).all()


# Packing


def test_a_broken_image_is_named_and_left_out(cache: Path, tmp_path: Path) -> None:
    root = colour_folders(tmp_path / "set", count=50)
    (root / "green" / "007.png").write_bytes(b"no picture")
    data = open_dataset(str(root))
    assert data.skipped == ("green/007.png",) and len(data.images) == 149
    assert data.vectors.sum(0).tolist() == [50, 49, 50]
    assert data.images[-1, 0, 0].tolist() == [200, 10, 10]


def test_more_than_one_broken_image_in_a_hundred_is_refused(cache: Path, tmp_path: Path) -> None:
    root = colour_folders(tmp_path / "set", count=50)
    for i in (3, 4):
        (root / "green" / f"{i:03d}.png").write_bytes(b"no picture")
    with pytest.raises(UsageError, match=r"2 of 150 images are broken.*green/003\.png"):
        open_dataset(str(root))
    assert not any(cache.iterdir())


def test_data_is_packed_once_and_again_after_a_change(cache: Path, tmp_path: Path) -> None:
    root, calls = colour_folders(tmp_path / "set"), []
    first = open_dataset(str(root), progress=lambda done, total: calls.append((done, total)))
    assert calls == [(30, 30)]
    again = open_dataset(str(root), progress=lambda done, total: calls.append((done, total)))
    assert len(calls) == 1 and again.fingerprint == first.fingerprint
    Image.new("RGB", (20, 30), "white").save(root / "red" / "new.png")
    assert open_dataset(str(root)).fingerprint != first.fingerprint


def test_worker_processes_pack_the_same_images(cache: Path, tmp_path: Path) -> None:
    root = colour_folders(tmp_path / "set", count=300)  # enough for several chunks
    data = open_dataset(str(root), (8, 8))
    expected = np.repeat([COLOURS[name] for name in sorted(COLOURS)], 300, axis=0)
    assert np.array_equal(data.images[:, 4, 4], expected)


def test_a_cache_that_cannot_be_written_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GANKIT_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(GankitError, match="GANKIT_CACHE"):
        open_dataset(str(colour_folders(tmp_path / "set")))
    assert cache_folder() == tmp_path / "file" / "cache"
