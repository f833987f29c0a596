"""Where pictures come from: the built-in sets, and what lies at a path. Nothing is decoded here before it is asked for.

A source only lists its images, knows their labels and can read any one of them; `pack` makes the array.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import os
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib import import_module
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gankit._errors import GankitError, UsageError, missing_extra, one_line

DRAWN = ("bricks", "avatars")  # modules beside this one: LABELS, KIND, COUNT, labels(), draw(index)
_CELEBA = ("list_attr_celeba.txt", "list_eval_partition.txt", "img_align_celeba")
FETCHED = {  # the class in torchvision.datasets, the folder it reads, and what it takes there if put there by hand
    "mnist": ("MNIST", "MNIST/raw", "its four .gz files"),
    "fashion-mnist": ("FashionMNIST", "FashionMNIST/raw", "its four .gz files"),
    "cifar10": ("CIFAR10", "", "cifar-10-python.tar.gz"),
    "celeba": ("CelebA", "celeba", f"{', '.join(_CELEBA[:2])} and the folder {_CELEBA[2]}"),
}
STACKED = "stacked-mnist"
BUILT_IN = ("digits", *DRAWN, *FETCHED, STACKED)
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
    stacked: bool = False
    """Whether each channel is a picture of its own, with as many labels as the others."""


def open_source(data: str) -> Source:
    """The source that `--data` names: a built-in set or a path.

    `stacked-mnist` is made of the digits of `mnist`, `stacked-mnist:DATA` of those of any other `--data`.

    A folder or zip is taken as MNIST's files (`train-images-idx3-ubyte`), as CelebA (`list_attr_celeba.txt` or .csv),
    or as images whose folders, if there are several, are their labels. A .npy or .npz holds uint8 images [n, h, w],
    [n, h, w, 1 or 3], [n, 1 or 3, h, w] or, each a square, [n, h*w]: the latter as `arr_0` or `images`, with labels,
    if any, as `arr_1` or `labels`, which are class numbers [n] or 0 and 1 for each attribute [n, k].

    Raises:
        UsageError: nothing there, or nothing in it that can be used.
        GankitError: a set that torchvision cannot fetch or read.
    """
    if data == "digits":
        return _digits()
    if data in DRAWN:
        return _drawn(data)
    if data in FETCHED:
        return _fetched(data)
    stacked, _, below = data.partition(":")
    if stacked == STACKED:
        return _stacked(open_source(below or "mnist"))
    root = Path(data).expanduser()
    if not root.exists():
        raise UsageError(
            f"there is no data at {data!r}: give {', '.join(BUILT_IN)}, or a path (folder, .zip, .npy, .npz)"
        )
    if root.is_file() and root.suffix.lower() in (".npy", ".npz"):
        return _arrays(root)
    if root.is_file() and not zipfile.is_zipfile(root):
        raise UsageError(f"{data} is neither a folder nor a zip of images, nor a .npy or .npz")
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


def cache_folder() -> Path:
    """Where fetched and packed data lies: $GANKIT_CACHE, else the user's cache folder."""
    from platformdirs import user_cache_path

    return Path(os.environ.get("GANKIT_CACHE") or user_cache_path("gankit"))


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


def _fetched(name: str) -> Source:
    """The training part of a set of torchvision's, downloaded unless it is there."""
    folder = cache_folder() / "torchvision" / FETCHED[name][1]
    if name != "celeba":
        data = _fetch(name)
        images, classes = np.asarray(data.data), np.asarray(data.targets)
        # "0 - zero" is 0, and "T-shirt/top" t-shirt-top, which needs no quotes in a shell.
        class_names = [re.sub(r"[^a-z0-9]+", "-", text.split(" - ")[0].lower()) for text in data.classes]
        key = hashlib.sha256(repr(classes.tolist()).encode() + images.tobytes()).hexdigest()
        return _array_source(name, key, images, classes, class_names)
    # Read as our own format: torchvision would parse five lists each time, and ask for those that nobody needs.
    if not all((folder / part).exists() for part in _CELEBA):
        _fetch(name)
    source = open_source(str(folder))
    listed, found = len(_table(folder, _CELEBA[0])) - 1, sum(1 for _ in (folder / _CELEBA[2]).rglob("*.jpg"))
    if found < listed:  # unpacking was interrupted, and torchvision would never notice
        raise GankitError(
            f"{folder / _CELEBA[2]} has {found} of {listed} images: delete that folder to have it unpacked again"
        )
    return source


def _fetch(name: str) -> Any:
    """torchvision's own data set."""
    kind, place, by_hand = FETCHED[name]
    root = cache_folder() / "torchvision"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on parts of torchvision that are not used, and on the age of CIFAR-10's files
        try:
            from torchvision import datasets
        except ModuleNotFoundError:
            raise missing_extra(f"the {name} data set", "train") from None
        except Exception as error:  # its compiled part was made for another torch, which shows in many ways
            raise GankitError(
                f"torchvision does not fit the torch beside it ({one_line(error)}): install both from the same index, "
                f"or give {name} as images at --data PATH, which needs no torchvision"
            ) from error
        try:
            return getattr(datasets, kind)(root, download=True)
        except Exception as error:  # whatever the network, the disk and damaged files make of it
            raise GankitError(
                f"torchvision cannot fetch {name} ({one_line(error)}): try again, or put {by_hand} into {root / place} "
                "instead of what is there"
            ) from error


def _arrays(root: Path) -> Source:
    """What NumPy saved: a .npy of images, or a .npz of images and labels. Nothing in them is ever unpickled."""
    images: NDArray[Any] | None
    try:
        if root.suffix.lower() == ".npy":
            images, labels, there = np.lib.format.open_memmap(root, mode="r"), None, ""
            with root.open("rb") as file:  # not by its time, which copies and archives keep
                key = hashlib.file_digest(file, "sha256").hexdigest()
        else:
            with zipfile.ZipFile(root) as archive:
                there = ", ".join(archive.namelist())
                key = hashlib.sha256(repr([(e.filename, e.CRC) for e in archive.infolist()]).encode()).hexdigest()
                images, labels = _member(archive, "arr_0", "images"), _member(archive, "arr_1", "labels")
    except (*_DAMAGED, ValueError) as error:
        raise UsageError(f"{root} cannot be read as a {root.suffix} file: {one_line(error)}") from None
    if images is None:
        raise UsageError(f"{root} has no images: save them as arr_0 or images; there is {there or 'nothing'}")
    images = _as_images(root, images)
    return _array_source(_name(root), key, images, _as_labels(root, labels, len(images)))


def _member(archive: zipfile.ZipFile, *names: str) -> NDArray[Any] | None:
    """The first of these arrays that a .npz has."""
    for name in names:
        if f"{name}.npy" in archive.namelist():
            with archive.open(f"{name}.npy") as file:
                return np.lib.format.read_array(file, allow_pickle=False)
    return None


def _as_images(root: Path, array: NDArray[Any]) -> NDArray[np.uint8]:
    """Images of any layout as [n, h, w] or [n, h, w, 3], without reading a memory-mapped array."""
    shape = array.shape
    if array.dtype != np.uint8:
        raise UsageError(
            f"{root} has images of {array.dtype}: scale them to 0 … 255 and save images.round().astype('uint8')"
        )
    side = math.isqrt(shape[-1]) if shape else 0
    if array.ndim == 2 and array.size and side**2 == shape[1]:  # as Quick, Draw! has them
        array = array.reshape(-1, side, side)
    elif array.ndim == 4 and shape[3] not in (1, 3) and shape[1] in (1, 3):
        array = np.moveaxis(array, 1, 3)
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if not array.size or (array.ndim != 3 and array.shape[3:] != (3,)):
        raise UsageError(f"{root} has images {list(shape)}: give [n, h, w], with 1 or 3 channels if any, and n over 0")
    return array


def _as_labels(root: Path, labels: NDArray[Any] | None, n: int) -> NDArray[Any]:
    """Labels that can be used: class numbers [n], or 0 and 1 for each attribute [n, k]."""
    if labels is None:
        return np.zeros((n, 0), np.uint8)
    labels = labels[:, 0] if labels.shape[1:] == (1,) else labels
    if labels.shape == (n,) and labels.dtype.kind in "iu" and labels.min() >= 0:
        return labels
    if labels.ndim == 2 and len(labels) == n and np.isin(labels, (0, 1)).all():
        return labels.astype(np.uint8)
    some = ", ".join(map(str, np.unique(labels)[:3]))
    raise UsageError(
        f"{root} has {n} images and labels {list(labels.shape)} of {labels.dtype} ({some} …): give whole numbers [{n}] "
        f"from 0, or 0 and 1 for each attribute [{n}, k]"
    )


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


def _stacked(digits: Source) -> Source:
    """Three digits as the red, green and blue of one picture, as by Metz et al., "Unrolled GANs" (2017).

    As many pictures as digits: each digit is once red, once green and once blue, beside others that chance decides.
    """
    if digits.kind != "classes" or not digits.label_names or digits.channels == 3:
        raise UsageError(
            f"{STACKED} stacks grey pictures of classes, such as digits, and {digits.name} is something else"
        )
    shuffle = np.random.Generator(np.random.Philox(key=0))
    rows = np.stack([shuffle.permutation(len(digits.names)) for _ in range(3)], 1)
    return Source(
        STACKED,
        hashlib.sha256(f"{STACKED} {digits.key}".encode()).hexdigest(),
        [f"{STACKED} {i}" for i in range(len(rows))],
        partial(_stack, digits.read, rows),
        tuple(f"{colour}-{name}" for colour in ("red", "green", "blue") for name in digits.label_names),
        np.concatenate([digits.labels[column] for column in rows.T], 1),
        "attributes",
        digits.size,
        channels=3,
        slow=digits.slow,
        stacked=True,
    )


def _stack(read: Callable[[int], Image.Image], rows: NDArray[np.int64], i: int) -> Image.Image:
    return Image.merge("RGB", [read(row).convert("L") for row in rows[i].tolist()])


def _array_source(
    name: str, key: str, images: NDArray[np.uint8], labels: NDArray[Any], class_names: Sequence[str] = ()
) -> Source:
    """Images [n, h, w] or [n, h, w, 3], with classes [n] (those that occur are the labels) or attributes [n, k]."""
    if labels.ndim == 2:
        vectors, label_names = labels, tuple(map(str, range(labels.shape[1])))
    else:
        values, columns = np.unique(labels, return_inverse=True)
        vectors = np.eye(len(values), dtype=np.uint8)[columns]
        label_names = tuple(class_names[value] if class_names else str(value) for value in values)
    return Source(
        name,
        key,
        [f"{name} {i}" for i in range(len(images))],
        partial(_from_array, images),
        label_names,
        vectors,
        "classes" if labels.ndim == 1 else "attributes",
        images.shape[1:3],
        channels=1 if images.ndim == 3 else 3,
        slow=False,  # no work but the scaling, and workers would be sent all images
    )


def _from_array(images: NDArray[np.uint8], i: int) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(images[i]))


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
