"""The performance targets, and whether the stored results meet them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.results import Document, best_case
from benchmarks.stats import number, ratio, spread_note, summarise
from benchmarks.suites import diagnosis, evaluation, export, loader, sampling, serving, startup
from benchmarks.trainers import DCGAN


@dataclass(frozen=True)
class Found:
    """The value that a target is checked with."""

    summary: dict[str, Any]
    """Summary over the rounds."""
    source: str
    """The cases that the value comes from."""


Find = Callable[[Document], Found | None]
"""Finds the value in a suite's document; None where the document lacks a case that it needs."""


@dataclass(frozen=True)
class Target:
    """A bound on one value, from below or from above."""

    name: str
    suite: str
    device: str
    find: Find
    at_least: float | None = None
    at_most: float | None = None
    unit: str = ""

    @property
    def requirement(self) -> str:
        """The bound as text."""
        return f"≤ {self.at_most:g}{self.unit}" if self.at_least is None else f"≥ {self.at_least:g}{self.unit}"

    def is_met_by(self, value: float) -> bool:
        """Whether a value lies within the bound."""
        if math.isnan(value):
            return False
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)


@dataclass(frozen=True)
class Checked:
    """A target and the value that was measured."""

    target: Target
    found: Found | None

    @property
    def status(self) -> str:
        """One of `STATUSES`, by the median."""
        if self.found is None:
            return "not measured"
        return "met" if self.target.is_met_by(self.found.summary["median"]) else "missed"

    @property
    def result(self) -> str:
        """The value as text: median, range over the rounds, source; empty where nothing was measured."""
        if self.found is None:
            return ""
        summary, unit = self.found.summary, self.target.unit
        if math.isnan(summary["median"]):
            return self.found.source
        low, high = number(summary["min"]), number(summary["max"])
        rounds = f" ({low} … {high}{spread_note(summary)})" if len(summary["values"]) > 1 else ""
        return f"{number(summary['median'])}{unit}{rounds}: {self.found.source}"


STATUSES = ("missed", "met", "not measured")


def check_targets(documents: Sequence[Document]) -> list[Checked]:
    """Checks every target: first those missed, then those met, then those not measured. Quick runs do not count."""
    stored = {(each["suite"], each["device"]): each for each in documents if not each["quick"]}

    def find(target: Target) -> Found | None:
        document = stored.get((target.suite, target.device))
        return None if document is None else target.find(document)

    return sorted((Checked(each, find(each)) for each in TARGETS), key=lambda each: STATUSES.index(each.status))


Fits = Callable[[str], bool]
"""Whether a case, by its name, is one of those meant."""


def _named(*starts: str, end: str = "") -> Fits:
    """Fits the names with one of these beginnings and this end."""
    return lambda name: name.startswith(starts) and name.endswith(end)


def _versus(metric: str, gankit: Fits, baselines: Fits) -> Find:
    """The ratio of the best of gankit's cases to the best of the baselines, round by round.

    A case of gankit's that failed is a target missed, not a target that was not measured.
    """

    def find(document: Document) -> Found | None:
        ours, theirs = best_case(document, metric, gankit), best_case(document, metric, baselines)
        if ours is None and (failed := next(filter(gankit, document["failed"]), None)):
            return Found(summarise([math.nan]), f"**failed**: {document['failed'][failed]}")
        if ours is None or theirs is None:
            return None
        results = document["metrics"][metric]["results"]
        skipped = document["unavailable"].keys() | document["failed"].keys()
        absent = [name for name in document["cases"] if name in skipped and (gankit(name) or baselines(name))]
        without = f" (without {'; '.join(absent)})" if absent else ""
        return Found(ratio(results[ours]["values"], results[theirs]["values"]), f"{ours} / {theirs}{without}")

    return find


def _largest(metric: str, fits: Fits = lambda _: True) -> Find:
    """The largest median of the cases that fit."""

    def find(document: Document) -> Found | None:
        results = document["metrics"].get(metric, {"results": {}})["results"]
        name = max(filter(fits, results), key=lambda each: float(results[each]["median"]), default=None)
        return None if name is None else Found(results[name], name)

    return find


def _roofline_share(metric: str, fits: Fits) -> Find:
    """The share of the roofline that the best of the cases reaches."""

    def find(document: Document) -> Found | None:
        name = best_case(document, metric, fits)
        result = document["metrics"][metric]["results"][name] if name else {}
        return Found(summarise([result["share"]]), f"{name}, of {result['share_of']}") if "share" in result else None

    return find


_CPU_RATE, _CUDA_RATE = sampling.HEADLINE["cpu"], sampling.HEADLINE["cuda"]
_GANKIT_FLOAT32 = _named("gankit, --for cpu", "gankit, --rewrite plain", end="float32")

TARGETS = (
    Target(
        "sampling in float32 on the CPU, versus PyTorch and a default session on its exporter's file",
        "sampling",
        "cpu",
        _versus(
            _CPU_RATE, _GANKIT_FLOAT32, _named("torch", "TorchScript", "onnxruntime, --rewrite plain", end="float32")
        ),
        at_least=1.3,
    ),
    Target(
        "sampling in float32 on the CPU, versus OpenVINO",
        "sampling",
        "cpu",
        _versus(_CPU_RATE, _GANKIT_FLOAT32, _named("OpenVINO", end="float32")),
        at_least=1,
    ),
    Target(
        "sampling in bfloat16 on the CPU, versus torch channels_last",
        "sampling",
        "cpu",
        _versus(_CPU_RATE, _named("gankit, openvino", end="bfloat16"), _named("torch channels_last", end="bfloat16")),
        at_least=1.3,
    ),
    Target(
        "latency of one image on the CPU, versus session.run of the same file",
        "sampling",
        "cpu",
        _versus(sampling.LATENCY, _named("gankit, --for cpu"), _named("onnxruntime, --for cpu")),
        at_most=1.1,
    ),
    Target(
        f"requests/s of {serving.CALLERS} threads by submit on the CPU, versus one call at a time",
        "serving",
        "cpu",
        _versus(serving.REQUESTS, _named(serving.SUBMIT), _named(serving.SEQUENTIAL)),
        at_least=1,
    ),
    Target(
        "training in float32 on the CPU, versus pytorch/examples",
        "training",
        "cpu",
        _versus(DCGAN.metric, _named("gankit, float32"), _named("pytorch/examples")),
        at_least=1.3,
    ),
    Target(
        "fetching a batch, as a share of the training step",
        "loader",
        "cpu",
        _largest(loader.SHARE),
        at_most=2,
        unit=" %",
    ),
    Target(
        "exporting a checkpoint to verified ONNX and TorchScript files",
        "export",
        "cpu",
        _largest(export.SECONDS, _named(export.BOTH)),
        at_most=20,
        unit=" s",
    ),
    Target("memory of exporting", "export", "cpu", _largest(export.PEAK), at_most=2000, unit=" MB"),
    Target(
        "diagnosis, as a share of training",
        "diagnosis",
        "cpu",
        _largest(diagnosis.OVERHEAD),
        at_most=1,
        unit=" %",
    ),
    Target(
        "metrics of 10,000 images versus 60,000",
        "evaluation",
        "cpu",
        _largest(evaluation.SECONDS),
        at_most=60,
        unit=" s",
    ),
    Target(
        "memory of these metrics, memory-mapped data included",
        "evaluation",
        "cpu",
        _largest(evaluation.PEAK),
        at_most=2000,
        unit=" MB",
    ),
    Target(
        "--help of each command",
        "startup",
        "cpu",
        _largest(startup.SECONDS, _named(*startup.HELP)),
        at_most=0.3,
        unit=" s",
    ),
    Target(
        "64 images from a cold start",
        "startup",
        "cpu",
        _largest(startup.SECONDS, _named(startup.GENERATE)),
        at_most=1.5,
        unit=" s",
    ),
    Target(
        "sampling in float16 on CUDA, versus torch eager in float32",
        "sampling",
        "cuda",
        _versus(_CUDA_RATE, _named("gankit", end="float16"), _named("torch eager", end="float32")),
        at_least=3,
    ),
    Target(
        "sampling in float16 on CUDA, versus torch.compile in float16",
        "sampling",
        "cuda",
        _versus(_CUDA_RATE, _named("gankit", end="float16"), _named("torch.compile", end="float16")),
        at_least=1.3,
    ),
    Target(
        "sampling on CUDA, as a share of the roofline",
        "sampling",
        "cuda",
        _roofline_share(_CUDA_RATE, _named("gankit")),
        at_least=0.5,
    ),
    Target(
        "latency of one image on CUDA, versus session.run of the same file",
        "sampling",
        "cuda",
        _versus(sampling.LATENCY, _named("gankit, --for cuda"), _named("onnxruntime, --for cuda")),
        at_most=1.1,
    ),
    Target(
        f"requests/s of {serving.CALLERS} threads by submit on CUDA, versus one call at a time",
        "serving",
        "cuda",
        _versus(serving.REQUESTS, _named(serving.SUBMIT), _named(serving.SEQUENTIAL)),
        at_least=3,
    ),
    Target(
        "training in precision auto on CUDA, versus pytorch/examples",
        "training",
        "cuda",
        _versus(DCGAN.metric, _named("gankit, auto"), _named("pytorch/examples")),
        at_least=3,
    ),
)
