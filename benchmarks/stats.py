"""Statistics over the rounds of a measurement, and how numbers are written."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

MAX_SPREAD = 0.2
"""Spread above which the tables mark a result."""


def summarise(values: Sequence[float]) -> dict[str, Any]:
    """Median, minimum, maximum and the values themselves."""
    return {"median": median(values), "min": min(values), "max": max(values), "values": list(values)}


def spread(summary: dict[str, Any]) -> float:
    """(max - min) / median of a summary; 0 where the median is 0."""
    return float((summary["max"] - summary["min"]) / summary["median"]) if summary["median"] else 0.0


def spread_note(summary: dict[str, Any]) -> str:
    """`", spread 33 %"` where the spread is above `MAX_SPREAD`, else an empty string."""
    return f", spread {percent(spread(summary))}" if spread(summary) > MAX_SPREAD else ""


def ratio(values: Sequence[float], others: Sequence[float]) -> dict[str, Any]:
    """Summary of `values[i] / others[i]`, the ratios within a round: there, the machine's speed cancels out."""
    return summarise([a / b for a, b in zip(values, others, strict=True)])


def number(value: float) -> str:
    """Writes a number with three significant digits, or all digits before the point: 0.0123, 1.31, 1,310."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip(".")


def percent(share: float) -> str:
    """Writes a share as whole percent: 0.331 → `33 %`."""
    return f"{100 * share:.0f} %"
