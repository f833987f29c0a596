"""The installed package: its wheel without torch, its imports, its types and its start time."""

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
    """The names of the distributions that an installation needs, by their metadata."""
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
    """A fresh environment with the built wheel and the dependencies of `gankit[cpu]`, linked to need no network."""
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


def test_the_wheel_generates_without_torch(clean: Path, tmp_path: Path) -> None:
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
    [("gan-train", ["dcgan"], "train"), ("gan-export", [], "export,cpu"), ("gan-gen", ["-o", "x.mp4"], "video")],
)
def test_a_missing_extra_is_named(clean: Path, program: str, arguments: list[str], extra: str) -> None:
    result = subprocess.run([clean / program, *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1 and f"pip install 'gankit[{extra}]'" in result.stderr
    assert subprocess.run([clean / program, "--help"], capture_output=True, check=False).returncode == 0


_SCRIPT = """
from concurrent.futures import Future
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import gankit
from gankit import latents

faces = gankit.load(Path("faces.onnx"), device="cpu", precision="auto", batch=8, threads=2, gpu_mem_limit=0)
other = gankit.load(b"", providers=["CPUExecutionProvider", ("CUDAExecutionProvider", {"device_id": "0"})])
images: NDArray[np.uint8] = faces.sample(4, seed=1, label="blond", start=2, truncation=0.7)
images = faces.sample(4, label={"blond": 0.7}, out=images)
images = faces.sample(2, label=["blond", {"black": 1}])
images = faces.sample(2, label=np.zeros((2, 6), np.float32))
z, label = faces.inputs(4, seed=1, label=None, start=0, truncation=1)
images = faces(z, label, out=images)
faces.on_device(z, label)
faces.warmup([1, 4])
faces.serve(max_batch=8, max_queue=4, max_delay=0.01)
future: Future[NDArray[np.uint8]] = faces.submit(2, seed=1, timeout=1)
for batch in faces.stream(10, seed=1, batch=4):
    images = batch
images = faces.interpolate([0, 7], frames=9, loop=True, label=["blond", "black"], mode="lerp", truncation=0.5)
images = faces.interpolate(z, frames=9)
images = faces.grid(9, seed=1, columns=3)
images = faces.compare_labels(4, labels=["blond", "black"], seed=1)
images = gankit.grid(images, columns=2, gap=1)
z = latents(0, 0, 4, 32)
path: NDArray[np.float32] = gankit.slerp(z[0], z[1], np.linspace(0, 1, 5))
card: gankit.Card = faces.card
labels: gankit.Labels | None = card.labels
names: list[str] = [faces.device, faces.precision, faces.fallback_reason or "", *faces.labels]
numbers: list[int] = [*faces.sizes, faces.closed]
gankit.as_pil(images)[0].save("x.png")


async def serve() -> NDArray[np.uint8]:
    return await faces.sample_async(1, seed=2, timeout=0)


try:
    with gankit.load() as bundled:
        bundled.close()
except (gankit.BusyError, gankit.DeviceError, gankit.LabelError, gankit.MissingExtraError) as error:
    error.exit_code.bit_count()
except (gankit.ModelError, gankit.ModelNotFoundError, gankit.UsageError, gankit.GankitError):
    raise
"""


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("", None),
        ("faces.sample(4, sed=1)", 'Unexpected keyword argument "sed" for "sample"'),
        ("faces.sample(4, 1)", 'Too many positional arguments for "sample"'),
        ('gankit.load(device="gpu")', 'Argument "device" to "load" has incompatible type'),
        ("gankit.load(7)", 'Argument 1 to "load" has incompatible type "int"'),
        ("faces.psi", '"Generator" has no attribute "psi"'),
    ],
)
def test_mypy_checks_a_users_script(clean: Path, tmp_path: Path, line: str, problem: str | None) -> None:
    (tmp_path / "script.py").write_text(f"{_SCRIPT}\n{line}\n")
    mypy = [sys.executable, "-m", "mypy", "--strict", "--python-executable", clean / "python", "script.py"]
    result = subprocess.run(mypy, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (result.returncode == 0) == (problem is None), result.stdout
    assert problem is None or (problem in result.stdout and result.stdout.count("error:") == 1), result.stdout
