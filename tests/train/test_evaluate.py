"""`gan-train evaluate`: from a run, a checkpoint and a model file to a table, a report and a picture."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gankit
from gankit._errors import GankitError, ModelError, UsageError
from gankit_train.config.config import Config
from gankit_train.config.variants import configure
from gankit_train.evaluation.evaluate import evaluate
from gankit_train.metrics.table import METRICS
from gankit_train.models import checkpoints
from gankit_train.reporter import Reporter
from gankit_train.training.loop import train
from tests.helpers.commands import Command, refused
from tests.helpers.images import picture
from tests.helpers.paths import TINY
from tests.train.test_measures import quarters
from tests.train.test_run import Silent, same, weights

SETTINGS: dict[str, Any] = {"filters": 4, "z_dim": 6, "batch_size": 16, "log_every": 64, "precision": "float32"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small labelled images, 8x8x1, in a file."""
    path = tmp_path_factory.mktemp("data") / "quarters.npz"
    classes = np.arange(400) % 4
    np.savez(path, images=quarters(classes), labels=classes)
    return path


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cgan of them that has learnt next to nothing."""
    out = tmp_path_factory.mktemp("runs") / "run"
    config = configure("cgan", **SETTINGS, data=str(data), images=640, evaluate_samples=50, checkpoint_every=320)
    train(config, Reporter(), out)
    return out


def test_a_run_gives_a_table_a_report_and_a_picture(run: Path, command: Command) -> None:
    result = command("gan-train", "evaluate", run, "--images", 300)
    assert result.returncode == 0, result.stderr
    report = json.loads((run / "evaluation.json").read_text())
    assert report["model"] == str(checkpoints.newest_checkpoint(run)) and report["images_seen"] == 640
    assert (report["samples"], report["compared"], report["training_images"]) == (300, 200, 400)
    assert report["size"] == [8, 8, 1] and report["classifier"] == {"accuracy": 1, "held_out": 66}
    found = report["measures"]
    assert set(found) == set(METRICS) - {"fid", "kid"} == set(METRICS) - set(report["not_measured"])
    # A cgan that has hardly been trained is bad, and held-out real images are good.
    assert found["sliced_wasserstein"]["value"] > 4 * found["sliced_wasserstein"]["real"]
    assert found["ndb"]["real"] < 0.3 and found["coverage"]["real"] > 0.9 and found["coverage"]["value"] < 0.5
    assert found["label_fidelity"]["real"] == 1 and found["label_fidelity"]["verdict"].startswith("poor")
    assert set(report["labels"]) == {"0", "1", "2", "3"} and all(v["real"] == 1 for v in report["labels"].values())
    shown = " ".join(result.stdout.split())
    for name, figures in found.items():
        assert f"{name} {figures['value']:{METRICS[name].form}} {figures['real']:{METRICS[name].form}}" in shown
    assert "classifier: right on 100.00% of 66 images" in shown and "not measured: FID and KID need" in shown
    assert f"written: {run}/evaluation.json, and evaluation-pairs.png beside it" in shown
    sheet = picture(run / report["pairs"])
    assert sheet.shape[1] > 12 * 56 and len(np.unique(sheet)) > 1


def test_a_checkpoint_is_measured_by_a_few_names(run: Path, tmp_path: Path, command: Command) -> None:
    best = run / "checkpoints" / "best.pt"
    wanted = ["--measures", "coverage,diversity", "--images", "100", "--json", "out/it.json"]
    result = command("gan-train", "evaluate", best, *wanted)
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "out" / "it.json").read_text())
    assert list(report["measures"]) == ["coverage", "diversity"] and report["not_measured"] == {}
    assert report["model"] == str(best) and "pairs" not in report and "classifier" not in report
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["it.json"]


def test_the_same_images_are_measured_every_time(run: Path, tmp_path: Path) -> None:
    reports = [evaluate(run, Reporter(), images=200, place=tmp_path / f"{i}.json")["measures"] for i in (0, 1)]
    assert reports[0] == reports[1]


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Data for the tiny model: 8x8 in colour, with its labels in another order."""
    root = tmp_path / "faces"
    (root / "img_align_celeba").mkdir(parents=True)
    lines = ["120", "Smiling Black_Hair Blond_Hair"]
    from PIL import Image

    rng = np.random.default_rng(0)
    for i in range(120):
        blond = i % 2
        pixels = rng.integers(0, 100, (8, 8, 3), dtype=np.uint8) + np.uint8(100 * blond)
        Image.fromarray(pixels).save(root / "img_align_celeba" / f"{i:06d}.png")
        lines.append(f"{i:06d}.png {1 if i % 3 else -1} {-1 if blond else 1} {1 if blond else -1}")
    (root / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    return root


def test_a_model_file_is_measured_beside_data_with_its_labels(
    faces: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "tiny.onnx"
    model.write_bytes(TINY.read_bytes())
    asked: list[np.ndarray[Any, Any]] = []
    call = gankit.Generator.__call__
    monkeypatch.setattr(gankit.Generator, "__call__", lambda self, z, v: asked.append(v) or call(self, z, v))
    result = command("gan-train", "evaluate", model, "--data", faces, "--images", 150, "--device", "cpu")
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "tiny-evaluation.json").read_text())
    assert report["data"] == "faces" and report["compared"] == 60 and report["size"] == [8, 8, 3]
    assert {"label_fidelity", "nearest_l1", "sliced_wasserstein"} <= set(report["measures"])
    assert "at least 100 images of each set, and there are 60: half of the 120 of" in report["not_measured"]["ndb"]
    assert set(report["labels"]) == {"Blond_Hair", "Black_Hair", "Smiling"}
    assert report["labels"]["Blond_Hair"]["real"] == 1
    # The labels are asked for in the model's order, which is not the data's.
    blond, black, smiling = (np.concatenate(asked)[:, gankit.load(model).labels.index(n)] for n in report["labels"])
    assert (blond + black == 1).all() and 0.6 < smiling.mean() < 0.75
    assert (tmp_path / "tiny-evaluation-pairs.png").is_file()


def test_a_model_file_is_measured_beside_data_without_its_labels(data: Path, tmp_path: Path) -> None:
    report = evaluate(TINY, Reporter(), str(data), 100, place=tmp_path / "x.json", device="cpu")
    assert report["size"] == [8, 8, 3]  # grey data as colour, as the model makes it
    assert "made for labels of quarters" in report["not_measured"]["label_fidelity"]
    assert {"confidence", "diversity"} <= set(report["measures"])


def test_wrong_use_is_one_clear_line(run: Path, data: Path, command: Command, tmp_path: Path) -> None:
    evaluated = ["gan-train", "evaluate"]
    refused(command(*evaluated, "nowhere"), 2, "nothing at nowhere", "run folder")
    refused(command(*evaluated, run, "--measures", "beauty"), 2, "'beauty'", "sliced_wasserstein, diversity")
    refused(command(*evaluated, run, "--images", "1"), 2, "--images must be at least 2")
    refused(command(*evaluated, run, "--device", "tpu"), 2, "--device is one of auto, cuda, cpu, not 'tpu'")
    refused(command(*evaluated, run, "--measures", "ndb", "--images", "60"), 2, "at least 100", "there are 60")
    refused(command(*evaluated, TINY), 2, "does not say what it was trained on", "--data")
    refused(command(*evaluated, run, "--features", "none.onnx"), 2, "none.onnx", "--features")
    (tmp_path / "empty").mkdir()
    refused(command(*evaluated, tmp_path / "empty"), 1, "no checkpoint")
    (tmp_path / "two.npy").parent.mkdir(exist_ok=True)
    np.save(tmp_path / "two.npy", quarters(np.arange(2)))
    refused(command(*evaluated, run, "--data", "two.npy"), 2, "nothing can be measured", "at least 2 images")


def test_data_that_has_changed_is_not_taken_for_the_training_data(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.npz"
    np.savez(other, images=quarters(np.arange(200) % 4, seed=9), labels=np.arange(200) % 4)
    path = checkpoints.newest_checkpoint(run)
    document = torch.load(path, weights_only=True)
    document["config"]["data"] = str(other)
    torch.save(document, tmp_path / "moved.pt")
    with pytest.raises(UsageError, match=r"other\.npz is not, or no longer, what .*moved\.pt was trained on: give"):
        evaluate(tmp_path / "moved.pt", Reporter(), images=50)
    report = evaluate(tmp_path / "moved.pt", Reporter(), str(other), 50, ["diversity"])
    assert report["data"] == "other" and (tmp_path / "evaluation.json").is_file()


def test_a_generator_that_makes_nan_is_refused(run: Path, tmp_path: Path) -> None:
    document = torch.load(checkpoints.newest_checkpoint(run), weights_only=True)
    document["G_ema"]["first.weight"].fill_(torch.nan)
    torch.save(document, tmp_path / "broken.pt")
    with pytest.raises(GankitError, match=r"NaN or Inf.*earlier checkpoint"):
        evaluate(tmp_path / "broken.pt", Reporter(), images=50)
    (tmp_path / "broken.pt").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="is cut off"):
        evaluate(tmp_path / "broken.pt", Reporter(), images=50)


def test_evaluate_explains_itself(command: Command) -> None:
    shown = " ".join(command("gan-train", "evaluate", "--help").stdout.split())
    assert "Usage: gan-train evaluate [OPTIONS] {RUN|CHECKPOINT|MODEL}" in shown
    assert all(name in shown for name in METRICS)


# While training


def test_measures_of_a_run_leave_its_weights_alone_and_come_back_after_a_resume(data: Path, tmp_path: Path) -> None:
    settings = {**SETTINGS, "data": str(data), "evaluate_samples": 60, "evaluate_every": 64}
    measured = ("label_kl", "coverage", "authenticity", "label_fidelity")

    def go(out: str, images: int, measures: tuple[str, ...]) -> list[dict[str, float]]:
        train(configure("cgan", **settings, images=images, measures=measures), Silent(), tmp_path / out)
        return [json.loads(row) for row in (tmp_path / out / "metrics.jsonl").read_text().splitlines()]

    plain = go("plain", 256, ("sliced_wasserstein",))
    whole = go("whole", 256, measured)
    go("parts", 128, measured)
    parts = go("parts", 256, measured)
    assert same(weights(tmp_path / "plain"), weights(tmp_path / "whole"))
    assert same(weights(tmp_path / "parts"), weights(tmp_path / "whole"))
    chosen = [[row[name] for name in measured] for row in whole]
    assert chosen == [[row[name] for name in measured] for row in parts] and len(chosen) == 4
    assert all("sliced_wasserstein" in row and "coverage" not in row for row in plain)
    best = checkpoints.load_checkpoint(tmp_path / "whole" / "checkpoints" / "best.pt")[0]
    assert best.distance == min(row["label_kl"] for row in whole)
    assert best.images == min(whole, key=lambda row: row["label_kl"])["images"]


def test_the_best_checkpoint_has_the_highest_of_what_should_be_high(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([0.2, 0.6, 0.5, 0.4])
    monkeypatch.setattr("gankit_train.metrics.functions.coverage", lambda sets: next(values))
    settings = {**SETTINGS, "data": str(data), "evaluate_samples": 50, "evaluate_every": 64, "checkpoint_every": 64}
    config = configure("dcgan", **settings, images=192, measures=("coverage",))
    train(config, Silent(), tmp_path)
    assert checkpoints.load_checkpoint(tmp_path / "checkpoints" / "best.pt")[0].images == 128
    train(config.replace(images=256), Silent(), tmp_path)
    assert checkpoints.load_checkpoint(tmp_path / "checkpoints" / "best.pt")[0].images == 128
    # By another measure nothing was best before.
    train(config.replace(images=320, measures=("sliced_wasserstein",)), Silent(), tmp_path)
    assert checkpoints.load_checkpoint(tmp_path / "checkpoints" / "best.pt")[0].images == 320


def test_a_measure_that_could_never_be_had_stops_a_run_before_it_begins(data: Path, tmp_path: Path) -> None:
    def go(variant: str = "dcgan", **settings: Any) -> Config:
        config = configure(variant, **{**SETTINGS, "data": str(data), "images": 64, **settings})
        train(config, Silent(), tmp_path / "run")
        return config

    with pytest.raises(UsageError, match="label_fidelity needs images that were made for labels"):
        go(measures=("label_fidelity",))
    with pytest.raises(UsageError, match="ndb needs at least 100 images of each set, and there are 50"):
        go(measures=("ndb",), evaluate_samples=50)
    with pytest.raises(UsageError, match=r"--measures is one of sliced_wasserstein,.* not 'beauty'"):
        go(measures=("beauty",))
    with pytest.raises(UsageError, match=r"goes by the first of --measures, and diversity has no best value"):
        go(measures=("diversity",))
    with pytest.raises(UsageError, match="goes by the first of --measures, and there is none"):
        go(measures=())
    assert not (tmp_path / "run").exists()
