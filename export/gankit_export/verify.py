"""The proof: a file is run beside the network it came from, and every byte is compared."""

from __future__ import annotations

import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gankit._card import Card
from gankit._errors import GankitError, one_line
from gankit._latents import latents
from gankit_export.formats import Run
from gankit_export.graph import steps

TOLERANCES = {"float32": 0.02, "compact": 1.0, "float16": 4.0}
"""How far, in steps of 1/255, a file on the CPU may lie from the network before rounding.

Rounding to bytes takes up to half a step by itself, which is not counted: a byte that is right has no error at all.
For float32, that is arithmetic in another order: 0.001 at most in the generators here. Half weights were off by up to
0.4, half arithmetic by up to 0.4 in ONNX Runtime and 2.1 in PyTorch on a CPU, which sums in half as well. A wrong layer
is off by tens.
"""
GPU_TOLERANCE = 2.0
"""The same on a GPU, whose tensor cores multiply float32 as TF32, with 10 bits of mantissa."""

_BATCHES = (1, 7, 64)
_FAR = 4  # times as far from 0 as latents are: where somebody's own numbers may lead to
_SEED = 2**63  # latents that no user is likely to have looked at
_MEAN = 10  # how many times smaller than its largest error a file's mean error has to be
_TIMED_ROUNDS, _TIMED_SECONDS = 3, 2.0

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """One batch that is compared."""

    what: str
    z: Floats
    label: Floats | None


def cases(card: Card) -> Iterator[Case]:
    """Several batch sizes on fresh latents, latents far out; with labels, each alone, all kinds mixed, and a blend."""
    for i, n in enumerate(_BATCHES):
        z = latents(_SEED + i, 0, n, card.z_dim)
        yield Case(f"batch of {n}", z, card.labels.vectors(None, _SEED, 0, n) if card.labels else None)
    z = np.float32(_FAR) * latents(_SEED + len(_BATCHES), 0, 7, card.z_dim)
    yield Case("latents far out", z, card.labels.vectors(None, _SEED, 0, 7) if card.labels else None)
    if card.labels:
        k = len(card.labels.names)
        for i, vector in enumerate(np.eye(k, dtype=np.float32)):
            z = latents(_SEED, 100 + 7 * i, 7, card.z_dim)
            yield Case(f"label {card.labels.names[i]}", z, np.repeat(vector[None], 7, axis=0))
        yield Case("a blend of all labels", latents(_SEED, 50, 7, card.z_dim), np.full((7, k), 1 / k, np.float32))


class Reference:
    """What the network computes on every case, in float64 and in float32, worked out once for all files."""

    def __init__(self, network: nn.Module, card: Card, value_range: tuple[float, float]) -> None:
        self.cases = list(cases(card))
        plain = [_steps(network, case, value_range, torch.float32) for case in self.cases]
        self.bytes = [np.clip(values, 0, 255).astype(np.uint8) for values in plain]
        try:
            exact, self.precision = deepcopy(network).double(), "float64"
            self.steps = [_steps(exact, case, value_range, torch.float64) for case in self.cases]
            """Before rounding: [n, height, width, channels], where a byte is what truncation leaves."""
        except RuntimeError:  # a module that makes float32 numbers itself
            self.steps, self.precision = plain, "float32"


@torch.no_grad()
def _steps(
    network: nn.Module, case: Case, value_range: tuple[float, float], dtype: torch.dtype
) -> NDArray[np.floating[Any]]:
    label = None if case.label is None else torch.from_numpy(case.label).to(dtype)
    images = steps(network(torch.from_numpy(case.z).to(dtype), label), *value_range)
    values: NDArray[np.floating[Any]] = images.permute(0, 2, 3, 1).numpy()
    return values


def verify(run: Run, reference: Reference, card: Card, device: str = "cpu", timed: bool = True) -> dict[str, Any]:
    """Compares a file with the network on every case; returns what was measured.

    Args:
        run: runs the file.
        reference: what the network computes.
        card: what the file says of itself.
        device: where `run` computes; it decides the tolerance.
        timed: whether to measure the speed as well.

    Raises:
        GankitError: a shape or type that is not the contract's, or a value out of tolerance: names the case, the
            image, the pixel and both values.
    """
    shape = (card.height, card.width, card.channels)
    if card.output == "float":
        shape = (card.channels, card.height, card.width)
    dtype = np.uint8 if card.output == "uint8" else np.float32
    tolerance = max(TOLERANCES[card.precision], GPU_TOLERANCE if device != "cpu" else 0)
    worst, total, unequal, values = 0.0, 0.0, 0, 0
    for case, exact, rounded in zip(reference.cases, reference.steps, reference.bytes, strict=True):
        try:
            made: NDArray[Any] = run(case.z, case.label)
        except Exception as error:  # whatever the runtime raises, the file does not do what it should
            raise GankitError(f"{case.what}: the exported file fails on {device}: {one_line(error)}") from error
        if made.dtype != dtype or made.shape != (len(case.z), *shape):
            raise GankitError(
                f"{case.what}: the exported file makes {made.dtype} {list(made.shape)} "
                f"where {np.dtype(dtype)} {[len(case.z), *shape]} was due"
            )
        if card.output == "uint8":
            # A byte b stands for all values from b to b + 1; the error is how far outside the network's lies.
            exact = np.clip(exact, 0, 255)
            error_steps = np.maximum(np.abs(made + 0.5 - exact) - 0.5, 0)
        else:
            made, exact = 127.5 * made.astype(np.float64).transpose(0, 2, 3, 1) + 128, np.clip(exact, 0.5, 255.5)
            error_steps = np.abs(made - exact)
        at = np.unravel_index(int(error_steps.argmax()), error_steps.shape)
        if not error_steps[at] <= tolerance:
            label = f" under {_labels(card, case.label[at[0]])}" if case.label is not None else ""
            raise GankitError(
                f"{case.what}: the exported file computes something else on {device}: image {at[0]}{label}, "
                f"pixel ({at[2]}, {at[1]}), channel {at[3]} is {made[at]:.4g} where the network has {exact[at]:.3f}, "
                f"more than {tolerance} apart"
            )
        worst, total = max(worst, float(error_steps[at])), total + float(error_steps.sum())
        unequal, values = unequal + int((np.clip(made, 0, 255).astype(np.uint8) != rounded).sum()), values + made.size
    if total / values > tolerance / _MEAN:  # rounding errors fall both ways; what is off everywhere is something else
        raise GankitError(
            f"the exported file computes something else on {device}: its values are {total / values:.3g} steps off on "
            f"average, more than {tolerance / _MEAN}"
        )
    return {
        "device": device,
        "images": sum(len(case.z) for case in reference.cases),
        "max_error": round(worst, 6),
        "mean_error": round(total / values, 8),
        "tolerance": tolerance,
        "equal_bytes": 1 - unequal / values,
        "images_per_s": round(_speed(run, reference), 1) if timed else None,
    }


def _labels(card: Card, vector: Floats) -> str:
    """A label vector as one would ask for it."""
    names = card.labels.names if card.labels else ()
    return ",".join(n if w == 1 else f"{n}={w:.2g}" for n, w in zip(names, vector, strict=True) if w) or "no label"


def _speed(run: Run, reference: Reference) -> float:
    """Images a second in the largest batch, the median of a few; it says what to expect, and is no benchmark."""
    case = max(reference.cases, key=lambda case: len(case.z))
    seconds: list[float] = []
    while len(seconds) < _TIMED_ROUNDS and sum(seconds) < _TIMED_SECONDS:
        begin = time.perf_counter()
        run(case.z, case.label)
        seconds.append(time.perf_counter() - begin)
    return len(case.z) / median(seconds)
