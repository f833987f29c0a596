"""OpenVINO on the CPU: the fastest backend on CPUs with bfloat16, for files of `gan-export --for openvino`."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from gankit._backends.base import Backend, Inputs, ObjectPool, resolve_precision, split_evenly
from gankit._card import card_from_session
from gankit._environment import available_cores
from gankit._errors import ModelError, missing_extra, one_line
from gankit._images import Images
from gankit._options import LoadOptions
from gankit._session import cpu_session

_FIRST_CALL = threading.Lock()  # two threads that make their first call of OpenVINO's Python binding deadlock


class OpenVINO(Backend):
    """Runs as many streams as workers, each on one core; a request of one batch runs on all cores together.

    Uses OpenVINO's own package instead of its ONNX Runtime provider, which is only available on Intel CPUs.
    """

    device = "openvino"
    batch = 16

    def __init__(self, source: bytes, name: str, options: LoadOptions) -> None:
        super().__init__(options)
        try:
            import openvino
        except ImportError:
            raise missing_extra("the device openvino", "openvino") from None
        self.workers = options.threads or available_cores()
        self.sizes = (1, self.batch * self.workers)
        # By ONNX Runtime, as OpenVINO ignores the metadata and accepts models that do not fit the contract.
        self.card = card_from_session(cpu_session(source, name, 1), name)
        core = openvino.Core()
        bfloat16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        offered = ["bfloat16", "float32"] if bfloat16 else ["float32"]
        self.precision = resolve_precision(options.precision, self.card, self.device, offered)
        hint = {"bfloat16": "bf16", "float32": "f32", "float16": "f32"}[self.precision]
        settings = {"INFERENCE_NUM_THREADS": str(self.workers), "INFERENCE_PRECISION_HINT": hint}
        streams = {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": str(self.workers)}
        try:
            model = core.read_model(source, b"")
            all_cores = core.compile_model(model, "CPU", settings | {"PERFORMANCE_HINT": "LATENCY"})
            one_core = core.compile_model(model, "CPU", settings | streams)
            self._alone: ObjectPool[Any] = ObjectPool(all_cores.create_infer_request, 1)
            self._shared: ObjectPool[Any] = ObjectPool(one_core.create_infer_request, self.workers)
            with _FIRST_CALL, self._alone.borrow() as request:
                widths = [self.card.z_dim, *([len(self.card.labels.names)] if self.card.labels else [])]
                request.infer({i: np.zeros((1, width), np.float32) for i, width in enumerate(widths)})
                request.get_output_tensor(0).data  # noqa: B018  # also a first call
        except Exception as error:
            raise ModelError(f"{name} cannot be opened by OpenVINO: {one_line(error)}") from error

    def split(self, n: int) -> list[slice]:
        """Equal batches, a multiple of the workers; a request of one batch stays whole."""
        return super().split(n) if n <= self.batch else split_evenly(n, self.batch, self.workers)

    def run(self, inputs: Inputs, out: Images, alone: bool) -> None:
        """Computes one batch, with all cores if it is alone, else in a free stream."""
        with (self._alone if alone else self._shared).borrow() as request:
            request.infer(dict(enumerate(inputs)))
            self.write_output(request.get_output_tensor(0).data, out)
