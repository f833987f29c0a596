"""How everything here is measured: rounds in turn, medians and spread, ratios round by round, the machine beside."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

RESULTS = Path(__file__).parent / "results"
Measure = Callable[[], float]


def interleave(measures: dict[str, Measure], rounds: int, say: Callable[[str], None] = print) -> dict[str, list[float]]:
    """Takes each measure once a round, in turn, so that a machine whose speed drifts drifts for all of them."""
    taken: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(rounds):
        for name, measure in measures.items():
            taken[name].append(measure())
            say(f"round {number + 1} of {rounds}  {name:40} {taken[name][-1]:.4g}")
    return taken


def summary(values: list[float]) -> dict[str, Any]:
    """Median, extremes and all values."""
    return {"median": median(values), "min": min(values), "max": max(values), "values": values}


def ratio(values: list[float], others: list[float]) -> dict[str, Any]:
    """Of two measures, round by round."""
    return summary([a / b for a, b in zip(values, others, strict=True)])


def write(name: str, document: dict[str, Any]) -> Path:
    """Puts a result with the machine, versions and commit under benchmarks/results/."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": _machine(), **document}, indent=1) + "\n")
    print(f"wrote {path}")
    return path


def markdown() -> list[str]:
    """A table of the stored results: medians with their spread, and ratios to what was measured in turn with them."""
    lines = ["| what | median | from … to | beside what it is measured with, round by round |", "|---|---|---|---|"]
    for path in sorted(RESULTS.glob("*.json")):
        document = json.loads(path.read_text())
        for name, value in document["results"].items():
            spread = f"{value['min']:.3g} … {value['max']:.3g}"
            ratios = [r for pair, r in document.get("ratios", {}).items() if pair.startswith(f"{name} / ")]
            against = f"{ratios[0]['median']:.3g} ({ratios[0]['min']:.3g} … {ratios[0]['max']:.3g})" if ratios else ""
            lines.append(f"| `{name}` | {value['median']:.3g} {document['unit']} | {spread} | {against} |")
    return lines


def _machine() -> dict[str, Any]:
    def installed(package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return "-"

    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    flags = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in text]
    model = next((line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name")), "")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip(),
        "cpu": f"{model} ({', '.join(flags)})",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "versions": {p: installed(p) for p in ("numpy", "torch", "torchvision", "onnxruntime", "pillow", "typer")},
    }
