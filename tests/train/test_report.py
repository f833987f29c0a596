"""`report.html`: one file with everything in it, after a run and made again by `gan-train report`."""

import base64
import inspect
import io
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gankit_train.cli import _train
from gankit_train.config.variants import configure
from gankit_train.reporting.html import _changed, findings
from tests.helpers.commands import Command, refused


class Page(HTMLParser):
    """What a browser would find."""

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


@pytest.fixture
def run(tmp_path: Path, command: Command) -> Path:
    """Of digits, with three sheets."""
    settings = ["--filters", 4, "--batch-size", 16, "--precision", "float32", "--evaluate-samples", 50]
    every = ["--log-every", 64, "--sample-every", 128]
    result = command("gan-train", "dcgan", *settings, *every, "--images", 320, "--out", tmp_path / "run")
    assert result.returncode == 0 and f"report    {tmp_path / 'run' / 'report.html'}" in result.stderr
    return tmp_path / "run"


def test_a_run_ends_with_a_report_that_needs_nothing_else(run: Path) -> None:
    page = Page(run / "report.html")
    links = [v for _, attrs in page.tags for k, v in attrs.items() if k in ("src", "href", "xlink:href") and v]
    assert all(link.startswith(("data:", "#")) for link in links)
    assert not re.search(r"url\((?!#)|@import|fetch\(", (run / "report.html").read_text())
    *sheets, pairs = page.pictures()  # the last one stands in the viewer, before the strip
    assert [sheet.size for sheet in sheets] == [(10 * 30 + 2, 8 * 30 + 2)] * 4 and pairs.width > 500
    for said in (
        "320 images seen of 320",
        "No sign of failure. Looked for: D too strong, ",
        "Accuracy",
        "sliced wasserstein",
        "gan-train dcgan --size 28x28 --channels 1 --images 320 --batch-size 16 --filters 4",
        "evaluate_samples 50",
    ):
        assert said in page.text, said
    assert [attrs["data-seen"] for tag, attrs in page.tags if tag == "button"] == ["128", "256", "320"]


def test_it_is_made_again_with_what_came_since(run: Path, command: Command) -> None:
    whole = (run / "report.html").read_text()
    (run / "report.html").unlink()
    assert command("gan-train", "report", run).returncode == 0
    assert (run / "report.html").read_text() == whole
    rows = [json.loads(row) for row in (run / "metrics.jsonl").read_text().splitlines()]
    found = {"sign": "collapse", "since": 128, "what": "G has collapsed & <more>", "try": ["--packing 2"]}
    rows[1]["diagnosis"], rows[-1]["diagnosis"] = [found | {"since": 64}], [found]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert (
        command("gan-train", "evaluate", run, "--images", 100, "--measures", "authenticity,diversity").returncode == 0
    )
    assert command("gan-train", "report", run).returncode == 0
    text = Page(run / "report.html").text
    assert "collapse , since image 128: G has collapsed & <more>. Try --packing 2 ." in text
    assert "collapse , from image 64 to 128, and then no more" in text
    assert "100 samples after 320 images" in text and "1 sign of failure now" in text


def test_what_cannot_be_read_costs_only_itself(tmp_path: Path, command: Command) -> None:
    np.save(tmp_path / "pictures.npy", np.random.default_rng(0).integers(0, 256, (100, 16, 16), np.uint8))
    small = ["--filters", 4, "--batch-size", 16, "--precision", "float32", "--evaluate-samples", 50, "--images", 64]
    assert command("gan-train", "dcgan", "--data", "pictures.npy", *small, "--out", "run").returncode == 0
    run = tmp_path / "run"
    assert "Copies would look the same" in Page(run / "report.html").text
    (tmp_path / "pictures.npy").unlink()
    (run / "evaluation.json").write_text('{"measures": {"div')
    (run / "samples" / "best.png").write_bytes(b"a sheet that somebody has put aside")
    (run / "samples" / "000000001.png").write_bytes(b"cut off")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"images": 128, "loss_')
    assert command("gan-train", "report", run).returncode == 0
    page = Page(run / "report.html")
    assert "Not shown: there is no data at" in page.text and "pictures.npy" in page.text
    assert len(page.pictures()) == 2  # the last sheet, in the viewer and in the strip
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
    assert result.returncode == 0 and "not made: out of memory; gan-train report run tries again" in result.stderr


def test_pairs_beside_other_data_are_not_taken_for_those_of_the_training_data(run: Path, command: Command) -> None:
    before = Page(run / "report.html").pictures()[-1].tobytes()
    np.save(run.parent / "other.npy", np.random.default_rng(0).integers(0, 256, (100, 28, 28), np.uint8))
    other = ("--data", run.parent / "other.npy", "--images", 50, "--measures", "authenticity")
    assert command("gan-train", "evaluate", run, *other).returncode == 0
    assert command("gan-train", "report", run).returncode == 0
    page = Page(run / "report.html")
    assert page.pictures()[-1].tobytes() == before and "of other" in page.text


def test_what_is_no_run_is_refused(tmp_path: Path, command: Command) -> None:
    refused(command("gan-train", "report", tmp_path), 2, "is no run folder of gan-train: it has no config.json")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "metrics.jsonl").write_text("")
    refused(command("gan-train", "report", tmp_path), 1, "cannot be read as a run of gan-train")


def test_many_sheets_are_thinned_and_the_first_and_last_stay(run: Path, command: Command) -> None:
    for i in range(1, 60):
        shutil.copy(run / "samples" / "000000320.png", run / "samples" / f"{320 + i:09d}.png")
    assert command("gan-train", "report", run).returncode == 0
    seen = [attrs["data-seen"] for tag, attrs in Page(run / "report.html").tags if tag == "button"]
    assert len(seen) == 24 and (seen[0], seen[-1]) == ("128", "379")


def test_the_command_in_it_makes_the_same_settings() -> None:
    config = configure("cgan", data="my pictures", size=(64, 48), attribute=("a b", "c"), d_widths=(4, 8), lr_d=2e-3)
    flags = " ".join(_changed(config))
    assert flags == "--data 'my pictures' --size 48x64 --attribute 'a b' --attribute c --d-widths 4,8 --lr-d 0.002"
    assert _changed(configure("dcgan", preset="bricks-dcgan", seed=3)) == ["--preset bricks-dcgan", "--seed 3"]
    resolved = replace(configure("vanilla", preset="mnist-mlp-tanh"), epochs=None, images=640, lr_d=1.2345678e-4)
    assert _changed(resolved) == ["--preset mnist-mlp-tanh", "--images 640", "--lr-d 0.00012345678"]
    known = {f"--{name.replace('_', '-')}" for name in inspect.signature(_train).parameters}
    assert {flag.split()[0] for flag in _changed(config)} <= known


def test_signs_are_told_once_each_time_they_come() -> None:
    told = {"sign": "collapse", "what": "it has", "try": []}
    rows = [{"images": 10 * i} for i in range(1, 9)]
    for i in (1, 2, 5, 6, 7):
        rows[i]["diagnosis"] = [told | {"since": 10 if i < 5 else 50}]  # type: ignore[assignment]
    assert [(each.since, each.until) for each in findings(rows)] == [(10, 30), (50, None)]
