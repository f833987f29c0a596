"""OpenVINO on the CPU: the quickest there where the CPU has bfloat16, and the file was exported for it."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from gankit._backends.base import Backend, Images, Inputs, Lent, even_parts, settle
from gankit._errors import ModelError, missing_extra, one_line
from gankit._session import Options, card_of_session, cores, cpu_session

_FIRST = threading.Lock()  # two threads that call OpenVINO's Python binding for the first time wait for each other


class OpenVINO(Backend):
    """As many streams as workers, each with one core; up to a batch of images is quicker with all cores for all.

    OpenVINO's own package and not its provider for ONNX Runtime, which offers itself on Intel's CPUs alone.
    """

    device = "openvino"
    batch = 16

    def __init__(self, source: bytes, name: str, options: Options) -> None:
        super().__init__(options)
        try:
            import openvino
        except ImportError:
            raise missing_extra("the device openvino", "openvino") from None
        self.workers = options.threads or cores()
        self.sizes = (1, self.batch * self.workers)
        # It passes over the metadata, and over what does not fit the contract.
        self.card = card_of_session(cpu_session(source, name, 1), name)
        core = openvino.Core()
        bfloat16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        offered = ["bfloat16", "float32"] if bfloat16 else ["float32"]
        self.precision = settle(options.precision, self.card, self.device, offered)
        hint = {"bfloat16": "bf16", "float32": "f32", "float16": "f32"}[self.precision]
        settings = {"INFERENCE_NUM_THREADS": str(self.workers), "INFERENCE_PRECISION_HINT": hint}
        streams = {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": str(self.workers)}
        try:
            model = core.read_model(source, b"")
            wide = core.compile_model(model, "CPU", settings | {"PERFORMANCE_HINT": "LATENCY"})
            narrow = core.compile_model(model, "CPU", settings | streams)
            self._alone: Lent[Any] = Lent(wide.create_infer_request, 1)
            self._shared: Lent[Any] = Lent(narrow.create_infer_request, self.workers)
            with _FIRST, self._alone.one() as request:
                widths = [self.card.z_dim, *([len(self.card.labels.names)] if self.card.labels else [])]
                request.infer({i: np.zeros((1, width), np.float32) for i, width in enumerate(widths)})
                request.get_output_tensor(0).data  # noqa: B018  # also a first time
        except Exception as error:
            raise ModelError(f"{name} cannot be opened by OpenVINO: {one_line(error)}") from error

    def parts(self, n: int) -> list[slice]:
        """Equal ones, or one for all cores."""
        return super().parts(n) if n <= self.batch else even_parts(n, self.batch, self.workers)

    def run(self, inputs: Inputs, out: Images, alone: bool) -> None:
        """Runs it with all cores, or in a stream that is free."""
        with (self._alone if alone else self._shared).one() as request:
            request.infer(dict(enumerate(inputs)))
            self.put(request.get_output_tensor(0).data, out)
