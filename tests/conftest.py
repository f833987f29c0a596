"""Shared by all tests: a cache of their own, the tiny model, and a command runner."""

import importlib
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image, ImageSequence

ROOT = Path(__file__).parents[1]
TINY = ROOT / "tests" / "models" / "tiny.onnx"

# Not the user's: packed data stays beside the tests, so that a second run of them is quick.
os.environ["GANKIT_CACHE"] = str(ROOT / ".cache" / "gankit")
# The networks of the tests are so small that more threads would only wait for each other.
os.environ["OMP_NUM_THREADS"] = "1"


@dataclass(frozen=True)
class Result:
    """What a command did."""

    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., Result]
_MAINS = {"gan-train": "gankit_train.cli", "gan-export": "gankit_export.cli", "gan-gen": "gankit.cli"}


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Runs a command in an empty folder, through the function of its console script but without a new process."""
    monkeypatch.chdir(tmp_path)

    def run(program: str, *arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", [program, *map(str, arguments)])
        try:
            importlib.import_module(_MAINS[program]).main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException:
            traceback.print_exc()
            code = 1
        return Result(code, *capfd.readouterr())

    return run


def refused(result: Result, code: int, *words: str) -> None:
    """Asserts that a command ended with this code and one clear line that has these words."""
    assert result.returncode == code, result.stderr
    line = result.stderr.strip().splitlines()[-1]
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in line, line


def picture(path: Path) -> "np.ndarray[Any, Any]":
    """An image file's pixels: [height, width] or [height, width, 3]; [frames, height, width, 3] for a film."""
    with Image.open(path) as image:
        if not getattr(image, "is_animated", False):
            return np.asarray(image)
        return np.stack([np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)])


def film(path: Path) -> "np.ndarray[Any, Any]":
    """The frames of an .mp4, which must be one that every player knows: [frames, height, width, 3]."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 20)
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])
