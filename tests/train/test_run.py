"""A training run from its start to its end: the run folder, checkpoints, evaluations, TensorBoard, failures."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from gankit._errors import GankitError
from gankit_train.compute.devices import pick_precision
from gankit_train.config.config import Config
from gankit_train.config.variants import configure
from gankit_train.metrics.compute import FUNCTIONS
from gankit_train.models.checkpoints import list_checkpoints, load_checkpoint, newest_checkpoint
from gankit_train.training.loop import RunResult
from tests.helpers.images import picture
from tests.helpers.training import CPU, load_state, read_metrics, states_equal, train_small


def test_a_run_writes_its_folder(tmp_path: Path) -> None:
    run = tmp_path / "run"
    result, lines = train_small(run, images=256, sample_every=128)
    assert result == RunResult(run, 256, None)
    assert Config.from_json(json.loads((run / "config.json").read_text())).networks.filters == 4
    rows = read_metrics(run)
    assert [row["images"] for row in rows] == [64, 128, 192, 256]
    assert all(
        {"loss_d", "loss_g", "score_real", "score_fake", "accuracy_real", "accuracy_fake", "images_per_s"}
        | {"gradient_norm_g", "gradient_norm_d", "lr_g", "lr_d"}
        <= row.keys()
        for row in rows
    )
    assert all(0 <= row["accuracy_real"] <= 1 and row["gradient_norm_d"] > 0 and row["lr_g"] == 2e-4 for row in rows)
    assert sorted(p.name for p in (run / "samples").iterdir()) == ["000000128.png", "000000256.png"]
    assert picture(run / "samples" / "000000256.png").shape == (8 * 30 + 2, 10 * 30 + 2)
    assert [p.name for p in list_checkpoints(run)] == ["000000256.pt"]
    assert any(f"gan-export {run}" in line for line in lines)


def test_a_finished_run_is_reported_as_finished(tmp_path: Path) -> None:
    train_small(tmp_path, images=64)
    result, lines = train_small(tmp_path, images=64)
    assert result.images == 64 and "is finished" in lines[-1]


def test_fresh_starts_another_run_beside_the_existing_one(tmp_path: Path) -> None:
    train_small(tmp_path / "run", images=64)
    result, _ = train_small(tmp_path / "run", images=32, fresh=True)
    assert result.run == tmp_path / "run-2" and result.images == 32


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    _, lines = train_small(tmp_path / "run", dry_run=True)
    assert "dry run" in lines[-1] and not (tmp_path / "run").exists()


def test_epochs_are_passes_over_the_training_data(tmp_path: Path) -> None:
    assert train_small(tmp_path, epochs=0.05, batch_size=50, held_out=0)[0].images == 250
    assert train_small(tmp_path / "held", epochs=0.05, batch_size=49)[0].images == 245  # of 4,900


def test_nan_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    train_small(tmp_path, images=64)
    info, document = load_checkpoint(newest_checkpoint(tmp_path))
    document["D"]["body.0.weight"].fill_(float("nan"))
    torch.save(document, newest_checkpoint(tmp_path))
    with pytest.raises(GankitError, match=r"NaN or Inf\) by image 128; the last good checkpoint is .*000000064"):
        train_small(tmp_path, images=256)
    assert [p.name for p in list_checkpoints(tmp_path)] == ["000000064.pt"]
    assert info.images == 64
    last = read_metrics(tmp_path)[-1]
    assert last["images"] == 128 and "loss_d" not in last
    (finding,) = last["diagnosis"]
    assert finding["symptom"] == "NaN or Inf" and finding["since"] == 128 and finding["try"]


# Checkpoints and evaluations


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    train_small(tmp_path, images=256, checkpoint_every=32, keep=3)
    assert [int(p.stem) for p in list_checkpoints(tmp_path)] == [256, 224, 192]


def best_of(run: Path) -> tuple[int, float]:
    info = load_checkpoint(run / "checkpoints" / "best.pt")[0]
    return info.images, info.best_score


def test_the_best_checkpoint_has_the_lowest_score_over_all_parts_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distances = iter([0.5, 0.3, 0.4, 0.35, 0.2])
    monkeypatch.setitem(FUNCTIONS, "sliced_wasserstein", lambda comparison: next(distances))
    train_small(tmp_path, images=192, evaluate_every=64, checkpoint_every=32)
    assert best_of(tmp_path) == (128, 0.3)
    assert newest_checkpoint(tmp_path).name == "000000192.pt"  # best.pt is not the one to resume from
    train_small(tmp_path, images=256, evaluate_every=64, checkpoint_every=32)
    assert best_of(tmp_path) == (128, 0.3)  # the resumed run knows the best score
    train_small(tmp_path, images=320, evaluate_every=64, checkpoint_every=32)
    assert best_of(tmp_path) == (320, 0.2)
    rows = read_metrics(tmp_path)
    assert [r["sliced_wasserstein"] for r in rows if "sliced_wasserstein" in r] == [0.5, 0.3, 0.4, 0.35, 0.2]


def test_a_run_shorter_than_an_interval_has_a_best_checkpoint_too(tmp_path: Path) -> None:
    train_small(tmp_path, images=64)
    assert best_of(tmp_path)[0] == 64


def test_the_sliced_wasserstein_distance_is_large_at_the_start(tmp_path: Path) -> None:
    train_small(tmp_path, "cgan", images=64, evaluate_every=32)
    distances = [row["sliced_wasserstein"] for row in read_metrics(tmp_path)]
    assert len(distances) == 2 and all(0.2 < distance < 3 for distance in distances)


# TensorBoard, compilation, precision


def test_tensorboard_receives_metrics_and_sample_grids(tmp_path: Path) -> None:
    train_small(tmp_path, images=64, tensorboard=True)
    train_small(tmp_path, images=128, tensorboard=True)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [e.step for e in events.Scalars("loss_d")] == [64, 128]
    assert [e.step for e in events.Images("samples")] == [64, 128]


def test_a_missing_tensorboard_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(GankitError, match=r"--tensorboard needs .*pip install tensorboard"):
        train_small(tmp_path, images=64, tensorboard=True)


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # raised inside torch.compile
def test_compiled_networks_train_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []

    def compile(self: torch.nn.Module) -> None:  # noqa: A001
        compiled.append(type(self).__name__)
        self._compiled_call_impl = torch.compile(self._call_impl, backend="eager")

    monkeypatch.setattr(torch.nn.Module, "compile", compile)  # the default backend takes a minute
    train_small(tmp_path / "a", images=64, compile=True)
    assert compiled == ["Generator", "Discriminator"]
    train_small(tmp_path / "b", images=64)
    assert states_equal(load_state(tmp_path / "a"), load_state(tmp_path / "b"))
    train_small(tmp_path / "c", "cgan", images=64, compile=True)
    assert compiled[2:] == ["Generator"]  # its D has a gradient penalty


def test_bfloat16_trains_float32_weights_or_is_refused(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"images": 64, "precision": "bfloat16", "variant": "cgan"}
    if not pick_precision("auto", CPU)._enabled:
        with pytest.raises(GankitError, match=r"--precision bfloat16 is not supported .* use float32 or auto"):
            train_small(tmp_path, **settings)
        return
    train_small(tmp_path, **settings)
    assert all(t.dtype == torch.float32 for t in load_state(tmp_path)["G"].values() if t.is_floating_point())


def test_bfloat16_is_used_where_the_hardware_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    assert pick_precision("auto", CPU)._enabled and pick_precision("bfloat16", CPU)._enabled
    assert not pick_precision("float32", CPU)._enabled
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False}, raising=False)
    assert not pick_precision("auto", CPU)._enabled
    assert configure("dcgan").run.precision == "auto"
