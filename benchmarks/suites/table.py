"""The table of suites: what `python -m benchmarks run` can measure."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from benchmarks.options import Options
from benchmarks.results import Document
from benchmarks.suites import (
    diagnosis,
    encoding,
    evaluation,
    export,
    latents,
    loader,
    sampling,
    serving,
    startup,
    training,
)


class Suite(NamedTuple):
    """A set of cases that are measured together."""

    description: str
    run: Callable[[Options], Document]


SUITES = {
    "sampling": Suite("images/s, latency, cold start and memory of sampling, versus baselines", sampling.run),
    "training": Suite("images/s of training runs and of the training step, versus baselines", training.run),
    "export": Suite("seconds, memory and file sizes of exporting a checkpoint", export.run),
    "serving": Suite("requests/s and latency of 64 callers that request one image each", serving.run),
    "latents": Suite("numbers/s of gankit's latents, versus NumPy", latents.run),
    "encoding": Suite("images/s into PNG, GIF, WebP, MP4 and arrays", encoding.run),
    "startup": Suite("seconds of --help, and of 64 images from a cold start", startup.run),
    "evaluation": Suite("seconds and memory of the metrics for 10,000 images", evaluation.run),
    "diagnosis": Suite("overhead of diagnosing a run while it trains", diagnosis.run),
    "loader": Suite("time to fetch a batch, compared with the training step", loader.run),
}
"""Every suite by name, in the order in which `all` runs them."""
