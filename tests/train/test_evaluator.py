"""Evaluations during training: they change nothing, choose best.pt, and are refused before a run if impossible."""

from pathlib import Path
from typing import Any

import pytest

from gankit._errors import UsageError
from gankit_train.metrics.compute import FUNCTIONS
from gankit_train.models.checkpoints import load_checkpoint
from tests.helpers.training import load_state, read_metrics, states_equal, train_small

METRICS = ("label_kl", "coverage", "authenticity", "label_fidelity")


def test_evaluations_leave_the_weights_alone_and_are_equal_after_a_resume(quarters_file: Path, tmp_path: Path) -> None:
    def rows(out: str, images: int, metrics: tuple[str, ...]) -> list[dict[str, Any]]:
        settings: dict[str, Any] = {"data": str(quarters_file), "evaluate_samples": 60, "evaluate_every": 64}
        train_small(tmp_path / out, "cgan", images=images, metrics=metrics, **settings)
        return read_metrics(tmp_path / out)

    plain = rows("plain", 256, ("sliced_wasserstein",))
    whole = rows("whole", 256, METRICS)
    rows("parts", 128, METRICS)
    parts = rows("parts", 256, METRICS)
    assert states_equal(load_state(tmp_path / "plain"), load_state(tmp_path / "whole"))
    assert states_equal(load_state(tmp_path / "parts"), load_state(tmp_path / "whole"))
    values = [[row[name] for name in METRICS] for row in whole]
    assert values == [[row[name] for name in METRICS] for row in parts] and len(values) == 4
    assert all("sliced_wasserstein" in row and "coverage" not in row for row in plain)
    best = load_checkpoint(tmp_path / "whole" / "checkpoints" / "best.pt")[0]
    assert best.best_score == min(row["label_kl"] for row in whole)
    assert best.images == min(whole, key=lambda row: row["label_kl"])["images"]


def test_the_best_checkpoint_has_the_highest_value_of_a_metric_where_higher_is_better(
    quarters_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([0.2, 0.6, 0.5, 0.4])
    monkeypatch.setitem(FUNCTIONS, "coverage", lambda comparison: next(values))
    settings: dict[str, Any] = {"data": str(quarters_file), "evaluate_every": 64, "checkpoint_every": 64}

    def best_images() -> int:
        return load_checkpoint(tmp_path / "checkpoints" / "best.pt")[0].images

    train_small(tmp_path, images=192, metrics=("coverage",), **settings)
    assert best_images() == 128
    train_small(tmp_path, images=256, metrics=("coverage",), **settings)
    assert best_images() == 128
    # By another metric there was no best checkpoint before.
    train_small(tmp_path, images=320, metrics=("sliced_wasserstein",), **settings)
    assert best_images() == 320


def test_a_metric_that_is_not_available_is_refused_before_the_run(quarters_file: Path, tmp_path: Path) -> None:
    def start(*metrics: str, **settings: Any) -> None:
        train_small(tmp_path / "run", data=str(quarters_file), images=64, metrics=metrics, **settings)

    with pytest.raises(UsageError, match="label_fidelity needs images that were generated for labels"):
        start("label_fidelity")
    with pytest.raises(UsageError, match="ndb needs at least 100 images of each set, and there are 50"):
        start("ndb", evaluate_samples=50)
    assert not (tmp_path / "run").exists()
