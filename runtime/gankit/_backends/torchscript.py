"""A file of `gan-export --torchscript`, which needs PyTorch; it is imported nowhere else in this package."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np

from gankit._backends.base import Backend, Images, Inputs, settle
from gankit._card import KEY, Card
from gankit._errors import DeviceError, ModelError, UsageError, missing_extra, one_line
from gankit._session import Options


class TorchScript(Backend):
    """One batch at a time, with the threads that PyTorch has."""

    def __init__(self, source: bytes, name: str, options: Options) -> None:
        super().__init__(options)
        if options.threads:
            raise UsageError("torch's threads are one number for the whole process: call torch.set_num_threads")
        if options.gpu_mem_limit:
            raise UsageError("torch's memory is the process's: call torch.cuda.set_per_process_memory_fraction")
        if options.device == "openvino":
            raise UsageError("OpenVINO takes ONNX files: export one with gan-export --onnx --for openvino")
        try:
            import torch
        except ImportError:
            raise missing_extra(f"{name}, a TorchScript file,", "train") from None
        cuda = torch.cuda.is_available()
        if options.device == "cuda" and not cuda:
            raise DeviceError("CUDA cannot be had: this torch finds none; use --device cpu")
        self.device = "cuda" if cuda and options.device != "cpu" else "cpu"
        self.fallback_reason = None if cuda or options.device == "cpu" else "CUDA cannot be had: this torch finds none"
        self._torch, extra = torch, {f"{KEY}.json": ""}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the deprecation of TorchScript
                self._module = torch.jit.load(io.BytesIO(source), self.device, _extra_files=extra)  # type: ignore[no-untyped-call]
        except Exception as error:
            raise ModelError(
                f"{name} cannot be opened as TorchScript, it is cut off or something else: {one_line(error)}"
            ) from error
        text = extra[f"{KEY}.json"]
        if not text:
            raise ModelError(f"{name} has no card of gan-export inside, which says what it takes")
        self.card = Card.from_json(text.decode() if isinstance(text, bytes) else text)
        self.precision = settle(options.precision, self.card, self.device, ["float32"])

    def run(self, inputs: Inputs, out: Images, alone: bool) -> None:
        """Runs it."""
        self.put(self._images(inputs).cpu().numpy(), out)

    def on_device(self, inputs: Inputs) -> Any:
        """A tensor."""
        return self._images(inputs) if self.card.output == "uint8" else super().on_device(inputs)

    def _images(self, inputs: Inputs) -> Any:
        with self._torch.inference_mode():
            tensors = [self._torch.from_numpy(np.ascontiguousarray(each)).to(self.device) for each in inputs]
            return self._module(*tensors)
