"""What one call of `gan-gen` generates, and writing it to a file or a folder."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import disk_usage
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gankit._errors import GankitError
from gankit._generator import BATCH, Generator
from gankit._images import Images, gather, grid
from gankit._interpolation import Mode, interpolation_inputs
from gankit._progress import progress
from gankit._writers import (
    read_png,
    read_png_metadata,
    save_gif,
    save_mp4,
    save_npy,
    save_npz,
    save_png,
    save_webp,
)

_Inputs = tuple[NDArray[np.float32], NDArray[np.float32] | None]  # latents, and label vectors or None
_LABEL_LIST = 64 * BATCH  # images whose labels in turn are one list; that of a million would not be constant memory
_WRITERS = 4  # threads that write PNGs; more would wait for Python's lock
_GRID_IMAGES = 256  # in the grid of a folder of PNGs; more are too many to look at


@dataclass(frozen=True)
class Job:
    """The images to generate. Image i is image `start + i` of the seed, or the first image of `seeds[i]`."""

    generator: Generator
    n: int
    seed: int
    start: int
    seeds: Sequence[int] | None
    """Seeds whose first images are generated, instead of images of one seed."""
    labels: Sequence[str | None]
    """The labels of the images in turn. Image `start + i` gets number `start + i`, so that a later part continues."""
    truncation: float
    metadata: dict[str, Any]
    """What each PNG stores in addition to its label, seed and image number."""
    inputs: _Inputs | None = None
    """The network inputs of an interpolation or a comparison: latents, and label vectors or None."""

    def interpolation(self, stops: Sequence[int], frames: int, loop: bool, mode: Mode) -> Job:
        """The job of writing an interpolation between seeds, which have the labels in turn."""
        card, label = self.generator.card, self._labels(0, len(stops))
        z, *vectors = interpolation_inputs(card, stops, frames, loop, label, mode, self.truncation)
        return replace(self, n=len(z), inputs=(z, vectors[0] if vectors else None))

    def comparison(self) -> Job:
        """The job of writing the same latents under each of the labels, label by label."""
        rows = [
            self.generator.inputs(self.n, seed=self.seed, label=label, start=self.start, truncation=self.truncation)
            for label in self.labels
        ]
        return replace(self, n=len(rows) * self.n, inputs=_joined(rows))

    def check(self) -> None:
        """Raises the errors of the first image, before anything is written."""
        self._inputs(0, 1)

    def number(self, i: int) -> int:
        """The number that names the file of image i."""
        return self.seeds[i] if self.seeds else self.start + i

    def png_metadata(self, i: int) -> str:
        """What the PNG of image i stores, so that a later run recognises it; empty for inputs of other kinds."""
        if self.inputs is not None:
            return ""
        seed, image = (self.seeds[i], 0) if self.seeds else (self.seed, self.start + i)
        return json.dumps(self.metadata | {"label": self._label(i), "seed": seed, "image": image})

    def label_batches(self) -> Iterator[NDArray[np.float32]] | None:
        """The label vectors of all images in batches; None for an unconditional model."""
        if not self.generator.labels:
            return None
        return (vectors for span in self._spans(0, BATCH) if (vectors := self._inputs(*span)[1]) is not None)

    def batches(self, first: int = 0) -> Iterator[Images]:
        """The images from number `first` on, in batches, with a progress bar."""
        with progress(self.n - first) as advance:
            for batch in self._computed(first):
                yield batch
                advance(len(batch))

    def _computed(self, first: int) -> Iterator[Images]:
        if self.inputs is not None or self.seeds is not None:
            for span in self._spans(first, BATCH):
                yield self.generator(*self._inputs(*span))
            return
        for at, stop in self._spans(first, self.n if len(self.labels) == 1 else _LABEL_LIST):
            label, start = self._labels(at, stop), self.start + at
            yield from self.generator.stream(
                stop - at, seed=self.seed, label=label, start=start, truncation=self.truncation
            )

    def _inputs(self, at: int, stop: int) -> _Inputs:
        """The network inputs of the images `at` … `stop - 1`: latents, and label vectors or None."""
        if self.inputs is not None:
            z, vectors = self.inputs
            return z[at:stop], None if vectors is None else vectors[at:stop]
        label, truncation = self._labels(at, stop), self.truncation
        if self.seeds is not None:
            seeds = self.seeds[at:stop]
            return _joined([self.generator.inputs(1, seed=seed, label=label, truncation=truncation) for seed in seeds])
        return self.generator.inputs(
            stop - at, seed=self.seed, label=label, start=self.start + at, truncation=truncation
        )

    def _label(self, i: int) -> str | None:
        return self.labels[(self.start + i) % len(self.labels)]

    def _labels(self, at: int, stop: int) -> Any:
        """The labels of the images `at` … `stop - 1`: one for all of them, or a list."""
        return self.labels[0] if len(self.labels) == 1 else [self._label(i) for i in range(at, stop)]

    def _spans(self, first: int, step: int) -> Iterator[tuple[int, int]]:
        return ((at, min(at + step, self.n)) for at in range(first, self.n, step))


def _joined(
    inputs: Sequence[_Inputs],
) -> _Inputs:
    vectors = [vector for _, vector in inputs if vector is not None]
    return np.concatenate([z for z, _ in inputs]), np.concatenate(vectors) if vectors else None


def write_file(job: Job, path: Path, suffix: str, columns: int | None, scale: int) -> None:
    """Writes one file: an image or a grid (.png), an animation (.gif, .webp, .mp4) or an array (.npy, .npz).

    Raises:
        UsageError: the format needs all images at once, and they do not fit into memory.
        GankitError: the file cannot be written or the disk is too small.
    """
    if suffix in (".npy", ".npz"):
        _check_space(job, path)
    if suffix == ".npy":
        save_npy(path, job.batches(), job.n)
    elif suffix == ".npz":
        save_npz(path, job.batches(), job.n, job.label_batches())
    elif suffix == ".mp4":
        save_mp4(path, job.batches(), scale)
    else:
        images = gather(job.batches(), job.n)
        if suffix == ".png":
            save_png(path, images[0] if job.n == 1 else grid(images, columns=columns), scale)
        elif suffix == ".gif":
            save_gif(path, images, scale)
        else:
            save_webp(path, images, scale)
    say("wrote", path)


def write_folder(job: Job, folder: Path, columns: int | None, scale: int) -> None:
    """Writes a folder of PNGs and, at the end, `grid.png` with the first of them. Needs constant memory.

    Each PNG stores what it shows. PNGs that an earlier run wrote for the same job are kept, up to the first one that is
    missing: after it, a killed run may have left some, which are written again.

    Raises:
        GankitError: a file cannot be written.
    """
    from concurrent.futures import ThreadPoolExecutor  # here, because it takes long to import

    def path(i: int) -> Path:
        return folder / f"{job.number(i):06d}.png"

    def save(i: int, image: Images) -> None:
        save_png(path(i), image, scale, job.png_metadata(i))

    n = job.n
    done = next((i for i in range(n) if read_png_metadata(path(i)) != job.png_metadata(i)), n)
    if done:
        say("skipped", f"{done} existing {'file' if done == 1 else 'files'}")
    with ThreadPoolExecutor(_WRITERS) as threads:  # Pillow and the system work without Python's lock
        for batch in job.batches(done) if done < n else ():
            list(threads.map(save, range(done, done + len(batch)), batch))
            done += len(batch)
    first = np.stack([read_png(path(i))[::scale, ::scale] for i in range(min(n, _GRID_IMAGES))])
    save_png(folder / "grid.png", grid(first, columns=columns), scale)
    say("wrote", f"{path(0)} … {path(n - 1).name}")
    say("", folder / "grid.png")


def say(what: str, value: object) -> None:
    """Prints one line of a command's progress to stderr."""
    print(f"{what:8}{value}", file=sys.stderr)


def _check_space(job: Job, path: Path) -> None:
    """Raises GankitError if the images do not fit on the disk of `path`."""
    if str(path) == "-":
        return
    card = job.generator.card
    size = job.n * card.height * card.width * card.channels
    free = disk_usage(next(folder for folder in path.absolute().parents if folder.exists())).free
    if size > free:
        raise GankitError(f"{job.n} images need {size:,} bytes, but {path} has only {free:,} bytes free: request fewer")
