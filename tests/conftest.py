"""Shared by all tests: a cache of their own, the tiny model, and a command runner."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageSequence

ROOT = Path(__file__).parents[1]
TINY = ROOT / "tests" / "models" / "tiny.onnx"

# Not the user's: packed data stays beside the tests, so that a second run of them is quick.
os.environ["GANKIT_CACHE"] = str(ROOT / ".cache" / "gankit")

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Runs a console script in an empty folder, as a user would, and gives back its exit code and output."""

    def run(program: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
        line = [str(Path(sys.executable).parent / program), *map(str, arguments)]
        return subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)

    return run


def refused(result: "subprocess.CompletedProcess[str]", code: int, *words: str) -> None:
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
