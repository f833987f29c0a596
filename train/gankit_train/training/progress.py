"""The progress of a run and its schedule, counted in real images that the discriminator has seen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from gankit_train.config.settings import RunSettings

Task = Literal["log", "sample", "checkpoint", "evaluate", "overfitting"]
OVERFITTING_EVERY = 25_000
"""Images between two measurements of discriminator overfitting, which take about as long as a step."""


@dataclass(frozen=True)
class Progress:
    """The position of a run."""

    images: int = 0
    best_score: float = math.inf
    """Score of the best evaluation so far by the first of the metrics, lower is better."""


def due_tasks(run: RunSettings, before: int, now: int, stopped: bool) -> set[Task]:
    """Returns the tasks whose interval ended between two numbers of images, and those that end a run."""
    intervals: dict[Task, int] = {
        "log": run.log_every,
        "sample": run.sample_every,
        "checkpoint": run.checkpoint_every,
        "evaluate": run.evaluate_every,
        "overfitting": OVERFITTING_EVERY,
    }
    due = {task for task, every in intervals.items() if now // every > before // every}
    if now >= run.images:
        due |= {"evaluate"}
    return due | {"sample", "checkpoint"} if stopped or now >= run.images else due
