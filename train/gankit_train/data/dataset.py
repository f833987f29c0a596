"""Packs a source once into one uint8 array on disk, so that no image is decoded twice."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from gankit._errors import GankitError, UsageError
from gankit._labels import Labels
from gankit_train.data.sources import Source, cache_folder, open_source

_LAYOUT = 2  # raised whenever packing changes what it writes
_CHUNK = 256
_BROKEN_SHARE = 0.01

Fitting = Literal["crop", "pad", "stretch"]
Form = tuple[int, int, int, Fitting]
"""What `fit` makes of each image: height, width, channels, and how."""

Progress = Callable[[int, int], None]
"""Called with the images packed so far and all of them."""


@dataclass(frozen=True)
class Dataset:
    """A packed data set; the images are memory-mapped."""

    name: str
    images: NDArray[np.uint8]
    """[n, height, width, channels]."""
    label_names: tuple[str, ...]
    vectors: NDArray[np.uint8]
    """Label vectors [n, k], 0 or 1; k is 0 for data without labels."""
    kind: Literal["classes", "attributes"]
    fingerprint: str
    """Hash of the images and labels: the same data has the same, wherever it lies."""
    skipped: tuple[str, ...]
    """Images that could not be decoded."""
    stacked: bool = False
    """Whether each channel is a picture of its own, with as many labels as the others."""

    @property
    def labels(self) -> Labels | None:
        """What the generator's card says of the labels: names, shares, and which exclude each other."""
        if not self.label_names:
            return None
        return Labels(self.label_names, self.kind, tuple(self.vectors.mean(axis=0).tolist()), _exclusive(self))


def open_dataset(
    data: str | Source,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    fitting: Fitting = "crop",
    attributes: tuple[str, ...] = (),
    progress: Progress | None = None,
) -> Dataset:
    """The data set that `--data` names, packed now or found in the cache.

    Args:
        data: a built-in name or a path, see `open_source`, or what that returned.
        size: height and width to scale to; None takes the source's.
        channels: 1 or 3; None takes 1 where every image is grey.
        fitting: what becomes of images of another shape, see `fit`.
        attributes: the labels to keep, by any unambiguous part of their names; all if empty.
        progress: told how far packing is.

    Raises:
        UsageError: data that cannot be used, see `open_source`, or more than 1 in 100 images broken.
    """
    if fitting not in get_args(Fitting):
        raise UsageError(f"images cannot be made to fit by {fitting!r}: take {', '.join(get_args(Fitting))}")
    source = open_source(data) if isinstance(data, str) else data
    columns = _columns(source, attributes)
    height, width = size or source.size
    channels = channels or source.channels or _channels(source)
    if source.stacked and channels != 3:
        raise UsageError(f"{source.name} has a digit in each of 3 channels: it cannot be had with {channels}")
    key = hashlib.sha256(json.dumps([_LAYOUT, source.key, height, width, channels, fitting]).encode()).hexdigest()[:16]
    folder = cache_folder() / f"{source.name}-{width}x{height}x{channels}-{key}"
    if not folder.exists():
        _pack(source, (height, width, channels, fitting), folder, progress or (lambda done, total: None))
    info = json.loads((folder / "info.json").read_text())
    images = np.load(folder / "images.npy", mmap_mode="c")  # copy-on-write: torch takes no read-only arrays
    vectors = np.ascontiguousarray(np.load(folder / "labels.npy")[:, columns])
    label_names = tuple(source.label_names[column] for column in columns)
    skipped, stacked = tuple(info["skipped"]), source.stacked and columns == list(range(len(source.label_names)))
    return Dataset(source.name, images, label_names, vectors, source.kind, info["fingerprint"], skipped, stacked)


def _columns(source: Source, attributes: tuple[str, ...]) -> list[int]:
    """The labels to keep, by any unambiguous part of their names; all where none are named."""
    if attributes and not source.label_names:
        raise UsageError(f"{source.name} has no labels to choose {', '.join(attributes)} from")
    every = Labels(source.label_names, source.kind, (0.0,) * len(source.label_names))
    return [every.find(name) for name in attributes] or list(range(len(source.label_names)))


def fit(image: Image.Image, height: int, width: int, channels: int, fitting: Fitting = "crop") -> NDArray[np.uint8]:
    """An image scaled to the size asked for: uint8 [height, width, channels].

    Where its shape is another, `crop` takes the largest centred part of the right shape, `pad` puts the whole image
    into the middle of a black one, and `stretch` changes its proportions. It is turned the way that a camera's
    orientation mark asks for; transparent parts become white.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):  # Pillow's own conversion cuts everything above 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("L" if channels == 1 else "RGB")
    if fitting == "pad":
        scale = min(width / image.width, height / image.height)
        inner = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        whole, image = image.resize(inner, Image.Resampling.LANCZOS), Image.new(image.mode, (width, height))
        image.paste(whole, ((width - inner[0]) // 2, (height - inner[1]) // 2))
    left = top = 0.0
    if fitting == "crop":  # where nothing is to be cut off, rounding may go below 0, which Pillow refuses
        scale = min(image.width / width, image.height / height)
        left, top = max(0.0, (image.width - width * scale) / 2), max(0.0, (image.height - height * scale) / 2)
    box = (left, top, image.width - left, image.height - top)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.LANCZOS, box)
    return np.asarray(image).reshape(height, width, channels)


def _pack(source: Source, form: Form, folder: Path, progress: Progress) -> None:
    """Fills a folder that takes its name when everything in it is whole."""
    draft = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        _write(source, form, draft, progress)
        draft.rename(folder)
    except OSError as error:
        if not folder.exists():  # else somebody else packed the same meanwhile
            raise GankitError(
                f"cannot write to the cache {folder.parent}: {error.strerror}; set GANKIT_CACHE"
            ) from error
    finally:
        if draft:
            shutil.rmtree(draft, ignore_errors=True)


def _write(source: Source, form: Form, draft: Path, progress: Progress) -> None:
    """Writes `images.npy`, `labels.npy` and `info.json`, without the images that cannot be decoded."""
    n = len(source.names)
    images = np.lib.format.open_memmap(draft / "images.npy", "w+", np.uint8, (n, *form[:3]))
    labels, broken = source.labels, list[int]()
    for chunk, decoded, failed in _decoded(source, form):
        images[chunk.start : chunk.stop] = decoded
        broken += failed
        progress(chunk.stop, n)
        if len(broken) > _BROKEN_SHARE * n:
            some = ", ".join(source.names[i] for i in broken[:3])
            raise UsageError(f"{len(broken)} of {n} images are broken, more than 1 in 100: {some}, …; mend the data")
    if broken:
        good = np.delete(np.arange(n), broken)
        kept = np.lib.format.open_memmap(draft / "kept.npy", "w+", np.uint8, (len(good), *form[:3]))
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
"""A range of images, decoded, and the indices of those that are broken."""


def _decoded(source: Source, form: Form) -> Iterator[Chunk]:
    """All images, chunk by chunk in order."""
    n = len(source.names)
    chunks = [range(at, min(at + _CHUNK, n)) for at in range(0, n, _CHUNK)]
    if not source.slow or len(chunks) < 3:
        yield from (_decode_chunk(source.read, form, chunk) for chunk in chunks)
        return
    # A fork would copy torch's thread pool in whatever state it is.
    spawn = multiprocessing.get_context("spawn")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ProcessPoolExecutor(min(len(chunks), cores), spawn, _begin_worker, (source.read, form)) as pool:
        yield from pool.map(_work, chunks)


_worker: partial[Chunk]
"""What a worker process does with a chunk; set once, as a list of 200,000 names is not sent with every chunk."""


def _begin_worker(read: Callable[[int], Image.Image], form: Form) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to handle
    _worker = partial(_decode_chunk, read, form)


def _work(chunk: range) -> Chunk:
    return _worker(chunk)


def _decode_chunk(read: Callable[[int], Image.Image], form: Form, chunk: range) -> Chunk:
    images = np.zeros((len(chunk), *form[:3]), np.uint8)
    broken = []
    for row, i in enumerate(chunk):
        try:
            image = read(i)
        except GankitError:
            raise
        except Exception:  # Pillow raises half a dozen kinds for damaged files
            broken.append(i)
            continue
        images[row] = fit(image, *form)
    return chunk, images, broken


def _channels(source: Source) -> int:
    """1 where the first readable images are all grey, else 3."""
    modes = set()
    for i in range(min(len(source.names), 32)):
        with suppress(Exception):
            modes.add(source.read(i).mode)
    return 1 if modes and modes <= {"L", "1", "LA", "I;16"} else 3


def _exclusive(data: Dataset) -> tuple[tuple[int, ...], ...]:
    """Groups of labels that never occur together: all of them for classes, else found greedily in the data."""
    k = len(data.label_names)
    if data.stacked:
        return tuple(tuple(range(at, at + k // 3)) for at in range(0, k, k // 3))
    if data.kind == "classes" and k > 1:
        return (tuple(range(k)),)
    vectors = data.vectors.astype(np.float32)
    together = vectors.T @ vectors
    groups: list[list[int]] = []
    for i in range(k):
        home: Any = next((g for g in groups if all(together[i, j] == 0 for j in g)), None)
        if home is None:
            groups.append([i])
        else:
            home.append(i)
    return tuple(tuple(group) for group in groups if len(group) > 1)
