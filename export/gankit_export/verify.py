"""Verification: a file and the network that it came from get the same latents, and every pixel is compared.

Errors are in grey levels: black is 0, white is 255. The network's values are compared before they are rounded to uint8,
and the rounding itself, of up to half a grey level, does not count as an error.
"""

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
from gankit_export.formats import Runner
from gankit_export.graph import to_grey_levels

TOLERANCES = {"float32": 0.02, "compact": 1.0, "float16": 4.0}
"""The largest error of a pixel that is accepted on the CPU, in grey levels, by precision.

float32 only differs in the order of its arithmetic: by 0.001 at most in the networks of this project. float16 weights
were off by up to 0.4; float16 arithmetic by up to 0.4 in ONNX Runtime and 2.1 in PyTorch, which sums in float16 on a
CPU. A wrong layer is off by tens.
"""
CUDA_TOLERANCE = 2.0
"""The least tolerance on CUDA, in grey levels: tensor cores compute float32 as TF32, with a mantissa of 10 bits."""
_MEAN_SHARE = 10
"""The mean error may be this many times smaller than the tolerance: rounding errors cancel out, other errors do not."""

_BATCH_SIZES = (1, 7, 64)
_FAR = 4
"""The far latents are this many times larger than N(0, 1): users can pass any numbers."""
_SEED = 2**63
"""A seed of latents that users are unlikely to take."""
_TIMED_RUNS, _TIMED_SECONDS = 3, 2.0

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class VerificationResult:
    """How far the images of a file are from those of the network on one device. Errors are in grey levels, 0 to 255."""

    device: str
    """`cpu` or `cuda`."""
    images: int
    """The number of images compared."""
    max_error: float
    """The largest error of a pixel."""
    mean_error: float
    """The mean error of all pixels."""
    tolerance: float
    """The largest error that was accepted."""
    identical_bytes: float
    """The share of pixel values, as uint8, that equal those of the network in float32: 0 to 1."""
    images_per_s: float | None
    """Speed in batches of 64, the median of three; a rough figure. None if it was not measured."""


@dataclass(frozen=True)
class Case:
    """A batch that is compared."""

    name: str
    z: NDArray[np.float32]
    """[n, z_dim]."""
    label: NDArray[np.float32] | None
    """[n, k]; None for unconditional generators."""


def verification_cases(card: Card) -> Iterator[Case]:
    """Batches of several sizes with random labels, far latents, each label alone, and a blend of all labels."""
    labels = card.labels
    for i, n in enumerate(_BATCH_SIZES):
        z = latents(_SEED + i, 0, n, card.z_dim)
        yield Case(f"batch of {n}", z, labels.vectors(None, _SEED, 0, n) if labels else None)
    z = np.float32(_FAR) * latents(_SEED + len(_BATCH_SIZES), 0, 7, card.z_dim)
    yield Case("latents far from 0", z, labels.vectors(None, _SEED, 0, 7) if labels else None)
    if labels:
        k = len(labels.names)
        for i, vector in enumerate(np.eye(k, dtype=np.float32)):
            z = latents(_SEED, 100 + 7 * i, 7, card.z_dim)
            yield Case(f"label {labels.names[i]}", z, np.repeat(vector[None], 7, axis=0))
        blend = np.full((7, k), 1 / k, np.float32)
        yield Case("blend of all labels", latents(_SEED, 50, 7, card.z_dim), blend)


class Reference:
    """What the network computes on every case, on the CPU, in float64 and in float32. All files are compared with it.

    Args:
        network: z [n, z_dim] and label [n, k] or None → images [n, channels, height, width].
        card: says what the latents and labels are.
        value_range: the network's values for black and white.
    """

    def __init__(self, network: nn.Module, card: Card, value_range: tuple[float, float]) -> None:
        self.cases = list(verification_cases(card))
        float32 = [_grey_levels(network, case, value_range, torch.float32) for case in self.cases]
        self.bytes = [np.clip(values, 0, 255).astype(np.uint8) for values in float32]
        """uint8 [n, height, width, channels] for each case, from float32."""
        try:
            float64, self.precision = deepcopy(network).double(), "float64"
            self.grey_levels = [_grey_levels(float64, case, value_range, torch.float64) for case in self.cases]
            """[n, height, width, channels] for each case, neither rounded nor clipped; see `to_grey_levels`."""
        except RuntimeError:  # the module itself makes float32 tensors
            self.grey_levels, self.precision = float32, "float32"


@torch.no_grad()
def _grey_levels(network: nn.Module, case: Case, value_range: tuple[float, float], dtype: torch.dtype) -> Floats:
    label = None if case.label is None else torch.from_numpy(case.label).to(dtype)
    images = to_grey_levels(network(torch.from_numpy(case.z).to(dtype), label), *value_range)
    values: Floats = images.permute(0, 2, 3, 1).numpy()
    return values


def verify(
    runner: Runner, reference: Reference, card: Card, device: str = "cpu", *, measure_speed: bool = True
) -> VerificationResult:
    """Compares a file with the network on every case.

    Args:
        runner: runs the file.
        reference: what the network computes.
        card: the file's card: its image size, output and precision.
        device: where `runner` computes; the tolerance depends on it.
        measure_speed: whether to measure images/s too.

    Raises:
        GankitError: the file fails, makes another shape or dtype than the contract has, or is out of tolerance. The
            message names the case, the image, the pixel and both values.
    """
    tolerance = max(TOLERANCES[card.precision], CUDA_TOLERANCE if device != "cpu" else 0)
    worst, total, different, count = 0.0, 0.0, 0, 0
    for case, expected, expected_bytes in zip(reference.cases, reference.grey_levels, reference.bytes, strict=True):
        actual, errors = _compare(_run_case(runner, case, card, device), expected, card)
        _check_pixels(case, actual, expected, errors, card, device, tolerance)
        worst, total = max(worst, float(errors.max())), total + float(errors.sum())
        different += int((np.clip(actual, 0, 255).astype(np.uint8) != expected_bytes).sum())
        count += actual.size
    if total / count > tolerance / _MEAN_SHARE:
        raise GankitError(
            f"the exported file computes something else on {device}: its pixels are off by {total / count:.3g} grey "
            f"levels on average, more than {tolerance / _MEAN_SHARE}"
        )
    return VerificationResult(
        device=device,
        images=sum(len(case.z) for case in reference.cases),
        max_error=round(worst, 6),
        mean_error=round(total / count, 8),
        tolerance=tolerance,
        identical_bytes=1 - different / count,
        images_per_s=round(_images_per_s(runner, reference), 1) if measure_speed else None,
    )


def _run_case(runner: Runner, case: Case, card: Card, device: str) -> NDArray[Any]:
    """The file's images of a case. Raises GankitError if it fails, or if shape or dtype are wrong."""
    try:
        images = runner(case.z, case.label)
    except Exception as error:  # each runtime has exceptions of its own
        raise GankitError(f"{case.name}: the exported file fails on {device}: {one_line(error)}") from error
    dtype, shape = "uint8", [len(case.z), card.height, card.width, card.channels]
    if card.output == "float":
        dtype, shape = "float32", [len(case.z), card.channels, card.height, card.width]
    if images.dtype != dtype or list(images.shape) != shape:
        raise GankitError(
            f"{case.name}: the exported file makes {images.dtype} {list(images.shape)} instead of {dtype} {shape}"
        )
    return images


def _compare(images: NDArray[Any], expected: Floats, card: Card) -> tuple[NDArray[Any], Floats]:
    """The file's grey levels and the error of each, both [n, height, width, channels]."""
    if card.output == "uint8":
        # The byte b stands for all values from b to b + 1; the error is the distance to that interval.
        return images, np.maximum(np.abs(images + 0.5 - np.clip(expected, 0, 255)) - 0.5, 0)
    actual = 127.5 * images.astype(np.float64).transpose(0, 2, 3, 1) + 128
    return actual, np.abs(actual - np.clip(expected, 0.5, 255.5))


def _check_pixels(
    case: Case, actual: NDArray[Any], expected: Floats, errors: Floats, card: Card, device: str, tolerance: float
) -> None:
    """Raises GankitError if the largest error is NaN or above the tolerance."""
    n, y, x, channel = at = np.unravel_index(int(errors.argmax()), errors.shape)
    if errors[at] <= tolerance:
        return
    label = f" with label {_label_text(card, case.label[n])}" if case.label is not None else ""
    raise GankitError(
        f"{case.name}: the exported file computes something else on {device}: image {n}{label}, pixel ({x}, {y}), "
        f"channel {channel} is {actual[at]:.4g} instead of {expected[at]:.3f}, more than {tolerance} grey levels apart"
    )


def _label_text(card: Card, vector: NDArray[np.float32]) -> str:
    """A label vector in the form in which gan-gen takes it."""
    names = card.labels.names if card.labels else ()
    return ",".join(n if w == 1 else f"{n}={w:.2g}" for n, w in zip(names, vector, strict=True) if w) or "none"


def _images_per_s(runner: Runner, reference: Reference) -> float:
    case = max(reference.cases, key=lambda case: len(case.z))
    seconds: list[float] = []
    while len(seconds) < _TIMED_RUNS and sum(seconds) < _TIMED_SECONDS:
        begin = time.perf_counter()
        runner(case.z, case.label)
        seconds.append(time.perf_counter() - begin)
    return len(case.z) / median(seconds)
