"""Time and memory of the evaluation metrics: 10,000 generated images compared with 60,000 real ones."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np

from benchmarks.measurement import Values, interleave
from benchmarks.options import Options
from benchmarks.results import Case, Document, Metric, document
from benchmarks.worker import measure_in_process, peak_memory

SECONDS, PEAK = "seconds of all metrics", "peak memory"
_SIZES = {"28×28×1": (28, 28, 1), "64×64×3": (64, 64, 3)}
_REAL, _FAKE = 60_000, 10_000
_CHUNK = 1_000  # images that are drawn at a time
_BLOCK = 4  # pixels, edge of the squares of one colour: images of noise would have no near neighbours


def run(options: Options) -> Document:
    """Measures all metrics that need neither labels nor a network."""
    sizes = list(_SIZES)[:1] if options.quick else list(_SIZES)
    measure_one = partial(
        measure_in_process,
        measure,
        options,
        quick=options.quick,
    )
    measured = interleave({size: partial(measure_one, size=size) for size in sizes}, options.rounds_or(3))
    description = (
        f"All metrics that need no labels, {_FAKE:,} generated images versus {_REAL:,} real ones, {options.threads} "
        "threads"
    )
    metrics = {SECONDS: Metric("s", higher_is_better=False), PEAK: Metric("MB", higher_is_better=False)}
    return document("evaluation", description, options, measured, metrics, {size: Case() for size in sizes})


def measure(device: str, threads: int, size: str, quick: bool) -> Values:
    """Runs in its own process: seconds and megabytes for images of one size; a tenth of them for a quick run."""
    import torch

    from gankit_train.data import Dataset
    from gankit_train.metrics.comparison import Comparison, Reference
    from gankit_train.metrics.compute import compute_metrics
    from gankit_train.metrics.table import METRICS

    torch.set_num_threads(threads)
    shape, scale = _SIZES[size], 10 if quick else 1
    real, fake = _REAL // scale, _FAKE // scale
    with tempfile.TemporaryDirectory() as folder:
        # Memory-mapped, as gan-train's data sets are.
        images = np.lib.format.open_memmap(Path(folder) / "images.npy", "w+", np.uint8, (real + fake, *shape))
        rng = np.random.default_rng(0)
        for start in range(0, len(images), _CHUNK):
            blocks = rng.integers(0, 256, (_CHUNK, shape[0] // _BLOCK, shape[1] // _BLOCK, shape[2]), np.uint8)
            images[start : start + _CHUNK] = blocks.repeat(_BLOCK, 1).repeat(_BLOCK, 2)
        data = Dataset("blocks", images[:real], (), np.zeros((real, 0), np.uint8), "classes", "", (), False)
        begin = perf_counter()
        sets = Comparison(Reference(data, data.images[:fake], device=torch.device(device)), np.array(images[real:]))
        compute_metrics([name for name, each in METRICS.items() if not each.requires], sets)
        return {SECONDS: perf_counter() - begin, PEAK: peak_memory() / 1e6}
