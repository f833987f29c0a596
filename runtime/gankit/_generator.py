"""The generator that apps use: seeds and labels in, images out."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gankit._backends import given_backend, open_backend
from gankit._backends.base import Backend, Inputs, parts_of
from gankit._batcher import Batcher
from gankit._errors import GankitError, LabelError, UsageError
from gankit._images import grid
from gankit._labels import LabelRequest, one_for_each
from gankit._latents import check_place, latents, slerp
from gankit._session import Device, Options, Precision, read_model

if TYPE_CHECKING:
    from concurrent.futures import Future

Images = NDArray[np.uint8]

_BATCH = 64  # images that `stream` hands out at a time


def load(
    model: str | Path | bytes | Any = None,
    device: Device = "auto",
    precision: Precision = "auto",
    batch: int = 0,
    threads: int = 0,
    gpu_mem_limit: int = 0,
) -> Generator:
    """Opens a generator.

    >>> faces = gankit.load()
    >>> faces.sample(64, seed=0, label="blond").shape
    (64, 32, 32, 3)

    Args:
        model: a file from `gan-export` (ONNX, or TorchScript where torch is installed) or its bytes, an ONNX file of
            another tool that fits the contract, an `onnxruntime.InferenceSession`, or None for the faces that come
            with gankit.
        device: `auto` takes CUDA where it can and else the CPU: `faces.device` says which it is and
            `faces.fallback_reason` why. `cuda`, `cpu` and `openvino` are that device, or an error.
        precision: `auto` is the quickest that the device has for the file. Of a float32 file, `cuda` has `tf32` and
            `float32`, `cpu` has `float32`, and `openvino` has `bfloat16` where the CPU has it, and `float32`; a file of
            `--fp16` is `float16`. `faces.precision` says which it is.
        batch: images of a run, at the most; 0 takes what measured quickest on the device.
        threads: CPU cores that an ONNX file uses; 0 takes all that the process may.
        gpu_mem_limit: bytes of GPU memory that ONNX Runtime takes for each size of batch; 0 is no limit.

    Raises:
        UsageError: an option that cannot be.
        ModelNotFoundError: no such file.
        ModelError: a file that is no model, is cut off, or does not fit the contract.
        DeviceError: the demanded device cannot be had.
        MissingExtraError: what runs the model is not installed.
    """
    options = Options(device, precision, batch, threads, gpu_mem_limit)
    if hasattr(model, "get_inputs"):
        return Generator(given_backend(model, options), None)
    path = bundled_model() if model is None else model
    return _open(read_model(path), "the model" if isinstance(path, bytes) else str(path), options)


def _open(source: bytes, name: str, options: Options) -> Generator:
    return Generator(open_backend(source, name, options), (source, name, options))


def bundled_model() -> Path:
    """The path of the small conditional model that comes with the package."""
    return Path(__file__).parent / "models" / "avatars.onnx"


class Generator:
    """A loaded generator. It holds no state that a call changes, so threads may share it.

    It can be closed, by hand or by `with`; it can be sent to another process that was spawned, which loads it again.
    """

    def __init__(self, backend: Backend, origin: tuple[bytes, str, Options] | None) -> None:
        """`origin` is what opens it again, for another process."""
        self._backend: Backend | None = backend
        self._origin = origin
        self._process, self._lock = os.getpid(), threading.RLock()
        self._batcher: Batcher | None = None
        self.card = backend.card
        """What the file says of itself, see `gankit.Card`; worked out from the shapes where it has no card."""
        self.device = backend.device
        """`cuda`, `cpu` or `openvino`: where it really runs."""
        self.precision = backend.precision
        """In which it computes, see `load`."""
        self.sizes = backend.sizes
        """Sizes of requests of which each has a first time that takes longer, rising: see `warmup`."""
        self.fallback_reason = backend.fallback_reason
        """Why `device="auto"` did not take CUDA; None if it did or was not asked to choose."""

    def __reduce__(self) -> tuple[Any, ...]:
        self._live()
        if self._origin is None:
            raise UsageError("a generator of an open session cannot be sent to another process: load it there by path")
        return _open, self._origin

    def __enter__(self) -> Generator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Refuses calls from now on, computes what `submit` took, and frees the model with the last call under way."""
        if os.getpid() != self._process:
            return  # after a fork, freeing it would wait for threads that are not there
        with self._lock:
            self._backend, self._origin, batcher = None, None, self._batcher
        if batcher is not None:  # it has the model too; not under the lock, which its callers' callbacks may want
            batcher.close()
            self._batcher = None

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._backend is None

    def _live(self) -> Backend:
        backend = self._backend
        if backend is None:
            raise UsageError("this generator was closed; load it again")
        if os.getpid() != self._process:
            raise GankitError(
                "this generator was loaded before a fork, which its threads did not survive: load it in the new "
                "process, or start that one by multiprocessing's spawn"
            )
        return backend

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the labels; empty for an unconditional model."""
        return self.card.labels.names if self.card.labels else ()

    def __call__(self, z: ArrayLike, label: ArrayLike | None = None, out: Images | None = None) -> Images:
        """Images for latents of one's own: z float32 [n, z_dim], label float32 [n, k] → uint8 [n, h, w, channels].

        With `out`, an array of that shape, they are written there and it is returned.

        Raises:
            UsageError: the shapes do not fit, numbers are not finite, or the generator was closed.
            GankitError: the device failed, or the generator was loaded before a fork.
        """
        return _joined(self._live(), self._given(z, label), out)

    def on_device(self, z: ArrayLike, label: ArrayLike | None = None) -> Any:
        """The images of a call, left where they were computed: uint8 [n, h, w, channels], to be taken by DLPack.

        >>> z, label = faces.inputs(256, seed=1)
        >>> tensor = torch.from_dlpack(faces.on_device(z, label))     # or cupy.from_dlpack

        On CUDA they are in the GPU's memory; else it is an array of the host's.

        Raises:
            UsageError: as for a call, or a file of `--output float` on CUDA, whose images are converted on the host.
            GankitError: the device failed.
        """
        return self._live().on_device(self._given(z, label))

    def warmup(self, batches: Sequence[int] = ()) -> None:
        """Makes requests of these sizes once, or of all that the device treats differently: plans, threads, memory.

        Raises:
            UsageError: sizes that cannot be.
            GankitError: the device failed.
        """
        for n in batches or self.sizes:
            self.sample(n)

    def _given(self, z: ArrayLike, label: ArrayLike | None) -> Inputs:
        z = _finite(z, "z", self.card.z_dim)
        if not self.card.labels:
            if label is not None:
                raise LabelError("this model was trained without labels")
            return [z]
        if label is None:
            raise UsageError(f"this model needs a label beside z: float32 [{len(z)}, {len(self.labels)}]")
        label = _finite(label, "label", len(self.labels))
        if len(label) != len(z):
            raise UsageError(f"{len(z)} latents but {len(label)} labels; give one for each")
        return [z, label]

    def sample(
        self,
        n: int,
        seed: int = 0,
        label: LabelRequest = None,
        start: int = 0,
        psi: float = 1.0,
        out: Images | None = None,
    ) -> Images:
        """The images `start` … `start + n - 1` of a seed: uint8 [n, height, width, channels].

        Image `i` of a seed is the same however it is asked for. `label` is a name (any unambiguous part, any case:
        `"blond"`, `"not-blond"`, `"blond,smiling"`), a dict of names and weights (`{"blond": 0.7, "smiling": 1}`), a
        list of such requests, one an image, or vectors [k] or [n, k]; what it leaves open is drawn as often as the data
        has it. `psi` below 1 moves the latents towards their mean: more typical images, less variety. `out` is as for
        a call.

        Raises:
            UsageError: n below 1 or beyond the memory, or a seed that cannot be.
            LabelError: a label that the model does not have.
        """
        return _images(self._live(), n, self._inputs(n, seed, label, start, psi), out)

    def inputs(
        self, n: int, seed: int = 0, label: LabelRequest = None, start: int = 0, psi: float = 1.0
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """What `sample` puts into the network: z [n, z_dim], and the label vectors [n, k] or None."""
        try:
            z, *vectors = self._inputs(n, seed, label, start, psi)(slice(0, n))
        except MemoryError:
            raise _too_many(n) from None
        return z, vectors[0] if vectors else None

    def _inputs(
        self, n: int, seed: int, label: LabelRequest, start: int, psi: float
    ) -> Callable[[slice], list[NDArray[np.float32]]]:
        """The same of a part of the images, when it is asked for."""
        _whole("the number of images", n)
        if n > 1 << 40:  # beyond which NumPy has other errors than that of memory
            raise _too_many(n)
        check_place(seed, start, n)
        each: Any = label if one_for_each(label) else None
        if each is not None and len(each) != n:
            raise LabelError(f"{len(each)} labels were given for {n} images; give one for all, or one for each")

        def of(part: slice) -> list[NDArray[np.float32]]:
            at, count = start + part.start, part.stop - part.start
            z = _truncated(latents(seed, at, count, self.card.z_dim), psi)
            vectors = self._vectors(label if each is None else each[part], seed, at, count)
            return [z] if vectors is None else [z, vectors]

        return of

    def submit(
        self,
        n: int = 1,
        seed: int = 0,
        label: LabelRequest = None,
        start: int = 0,
        psi: float = 1.0,
        timeout: float | None = None,
    ) -> Future[Images]:
        """The images of `sample`, to come: requests from many threads are joined into batches.

        >>> faces.submit(1, seed=7).result().shape
        (1, 32, 32, 3)

        It waits while too many requests do, for up to `timeout` seconds. `serve` sets the limits.

        Raises:
            BusyError: too many requests are waiting.
            UsageError, LabelError, GankitError: as for `sample`, at once.
        """
        self._live()
        z, vectors = self.inputs(n, seed, label, start, psi)
        with self._lock:
            if self._batcher is None:
                self.serve()
            batcher = self._batcher
        assert batcher is not None
        return batcher.submit([z] if vectors is None else [z, vectors], timeout)

    async def sample_async(
        self,
        n: int = 1,
        seed: int = 0,
        label: LabelRequest = None,
        start: int = 0,
        psi: float = 1.0,
        timeout: float | None = None,
    ) -> Images:
        """The images of `submit`, for `await`; the event loop goes on meanwhile.

        A request that waits for room keeps one of the few threads of asyncio's pool: servers give `timeout=0` and
        tell who comes beyond `serve(waiting=…)` to come again.
        """
        import asyncio  # here, as it takes as long as the rest of gankit

        return await asyncio.wrap_future(await asyncio.to_thread(self.submit, n, seed, label, start, psi, timeout))

    def serve(self, batch: int = 64, waiting: int = 1024, latest_start: float = 0.0) -> None:
        """Sets, before the first `submit`, which requests are joined and how many may wait.

        Args:
            batch: images to join at the most; a larger request goes alone.
            waiting: requests that may wait.
            latest_start: seconds that a request may wait for others; 0 joins only those that wait anyway.

        Raises:
            UsageError: numbers that cannot be, or requests are joined already.
        """
        _whole("batch", batch)
        _whole("waiting", waiting)
        if not 0 <= latest_start < math.inf:
            raise UsageError(f"latest_start must be seconds, 0 or more, not {latest_start!r}")
        with self._lock:
            backend = self._live()
            if self._batcher is not None:
                raise UsageError("requests are joined already; call serve() once, before the first submit()")
            # Without self, which may be closed meanwhile.
            self._batcher = Batcher(partial(_joined, backend), batch, waiting, latest_start)

    def stream(
        self,
        n: int,
        seed: int = 0,
        label: LabelRequest = None,
        batch: int = _BATCH,
        start: int = 0,
        psi: float = 1.0,
    ) -> Iterator[Images]:
        """The same images as `sample` in batches: constant memory, the next one computed meanwhile.

        Yields:
            uint8 [batch, height, width, channels]; the last one may be shorter.
        """
        _whole("the number of images", n)
        _whole("batch", batch)
        self._live()
        inputs = self._inputs(n, seed, label, start, psi)
        inputs(slice(0, 1))  # what cannot be is told now and not at the first batch

        def make(at: int) -> Images:
            count = min(batch, n - at)
            return _images(self._live(), count, lambda part: inputs(slice(at + part.start, at + part.stop)))

        def batches() -> Iterator[Images]:
            from concurrent.futures import ThreadPoolExecutor

            with ThreadPoolExecutor(1) as worker:
                ahead = worker.submit(make, 0)
                for at in range(batch, n, batch):
                    ready, ahead = ahead, worker.submit(make, at)
                    yield ready.result()
                yield ahead.result()

        return batches()

    def interpolate(
        self,
        stops: Sequence[int] | ArrayLike,
        frames: int = 60,
        loop: bool = False,
        label: LabelRequest = None,
        mode: Literal["slerp", "lerp"] = "slerp",
        psi: float = 1.0,
    ) -> Images:
        """A walk through the first image of each seed, or through latents [m, z_dim]: uint8 [frames, height, width,
        channels].

        `slerp` goes along the sphere, where the network was trained, `lerp` in straight lines. With `loop` the walk
        goes on back to the first stop and ends a step before it. A list of labels, one a stop, is blended on the way;
        what a label leaves open is what the image of each seed has.

        Raises:
            UsageError: fewer than two stops, fewer frames than stops, or no such mode.
        """
        if mode not in ("slerp", "lerp"):
            raise UsageError(f"an interpolation is slerp or lerp, not {mode!r}")
        _whole("the number of frames", frames)
        try:
            m, plain = len(stops), np.ndim(stops) == 1  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise UsageError(f"an interpolation is between seeds or latents [m, z_dim], not {stops!r}") from None
        if m < 2 or frames < m:
            raise UsageError(f"an interpolation needs two seeds or more and a frame for each, not {m} and {frames}")
        seeds: Any = stops if plain else range(m)
        if plain:
            z = np.concatenate([self.inputs(1, seed, psi=psi)[0] for seed in seeds])
        else:
            z = _truncated(_finite(stops, "the stops", self.card.z_dim), psi)
        each: Any = label if one_for_each(label) else [label] * m
        if len(each) != m:
            raise LabelError(f"{len(each)} labels were given for {m} stops; give one for all, or one for each")
        vectors = [v for seed, one in zip(seeds, each, strict=True) if (v := self._one_vector(one, seed)) is not None]
        order = [*range(m), *([0] if loop else [])]
        at = np.linspace(0, len(order) - 1, frames, endpoint=not loop)
        leg = np.minimum(at.astype(int), len(order) - 2)
        path = slerp if mode == "slerp" else _straight
        walk = np.concatenate([path(z[a], z[b], at[leg == i] - i) for i, (a, b) in enumerate(pairwise(order))])
        if not vectors:
            return self(walk)
        labels, weight = np.concatenate([vectors[i] for i in order]), (at - leg)[:, None]
        return self(walk, (1 - weight) * labels[leg] + weight * labels[leg + 1])

    def _one_vector(self, label: Any, seed: int) -> NDArray[np.float32] | None:
        """Of the first image of a seed: [1, k]."""
        return self._vectors(label if np.ndim(label) == 0 else np.asarray([label]), seed, 0, 1)

    def grid(
        self,
        n: int,
        seed: int = 0,
        label: LabelRequest = None,
        columns: int | None = None,
        start: int = 0,
        psi: float = 1.0,
    ) -> Images:
        """A contact sheet of what `sample` gives, about square without `columns`: uint8 [h, w, channels]."""
        return grid(self.sample(n, seed, label, start, psi), columns)

    def compare_labels(
        self, n: int, seed: int = 0, labels: Sequence[LabelRequest] | None = None, start: int = 0, psi: float = 1.0
    ) -> Images:
        """The same n latents under each label: uint8 [labels, n, height, width, channels].

        `labels` are requests as for `sample`; None takes each name of the model. What they leave open is the same in
        every row, so that only what was asked for changes.
        """
        if not self.labels:
            raise LabelError("this model was trained without labels: there is nothing to compare")
        rows = self.labels if labels is None else labels
        return np.stack([self.sample(n, seed, label, start, psi) for label in rows])

    def _vectors(self, label: LabelRequest, seed: int, start: int, n: int) -> NDArray[np.float32] | None:
        if self.card.labels:
            return self.card.labels.vectors(label, seed, start, n)
        if label is not None:
            raise LabelError(f"this model was trained without labels: {label!r} cannot be asked for")
        return None


def _whole(name: str, value: int) -> None:
    if not isinstance(value, int | np.integer) or value < 1:
        raise UsageError(f"{name} must be a whole number of at least 1, not {value!r}")


def _too_many(n: int) -> UsageError:
    return UsageError(f"{n} images do not fit into memory at once; take them from stream()")


def _finite(values: ArrayLike, name: str, width: int) -> NDArray[np.float32]:
    try:
        array = np.asarray(values, np.float32)
    except (TypeError, ValueError):
        raise UsageError(f"{name} must be numbers [n, {width}], not {values!r}") from None
    if array.ndim != 2 or array.shape[1] != width or not len(array):
        raise UsageError(f"{name} must be [n, {width}] with n of at least 1, not {list(array.shape)}")
    if not np.isfinite(array).all():
        raise UsageError(f"{name} has numbers that are not finite")
    return array


def _images(backend: Backend, n: int, inputs: Callable[[slice], Inputs], out: Images | None = None) -> Images:
    """uint8 [n, height, width, channels], in `out` if that is given, of inputs as for `Backend.compute`."""
    card = backend.card
    images = _room((n, card.height, card.width, card.channels), out)
    backend.compute(inputs, images)
    return images


def _joined(backend: Backend, inputs: Inputs, out: Images | None = None) -> Images:
    """The same of inputs that are there already."""
    return _images(backend, len(inputs[0]), parts_of(inputs), out)


def _room(shape: tuple[int, ...], out: Images | None) -> Images:
    """Where the images go."""
    if out is None:
        try:
            return np.empty(shape, np.uint8)
        except MemoryError:
            raise _too_many(shape[0]) from None
    if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != np.uint8:
        found = f"{out.dtype} {list(out.shape)}" if isinstance(out, np.ndarray) else type(out).__name__
        raise UsageError(f"out must be an array of uint8 {list(shape)}, not {found}")
    if not out.flags.writeable:
        raise UsageError("out cannot be written: it is a read-only array")
    return out


def _truncated(z: NDArray[np.float32], psi: float) -> NDArray[np.float32]:
    if not isinstance(psi, int | float | np.integer | np.floating) or not math.isfinite(psi):
        raise UsageError(f"psi must be a number, 1 for the latents as they are and 0 for their mean, not {psi!r}")
    return z if psi == 1 else np.float32(psi) * z


def _straight(a: ArrayLike, b: ArrayLike, t: NDArray[np.float64]) -> NDArray[np.float32]:
    """Between [dim] and [dim], at the fractions t [n]: float32 [n, dim]."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.asarray(a + t[:, None] * (b - a), np.float32)
