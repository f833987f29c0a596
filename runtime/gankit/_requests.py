"""Requests for images by seed and label, and the network inputs that they stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gankit._backends.base import Inputs
from gankit._card import Card
from gankit._errors import LabelError
from gankit._labels import LabelRequest, is_per_image
from gankit._latents import check_position, latents
from gankit._validation import check_n, too_many, truncate


class Request:
    """The images `start` … `start + n - 1` of a seed, under a label. Threads may share it."""

    def __init__(self, card: Card, n: int, seed: int, label: LabelRequest, start: int, truncation: float) -> None:
        """The arguments are those of `Generator.sample`, after the model's card.

        Raises:
            UsageError: n, seed or start is not a usable number.
            LabelError: a sequence of labels has another length than n.
        """
        self.n = check_n(n)
        self._seed, self._start, _ = check_position(seed, start, self.n)
        self._card, self._label, self._truncation = card, label, truncation
        self._per_image = is_per_image(label)
        if self._per_image and len(label) != self.n:  # type: ignore[arg-type]
            raise LabelError(
                f"there are {len(label)} labels for {n} images; pass one for all images, or one for each"  # type: ignore[arg-type]
            )

    def inputs(self, part: slice) -> Inputs:
        """The network inputs of a slice of the images: z [m, z_dim] and, for a conditional model, label [m, k].

        Raises:
            UsageError: the truncation is not a finite number.
            LabelError: a label is unknown to the model, ambiguous or contradictory.
        """
        at, count = self._start + part.start, part.stop - part.start
        z = truncate(latents(self._seed, at, count, self._card.z_dim), self._truncation)
        label: Any = self._label
        vectors = label_vectors(self._card, label[part] if self._per_image else label, self._seed, at, count)
        return [z] if vectors is None else [z, vectors]

    def all_inputs(self) -> Inputs:
        """The network inputs of all images at once.

        Raises:
            UsageError: as `inputs`, or the inputs do not fit into memory.
            LabelError: as `inputs`.
        """
        try:
            return self.inputs(slice(0, self.n))
        except MemoryError:
            raise too_many(self.n) from None


def label_vectors(card: Card, label: LabelRequest, seed: int, start: int, n: int) -> NDArray[np.float32] | None:
    """The label vectors [n, k] of the images `start` … `start + n - 1` of a seed; None for an unconditional model.

    Raises:
        LabelError: the model has no labels but one is requested, or a label is unknown, ambiguous or contradictory.
    """
    if card.labels is not None:
        return card.labels.vectors(label, seed, start, n)
    if label is not None:
        raise LabelError(f"this model has no labels; leave out the label {label!r}")
    return None


T = TypeVar("T")


def prefetch(compute: Callable[[int], T], arguments: Sequence[int]) -> Iterator[T]:
    """Yields `compute` of each argument, and computes the next in a thread while the caller uses the current one."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as worker:
        ahead = worker.submit(compute, arguments[0])
        for argument in arguments[1:]:
            ready, ahead = ahead, worker.submit(compute, argument)
            yield ready.result()
        yield ahead.result()
