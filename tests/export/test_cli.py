"""The command `gan-export`."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import gankit
from gankit_export import ExportOptions, options
from gankit_export.formats import FORMATS
from gankit_train.models import checkpoints
from tests.export.conftest import Exported
from tests.export.helpers import COMPACT
from tests.helpers.commands import Command, refused


def test_a_run_is_exported_to_onnx_and_torchscript(command: Command, wide_run: Path, tmp_path: Path) -> None:
    result = command("gan-export", wide_run, "-o", "models", "--name", "mine")
    assert result.returncode == 0, result.stderr
    paths = sorted((tmp_path / "models").iterdir())
    assert [path.name for path in paths] == ["mine.onnx", "mine.ts"]
    assert f"checkpoint  {checkpoints.newest_checkpoint(wide_run)}" in result.stdout
    cards = [FORMATS[name].open(path, "cpu")[0] for name, path in zip(("onnx", "torchscript"), paths, strict=True)]
    assert [card.rewrite for card in cards] == ["phases", "plain"]  # the default is --for cpu


def test_the_table_shows_errors_in_grey_levels(command: Command, dcgan_run: Path, tmp_path: Path) -> None:
    result = command("gan-export", dcgan_run, "--onnx", "-o", "models")
    header, row, unit = result.stdout.splitlines()[1:]
    names = ("format", "size", "device", "images compared", "max error", "mean error", "identical bytes", "images/s")
    assert re.split(r"\s{2,}", header) == [*names, "file"]
    values = re.split(r"\s{2,}", row)
    assert values[0] == "onnx" and values[2:4] == ["cpu", "79"] and values[8] == f"models/{dcgan_run.name}.onnx"
    assert 0 <= float(values[5]) <= float(values[4]) <= 0.02 and values[6].endswith("%")
    assert unit == "errors in grey levels (0 to 255)"


def test_the_files_before_a_failure_are_listed(
    command: Command, dcgan_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FORMATS, "torchscript", replace(FORMATS["torchscript"], packages=("no_such_package",)))
    result = command("gan-export", dcgan_run, "-o", "models")
    refused(result, 1, "exporting to torchscript needs")
    assert f"models/{dcgan_run.name}.onnx" in result.stdout


def test_the_newest_run_is_the_default(command: Command, dcgan_run: Path, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "it").symlink_to(dcgan_run)
    result = command("gan-export", "--onnx", "-o", "models")
    assert result.returncode == 0 and "runs/it" in result.stdout


def test_options_reach_the_file(command: Command, wide_run: Path, tmp_path: Path) -> None:
    flags = ("--onnx", "--fp16", "--rewrite", "subpixel", "--output", "float", "--opset", 20, "--raw")
    assert command("gan-export", wide_run, "-o", "models", *flags).returncode == 0
    card = FORMATS["onnx"].open(tmp_path / "models" / "wide.onnx", "cpu")[0]
    assert (card.precision, card.rewrite, card.output, card.opset, card.ema) == (
        *("float16", "subpixel", "float", 20),
        False,
    )


def test_without_torchscript_support_onnx_alone_is_written(
    command: Command, dcgan_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "_PYTHON", (3, 14))
    result = command("gan-export", dcgan_run, "-o", "models")
    assert result.returncode == 0, result.stderr
    assert [path.suffix for path in (tmp_path / "models").iterdir()] == [".onnx"]
    assert [line for line in result.stdout.splitlines() if "TorchScript" in line and "Python 3.14" in line]


OWN = """
import torch
from torch import nn

raise SystemExit("this file trains when it is run")

class Generator(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.look = nn.Embedding(classes, 4)
        self.net = nn.Sequential(nn.Linear(width + 4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 192))

    def forward(self, noise, labels):
        x = self.net(torch.cat([self.look(labels), noise], 1))
        return torch.tanh(x).view(-1, 3, 8, 8)
"""


def test_a_generator_of_your_own(command: Command, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    scope: dict[str, Any] = {"width": 5}
    exec(OWN.replace("raise SystemExit", "str"), scope)
    torch.manual_seed(0)
    own = scope["Generator"](3).eval()
    own.look.weight.data *= 3
    torch.save({f"module.{k}": v for k, v in own.state_dict().items()}, tmp_path / "w.pt")
    line = ["gan-export", "own.py:Generator", "--weights", "w.pt", "--init", '{"classes": 3, "width": 5}']
    result = command(*line, "--z-dim", 5, "--labels", "cat,dog,owl", "-o", "made", "--onnx", "--torchscript", "--pt2")
    assert result.returncode == 0, result.stderr
    assert sorted(p.name for p in (tmp_path / "made").iterdir()) == ["own.onnx", "own.pt2", "own.ts"]
    model = gankit.load(tmp_path / "made" / "own.onnx", device="cpu")
    assert model.labels == ("cat", "dog", "owl") and not model.card.ema
    z, _ = model.inputs(4, label="dog")
    expected = 127.5 * own(torch.from_numpy(z), torch.ones(4, dtype=torch.int64)).detach().permute(0, 2, 3, 1) + 127.5
    assert np.abs(model.sample(4, label="dog") - expected.numpy()).max() <= 0.51
    assert str(tmp_path) not in command("gan-gen", "--info", "made/own.onnx").stdout


def test_the_formats_are_listed(command: Command) -> None:
    listed = command("gan-export", "--formats").stdout.splitlines()
    assert [line.split()[0] for line in listed] == ["--onnx", "--torchscript", "--pt2"]
    assert all(len(line) > 60 for line in listed)


def test_info_prints_the_card_of_any_format(command: Command, wide_run: Path, exported: Exported) -> None:
    for file in exported(wide_run, COMPACT).values():
        shown = command("gan-gen", "--info", file.path).stdout
        for words in ("height             32", "precision          compact", "names: ", "max_error", "float64"):
            assert words in shown, shown


def test_info_prints_the_card_of_older_versions(
    command: Command, dcgan_run: Path, exported: Exported, tmp_path: Path
) -> None:
    model = onnx.load(exported(dcgan_run, ExportOptions())["onnx"].path)
    card = json.loads(model.metadata_props[0].value)
    old = {
        "device": "cpu",
        "images": 79,
        "largest_error_steps": 1e-06,
        "mean_error_steps": 0.0,
        "tolerance_steps": 0.02,
    }
    card["verification"] = {"against": "the network in float64 on the CPU", "measured": [old]}
    model.metadata_props[0].value = json.dumps(card)
    onnx.save(model, tmp_path / "old.onnx")
    (measured,) = gankit.load(tmp_path / "old.onnx", device="cpu").card.verification["measured"]
    assert list(measured.values()) == list(old.values())
    assert "1e-06" in command("gan-gen", "--info", "old.onnx").stdout


RUN_ERRORS = [
    (["--opset", 22], ["--opset must be from 18 to 20, not 22"]),
    (["--output", "int8"], ["--output must be one of uint8, float, not 'int8'"]),
    (["--rewrite", "winograd"], ["--rewrite must be one of plain, subpixel, phases, not 'winograd'"]),
    (["--for", "tpu"], ["--for must be one of cpu, cuda, openvino, not 'tpu'"]),
    (["--fp16", "--compact"], ["--fp16", "--compact"]),
    (["--subpixel", "--rewrite", "phases"], ["--subpixel", "--rewrite"]),
    (["--rewrite", "phases"], ["rewrite 'phases'", "16", "none"]),
    (["--value-range", "0,1"], ["--value-range", "FILE.py:CLASS"]),
]


@pytest.mark.parametrize("flags, words", RUN_ERRORS, ids=[" ".join(map(str, flags)) for flags, _ in RUN_ERRORS])
def test_wrong_options_are_one_line(command: Command, dcgan_run: Path, flags: list[object], words: list[str]) -> None:
    refused(command("gan-export", dcgan_run, *flags), 2, *words)


OWN_ERRORS = [
    (["--weights", "w.pt"], ["--z-dim"]),
    (["--z-dim", 5, "--raw"], ["--raw"]),
    (["--z-dim", 5, "--init", "[1]"], ["--init must be a JSON object", "[1]"]),
    (["--z-dim", 5, "--init", "{nz: 1}"], ["--init must be a JSON object", "{nz: 1}"]),
    (["--z-dim", 5, "--value-range", "1"], ["--value-range must be two numbers", "-1,1", "'1'"]),
    (["--z-dim", 5, "--z-shape", "5x1"], ["--z-shape", "100,1,1", "'5x1'"]),
    (["--z-dim", 5, "--labels", "a,b,a"], ["--labels", "a,b,a"]),
    (["--z-dim", 5, "--weights", "w.pt"], ["no file", "x.py"]),
]


@pytest.mark.parametrize("flags, words", OWN_ERRORS, ids=[" ".join(map(str, flags)) for flags, _ in OWN_ERRORS])
def test_wrong_options_of_your_own_generator_are_one_line(
    command: Command, flags: list[object], words: list[str]
) -> None:
    refused(command("gan-export", "x.py:G", *flags), 2, *words)


def test_sources_that_cannot_be_exported_are_one_line(command: Command, tmp_path: Path, dcgan_run: Path) -> None:
    refused(command("gan-export"), 2, "no run under runs/")
    refused(command("gan-export", "nowhere"), 2, "nowhere")
    refused(command("gan-export", "x.py", "--z-dim", 5), 2, "x.py:CLASS")
    (tmp_path / "empty").mkdir()
    refused(command("gan-export", "empty"), 1, "no checkpoint")
    (tmp_path / "cut.pt").write_bytes(checkpoints.newest_checkpoint(dcgan_run).read_bytes()[:5000])
    refused(command("gan-export", "cut.pt"), 1, "cut.pt")
    torch.save({"weights": torch.zeros(3)}, tmp_path / "other.pt")
    refused(command("gan-export", "other.pt"), 1, "other.pt", "checkpoint of gan-train")
    refused(command("gan-export", dcgan_run, "-o", "cut.pt/below"), 1, "cannot write")
    refused(command("gan-gen", "--info", "cut.pt"), 1, "cut.pt")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cut.pt", "empty", "other.pt"]
