"""What a figure depends on and has to be kept beside it."""

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
_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


@cache
def machine() -> dict[str, Any]:
    """Processor, GPU, versions, commit, and how busy the machine was: all as it is when this is first asked."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    flags = [flag for flag in _FLAGS if flag in text]
    model = next((line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name")), "")
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _said("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--exclude=*"),
        "cpu": f"{model or platform.machine()} ({', '.join(flags)})",
        "cores": available_cores(),
        "gpu": "; ".join(_said("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader").splitlines()),
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "versions": {package: found for package in _PACKAGES if (found := _installed(package))},
    }


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _said(*line: str) -> str:
    """What a command printed; nothing where there is no such command."""
    try:
        return subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
