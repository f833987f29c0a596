"""The data sets with a name of their own: packaged digits, drawn images, torchvision's data sets, Stacked MNIST."""

import hashlib
import re
import warnings
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gankit._errors import GankitError, UsageError, missing_extra, one_line
from gankit_train.data import avatars, bricks
from gankit_train.data.cache import cache_folder
from gankit_train.data.formats import Source, array_source, read_table

STACKED = "stacked-mnist"
DRAWN = {"bricks": bricks, "avatars": avatars}  # modules with LABELS, KIND, COUNT, labels() and draw(index)
_CELEBA_LISTS, _CELEBA_IMAGES = ("list_attr_celeba.txt", "list_eval_partition.txt"), "img_align_celeba"
TORCHVISION = {
    "mnist": ("MNIST", "MNIST/raw", "its four .gz files"),
    "fashion-mnist": ("FashionMNIST", "FashionMNIST/raw", "its four .gz files"),
    "cifar10": ("CIFAR10", "", "cifar-10-python.tar.gz"),
    "celeba": ("CelebA", "celeba", f"{', '.join(_CELEBA_LISTS)} and the folder {_CELEBA_IMAGES}"),
}
"""Class in torchvision, folder of its files below `torchvision` in the cache, files that may be put there by hand."""


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
    return Source(name, key, range(module.COUNT), module.draw, module.LABELS, module.labels(), module.KIND, channels=3)


def torchvision_source(name: str) -> Source:
    """Opens the training part of `mnist`, `fashion-mnist` or `cifar10`. Raises GankitError as `_download`."""
    data = _download(name)
    images, classes = np.asarray(data.data), np.asarray(data.targets)
    # "0 - zero" becomes 0, and "T-shirt/top" t-shirt-top, which needs no quotes in a shell.
    class_names = [re.sub(r"[^a-z0-9]+", "-", text.split(" - ")[0].lower()) for text in data.classes]
    key = hashlib.sha256(repr(classes.tolist()).encode() + images.tobytes()).hexdigest()
    return array_source(name, key, images, classes, class_names)


def celeba_folder() -> Path:
    """Returns the folder of CelebA's files, after downloading them if needed.

    They are read by `celeba_source`: torchvision's class parses five lists on every start and needs files that nothing
    here uses. Raises GankitError as `_download`, and if some images are missing.
    """
    folder = cache_folder() / "torchvision" / TORCHVISION["celeba"][1]
    images = folder / _CELEBA_IMAGES
    if not all(path.exists() for path in (images, *(folder / name for name in _CELEBA_LISTS))):
        _download("celeba")
    listed, found = len(read_table(folder, _CELEBA_LISTS[0])) - 1, sum(1 for _ in images.rglob("*.jpg"))
    if found < listed:  # torchvision does not notice when unpacking was interrupted
        raise GankitError(f"{images} has {found} of {listed} images: delete that folder to have it unpacked again")
    return folder


def _download(name: str) -> Any:
    """Returns torchvision's data set object after downloading missing files. Raises GankitError if that fails."""
    root, (class_name, folder, manual_files) = cache_folder() / "torchvision", TORCHVISION[name]
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
            return getattr(datasets, class_name)(root, download=True)
        except Exception as error:  # network, disk and damaged files raise many kinds
            raise GankitError(
                f"torchvision cannot download {name} ({one_line(error)}): try again, or replace the files in "
                f"{root / folder} by {manual_files}"
            ) from error


def stacked_source(digits: Source) -> Source:
    """Stacks three grey images as the red, green and blue channel of one (Metz et al., "Unrolled GANs", 2017).

    There are as many stacked images as originals: each original is once red, once green and once blue, with partners
    drawn at random. Raises UsageError if the originals are not grey or have no classes.
    """
    if digits.kind != "classes" or not digits.label_names or digits.channels == 3:
        raise UsageError(f"{STACKED} stacks grey images with class labels, such as digits; {digits.name} has others")
    shuffle = np.random.Generator(np.random.Philox(key=0))
    orders = [shuffle.permutation(len(digits.names)) for _ in range(3)]
    names = list(zip(*([digits.names[i] for i in order] for order in orders), strict=True))
    key, read = hashlib.sha256(f"{STACKED} {digits.key}".encode()).hexdigest(), partial(_read_stacked, digits.read)
    label_names = tuple(f"{colour}-{name}" for colour in ("red", "green", "blue") for name in digits.label_names)
    labels = np.concatenate([digits.labels[order] for order in orders], 1)
    return Source(STACKED, key, names, read, label_names, labels, "attributes", digits.size, 3, digits.slow, True)


def _read_stacked(read: Callable[[Any], Image.Image], names: tuple[Any, Any, Any]) -> Image.Image:
    return Image.merge("RGB", [read(name).convert("L") for name in names])
