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
    """A bound on one value."""

    name: str
    suite: str
    device: str
    bound: float
    find: Find
    at_least: bool = True
    unit: str = ""

    @property
    def requirement(self) -> str:
        """The bound as text."""
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}{self.unit}"


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
        median, bound = self.found.summary["median"], self.target.bound
        return "met" if (median >= bound if self.target.at_least else median <= bound) else "missed"

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
        1.3,
        _versus(
            _CPU_RATE, _GANKIT_FLOAT32, _named("torch", "TorchScript", "onnxruntime, --rewrite plain", end="float32")
        ),
    ),
    Target(
        "sampling in float32 on the CPU, versus OpenVINO",
        "sampling",
        "cpu",
        1,
        _versus(_CPU_RATE, _GANKIT_FLOAT32, _named("OpenVINO", end="float32")),
    ),
    Target(
        "sampling in bfloat16 on the CPU, versus torch channels_last",
        "sampling",
        "cpu",
        1.3,
        _versus(_CPU_RATE, _named("gankit, openvino", end="bfloat16"), _named("torch channels_last", end="bfloat16")),
    ),
    Target(
        "latency of one image on the CPU, versus session.run of the same file",
        "sampling",
        "cpu",
        1.1,
        _versus(sampling.LATENCY, _named("gankit, --for cpu"), _named("onnxruntime, --for cpu")),
        at_least=False,
    ),
    Target(
        f"requests/s of {serving.CALLERS} threads by submit on the CPU, versus one call at a time",
        "serving",
        "cpu",
        1,
        _versus(serving.REQUESTS, _named(serving.SUBMIT), _named(serving.SEQUENTIAL)),
    ),
    Target(
        "training in float32 on the CPU, versus pytorch/examples",
        "training",
        "cpu",
        1.3,
        _versus(DCGAN.metric, _named("gankit, float32"), _named("pytorch/examples")),
    ),
    Target(
        "fetching a batch, as a share of the training step", "loader", "cpu", 2, _largest(loader.SHARE), False, " %"
    ),
    Target(
        "exporting a checkpoint to verified ONNX and TorchScript files",
        "export",
        "cpu",
        20,
        _largest(export.SECONDS, _named(export.BOTH)),
        at_least=False,
        unit=" s",
    ),
    Target("memory of exporting", "export", "cpu", 2000, _largest(export.PEAK), False, " MB"),
    Target("diagnosis, as a share of training", "diagnosis", "cpu", 1, _largest(diagnosis.OVERHEAD), False, " %"),
    Target(
        "metrics of 10,000 images versus 60,000", "evaluation", "cpu", 60, _largest(evaluation.SECONDS), False, " s"
    ),
    Target(
        "memory of these metrics, memory-mapped data included",
        "evaluation",
        "cpu",
        2000,
        _largest(evaluation.PEAK),
        at_least=False,
        unit=" MB",
    ),
    Target(
        "--help of each command", "startup", "cpu", 0.3, _largest(startup.SECONDS, _named(*startup.HELP)), False, " s"
    ),
    Target(
        "64 images from a cold start",
        "startup",
        "cpu",
        1.5,
        _largest(startup.SECONDS, _named(startup.GENERATE)),
        at_least=False,
        unit=" s",
    ),
    Target(
        "sampling in float16 on CUDA, versus torch eager in float32",
        "sampling",
        "cuda",
        3,
        _versus(_CUDA_RATE, _named("gankit", end="float16"), _named("torch eager", end="float32")),
    ),
    Target(
        "sampling in float16 on CUDA, versus torch.compile in float16",
        "sampling",
        "cuda",
        1.3,
        _versus(_CUDA_RATE, _named("gankit", end="float16"), _named("torch.compile", end="float16")),
    ),
    Target(
        "sampling on CUDA, as a share of the roofline",
        "sampling",
        "cuda",
        0.5,
        _roofline_share(_CUDA_RATE, _named("gankit")),
    ),
    Target(
        "latency of one image on CUDA, versus session.run of the same file",
        "sampling",
        "cuda",
        1.1,
        _versus(sampling.LATENCY, _named("gankit, --for cuda"), _named("onnxruntime, --for cuda")),
        at_least=False,
    ),
    Target(
        f"requests/s of {serving.CALLERS} threads by submit on CUDA, versus one call at a time",
        "serving",
        "cuda",
        3,
        _versus(serving.REQUESTS, _named(serving.SUBMIT), _named(serving.SEQUENTIAL)),
    ),
    Target(
        "training in precision auto on CUDA, versus pytorch/examples",
        "training",
        "cuda",
        3,
        _versus(DCGAN.metric, _named("gankit, auto"), _named("pytorch/examples")),
    ),
)
