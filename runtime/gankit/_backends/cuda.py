"""ONNX Runtime on CUDA.

Not yet measured on a GPU; the tests run it on the CPU's provider, which takes the same calls.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gankit._backends.base import Backend, Images, Inputs, Lent, settle
from gankit._backends.cpu import Cpu
from gankit._errors import DeviceError, UsageError, one_line
from gankit._session import CUDA, CUDA_OPTIONS, Options, cores, gpu_session

PROVIDER = CUDA
MEMORY = "cuda"
"""ONNX Runtime's name of the device's memory."""

_SMALLER = 4  # the next smaller size of batch is this part of one
_CHECKED = 4  # images that are compared with the CPU's
_TOLERANCE = {"float32": 1, "tf32": 2, "float16": 6}  # steps of 1/255, of any byte


class Cuda(Backend):
    """Batches of a few sizes, each with a session of its own; a request is filled up to the next size.

    ONNX Runtime's transposed convolution keeps cuDNN's plan for one shape and searches anew for another (ORT#23006).
    So each session sees one only, and neither plans nor memory grow with the sizes that are asked for.
    """

    device = "cuda"
    batch = 256

    def __init__(self, source: bytes, name: str, options: Options, cpu: Cpu) -> None:
        """`cpu` has the same file open, for the comparison."""
        super().__init__(options)
        self.workers = min(4, cores())  # latents, transfer and computation of different parts overlap
        self.sizes = tuple(sorted({max(1, self.batch // _SMALLER**i) for i in range(5)}))
        self.card = cpu.card
        self.precision = settle(options.precision, self.card, self.device, ["tf32", "float32"])
        self._source, self._batches = source, dict[int, _Batch]()
        self._options = CUDA_OPTIONS | {"use_tf32": str(int(self.precision != "float32"))}
        if options.gpu_mem_limit:
            self._options["gpu_mem_limit"] = str(options.gpu_mem_limit)
        self._choose_layout(cpu)

    def _choose_layout(self, cpu: Cpu) -> None:
        """NHWC, which tensor cores prefer, else NCHW: the first whose images are the CPU's.

        Raises:
            DeviceError: neither gives them.
        """
        n = min(_CHECKED, self.batch)
        z = np.random.default_rng(0).standard_normal((n, self.card.z_dim), np.float32)
        inputs, shape = [z], (n, self.card.height, self.card.width, self.card.channels)
        if self.card.labels:
            inputs.append(np.eye(n, len(self.card.labels.names), dtype=np.float32))
        expected, found = np.empty(shape, np.uint8), np.empty(shape, np.uint8)
        cpu.run(inputs, expected, alone=True)
        for layout in ("1", "0"):
            self._options["prefer_nhwc"] = layout
            self._batches.clear()
            try:
                self.run(inputs, found, alone=True)
            except Exception as error:  # ONNX Runtime's exceptions have no common base but Exception
                reason = one_line(error)
                continue
            off = int(np.abs(found.astype(int) - expected).max())
            if off <= _TOLERANCE[self.precision]:
                return
            reason = f"its images of {self.card.name} are up to {off} of 255 steps off those of the CPU"
        raise DeviceError(reason)

    def run(self, inputs: Inputs, out: Images, alone: bool) -> None:
        """Runs it in the smallest batch that takes it."""
        self._of_size(next(size for size in self.sizes if size >= len(out))).run(inputs, partial(self.put, out=out))

    def on_device(self, inputs: Inputs) -> Any:
        """In the memory of the GPU. Batches are whole: the last one computes some images again to end with the end."""
        if self.card.output != "uint8":
            raise UsageError("images of a file of --output float are converted on the CPU: export it without")
        n = len(inputs[0])
        batch = self._of_size(max(size for size in self.sizes if size <= n))
        shape = (n, self.card.height, self.card.width, self.card.channels)
        images = _onnxruntime().OrtValue.ortvalue_from_shape_and_type(shape, np.uint8, MEMORY, 0)
        for at in [*range(0, n - batch.size, batch.size), n - batch.size]:
            part = [values[at : at + batch.size] for values in inputs]
            batch.run_into(part, images.data_ptr() + at * int(np.prod(shape[1:])))
        return images

    def _of_size(self, size: int) -> _Batch:
        with self._lock:
            if size not in self._batches:
                session = gpu_session(self._source, PROVIDER, self._options)
                self._batches[size] = _Batch(session, size, self.workers)
            return self._batches[size]


class _Batch:
    """A session that only ever sees one size of batch, with buffers for so many calls at a time."""

    def __init__(self, session: Any, size: int, calls: int) -> None:
        self.session, self.size = session, size
        self._inputs = [(value.name, value.shape[1]) for value in session.get_inputs()]
        [output] = session.get_outputs()
        self._output, self._shape = output.name, (size, *output.shape[1:])
        self._type = np.uint8 if output.type == "tensor(uint8)" else np.float32
        self._buffers = Lent(self._new_buffers, calls)

    def run(self, inputs: Inputs, take: Callable[[NDArray[Any]], None]) -> None:
        """Up to `size` inputs; `take` is given what the model makes of them, on the host and until it returns."""
        with self._buffers.one() as (staged, images):
            self._run(inputs, staged, "cpu", images.ctypes.data)
            take(images[: len(inputs[0])])

    def run_into(self, inputs: Inputs, pointer: int) -> None:
        """The same, into the device's memory; of exactly `size` inputs."""
        with self._buffers.one() as (staged, _):
            self._run(inputs, staged, MEMORY, pointer)

    def _run(self, inputs: Inputs, staged: list[NDArray[np.float32]], memory: str, pointer: int) -> None:
        binding = self.session.io_binding()
        for (name, _), values, buffer in zip(self._inputs, inputs, staged, strict=True):
            buffer[: len(values)] = values
            binding.bind_cpu_input(name, buffer)
        binding.bind_output(self._output, memory, 0, self._type, self._shape, pointer)
        self.session.run_with_iobinding(binding)

    def _new_buffers(self) -> tuple[list[NDArray[np.float32]], NDArray[Any]]:
        inputs = [pinned((self.size, width), np.float32) for _, width in self._inputs]
        return inputs, pinned(self._shape, self._type)


def pinned(shape: tuple[int, ...], dtype: Any, cudart: Any = None) -> NDArray[Any]:
    """Zeros in memory that the GPU reads and writes without a copy in between; in any memory where there is no CUDA."""
    if MEMORY == "cuda":
        with suppress(OSError):
            cudart = cudart or ctypes.CDLL(f"libcudart.so.{_onnxruntime().cuda_version.partition('.')[0]}")
    size, pointer = int(np.prod(shape)) * np.dtype(dtype).itemsize, ctypes.c_void_p()
    if cudart is None or cudart.cudaHostAlloc(ctypes.byref(pointer), ctypes.c_size_t(size), 0):
        return np.zeros(shape, dtype)
    memory = (ctypes.c_uint8 * size).from_address(pointer.value or 0)
    weakref.finalize(memory, cudart.cudaFreeHost, pointer)
    array = np.frombuffer(memory, dtype).reshape(shape)
    array.fill(0)
    return array


def _onnxruntime() -> Any:
    import onnxruntime

    return onnxruntime
