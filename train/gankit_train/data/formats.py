"""Readers of images and labels from files: NumPy arrays, MNIST's IDX files, CelebA's layout, image folders and zips.

A source lists its images, knows their labels and can decode any one of them; nothing is decoded when it is opened.
"""

import gzip
import hashlib
import io
import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gankit._errors import UsageError, one_line

LabelKind = Literal["classes", "attributes"]

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".pgm", ".ppm"})
IDX_IMAGES, IDX_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
CELEBA_ATTRIBUTES, CELEBA_PARTITION = "list_attr_celeba", "list_eval_partition"  # .txt, or .csv from Kaggle
# What is raised when a file or a member of a zip is truncated or is not what its name says.
_READ_ERRORS = (OSError, EOFError, IndexError, struct.error, zlib.error, zipfile.BadZipFile, UnicodeDecodeError)


@dataclass(frozen=True)
class Source:
    """Images that can be read one by one, in any process, and their labels."""

    name: str  # short, fit for a folder
    key: str  # changes whenever the images or their labels may have changed; part of the key of the cache
    names: Sequence[Any]  # what identifies each image for `read`: a file name, a number, or three of these
    read: Callable[[Any], Image.Image]  # decodes an image; must be picklable, as worker processes call it
    label_names: tuple[str, ...]
    labels: NDArray[np.uint8]  # label vectors [n, k] of 0 and 1; k may be 0
    kind: LabelKind
    size: tuple[int, int] = (64, 64)  # default height and width
    channels: int | None = None  # 1 or 3 where known without decoding an image
    slow: bool = True  # whether decoding is slow enough for worker processes to pay off
    stacked: bool = False  # whether each channel is an image of its own, with labels of its own


def numpy_source(path: Path) -> Source:
    """Opens a .npy or .npz, see `open_source`, without unpickling. Raises UsageError if its arrays cannot be used."""
    images: NDArray[Any] | None
    try:
        if path.suffix.lower() == ".npy":
            images, labels, found = np.lib.format.open_memmap(path, mode="r"), None, ""
            with path.open("rb") as file:  # not by its time, which copies and archives keep
                key = hashlib.file_digest(file, "sha256").hexdigest()
        else:
            with zipfile.ZipFile(path) as archive:
                found = ", ".join(archive.namelist())
                key = hashlib.sha256(repr([(e.filename, e.CRC) for e in archive.infolist()]).encode()).hexdigest()
            with np.load(path) as arrays:
                images, labels = arrays.get("arr_0", arrays.get("images")), arrays.get("arr_1", arrays.get("labels"))
    except (*_READ_ERRORS, ValueError) as error:
        raise UsageError(f"{path} cannot be read as a {path.suffix} file: {one_line(error)}") from None
    if images is None:
        raise UsageError(f"{path} has no images: save them as arr_0 or images; it has {found or 'no arrays'}")
    images = _check_images(path, images)
    return array_source(_source_name(path), key, images, _check_labels(path, labels, len(images)))


def _check_images(path: Path, array: NDArray[Any]) -> NDArray[np.uint8]:
    """Returns images of any layout as [n, h, w] or [n, h, w, 3], without reading a memory-mapped array."""
    shape, dtype = array.shape, array.dtype
    if dtype != np.uint8:
        raise UsageError(f"{path} has images of {dtype}: scale them to 0 … 255 and save images.round().astype('uint8')")
    side = math.isqrt(shape[-1]) if shape else 0
    if array.ndim == 2 and array.size and side**2 == shape[1]:  # the layout of Quick, Draw!
        array = array.reshape(-1, side, side)
    elif array.ndim == 4 and shape[3] not in (1, 3) and shape[1] in (1, 3):
        array = np.moveaxis(array, 1, 3)
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if not array.size or (array.ndim != 3 and array.shape[3:] != (3,)):
        raise UsageError(f"{path} has images {list(shape)}: give [n, h, w] or [n, h, w, 1 or 3], with n of at least 1")
    return array


def _check_labels(path: Path, labels: NDArray[Any] | None, n: int) -> NDArray[Any]:
    """Returns class numbers [n], or 0 and 1 for each attribute [n, k]."""
    if labels is None:
        return np.zeros((n, 0), np.uint8)
    labels = labels[:, 0] if labels.shape[1:] == (1,) else labels
    if labels.shape == (n,) and labels.dtype.kind in "iu" and labels.min() >= 0:
        return labels
    if labels.ndim == 2 and len(labels) == n and np.isin(labels, (0, 1)).all():
        return labels.astype(np.uint8)
    some = ", ".join(map(str, np.unique(labels)[:3]))
    raise UsageError(
        f"{path} has {n} images and labels {list(labels.shape)} of {labels.dtype} ({some} …): give integers [{n}] "
        f"from 0, or 0 and 1 for each attribute [{n}, k]"
    )


def idx_source(root: Path, key: str, by_name: dict[str, str]) -> Source:
    """Opens the training part of MNIST or of another data set in its format."""
    if IDX_LABELS not in by_name:
        raise UsageError(f"{root} has {IDX_IMAGES} but not {IDX_LABELS}; put both there")
    images, classes = _read_idx(root, by_name[IDX_IMAGES]), _read_idx(root, by_name[IDX_LABELS])
    if images.ndim != 3 or classes.shape != images.shape[:1]:
        raise UsageError(f"{root} has images {list(images.shape)} and labels {list(classes.shape)}, which do not match")
    return array_source(_source_name(root), key, images, classes)


def _read_idx(root: Path, name: str) -> NDArray[np.uint8]:
    """Reads the IDX format of http://yann.lecun.com/exdb/mnist: two zero bytes, type, rank, big-endian sizes, data."""
    try:
        raw = _read(root, name)
        raw = gzip.decompress(raw) if name.endswith(".gz") else raw
        if raw[:3] != b"\0\0\x08":
            raise UsageError(f"{name} in {root} is not an IDX file of bytes")
        shape = struct.unpack_from(f">{raw[3]}I", raw, 4)
        values = np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3])
    except _READ_ERRORS as error:
        raise UsageError(f"{name} in {root} is damaged: {error}") from None
    if values.size != np.prod(shape):
        raise UsageError(f"{name} in {root} is truncated: {values.size} bytes of {np.prod(shape)}")
    return values.reshape(shape)


def array_source(
    name: str, key: str, images: NDArray[np.uint8], labels: NDArray[Any], class_names: Sequence[str] = ()
) -> Source:
    """Makes a source of images uint8 [n, h, w] or [n, h, w, 3] in memory.

    `labels` are class numbers [n]; those that occur become labels. Or they are attributes [n, k] of 0 and 1.
    `class_names` go by class number; without them, each class is named by its number.
    """
    kind: LabelKind = "classes" if labels.ndim == 1 else "attributes"
    if kind == "attributes":
        vectors, label_names = labels, tuple(map(str, range(labels.shape[1])))
    else:
        values, columns = np.unique(labels, return_inverse=True)
        vectors = np.eye(len(values), dtype=np.uint8)[columns]
        label_names = tuple(class_names[value] if class_names else str(value) for value in values)
    numbers, read = range(len(images)), partial(_read_array, images)
    size, channels = images.shape[1:3], 1 if images.ndim == 3 else 3
    # Not slow: there is only scaling to do, and every worker process would be sent all images.
    return Source(name, key, numbers, read, label_names, vectors, kind, size, channels, slow=False)


def _read_array(images: NDArray[np.uint8], i: int) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(images[i]))


def celeba_source(root: Path, key: str, images: list[str], by_name: dict[str, str]) -> Source:
    """Opens CelebA's layout: a count, the attribute names, then `file 1 -1 …` a line. Test images are left out."""
    paths, table = {PurePosixPath(name).name: name for name in images}, by_name[CELEBA_ATTRIBUTES]
    header, *lines = read_table(root, table) or [[]]
    label_names = tuple(name for name in header if name != "image_id")
    partition = read_table(root, by_name[CELEBA_PARTITION]) if CELEBA_PARTITION in by_name else []
    test = {name for name, *part in partition if part == ["2"]}
    rows = {name: row for name, *row in lines if name in paths and name not in test}  # some of the images are enough
    for name, row in rows.items():
        if len(row) != len(label_names):
            raise UsageError(f"{table} in {root} has {len(row)} values for {name}, not {len(label_names)}")
    if not rows or not label_names:
        raise UsageError(f"{table} in {root} lists no attributes of the training images in {root}")
    labels = np.array([[value == "1" for value in row] for row in rows.values()], np.uint8)
    names = [paths[name] for name in rows]
    return Source(_source_name(root), key, names, partial(_decode, root), label_names, labels, "attributes")


def read_table(root: Path, name: str) -> list[list[str]]:
    """Reads the words of each line of a list of CelebA, without the count that may stand in the first line."""
    try:
        lines = [line.split() for line in _read(root, name).decode().replace(",", " ").splitlines()]
    except _READ_ERRORS as error:
        raise UsageError(f"{name} in {root} is damaged: {error}") from None
    return [line for line in lines if line and not (len(line) == 1 and line[0].isdigit())]


def folder_source(root: Path, key: str, images: list[str]) -> Source:
    """Opens image files; if they are in more than one folder, the folders are their labels."""
    folders, columns = np.unique([str(PurePosixPath(name).parent) for name in images], return_inverse=True)
    k = len(folders) if len(folders) > 1 else 0
    labels = np.eye(len(folders), k, dtype=np.uint8)[columns]
    short = [PurePosixPath(name).name for name in folders]  # sufficient as names if they are unique
    label_names = tuple(short if len(set(short)) == k else folders.tolist())[:k]
    return Source(_source_name(root), key, images, partial(_decode, root), label_names, labels, "classes")


def _source_name(path: Path) -> str:
    """Names a source after its folder, or after its file without the suffix."""
    path = path.resolve()
    return (path.name if path.is_dir() else path.stem) or "data"


def _decode(root: Path, name: str) -> Image.Image:
    image = Image.open(io.BytesIO(_read(root, name)))
    image.load()
    return image


def list_files(root: Path) -> dict[str, tuple[int, int]]:
    """Lists the visible files in a folder or a zip: name → size and a stamp of the content (its time or checksum)."""
    if root.is_dir():
        stats = {p.relative_to(root).as_posix(): p.stat() for p in root.rglob("*") if p.is_file()}
        listing = {name: (stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()}
    else:
        listing = {e.filename: (e.file_size, e.CRC) for e in _open_zip(root).infolist() if not e.is_dir()}
    hidden = (".", "__MACOSX")
    return {n: s for n, s in listing.items() if not any(part.startswith(hidden) for part in PurePosixPath(n).parts)}


def _read(root: Path, name: str) -> bytes:
    return (root / name).read_bytes() if root.is_dir() else _open_zip(root).read(name)


@lru_cache(maxsize=4)
def _open_zip(path: Path) -> zipfile.ZipFile:
    """Keeps a zip open in each process: reading its directory costs more than reading an image."""
    return zipfile.ZipFile(path)
