"""Small training runs, what they write, and the random numbers of tests."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from gankit_train.compute.devices import pick_precision
from gankit_train.compute.distributed import SINGLE_PROCESS
from gankit_train.compute.rng import RandomStream
from gankit_train.config.variants import configure
from gankit_train.models.checkpoints import load_checkpoint, newest_checkpoint
from gankit_train.reporter import Reporter
from gankit_train.training.loop import RunResult, train

CPU = torch.device("cpu")
FLOAT32 = pick_precision("float32", CPU)

SMALL: dict[str, Any] = {
    "data": "digits",
    "filters": 4,
    "z_dim": 8,
    "batch_size": 16,
    "log_every": 64,
    "precision": "float32",
    "evaluate_samples": 50,
}
"""Settings of a run that takes less than a second."""


class LineReporter(Reporter):
    """Keeps the lines that a run reports."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


def train_small(
    out: Path, variant: str = "dcgan", fresh: bool = False, dry_run: bool = False, **settings: Any
) -> tuple[RunResult, list[str]]:
    """Trains with the settings of `SMALL` and these; returns the result and the reported lines."""
    reporter = LineReporter()
    config = configure(variant, **{**SMALL, **settings})
    return train(config, reporter, out, fresh=fresh, dry_run=dry_run), reporter.lines


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Reads the rows of metrics.jsonl as they stand in the file."""
    return [json.loads(row) for row in (run / "metrics.jsonl").read_text().splitlines()]


def write_metrics(run: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Replaces metrics.jsonl by these rows."""
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def load_state(run: Path) -> dict[str, Any]:
    """Returns the part of a run's newest checkpoint that training changes."""
    document = load_checkpoint(newest_checkpoint(run))[1]
    names = ("G", "G_ema", "D", "optimizer_g", "optimizer_d", "random_state", "images", "steps")
    return {name: document[name] for name in names}


def states_equal(a: Any, b: Any) -> bool:
    """Compares nested dictionaries, lists and tensors, bit by bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(states_equal(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(states_equal, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else bool(a == b)


def random_stream(seed: int = 0) -> RandomStream:
    """Returns a source of the random numbers of a training step."""
    return RandomStream(torch.Generator().manual_seed(seed), SINGLE_PROCESS)
