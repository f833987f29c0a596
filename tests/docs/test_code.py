"""The code of the pages runs as it stands: Python blocks, and shell blocks that are marked to be run.

A comment in the line above a block says how it is used: `<!-- run -->` runs a shell block, with fewer images,
`<!-- file: NAME -->` writes the block to a file, `<!-- not run: REASON -->` leaves a Python block out.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gankit._model import bundled_model
from tests.docs.pages import PAGES, blocks, command_lines, page_id
from tests.helpers.commands import Command
from tests.helpers.paths import ROOT

_CODE = [page for page in PAGES if any(each.language == "python" or each.note == "run" for each in blocks(page))]


@pytest.mark.parametrize("page", _CODE, ids=page_id)
def test_the_code_of_a_page_runs(page: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs the blocks of a page in their order, in a folder that has the bundled model as faces.onnx."""
    monkeypatch.syspath_prepend(tmp_path)
    shutil.copy(bundled_model(), tmp_path / "faces.onnx")
    modules = set(sys.modules)
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page):
        if block.note.startswith("file: "):
            (tmp_path / block.note.removeprefix("file: ")).write_text(block.code)
        elif block.language == "python" and not block.note.startswith("not run: "):
            exec(compile(block.code, str(page.relative_to(ROOT)), "exec", dont_inherit=True), names)
        elif block.note == "run":
            for line in command_lines(block.code):
                run_shortened(line, command)
    for name in set(sys.modules) - modules:
        if getattr(sys.modules[name], "__file__", None) and tmp_path in Path(str(sys.modules[name].__file__)).parents:
            del sys.modules[name]


def test_the_web_app_opens_from_any_folder(tmp_path: Path) -> None:
    """As `uvicorn --app-dir examples web_app:app` opens it."""
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'examples')!r}); from web_app import app; print(app.routes)"
    line = [sys.executable, "-c", code]
    result = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0 and "face.png" in result.stdout, result.stderr


def run_shortened(line: str, command: Command) -> None:
    """Runs a command line with a thousandth of its images, and few samples."""
    line = re.sub(r"--images (\d+)k", r"--images \1", line)
    if line.startswith("gan-train evaluate"):
        line += " --images 300"
    program, *arguments = shlex.split(line, comments=True)
    result = command(program, *arguments)
    assert result.returncode == 0, f"{line}: {result.stderr}"
