"""`make demo` with a tiny budget: the same commands, from the Makefile itself."""

import subprocess
import sys
from pathlib import Path

import gankit
from tests.helpers.images import picture
from tests.helpers.paths import ROOT


def test_the_demo_writes_what_it_promises(tmp_path: Path) -> None:
    venv = Path(sys.prefix)  # this environment stands for the one that make would make
    line = ["make", "-o", venv / ".installed", "demo", f"VENV={venv}", f"DEMO={tmp_path / 'demo'}", "IMAGES=256"]
    result = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    demo = tmp_path / "demo"
    assert len(list((demo / "blond").glob("0*.png"))) == 64
    assert picture(demo / "blond" / "grid.png").shape == (2 * (8 * 34 + 2), 2 * (8 * 34 + 2), 3)
    assert picture(demo / "hair.png").shape == (3 * (4 * 34 + 2), 3 * (10 * 34 + 2), 3)
    assert len(picture(demo / "interpolation.gif")) == 90
    assert (demo / "faces.ts").exists()
    faces = gankit.load(demo / "faces.onnx", device="cpu")
    assert faces.card.images_seen >= 256 and faces.card.verification["measured"][0]["images"] == 79 + 7 * 7
    for name in ("blond/grid.png", "hair.png", "interpolation.gif"):
        assert f"{demo}/{name}" in result.stdout + result.stderr


def test_make_alone_lists_the_targets() -> None:
    lines = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert {"make demo", "make docs", "make env", "make test"} <= {" ".join(line.split()[:2]) for line in lines}
