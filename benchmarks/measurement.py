"""Interleaved rounds of measurements, and the timing of a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter

from benchmarks.stats import number

Values = dict[str, float]
"""What one measurement gives: metric → value."""
Measure = Callable[[], Values]


class UnavailableError(Exception):
    """The case needs something that is not installed or not supported on this machine; it is skipped."""


class FailedError(Exception):
    """The case can run here but crashes or generates wrong images; it is reported as failed, never as slow."""


@dataclass
class Measurements:
    """The values of all rounds."""

    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """Metric → case → one value per round."""
    unavailable: dict[str, str] = field(default_factory=dict)
    """Case → reason."""
    failed: dict[str, str] = field(default_factory=dict)
    """Case → reason."""


def interleave(measures: Mapping[str, Measure], rounds: int, log: Callable[[str], None] = print) -> Measurements:
    """Measures every case once per round, so that a drift of the machine's speed affects all cases alike.

    A case that is unavailable or fails is not tried again, and its values from earlier rounds are dropped.

    Args:
        measures: A function for each case.
        rounds: Number of rounds.
        log: Receives a line about each measurement.
    """
    measured = Measurements()
    for round_number in range(1, rounds + 1):
        for case, measure in measures.items():
            if case in measured.unavailable or case in measured.failed:
                continue
            try:
                values = measure()
            except UnavailableError as reason:
                measured.unavailable[case] = str(reason)
                log(f"not available: {case}: {reason}")
                continue
            except FailedError as reason:
                measured.failed[case] = str(reason)
                log(f"failed: {case}: {reason}")
                continue
            for metric, value in values.items():
                measured.values.setdefault(metric, {}).setdefault(case, []).append(value)
            found = "  ".join(f"{metric} {number(value)}" for metric, value in values.items())
            log(f"round {round_number} of {rounds}  {case}: {found}")
    for by_case in measured.values.values():
        for case in (*measured.unavailable, *measured.failed):
            by_case.pop(case, None)
    return measured


def synchronized(work: Callable[[], object], device: str) -> None:
    """Calls `work` and, on `cuda`, waits until the GPU has finished it."""
    work()
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def timed(work: Callable[[], object], seconds: float, warmup: int = 3, minimum: int = 3) -> list[float]:
    """Calls `work` repeatedly for at least `seconds` and at least `minimum` times; returns the seconds of each call.

    The first `warmup` calls are not timed.
    """
    for _ in range(warmup):
        work()
    times: list[float] = []
    begin = perf_counter()
    while len(times) < minimum or perf_counter() - begin < seconds:
        start = perf_counter()
        work()
        times.append(perf_counter() - start)
    return times
