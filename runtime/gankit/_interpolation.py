"""Paths through latent space, from stop to stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gankit._backends.base import Inputs
from gankit._card import Card
from gankit._errors import LabelError, UsageError
from gankit._labels import LabelRequest, is_per_image
from gankit._latents import slerp
from gankit._requests import Request, label_vectors
from gankit._validation import check_array, check_count, truncate

Mode = Literal["slerp", "lerp"]


def interpolation_inputs(
    card: Card,
    stops: Sequence[int] | ArrayLike,
    frames: int,
    loop: bool,
    label: LabelRequest,
    mode: Mode,
    truncation: float,
) -> Inputs:
    """The network inputs of an interpolation: z [frames, z_dim] and, for a conditional model, label [frames, k].

    The arguments and errors are those of `Generator.interpolate`.
    """
    if mode not in _PATHS:
        raise UsageError(f"mode must be {' or '.join(_PATHS)}, not {mode!r}")
    frames = check_count("frames", frames)
    seeds, z = _stops(card, stops, truncation)
    m = len(z)
    if m < 2:
        raise UsageError(f"an interpolation needs at least two stops, not {m}")
    if frames < m:
        raise UsageError(f"frames must be at least the number of stops, {m}, not {frames}")
    order = [*range(m), *([0] if loop else [])]
    position = np.linspace(0, len(order) - 1, frames, endpoint=not loop)
    leg = np.minimum(position.astype(int), len(order) - 2)
    path = _PATHS[mode]
    points = np.concatenate([path(z[a], z[b], position[leg == i] - i) for i, (a, b) in enumerate(pairwise(order))])
    vectors = _label_stops(card, label, seeds)
    if vectors is None:
        return [points]
    ends, weight = vectors[order], (position - leg)[:, None]
    return [points, np.asarray((1 - weight) * ends[leg] + weight * ends[leg + 1], np.float32)]


def _stops(card: Card, stops: Any, truncation: float) -> tuple[Sequence[int], NDArray[np.float32]]:
    """The seed of each stop, which determines what its label leaves open, and its latent."""
    try:
        m, are_seeds = len(stops), np.ndim(stops) == 1
    except (TypeError, ValueError):
        raise UsageError(f"the stops must be seeds or latents [m, z_dim], not {stops!r}") from None
    if not are_seeds:
        return range(m), truncate(check_array(stops, "the stops", card.z_dim), truncation)
    if not m:
        return stops, np.empty((0, card.z_dim), np.float32)
    first = (Request(card, 1, seed, None, 0, truncation).all_inputs()[0] for seed in stops)
    return stops, np.concatenate([*first])


def _label_stops(card: Card, label: LabelRequest, seeds: Sequence[int]) -> NDArray[np.float32] | None:
    """The label vector of each stop: [m, k]; None for an unconditional model."""
    each: Any = label if is_per_image(label) else [label] * len(seeds)
    if len(each) != len(seeds):
        raise LabelError(
            f"there are {len(each)} labels for {len(seeds)} stops; pass one for all stops, or one for each"
        )
    vectors = []
    for seed, one in zip(seeds, each, strict=True):
        row = label_vectors(card, one if np.ndim(one) == 0 else np.asarray([one]), seed, 0, 1)
        if row is not None:
            vectors.append(row)
    return np.concatenate(vectors) if vectors else None


def _lerp(a: ArrayLike, b: ArrayLike, t: ArrayLike) -> NDArray[np.float32]:
    """Linear interpolation from `a` to `b`, both [dim], at the fractions `t` [n]: float32 [n, dim]."""
    a, b, t = np.asarray(a, np.float64), np.asarray(b, np.float64), np.asarray(t, np.float64)[:, None]
    return np.asarray(a + t * (b - a), np.float32)


_PATHS: dict[str, Callable[[ArrayLike, ArrayLike, ArrayLike], NDArray[np.float32]]] = {"slerp": slerp, "lerp": _lerp}
