"""How fast latents are made that are the same on every machine, beside NumPy's generator, whose are not."""

from __future__ import annotations

from functools import partial
from itertools import count

import numpy as np

from benchmarks.options import Options
from benchmarks.results import Document, Metric, Row, document
from benchmarks.rounds import Values, interleave, timed
from benchmarks.worker import call

DIM = 100
BATCHES = (1, 128, 4096)
_OURS, _PEER = "gankit.latents", "numpy, standard_normal of float32"


def _rate(n: int) -> str:
    return f"numbers/s for {n} images of {DIM}"


def run(options: Options) -> Document:
    """Each in a process of its own, on one thread."""
    rows = {_OURS: Row()} | ({_PEER: Row(ours=False)} if options.peers else {})
    take = partial(call, "benchmarks.suites.latents:measure", 1, options.device, seconds=options.pick(1.0, 0.1))
    taken = interleave({way: partial(take, way=way) for way in rows}, options.rounds_of(5))
    metrics = {_rate(n): Metric("million numbers/s") for n in BATCHES}
    return document("latents", "Normal numbers as float32, on one thread", options, taken, metrics, rows)


def measure(way: str, seconds: float) -> Values:
    """In a process of its own: millions a second."""
    from gankit._latents import latents

    rng, numbers = np.random.default_rng(0), count()
    values = {}
    for n in BATCHES:
        draw = (
            (lambda n=n: latents(1, next(numbers) * n, n, DIM))
            if way == _OURS
            else partial(rng.standard_normal, (n, DIM), np.float32)
        )
        times = timed(draw, seconds)
        values[_rate(n)] = n * DIM * len(times) / sum(times) / 1e6
    return values
