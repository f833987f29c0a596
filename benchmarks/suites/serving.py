"""Throughput and latency of many callers that each request one image at a time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.implementations import ort_session, session_sampler
from benchmarks.measurement import FailedError, Values, interleave
from benchmarks.model import model_for
from benchmarks.options import Options
from benchmarks.results import Case, Document, Metric, document
from benchmarks.roofline import peak_measures
from benchmarks.worker import measure_in_process
from gankit._options import Device
from gankit._session import CPU, CUDA

if TYPE_CHECKING:
    import gankit

CALLERS = 64
REQUESTS, P50, P99 = "requests/s", "latency, median", "latency, 99th percentile"
SEQUENTIAL, SUBMIT = "gankit, one call at a time", f"gankit, {CALLERS} threads, submit"

Latencies = list[float]
"""Seconds of each request."""


def run(options: Options) -> Document:
    """Measures every kind of caller."""
    model = model_for(options)
    file, precision = ("cuda.onnx", "float16") if options.device == "cuda" else ("cpu.onnx", "float32")
    callers = _GANKIT | _BASELINES if options.baselines else _GANKIT
    cases = {name: Case(name in _BASELINES, precision) for name in callers}
    measure_one = partial(
        measure_in_process,
        measure,
        options,
        file=str(model.file(file)),
        seconds=options.pick(5.0, 0.7),
    )
    measures = {name: partial(measure_one, name=name) for name in cases}
    peaks = peak_measures(options) if model.work() else {}
    measured = interleave(measures | peaks, options.rounds_or(5))
    latency = Metric("ms", higher_is_better=False, compared=False)
    metrics = {REQUESTS: Metric("requests/s", work=model.work()), P50: latency, P99: latency}
    description = f"Requests for one image each, {model.description}, {options.threads} threads"
    return document("serving", description, options, measured, metrics, cases)


def measure(device: str, threads: int, name: str, file: str, seconds: float) -> Values:
    """Runs in its own process: throughput and latencies of one kind of caller.

    Raises:
        FailedError: no request began and ended within `seconds`.
    """
    latencies = (_GANKIT | _BASELINES)[name](file, device, threads, seconds)
    if not latencies:
        raise FailedError(f"no request began and ended within {seconds:g} s")
    p50, p99 = (1000 * float(np.quantile(latencies, share)) for share in (0.5, 0.99))
    return {REQUESTS: len(latencies) / seconds, P50: p50, P99: p99}


def call_from_threads(request: Callable[[int], object], callers: int, seconds: float) -> Latencies:
    """Calls `request(i)` from so many threads, each one request after the other.

    Counts the requests that begin and end within `seconds`, after a warm-up of a fifth of it.
    """
    latencies: list[Latencies] = [[] for _ in range(callers)]
    numbers = count()
    barrier = threading.Barrier(callers + 1)
    first = last = 0.0

    def caller(own: Latencies) -> None:
        barrier.wait()
        while (begin := perf_counter()) < last:
            request(next(numbers))
            if first <= begin and (end := perf_counter()) <= last:
                own.append(end - begin)

    threads = [threading.Thread(target=caller, args=(own,)) for own in latencies]
    for thread in threads:
        thread.start()
    first = perf_counter() + seconds / 5
    last = first + seconds
    barrier.wait()
    for thread in threads:
        thread.join()
    return [latency for own in latencies for latency in own]


async def _call_from_tasks(generator: gankit.Generator, seconds: float) -> Latencies:
    """Awaits `sample_async` in as many tasks as there are callers; counts as `call_from_threads` does."""
    latencies: Latencies = []
    numbers, first = count(), perf_counter() + seconds / 5
    last = first + seconds

    async def caller() -> None:
        while (begin := perf_counter()) < last:
            await generator.sample_async(1, seed=next(numbers))
            if first <= begin and (end := perf_counter()) <= last:
                latencies.append(end - begin)

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return latencies


def _sample(callers: int, generator: gankit.Generator, seconds: float) -> Latencies:
    return call_from_threads(lambda i: generator.sample(1, seed=i), callers, seconds)


def _submit(generator: gankit.Generator, seconds: float) -> Latencies:
    return call_from_threads(lambda i: generator.submit(1, seed=i).result(), CALLERS, seconds)


def _sample_async(generator: gankit.Generator, seconds: float) -> Latencies:
    return asyncio.run(_call_from_tasks(generator, seconds))


def _with_gankit(
    call: Callable[[gankit.Generator, float], Latencies], file: str, device: Device, threads: int, seconds: float
) -> Latencies:
    import gankit

    with gankit.load(file, device=device, threads=threads) as generator:
        generator.warmup()
        return call(generator, seconds)


def _with_onnxruntime(callers: int, file: str, device: str, threads: int, seconds: float) -> Latencies:
    sampler = session_sampler(ort_session(Path(file), threads, CUDA if device == "cuda" else CPU))
    return call_from_threads(lambda i: sampler.sample(1, i), callers, seconds)


Callers = Callable[[str, str, int, float], Latencies]
"""Takes the model's file, device, number of threads and seconds."""
_GANKIT: dict[str, Callers] = {
    SEQUENTIAL: partial(_with_gankit, partial(_sample, 1)),
    SUBMIT: partial(_with_gankit, _submit),
    f"gankit, {CALLERS} threads, sample": partial(_with_gankit, partial(_sample, CALLERS)),
    f"gankit, {CALLERS} async clients, sample_async": partial(_with_gankit, _sample_async),
}
_BASELINES: dict[str, Callers] = {
    "onnxruntime, one call at a time": partial(_with_onnxruntime, 1),
    f"onnxruntime, {CALLERS} threads": partial(_with_onnxruntime, CALLERS),
}
