"""Where pictures come from: the built-in sets, and what lies at a path. Nothing is decoded here before it is asked for.

A source only lists its images, knows their labels and can read any one of them; `pack` makes the array.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib import import_module
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gankit.errors import UsageError

DRAWN = ("bricks", "avatars")  # modules beside this one: LABELS, KIND, COUNT, labels(), draw(index)
BUILT_IN = ("digits", *DRAWN)
_IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".pgm", ".ppm"})
_ATTRIBUTE_FILE, _PARTITION_FILE = "list_attr_celeba", "list_eval_partition"  # .txt, or .csv from Kaggle
_IDX_IMAGES = "train-images-idx3-ubyte"
_IDX_LABELS = "train-labels-idx1-ubyte"
_DAMAGED = (OSError, EOFError, IndexError, struct.error, zlib.error, zipfile.BadZipFile, UnicodeDecodeError)
"""What reading raises where a file or a member of a zip is cut off or not what its name says."""


@dataclass(frozen=True)
class Source:
    """Images that can be read one by one, in any process, and what is known of them."""

    name: str
    """Short, fit for a folder's name."""
    key: str
    """Changes whenever the images or their labels may have changed: the cache goes by it."""
    names: Sequence[str]
    """What to call each image in a message."""
    read: Callable[[int], Image.Image]
    """Decodes image i. Must survive pickling, as worker processes call it."""
    label_names: tuple[str, ...]
    labels: NDArray[np.uint8]
    """[n, k], 0 or 1; k may be 0."""
    kind: Literal["classes", "attributes"]
    size: tuple[int, int] = (64, 64)
    """Height and width to make of the images where nothing else was asked for."""
    channels: int | None = None
    """1 or 3 where that is known without a look at the images."""
    slow: bool = True
    """Whether reading is worth worker processes."""


def open_source(data: str) -> Source:
    """The source that `--data` names: a built-in set or a path.

    A folder or zip is taken as MNIST's files (`train-images-idx3-ubyte`), as CelebA (`list_attr_celeba.txt` or .csv),
    or as images whose folders, if there are several, are their labels.

    Raises:
        UsageError: nothing there, or nothing in it that can be used.
    """
    if data == "digits":
        return _digits()
    if data in DRAWN:
        return _drawn(data)
    root = Path(data).expanduser()
    if not root.exists():
        raise UsageError(f"there is no data at {data!r}: give {', '.join(BUILT_IN)}, or the path of a folder or a zip")
    if root.is_file() and not zipfile.is_zipfile(root):
        raise UsageError(f"{data} is neither a folder nor a zip of images")
    listing = _list(root)
    # MNIST's and CelebA's own files by their names, however they were packed or renamed on their way.
    by_name = {re.sub(r"\.(gz|txt|csv)$", "", PurePosixPath(n).name).replace(".idx", "-idx"): n for n in listing}
    key = hashlib.sha256(repr(sorted(listing.items())).encode()).hexdigest()
    if _IDX_IMAGES in by_name:
        return _idx(root, key, by_name)
    images = sorted(name for name in listing if PurePosixPath(name).suffix.lower() in _IMAGE_SUFFIXES)
    if not images:
        raise UsageError(f"there are no images in {data} (looked for {', '.join(sorted(_IMAGE_SUFFIXES))})")
    if _ATTRIBUTE_FILE in by_name:
        return _celeba(root, key, images, by_name)
    return _folder(root, key, images)


def _digits() -> Source:
    path = Path(str(files("gankit_train.data") / "digits.npz"))
    with np.load(path) as packed:
        images, digits = packed["images"], packed["labels"]
    return _array_source("digits", hashlib.sha256(path.read_bytes()).hexdigest(), images, digits)


def _drawn(name: str) -> Source:
    drawer = import_module(f"gankit_train.data.{name}")
    key = hashlib.sha256(Path(str(drawer.__file__)).read_bytes()).hexdigest()  # another drawing is another set
    names = [f"{name} {i}" for i in range(drawer.COUNT)]
    return Source(name, key, names, drawer.draw, drawer.LABELS, drawer.labels(), drawer.KIND, channels=3)


def _idx(root: Path, key: str, by_name: dict[str, str]) -> Source:
    """The training part of MNIST or of a set in its format."""
    images = _idx_array(root, by_name[_IDX_IMAGES])
    if _IDX_LABELS not in by_name:
        raise UsageError(f"{root} has {_IDX_IMAGES} but not {_IDX_LABELS}; put both there")
    classes = _idx_array(root, by_name[_IDX_LABELS])
    if images.ndim != 3 or classes.shape != images.shape[:1]:
        raise UsageError(f"{root} has images {list(images.shape)} and labels {list(classes.shape)}: these do not fit")
    return _array_source(_name(root), key, images, classes)


def _idx_array(root: Path, name: str) -> NDArray[np.uint8]:
    """The IDX format of http://yann.lecun.com/exdb/mnist: two zero bytes, type, rank, big-endian sizes, data."""
    try:
        raw = _read(root, name)
        raw = gzip.decompress(raw) if name.endswith(".gz") else raw
        if raw[:3] != b"\0\0\x08":
            raise UsageError(f"{name} in {root} is no IDX file of bytes")
        shape = struct.unpack_from(f">{raw[3]}I", raw, 4)
        values = np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3])
    except _DAMAGED as error:
        raise UsageError(f"{name} in {root} is damaged: {error}") from None
    if values.size != np.prod(shape):
        raise UsageError(f"{name} in {root} is cut off: {values.size} bytes of {np.prod(shape)}")
    return values.reshape(shape)


def _array_source(name: str, key: str, images: NDArray[np.uint8], classes: NDArray[np.uint8]) -> Source:
    k = int(classes.max()) + 1
    return Source(
        name,
        key,
        [f"{name} {i}" for i in range(len(images))],
        partial(_from_array, images),
        tuple(map(str, range(k))),
        np.eye(k, dtype=np.uint8)[classes],
        "classes",
        images.shape[1:3],
        channels=1,
        slow=False,
    )


def _from_array(images: NDArray[np.uint8], i: int) -> Image.Image:
    return Image.fromarray(images[i])


def _celeba(root: Path, key: str, images: list[str], by_name: dict[str, str]) -> Source:
    """CelebA's layout: a count, the attribute names, then `file 1 -1 …` a line. Its test images are left out."""
    paths = {PurePosixPath(name).name: name for name in images}
    header, *lines = _table(root, by_name[_ATTRIBUTE_FILE]) or [[]]
    label_names, rows = tuple(name for name in header if name != "image_id"), {line[0]: line[1:] for line in lines}
    if _PARTITION_FILE in by_name:
        test = {line[0] for line in _table(root, by_name[_PARTITION_FILE]) if line[1:] == ["2"]}
        rows = {name: row for name, row in rows.items() if name not in test}
    rows = {name: row for name, row in rows.items() if name in paths}  # a part of CelebA is data enough
    for name, row in rows.items():
        if len(row) != len(label_names):
            raise UsageError(
                f"{by_name[_ATTRIBUTE_FILE]} in {root} has {len(row)} values for {name}, not {len(label_names)}"
            )
    if not rows or not label_names:
        raise UsageError(f"{by_name[_ATTRIBUTE_FILE]} in {root} has no attributes of training images that are there")
    labels = np.array([[value == "1" for value in row] for row in rows.values()], np.uint8)
    names = [paths[name] for name in rows]
    return Source(_name(root), key, names, partial(_decode, root, names), label_names, labels, "attributes")


def _table(root: Path, name: str) -> list[list[str]]:
    """The words of each line of CelebA's lists, whose first line may be a count of the others."""
    try:
        lines = [line.split() for line in _read(root, name).decode().replace(",", " ").splitlines()]
    except _DAMAGED as error:
        raise UsageError(f"{name} in {root} is damaged: {error}") from None
    return [line for line in lines if line and not (len(line) == 1 and line[0].isdigit())]


def _folder(root: Path, key: str, images: list[str]) -> Source:
    """Images as they lie there; the folders they lie in are their labels if there is more than one."""
    folders = [str(PurePosixPath(name).parent) for name in images]
    classes = sorted(set(folders))
    k = len(classes) if len(classes) > 1 else 0
    columns = np.array([classes.index(folder) for folder in folders]) if k else np.zeros(len(images), int)
    labels = np.eye(k, dtype=np.uint8)[columns] if k else np.zeros((len(images), 0), np.uint8)
    # The last part of a folder's path is name enough where that tells the folders apart.
    short = [PurePosixPath(name).name for name in classes]
    label_names = tuple(short if len(set(short)) == k else classes) if k else ()
    return Source(_name(root), key, images, partial(_decode, root, images), label_names, labels, "classes")


def _name(root: Path) -> str:
    """What to call data at a path: the folder's name, or the file's without its suffix."""
    root = root.resolve()
    return (root.name if root.is_dir() else root.stem) or "data"


def _decode(root: Path, names: list[str], i: int) -> Image.Image:
    image = Image.open(io.BytesIO(_read(root, names[i])))
    image.load()
    return image


def _list(root: Path) -> dict[str, tuple[int, int]]:
    """File names below a folder or in a zip → size and a stamp (time or checksum) that changes with the content."""
    if root.is_dir():
        found = {p.relative_to(root).as_posix(): p.stat() for p in root.rglob("*") if p.is_file()}
        listing = {name: (stat.st_size, stat.st_mtime_ns) for name, stat in found.items()}
    else:
        listing = {
            entry.filename: (entry.file_size, entry.CRC) for entry in _zip(root).infolist() if not entry.is_dir()
        }
    hidden = (".", "__MACOSX")
    return {n: s for n, s in listing.items() if not any(part.startswith(hidden) for part in PurePosixPath(n).parts)}


def _read(root: Path, name: str) -> bytes:
    return (root / name).read_bytes() if root.is_dir() else _zip(root).read(name)


@lru_cache(maxsize=4)
def _zip(root: Path) -> zipfile.ZipFile:
    """An open zip for each process: reading its directory costs more than reading an image."""
    return zipfile.ZipFile(root)
