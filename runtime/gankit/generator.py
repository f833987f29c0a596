"""The generator that apps use: seeds and labels in, images out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gankit.card import KEY, Card
from gankit.errors import GankitError, LabelError, ModelError, UsageError, one_line
from gankit.labels import LabelRequest, Labels, one_for_each
from gankit.latents import latents, slerp
from gankit.session import Device, Opened, open_session

Images = NDArray[np.uint8]

_BATCH = 32  # images a run: enough to keep two cores busy, little enough to stay in their caches


def load(model: str | Path | bytes | None = None, device: Device = "auto") -> Generator:
    """Opens a generator: an ONNX file from `gan-export`, its bytes, or (None) the faces that come with gankit.

    >>> faces = gankit.load()
    >>> faces.sample(64, seed=0, label="blond").shape
    (64, 32, 32, 3)

    `device` is `cuda`, `cpu`, or `auto`, which takes CUDA where it can and else the CPU: `faces.device` says which it
    is and `faces.fallback_reason` why.

    Raises:
        ModelNotFoundError, ModelError, DeviceError, MissingExtraError: see `gankit.session.open_session`.
    """
    opened = open_session(bundled_model().read_bytes() if model is None else model, device)
    return Generator(opened, "the model" if model is None or isinstance(model, bytes) else str(model))


def bundled_model() -> Path:
    """The path of the small conditional model that comes with the package."""
    return Path(str(files("gankit") / "models" / "avatars.onnx"))


class Generator:
    """A loaded generator. It holds no state that a call changes, so threads may share it."""

    def __init__(self, opened: Opened, name: str) -> None:
        self._session = opened.session
        self._inputs = [i.name for i in opened.session.get_inputs()]
        self.card = _card(opened.session, name)
        """What the file says of itself, see `gankit.Card`; worked out from the shapes where it has no card."""
        self.device = opened.device
        """`cuda` or `cpu`: where it really runs."""
        self.fallback_reason = opened.fallback_reason
        """Why `device="auto"` did not take CUDA; None if it did or was not asked to choose."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the labels; empty for an unconditional model."""
        return self.card.labels.names if self.card.labels else ()

    def __call__(self, z: ArrayLike, label: ArrayLike | None = None) -> Images:
        """Images for latents of one's own: z float32 [n, z_dim], label float32 [n, k] → uint8 [n, h, w, channels].

        Raises:
            UsageError: the shapes do not fit, or numbers are not finite.
        """
        z = _finite(z, "z", self.card.z_dim)
        feeds = {self._inputs[0]: z}
        if self.card.labels:
            if label is None:
                raise UsageError(f"this model needs a label beside z: float32 [{len(z)}, {len(self.labels)}]")
            feeds[self._inputs[1]] = _finite(label, "label", len(self.labels))
            if len(feeds[self._inputs[1]]) != len(z):
                raise UsageError(f"{len(z)} latents but {len(feeds[self._inputs[1]])} labels; give one for each")
        elif label is not None:
            raise LabelError("this model was trained without labels")
        images = np.empty((len(z), self.card.height, self.card.width, self.card.channels), np.uint8)
        for at in range(0, len(z), _BATCH):
            try:
                batch = self._session.run(None, {name: value[at : at + _BATCH] for name, value in feeds.items()})[0]
            except Exception as error:  # ONNX Runtime's exceptions have no common base but Exception
                raise GankitError(f"{self.card.name} failed on {self.device}: {one_line(error)}") from error
            if self.card.output == "float":  # the same scaling and rounding that an exported graph does itself
                batch = np.clip(127.5 * batch.transpose(0, 2, 3, 1) + 128, 0, 255).astype(np.uint8)
            images[at : at + _BATCH] = batch
        return images

    def sample(self, n: int, seed: int = 0, label: LabelRequest = None, start: int = 0) -> Images:
        """The images `start` … `start + n - 1` of a seed: uint8 [n, height, width, channels].

        Image `i` of a seed is the same however it is asked for. `label` is a name (any unambiguous part, any case:
        `"blond"`, `"not-blond"`, `"blond,smiling"`), a list of such names, one an image, or vectors [k] or [n, k];
        what it leaves open is drawn as often as the data has it.

        Raises:
            UsageError: n below 1, or a seed that cannot be.
            LabelError: a label that the model does not have.
        """
        try:
            return self(*self.inputs(n, seed, label, start))
        except MemoryError:
            raise UsageError(f"{n} images do not fit into memory at once; take them from stream()") from None

    def inputs(
        self, n: int, seed: int = 0, label: LabelRequest = None, start: int = 0
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """What `sample` puts into the network: z [n, z_dim], and the label vectors [n, k] or None."""
        if not isinstance(n, int | np.integer) or n < 1:
            raise UsageError(f"the number of images must be a whole number of at least 1, not {n!r}")
        return latents(seed, start, n, self.card.z_dim), self._vectors(label, seed, start, n)

    def stream(self, n: int, seed: int = 0, label: LabelRequest = None, batch: int = _BATCH) -> Iterator[Images]:
        """The same images as `sample(n, seed, label)` in batches: constant memory, the next one computed meanwhile.

        Yields:
            uint8 [batch, height, width, channels]; the last one may be shorter.
        """
        if n < 1 or batch < 1:
            raise UsageError(f"the numbers of images and of a batch must be at least 1, not {n} and {batch}")
        each: Any = label if one_for_each(label) else None
        if each is not None and len(each) != n:
            raise LabelError(f"{len(each)} labels were given for {n} images; give one for all, or one for each")
        if each is None:
            self._vectors(label, seed, 0, 1)  # a label that does not exist is told now and not at the first batch

        def make(start: int) -> Images:
            stop = min(start + batch, n)
            return self.sample(stop - start, seed, label if each is None else each[start:stop], start)

        def batches() -> Iterator[Images]:
            with ThreadPoolExecutor(1) as worker:
                ahead = worker.submit(make, 0)
                for start in range(batch, n, batch):
                    ready, ahead = ahead, worker.submit(make, start)
                    yield ready.result()
                yield ahead.result()

        return batches()

    def interpolate(
        self, seeds: Sequence[int], frames: int = 60, loop: bool = False, label: LabelRequest = None
    ) -> Images:
        """A walk on the sphere through the first image of each seed: uint8 [frames, height, width, channels].

        With `loop` it goes on back to the first one and ends a step before it. What `label` leaves open is what each
        of those images has, blended on the way between them.

        Raises:
            UsageError: fewer than two seeds, or fewer frames than seeds.
        """
        if len(seeds) < 2 or frames < len(seeds):
            raise UsageError(
                f"an interpolation needs two seeds or more and a frame for each, not {len(seeds)} and {frames}"
            )
        stops = [latents(seed, 0, 1, self.card.z_dim)[0] for seed in [*seeds, *(seeds[:1] if loop else [])]]
        at = np.linspace(0, len(stops) - 1, frames, endpoint=not loop)
        leg = np.minimum(at.astype(int), len(stops) - 2)
        z = np.concatenate([slerp(stops[i], stops[i + 1], at[leg == i] - i) for i in range(len(stops) - 1)])
        vectors = [v for seed in [*seeds, seeds[0]] if (v := self._vectors(label, seed, 0, 1)) is not None]
        if not vectors:
            return self(z)
        labels = np.concatenate(vectors)
        weight = (at - leg)[:, None]
        return self(z, (1 - weight) * labels[leg] + weight * labels[leg + 1])

    def compare_labels(self, n: int, seed: int = 0, labels: Sequence[str] | None = None) -> Images:
        """The same n latents under each label: uint8 [labels, n, height, width, channels].

        `labels` are requests as for `sample`; None takes each name of the model. What they leave open is the same in
        every row, so that only what was asked for changes.
        """
        if not self.labels:
            raise LabelError("this model was trained without labels: there is nothing to compare")
        return np.stack([self.sample(n, seed, label) for label in (self.labels if labels is None else labels)])

    def _vectors(self, label: LabelRequest, seed: int, start: int, n: int) -> NDArray[np.float32] | None:
        if self.card.labels:
            return self.card.labels.vectors(label, seed, start, n)
        if label is not None:
            raise LabelError(f"this model was trained without labels: {label!r} cannot be asked for")
        return None


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


def _card(session: Any, name: str) -> Card:
    """The card in the file, which must agree with its shapes; without one, such as in another tool's file, the shapes.

    Raises:
        ModelError: the inputs and outputs are not the contract's, or not what the card says.
    """
    inputs, outputs = session.get_inputs(), session.get_outputs()
    found = ", ".join(f"{value.name} {value.type} {value.shape}" for value in [*inputs, *outputs])
    fits = len(inputs) in (1, 2) and len(outputs) == 1 and all(i.type == "tensor(float)" for i in inputs)
    fits = fits and all(len(i.shape) == 2 and isinstance(i.shape[1], int) for i in inputs)
    fits = fits and len(outputs[0].shape) == 4 and outputs[0].type in ("tensor(uint8)", "tensor(float)")
    if not fits or not all(isinstance(edge, int) for edge in outputs[0].shape[1:]):
        raise ModelError(
            f"{name} does not fit gankit's contract, z [n, z_dim] and maybe label [n, k] → images; it has {found}"
        )
    if isinstance(inputs[0].shape[0], int):
        raise ModelError(f"{name} takes batches of {inputs[0].shape[0]} only; export it with a dynamic batch axis")
    output: Literal["uint8", "float"] = "uint8" if outputs[0].type == "tensor(uint8)" else "float"
    size = outputs[0].shape[1:]
    height, width, channels = size if output == "uint8" else (size[1], size[2], size[0])
    k = inputs[1].shape[1] if len(inputs) == 2 else 0
    labels = Labels(tuple(map(str, range(k))), "classes", (1 / k,) * k, (tuple(range(k)),)) if k else None
    plain = Card(Path(name).stem or "model", height, width, channels, inputs[0].shape[1], labels, output=output)
    text = session.get_modelmeta().custom_metadata_map.get(KEY)
    if text is None:
        return plain
    card = Card.from_json(text)
    for each in ("height", "width", "channels", "z_dim", "output"):
        if getattr(card, each) != getattr(plain, each):
            raise ModelError(f"{name} has a card that says {each} {getattr(card, each)}, but the graph has {found}")
    if (len(card.labels.names) if card.labels else 0) != k:
        raise ModelError(
            f"{name} has a card with {card.labels and len(card.labels.names)} labels, but the graph has {found}"
        )
    return card
