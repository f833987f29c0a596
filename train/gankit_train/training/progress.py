"""The progress of a run and its schedule, counted in real images that the discriminator has seen."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
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

    def after(self, images: int) -> Progress:
        """Returns the position after so many more images."""
        return replace(self, images=self.images + images)


class Schedule:
    """Which tasks are due at which image."""

    def __init__(self, run: RunSettings) -> None:
        self.intervals: dict[Task, int] = {
            "log": run.log_every,
            "sample": run.sample_every,
            "checkpoint": run.checkpoint_every,
            "evaluate": run.evaluate_every,
            "overfitting": OVERFITTING_EVERY,
        }
        self.end = run.images

    def due(self, before: int, now: int) -> set[Task]:
        """Returns the tasks whose interval ended between two numbers of images."""
        return {task for task, every in self.intervals.items() if now // every > before // every}

    def at_end(self, images: int, stopped: bool) -> set[Task]:
        """Returns the tasks that end a run; none while it continues."""
        if images >= self.end:
            return {"sample", "checkpoint", "overfitting", "evaluate"}
        return {"sample", "checkpoint", "overfitting"} if stopped else set()
