"""The figures that were asked for, held against the stored results."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.results import Document
from benchmarks.rounds import noise, number_text, ratio, summary
from benchmarks.suites import diagnosis, export, loader, measures, sampling, serving, startup, training


@dataclass(frozen=True)
class Found:
    """What the results say of a target."""

    value: dict[str, Any]
    """A summary over the rounds."""
    of: str
    """What was held against what."""


Find = Callable[[Document], Found | None]
"""None where a document does not have what it takes."""


@dataclass(frozen=True)
class Target:
    """One figure."""

    what: str
    suite: str
    device: str
    bound: float
    find: Find
    at_least: bool = True
    unit: str = ""

    @property
    def asked(self) -> str:
        """For a table."""
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}{self.unit}"


@dataclass(frozen=True)
class Checked:
    """A target and what came of it."""

    target: Target
    found: Found | None

    @property
    def verdict(self) -> str:
        """`below`, `reached` or `not measured`, by the median."""
        if self.found is None:
            return "not measured"
        median, bound = self.found.value["median"], self.target.bound
        return "reached" if (median >= bound if self.target.at_least else median <= bound) else "below"

    @property
    def measured(self) -> str:
        """For a table."""
        if self.found is None:
            return ""
        value, unit = self.found.value, self.target.unit
        if math.isnan(value["median"]):
            return self.found.of
        low, high = number_text(value["min"]), number_text(value["max"])
        rounds = f" ({low} … {high}{noise(value)})" if len(value["values"]) > 1 else ""
        return f"{number_text(value['median'])}{unit}{rounds}: {self.found.of}"


VERDICTS = ("below", "reached", "not measured")


def check(documents: Sequence[Document]) -> list[Checked]:
    """Every target: those that are missed first, those that were not measured last. Quick runs answer none."""
    stored = {(each["suite"], each["device"]): each for each in documents if not each["quick"]}

    def found(target: Target) -> Found | None:
        document = stored.get((target.suite, target.device))
        return None if document is None else target.find(document)

    return sorted((Checked(each, found(each)) for each in TARGETS), key=lambda each: VERDICTS.index(each.verdict))


def best(document: Document, metric: str, starts: Sequence[str], end: str = "") -> str | None:
    """The way with the best median among those whose name starts with one of these and ends so."""
    measured = document["metrics"].get(metric, {"ways": {}, "higher_is_better": True})
    names = [name for name in measured["ways"] if _fits(name, starts, end)]
    pick = max if measured["higher_is_better"] else min
    return pick(names, key=lambda name: measured["ways"][name]["median"], default=None)


def _fits(name: str, starts: Sequence[str], end: str) -> bool:
    return name.startswith(tuple(starts)) and name.endswith(end)


def _beside(metric: str, ours: Sequence[str], others: Sequence[str], end: str = "", ours_end: str = "") -> Find:
    """The best of ours divided by the best of the others, round by round."""

    def find(document: Document) -> Found | None:
        mine, other = best(document, metric, ours, ours_end or end), best(document, metric, others, end)
        broken = [name for name in document["failed"] if _fits(name, ours, ours_end or end)]
        if mine is None and broken:
            return Found(summary([math.nan]), f"**failed**: {document['failed'][broken[0]]}")
        if mine is None or other is None:
            return None
        ways = document["metrics"][metric]["ways"]
        names = [name for name in document["ways"] if _fits(name, others, end) or _fits(name, ours, ours_end or end)]
        gone = [name for name in names if name in document["missing"] or name in document["failed"]]
        without = f" (without {'; '.join(gone)})" if gone else ""
        return Found(ratio(ways[mine]["values"], ways[other]["values"]), f"{mine} / {other}{without}")

    return find


def _most(metric: str, *starts: str) -> Find:
    """The largest median of these ways."""

    def find(document: Document) -> Found | None:
        ways = document["metrics"].get(metric, {"ways": {}})["ways"]
        name = max((n for n in ways if n.startswith(starts)), key=lambda n: ways[n]["median"], default=None)
        return None if name is None else Found(ways[name], name)

    return find


def _share(metric: str, *starts: str) -> Find:
    """Of the nearer limit, of the best of these ways."""

    def find(document: Document) -> Found | None:
        name = best(document, metric, starts)
        way = document["metrics"][metric]["ways"][name] if name else {}
        return Found(summary([way["share"]]), f"{name}, of {way['limit']}") if "share" in way else None

    return find


_RATE, _ON_CPU = sampling.SHOWN, ("gankit, --for cpu", "gankit, --rewrite plain")
_TORCH = ("torch", "TorchScript")
_DEFAULT = "onnxruntime, --rewrite plain"

TARGETS = (
    Target(
        "float32 on the CPU, beside the best of PyTorch's ways and a default session on what its exporter writes",
        "sampling",
        "cpu",
        1.3,
        _beside(_RATE["cpu"], _ON_CPU, [*_TORCH, _DEFAULT], "float32"),
    ),
    Target(
        "float32 on the CPU, beside OpenVINO",
        "sampling",
        "cpu",
        1,
        _beside(_RATE["cpu"], _ON_CPU, ["OpenVINO"], "float32"),
    ),
    Target(
        "bfloat16 on the CPU through OpenVINO, beside torch channels_last in bfloat16",
        "sampling",
        "cpu",
        1.3,
        _beside(_RATE["cpu"], ["gankit, openvino"], ["torch channels_last"], "bfloat16"),
    ),
    Target(
        "time of one image on the CPU, beside a bare session.run of the same file",
        "sampling",
        "cpu",
        1.1,
        _beside(sampling.ONE, ["gankit, --for cpu"], ["onnxruntime, --for cpu"]),
        at_least=False,
    ),
    Target(
        f"requests/s of {serving.CALLERS} threads through submit on the CPU, beside one call at a time",
        "serving",
        "cpu",
        1,
        _beside(serving.REQUESTS, [serving.SUBMIT], [serving.ALONE]),
    ),
    Target(
        "training in float32 on the CPU, beside pytorch/examples",
        "training",
        "cpu",
        1.3,
        _beside(training.DCGAN.metric, ["gankit, float32"], ["pytorch/examples"]),
    ),
    Target(
        "fetching a batch, as a share of a step",
        "loader",
        "cpu",
        2,
        _most(loader.SHARE, ""),
        at_least=False,
        unit=" %",
    ),
    Target(
        "a checkpoint to proved ONNX and TorchScript files",
        "export",
        "cpu",
        20,
        _most(export.SECONDS, export.BOTH),
        at_least=False,
        unit=" s",
    ),
    Target("memory of exporting", "export", "cpu", 2000, _most(export.PEAK, ""), at_least=False, unit=" MB"),
    Target("diagnosis, as a share of training", "diagnosis", "cpu", 1, _most(diagnosis.SHARE, ""), False, " %"),
    Target("10,000 images measured beside 60,000", "measures", "cpu", 60, _most(measures.SECONDS, ""), False, " s"),
    Target(
        "memory of measuring them, mapped data included",
        "measures",
        "cpu",
        2000,
        _most(measures.PEAK, ""),
        False,
        " MB",
    ),
    Target("--help of each command", "startup", "cpu", 0.3, _most(startup.SECONDS, *startup.HELP), False, " s"),
    Target("64 images from a cold start", "startup", "cpu", 1.5, _most(startup.SECONDS, startup.GENERATE), False, " s"),
    Target(
        "CUDA, beside torch eager in float32",
        "sampling",
        "cuda",
        3,
        _beside(_RATE["cuda"], ["gankit"], ["torch eager, float32"], ours_end="float16"),
    ),
    Target(
        "CUDA, beside torch.compile in half, channels_last",
        "sampling",
        "cuda",
        1.3,
        _beside(_RATE["cuda"], ["gankit"], ["torch.compile"], "float16"),
    ),
    Target("CUDA, as a share of the nearer limit", "sampling", "cuda", 0.5, _share(_RATE["cuda"], "gankit")),
    Target(
        "time of one image on CUDA, beside a bare session.run of the same file",
        "sampling",
        "cuda",
        1.1,
        _beside(sampling.ONE, ["gankit, --for cuda"], ["onnxruntime, --for cuda"]),
        at_least=False,
    ),
    Target(
        f"requests/s of {serving.CALLERS} threads through submit on CUDA, beside one call at a time",
        "serving",
        "cuda",
        3,
        _beside(serving.REQUESTS, [serving.SUBMIT], [serving.ALONE]),
    ),
    Target(
        "training in auto on CUDA, beside pytorch/examples",
        "training",
        "cuda",
        3,
        _beside(training.DCGAN.metric, ["gankit, auto"], ["pytorch/examples"]),
    ),
)
