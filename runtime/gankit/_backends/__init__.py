"""What runs a model file: ONNX Runtime on the CPU or on CUDA, OpenVINO, or PyTorch for a TorchScript file."""

from __future__ import annotations

from typing import Any

from gankit._backends.base import Backend
from gankit._errors import DeviceError, UsageError
from gankit._session import Options


def open_backend(source: bytes, name: str, options: Options) -> Backend:
    """Opens the bytes of a file by what is in them; `name` is for errors. Errors as for `gankit.load`."""
    if source.startswith(b"PK\x03\x04"):  # a zip archive, which TorchScript is and ONNX never
        from gankit._backends.torchscript import TorchScript

        return TorchScript(source, name, options)
    if options.device == "openvino":
        from gankit._backends.openvino import OpenVINO

        return OpenVINO(source, name, options)
    from gankit._backends.cpu import Cpu

    cpu = Cpu(source, name, options)  # also where CUDA is demanded, as it tells first whether the file is good
    if options.device == "cpu":
        return cpu
    from gankit._backends.cuda import Cuda

    try:
        return Cuda(source, name, options, cpu)
    except DeviceError as error:
        from gankit._doctor import why_no_cuda

        cpu.fallback_reason = f"CUDA cannot be had: {why_no_cuda() or error}"
        if options.device == "cuda":
            raise DeviceError(f"{cpu.fallback_reason}; or use --device cpu") from error
        return cpu


def given_backend(session: Any, options: Options) -> Backend:
    """Of a session that an app has opened. Raises UsageError for options that come too late."""
    from gankit._backends.cpu import Given

    if options.device != "auto" or options.threads or options.gpu_mem_limit:
        raise UsageError("a session has its device, threads and memory already: set them where it is opened")
    return Given(session, options)
