"""What this machine offers: cores, packages, the NVIDIA driver; and what `gan-gen --doctor` reports."""

import importlib.metadata
import os
import sys
import threading
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from gankit import _backends as backends
from gankit import _environment as environment
from tests.helpers.commands import Command, refused
from tests.helpers.paths import TINY


class _Driver:
    """An NVIDIA driver for CUDA 13 with one GPU."""

    def __init__(self, code: int = 0, number: int = 13010, gpus: int = 1) -> None:
        self.code, self.number, self.gpus = code, number, gpus

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            if name == "cuDriverGetVersion":
                arguments[0]._obj.value = self.number
            elif name == "cuDeviceGetCount":
                arguments[0]._obj.value = self.gpus
            elif name == "cuDeviceGetName":
                arguments[0].value = b"NVIDIA H100"
            return self.code

        return call


_ALL = {"libcuda.so.1", "libcudart.so.13", "libcublasLt.so.13", "libcublas.so.13", "libcurand.so.10", "libcufft.so.12"}


@pytest.mark.parametrize(
    ("wheels", "driver", "lacking", "words"),
    [
        (["onnxruntime"], _Driver(), [], "is built without CUDA: pip uninstall -y onnxruntime && pip install 'gankit"),
        (["onnxruntime", "onnxruntime-gpu"], _Driver(), [], "both installed and overwrite each other: pip uninstall"),
        (
            ["onnxruntime"],
            None,
            ["libcuda.so.1"],
            "no NVIDIA driver (libcuda.so.1 not found): install one, or start the",
        ),
        (["onnxruntime-gpu"], _Driver(code=100, gpus=0), [], "driver finds no GPU: check the output of nvidia-smi"),
        (["onnxruntime-gpu"], _Driver(code=999), [], "does not start (cuInit returned 999)"),
        (
            ["onnxruntime-gpu"],
            _Driver(number=12040),
            [],
            "driver supports CUDA 12, but onnxruntime-gpu 1.0 needs",
        ),
        (
            ["onnxruntime-gpu"],
            _Driver(),
            ["libcudnn.so.9", "libcublas.so.13"],
            "libcublas.so.13, libcudnn.so.9 cannot be loaded: pip install 'gankit[gpu]' if",
        ),
        (["onnxruntime-gpu"], _Driver(), [], None),
    ],
)
def test_the_reason_against_cuda_has_a_remedy(
    monkeypatch: pytest.MonkeyPatch, wheels: list[str], driver: Any, lacking: list[str], words: str | None
) -> None:
    def version(name: str) -> str:
        if name in wheels:
            return "1.0"
        raise PackageNotFoundError

    def library(name: str) -> Any:
        if name in lacking or name not in _ALL | {"libcudnn.so.9"}:
            raise OSError(name)
        return driver

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(environment.ctypes, "CDLL", library)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    monkeypatch.setattr(onnxruntime, "cuda_version", "13.0")
    monkeypatch.setattr(sys, "platform", "linux")
    problem = environment.cuda_problem()
    assert problem is None if words is None else words in str(problem)
    if driver is not None and words is None:
        assert environment.nvidia_driver().gpus == ("NVIDIA H100",)


def test_the_doctor_reports_every_device(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)  # whose threads disturb a test run's signals
    result = command("gan-gen", "--doctor", "-m", TINY)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert any(line.startswith("cpu ") and "images/s in float32" in line for line in lines)
    assert any(line.startswith("cuda ") for line in lines)
    assert any(line.startswith("openvino ") and "gankit[openvino]" in line for line in lines)
    assert any("onnxruntime" in line and onnxruntime.__version__ in line for line in lines)
    refused(command("gan-gen", "--doctor", "-m", "none.onnx"), 2, "no model at none.onnx")


def test_a_device_and_a_precision_from_the_command_line(command: Command) -> None:
    assert "device  cpu\n" in command("gan-gen", "-m", TINY, "-n", 1, "--device", "cpu", "-o", "x.png").stderr
    refused(command("gan-gen", "-m", TINY, "--device", "cpu", "--precision", "bfloat16"), 2, "not in bfloat16")
    refused(command("gan-gen", "-m", TINY, "--batch", -1), 2, "batch must be")


@pytest.mark.parametrize(
    ("content", "expected"), [("200000 100000", 2), ("150000 100000", 1), ("50000 100000", 1), ("max 100000", 8)]
)
def test_a_container_has_its_share_of_the_cores(monkeypatch: pytest.MonkeyPatch, content: str, expected: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(Path, "read_text", lambda _: content)
    assert environment.available_cores() == expected


def test_preloading_libraries_prints_nothing_and_leaves_other_threads_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(onnxruntime, "cuda_version", "13.0")
    preload, before = onnxruntime.preload_dlls, sys.stdout
    seen = []

    def spy() -> None:
        thread = threading.Thread(target=lambda: print("another thread"))
        thread.start()
        thread.join()
        seen.append(sys.stdout)
        preload()

    monkeypatch.setattr(onnxruntime, "preload_dlls", spy)
    environment.preload_cuda_libraries()
    assert seen == [before] and capsys.readouterr().out == "another thread\n"


def test_gan_gen_reports_the_cpu_on_one_quiet_line(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "has_nvidia_driver", lambda: False)
    assert "device  cpu (no NVIDIA driver)\n" in command("gan-gen", "-m", TINY, "-n", 1, "-o", "x.png").stderr
