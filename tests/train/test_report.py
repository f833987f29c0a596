"""`report.html`: a single file with everything in it, written after a run and by `gan-train report`."""

import base64
import io
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gankit_train.reporter import Reporter
from gankit_train.reporting.charts import symptom_periods
from gankit_train.reporting.html import write_report
from tests.helpers.commands import Command, refused
from tests.helpers.datasets import random_images
from tests.helpers.training import read_metrics, train_small, write_metrics


class Page(HTMLParser):
    """Tags, text and pictures of a page, as a browser would find them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(path.read_text())
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += f" {data}"

    def pictures(self) -> list[Image.Image]:
        urls = [attrs["src"] for tag, attrs in self.tags if tag == "img" and attrs["src"]]
        assert all(url and url.startswith("data:image/webp;base64,") for url in urls)
        return [Image.open(io.BytesIO(base64.b64decode(str(url).split(",")[1]))) for url in urls]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trains on digits, with three sample grids, and writes the report."""
    run = tmp_path_factory.mktemp("trained") / "run"
    train_small(run, images=320, sample_every=128)
    write_report(run, Reporter())
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """Returns a run folder of its own for each test."""
    return shutil.copytree(trained, tmp_path / "run")


def test_a_run_ends_with_a_self_contained_report(tmp_path: Path, command: Command) -> None:
    run = tmp_path / "run"
    settings = ["--filters", 4, "--batch-size", 16, "--precision", "float32", "--evaluate-samples", 50]
    every = ["--log-every", 64, "--sample-every", 128]
    result = command("gan-train", "dcgan", *settings, *every, "--images", 320, "--out", run)
    assert result.returncode == 0 and f"report    {run / 'report.html'}" in result.stderr
    page = Page(run / "report.html")
    links = [v for _, attrs in page.tags for k, v in attrs.items() if k in ("src", "href", "xlink:href") and v]
    assert all(link.startswith(("data:", "#")) for link in links)
    assert not re.search(r"url\((?!#)|@import|fetch\(", (run / "report.html").read_text())
    *grids, neighbours = page.pictures()  # the last grid is in the viewer too, before the others
    assert [grid.size for grid in grids] == [(10 * 30 + 2, 8 * 30 + 2)] * 4 and neighbours.width > 500
    for text in (
        "320 of 320 images seen",
        "No symptoms of failure. Checked: D too strong, ",
        "Accuracy",
        "sliced wasserstein",
        "gan-train dcgan --size 28x28 --channels 1 --filters 4 --batch-size 16 --images 320",
        "evaluate_samples 50",
    ):
        assert text in page.text, text
    assert [attrs["data-seen"] for tag, attrs in page.tags if tag == "button"] == ["128", "256", "320"]


def test_gan_train_report_writes_it_again_with_later_results(run: Path, command: Command) -> None:
    whole = (run / "report.html").read_text()
    (run / "report.html").unlink()
    assert command("gan-train", "report", run).returncode == 0
    assert (run / "report.html").read_text() == whole
    rows = read_metrics(run)
    found = {"symptom": "mode collapse", "since": 128, "message": "G has collapsed & <more>", "try": ["--packing 2"]}
    rows[1]["diagnosis"], rows[-1]["diagnosis"] = [found | {"since": 64}], [found]
    write_metrics(run, rows)
    evaluated = command("gan-train", "evaluate", run, "--images", 100, "--metrics", "authenticity,diversity")
    assert evaluated.returncode == 0
    assert command("gan-train", "report", run).returncode == 0
    text = Page(run / "report.html").text
    assert "mode collapse , since image 128: G has collapsed & <more>. Try --packing 2 ." in text
    assert "mode collapse , from image 64 to 128: G has collapsed & <more>." in text
    assert "100 samples after 320 images" in text and "1 symptom of failure now" in text


def test_unreadable_files_are_left_out(tmp_path: Path, command: Command) -> None:
    np.save(tmp_path / "pictures.npy", random_images(100, 16, 16))
    small = ["--filters", 4, "--batch-size", 16, "--precision", "float32", "--evaluate-samples", 50, "--images", 64]
    assert command("gan-train", "dcgan", "--data", "pictures.npy", *small, "--out", "run").returncode == 0
    run = tmp_path / "run"
    assert "Copies would look alike" in Page(run / "report.html").text
    (tmp_path / "pictures.npy").unlink()
    (run / "evaluation.json").write_text('{"metrics": {"div')
    (run / "samples" / "best.png").write_bytes(b"a picture with a name that is not a number")
    (run / "samples" / "000000001.png").write_bytes(b"truncated")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"images": 128, "loss_')
    assert command("gan-train", "report", run).returncode == 0
    page = Page(run / "report.html")
    assert "Not shown: there is no data at" in page.text and "pictures.npy" in page.text
    assert len(page.pictures()) == 2  # the last grid, in the viewer and in the strip
    for path in (run / "checkpoints").iterdir():
        path.unlink()
    assert command("gan-train", "report", run).returncode == 0
    assert "Not shown: the run has no checkpoint yet" in Page(run / "report.html").text


def test_a_report_that_fails_does_not_fail_the_run(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr("gankit_train.reporting.html.write_report", broken)
    small = ["--filters", 4, "--batch-size", 16, "--evaluate-samples", 50, "--images", 32]
    result = command("gan-train", "dcgan", *small, "--out", "run")
    assert result.returncode == 0 and "not written: out of memory; gan-train report run tries again" in result.stderr


def test_neighbours_in_other_data_are_not_mistaken_for_training_images(run: Path, command: Command) -> None:
    before = Page(run / "report.html").pictures()[-1].tobytes()
    np.save(run.parent / "other.npy", random_images(100, 28, 28))
    other = ("--data", run.parent / "other.npy", "--images", 50, "--metrics", "authenticity")
    assert command("gan-train", "evaluate", run, *other).returncode == 0
    assert command("gan-train", "report", run).returncode == 0
    page = Page(run / "report.html")
    assert page.pictures()[-1].tobytes() == before and "of other" in page.text


def test_a_folder_that_is_not_a_run_is_refused(tmp_path: Path, command: Command) -> None:
    refused(command("gan-train", "report", tmp_path), 2, "is not a run folder of gan-train: it has no config.json")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "metrics.jsonl").write_text("")
    refused(command("gan-train", "report", tmp_path), 1, "cannot be read as a run of gan-train")


def test_of_many_sample_grids_the_first_the_last_and_some_between_are_shown(run: Path, command: Command) -> None:
    for i in range(1, 60):
        shutil.copy(run / "samples" / "000000320.png", run / "samples" / f"{320 + i:09d}.png")
    assert command("gan-train", "report", run).returncode == 0
    seen = [attrs["data-seen"] for tag, attrs in Page(run / "report.html").tags if tag == "button"]
    assert len(seen) == 24 and (seen[0], seen[-1]) == ("128", "379")


def test_the_command_in_a_report_has_the_preset_and_the_settings_of_the_run(tmp_path: Path, command: Command) -> None:
    line = ["vanilla", "--preset", "mnist-mlp-tanh", "--data", "digits", "--images", 64, "--lr-d", 0.001]
    result = command("gan-train", *line, "--batch-size", 32, "--evaluate-samples", 50, "--out", "run")
    assert result.returncode == 0, result.stderr
    text = Page(tmp_path / "run" / "report.html").text
    shown = re.search(r"gan-train (vanilla --[^<]*?) (?=[A-Z])", text)
    assert shown, text
    words = shown[1].split()
    given = dict(zip(words[1::2], words[2::2], strict=True))
    assert given.items() >= {"--preset": "mnist-mlp-tanh", "--data": "digits", "--lr-d": "0.001"}.items()
    # The same command resumes the run, which is finished.
    assert "is finished" in command("gan-train", *words, "--out", "run").stderr


def test_a_symptom_that_returns_is_another_period() -> None:
    found = {"symptom": "mode collapse", "message": "it has", "try": []}
    rows: list[dict[str, Any]] = [{"images": 10 * i} for i in range(1, 9)]
    for i in (1, 2, 5, 6, 7):
        rows[i]["diagnosis"] = [found | {"since": 10 if i < 5 else 50}]
    assert [(each.since, each.until) for each in symptom_periods(rows)] == [(10, 30), (50, None)]
