"""The base class of all backends: it splits a request into parts, which a few workers compute at the same time."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from gankit._card import Card
from gankit._errors import GankitError, UsageError, one_line
from gankit._images import Images
from gankit._options import LoadOptions

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

Inputs = Sequence[NDArray[np.float32]]
"""The inputs of a network: z [n, z_dim] and, for a conditional model, label [n, k]."""


class Backend(ABC):
    """A loaded model. Threads may share it; its resources are freed with the last reference to it."""

    card: Card
    device: str
    """`cuda`, `cpu`, `openvino`, or the name of another execution provider of ONNX Runtime."""
    precision: str
    """The precision of the arithmetic."""
    fallback_reason: str | None = None
    """Why `device="auto"` did not choose CUDA; None if it did or had no choice."""
    workers: int = 1
    """The number of simultaneous calls of `run` that is fastest."""
    batch: int = 32
    """The maximum number of images of one call of `run`."""
    sizes: tuple[int, ...] = (1,)
    """Sizes of requests whose first call takes longer than later ones, in rising order: for `warmup`."""

    def __init__(self, options: LoadOptions) -> None:
        self.batch = options.batch or self.batch
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    @abstractmethod
    def run(self, inputs: Inputs, out: Images, alone: bool) -> None:
        """Computes one batch: fills `out`, uint8 [n, height, width, channels], with the images of n inputs.

        `alone` is true if the request consists of this batch only, so that no other call of `run` is active.
        """

    def compute(self, inputs: Callable[[slice], Inputs], out: Images) -> None:
        """Computes a request: fills `out`, uint8 [n, height, width, channels], in batches that the workers share.

        `inputs` returns the inputs of a slice of the images. The workers call it, so that the latents of one batch are
        generated while others are computed.

        Raises:
            GankitError: the device failed, or the model's output is not what its card says.
        """
        parts = self.split(len(out))

        def compute_part(part: slice) -> None:
            values = inputs(part)
            try:
                self.run(values, out[part], alone=len(parts) == 1)
            except Exception as error:  # the runtimes' exceptions have no common base class but Exception
                raise GankitError(f"{self.card.name} failed on {self.device}: {one_line(error)}") from error

        if len(parts) == 1 or self.workers == 1:
            for part in parts:
                compute_part(part)
        else:
            list(self._threads().map(compute_part, parts))

    def split(self, n: int) -> list[slice]:
        """The batches of a request of n images: full ones and a remainder."""
        return [slice(at, min(at + self.batch, n)) for at in range(0, n, self.batch)]

    def on_device(self, inputs: Inputs) -> Any:
        """The images in the memory of the device, as an array with DLPack: uint8 [n, height, width, channels]."""
        images = np.empty((len(inputs[0]), self.card.height, self.card.width, self.card.channels), np.uint8)
        self.compute(slices_of(inputs), images)
        return images

    def write_output(self, batch: NDArray[Any], out: Images) -> None:
        """Copies the model's output to `out`, and converts float images to uint8 as the card requires.

        Raises:
            ValueError: the output has another shape than `out`, or is not finite.
        """
        if self.card.output == "float":  # the same scaling and rounding as in a graph that returns uint8
            if not np.isfinite(batch).all():
                raise ValueError("the model's output is not finite (NaN or Inf)")
            batch = np.clip(127.5 * batch.transpose(0, 2, 3, 1) + 128, 0, 255).astype(np.uint8)
        if batch.shape != out.shape:  # NumPy would broadcast one image over a whole batch
            raise ValueError(f"the model's output has the shape {list(batch.shape)} instead of {list(out.shape)}")
        out[...] = batch

    def _threads(self) -> ThreadPoolExecutor:
        from concurrent.futures import ThreadPoolExecutor

        with self._lock:
            self._pool = self._pool or ThreadPoolExecutor(self.workers, thread_name_prefix="gankit")
            return self._pool


def slices_of(inputs: Inputs) -> Callable[[slice], Inputs]:
    """The `inputs` argument of `Backend.compute` for arrays that exist already."""
    return lambda part: [values[part] for values in inputs]


def split_evenly(n: int, batch: int, workers: int) -> list[slice]:
    """Splits n images into equal slices of at most `batch`, so that all workers finish at the same time."""
    if n < workers:
        return [slice(0, n)]
    count = min(n, workers * -(-n // (batch * workers)))
    return [slice(n * i // count, n * (i + 1) // count) for i in range(count)]


def resolve_precision(requested: str, card: Card, device: str, float32: Sequence[str]) -> str:
    """The precision to compute in: the requested one, or for `auto` the fastest that suits the device and the file.

    Args:
        requested: `auto` or a precision.
        card: the card of the file, which may require float16.
        device: the name of the device, for errors.
        float32: the precisions that the device offers for a float32 file, the fastest first.

    Raises:
        UsageError: the device does not offer the requested precision for this file.
    """
    offered = ["float16"] if card.precision == "float16" else list(float32)
    if requested == "auto":
        return offered[0]
    if requested not in offered:
        hint = "; gan-export --fp16 writes float16 files" if requested == "float16" else ""
        raise UsageError(f"{card.name} computes on {device} in {' or '.join(offered)}, not in {requested}{hint}")
    return requested


T = TypeVar("T")


class ObjectPool(Generic[T]):
    """At most `limit` objects that one call at a time may use, created on demand; a call waits while all are in use."""

    def __init__(self, create: Callable[[], T], limit: int) -> None:
        self._create, self._free, self._places = create, list[T](), threading.BoundedSemaphore(limit)

    @contextmanager
    def borrow(self) -> Iterator[T]:
        """Borrows an object for the block."""
        with self._places:
            try:
                item = self._free.pop()  # pop and append of a list are atomic
            except IndexError:
                item = self._create()
            try:
                yield item
            finally:
                self._free.append(item)
