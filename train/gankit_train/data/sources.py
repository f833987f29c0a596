"""Which source of images `--data` names: a built-in data set, a data set of torchvision, or files at a path."""

import hashlib
import re
import zipfile
from pathlib import Path, PurePosixPath

from gankit._errors import UsageError
from gankit_train.data import builtin, formats
from gankit_train.data.formats import Source

BUILT_IN = ("digits", *builtin.DRAWN, *builtin.TORCHVISION, builtin.STACKED)


def open_source(data: str) -> Source:
    """Opens the source that `--data` names: a built-in data set or a path.

    `stacked-mnist` stacks the digits of `mnist`, `stacked-mnist:DATA` the images of any other `--data`. A folder or a
    zip is read as MNIST's own files (`train-images-idx3-ubyte`), as CelebA (`list_attr_celeba.txt` or .csv), or as
    image files; if these are in several folders, the folders are the labels. A .npy or .npz holds uint8 images
    [n, h, w], [n, h, w, 1 or 3], [n, 1 or 3, h, w] or, if they are square, [n, h*w]. In a .npz they are named `arr_0`
    or `images`, and optional labels `arr_1` or `labels`: class numbers [n], or 0 and 1 for each attribute [n, k].

    Raises UsageError if there is nothing usable at the path, GankitError if torchvision cannot download or read data.
    """
    if data == "digits":
        return builtin.digits_source()
    if data in builtin.DRAWN:
        return builtin.drawn_source(data)
    if data == "celeba":
        return _path_source(folder := builtin.celeba_folder(), str(folder))
    if data in builtin.TORCHVISION:
        return builtin.torchvision_source(data)
    stacked, _, original = data.partition(":")
    if stacked == builtin.STACKED:
        return builtin.stacked_source(open_source(original or "mnist"))
    path = Path(data).expanduser()
    if not path.exists():
        known = ", ".join(BUILT_IN)
        raise UsageError(f"there is no data at {data!r}: give {known}, or a path (folder, .zip, .npy, .npz)")
    return _path_source(path, data)


def _path_source(path: Path, data: str) -> Source:
    """Chooses the reader for existing files."""
    if path.is_file() and path.suffix.lower() in (".npy", ".npz"):
        return formats.numpy_source(path)
    if path.is_file() and not zipfile.is_zipfile(path):
        raise UsageError(f"{data} is neither a folder nor a zip of images, nor a .npy or .npz")
    listing = formats.list_files(path)
    # The files of MNIST and CelebA are found by name, however they were packed or renamed on their way here.
    by_name = {re.sub(r"\.(gz|txt|csv)$", "", PurePosixPath(n).name).replace(".idx", "-idx"): n for n in listing}
    key = hashlib.sha256(repr(sorted(listing.items())).encode()).hexdigest()
    if formats.IDX_IMAGES in by_name:
        return formats.idx_source(path, key, by_name)
    images = sorted(name for name in listing if PurePosixPath(name).suffix.lower() in formats.IMAGE_SUFFIXES)
    if not images:
        raise UsageError(f"there are no images in {data} (looked for {', '.join(sorted(formats.IMAGE_SUFFIXES))})")
    if formats.CELEBA_ATTRIBUTES in by_name:
        return formats.celeba_source(path, key, images, by_name)
    return formats.folder_source(path, key, images)
