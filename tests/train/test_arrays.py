"""Arrays as training data: .npy and .npz in every layout, MNIST's IDX files, and damaged files of each kind."""

import gzip
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gankit._errors import UsageError
from gankit._writers import save_npz
from gankit_train.data import open_dataset
from tests.helpers.datasets import idx_bytes

# IDX files


@pytest.mark.parametrize("packed", [False, True])
def test_mnist_files_are_read_packed_and_unpacked(cache: Path, tmp_path: Path, packed: bool) -> None:
    images, digits = np.arange(4 * 28 * 28, dtype=np.uint8).reshape(4, 28, 28), np.array([3, 0, 2, 3], np.uint8)
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, array in (("train-images-idx3-ubyte", images), ("train-labels-idx1-ubyte", digits)):
        content = idx_bytes(array)
        (raw / (name + ".gz" * packed)).write_bytes(gzip.compress(content) if packed else content)
    data = open_dataset(str(tmp_path / "MNIST"))
    assert np.array_equal(data.images[..., 0], images)
    assert data.label_names == ("0", "2", "3")  # a class without images is not a label
    assert data.vectors.argmax(1).tolist() == [2, 0, 1, 2]


def test_damaged_idx_files_are_refused(cache: Path, tmp_path: Path) -> None:
    whole = idx_bytes(np.zeros((4, 28, 28), np.uint8))
    (tmp_path / "train-labels.idx1-ubyte").write_bytes(idx_bytes(np.zeros(3, np.uint8)))
    for content, words in [
        (whole[:-5], "truncated: 3131 bytes of 3136"),
        (whole[:9], "damaged"),
        (b"", "not an IDX file"),
        (whole, r"images \[4, 28, 28\] and labels \[3\]"),
    ]:
        (tmp_path / "train-images.idx3-ubyte").write_bytes(content)
        with pytest.raises(UsageError, match=words):
            open_dataset(str(tmp_path))
    (tmp_path / "train-images.idx3-ubyte").unlink()
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(whole)[:-20])
    with pytest.raises(UsageError, match="damaged"):
        open_dataset(str(tmp_path))


# NumPy files


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
        ),  # ambiguous: channels last is preferred
    ],
)
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".NPZ"])
def test_arrays_may_have_any_usual_layout(
    cache: Path, tmp_path: Path, saved: NDArray[Any], expected: NDArray[Any], suffix: str
) -> None:
    with (tmp_path / f"set{suffix}").open("wb") as file:
        np.save(file, saved) if suffix == ".npy" else np.savez_compressed(file, saved)
    data = open_dataset(str(tmp_path / f"set{suffix}"))
    assert np.array_equal(data.images, expected)
    assert data.name == "set" and data.labels is None


@pytest.mark.parametrize("names", [("arr_0", "arr_1"), ("images", "labels")])
def test_class_numbers_in_an_npz_may_have_gaps(cache: Path, tmp_path: Path, names: tuple[str, str]) -> None:
    for labels in (np.array([7, 3, 3, 7, 900]), np.array([[7], [3], [3], [7], [900]], np.uint16)):
        np.savez(tmp_path / "set.npz", **dict(zip(names, (GREY, labels), strict=True)))
        data = open_dataset(str(tmp_path / "set.npz"))
        assert data.label_names == ("3", "7", "900") and data.kind == "classes"
        assert data.vectors.argmax(1).tolist() == [1, 0, 0, 1, 2]
        assert data.labels is not None and data.labels.exclusive == ((0, 1, 2),)


def test_attributes_are_read_from_an_npz_of_gan_gen(cache: Path, tmp_path: Path) -> None:
    vectors = np.array([[1, 0, 1], [0, 1, 0], [0, 1, 1], [1, 0, 0], [1, 0, 1]], np.float32)
    save_npz(tmp_path / "made.npz", [COLOURED], len(COLOURED), [vectors])
    data = open_dataset(str(tmp_path / "made.npz"))
    assert data.label_names == ("0", "1", "2") and data.kind == "attributes" and np.array_equal(data.vectors, vectors)


def npy(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(**arrays: NDArray[Any]) -> bytes:
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
        ("a.npy", npy(GREY[:0]), r"images \[0, 16, 16\].*n of at least 1"),
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
        ("a.npz", npz(x=GREY), r"no images: save them as arr_0 or images; it has x\.npy"),
        ("a.npz", npz(), "no images.*it has no arrays"),
        (
            "a.npz",
            npz(images=GREY, labels=np.arange(4)),
            r"5 images and labels \[4\] of int64 \(0, 1, 2 …\): give .*\[5\]",
        ),
        ("a.npz", npz(images=GREY, labels=np.array([3, 1, -1, 0, 2])), r"\(-1, 0, 1 …\): give integers"),
        ("a.npz", npz(images=GREY, labels=np.ones(5)), r"float64 \(1\.0 …\): give integers"),
        ("a.npz", npz(images=GREY, labels=np.array(list("abcde"))), r"\(a, b, c …\): give integers"),
        ("a.npz", npz(images=GREY, labels=np.array(3)), r"labels \[\] of int64"),
        (
            "a.npz",
            npz(images=GREY, labels=np.full((5, 2), 0.5)),
            r"\[5, 2\].*\(0\.5 …\): give .*0 and 1 for each attribute",
        ),
    ],
)
def test_unusable_arrays_are_refused_with_what_is_possible(
    cache: Path, tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=words) as caught:
        open_dataset(str(tmp_path / name))
    assert "\n" not in str(caught.value) and str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize("name", ["set.npy", "set.npz"])
def test_a_changed_array_is_packed_again(cache: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for step, array in enumerate((GREY, 255 - GREY)):
        path.write_bytes(npy(array) if path.suffix == ".npy" else npz(images=array))
        os.utime(path, (1_000_000, 1_000_000))  # an archive may set it so
        assert np.array_equal(open_dataset(str(path)).images[..., 0], array), step
    path.rename(tmp_path / f"moved{path.suffix}")
    assert np.array_equal(open_dataset(str(tmp_path / f"moved{path.suffix}")).images[..., 0], 255 - GREY)


def test_images_of_an_array_keep_their_order(cache: Path, tmp_path: Path) -> None:
    many = np.repeat(np.arange(1000) % 256, 64).astype(np.uint8).reshape(1000, 8, 8)
    np.save(tmp_path / "set.npy", many)
    assert np.array_equal(open_dataset(str(tmp_path / "set.npy")).images[..., 0], many)
