"""TorchScript files of gan-export in the runtime."""

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import gankit
from gankit_export import ExportOptions
from tests.export.conftest import Exported
from tests.helpers.commands import Command

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")


@pytest.fixture
def files(cgan_run: Path, exported: Exported) -> tuple[Path, Path]:
    """The same generator as ONNX and as TorchScript."""
    files = exported(cgan_run, ExportOptions())
    return files["onnx"].path, files["torchscript"].path


def test_both_files_give_the_same_images(files: tuple[Path, Path]) -> None:
    one, other = (gankit.load(path, device="cpu") for path in files)
    assert other.labels == one.labels and other.device == "cpu" and other.fallback_reason is None
    for n in (1, 70):
        expected = one.sample(n, seed=3)
        assert expected.std() > 5
        for images in (other.sample(n, seed=3), other.submit(n, seed=3).result(60)):
            assert images.shape == expected.shape and np.abs(images.astype(int) - expected).max() <= 1
    copy = pickle.loads(pickle.dumps(other))
    assert np.array_equal(copy.sample(3), other.sample(3))
    other.close()
    with pytest.raises(gankit.UsageError, match="closed"):
        other.sample(1)


def test_auto_and_cuda_say_what_they_found(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    auto = gankit.load(files[1])
    assert auto.device == "cpu" and auto.fallback_reason and "CUDA" in auto.fallback_reason
    with pytest.raises(gankit.DeviceError, match="CUDA"):
        gankit.load(files[1], device="cuda")


def test_the_command_takes_it_too(files: tuple[Path, Path], command: Command, tmp_path: Path) -> None:
    assert command("gan-gen", "-m", files[1], "-n", 3, "--device", "cpu", "-o", "a.npy").returncode == 0
    assert np.array_equal(np.load(tmp_path / "a.npy"), gankit.load(files[1], device="cpu").sample(3))


def test_damaged_files_are_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    whole = files[1].read_bytes()
    for content in (whole[: len(whole) // 2], b"PK\3\4", whole[:-1]):
        (tmp_path / "bad.ts").write_bytes(content)
        with pytest.raises(gankit.ModelError, match=r"bad\.ts cannot be opened as TorchScript"):
            gankit.load(tmp_path / "bad.ts", device="cpu")


def test_a_file_without_a_card_is_refused(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(tmp_path / "bare.ts"))  # type: ignore[no-untyped-call]
    with pytest.raises(gankit.ModelError, match=r"bare\.ts has no card"):
        gankit.load(tmp_path / "bare.ts", device="cpu")


def test_where_torch_is_not_installed_the_extra_is_named(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(gankit.MissingExtraError, match=r"\.ts, a TorchScript file, .*pip install 'gankit\[train\]'"):
        gankit.load(files[1])
