"""The rate of gankit's reproducible latents, and of NumPy's generator, which may differ between versions."""

from __future__ import annotations

from functools import partial
from itertools import count

import numpy as np

from benchmarks.measurement import Values, interleave, timed
from benchmarks.options import Options
from benchmarks.results import Case, Document, Metric, document
from benchmarks.worker import run_in_process

DIM = 100
BATCHES = (1, 128, 4096)
_GANKIT, _NUMPY = "gankit.latents", "numpy, standard_normal in float32"


def _rate(n: int) -> str:
    return f"numbers/s for {n} latents of {DIM} dimensions"


def run(options: Options) -> Document:
    """Measures both on one thread."""
    cases = {_GANKIT: Case()} | ({_NUMPY: Case(baseline=True)} if options.baselines else {})
    measure_one = partial(run_in_process, measure, 1, options.device, seconds=options.pick(1.0, 0.1))
    measured = interleave({name: partial(measure_one, name=name) for name in cases}, options.rounds_or(5))
    metrics = {_rate(n): Metric("million numbers/s") for n in BATCHES}
    return document("latents", "Normal numbers in float32, one thread", options, measured, metrics, cases)


def measure(name: str, seconds: float) -> Values:
    """Runs in its own process: millions of numbers per second at each batch size."""
    from gankit._latents import latents

    rng, calls = np.random.default_rng(0), count()

    def draw(n: int) -> object:
        return latents(1, next(calls) * n, n, DIM) if name == _GANKIT else rng.standard_normal((n, DIM), np.float32)

    values = {}
    for n in BATCHES:
        times = timed(partial(draw, n), seconds)
        values[_rate(n)] = n * DIM * len(times) / sum(times) / 1e6
    return values
