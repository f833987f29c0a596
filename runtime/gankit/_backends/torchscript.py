"""TorchScript files of `gan-export --torchscript`. Only this module of the package imports PyTorch."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np

from gankit._backends.base import Backend, Inputs, resolve_precision
from gankit._card import KEY, Card
from gankit._errors import DeviceError, ModelError, UsageError, missing_extra, one_line
from gankit._images import Images
from gankit._options import LoadOptions

_NO_CUDA = "CUDA is not available: PyTorch finds no GPU"


class TorchScript(Backend):
    """Computes one batch at a time, with the number of threads that PyTorch is set to."""

    def __init__(self, source: bytes, name: str, options: LoadOptions) -> None:
        super().__init__(options)
        if options.threads:
            raise UsageError("threads has no effect on TorchScript files: call torch.set_num_threads")
        if options.gpu_mem_limit:
            raise UsageError(
                "gpu_mem_limit has no effect on TorchScript files: call torch.cuda.set_per_process_memory_fraction"
            )
        if options.providers:
            raise UsageError("providers are for ONNX files, not for TorchScript: export one with gan-export --onnx")
        if options.device == "openvino":
            raise UsageError("OpenVINO needs an ONNX file: export one with gan-export --onnx --for openvino")
        try:
            import torch
        except ImportError:
            raise missing_extra(f"{name}, a TorchScript file,", "train") from None
        cuda = torch.cuda.is_available()
        if options.device == "cuda" and not cuda:
            raise DeviceError(f"{_NO_CUDA}; use the device cpu")
        self.device = "cuda" if cuda and options.device != "cpu" else "cpu"
        self.fallback_reason = None if cuda or options.device == "cpu" else _NO_CUDA
        self._torch, extra = torch, {f"{KEY}.json": ""}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # TorchScript is deprecated
                self._module = torch.jit.load(io.BytesIO(source), self.device, _extra_files=extra)  # type: ignore[no-untyped-call]
        except Exception as error:
            raise ModelError(
                f"{name} cannot be opened as TorchScript; it is truncated or another zip file: {one_line(error)}"
            ) from error
        text = extra[f"{KEY}.json"]
        if not text:
            raise ModelError(f"{name} has no card, which gankit needs to use it; only files of gan-export have one")
        self.card = Card.from_json(text.decode() if isinstance(text, bytes) else text)
        self.precision = resolve_precision(options.precision, self.card, self.device, ["float32"])

    def run(self, inputs: Inputs, out: Images, alone: bool) -> None:
        """Computes one batch with PyTorch."""
        self.write_output(self._images(inputs).cpu().numpy(), out)

    def on_device(self, inputs: Inputs) -> Any:
        """The images as a tensor on the module's device."""
        return self._images(inputs) if self.card.output == "uint8" else super().on_device(inputs)

    def _images(self, inputs: Inputs) -> Any:
        with self._torch.inference_mode():
            tensors = [self._torch.from_numpy(np.ascontiguousarray(each)).to(self.device) for each in inputs]
            return self._module(*tensors)
