"""Opening generators."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from gankit._backends import open_backend, open_session
from gankit._errors import UsageError
from gankit._generator import Generator
from gankit._model import bundled_model, read_model
from gankit._options import Device, LoadOptions, Precision, Provider
from gankit._session import Session


def load(
    model: str | Path | bytes | Session | None = None,
    *,
    device: Device = "auto",
    precision: Precision = "auto",
    batch: int = 0,
    threads: int = 0,
    gpu_mem_limit: int = 0,
    providers: Sequence[Provider] | None = None,
) -> Generator:
    """Opens a generator.

    >>> faces = gankit.load()
    >>> faces.sample(64, seed=0, label="blond").shape
    (64, 32, 32, 3)

    Args:
        model: a file of `gan-export` (ONNX, or TorchScript if PyTorch is installed) or its bytes, an ONNX file of
            another tool that fits the contract, an open `onnxruntime.InferenceSession`, or None for the bundled faces.
        device: `auto` chooses CUDA if it works and else the CPU; `Generator.device` and `Generator.fallback_reason`
            report the choice. `cuda`, `cpu` and `openvino` never fall back.
        precision: `auto` is the fastest that the device offers for the file. For a float32 file, CUDA offers `tf32` and
            `float32`, the CPU `float32`, and OpenVINO `float32` and, on CPUs that support it, `bfloat16`. A file of
            `gan-export --fp16` is always `float16`. `Generator.precision` reports the choice.
        batch: maximum number of images that are computed together; 0 is the device's default.
        threads: CPU cores that an ONNX file may use; 0 is all cores available to the process.
        gpu_mem_limit: bytes of GPU memory that ONNX Runtime may use for each batch size; 0 is no limit.
        providers: ONNX Runtime execution providers, as names or as pairs of a name and its options, instead of a
            device. The first one must run every node of the model.

    Raises:
        UsageError: an option has an unusable value, or onnxruntime does not have a provider.
        ModelNotFoundError: there is no such file.
        ModelError: the file is not a model, is truncated, or does not fit the generator's contract.
        DeviceError: the requested device is not available, or the first provider does not run every node.
        MissingExtraError: the package that runs the model is not installed.
    """
    options = LoadOptions(device, precision, batch, threads, gpu_mem_limit, providers)
    if model is None:
        model = bundled_model()
    if not isinstance(model, str | Path | bytes):
        if not hasattr(model, "get_inputs"):
            raise UsageError(f"model must be a path, bytes or an onnxruntime.InferenceSession, not {model!r}")
        return Generator(open_session(model, options), None)
    return _open(read_model(model), "the model" if isinstance(model, bytes) else str(model), options)


def _open(source: bytes, name: str, options: LoadOptions) -> Generator:
    return Generator(open_backend(source, name, options), partial(_open, source, name, options))
