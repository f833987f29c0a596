"""Results as JSON documents: one file for each suite and device."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import machine_info
from benchmarks.measurement import Measurements
from benchmarks.options import Options
from benchmarks.roofline import PEAKS, bound
from benchmarks.stats import summarise
from gankit._files import atomic_write

Document = dict[str, Any]


@dataclass(frozen=True)
class Metric:
    """What a suite measures of its cases."""

    unit: str
    higher_is_better: bool = True
    work: Mapping[str, float] | None = None
    """For rates in images/s: operations and bytes per image, see `benchmarks.roofline`."""
    compared: bool = True
    """Whether the tables compare gankit with the best baseline."""


@dataclass(frozen=True)
class Case:
    """A row of a suite's tables: an implementation, a command or a size."""

    baseline: bool = False
    """Whether it is something to compare gankit with."""
    precision: str = "float32"


def document(
    suite: str,
    description: str,
    options: Options,
    measured: Measurements,
    metrics: Mapping[str, Metric],
    cases: Mapping[str, Case],
) -> Document:
    """Everything that a suite measured, with the machine that it was measured on.

    A result of a metric with `work` also has its share of what the machine's peak rates allow (`share`, `share_of`).
    A peak rate is the best of all rounds.
    """
    peaks = {name: max(map(max, rates.values())) for name, rates in measured.values.items() if name in PEAKS and rates}
    found: Document = {}
    for name, metric in metrics.items():
        results: Document = {}
        for case, values in measured.values.get(name, {}).items():
            results[case] = summarise(values)
            if limit := bound(peaks, metric.work or {}, cases[case].precision):
                results[case] |= {"share": results[case]["median"] / limit.rate, "share_of": limit.name}
        if results:
            found[name] = {**asdict(metric), "results": results}
    return {
        "suite": suite,
        "description": description,
        "device": options.device,
        "quick": options.quick,
        "threads": options.threads,
        "machine": machine_info(),
        "peaks": peaks,
        "cases": {name: asdict(case) for name, case in cases.items()},
        "metrics": found,
        "unavailable": measured.unavailable,
        "failed": measured.failed,
    }


def best_case(document: Document, metric: str, fits: Callable[[str], bool]) -> str | None:
    """The case with the best median of a metric among those that fit; None where no such case was measured."""
    if metric not in document["metrics"]:
        return None
    results = document["metrics"][metric]["results"]
    pick = max if document["metrics"][metric]["higher_is_better"] else min
    return pick(filter(fits, results), key=lambda case: float(results[case]["median"]), default=None)


def best_baseline(document: Document, metric: str, precision: str) -> str | None:
    """The baseline with the best median in this precision, or in any where none was measured in it."""
    cases = document["cases"]

    def fits(case: str) -> bool:
        return bool(cases[case]["baseline"])

    same = best_case(document, metric, lambda case: fits(case) and cases[case]["precision"] == precision)
    return same or best_case(document, metric, fits)


def write(document: Document, folder: Path) -> Path:
    """Writes a document to `SUITE.json`, or `SUITE-DEVICE.json` for a GPU, and returns the path."""
    suffix = "" if document["device"] == "cpu" else f"-{document['device']}"
    path = folder / f"{document['suite']}{suffix}.json"
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    return path


def read_all(folder: Path) -> list[Document]:
    """All documents of a folder, ordered by device and suite."""
    documents = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    return sorted(documents, key=lambda each: (each["device"], each["suite"]))
