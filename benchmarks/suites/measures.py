"""What it takes to say how good 10,000 images are, beside a training set of 60,000."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np

from benchmarks.options import Options
from benchmarks.results import Document, Metric, Row, document
from benchmarks.rounds import Values, interleave
from benchmarks.worker import call, peak_memory

SECONDS, PEAK = "seconds of all measures", "peak memory of the process"
_SIZES = {"28×28×1": (28, 28, 1), "64×64×3": (64, 64, 3)}
_REAL, _FAKE, _CHUNK = 60_000, 10_000, 1_000
_BLOCKS = 4  # pixels on each side of a block of one colour: noise has no near neighbours, pictures have


def run(options: Options) -> Document:
    """Those that need neither labels nor a network; the data memory-mapped, as gan-train has it."""
    arguments = {"on": options.device, "cores": options.threads, "quick": options.quick}
    sizes = list(_SIZES)[:1] if options.quick else list(_SIZES)
    take = partial(call, "benchmarks.suites.measures:measure", options.threads, options.device, **arguments)
    taken = interleave({size: partial(take, size=size) for size in sizes}, options.rounds_of(3))
    about = f"All measures that need no labels, {_FAKE:,} images beside {_REAL:,}, on {options.threads} threads"
    metrics = {SECONDS: Metric("s", False), PEAK: Metric("MB", False)}
    return document("measures", about, options, taken, metrics, {size: Row() for size in sizes})


def measure(size: str, on: str, cores: int, quick: bool) -> Values:
    """In a process of its own."""
    import torch

    from gankit_train.data import Dataset
    from gankit_train.metrics.functions import Reference, Sets
    from gankit_train.metrics.table import MEASURES, measured

    torch.set_num_threads(cores)
    shape, scale = _SIZES[size], 10 if quick else 1
    real, fake = _REAL // scale, _FAKE // scale
    with tempfile.TemporaryDirectory() as folder:
        images = np.lib.format.open_memmap(Path(folder) / "images.npy", "w+", np.uint8, (real + fake, *shape))
        rng = np.random.default_rng(0)
        for at in range(0, len(images), _CHUNK):
            blocks = rng.integers(0, 256, (_CHUNK, shape[0] // _BLOCKS, shape[1] // _BLOCKS, shape[2]), np.uint8)
            images[at : at + _CHUNK] = blocks.repeat(_BLOCKS, 1).repeat(_BLOCKS, 2)
        data = Dataset("blocks", images[:real], (), np.zeros((real, 0), np.uint8), "classes", "", (), False)
        begin = perf_counter()
        sets = Sets(Reference(data, data.images[:fake], device=torch.device(on)), np.array(images[real:]))
        measured([name for name, each in MEASURES.items() if not each.needs], sets)
        return {SECONDS: perf_counter() - begin, PEAK: peak_memory() / 1e6}
