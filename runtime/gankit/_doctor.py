"""What is installed, what clashes and what each device can do: `gan-gen --doctor`, and what to do about an error."""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from importlib.metadata import PackageNotFoundError, version
from io import StringIO
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from gankit._errors import GankitError
from gankit._session import cores, read_model

if TYPE_CHECKING:
    from gankit._generator import Generator

_NO_GPU = 100  # CUDA_ERROR_NO_DEVICE, cuda.h
_INSTALL = "pip install 'gankit[gpu]' beside a torch with CUDA, else pip install 'gankit[cuda]'"
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


def why_no_cuda() -> str | None:
    """The first thing that keeps ONNX Runtime from CUDA and the command that mends it; None where nothing is found."""
    installed = packages()
    gpu, cpu = installed.get("onnxruntime-gpu"), installed.get("onnxruntime")
    if gpu and cpu:
        return (
            f"onnxruntime {cpu} and onnxruntime-gpu {gpu} are both installed and overwrite each other: "
            "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'gankit[gpu]'"
        )
    if not gpu:
        return f"onnxruntime {cpu or ''} has no CUDA in it: pip uninstall -y onnxruntime && {_INSTALL}"
    wanted = _cuda_major()
    driver, _, problem = _driver()
    if problem:
        return problem
    if driver < wanted:
        return f"the NVIDIA driver is for CUDA {driver} and onnxruntime-gpu {gpu} for CUDA {wanted}: update the driver"
    missing = missing_libraries(wanted)
    if missing:
        return f"{', '.join(missing)} cannot be loaded: {_INSTALL}"
    return None


def packages() -> dict[str, str]:
    """Those that matter here and are installed, with their versions."""
    found = {}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def missing_libraries(cuda: int) -> list[str]:
    """Libraries of CUDA's major version that ONNX Runtime needs and that are not found; none but on Linux."""
    if sys.platform != "linux":
        return []
    import onnxruntime

    with redirect_stdout(StringIO()):  # it prints each that it misses
        onnxruntime.preload_dlls()
    names = [f"libcudart.so.{cuda}", f"libcublasLt.so.{cuda}", f"libcublas.so.{cuda}", "libcurand.so.10"]
    missing = []
    for name in [*names, f"libcufft.so.{11 if cuda < 13 else 12}", "libcudnn.so.9"]:
        try:
            ctypes.CDLL(name)
        except OSError:
            missing.append(name)
    return missing


def report(model: Path) -> Iterator[str]:
    """The lines of `gan-gen --doctor`: what there is, what is wrong, and each device's speed with this model.

    Raises:
        ModelNotFoundError, ModelError: the model cannot be read.
    """
    from gankit._generator import load

    read_model(model)
    yield f"python      {platform.python_version()}, {platform.system()} {platform.machine()}, {cores()} cores to use"
    for name, number in packages().items():
        yield f"{'installed' if name == 'gankit' else '':12}{name} {number}"
    with suppress(ImportError):
        import onnxruntime

        yield f"providers   {', '.join(onnxruntime.get_available_providers())}"
    driver, gpus, problem = _driver()
    yield f"gpu         {problem or ', '.join([*gpus, f'driver for CUDA {driver}'])}"
    yield f"model       {model}"
    for device, precision in (("cpu", "auto"), ("cuda", "auto"), ("openvino", "float32"), ("openvino", "bfloat16")):
        try:
            with load(model, device, precision) as generator:  # type: ignore[arg-type]
                speed = f"{_images_per_s(generator):,.0f} images/s in {generator.precision}"
        except GankitError as error:
            speed = f"no: {error}"
        yield f"{device:12}{speed}"


def _images_per_s(generator: Generator) -> float:
    """In requests of several batches, for a second."""
    generator.warmup()
    n = 4 * generator.sizes[-1]
    done, begin = 0, perf_counter()
    while (seconds := perf_counter() - begin) < 1:
        generator.sample(n, start=done)
        done += n
    return done / seconds


def _cuda_major() -> int:
    """Of the CUDA that the installed onnxruntime was built with; 0 for none."""
    import onnxruntime

    return int(onnxruntime.cuda_version.partition(".")[0] or 0)


def _driver() -> tuple[int, list[str], str | None]:
    """The major version of CUDA that the NVIDIA driver is for, the GPUs' names, and what is wrong."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        cuda = ctypes.CDLL(name)
    except OSError:
        return 0, [], f"there is no NVIDIA driver ({name}): install one, or start the container with --gpus all"
    code = cuda.cuInit(0)
    number, count = ctypes.c_int(), ctypes.c_int()
    cuda.cuDriverGetVersion(ctypes.byref(number))  # 12040 is 12.4
    cuda.cuDeviceGetCount(ctypes.byref(count))
    if code or not count.value:
        what = "finds no GPU" if code in (0, _NO_GPU) else f"does not start (cuInit gives {code})"
        return number.value // 1000, [], f"the NVIDIA driver {what}: see what nvidia-smi says"
    gpus = []
    for i in range(count.value):
        device, text = ctypes.c_int(), ctypes.create_string_buffer(100)
        cuda.cuDeviceGet(ctypes.byref(device), i)
        cuda.cuDeviceGetName(text, len(text), device)
        gpus.append(text.value.decode())
    return number.value // 1000, gpus, None
