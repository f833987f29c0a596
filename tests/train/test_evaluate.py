"""`gan-train evaluate`: from a run, a checkpoint or a model file to a table, a document and a picture."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import gankit
from gankit._errors import GankitError, ModelError, UsageError
from gankit_train.evaluation.evaluate import evaluate
from gankit_train.metrics.table import METRICS
from gankit_train.models.checkpoints import newest_checkpoint
from gankit_train.reporter import Reporter
from tests.helpers.commands import Command, refused
from tests.helpers.datasets import quarters
from tests.helpers.images import picture
from tests.helpers.paths import TINY
from tests.helpers.training import train_small


@pytest.fixture(scope="module")
def run(quarters_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trains a cgan on them for too short a time to learn much."""
    out = tmp_path_factory.mktemp("runs") / "run"
    train_small(out, "cgan", data=str(quarters_file), z_dim=6, images=640, checkpoint_every=320)
    return out


def test_a_run_is_evaluated_to_a_table_a_document_and_a_picture(run: Path, command: Command) -> None:
    result = command("gan-train", "evaluate", run, "--images", 300)
    assert result.returncode == 0, result.stderr
    document = json.loads((run / "evaluation.json").read_text())
    assert document["model"] == str(newest_checkpoint(run)) and document["images_seen"] == 640
    assert (document["samples"], document["compared"], document["training_images"]) == (300, 200, 400)
    assert document["size"] == [8, 8, 1] and document["classifier"] == {"accuracy": 1, "held_out": 66}
    found = document["metrics"]
    assert set(found) == set(METRICS) - {"fid", "kid"} == set(METRICS) - set(document["unavailable"])
    # A cgan that has hardly been trained is bad, and real images are good.
    assert found["sliced_wasserstein"]["value"] > 4 * found["sliced_wasserstein"]["real"]
    assert found["ndb"]["real"] < 0.3 and found["coverage"]["real"] > 0.9 and found["coverage"]["value"] < 0.5
    assert found["label_fidelity"]["real"] == 1 and found["label_fidelity"]["verdict"].startswith("poor")
    assert set(document["labels"]) == {"0", "1", "2", "3"} and all(v["real"] == 1 for v in document["labels"].values())
    shown = " ".join(result.stdout.split())
    for name, each in found.items():
        assert f"{name} {each['value']:{METRICS[name].format}} {each['real']:{METRICS[name].format}}" in shown
    assert "classifier: 100.00% accuracy on 66 held-out images" in shown and "not available: FID and KID need" in shown
    assert f"written: {run}/evaluation.json, and evaluation-neighbours.png beside it" in shown
    pixels = picture(run / document["neighbours"])
    assert pixels.shape[1] > 12 * 56 and len(np.unique(pixels)) > 1


def test_a_checkpoint_is_evaluated_by_the_requested_metrics(run: Path, tmp_path: Path, command: Command) -> None:
    best = run / "checkpoints" / "best.pt"
    options = ["--metrics", "coverage,diversity", "--images", "100", "--json", "out/it.json"]
    result = command("gan-train", "evaluate", best, *options)
    assert result.returncode == 0, result.stderr
    document = json.loads((tmp_path / "out" / "it.json").read_text())
    assert list(document["metrics"]) == ["coverage", "diversity"] and document["unavailable"] == {}
    assert document["model"] == str(best) and "neighbours" not in document and "classifier" not in document
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["it.json"]


def test_an_evaluation_is_reproducible(run: Path, tmp_path: Path) -> None:
    results = [evaluate(run, Reporter(), images=200, path=tmp_path / f"{i}.json") for i in (0, 1)]
    assert results[0].document["metrics"] == results[1].document["metrics"]
    assert results[0].path == tmp_path / "0.json"


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Writes data for the tiny model: 8x8 in colour, with the labels of the model in another order."""
    root = tmp_path / "faces"
    (root / "img_align_celeba").mkdir(parents=True)
    lines = ["120", "Smiling Black_Hair Blond_Hair"]
    rng = np.random.default_rng(0)
    for i in range(120):
        blond = i % 2
        pixels = rng.integers(0, 100, (8, 8, 3), dtype=np.uint8) + np.uint8(100 * blond)
        Image.fromarray(pixels).save(root / "img_align_celeba" / f"{i:06d}.png")
        lines.append(f"{i:06d}.png {1 if i % 3 else -1} {-1 if blond else 1} {1 if blond else -1}")
    (root / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    return root


def test_a_model_file_is_evaluated_on_data_with_its_labels(
    faces: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "tiny.onnx"
    model.write_bytes(TINY.read_bytes())
    requested: list[np.ndarray[Any, Any]] = []
    call = gankit.Generator.__call__
    monkeypatch.setattr(gankit.Generator, "__call__", lambda self, z, v: requested.append(v) or call(self, z, v))
    result = command("gan-train", "evaluate", model, "--data", faces, "--images", 150, "--device", "cpu")
    assert result.returncode == 0, result.stderr
    document = json.loads((tmp_path / "tiny-evaluation.json").read_text())
    assert document["data"] == "faces" and document["compared"] == 60 and document["size"] == [8, 8, 3]
    assert {"label_fidelity", "nearest_l1", "sliced_wasserstein"} <= set(document["metrics"])
    assert "at least 100 images of each set, and there are 60: half of the 120 of" in document["unavailable"]["ndb"]
    assert set(document["labels"]) == {"Blond_Hair", "Black_Hair", "Smiling"}
    assert document["labels"]["Blond_Hair"]["real"] == 1
    # The labels are requested in the order of the model, which is not that of the data.
    names = gankit.load(model).labels
    blond, black, smiling = (np.concatenate(requested)[:, names.index(name)] for name in document["labels"])
    assert (blond + black == 1).all() and 0.6 < smiling.mean() < 0.75
    assert (tmp_path / "tiny-evaluation-neighbours.png").is_file()


def test_a_model_file_is_evaluated_on_data_without_its_labels(quarters_file: Path, tmp_path: Path) -> None:
    path, data = tmp_path / "x.json", str(quarters_file)
    document = evaluate(TINY, Reporter(), data=data, images=100, path=path, device="cpu").document
    assert document["size"] == [8, 8, 3]  # grey data in colour, like the images of the model
    assert "generated for labels of quarters" in document["unavailable"]["label_fidelity"]
    assert {"confidence", "diversity"} <= set(document["metrics"])


def test_wrong_use_is_one_clear_line(run: Path, command: Command, tmp_path: Path) -> None:
    program = ["gan-train", "evaluate"]
    refused(command(*program, "nowhere"), 2, "nothing at nowhere", "run folder")
    refused(command(*program, run, "--metrics", "beauty"), 2, "'beauty'", "sliced_wasserstein, diversity")
    refused(command(*program, run, "--images", "1"), 2, "--images must be at least 2")
    refused(command(*program, run, "--device", "tpu"), 2, "--device must be one of auto, cuda, cpu, not 'tpu'")
    refused(command(*program, run, "--metrics", "ndb", "--images", "60"), 2, "at least 100", "there are 60")
    refused(command(*program, TINY), 2, "does not name its training data", "--data")
    refused(command(*program, run, "--features", "none.onnx"), 2, "none.onnx", "--features")
    (tmp_path / "empty").mkdir()
    refused(command(*program, tmp_path / "empty"), 1, "no checkpoint")
    np.save(tmp_path / "two.npy", quarters(np.arange(2)))
    refused(command(*program, run, "--data", "two.npy"), 2, "no metric is available", "at least 2 images")


def test_changed_data_is_not_mistaken_for_the_training_data(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.npz"
    np.savez(other, images=quarters(np.arange(200) % 4, seed=9), labels=np.arange(200) % 4)
    path = newest_checkpoint(run)
    document = torch.load(path, weights_only=True)
    document["config"]["data"] = str(other)
    torch.save(document, tmp_path / "moved.pt")
    with pytest.raises(UsageError, match=r"other\.npz is not, or no longer, the training data of .*moved\.pt: give"):
        evaluate(tmp_path / "moved.pt", Reporter(), images=50)
    document = evaluate(tmp_path / "moved.pt", Reporter(), data=str(other), images=50, metrics=["diversity"]).document
    assert document["data"] == "other" and (tmp_path / "evaluation.json").is_file()


def test_a_generator_with_nan_is_refused(run: Path, tmp_path: Path) -> None:
    document = torch.load(newest_checkpoint(run), weights_only=True)
    document["G_ema"]["first.weight"].fill_(torch.nan)
    torch.save(document, tmp_path / "broken.pt")
    with pytest.raises(GankitError, match=r"NaN or infinite.*earlier checkpoint"):
        evaluate(tmp_path / "broken.pt", Reporter(), images=50)
    (tmp_path / "broken.pt").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="is truncated"):
        evaluate(tmp_path / "broken.pt", Reporter(), images=50)


def test_the_help_of_evaluate_names_every_metric(command: Command) -> None:
    shown = " ".join(command("gan-train", "evaluate", "--help").stdout.split())
    assert "gan-train evaluate [OPTIONS]" in shown and "RUN|CHECKPOINT|MODEL" in shown
    assert all(name in shown for name in METRICS)
