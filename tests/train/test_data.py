import gzip
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gankit.errors import GankitError, UsageError
from gankit_train.data import open_dataset
from gankit_train.data.pack import cache_folder, fit

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
    assert data.vectors.argmax(1).tolist() == [3, 0, 2, 3]


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
        ("none", "no data at.*digits, bricks, avatars"),
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
