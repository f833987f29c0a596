"""The generator that applications use: seeds and labels in, images out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gankit import _notebook
from gankit._backends.base import Backend, Inputs, slices_of
from gankit._batcher import Batcher
from gankit._card import Card
from gankit._errors import GankitError, LabelError, UsageError
from gankit._images import Images, grid
from gankit._interpolation import Mode, interpolation_inputs
from gankit._labels import LabelRequest
from gankit._requests import Request, prefetch
from gankit._validation import check_count, check_inputs, output_buffer

if TYPE_CHECKING:
    from concurrent.futures import Future

BATCH = 64
"""The default number of images per batch of `Generator.stream`."""


class Generator:
    """A loaded generator. Threads may share it, because no call changes its state.

    `load` creates generators; `close` or a `with` block frees them. A generator can be pickled and sent to a spawned
    process, which opens the model again.
    """

    def __init__(self, backend: Backend, reopen: partial[Generator] | None) -> None:
        """`reopen` opens the same model in another process; None if that is impossible."""
        self._backend: Backend | None = backend
        self._reopen = reopen
        self._batcher = Batcher(partial(_compute, backend))
        self._process = os.getpid()
        self.card: Card = backend.card
        """The model card, see `gankit.Card`. For a file without one, it is derived from the inputs and outputs."""
        self.device: str = backend.device
        """Where the model runs: `cuda`, `cpu`, `openvino`, or the name of another ONNX Runtime execution provider."""
        self.precision: str = backend.precision
        """The precision of the arithmetic, see `load`."""
        self.sizes: tuple[int, ...] = backend.sizes
        """Numbers of images whose first request takes longer than later ones, in rising order: see `warmup`."""
        self.fallback_reason: str | None = backend.fallback_reason
        """Why `device="auto"` did not choose CUDA; None if it did, or if another device was requested."""

    def __repr__(self) -> str:
        return _notebook.describe(self.card, self.device, self.precision, self.closed)

    def _repr_html_(self) -> str:
        images = None if self.closed else self.sample(_notebook.IMAGES)
        return _notebook.to_html(self.card, self.device, self.precision, images)

    def __reduce__(self) -> tuple[Any, ...]:
        self._live()
        if self._reopen is None:
            raise UsageError("a generator of an open session cannot be sent to another process: load it there by path")
        return self._reopen.func, self._reopen.args

    def __enter__(self) -> Generator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Refuses new calls, waits for the requests of `submit`, and frees the model after the last running call."""
        if os.getpid() != self._process:
            return  # after a fork, freeing the model would wait for threads that do not exist here
        self._backend = self._reopen = None
        self._batcher.close()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._backend is None

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the labels; empty for an unconditional model."""
        return self.card.labels.names if self.card.labels else ()

    def __call__(self, z: ArrayLike, label: ArrayLike | None = None, *, out: Images | None = None) -> Images:
        """Images of your own latents: z float32 [n, z_dim], label float32 [n, k] → uint8 [n, height, width, channels].

        Args:
            z: the latents.
            label: the label vectors of a conditional model.
            out: an array uint8 [n, height, width, channels] to write the images to; it is returned.

        Raises:
            UsageError: a shape does not fit the model, numbers are not finite, or the generator is closed.
            GankitError: the device failed, or the generator was loaded before a fork.
        """
        return _compute(self._live(), check_inputs(self.card, z, label), out)

    def on_device(self, z: ArrayLike, label: ArrayLike | None = None) -> Any:
        """Images of your own latents, left in the memory of the device: uint8 [n, height, width, channels].

        Other libraries take the result by DLPack. On CUDA it is in GPU memory, elsewhere it is a NumPy array.

        >>> z, label = faces.inputs(256, seed=1)
        >>> tensor = torch.from_dlpack(faces.on_device(z, label))     # or cupy.from_dlpack

        Raises:
            UsageError: as for a call, or the file was exported with `--output float` and runs on CUDA.
            GankitError: the device failed, or the generator was loaded before a fork.
        """
        return self._live().on_device(check_inputs(self.card, z, label))

    def warmup(self, sizes: Sequence[int] = ()) -> None:
        """Computes one request of each of these numbers of images, so that later ones are fast.

        The default is the attribute `sizes`. The errors are those of `sample`.
        """
        for n in sizes or self.sizes:
            self.sample(n)

    def sample(
        self,
        n: int,
        *,
        seed: int = 0,
        label: LabelRequest = None,
        start: int = 0,
        truncation: float = 1.0,
        out: Images | None = None,
    ) -> Images:
        """The images `start` … `start + n - 1` of a seed: uint8 [n, height, width, channels].

        Image i of a seed is always the same image, alone or in any batch. Pixels may differ by one grey level between
        devices, precisions and batch sizes.

        Args:
            n: number of images.
            seed: random seed, from 0 to 2^64 - 1.
            label: any unambiguous part of a label's name (`"blond"`, `"not-blond"`, `"blond,smiling"`), weights
                (`{"blond": 0.7, "smiling": 1}`), a list with one of these for each image, or label vectors [k] or
                [n, k]. Labels that it leaves open are drawn with the frequencies of the training data.
            start: number of the first image.
            truncation: factor on the latents (StyleGAN's ψ). Below 1, images are more typical and less varied.
            out: an array uint8 [n, height, width, channels] to write the images to; it is returned.

        Raises:
            UsageError: a value is unusable, the images do not fit into memory, or the generator is closed.
            LabelError: a label is unknown, ambiguous or contradictory.
            GankitError: the device failed, or the generator was loaded before a fork.
        """
        backend = self._live()
        request = Request(self.card, n, seed, label, start, truncation)
        images = output_buffer(self.card, request.n, out)
        backend.compute(request.inputs, images)
        return images

    def inputs(
        self, n: int, *, seed: int = 0, label: LabelRequest = None, start: int = 0, truncation: float = 1.0
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """The network inputs of the images that `sample` returns for the same arguments and with the same errors.

        They are z float32 [n, z_dim], and the label vectors float32 [n, k], or None for an unconditional model.
        """
        z, *vectors = Request(self.card, n, seed, label, start, truncation).all_inputs()
        return z, vectors[0] if vectors else None

    def submit(
        self,
        n: int = 1,
        *,
        seed: int = 0,
        label: LabelRequest = None,
        start: int = 0,
        truncation: float = 1.0,
        timeout: float | None = None,
    ) -> Future[Images]:
        """Queues a request and returns its future. Requests from many threads are joined into batches.

        >>> faces.submit(1, seed=7).result().shape
        (1, 32, 32, 3)

        The arguments are those of `sample`. If the queue is full, the call waits for a place for up to `timeout`
        seconds, or without limit. `serve` sets the limits.

        Raises:
            BusyError: no place in the queue became free in time.
            UsageError, LabelError, GankitError: as `sample`, before the request is queued.
        """
        self._live()
        return self._batcher.submit(Request(self.card, n, seed, label, start, truncation).all_inputs(), timeout)

    async def sample_async(
        self,
        n: int = 1,
        *,
        seed: int = 0,
        label: LabelRequest = None,
        start: int = 0,
        truncation: float = 1.0,
        timeout: float | None = None,
    ) -> Images:
        """Queues a request and awaits its images, without blocking the event loop.

        The arguments and errors are those of `submit`. A request that waits for a place in the queue occupies one of
        the few threads of asyncio's pool: a server should pass `timeout=0` and answer 503 on BusyError.
        """
        import asyncio  # here, because it takes as long to import as the rest of gankit

        submit = partial(self.submit, n, seed=seed, label=label, start=start, truncation=truncation, timeout=timeout)
        return await asyncio.wrap_future(await asyncio.to_thread(submit))

    def serve(self, *, max_batch: int = 64, max_queue: int = 1024, max_delay: float = 0.0) -> None:
        """Sets the limits for joining the requests of `submit`; call it before the first one.

        Args:
            max_batch: maximum number of images in a joined batch; a larger request is computed alone.
            max_queue: maximum number of waiting requests.
            max_delay: seconds that a request may wait for others to join; 0 joins only those that are waiting anyway.

        Raises:
            UsageError: a value is unusable, the generator is closed, or requests were submitted already.
        """
        self._live()
        self._batcher.configure(max_batch, max_queue, max_delay)

    def stream(
        self,
        n: int,
        *,
        seed: int = 0,
        label: LabelRequest = None,
        start: int = 0,
        truncation: float = 1.0,
        batch: int = BATCH,
    ) -> Iterator[Images]:
        """The images that `sample` returns for the same arguments, in batches and in constant memory.

        Yields uint8 [batch, height, width, channels]; the last batch may be smaller. The next batch is computed while
        the caller uses the current one. The errors are those of `sample`; unusable values raise before the iteration.
        """
        n, batch = check_count("n", n), check_count("batch", batch)
        self._live()
        request = Request(self.card, n, seed, label, start, truncation)
        request.inputs(slice(0, 1))  # to raise its errors now

        def compute(at: int) -> Images:
            images = output_buffer(self.card, min(batch, n - at), None)
            self._live().compute(lambda part: request.inputs(slice(at + part.start, at + part.stop)), images)
            return images

        return prefetch(compute, range(0, n, batch))

    def interpolate(
        self,
        stops: Sequence[int] | ArrayLike,
        *,
        frames: int = 60,
        loop: bool = False,
        label: LabelRequest = None,
        mode: Mode = "slerp",
        truncation: float = 1.0,
    ) -> Images:
        """An interpolation from stop to stop: uint8 [frames, height, width, channels].

        Args:
            stops: seeds, each of which stands for its first image, or latents [m, z_dim].
            frames: number of images in total, at least one for each stop.
            loop: return to the first stop; the last frame is one before it, so that the animation repeats smoothly.
            label: one request for all stops, or a list with one for each stop, which are blended between them. Labels
                that it leaves open are those of each seed's image.
            mode: `slerp` follows the sphere that latents of the training lie near, `lerp` follows straight lines.
            truncation: factor on the latents, see `sample`.

        Raises:
            UsageError: there are fewer than two stops, fewer frames than stops, or another value is unusable.
            LabelError, GankitError: as `sample`.
        """
        backend = self._live()
        return _compute(backend, interpolation_inputs(self.card, stops, frames, loop, label, mode, truncation))

    def grid(
        self,
        n: int,
        *,
        seed: int = 0,
        label: LabelRequest = None,
        start: int = 0,
        truncation: float = 1.0,
        columns: int | None = None,
    ) -> Images:
        """The images of `sample` in a grid, uint8 [height, width, channels], which a notebook displays as a picture.

        `columns` is the number of columns; None makes the grid about square. The other arguments and the errors are
        those of `sample`.
        """
        images = self.sample(n, seed=seed, label=label, start=start, truncation=truncation)
        return grid(images, columns=columns)

    def compare_labels(
        self,
        n: int,
        *,
        labels: Sequence[LabelRequest] | None = None,
        seed: int = 0,
        start: int = 0,
        truncation: float = 1.0,
    ) -> Images:
        """The same n latents under each label: uint8 [labels, n, height, width, channels].

        `labels` are requests as for `sample`; None is every label of the model. Labels that a request leaves open are
        the same in every row, so that only the requested ones change. The other arguments are those of `sample`.

        Raises:
            LabelError: the model has no labels.
            UsageError, LabelError, GankitError: as `sample`.
        """
        if not self.labels:
            raise LabelError("this model has no labels to compare")
        rows = self.labels if labels is None else labels
        if not len(rows):
            raise UsageError("labels must have at least one label, or be None for all of them")
        return np.stack([self.sample(n, seed=seed, label=row, start=start, truncation=truncation) for row in rows])

    def _live(self) -> Backend:
        backend = self._backend
        if backend is None:
            raise UsageError("this generator is closed; load it again")
        if os.getpid() != self._process:
            raise GankitError(
                "this generator was loaded before a fork, which its threads do not survive: load it in the new "
                "process, or start that process with multiprocessing's spawn method"
            )
        return backend


def _compute(backend: Backend, inputs: Inputs, out: Images | None = None) -> Images:
    images = output_buffer(backend.card, len(inputs[0]), out)
    backend.compute(slices_of(inputs), images)
    return images
