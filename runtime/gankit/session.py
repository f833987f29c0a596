"""Opens an ONNX file with ONNX Runtime on the device that was asked for, and says what it got."""

from __future__ import annotations

import os
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from gankit.errors import DeviceError, ModelError, ModelNotFoundError, UsageError, missing_extra, one_line

if TYPE_CHECKING:
    import onnxruntime

Device = Literal["auto", "cuda", "cpu"]

# HEURISTIC: ONNX Runtime's DEFAULT is the slowest choice of plans and EXHAUSTIVE searches for minutes (ORT#22705).
_CUDA = ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC"})
_CUDA_HELP = (
    "it needs an NVIDIA driver and 'gankit[gpu]' beside torch, else 'gankit[cuda]', and not the package onnxruntime "
    "beside them; or use --device cpu"
)
_CPU = "CPUExecutionProvider"


@dataclass(frozen=True)
class Opened:
    """A live session and where it runs."""

    session: onnxruntime.InferenceSession
    device: Literal["cuda", "cpu"]
    fallback_reason: str | None
    """Why `auto` runs on the CPU; None on CUDA, and where a device was demanded."""


def open_session(
    model: str | Path | bytes, device: Device = "auto", threads: int = 0, name: str | None = None
) -> Opened:
    """Opens a model, given as a path or as its bytes; on the CPU with that many threads for each run (0: all cores).

    `auto` takes CUDA where every node runs on it and else the CPU; any other device is that device, or an error.

    Raises:
        ModelNotFoundError: no such file.
        ModelError: not ONNX, cut off, or refused by ONNX Runtime.
        DeviceError: the demanded device cannot be had.
        MissingExtraError: onnxruntime is not installed.
    """
    check_device(device)
    source = read_model(model)
    try:
        import onnxruntime
    except ImportError:
        raise missing_extra("running a model with ONNX Runtime", "cpu", "gpu") from None
    reason = None
    if device != "cpu":
        try:
            return Opened(_cuda_session(onnxruntime, source), "cuda", None)
        except DeviceError as error:
            reason = f"CUDA cannot be had: {error}"
    try:
        # Threads spin while they wait for work, which costs cores of an idle app: not after the last run has ended.
        session = _session(onnxruntime, source, [_CPU], {"session.force_spinning_stop": "1"}, threads or cores())
    except Exception as error:  # ONNX Runtime's exceptions have no common base but Exception
        name = name or (str(model) if not isinstance(model, bytes) else f"these {len(model)} bytes")
        raise ModelError(
            f"{name} cannot be opened as ONNX, it is cut off or something else: {one_line(error)}"
        ) from error
    if device == "cuda":  # told only now that the file is known to be good
        raise DeviceError(f"{reason}; {_CUDA_HELP}")
    return Opened(session, "cpu", reason)


def check_device(device: str) -> None:
    """Raises UsageError where there is no such device."""
    if device not in get_args(Device):
        raise UsageError(f"unknown device {device!r}; there are {', '.join(get_args(Device))}")


def read_model(model: str | Path | bytes) -> bytes:
    """The bytes of a model file. Raises ModelNotFoundError or ModelError where it cannot be read."""
    # From bytes, ONNX Runtime has no folder to look for external data in, which the contract forbids anyway.
    if isinstance(model, bytes):
        return model
    try:
        return Path(model).read_bytes()
    except FileNotFoundError:
        raise ModelNotFoundError(
            f"there is no model at {model}; export one with gan-export, or check the path"
        ) from None
    except OSError as error:
        raise ModelError(f"the model {model} cannot be read: {error.strerror}") from None


def _cuda_session(ort: Any, source: bytes) -> Any:
    """A session with every node on CUDA.

    ONNX Runtime moves to the CPU in silence where CUDA fails. So the CPU is forbidden to it, at the start, where a
    run fails, and by a look at what the live session says of itself.
    """
    if _CUDA[0] not in ort.get_available_providers():
        raise DeviceError("this onnxruntime is built without it")
    with redirect_stdout(StringIO()):  # it prints each library that it misses
        ort.preload_dlls()
    try:
        session = _session(ort, source, [_CUDA], {"session.disable_cpu_ep_fallback": "1"})
    except Exception as error:
        raise DeviceError(f"ONNX Runtime says {one_line(error)}") from error
    if session.get_providers()[0] != _CUDA[0]:
        raise DeviceError("ONNX Runtime could not start it")
    return session


def cores() -> int:
    """CPU cores that this process may use: a container's share, not the machine's."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # cgroup v2: "200000 100000" are two cores, "max 100000" is no limit
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        count = min(count, max(1, int(quota) // int(period)))
    return count


def _session(
    ort: Any, source: bytes, providers: list[Any], config: dict[str, str] | None = None, threads: int = 0
) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # what matters is raised; the rest would land in the terminal of an app's user
    for key, value in (config or {}).items():
        options.add_session_config_entry(key, value)
    return ort.InferenceSession(source, options, providers=providers, enable_fallback=0)
