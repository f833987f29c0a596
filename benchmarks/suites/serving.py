"""What many callers who ask for one image each get, and how long they wait."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from time import perf_counter

import numpy as np

from benchmarks import limits, ways
from benchmarks.model import model_for
from benchmarks.options import Options
from benchmarks.results import Document, Metric, Row, document
from benchmarks.rounds import FailedError, Values, interleave
from benchmarks.worker import call
from gankit._session import CPU, CUDA, Device

CALLERS = 64
REQUESTS, P50, P99 = "requests/s", "median wait of a caller", "99 of 100 callers waited less than"
ALONE, SUBMIT = "gankit, one call at a time", f"gankit, {CALLERS} threads, submit"


def run(options: Options) -> Document:
    """Each way of asking in a process of its own, in every round."""
    model = model_for(options)
    file, precision = ("cuda.onnx", "float16") if options.device == "cuda" else ("cpu.onnx", "float32")
    arguments = {
        "file": str(model.file(file)),
        "device": options.device,
        "cores": options.threads,
        "seconds": options.pick(5.0, 0.7),
    }
    rows = {way: Row(way in _OURS, precision) for way in (_OURS | _PEERS if options.peers else _OURS)}
    take = partial(call, "benchmarks.suites.serving:measure", options.threads, options.device, **arguments)
    measures = {way: partial(take, way=way) for way in rows}
    held = limits.measures(options) if model.work() else {}
    taken = interleave(measures | held, options.rounds_of(5))
    waits = Metric("ms", False, compared=False)
    metrics = {REQUESTS: Metric("requests/s", work=model.work()), P50: waits, P99: waits}
    about = f"Requests for one image each, of {model.about}, on {options.threads} threads"
    return document("serving", about, options, taken, metrics, rows)


def measure(way: str, file: str, device: str, cores: int, seconds: float) -> Values:
    """In a process of its own: one way of asking.

    Raises:
        FailedError: no request began and ended while the clock ran.
    """
    waits, passed = (_OURS | _PEERS)[way](file, device, cores, seconds)
    if not waits:
        raise FailedError(f"no request began and ended within {passed:g} s")
    p50, p99 = (1000 * float(np.quantile(waits, share)) for share in (0.5, 0.99))
    return {REQUESTS: len(waits) / passed, P50: p50, P99: p99}


Waits = tuple[list[float], float]
"""Seconds that each request took, and all of them together."""


def _callers(ask: Callable[[int], object], callers: int, seconds: float) -> Waits:
    """So many threads that ask one request after the other; those of a first while do not count."""
    waits: list[list[float]] = [[] for _ in range(callers)]
    numbers = count()
    start = threading.Barrier(callers + 1)
    first = last = 0.0

    def caller(mine: list[float]) -> None:
        start.wait()
        while (begin := perf_counter()) < last:
            ask(next(numbers))
            if first <= begin and (end := perf_counter()) <= last:
                mine.append(end - begin)

    threads = [threading.Thread(target=caller, args=(mine,)) for mine in waits]
    for thread in threads:
        thread.start()
    first = perf_counter() + seconds / 5
    last = first + seconds
    start.wait()
    for thread in threads:
        thread.join()
    return [wait for mine in waits for wait in mine], seconds


def _generator(kind: str, file: str, device: Device, cores: int, seconds: float) -> Waits:
    import gankit

    with gankit.load(file, device, threads=cores) as generator:
        generator.warmup()
        if kind == "async":
            return asyncio.run(_clients(generator, seconds))
        if kind == "submit":
            return _callers(lambda i: generator.submit(1, seed=i).result(), CALLERS, seconds)
        return _callers(lambda i: generator.sample(1, seed=i), 1 if kind == "alone" else CALLERS, seconds)


async def _clients(generator: object, seconds: float) -> Waits:
    import gankit

    assert isinstance(generator, gankit.Generator)
    waits: list[float] = []
    numbers, first = count(), perf_counter() + seconds / 5
    last = first + seconds

    async def client() -> None:
        while (begin := perf_counter()) < last:
            await generator.sample_async(1, seed=next(numbers))
            if first <= begin and (end := perf_counter()) <= last:
                waits.append(end - begin)

    await asyncio.gather(*(client() for _ in range(CALLERS)))
    return waits, seconds


def _session(callers: int, file: str, device: str, cores: int, seconds: float) -> Waits:
    provider = CUDA if device == "cuda" else CPU
    session = ways.session(Path(file), cores, provider)
    opened = ways.drawn(ways.runs(session), [value.shape[1] for value in session.get_inputs()])
    return _callers(lambda i: opened.sample(1, i), callers, seconds)


_OURS: dict[str, Callable[[str, str, int, float], Waits]] = {
    ALONE: partial(_generator, "alone"),
    SUBMIT: partial(_generator, "submit"),
    f"gankit, {CALLERS} threads, sample": partial(_generator, "threads"),
    f"gankit, {CALLERS} async clients, sample_async": partial(_generator, "async"),
}
_PEERS: dict[str, Callable[[str, str, int, float], Waits]] = {
    "onnxruntime, one call at a time": partial(_session, 1),
    f"onnxruntime, {CALLERS} threads": partial(_session, CALLERS),
}
