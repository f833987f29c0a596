"""The data sets with a name of their own: packaged digits, drawn images, torchvision's data sets, Stacked MNIST."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gankit._errors import GankitError, UsageError, missing_extra, one_line
from gankit_train.data import avatars, bricks
from gankit_train.data.cache import cache_folder
from gankit_train.data.formats import Source, array_source, read_table

DRAWN = {"bricks": bricks, "avatars": avatars}
"""Modules with LABELS, KIND, COUNT, labels() and draw(index)."""
STACKED = "stacked-mnist"

_CELEBA_LISTS, _CELEBA_IMAGES = ("list_attr_celeba.txt", "list_eval_partition.txt"), "img_align_celeba"


class _Torchvision(NamedTuple):
    """A data set of torchvision."""

    class_name: str
    folder: str
    """Where its class looks for files, below the cache's folder `torchvision`."""
    manual_files: str
    """The files that a user may put there by hand instead of downloading."""


TORCHVISION = {
    "mnist": _Torchvision("MNIST", "MNIST/raw", "its four .gz files"),
    "fashion-mnist": _Torchvision("FashionMNIST", "FashionMNIST/raw", "its four .gz files"),
    "cifar10": _Torchvision("CIFAR10", "", "cifar-10-python.tar.gz"),
    "celeba": _Torchvision("CelebA", "celeba", f"{', '.join(_CELEBA_LISTS)} and the folder {_CELEBA_IMAGES}"),
}


def digits_source() -> Source:
    """Opens 5,000 MNIST digits that come with the package."""
    path = Path(str(files("gankit_train.data") / "digits.npz"))
    with np.load(path) as packed:
        images, digits = packed["images"], packed["labels"]
    return array_source("digits", hashlib.sha256(path.read_bytes()).hexdigest(), images, digits)


def drawn_source(name: str) -> Source:
    """Opens `bricks` or `avatars`, which are drawn when they are packed."""
    module: Any = DRAWN[name]
    key = hashlib.sha256(Path(module.__file__).read_bytes()).hexdigest()  # other drawing code makes another data set
    names = [f"{name} {i}" for i in range(module.COUNT)]
    return Source(name, key, names, module.draw, module.LABELS, module.labels(), module.KIND, channels=3)


def torchvision_source(name: str) -> Source:
    """Opens the training part of `mnist`, `fashion-mnist` or `cifar10`, after downloading it if needed.

    Raises:
        GankitError: torchvision cannot be imported, or cannot download or read the data.
    """
    data = _download(name)
    images, classes = np.asarray(data.data), np.asarray(data.targets)
    # "0 - zero" becomes 0, and "T-shirt/top" t-shirt-top, which needs no quotes in a shell.
    class_names = [re.sub(r"[^a-z0-9]+", "-", text.split(" - ")[0].lower()) for text in data.classes]
    key = hashlib.sha256(repr(classes.tolist()).encode() + images.tobytes()).hexdigest()
    return array_source(name, key, images, classes, class_names)


def celeba_folder() -> Path:
    """Returns the folder of CelebA's files, after downloading them if needed.

    They are read by `celeba_source`: torchvision's class parses five lists on every start and needs files that nothing
    here uses.

    Raises:
        GankitError: as for `torchvision_source`, or some images are missing.
    """
    folder = cache_folder() / "torchvision" / TORCHVISION["celeba"].folder
    if not all((folder / part).exists() for part in (*_CELEBA_LISTS, _CELEBA_IMAGES)):
        _download("celeba")
    listed = len(read_table(folder, _CELEBA_LISTS[0])) - 1
    found = sum(1 for _ in (folder / _CELEBA_IMAGES).rglob("*.jpg"))
    if found < listed:  # torchvision does not notice when unpacking was interrupted
        raise GankitError(
            f"{folder / _CELEBA_IMAGES} has {found} of {listed} images: delete that folder to have it unpacked again"
        )
    return folder


def _download(name: str) -> Any:
    """Returns the data set object of torchvision, downloading the files if they are missing."""
    root = cache_folder() / "torchvision"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about parts of torchvision that are not used, and the age of CIFAR-10's files
        try:
            from torchvision import datasets
        except ModuleNotFoundError:
            raise missing_extra(f"the {name} data set", "train") from None
        except Exception as error:  # its compiled part was made for another torch, which shows in many ways
            raise GankitError(
                f"torchvision does not fit the installed torch ({one_line(error)}): install both from the same index, "
                f"or give the images of {name} as --data PATH, which needs no torchvision"
            ) from error
        try:
            return getattr(datasets, TORCHVISION[name].class_name)(root, download=True)
        except Exception as error:  # network, disk and damaged files raise many kinds
            raise GankitError(
                f"torchvision cannot download {name} ({one_line(error)}): try again, or replace the files in "
                f"{root / TORCHVISION[name].folder} by {TORCHVISION[name].manual_files}"
            ) from error


def stacked_source(digits: Source) -> Source:
    """Stacks three grey images as the red, green and blue channel of one (Metz et al., "Unrolled GANs", 2017).

    There are as many stacked images as originals: each original is once red, once green and once blue, with partners
    drawn at random.

    Raises:
        UsageError: the originals are not grey or have no classes.
    """
    if digits.kind != "classes" or not digits.label_names or digits.channels == 3:
        raise UsageError(f"{STACKED} stacks grey images with class labels, such as digits; {digits.name} has others")
    shuffle = np.random.Generator(np.random.Philox(key=0))
    rows = np.stack([shuffle.permutation(len(digits.names)) for _ in range(3)], 1)
    return Source(
        STACKED,
        hashlib.sha256(f"{STACKED} {digits.key}".encode()).hexdigest(),
        [f"{STACKED} {i}" for i in range(len(rows))],
        partial(_read_stacked, digits.read, rows),
        tuple(f"{colour}-{name}" for colour in ("red", "green", "blue") for name in digits.label_names),
        np.concatenate([digits.labels[column] for column in rows.T], 1),
        "attributes",
        digits.size,
        channels=3,
        slow=digits.slow,
        stacked=True,
    )


def _read_stacked(read: Callable[[int], Image.Image], rows: NDArray[np.int64], i: int) -> Image.Image:
    return Image.merge("RGB", [read(row).convert("L") for row in rows[i].tolist()])
