"""Results as files: one JSON document for each suite and device."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.limits import nearer
from benchmarks.machine import machine
from benchmarks.options import Options
from benchmarks.rounds import Taken, summary
from benchmarks.suites import SUITES
from gankit._files import atomic_write

Document = dict[str, Any]


@dataclass(frozen=True)
class Metric:
    """What a number means."""

    unit: str
    higher_is_better: bool = True
    work: Mapping[str, float] | None = None
    """For what is counted in images: what one of them takes, so that it can be held against the limits."""
    compared: bool = True
    """Whether ours are held against the best peer."""


@dataclass(frozen=True)
class Row:
    """What is known of a way beside its figures."""

    ours: bool = True
    precision: str = "float32"


def document(
    suite: str,
    about: str,
    options: Options,
    taken: Taken,
    metrics: Mapping[str, Metric],
    rows: Mapping[str, Row],
) -> Document:
    """All that was measured. Values that are no metric are limits: the best of all rounds, as it can be reached."""
    limits = {name: max(map(max, ways.values())) for name, ways in taken.values.items() if name not in metrics and ways}
    measured: Document = {}
    for name, metric in metrics.items():
        ways: Document = {}
        for way, values in taken.values.get(name, {}).items():
            ways[way] = summary(values)
            if limit := nearer(limits, metric.work or {}, rows[way].precision):
                ways[way] |= {"share": ways[way]["median"] / limit[1], "limit": limit[0]}
        if ways:
            measured[name] = {**asdict(metric), "ways": ways}
    return {
        "suite": suite,
        "about": about,
        "device": options.device,
        "quick": options.quick,
        "threads": options.threads,
        "machine": machine(),
        "limits": limits,
        "ways": {name: asdict(row) for name, row in rows.items()},
        "metrics": measured,
        "missing": taken.missing,
        "failed": taken.failed,
    }


def write(made: Document, folder: Path) -> Path:
    """Puts a document into the folder of results, under the name of its suite and, but for the CPU, its device."""
    suffix = "" if made["device"] == "cpu" else f"-{made['device']}"
    path = folder / f"{made['suite']}{suffix}.json"
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n")
    return path


def read_all(folder: Path) -> list[Document]:
    """Every document in the folder, in the order of the suites, the CPU's before the GPU's."""
    found = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    order = list(SUITES)
    return sorted(found, key=lambda each: (each["device"], (*order, each["suite"]).index(each["suite"])))
