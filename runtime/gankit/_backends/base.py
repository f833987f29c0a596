"""What every backend shares: a request is cut into parts, which a few workers compute at a time."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from gankit._card import Card
from gankit._errors import GankitError, UsageError, one_line
from gankit._session import Options

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

Images = NDArray[np.uint8]
Inputs = Sequence[NDArray[np.float32]]
"""z [n, z_dim] and, of a conditional model, label [n, k]."""


class Backend(ABC):
    """A loaded model. Threads may use it at a time; what it holds is freed with the last reference to it."""

    card: Card
    device: Literal["cuda", "cpu", "openvino"]
    precision: str
    """In which it computes."""
    fallback_reason: str | None = None
    workers = 1
    """How many calls of `run` at a time are quickest."""
    batch = 32
    """Images of a call of `run`, at the most."""
    sizes: tuple[int, ...] = (1,)
    """Sizes of requests of which each has a first time that takes longer: for `warmup`."""

    def __init__(self, options: Options) -> None:
        self.batch = options.batch or self.batch
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    @abstractmethod
    def run(self, inputs: Inputs, out: Images, alone: bool) -> None:
        """Fills uint8 [n, height, width, channels] with the images of as many inputs, in one batch.

        `alone` says that no other call is made beside this one for the same request.
        """

    def compute(self, inputs: Callable[[slice], Inputs], images: Images) -> None:
        """Fills uint8 [n, height, width, channels], in batches that the workers share.

        `inputs` gives those of a part. The workers ask for them, so that latents are made while others compute.

        Raises:
            GankitError: the device failed, or the model makes something else than its card says.
        """
        parts = self.parts(len(images))

        def one(part: slice) -> None:
            values = inputs(part)
            try:
                self.run(values, images[part], alone=len(parts) == 1)
            except Exception as error:  # the runtimes' exceptions have no common base but Exception
                raise GankitError(f"{self.card.name} failed on {self.device}: {one_line(error)}") from error

        if len(parts) == 1 or self.workers == 1:
            for part in parts:
                one(part)
        else:
            list(self._threads().map(one, parts))

    def parts(self, n: int) -> list[slice]:
        """Of n images, whole batches and what is left."""
        return [slice(at, min(at + self.batch, n)) for at in range(0, n, self.batch)]

    def on_device(self, inputs: Inputs) -> Any:
        """The images where they were computed, as an array that others take by DLPack: uint8 [n, h, w, channels]."""
        images = np.empty((len(inputs[0]), self.card.height, self.card.width, self.card.channels), np.uint8)
        self.compute(parts_of(inputs), images)
        return images

    def put(self, batch: NDArray[Any], out: Images) -> None:
        """What the model made → images: converts those that are not finished, as the card says.

        Raises:
            ValueError: they have another shape, or are no numbers.
        """
        if self.card.output == "float":  # the same scaling and rounding that an exported graph does itself
            if not np.isfinite(batch).all():
                raise ValueError("it made pixels that are no numbers (NaN or Inf)")
            batch = np.clip(127.5 * batch.transpose(0, 2, 3, 1) + 128, 0, 255).astype(np.uint8)
        if batch.shape != out.shape:  # NumPy would repeat one image for a whole batch
            raise ValueError(f"it made {list(batch.shape)} of {list(out.shape)}")
        out[...] = batch

    def _threads(self) -> ThreadPoolExecutor:
        from concurrent.futures import ThreadPoolExecutor

        with self._lock:
            self._pool = self._pool or ThreadPoolExecutor(self.workers, thread_name_prefix="gankit")
            return self._pool


def parts_of(inputs: Inputs) -> Callable[[slice], Inputs]:
    """What `compute` wants, of inputs that are there already."""
    return lambda part: [values[part] for values in inputs]


def even_parts(n: int, batch: int, workers: int) -> list[slice]:
    """n images for workers that are to be ready at the same time: [0, n) in equal slices of at most `batch`."""
    if n < workers:
        return [slice(0, n)]
    count = min(n, workers * -(-n // (batch * workers)))
    return [slice(n * i // count, n * (i + 1) // count) for i in range(count)]


def settle(asked: str, card: Card, device: str, float32: Sequence[str]) -> str:
    """The precision to compute in: the one that was asked for, or the first that the device has for the file.

    Args:
        asked: `auto` or a precision.
        card: of the file, which has half weights and arithmetic or not.
        device: for the error.
        float32: the precisions that the device has for a file that is not half, the quickest first.

    Raises:
        UsageError: it cannot be had.
    """
    offered = ["float16"] if card.precision == "float16" else list(float32)
    if asked == "auto":
        return offered[0]
    if asked not in offered:
        hint = "; gan-export --fp16 writes files in float16" if asked == "float16" else ""
        raise UsageError(f"{card.name} computes on {device} in {' or '.join(offered)}, not in {asked}{hint}")
    return asked


T = TypeVar("T")


class Lent(Generic[T]):
    """A few things that one call at a time may use, made when they are needed; a call waits while all are out."""

    def __init__(self, make: Callable[[], T], limit: int) -> None:
        self._make, self._free, self._places = make, list[T](), threading.BoundedSemaphore(limit)

    @contextmanager
    def one(self) -> Iterator[T]:
        """Lends one for the block."""
        with self._places:
            try:
                thing = self._free.pop()  # a list's pop and append are atomic
            except IndexError:
                thing = self._make()
            try:
                yield thing
            finally:
                self._free.append(thing)
