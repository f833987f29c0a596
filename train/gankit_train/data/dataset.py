"""Packs a source once into one uint8 array on disk, so that no image is decoded twice."""

import hashlib
import json
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from gankit._errors import GankitError, UsageError
from gankit._labels import Labels
from gankit_train.data.cache import cache_folder
from gankit_train.data.formats import LabelKind, Source
from gankit_train.data.sources import open_source

_LAYOUT = 2  # raised whenever packing changes what it writes
_CHUNK = 256
_BROKEN_SHARE = 0.01

Fit = Literal["crop", "pad", "resize"]
Target = tuple[int, int, int, Fit]
"""Height, width and channels of the packed images, and how images of another shape are fitted: see `fit_image`."""
Progress = Callable[[int, int], None]
"""Called with the number of packed images and the number of all images."""


@dataclass(frozen=True)
class Dataset:
    """A packed data set. The images are memory-mapped."""

    name: str
    images: NDArray[np.uint8]
    """[n, height, width, channels]."""
    label_names: tuple[str, ...]
    vectors: NDArray[np.uint8]
    """Label vectors [n, k], 0 or 1; k is 0 for data without labels."""
    kind: LabelKind
    fingerprint: str
    """Hash of the images and labels; it does not depend on where the data is stored."""
    skipped: tuple[str, ...]
    """Names of the images that could not be decoded."""
    stacked: bool = False
    """Whether each channel is an image of its own, with labels of its own."""

    @property
    def labels(self) -> Labels | None:
        """Names, frequencies and mutually exclusive groups of the labels, for the model card; None without labels."""
        if not self.label_names:
            return None
        return Labels(self.label_names, self.kind, tuple(self.vectors.mean(axis=0).tolist()), _exclusive(self))


def open_dataset(
    data: str | Source,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    fit: Fit = "crop",
    attributes: tuple[str, ...] = (),
    progress: Progress = lambda done, total: None,
) -> Dataset:
    """Opens the data set that `--data` names; it is packed now or found in the cache.

    Args:
        data: a built-in name or a path, see `open_source`, or an opened source.
        size: height and width of the packed images; None takes the source's.
        channels: 1 or 3; None takes 1 where every image is grey.
        fit: how images of another shape are fitted, see `fit_image`.
        attributes: the labels to keep, by any unambiguous part of their names; empty keeps all.
        progress: receives the progress of packing.

    Raises:
        UsageError: data that cannot be used, see `open_source`, or more than 1 in 100 images are broken.
    """
    if fit not in get_args(Fit):
        raise UsageError(f"fit must be one of {', '.join(get_args(Fit))}, not {fit!r}")
    source = open_source(data) if isinstance(data, str) else data
    columns = _columns(source, attributes)
    height, width = size or source.size
    channels = channels or source.channels or _channels(source)
    if source.stacked and channels != 3:
        raise UsageError(f"{source.name} has a digit in each of 3 channels: it cannot be packed with {channels}")
    key = hashlib.sha256(json.dumps([_LAYOUT, source.key, height, width, channels, fit]).encode()).hexdigest()[:16]
    folder = cache_folder() / f"{source.name}-{width}x{height}x{channels}-{key}"
    if not folder.exists():
        _pack(source, (height, width, channels, fit), folder, progress)
    info = json.loads((folder / "info.json").read_text())
    images = np.load(folder / "images.npy", mmap_mode="c")  # copy-on-write: torch takes no read-only arrays
    vectors = np.ascontiguousarray(np.load(folder / "labels.npy")[:, columns])
    label_names = tuple(source.label_names[column] for column in columns)
    skipped, stacked = tuple(info["skipped"]), source.stacked and columns == list(range(len(source.label_names)))
    return Dataset(source.name, images, label_names, vectors, source.kind, info["fingerprint"], skipped, stacked)


def _columns(source: Source, attributes: tuple[str, ...]) -> list[int]:
    """Finds the columns of the labels to keep; a label that is named twice is one column."""
    if attributes and not source.label_names:
        raise UsageError(f"{source.name} has no labels to choose {', '.join(attributes)} from")
    every = Labels(source.label_names, source.kind, (0.0,) * len(source.label_names))
    return list(dict.fromkeys(every.find(name) for name in attributes)) or list(range(len(source.label_names)))


def fit_image(image: Image.Image, height: int, width: int, channels: int, fit: Fit = "crop") -> NDArray[np.uint8]:
    """Scales an image to a size: uint8 [height, width, channels].

    If its aspect ratio differs, `crop` takes the largest centred part of the right shape, `pad` puts the whole image
    on a black background, and `resize` changes its proportions. The image is rotated as its EXIF orientation says;
    transparent parts become white.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):  # Pillow's own conversion cuts everything above 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("L" if channels == 1 else "RGB")
    if fit == "pad":
        scale = min(width / image.width, height / image.height)
        inner = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        whole, image = image.resize(inner, Image.Resampling.LANCZOS), Image.new(image.mode, (width, height))
        image.paste(whole, ((width - inner[0]) // 2, (height - inner[1]) // 2))
    left = top = 0.0
    if fit == "crop":  # where nothing is to be cut off, rounding may go below 0, which Pillow refuses
        scale = min(image.width / width, image.height / height)
        left, top = max(0.0, (image.width - width * scale) / 2), max(0.0, (image.height - height * scale) / 2)
    if image.size != (width, height):
        box = (left, top, image.width - left, image.height - top)
        image = image.resize((width, height), Image.Resampling.LANCZOS, box)
    return np.asarray(image).reshape(height, width, channels)


def _pack(source: Source, target: Target, folder: Path, progress: Progress) -> None:
    """Writes the packed data into a temporary folder, which is renamed when it is complete."""
    prefix = f".{folder.name}-"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=prefix, dir=folder.parent, ignore_cleanup_errors=True) as draft:
            _write(source, target, Path(draft), progress)
            Path(draft).rename(folder)
    except OSError as error:
        if not folder.exists():  # else another process has packed the same data meanwhile
            raise GankitError(
                f"cannot write to the cache {folder.parent}: {error.strerror}; set GANKIT_CACHE to another folder"
            ) from error


def _write(source: Source, target: Target, draft: Path, progress: Progress) -> None:
    """Writes `images.npy`, `labels.npy` and `info.json`, without the images that cannot be decoded."""
    n = len(source.names)
    images = np.lib.format.open_memmap(draft / "images.npy", "w+", np.uint8, (n, *target[:3]))
    labels, broken = source.labels, list[int]()
    for chunk, decoded, failed in _decode_all(source, target):
        images[chunk.start : chunk.stop] = decoded
        broken += failed
        progress(chunk.stop, n)
        if len(broken) > _BROKEN_SHARE * n:
            some, m = ", ".join(source.names[i] for i in broken[:3]), len(broken)
            raise UsageError(f"{m} of {n} images are broken, more than 1 in 100: {some}, …; repair or remove them")
    if broken:
        good = np.delete(np.arange(n), broken)
        kept = np.lib.format.open_memmap(draft / "kept.npy", "w+", np.uint8, (len(good), *target[:3]))
        for at in range(0, len(good), _CHUNK):  # in parts, as all of it may not fit into memory
            kept[at : at + _CHUNK] = images[good[at : at + _CHUNK]]
        images, labels = kept, labels[good]
        (draft / "kept.npy").replace(draft / "images.npy")
    images.flush()
    np.save(draft / "labels.npy", labels)
    digest = hashlib.sha256(repr((images.shape, source.label_names)).encode())
    digest.update(images.data)
    digest.update(labels.tobytes())
    info = {"fingerprint": digest.hexdigest(), "skipped": [source.names[i] for i in broken]}
    (draft / "info.json").write_text(json.dumps(info))


Chunk = tuple[range, NDArray[np.uint8], list[int]]
"""A range of images, the decoded images, and the indices of those that are broken."""


def _decode_all(source: Source, target: Target) -> Iterator[Chunk]:
    """Decodes all images, chunk by chunk in order."""
    n = len(source.names)
    chunks = [range(at, min(at + _CHUNK, n)) for at in range(0, n, _CHUNK)]
    decode = partial(_decode_chunk, source.read, target)
    if not source.slow or len(chunks) < 3:
        yield from map(decode, chunks)
        return
    # A forked process would inherit torch's thread pool in an undefined state.
    spawn = multiprocessing.get_context("spawn")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ProcessPoolExecutor(min(len(chunks), cores), spawn, _init_worker, (decode,)) as pool:
        yield from pool.map(_decode_in_worker, chunks)


_worker_decode: Callable[[range], Chunk]
"""Set once in each worker process, so that a list of 200,000 names is not sent with every chunk."""


def _init_worker(decode: Callable[[range], Chunk]) -> None:
    global _worker_decode
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to handle
    _worker_decode = decode


def _decode_in_worker(chunk: range) -> Chunk:
    return _worker_decode(chunk)


def _decode_chunk(read: Callable[[int], Image.Image], target: Target, chunk: range) -> Chunk:
    images, broken = np.zeros((len(chunk), *target[:3]), np.uint8), list[int]()
    for row, i in enumerate(chunk):
        try:
            image = read(i)
        except GankitError:
            raise
        except Exception:  # Pillow raises half a dozen kinds for damaged files
            broken.append(i)
        else:
            images[row] = fit_image(image, *target)
    return chunk, images, broken


def _channels(source: Source) -> int:
    """Returns 1 if the first readable images are all grey, else 3."""
    modes = set()
    for i in range(min(len(source.names), 32)):
        with suppress(Exception):
            modes.add(source.read(i).mode)
    return 1 if modes and modes <= {"L", "1", "LA", "I;16"} else 3


def _exclusive(data: Dataset) -> tuple[tuple[int, ...], ...]:
    """Finds groups of labels that never occur together: all labels for classes, else greedily from the data."""
    k = len(data.label_names)
    if data.stacked:
        return tuple(tuple(range(at, at + k // 3)) for at in range(0, k, k // 3))
    if data.kind == "classes" and k > 1:
        return (tuple(range(k)),)
    vectors = data.vectors.astype(np.float32)
    together = vectors.T @ vectors
    groups: list[list[int]] = []
    for i in range(k):
        home = next((group for group in groups if not together[i, group].any()), None)
        if home is None:
            groups.append(home := [])
        home.append(i)
    return tuple(tuple(group) for group in groups if len(group) > 1)
