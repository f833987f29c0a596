"""Runs of other versions of gankit: resumed and reported where possible, refused by name otherwise, never damaged."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gankit._errors import GankitError
from gankit_train.evaluation.diagnosis import read_rows
from gankit_train.models.checkpoints import list_checkpoints, load_checkpoint, newest_checkpoint
from tests.helpers.commands import Command
from tests.helpers.training import load_state, read_metrics, states_equal, train_small, write_metrics

Document = dict[str, Any]


def edit_checkpoints(run: Path, change: Callable[[Document], None]) -> None:
    """Changes the documents of all checkpoints of a run."""
    for path in (run / "checkpoints").iterdir():
        document = torch.load(path, weights_only=True)
        change(document)
        torch.save(document, path)


def rename(document: Document, names: dict[str, str]) -> None:
    for old, new in names.items():
        document[new] = document.pop(old)


def make_schema_2(run: Path) -> None:
    """Turns a run into one of the version before, with its schema, its names and its settings."""

    def downgrade_config(config: Document) -> None:
        rename(config, {"metrics": "measures"})
        config |= {"fit": "stretch", "precision": "bf16", "init_std": 0.02, "instance_noise_images": 200_000}

    def downgrade(document: Document) -> None:
        document["schema"] = 2
        rename(document, {"random_state": "noise", "random_device": "noise_device", "best_score": "distance"})
        del document["defaults"]
        downgrade_config(document["config"])

    edit_checkpoints(run, downgrade)
    config = json.loads((run / "config.json").read_text())
    downgrade_config(config)
    (run / "config.json").write_text(json.dumps(config))
    rows = read_metrics(run)
    for row in rows:
        row["memory"] = 0.25
        row["diagnosis"] = [{"sign": "known by heart", "since": 32, "what": "D knows its images", "try": []}]
    write_metrics(run, rows)


# Settings of other versions


def test_an_unknown_setting_is_ignored_if_it_holds_its_default(tmp_path: Path) -> None:
    train_small(tmp_path / "whole", images=128)
    train_small(tmp_path / "parts", images=64)

    def add(document: Document) -> None:
        document["config"] |= {"magic": 0.5, "spells": []}
        document["defaults"] |= {"magic": 0.5, "spells": ()}

    edit_checkpoints(tmp_path / "parts", add)
    result, lines = train_small(tmp_path / "parts", images=128)
    assert result.images == 128 and any("resumed at 64 images" in line for line in lines)
    assert states_equal(load_state(tmp_path / "parts"), load_state(tmp_path / "whole"))


@pytest.mark.parametrize(("setting", "value"), [("magic", 0.6), ("init_std", 0.1), ("instance_noise_images", 1000)])
def test_an_unknown_setting_with_another_value_is_refused_by_name_and_nothing_is_renamed(
    tmp_path: Path, setting: str, value: float
) -> None:
    train_small(tmp_path, images=128, checkpoint_every=64)
    newest, older = list_checkpoints(tmp_path)
    document = torch.load(newest, weights_only=True)
    document["config"][setting] = value
    document["defaults"]["magic"] = 0.5
    torch.save(document, newest)
    before = sorted((tmp_path / "checkpoints").iterdir())
    with pytest.raises(GankitError, match=f"the setting {setting} = {value} is unknown") as caught:
        train_small(tmp_path, images=192)
    assert "damaged" not in str(caught.value)
    with pytest.raises(GankitError, match=setting):
        load_checkpoint(newest)
    assert sorted((tmp_path / "checkpoints").iterdir()) == before and older in before


def test_a_checkpoint_of_another_schema_is_refused_and_not_renamed(tmp_path: Path) -> None:
    train_small(tmp_path, images=64)
    edit_checkpoints(tmp_path, lambda document: document.update(schema=1))
    with pytest.raises(GankitError, match=r"has schema 1, not 3: use the gankit that wrote it"):
        train_small(tmp_path, images=128)
    assert list_checkpoints(tmp_path) == [newest_checkpoint(tmp_path)]
    assert not list((tmp_path / "checkpoints").glob("*.damaged"))


# Runs of schema 2


def test_a_run_of_schema_2_resumes_bit_by_bit(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"fit": "resize", "evaluate_every": 32}
    train_small(tmp_path / "whole", images=128, **settings)
    train_small(tmp_path / "parts", images=64, **settings)
    best = load_checkpoint(newest_checkpoint(tmp_path / "parts"))[0].best_score
    make_schema_2(tmp_path / "parts")
    info = load_checkpoint(newest_checkpoint(tmp_path / "parts"))[0]
    assert (info.config.dataset.fit, info.config.run.precision) == ("resize", "bfloat16")
    assert info.best_score == best < 10
    train_small(tmp_path / "parts", images=128, **settings)
    assert states_equal(load_state(tmp_path / "parts"), load_state(tmp_path / "whole"))
    gaps = [row["images"] for row in read_rows(tmp_path / "parts") if "held_out_score_gap" in row]
    assert gaps == [32, 64]


def test_a_report_of_a_run_of_schema_2_has_its_symptoms(tmp_path: Path, command: Command) -> None:
    run = tmp_path / "run"
    train_small(run, images=64, fit="resize", log_every=32)
    make_schema_2(run)
    (run / "evaluation.json").write_text('{"measures": {}}')
    result = command("gan-train", "report", run)
    assert result.returncode == 0, result.stderr
    page = (run / "report.html").read_text()
    assert "discriminator overfitting" in page and "D knows its images" in page
    assert "held-out score gap" in page and "fit resize" in " ".join(page.split())
