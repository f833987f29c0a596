"""The package as it is installed: its wheel without torch, its imports, its start-up."""

import importlib
import pkgutil
import re
import subprocess
import sys
import venv
from importlib.metadata import distribution
from pathlib import Path

import pytest

import gankit
from tests.helpers.paths import ROOT, TINY


def test_every_public_name_exists() -> None:
    assert sorted(gankit.__all__) == gankit.__all__
    for name in gankit.__all__:
        assert getattr(gankit, name).__doc__


@pytest.mark.parametrize("package", ["gankit", "gankit_train", "gankit_export"])
def test_every_module_can_be_imported(package: str) -> None:
    root = importlib.import_module(package)
    for module in pkgutil.walk_packages(root.__path__, f"{package}."):
        importlib.import_module(module.name)


@pytest.mark.parametrize("module", ["gankit._cli", "gankit_train.cli", "gankit_export.cli"])
def test_help_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; sys.exit(str({{'torch', 'onnxruntime', 'onnx', 'matplotlib'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr.strip() == "set()"


def _needed(name: str, extra: str = "") -> set[str]:
    """The names of the distributions that an installation brings, by their metadata."""
    found = {name}
    for line in distribution(name).requires or []:
        requirement, _, marker = line.partition(";")
        wanted = not marker or (extra and f"extra == '{extra}'" in marker.replace('"', "'"))
        other = re.match(r"[\w.-]+", requirement)
        if wanted and other and other[0] not in found:
            found |= _needed(other[0])
    return found


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the built wheel and what `gankit[cpu]` brings, linked from here to need no network."""
    folder = tmp_path_factory.mktemp("clean")
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, ROOT]
    subprocess.run(build, check=True)
    venv.create(folder / "env", with_pip=False)
    site = next((folder / "env").glob("lib/python*/site-packages"))
    for name in _needed("gankit", "cpu") - {"gankit"}:
        for file in distribution(name).files or []:
            top = file.parts[0]
            if top != ".." and not (site / top).exists():
                (site / top).symlink_to(Path(str(distribution(name).locate_file(top))))
    wheel = next(folder.glob("gankit-*.whl"))
    install = [sys.executable, "-m", "pip", "-q", "--python", folder / "env" / "bin" / "python", "install"]
    subprocess.run([*install, "--no-deps", "--no-index", wheel], check=True)
    return folder / "env" / "bin"


def test_the_wheel_generates_where_no_torch_is(clean: Path, tmp_path: Path) -> None:
    for module in ("torch", "onnx", "matplotlib"):
        assert subprocess.run([clean / "python", "-c", f"import {module}"], capture_output=True).returncode == 1
    subprocess.run([clean / "gan-gen", "-m", TINY, "-n", "3", "-o", "out"], cwd=tmp_path, check=True)
    assert len(list((tmp_path / "out").glob("*.png"))) == 4
    subprocess.run([clean / "gan-gen", "--label", "blond", "-o", "faces.png"], cwd=tmp_path, check=True)
    code = "import gankit; print(gankit.load().sample(2, label='blond').shape)"
    printed = subprocess.run([clean / "python", "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert printed.stdout.strip() == "(2, 32, 32, 3)"


def test_the_wheel_has_its_data_and_licences(clean: Path) -> None:
    site = next(clean.parent.glob("lib/python*/site-packages"))
    for path in ("gankit/py.typed", "gankit/models/avatars.onnx", "gankit_train/data/digits.npz"):
        assert (site / path).is_file()
    licences = {path.name for path in site.glob("gankit-*.dist-info/licenses/*")}
    assert licences == {"LICENSE", "NOTICE"}


@pytest.mark.parametrize(
    ("program", "arguments", "extra"),
    [("gan-train", ["dcgan"], "train"), ("gan-export", [], "export,cpu"), ("gan-gen", ["-o", "walk.mp4"], "video")],
)
def test_a_missing_extra_is_named(clean: Path, program: str, arguments: list[str], extra: str) -> None:
    result = subprocess.run([clean / program, *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1 and f"pip install 'gankit[{extra}]'" in result.stderr
    assert subprocess.run([clean / program, "--help"], capture_output=True, check=False).returncode == 0
