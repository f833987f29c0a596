"""Backends run model files: ONNX Runtime on the CPU, CUDA or another provider, OpenVINO, or PyTorch for TorchScript."""

from __future__ import annotations

from dataclasses import replace

from gankit._backends.base import Backend, resolve_precision
from gankit._environment import NO_DRIVER, cuda_problem, has_nvidia_driver
from gankit._errors import DeviceError, UsageError
from gankit._options import LoadOptions
from gankit._session import Session


def open_backend(source: bytes, name: str, options: LoadOptions) -> Backend:
    """Opens the bytes of a model file; the content decides the format. Errors call the model `name`.

    Raises: the errors of `gankit.load`.
    """
    if source.startswith(b"PK\x03\x04"):  # a zip archive: TorchScript always is one, ONNX never
        from gankit._backends.torchscript import TorchScript

        return TorchScript(source, name, options)
    if options.device == "openvino":
        from gankit._backends.openvino import OpenVINO

        return OpenVINO(source, name, options)
    if options.providers is not None:
        from gankit._backends.providers import open_on_providers

        return open_on_providers(source, name, options)
    from gankit._backends.cpu import Cpu

    if options.device == "cpu":
        return Cpu(source, name, options)
    # The CPU opens the file first: this shows whether it is valid, and CUDA's images are compared with the CPU's. The
    # CPU may not offer the precision that is requested for CUDA.
    cpu = Cpu(source, name, replace(options, precision="auto"))
    reason, cause = NO_DRIVER, None
    if has_nvidia_driver():
        from gankit._backends.cuda import Cuda

        try:
            return Cuda(source, name, options, cpu)
        except DeviceError as error:
            reason, cause = f"CUDA is not available: {cuda_problem() or error}", error
    if options.device == "cuda":
        details = reason if cause else f"CUDA is not available: {cuda_problem()}"
        raise DeviceError(f"{details}; or use the device cpu") from cause
    cpu.precision = resolve_precision(options.precision, cpu.card, cpu.device, ["float32"])
    cpu.fallback_reason = reason
    return cpu


def open_session(session: Session, options: LoadOptions) -> Backend:
    """The backend of an ONNX Runtime session that the application has opened.

    Raises:
        UsageError: an option that only takes effect when a session is opened.
        ModelError: the session's model does not fit the generator's contract.
    """
    from gankit._backends.providers import ExistingSession

    if options.device != "auto" or options.threads or options.gpu_mem_limit or options.providers:
        raise UsageError("a session already has its device, threads and memory limit: set them where you open it")
    return ExistingSession(session, "the session", options)
