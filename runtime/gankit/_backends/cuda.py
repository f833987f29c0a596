"""ONNX Runtime on CUDA.

Not yet measured on a GPU; the tests run this module on the CPU's provider, which accepts the same calls.
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

from gankit._backends.base import Backend, Inputs, ObjectPool, resolve_precision
from gankit._backends.cpu import Cpu
from gankit._environment import available_cores, cuda_of_onnxruntime, import_onnxruntime
from gankit._errors import DeviceError, UsageError, one_line
from gankit._images import Images
from gankit._options import LoadOptions
from gankit._session import CUDA, CUDA_OPTIONS, gpu_session

PROVIDER = CUDA
"""The execution provider; the tests replace it with the CPU's."""
MEMORY = "cuda"
"""ONNX Runtime's name of the provider's memory."""

_SIZE_RATIO = 4  # between neighbouring batch sizes
_CHECKED = 4  # images that are compared with the CPU's
_TOLERANCE = {"float32": 1, "tf32": 2, "float16": 6}  # grey levels that any value may differ by


class Cuda(Backend):
    """Computes batches of a few fixed sizes, each with its own session; a batch is padded to the next size.

    ONNX Runtime's transposed convolution keeps the cuDNN plan of one input shape and searches again for another
    (ORT#23006). So each session gets one shape only, and neither plans nor memory grow with the variety of requests.
    """

    device = "cuda"
    batch = 256

    def __init__(self, source: bytes, name: str, options: LoadOptions, cpu: Cpu) -> None:
        """`cpu` has the same file open, for the comparison of images."""
        super().__init__(options)
        self.workers = min(4, available_cores())  # latents, transfers and computation of different batches overlap
        self.sizes = tuple(sorted({max(1, self.batch // _SIZE_RATIO**i) for i in range(5)}))
        self.card = cpu.card
        self.precision = resolve_precision(options.precision, self.card, self.device, ["tf32", "float32"])
        self._source, self._sessions = source, dict[int, _FixedBatch]()
        self._options = CUDA_OPTIONS | {"use_tf32": str(int(self.precision != "float32"))}
        if options.gpu_mem_limit:
            self._options["gpu_mem_limit"] = str(options.gpu_mem_limit)
        self._choose_layout(cpu)

    def _choose_layout(self, cpu: Cpu) -> None:
        """Chooses NHWC, which tensor cores prefer, or NCHW: the first whose images match the CPU's.

        Raises:
            DeviceError: neither matches.
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
            self._sessions.clear()
            try:
                self.run(inputs, found, alone=True)
            except Exception as error:  # ONNX Runtime's exceptions have no common base class but Exception
                reason = one_line(error)
                continue
            error_levels = int(np.abs(found.astype(int) - expected).max())
            if error_levels <= _TOLERANCE[self.precision]:
                return
            reason = f"its images of {self.card.name} differ from the CPU's by up to {error_levels} of 255 grey levels"
        raise DeviceError(reason)

    def run(self, inputs: Inputs, out: Images, alone: bool) -> None:
        """Computes one batch, padded to the smallest size that holds it."""
        size = next(size for size in self.sizes if size >= len(out))
        self._fixed_batch(size).run(inputs, partial(self.write_output, out=out))

    def on_device(self, inputs: Inputs) -> Any:
        """The images in GPU memory. Batches are full: the last one repeats some images to end at the end."""
        if self.card.output != "uint8":
            raise UsageError(
                "a file of --output float cannot keep its images on the GPU: export it without that option"
            )
        n = len(inputs[0])
        batch = self._fixed_batch(max(size for size in self.sizes if size <= n))
        shape = (n, self.card.height, self.card.width, self.card.channels)
        images = import_onnxruntime().OrtValue.ortvalue_from_shape_and_type(shape, np.uint8, MEMORY, 0)
        for at in [*range(0, n - batch.size, batch.size), n - batch.size]:
            part = [values[at : at + batch.size] for values in inputs]
            batch.run_into(part, images.data_ptr() + at * int(np.prod(shape[1:])))
        return images

    def _fixed_batch(self, size: int) -> _FixedBatch:
        with self._lock:
            if size not in self._sessions:
                session = gpu_session(self._source, PROVIDER, self._options)
                self._sessions[size] = _FixedBatch(session, size, self.workers)
            return self._sessions[size]


class _FixedBatch:
    """A session for one batch size, with buffers for a limited number of simultaneous calls."""

    def __init__(self, session: Any, size: int, calls: int) -> None:
        self.session, self.size = session, size
        self._inputs = [(value.name, value.shape[1]) for value in session.get_inputs()]
        [output] = session.get_outputs()
        self._output, self._shape = output.name, (size, *output.shape[1:])
        self._type = np.uint8 if output.type == "tensor(uint8)" else np.float32
        self._buffers = ObjectPool(self._new_buffers, calls)

    def run(self, inputs: Inputs, consume: Callable[[NDArray[Any]], None]) -> None:
        """Computes up to `size` inputs and calls `consume` with the output in host memory, valid until it returns."""
        with self._buffers.borrow() as (staged, images):
            self._run(inputs, staged, "cpu", images.ctypes.data)
            consume(images[: len(inputs[0])])

    def run_into(self, inputs: Inputs, pointer: int) -> None:
        """Computes exactly `size` inputs and writes the output to this address in the device's memory."""
        with self._buffers.borrow() as (staged, _):
            self._run(inputs, staged, MEMORY, pointer)

    def _run(self, inputs: Inputs, staged: list[NDArray[np.float32]], memory: str, pointer: int) -> None:
        binding = self.session.io_binding()
        for (name, _), values, buffer in zip(self._inputs, inputs, staged, strict=True):
            buffer[: len(values)] = values
            binding.bind_cpu_input(name, buffer)
        binding.bind_output(self._output, memory, 0, self._type, self._shape, pointer)
        self.session.run_with_iobinding(binding)

    def _new_buffers(self) -> tuple[list[NDArray[np.float32]], NDArray[Any]]:
        inputs = [allocate_pinned((self.size, width), np.float32) for _, width in self._inputs]
        return inputs, allocate_pinned(self._shape, self._type)


def allocate_pinned(shape: tuple[int, ...], dtype: Any, cudart: Any = None) -> NDArray[Any]:
    """Allocates zeros in pinned memory, which the GPU accesses directly; in ordinary memory without CUDA.

    `cudart` is CUDA's runtime library, which is loaded by default.
    """
    if MEMORY == "cuda":
        with suppress(OSError):
            cudart = cudart or ctypes.CDLL(f"libcudart.so.{cuda_of_onnxruntime()}")
    size, pointer = int(np.prod(shape)) * np.dtype(dtype).itemsize, ctypes.c_void_p()
    if cudart is None or cudart.cudaHostAlloc(ctypes.byref(pointer), ctypes.c_size_t(size), 0):
        return np.zeros(shape, dtype)
    memory = (ctypes.c_uint8 * size).from_address(pointer.value or 0)
    weakref.finalize(memory, cudart.cudaFreeHost, pointer)
    array = np.frombuffer(memory, dtype).reshape(shape)
    array.fill(0)
    return array
