"""How fast images come, from random numbers to bytes on the host, in every way that there is."""

from __future__ import annotations

from functools import partial
from itertools import count
from pathlib import Path
from statistics import median

from benchmarks import limits
from benchmarks.model import Model, model_for
from benchmarks.options import Options
from benchmarks.results import Document, Metric, document
from benchmarks.rounds import Values, interleave, timed
from benchmarks.ways import compare, way_named, ways_for
from benchmarks.worker import call, peak_memory, since_start

BATCHES, QUICK_BATCHES = (1, 16, 128, 1024), (1, 128)
ONE, COLD, MEMORY = "one image, median", "first image of a process", "peak memory of the process"


def rate(n: int) -> str:
    """The metric of a batch size."""
    return f"images/s in batches of {n}"


SHOWN = {"cpu": rate(128), "cuda": rate(1024)}
"""What documents quote of a device."""


def run(options: Options) -> Document:
    """Every way in every round, each a process of its own; the machine's limits in the same rounds."""
    model, ways = model_for(options), ways_for(options)
    batches = QUICK_BATCHES if options.quick else BATCHES
    arguments = {
        "device": options.device,
        "cores": options.threads,
        "model": str(model.path),
        "batches": batches,
        "seconds": options.pick(2.0, 0.3),
    }
    take = partial(call, "benchmarks.suites.sampling:measure", options.threads, options.device, **arguments)
    measures = {name: partial(take, way=name) for name in ways}
    held = limits.measures(options) if model.work() else {}
    taken = interleave(measures | held, options.rounds_of(5))
    metrics = {rate(n): Metric("images/s", work=model.work()) for n in batches}
    metrics |= {ONE: Metric("ms", False), COLD: Metric("s", False), MEMORY: Metric("MB", False)}
    about = (
        f"From random numbers to uint8 on the host, {model.about}, on {options.threads} threads; each way in a process "
        "of its own, its images compared with the network's before it is timed"
    )
    rows = {name: way.row for name, way in ways.items()}
    return document("sampling", about, options, taken, metrics, rows)


def measure(way: str, device: str, cores: int, model: str, batches: list[int], seconds: float) -> Values:
    """In a process of its own: everything that is said of one way."""
    chosen, files = way_named(way, device), Model(Path(model))
    opened = chosen.open(files, cores)
    opened.sample(1, 0)
    values = {COLD: since_start()}
    numbers = count(1)
    for n in batches:
        compare(chosen, opened.images, files, n)
        times = timed(lambda n=n: opened.sample(n, next(numbers)), seconds)  # type: ignore[misc]
        values[rate(n)] = n * len(times) / sum(times)
        if n == 1:
            values[ONE] = 1000 * median(times)
    values[MEMORY] = peak_memory() / 1e6
    return values
