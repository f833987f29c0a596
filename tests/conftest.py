"""The environment of all tests, and the fixture that runs a command."""

import importlib
import os
import sys
import traceback
from pathlib import Path

import pytest

from tests.helpers.commands import Command, Result
from tests.helpers.paths import ROOT

# Not the user's: packed data stays beside the tests, so that a second run of them is quick.
os.environ["GANKIT_CACHE"] = str(ROOT / ".cache" / "gankit")
# The networks of the tests are so small that more threads would only wait for each other.
os.environ["OMP_NUM_THREADS"] = "1"

_MAINS = {"gan-train": "gankit_train.cli", "gan-export": "gankit_export.cli", "gan-gen": "gankit._cli"}


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
