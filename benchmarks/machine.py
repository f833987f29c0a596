"""The hardware and software that a result depends on."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gankit._environment import available_cores

_PACKAGES = (
    "numpy",
    "pillow",
    "torch",
    "torchvision",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt",
)
_CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


@cache
def machine_info() -> dict[str, Any]:
    """Date, commit, processor, GPU, load average, system and versions, as they are at the first call."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    flags = [flag for flag in _CPU_FLAGS if flag in text]
    model = next((line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name")), "")
    gpus = _output("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _output("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--exclude=*"),
        "cpu": f"{model or platform.machine()} ({', '.join(flags)})",
        "cores": available_cores(),
        "gpu": "; ".join(gpus.splitlines()),
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "versions": {package: found for package in _PACKAGES if (found := _installed_version(package))},
    }


def _installed_version(package: str) -> str:
    """The version of an installed package, or an empty string."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _output(*line: str) -> str:
    """The standard output of a program, or an empty string where it is missing or fails."""
    try:
        return subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
