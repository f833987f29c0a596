"""Sampling: rate, latency, cold start and memory, from random numbers to uint8 images on the host."""

from __future__ import annotations

from functools import partial
from itertools import count
from pathlib import Path
from statistics import median

from benchmarks.implementations import check_images, find_implementation, select_implementations
from benchmarks.measurement import Values, interleave, timed
from benchmarks.model import Model, model_for
from benchmarks.options import Options
from benchmarks.results import Document, Metric, document
from benchmarks.roofline import peak_measures
from benchmarks.worker import measure_in_process, peak_memory, seconds_since_start

BATCHES, QUICK_BATCHES = (1, 16, 128, 1024), (1, 128)
LATENCY, COLD_START, MEMORY = "latency of one image, median", "cold start: first image", "peak memory"


def rate(n: int) -> str:
    """The metric of the rate at a batch size."""
    return f"images/s at batch size {n}"


HEADLINE = {"cpu": rate(128), "cuda": rate(1024)}
"""The metric that the chart and the README show of a device."""


def run(options: Options) -> Document:
    """Measures every implementation and the machine's peak rates."""
    model, implementations = model_for(options), select_implementations(options)
    batches = QUICK_BATCHES if options.quick else BATCHES
    measure_one = partial(
        measure_in_process,
        measure,
        options,
        model=str(model.path),
        batches=batches,
        seconds=options.pick(2.0, 0.3),
    )
    measures = {name: partial(measure_one, name=name) for name in implementations}
    peaks = peak_measures(options) if model.work() else {}
    measured = interleave(measures | peaks, options.rounds_or(5))
    metrics = {rate(n): Metric("images/s", work=model.work()) for n in batches}
    metrics |= {
        LATENCY: Metric("ms", higher_is_better=False),
        COLD_START: Metric("s", higher_is_better=False),
        MEMORY: Metric("MB", higher_is_better=False),
    }
    description = (
        f"Sampling from random numbers to uint8 images on the host, {model.description}, {options.threads} threads; "
        "each implementation in its own process, its images compared with the network's before it is timed"
    )
    cases = {name: each.case for name, each in implementations.items()}
    return document("sampling", description, options, measured, metrics, cases)


def measure(device: str, threads: int, name: str, model: str, batches: list[int], seconds: float) -> Values:
    """Runs in its own process: all metrics of one implementation."""
    implementation, files = find_implementation(name, device), Model(Path(model))
    sampler = implementation.load(files, threads)
    sampler.sample(1, 0)
    values = {COLD_START: seconds_since_start()}
    numbers = count(1)
    for n in batches:
        check_images(implementation, sampler.generate, files, n)
        times = timed(lambda n=n: sampler.sample(n, next(numbers)), seconds)  # type: ignore[misc]
        values[rate(n)] = n * len(times) / sum(times)
        if n == 1:
            values[LATENCY] = 1000 * median(times)
    values[MEMORY] = peak_memory() / 1e6
    return values
