"""The proof: a file is run beside the network it came from, and every byte is compared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gankit.card import Card
from gankit.errors import GankitError, one_line
from gankit.latents import latents
from gankit_export.formats import Run
from gankit_export.graph import pixels

TOLERANCE = 0.02
"""How far, in steps of 1/255, float32 arithmetic in another order may lie from the network before rounding.

Rounding to bytes takes up to half a step by itself, which is not counted: a byte that is right has no error at all.
The generators here differ by 0.001 at most; a wrong layer is off by tens.
"""
_BATCHES = (1, 7, 64)
_SEED = 2**63  # latents that no user is likely to have looked at

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """One batch that is compared."""

    what: str
    z: Floats
    label: Floats | None


def cases(card: Card) -> Iterator[Case]:
    """Several batch sizes on fresh latents; with labels, each label alone, all kinds mixed, and a blend of all."""
    for i, n in enumerate(_BATCHES):
        z = latents(_SEED + i, 0, n, card.z_dim)
        yield Case(f"batch of {n}", z, card.labels.vectors(None, _SEED, 0, n) if card.labels else None)
    if card.labels:
        k = len(card.labels.names)
        for i, vector in enumerate(np.eye(k, dtype=np.float32)):
            z = latents(_SEED, 100 + 7 * i, 7, card.z_dim)
            yield Case(f"label {card.labels.names[i]}", z, np.repeat(vector[None], 7, axis=0))
        yield Case("a blend of all labels", latents(_SEED, 50, 7, card.z_dim), np.full((7, k), 1 / k, np.float32))


@torch.no_grad()
def verify(run: Run, network: nn.Module, card: Card, value_range: tuple[float, float] = (-1.0, 1.0)) -> dict[str, Any]:
    """Compares a file with the network on every case; returns what was measured, for the card.

    Args:
        run: runs the file.
        network: the generator as it was trained, in float32 on the CPU.
        card: what the file says of itself.
        value_range: what the network makes of black and white.

    Raises:
        GankitError: a shape or type that is not the contract's, or a byte out of tolerance: names the case, the image,
            the pixel and both values.
    """
    shape = (card.height, card.width, card.channels)
    images, worst, unequal = 0, 0.0, 0
    for case in cases(card):
        label = None if case.label is None else torch.from_numpy(case.label)
        exact = pixels(network(torch.from_numpy(case.z), label), *value_range).permute(0, 2, 3, 1).numpy()
        try:
            made = run(case.z, case.label)
        except Exception as error:  # whatever the runtime raises, the file does not do what it should
            raise GankitError(f"{case.what}: the exported file fails: {one_line(error)}") from error
        if made.dtype != np.uint8 or made.shape != (len(case.z), *shape):
            raise GankitError(
                f"{case.what}: the exported file makes {made.dtype} {list(made.shape)} "
                f"where uint8 {[len(case.z), *shape]} was due"
            )
        # A byte b stands for all values from b up to b + 1; the error is how far outside of them the network's lies.
        error_steps = np.maximum(np.abs(made + np.float32(0.5) - exact) - np.float32(0.5), 0)
        at = np.unravel_index(int(error_steps.argmax()), error_steps.shape)
        if not error_steps[at] <= TOLERANCE:
            raise GankitError(
                f"{case.what}: the exported file computes something else: image {at[0]}, pixel ({at[2]}, {at[1]}), "
                f"channel {at[3]} is {made[at]} where the network has {exact[at]:.3f}"
            )
        images, worst = images + len(case.z), max(worst, float(error_steps[at]))
        unequal += int((made != exact.astype(np.uint8)).sum())
    return {
        "against": "the network in float32 on the CPU",
        "images": images,
        "batches": list(_BATCHES),
        "labels": len(card.labels.names) if card.labels else 0,
        "largest_error_steps": round(worst, 6),
        "tolerance_steps": TOLERANCE,
        "equal_bytes": 1 - unequal / (images * int(np.prod(shape))),
    }
