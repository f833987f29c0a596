"""Measures taken in turn, and what follows from them: medians with their spread, ratios round by round."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import Any

NOISE = 0.2
"""The spread from which on a figure is called noisy."""

Values = dict[str, float]
"""What one measurement gives: metric → value."""
Measure = Callable[[], Values]


class MissingError(Exception):
    """What was to be measured is not there: it is named and left out."""


class FailedError(Exception):
    """It is there but does not work, or makes other images: shown as failed and never as slow."""


@dataclass
class Taken:
    """What came of all rounds."""

    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """Metric → way → a value for each round."""
    missing: dict[str, str] = field(default_factory=dict)
    """Way → why."""
    failed: dict[str, str] = field(default_factory=dict)


def interleave(measures: Mapping[str, Measure], rounds: int, say: Callable[[str], None] = print) -> Taken:
    """Takes every measure once a round, in turn, so that a machine whose speed drifts drifts for all of them.

    A measure that is missing or fails is not tried again, and the values that it gave before do not count.
    """
    taken = Taken()
    for number in range(rounds):
        for way, measure in measures.items():
            if way in taken.missing or way in taken.failed:
                continue
            try:
                values = measure()
            except MissingError as reason:
                taken.missing[way] = str(reason)
                say(f"left out: {way}: {reason}")
                continue
            except FailedError as reason:
                taken.failed[way] = str(reason)
                say(f"failed: {way}: {reason}")
                continue
            for metric, value in values.items():
                taken.values.setdefault(metric, {}).setdefault(way, []).append(value)
            shown = "  ".join(f"{metric} {number_text(value)}" for metric, value in values.items())
            say(f"round {number + 1} of {rounds}  {way}: {shown}")
    for ways in taken.values.values():
        for way in (*taken.missing, *taken.failed):
            ways.pop(way, None)
    return taken


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Median, extremes and all values."""
    return {"median": median(values), "min": min(values), "max": max(values), "values": list(values)}


def spread(result: dict[str, Any]) -> float:
    """How far the rounds lie apart, as a share of their median."""
    return float((result["max"] - result["min"]) / result["median"]) if result["median"] else 0.0


def noise(result: dict[str, Any]) -> str:
    """The mark of a figure whose rounds lie too far apart; nothing for others."""
    return f", noise {spread(result):.0%}" if spread(result) > NOISE else ""


def ratio(values: Sequence[float], others: Sequence[float]) -> dict[str, Any]:
    """Of two ways, round by round."""
    return summary([a / b for a, b in zip(values, others, strict=True)])


def finish(work: Callable[[], object], on: str) -> None:
    """Calls it, and waits until the GPU has done it where it computes there."""
    work()
    if on == "cuda":
        import torch

        torch.cuda.synchronize()


def timed(work: Callable[[], object], seconds: float, warm: int = 3, least: int = 3) -> list[float]:
    """Seconds of each call, for at least so long and so often, after some that do not count."""
    for _ in range(warm):
        work()
    times: list[float] = []
    begin = perf_counter()
    while len(times) < least or perf_counter() - begin < seconds:
        start = perf_counter()
        work()
        times.append(perf_counter() - start)
    return times


def number_text(value: float) -> str:
    """Three digits and more, as people write them: 0.0123, 1.31, 1,310."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip(".")
