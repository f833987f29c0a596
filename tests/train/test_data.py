import gzip
import io
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gankit._errors import GankitError, UsageError
from gankit._writers import save_npz
from gankit_train.data import open_dataset
from gankit_train.data.dataset import fit
from gankit_train.data.sources import cache_folder

COLOURS = {"red": (200, 10, 10), "green": (10, 200, 10), "blue": (10, 10, 200)}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GANKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def paint(folder: Path, count: int = 10, size: tuple[int, int] = (20, 30)) -> Path:
    """A folder of images with a folder for each colour."""
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", size, colour).save(folder / name / f"{i:03d}.png")
    return folder


def zipped(folder: Path) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder.parent))
    return path


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def celeba(folder: Path) -> Path:
    """Ten images in CelebA's layout, the last of which belongs to the test part."""
    (folder / "img_align_celeba").mkdir(parents=True)
    lines, parts = ["10", "Blond_Hair Smiling"], []
    for i in range(10):
        Image.new("RGB", (89, 109), (25 * i, 0, 0)).save(folder / "img_align_celeba" / f"{i:06d}.jpg", quality=95)
        lines.append(f"{i:06d}.jpg {1 if i % 2 else -1:2d} {1 if i < 3 else -1:2d}")
        parts.append(f"{i:06d}.jpg {2 if i == 9 else 0}")
    (folder / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    (folder / "list_eval_partition.txt").write_text("\n".join(parts) + "\n")
    return folder


@pytest.mark.parametrize(
    ("name", "shape", "k", "kind"),
    [
        ("digits", (5_000, 28, 28, 1), 10, "classes"),
        ("bricks", (10_000, 64, 64, 3), 16, "classes"),
        ("avatars", (10_000, 32, 32, 3), 6, "attributes"),
    ],
)
def test_the_built_in_sets(name: str, shape: tuple[int, ...], k: int, kind: str) -> None:
    data = open_dataset(name, (32, 32) if name == "avatars" else None)
    assert data.images.shape == shape and data.images.dtype == np.uint8
    assert data.vectors.shape == (shape[0], k) and data.kind == kind
    assert data.labels is not None and len(data.labels.names) == k
    assert data.images[::50].reshape(-1).std() > 20  # pictures, not blank
    assert len(np.unique(data.images[:500].reshape(500, -1), axis=0)) > 480


def test_avatars_show_their_hair_colour() -> None:
    data = open_dataset("avatars", (32, 32))
    assert data.labels is not None and data.labels.exclusive == ((0, 1, 2, 3),)
    top = data.images[:1000, 3:7, 12:20].reshape(1000, -1, 3).mean(1)
    blond, black = (top[data.vectors[:1000, column] == 1].mean() for column in (0, 1))
    assert blond > black + 80


def test_folders_are_labels(cache: Path, tmp_path: Path) -> None:
    data = open_dataset(str(paint(tmp_path / "set")))
    assert data.name == "set" and data.label_names == ("blue", "green", "red") and data.kind == "classes"
    assert data.images.shape == (30, 64, 64, 3)
    assert data.images[0, 0, 0].tolist() == [10, 10, 200] and data.vectors[0].tolist() == [1, 0, 0]
    assert data.labels is not None and data.labels.exclusive == ((0, 1, 2),)


def test_a_zip_is_the_folder_it_was_made_of(cache: Path, tmp_path: Path) -> None:
    folder = open_dataset(str(paint(tmp_path / "set")))
    archive = open_dataset(str(zipped(tmp_path / "set")))
    assert np.array_equal(folder.images, archive.images) and folder.fingerprint == archive.fingerprint


def test_one_folder_has_no_labels(cache: Path, tmp_path: Path) -> None:
    data = open_dataset(str(paint(tmp_path / "set") / "red"))
    assert data.label_names == () and data.labels is None and len(data.images) == 10


def test_celeba_with_its_attributes(cache: Path, tmp_path: Path) -> None:
    root = celeba(tmp_path / "faces")
    data = open_dataset(str(root), (32, 24))
    assert data.label_names == ("Blond_Hair", "Smiling") and data.kind == "attributes"
    assert data.images.shape == (9, 32, 24, 3)  # without the test image
    assert data.vectors.T.tolist() == [[0, 1, 0, 1, 0, 1, 0, 1, 0], [1, 1, 1, 0, 0, 0, 0, 0, 0]]
    one = open_dataset(str(zipped(root)), (32, 24), attributes=("blond",))
    assert one.label_names == ("Blond_Hair",) and one.vectors[:, 0].tolist() == data.vectors[:, 0].tolist()
    with pytest.raises(UsageError, match=r"'beard'.*Blond_Hair, Smiling"):
        open_dataset(str(root), attributes=("beard",))


def test_a_part_of_celeba_is_enough(cache: Path, tmp_path: Path) -> None:
    root = celeba(tmp_path / "faces")
    (root / "img_align_celeba" / "000001.jpg").unlink()
    data = open_dataset(str(root))
    assert len(data.images) == 8 and data.vectors[:3].tolist() == [[0, 1], [0, 1], [1, 0]]


def test_celeba_as_kaggle_has_it(cache: Path, tmp_path: Path) -> None:
    root = celeba(tmp_path / "faces")
    expected = open_dataset(str(root)).vectors
    for name, header in (("list_attr_celeba", None), ("list_eval_partition", "image_id partition")):
        lines = (root / f"{name}.txt").read_text().splitlines()
        lines = [header, *lines] if header else [f"image_id {lines[1]}", *lines[2:]]
        (root / f"{name}.csv").write_text("\n".join(",".join(line.split()) for line in lines) + "\n")
        (root / f"{name}.txt").unlink()
    data = open_dataset(str(root))
    assert data.label_names == ("Blond_Hair", "Smiling") and np.array_equal(data.vectors, expected)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no attributes"),
        ("1\nBlond_Hair\n", "no attributes"),
        ("1\nBlond_Hair\n000001.jpg 1 1\n", "2 values for 000001.jpg, not 1"),
        ("1\nBlond_Hair\nnone.jpg 1\n", "no attributes of training images that are there"),
    ],
)
def test_a_damaged_attribute_file_says_where(cache: Path, tmp_path: Path, text: str, words: str) -> None:
    root = celeba(tmp_path / "faces")
    (root / "list_attr_celeba.txt").write_text(text)
    with pytest.raises(UsageError, match=f"list_attr_celeba.txt.*{words}"):
        open_dataset(str(root))


@pytest.mark.parametrize("packed", [False, True])
def test_mnists_own_files(cache: Path, tmp_path: Path, packed: bool) -> None:
    images, digits = np.arange(4 * 28 * 28, dtype=np.uint8).reshape(4, 28, 28), np.array([3, 0, 2, 3], np.uint8)
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, array in (("train-images-idx3-ubyte", images), ("train-labels-idx1-ubyte", digits)):
        content = idx(array)
        (raw / (name + ".gz" * packed)).write_bytes(gzip.compress(content) if packed else content)
    data = open_dataset(str(tmp_path / "MNIST"))
    assert np.array_equal(data.images[..., 0], images)
    assert data.label_names == ("0", "2", "3")  # what no image has is no label
    assert data.vectors.argmax(1).tolist() == [2, 0, 1, 2]


def test_a_damaged_idx_file_is_refused(cache: Path, tmp_path: Path) -> None:
    whole = idx(np.zeros((4, 28, 28), np.uint8))
    (tmp_path / "train-labels.idx1-ubyte").write_bytes(idx(np.zeros(3, np.uint8)))
    for content, words in [
        (whole[:-5], "cut off: 3131 bytes of 3136"),
        (whole[:9], "damaged"),
        (b"", "no IDX file"),
        (whole, r"images \[4, 28, 28\] and labels \[3\]"),
    ]:
        (tmp_path / "train-images.idx3-ubyte").write_bytes(content)
        with pytest.raises(UsageError, match=words):
            open_dataset(str(tmp_path))
    (tmp_path / "train-images.idx3-ubyte").unlink()
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(whole)[:-20])
    with pytest.raises(UsageError, match="damaged"):
        open_dataset(str(tmp_path))


GREY = np.arange(5 * 16 * 16, dtype=np.uint8).reshape(5, 16, 16)
COLOURED = np.random.default_rng(0).integers(0, 256, (5, 16, 12, 3), np.uint8)


@pytest.mark.parametrize(
    ("saved", "expected"),
    [
        (GREY, GREY[..., None]),
        (GREY[..., None], GREY[..., None]),
        (GREY[:, None], GREY[..., None]),
        (GREY.reshape(5, 256), GREY[..., None]),
        (COLOURED, COLOURED),
        (COLOURED.transpose(0, 3, 1, 2), COLOURED),
        (np.asfortranarray(COLOURED), COLOURED),
        (
            COLOURED.transpose(0, 3, 1, 2)[..., :3],
            COLOURED.transpose(0, 3, 1, 2)[..., :3],
        ),  # either; channels last wins
    ],
)
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".NPZ"])
def test_arrays_in_every_layout(
    cache: Path, tmp_path: Path, saved: np.ndarray, expected: np.ndarray, suffix: str
) -> None:
    with (tmp_path / f"set{suffix}").open("wb") as file:
        np.save(file, saved) if suffix == ".npy" else np.savez_compressed(file, saved)
    data = open_dataset(str(tmp_path / f"set{suffix}"))
    assert np.array_equal(data.images, expected)
    assert data.name == "set" and data.labels is None


@pytest.mark.parametrize("names", [("arr_0", "arr_1"), ("images", "labels")])
def test_classes_in_an_npz_may_leave_numbers_out(cache: Path, tmp_path: Path, names: tuple[str, str]) -> None:
    for labels in (np.array([7, 3, 3, 7, 900]), np.array([[7], [3], [3], [7], [900]], np.uint16)):
        np.savez(tmp_path / "set.npz", **dict(zip(names, (GREY, labels), strict=True)))
        data = open_dataset(str(tmp_path / "set.npz"))
        assert data.label_names == ("3", "7", "900") and data.kind == "classes"
        assert data.vectors.argmax(1).tolist() == [1, 0, 0, 1, 2]
        assert data.labels is not None and data.labels.exclusive == ((0, 1, 2),)


def test_attributes_in_an_npz_as_gan_gen_writes_them(cache: Path, tmp_path: Path) -> None:
    vectors = np.array([[1, 0, 1], [0, 1, 0], [0, 1, 1], [1, 0, 0], [1, 0, 1]], np.float32)
    save_npz(tmp_path / "made.npz", [COLOURED], len(COLOURED), [vectors])
    data = open_dataset(str(tmp_path / "made.npz"))
    assert data.label_names == ("0", "1", "2") and data.kind == "attributes" and np.array_equal(data.vectors, vectors)


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.npy", b"", "cannot be read as a .npy file"),
        ("a.npy", b"no array at all", "cannot be read as a .npy file"),
        ("a.npy", npy(GREY)[:-1], "cannot be read as a .npy file"),
        ("a.npy", npy(GREY)[:50], "cannot be read as a .npy file"),
        ("a.npy", npy(np.array([None, "x"])), "cannot be read as a .npy file.*objects"),
        ("a.npy", npy(GREY[:0]), r"images \[0, 16, 16\].*n over 0"),
        ("a.npy", npy(GREY[:, :0]), r"images \[5, 0, 16\]"),
        ("a.npy", npy(np.zeros((5, 0), np.uint8)), r"images \[5, 0\]"),
        ("a.npy", npy(np.uint8(3)), r"images \[\]"),
        ("a.npy", npy(np.zeros((5, 257), np.uint8)), r"images \[5, 257\]: give \[n, h, w\]"),
        ("a.npy", npy(np.zeros((5, 8, 8, 4), np.uint8)), r"images \[5, 8, 8, 4\]"),
        ("a.npy", npy(np.zeros((1, 5, 8, 8, 3), np.uint8)), r"images \[1, 5, 8, 8, 3\]"),
        ("a.npy", npy(GREY / 255), r"float64: scale them to 0 … 255 and save .*astype\('uint8'\)"),
        ("a.npz", b"no zip", "cannot be read as a .npz file"),
        ("a.npz", npz(images=GREY)[:-30], "cannot be read as a .npz file"),
        ("a.npz", npz(images=GREY).replace(GREY.tobytes(), bytes(GREY.size)), "cannot be read as a .npz file.*CRC"),
        ("a.npz", npz(images=np.array([None, "x"])), "cannot be read as a .npz file.*Object"),
        ("a.npz", npz(x=GREY), r"no images: save them as arr_0 or images; there is x\.npy"),
        ("a.npz", npz(), "no images.*there is nothing"),
        (
            "a.npz",
            npz(images=GREY, labels=np.arange(4)),
            r"5 images and labels \[4\] of int64 \(0, 1, 2 …\): give .*\[5\]",
        ),
        ("a.npz", npz(images=GREY, labels=np.array([3, 1, -1, 0, 2])), r"\(-1, 0, 1 …\): give whole numbers"),
        ("a.npz", npz(images=GREY, labels=np.ones(5)), r"float64 \(1\.0 …\): give whole numbers"),
        ("a.npz", npz(images=GREY, labels=np.array(list("abcde"))), r"\(a, b, c …\): give whole numbers"),
        ("a.npz", npz(images=GREY, labels=np.array(3)), r"labels \[\] of int64"),
        (
            "a.npz",
            npz(images=GREY, labels=np.full((5, 2), 0.5)),
            r"\[5, 2\].*\(0\.5 …\): give .*0 and 1 for each attribute",
        ),
    ],
)
def test_arrays_that_cannot_be_used(cache: Path, tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=words) as caught:
        open_dataset(str(tmp_path / name))
    assert "\n" not in str(caught.value) and str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize("name", ["set.npy", "set.npz"])
def test_an_array_that_changed_is_packed_anew(cache: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for step, array in enumerate((GREY, 255 - GREY)):
        path.write_bytes(npy(array) if path.suffix == ".npy" else npz(images=array))
        os.utime(path, (1_000_000, 1_000_000))  # as an archive may set it, whatever the content
        assert np.array_equal(open_dataset(str(path)).images[..., 0], array), step
    path.rename(tmp_path / f"moved{path.suffix}")
    assert np.array_equal(open_dataset(str(tmp_path / f"moved{path.suffix}")).images[..., 0], 255 - GREY)


def test_many_images_in_an_array_stay_in_order(cache: Path, tmp_path: Path) -> None:
    many = np.repeat(np.arange(1000) % 256, 64).astype(np.uint8).reshape(1000, 8, 8)
    np.save(tmp_path / "set.npy", many)
    assert np.array_equal(open_dataset(str(tmp_path / "set.npy")).images[..., 0], many)


def test_digits_are_stacked_in_three_colours(cache: Path, tmp_path: Path) -> None:
    grey = np.random.default_rng(0).permutation(40 * 9).reshape(40, 3, 3) // 2
    np.savez(tmp_path / "grey.npz", images=grey.astype(np.uint8), labels=np.arange(40) % 4)
    data = open_dataset(f"stacked-mnist:{tmp_path / 'grey.npz'}")
    assert data.name == "stacked-mnist" and data.stacked and data.images.shape == (40, 3, 3, 3)
    of_each = [[int((grey == image[:, :, c]).all((1, 2)).argmax()) for image in data.images] for c in range(3)]
    for c, digits in enumerate(of_each):
        assert sorted(digits) == list(range(40))  # each once in a colour
        assert data.vectors[:, 4 * c : 4 * c + 4].argmax(1).tolist() == [digit % 4 for digit in digits]
    assert of_each[0] != of_each[1] != of_each[2]
    labels = data.labels
    assert labels is not None and labels.names[::4] == ("red-0", "green-0", "blue-0")
    assert labels.exclusive == ((0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10, 11))
    red = open_dataset(f"stacked-mnist:{tmp_path / 'grey.npz'}", (8, 8), attributes=("red-1",))
    assert red.images.shape == (40, 8, 8, 3) and red.label_names == ("red-1",) and not red.stacked


def test_images_of_several_sizes_are_cropped_and_scaled(cache: Path, tmp_path: Path) -> None:
    for i, size in enumerate([(10, 10), (200, 100), (64, 300)]):
        Image.new("L", size, 50 * i).save(tmp_path / f"{i}.png")
    data = open_dataset(str(tmp_path), (16, 16))
    assert data.images.shape == (3, 16, 16, 1)
    assert [int(image.mean()) for image in data.images] == [0, 50, 100]
    assert open_dataset(str(tmp_path), (16, 16), channels=3).images.shape == (3, 16, 16, 3)


def test_a_cameras_orientation_mark_is_obeyed(cache: Path, tmp_path: Path) -> None:
    image = Image.new("RGB", (16, 16), "white")
    image.paste("black", (0, 0, 16, 8))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    image.save(tmp_path / "0.jpg", exif=exif, quality=95)
    packed = open_dataset(str(tmp_path), (16, 16)).images[0]
    assert packed[:6].mean() > 240 and packed[10:].mean() < 15


def test_sixteen_bit_greys_keep_their_range(cache: Path, tmp_path: Path) -> None:
    Image.fromarray(np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)).save(tmp_path / "0.png")
    packed = open_dataset(str(tmp_path)).images
    assert packed.shape[-1] == 1 and packed.min() == 0 and packed.max() == 255 and 120 < packed.mean() < 135


def test_the_crop_is_the_centre() -> None:
    image = np.zeros((10, 30, 3), np.uint8)
    image[:, 10:20] = 255
    assert (fit(Image.fromarray(image), 10, 10, 3) == 255).all()


def test_a_crop_of_all_there_is() -> None:
    assert fit(Image.new("L", (29, 40), 9), 28, 28, 1).tolist() == [[[9]] * 28] * 28  # 28 * (29 / 28) is more than 29


def stripes(vertical: bool) -> Image.Image:
    """Red, green and blue in equal parts: 300 wide and 100 high, or turned."""
    image = Image.new("RGB", (300, 100), COLOURS["green"])
    image.paste(COLOURS["red"], (0, 0, 100, 100))
    image.paste(COLOURS["blue"], (200, 0, 300, 100))
    return image.transpose(Image.Transpose.TRANSPOSE) if vertical else image


@pytest.mark.parametrize("vertical", [False, True])
def test_what_becomes_of_another_shape(cache: Path, tmp_path: Path, vertical: bool) -> None:
    stripes(vertical).save(tmp_path / "0.png")
    red, green, blue, black = *COLOURS.values(), (0, 0, 0)
    for fitting, middle, across in [
        ("crop", [green, green, green], [green, green, green]),
        ("pad", [red, green, blue], [black, green, black]),
        ("stretch", [red, green, blue], [green, green, green]),
    ]:
        image = open_dataset(str(tmp_path), (60, 60), fitting=fitting).images[0]
        image = image.transpose(1, 0, 2) if vertical else image
        assert image[30, [10, 30, 50]].tolist() == [list(colour) for colour in middle], fitting
        assert image[[10, 30, 50], 30].tolist() == [list(colour) for colour in across], fitting
    assert image.shape == (60, 60, 3)
    padded = open_dataset(str(tmp_path), (60, 60), fitting="pad").images[0].any(2).any(int(not vertical))
    assert np.flatnonzero(padded).tolist() == list(range(20, 40))  # no more and no less than the picture, centred


def test_padding_at_its_limits() -> None:
    assert fit(Image.new("L", (1000, 1), 255), 16, 16, 1, "pad").sum() == 255 * 16  # never thinner than a pixel
    assert (fit(Image.new("L", (16, 16), 7), 16, 16, 1, "pad") == 7).all()
    with pytest.raises(UsageError, match="'fill': take crop, pad, stretch"):
        open_dataset("digits", fitting="fill")


def test_transparent_parts_become_white() -> None:
    assert (fit(Image.new("RGBA", (8, 8), (0, 0, 0, 0)), 8, 8, 3) == 255).all()


def test_a_broken_image_among_good_ones_is_named_and_left_out(cache: Path, tmp_path: Path) -> None:
    root = paint(tmp_path / "set", count=50)
    (root / "green" / "007.png").write_bytes(b"no picture")
    data = open_dataset(str(root))
    assert data.skipped == ("green/007.png",) and len(data.images) == 149
    assert data.vectors.sum(0).tolist() == [50, 49, 50]
    assert data.images[-1, 0, 0].tolist() == [200, 10, 10]


def test_more_than_one_in_a_hundred_broken_is_refused(cache: Path, tmp_path: Path) -> None:
    root = paint(tmp_path / "set", count=50)
    for i in (3, 4):
        (root / "green" / f"{i:03d}.png").write_bytes(b"no picture")
    with pytest.raises(UsageError, match=r"2 of 150 images are broken.*green/003\.png"):
        open_dataset(str(root))
    assert not any(cache.iterdir())


def test_what_is_no_data_is_refused(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.zip").write_text("no zip")
    for path, words in [
        (
            "none",
            "no data at.*digits, bricks, avatars, mnist, fashion-mnist, cifar10, celeba, stacked-mnist, or a path",
        ),
        ("empty", "no images"),
        ("text.zip", "neither"),
    ]:
        with pytest.raises(UsageError, match=words):
            open_dataset(str(tmp_path / path))


def test_packing_happens_once_and_again_when_the_data_changes(cache: Path, tmp_path: Path) -> None:
    root, calls = paint(tmp_path / "set"), []
    first = open_dataset(str(root), progress=lambda done, total: calls.append((done, total)))
    assert calls == [(30, 30)]
    again = open_dataset(str(root), progress=lambda done, total: calls.append((done, total)))
    assert len(calls) == 1 and again.fingerprint == first.fingerprint
    Image.new("RGB", (20, 30), "white").save(root / "red" / "new.png")
    assert open_dataset(str(root)).fingerprint != first.fingerprint


def test_worker_processes_pack_the_same(cache: Path, tmp_path: Path) -> None:
    root = paint(tmp_path / "set", count=300)  # enough for several chunks
    data = open_dataset(str(root), (8, 8))
    expected = np.repeat([COLOURS[name] for name in sorted(COLOURS)], 300, axis=0)
    assert np.array_equal(data.images[:, 4, 4], expected)


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GANKIT_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(GankitError, match="GANKIT_CACHE"):
        open_dataset(str(paint(tmp_path / "set")))
    assert cache_folder() == tmp_path / "file" / "cache"
