"""Packs a source once into one uint8 array on disk, so that no image is decoded twice."""

import hashlib
import json
import multiprocessing
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from gankit._environment import available_cores
from gankit._errors import GankitError, UsageError
from gankit._labels import Labels
from gankit_train.data.cache import cache_folder
from gankit_train.data.formats import LabelKind, Source
from gankit_train.data.sources import open_source

_LAYOUT = 2  # raised whenever packing changes what it writes
_CHUNK = 256
_BROKEN_SHARE = 0.01

Fit = Literal["crop", "pad", "resize"]
Target = tuple[int, int, int, Fit]  # height, width and channels of the packed images, and `fit` of `fit_image`
Progress = Callable[[int, int], None]  # called with the number of packed images and the number of all images


@dataclass(frozen=True)
class Dataset:
    """A packed data set. The images are memory-mapped."""

    name: str
    images: NDArray[np.uint8]  # [n, height, width, channels]
    label_names: tuple[str, ...]
    vectors: NDArray[np.uint8]  # labels [n, k], 0 or 1; k is 0 for data without labels
    kind: LabelKind
    fingerprint: str  # hash of the images and labels; it does not depend on where the data is stored
    skipped: tuple[str, ...]  # names of the images that could not be decoded
    stacked: bool = False  # whether each channel is an image of its own, with labels of its own

    @property
    def labels(self) -> Labels | None:
        """Names, frequencies and mutually exclusive groups of the labels, for the model card; None without labels."""
        frequencies = tuple(self.vectors.mean(axis=0).tolist())
        return Labels(self.label_names, self.kind, frequencies, _exclusive(self)) if self.label_names else None


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

    Raises UsageError if the data cannot be used, see `open_source`, or more than 1 in 100 images are broken.
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
    elif fit == "crop":
        image = ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
    else:
        image = image.resize((width, height), Image.Resampling.LANCZOS)
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
    n, good, broken = len(source.names), 0, list[int]()
    packed = np.lib.format.open_memmap(draft / "images.npy", "w+", np.uint8, (n, *target[:3]))
    for decoded, failed in _decode_all(source, target):
        broken += [good + len(broken) + i for i in failed]
        packed[good : good + len(decoded)] = decoded
        good += len(decoded)
        progress(good + len(broken), n)
        if len(broken) > _BROKEN_SHARE * n:
            some, m = ", ".join(str(source.names[i]) for i in broken[:3]), len(broken)
            raise UsageError(f"{m} of {n} images are broken, more than 1 in 100: {some}, …; repair or remove them")
    packed.flush()
    images, labels = packed[:good], np.delete(source.labels, broken, axis=0)
    if broken:  # NumPy writes from map to file, as the images may not fit into memory
        np.save(draft / "good.npy", images)
        (draft / "good.npy").replace(draft / "images.npy")
    np.save(draft / "labels.npy", labels)
    digest = hashlib.sha256(repr((images.shape, source.label_names)).encode())
    digest.update(images.data)
    digest.update(labels.tobytes())
    info = {"fingerprint": digest.hexdigest(), "skipped": [str(source.names[i]) for i in broken]}
    (draft / "info.json").write_text(json.dumps(info))


Chunk = tuple[NDArray[np.uint8], list[int]]  # the images that can be decoded, and the positions of the others


def _decode_all(source: Source, target: Target) -> Iterator[Chunk]:
    """Decodes all images, chunk by chunk in order."""
    decode = partial(_decode_chunk, source.read, target)
    chunks = [source.names[at : at + _CHUNK] for at in range(0, len(source.names), _CHUNK)]
    if not source.slow or len(chunks) < 3:
        yield from map(decode, chunks)
        return
    # A forked process would inherit torch's thread pool in an undefined state. Ctrl-C is for the parent to handle.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        min(len(chunks), available_cores()), spawn, signal.signal, (signal.SIGINT, signal.SIG_IGN)
    ) as pool:
        yield from pool.map(decode, chunks)


def _decode_chunk(read: Callable[[Any], Image.Image], target: Target, names: Sequence[Any]) -> Chunk:
    decoded, broken = [], []
    for i, name in enumerate(names):
        try:
            image = read(name)
        except GankitError:
            raise
        except Exception:  # Pillow raises half a dozen kinds for damaged files
            broken.append(i)
        else:
            decoded.append(fit_image(image, *target))
    return np.array(decoded, np.uint8).reshape(-1, *target[:3]), broken


def _channels(source: Source) -> int:
    """Returns 1 if the first readable images are all grey, else 3."""
    modes = set()
    for name in source.names[:32]:
        with suppress(Exception):
            modes.add(source.read(name).mode)
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
    groups: list[list[int]] = [[] for _ in range(k)]
    for i in range(k):
        next(group for group in groups if not together[i, group].any()).append(i)  # the first one that it fits into
    return tuple(tuple(group) for group in groups if len(group) > 1)
