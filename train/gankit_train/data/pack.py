"""Packs a source once into one uint8 array on disk, so that no image is decoded twice."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gankit.errors import GankitError, UsageError
from gankit.labels import Labels
from gankit_train.data.sources import Source, open_source

_LAYOUT = 1  # raised whenever packing changes what it writes
_CHUNK = 256
_BROKEN_SHARE = 0.01

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

    @property
    def labels(self) -> Labels | None:
        """What the generator's card says of the labels: names, shares, and which exclude each other."""
        if not self.label_names:
            return None
        return Labels(self.label_names, self.kind, tuple(self.vectors.mean(axis=0).tolist()), _exclusive(self))


def open_dataset(
    data: str,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    attributes: tuple[str, ...] = (),
    progress: Progress | None = None,
) -> Dataset:
    """The data set that `--data` names, packed now or found in the cache.

    Args:
        data: a built-in name or a path, see `open_source`.
        size: height and width to crop and scale to; None keeps the set's own, or takes 64×64 where it has none.
        channels: 1 or 3; None takes 1 where every image is grey.
        attributes: the labels to keep, by any unambiguous part of their names; all if empty.
        progress: told how far packing is.

    Raises:
        UsageError: data that cannot be used, see `open_source`, or more than 1 in 100 images broken.
    """
    source = open_source(data)
    height, width = size or source.size or (64, 64)
    channels = channels or _channels(source)
    what = json.dumps([_LAYOUT, source.key, height, width, channels])
    folder = (
        cache_folder() / f"{source.name}-{width}x{height}x{channels}-{hashlib.sha256(what.encode()).hexdigest()[:16]}"
    )
    if not folder.exists():
        _pack(source, (height, width, channels), folder, progress or (lambda done, total: None))
    info = json.loads((folder / "info.json").read_text())
    images = np.load(folder / "images.npy", mmap_mode="c")  # copy-on-write: torch takes no read-only arrays
    label_names, vectors = source.label_names, np.load(folder / "labels.npy")
    if attributes:
        if not label_names:
            raise UsageError(f"{data} has no labels to choose {', '.join(attributes)} from")
        every = Labels(label_names, source.kind, (0.0,) * len(label_names))
        columns = [every.find(name) for name in attributes]
        label_names, vectors = tuple(label_names[c] for c in columns), np.ascontiguousarray(vectors[:, columns])
    return Dataset(source.name, images, label_names, vectors, source.kind, info["fingerprint"], tuple(info["skipped"]))


def cache_folder() -> Path:
    """Where packed data lies: $GANKIT_CACHE, else the user's cache folder."""
    from platformdirs import user_cache_path

    return Path(os.environ.get("GANKIT_CACHE") or user_cache_path("gankit"))


def fit(image: Image.Image, height: int, width: int, channels: int) -> NDArray[np.uint8]:
    """The largest centred part of an image with the shape asked for, scaled: uint8 [height, width, channels].

    Transparent parts become white.
    """
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("L" if channels == 1 else "RGB")
    scale = min(image.width / width, image.height / height)
    left, top = (image.width - width * scale) / 2, (image.height - height * scale) / 2
    box = (left, top, left + width * scale, top + height * scale)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.LANCZOS, box)
    return np.asarray(image).reshape(height, width, channels)


def _pack(source: Source, shape: tuple[int, int, int], folder: Path, progress: Progress) -> None:
    """Writes `images.npy`, `labels.npy` and `info.json` into a folder that takes its name when all are whole."""
    n = len(source.names)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise GankitError(f"cannot write to the cache {folder.parent}: {error.strerror}; set GANKIT_CACHE") from error
    try:
        images = np.lib.format.open_memmap(draft / "images.npy", "w+", np.uint8, (n, *shape))
        broken: list[int] = []
        for chunk, decoded, failed in _decoded(source, shape):
            images[chunk.start : chunk.stop] = decoded
            broken += failed
            progress(chunk.stop, n)
            if len(broken) > _BROKEN_SHARE * n:
                some = ", ".join(source.names[i] for i in broken[:3])
                raise UsageError(
                    f"{len(broken)} of {n} images are broken, more than 1 in 100: {some}, …; mend the data"
                )
        labels = source.labels
        if broken:
            good = np.delete(np.arange(n), broken)
            for to, origin in enumerate(good):  # row by row, downwards: a copy of it all may not fit into memory
                images[to] = images[origin]
            kept = np.lib.format.open_memmap(draft / "kept.npy", "w+", np.uint8, (len(good), *shape))
            kept[:] = images[: len(good)]
            (draft / "kept.npy").replace(draft / "images.npy")
            images, labels = kept, labels[good]
        images.flush()
        np.save(draft / "labels.npy", labels)
        digest = hashlib.sha256(repr((images.shape, source.label_names)).encode())
        digest.update(images.data)
        digest.update(labels.tobytes())
        info = {"fingerprint": digest.hexdigest(), "skipped": [source.names[i] for i in broken]}
        (draft / "info.json").write_text(json.dumps(info))
        with suppress(FileExistsError):  # somebody else packed the same meanwhile
            draft.rename(folder)
    except OSError as error:
        if not folder.exists():
            raise GankitError(
                f"cannot pack the data into {folder.parent}: {error.strerror}; set GANKIT_CACHE"
            ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _decoded(source: Source, shape: tuple[int, int, int]) -> Iterator[tuple[range, NDArray[np.uint8], list[int]]]:
    """Chunk by chunk in order: the range, its images, and the indices of those that are broken."""
    n = len(source.names)
    chunks = [range(at, min(at + _CHUNK, n)) for at in range(0, n, _CHUNK)]
    work = partial(_decode_chunk, source.read, shape)
    if not source.slow or len(chunks) < 3:
        yield from map(work, chunks)
        return
    # spawn: a fork would copy torch's thread pool in whatever state it is.
    workers = min(
        len(chunks), len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(work, chunks)


def _decode_chunk(
    read: Callable[[int], Image.Image], shape: tuple[int, int, int], chunk: range
) -> tuple[range, NDArray[np.uint8], list[int]]:
    images = np.zeros((len(chunk), *shape), np.uint8)
    broken = []
    for row, i in enumerate(chunk):
        try:
            images[row] = fit(read(i), *shape)
        except GankitError:
            raise
        except Exception:  # Pillow raises half a dozen kinds for damaged files
            broken.append(i)
    return chunk, images, broken


def _channels(source: Source) -> int:
    """1 where the first readable images are all grey, else 3."""
    modes = set()
    for i in range(min(len(source.names), 32)):
        with suppress(Exception):
            modes.add(source.read(i).mode)
    return 1 if modes and modes <= {"L", "1", "LA"} else 3


def _exclusive(data: Dataset) -> tuple[tuple[int, ...], ...]:
    """Groups of labels that never occur together: all of them for classes, else found greedily in the data."""
    k = len(data.label_names)
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
