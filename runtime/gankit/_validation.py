"""Checks of arguments: counts, latents, label vectors and output arrays."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gankit._backends.base import Inputs
from gankit._card import Card
from gankit._errors import LabelError, UsageError
from gankit._images import Images

_MAX_IMAGES = 1 << 40  # beyond it, NumPy raises other errors than MemoryError


def check_count(name: str, value: int) -> int:
    """Returns a count as a Python integer, also when it is NumPy's; `name` is for the error.

    Raises:
        UsageError: it is not a whole number of at least 1.
    """
    if not isinstance(value, int | np.integer) or value < 1:
        raise UsageError(f"{name} must be a whole number of at least 1, not {value!r}")
    return int(value)


def check_n(n: int) -> int:
    """Returns a number of images as a Python integer.

    Raises:
        UsageError: it is not a whole number of at least 1, or no memory could hold so many images.
    """
    n = check_count("n", n)
    if n > _MAX_IMAGES:
        raise too_many(n)
    return n


def too_many(n: int) -> UsageError:
    """The error for a number of images that memory cannot hold."""
    return UsageError(f"{n} images do not fit into memory at once; get them in batches from stream()")


def check_array(values: ArrayLike, name: str, width: int) -> NDArray[np.float32]:
    """Converts numbers to float32 [n, width]; `name` is for the error.

    Raises:
        UsageError: they are not finite numbers of this shape.
    """
    try:
        array = np.asarray(values, np.float32)
    except (TypeError, ValueError):
        raise UsageError(f"{name} must be numbers [n, {width}], not {values!r}") from None
    if array.ndim != 2 or array.shape[1] != width or not len(array):
        raise UsageError(f"{name} must be [n, {width}] with n of at least 1, not {list(array.shape)}")
    if not np.isfinite(array).all():
        raise UsageError(f"{name} must be finite, but has NaN or Inf")
    return array


def check_inputs(card: Card, z: ArrayLike, label: ArrayLike | None) -> Inputs:
    """Converts latents and label vectors to the inputs of the network.

    Raises:
        UsageError: the shapes do not fit the model or each other, numbers are not finite, or the label is missing.
        LabelError: there is a label, but the model has none.
    """
    z = check_array(z, "z", card.z_dim)
    if card.labels is None:
        if label is not None:
            raise LabelError("this model has no labels; leave out label")
        return [z]
    k = len(card.labels.names)
    if label is None:
        raise UsageError(f"this model needs a label beside z: float32 [{len(z)}, {k}]")
    label = check_array(label, "label", k)
    if len(label) != len(z):
        raise UsageError(f"z has {len(z)} rows but label has {len(label)}; they must have the same number")
    return [z, label]


def truncate(z: NDArray[np.float32], truncation: float) -> NDArray[np.float32]:
    """Scales latents towards their mean, 0 (the truncation trick; StyleGAN's ψ).

    Raises:
        UsageError: `truncation` is not a finite number.
    """
    if not isinstance(truncation, int | float | np.integer | np.floating) or not math.isfinite(truncation):
        raise UsageError(f"truncation must be a number, such as 0.7 or 1 for none, not {truncation!r}")
    return z if truncation == 1 else np.float32(truncation) * z


def output_buffer(card: Card, n: int, out: Images | None) -> Images:
    """The array for n images: `out`, or a new one uint8 [n, height, width, channels].

    Raises:
        UsageError: `out` has another shape or dtype or is read-only, or the images do not fit into memory.
    """
    shape = (n, card.height, card.width, card.channels)
    if out is None:
        try:
            return np.empty(shape, np.uint8)
        except MemoryError:
            raise too_many(n) from None
    if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != np.uint8:
        found = f"{out.dtype} {list(out.shape)}" if isinstance(out, np.ndarray) else type(out).__name__
        raise UsageError(f"out must be an array uint8 {list(shape)}, not {found}")
    if not out.flags.writeable:
        raise UsageError("out must be writeable, but it is a read-only array")
    return out
