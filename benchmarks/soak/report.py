"""The results of a soak test: printed, written as a document, and checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.measurement import Measurements
from benchmarks.options import Options
from benchmarks.results import Case, Metric, document, write
from benchmarks.soak.memory import growth
from benchmarks.soak.runs import Record
from gankit._errors import GankitError

MEMORY = "memory in use"


def memory_summary(record: Record) -> dict[str, dict[str, float]]:
    """Gauge → MB after the warm-up, at the end, at the peak, growth, and slope per 1,000 requests or images."""
    thousands = np.array(record.progress[record.warmup :]) / 1000
    summary = {}
    for gauge, values in record.memory.items():
        later = values[record.warmup :]
        slope = float(np.polyfit(thousands, later, 1)[0]) if thousands[-1] > thousands[0] else 0.0
        summary[gauge] = {
            "after warm-up": later[0],
            "end": later[-1],
            "peak": max(values),
            "growth": growth(later),
            "per 1,000": slope,
        }
    return summary


def write_report(record: Record, max_growth: float, folder: Path) -> Path:
    """Prints the results, writes them into `folder` and returns the path."""
    summary = memory_summary(record)
    _print(record, summary)
    if record.name == "soak-stream":
        subject = f"a stream of {record.images:,} images"
    else:
        subject = f"{record.seconds / 60:.0f} min of {record.counts.total():,} mixed requests"
    measured = Measurements({MEMORY: {gauge: record.memory[gauge][record.warmup :] for gauge in summary}})
    result = document(
        record.name,
        f"Memory over {subject}; a round is a sample of the memory",
        Options(record.device),
        measured,
        {MEMORY: Metric("MB", higher_is_better=False)},
        dict.fromkeys(summary, Case()),
    )
    result |= {
        "memory": summary,
        "max_growth": max_growth,
        "requests": dict(record.counts),
        "images": record.images,
        "seconds": record.seconds,
        "errors": record.errors,
    }
    return write(result, folder)


def _print(record: Record, summary: dict[str, dict[str, float]]) -> None:
    print()
    for kind, times in record.counts.most_common():
        print(f"{kind:16} {times:9,}")
    print(f"{'images':16} {record.images:9,}\n")
    print(f"{'MB':10}" + "".join(f"{name:>15}" for name in summary["resident"]))
    for gauge, values in summary.items():
        print(f"{gauge:10}" + "".join(f"{value:15.3f}" for value in values.values()))
    print(*record.errors, sep="\n")


def check(record: Record, max_growth: float) -> None:
    """Checks the results.

    Raises:
        GankitError: a request had an error, or a gauge of the memory grew by more than `max_growth` MB.
    """
    if record.errors:
        raise GankitError(f"{len(record.errors)} requests had errors; the first: {record.errors[0]}")
    for gauge, values in memory_summary(record).items():
        if values["growth"] > max_growth:
            raise GankitError(
                f"{gauge} memory grew by {values['growth']:.1f} MB, more than the {max_growth:g} MB of --max-growth"
            )
