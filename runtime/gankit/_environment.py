"""What this machine offers: CPU cores, ONNX Runtime, the NVIDIA driver and the CUDA libraries."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gankit._errors import missing_extra

NO_DRIVER = "no NVIDIA driver"
"""The reason for running on the CPU on a machine without an NVIDIA driver."""

_DRIVER_LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_NO_GPU = 100  # CUDA_ERROR_NO_DEVICE of cuda.h
_INSTALL = "pip install 'gankit[gpu]' if torch with CUDA is installed, else pip install 'gankit[cuda]'"
_PACKAGES = (
    "gankit",
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "torch",
    "nvidia-cudnn-cu12",
    "nvidia-cudnn-cu13",
)


def available_cores() -> int:
    """The number of CPU cores that this process may use; in a container, its share of the machine."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # cgroup v2: "200000 100000" are two cores, "max 100000" is no limit
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        count = min(count, max(1, int(quota) // int(period)))
    return count


def import_onnxruntime() -> Any:
    """Imports `onnxruntime` with its telemetry off, and returns the module.

    Raises:
        MissingExtraError: onnxruntime is not installed.
    """
    # ONNX Runtime reports its use to Microsoft and keeps a database for that in the user's home. A user who wants that
    # sets the variable to 0.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError:
        raise missing_extra("running a model with ONNX Runtime", "cpu", "gpu") from None
    return onnxruntime


def preload_cuda_libraries() -> None:
    """Loads the CUDA and cuDNN libraries that pip installed, so that ONNX Runtime finds them."""
    onnxruntime = import_onnxruntime()
    # preload_dlls prints each library that it does not find. A `print` of that module silences it alone: redirecting
    # sys.stdout would also swallow what other threads print.
    onnxruntime.print = lambda *_, **__: None
    onnxruntime.preload_dlls()


def installed_packages() -> dict[str, str]:
    """The installed packages that matter for running models: name → version."""
    from importlib.metadata import PackageNotFoundError, version  # here, because it takes long to import

    found = {}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def has_nvidia_driver() -> bool:
    """Whether the NVIDIA driver's library is installed. Takes microseconds and does not initialise a GPU."""
    try:
        ctypes.CDLL(_DRIVER_LIBRARY)
    except OSError:
        return False
    return True


@dataclass(frozen=True)
class NvidiaDriver:
    """The NVIDIA driver and its GPUs."""

    cuda: int = 0
    """The major version of CUDA that the driver supports; 0 without a driver."""
    gpus: tuple[str, ...] = ()
    """The names of the GPUs."""
    problem: str | None = None
    """Why no GPU is usable, and what to do; None when there is one."""


def nvidia_driver() -> NvidiaDriver:
    """Initialises the NVIDIA driver and reports its GPUs."""
    try:
        cuda = ctypes.CDLL(_DRIVER_LIBRARY)
    except OSError:
        problem = f"{NO_DRIVER} ({_DRIVER_LIBRARY} not found): install one, or start the container with --gpus all"
        return NvidiaDriver(problem=problem)
    code = cuda.cuInit(0)
    number, count = ctypes.c_int(), ctypes.c_int()
    cuda.cuDriverGetVersion(ctypes.byref(number))  # 12040 is 12.4
    cuda.cuDeviceGetCount(ctypes.byref(count))
    if code or not count.value:
        what = "finds no GPU" if code in (0, _NO_GPU) else f"does not start (cuInit returned {code})"
        return NvidiaDriver(number.value // 1000, problem=f"the NVIDIA driver {what}: check the output of nvidia-smi")
    gpus = []
    for i in range(count.value):
        device, text = ctypes.c_int(), ctypes.create_string_buffer(100)
        cuda.cuDeviceGet(ctypes.byref(device), i)
        cuda.cuDeviceGetName(text, len(text), device)
        gpus.append(text.value.decode())
    return NvidiaDriver(number.value // 1000, tuple(gpus))


def cuda_problem() -> str | None:
    """The first thing that keeps ONNX Runtime from using CUDA, and the remedy; None if nothing is found.

    The packages are checked only on a machine with a driver and a GPU: elsewhere, other packages would not help.
    """
    driver = nvidia_driver()
    if driver.problem:
        return driver.problem
    installed = installed_packages()
    gpu, cpu = installed.get("onnxruntime-gpu"), installed.get("onnxruntime")
    if gpu and cpu:
        return (
            f"onnxruntime {cpu} and onnxruntime-gpu {gpu} are both installed and overwrite each other: "
            "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'gankit[gpu]'"
        )
    if not gpu:
        return f"onnxruntime {cpu or ''} is built without CUDA: pip uninstall -y onnxruntime && {_INSTALL}"
    built_for = cuda_of_onnxruntime()
    if driver.cuda < built_for:
        return (
            f"the NVIDIA driver supports CUDA {driver.cuda}, but onnxruntime-gpu {gpu} needs CUDA {built_for}: "
            "update the driver"
        )
    missing = missing_cuda_libraries(built_for)
    return f"{', '.join(missing)} cannot be loaded: {_INSTALL}" if missing else None


def missing_cuda_libraries(cuda: int) -> list[str]:
    """The libraries of this major version of CUDA that ONNX Runtime needs and does not find; looks on Linux only."""
    if sys.platform != "linux":
        return []
    preload_cuda_libraries()
    names = [f"libcudart.so.{cuda}", f"libcublasLt.so.{cuda}", f"libcublas.so.{cuda}", "libcurand.so.10"]
    missing = []
    for name in [*names, f"libcufft.so.{11 if cuda < 13 else 12}", "libcudnn.so.9"]:
        try:
            ctypes.CDLL(name)
        except OSError:
            missing.append(name)
    return missing


def cuda_of_onnxruntime() -> int:
    """The major version of CUDA that the installed onnxruntime is built for; 0 for a build without CUDA."""
    return int(import_onnxruntime().cuda_version.partition(".")[0] or 0)
