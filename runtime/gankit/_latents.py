"""Latent vectors that depend only on a seed and an image number.

NumPy guarantees that the raw words of a bit generator never change, but not that `Generator.standard_normal` keeps its
stream; and `log`, `sin` and `cos` differ in the last bit between processors. So gankit makes its own normals: from raw
Philox words (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011) by the transform of Box and Muller
("A note on the generation of random normal deviates", 1958). Logarithm, sine and cosine are polynomials over additions,
multiplications and divisions, which IEEE 754 rounds the same way on every machine.
"""

import math
import threading
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gankit._errors import UsageError

Floats = NDArray[np.float64]

_STREAMS = {"latents": 0, "labels": 1}
_WORDS_PER_BLOCK = 4  # Philox 4x64 generates four 64-bit words for each value of its counter
_WORD = (1 << 64) - 1
# The state of a Philox generator whose buffer of words is empty.
_EMPTY_BUFFER: Any = {"buffer": np.zeros(4, np.uint64), "buffer_pos": _WORDS_PER_BLOCK, "has_uint32": 0, "uinteger": 0}

# Coefficients of power series, lowest power first: artanh(x) / x in x², cos(x) in x², sin(x) / x in x².
_SERIES = np.array(
    [(1 / (2 * n + 1), (-1) ** n / math.factorial(2 * n), (-1) ** n / math.factorial(2 * n + 1)) for n in range(8)]
)[:, :, None, None]
# After 0 to 4 quarter turns: whether cosine and sine have changed places, and their signs.
_SWAPPED = np.array([False, True, False, True, False])
_SIGNS = np.array([[1.0, -1.0, -1.0, 1.0, 1.0], [1.0, 1.0, -1.0, -1.0, 1.0]])
_MANTISSA_BITS = 52
_HALF_ROOT = np.float64(math.sqrt(0.5)).view(np.int64)


def latents(seed: int, start: int, count: int, dim: int) -> NDArray[np.float32]:
    """The latent vectors of the images `start` … `start + count - 1` of a seed: float32 [count, dim], N(0, 1).

    Row `i` depends only on `seed`, `start + i` and `dim`, and is bit-identical on every machine:

    >>> bool((latents(0, 5, 1, 100) == latents(0, 0, 64, 100)[5]).all())
    True

    Raises:
        UsageError: seed or start is not a whole number from 0 to 2^64 - 1, count is negative, or dim is below 1.
    """
    if not isinstance(dim, int | np.integer) or dim < 1:
        raise UsageError(f"dim must be a whole number of at least 1, not {dim!r}")
    dim = int(dim)
    pairs = -(-dim // 2)
    u = uniforms("latents", seed, start, count, 2 * pairs)
    normals = _box_muller(1.0 - u[:, :pairs], u[:, pairs:])  # 1 - u is in (0, 1], where the logarithm is finite
    return np.concatenate(normals, axis=1)[:, :dim].astype(np.float32)


def uniforms(stream: Literal["latents", "labels"], seed: int, start: int, count: int, dim: int) -> Floats:
    """Uniform numbers in [0, 1) for the images `start` … `start + count - 1` of a seed: float64 [count, dim].

    They are multiples of 2^-53, and each row depends only on its seed and image number. Streams of different names are
    independent: the name is the second half of Philox's key.

    Raises:
        UsageError: seed or start is not a whole number from 0 to 2^64 - 1, or count is negative.
    """
    seed, start, count = check_position(seed, start, count)
    blocks = -(-dim // _WORDS_PER_BLOCK)
    words = _philox(seed, _STREAMS[stream], start * blocks).random_raw(count * blocks * _WORDS_PER_BLOCK)
    rows = np.asarray(words, dtype=np.uint64).reshape(count, blocks * _WORDS_PER_BLOCK)[:, :dim]
    return (rows >> np.uint64(11)).astype(np.float64) * 2.0**-53


_THREAD = threading.local()


def _philox(seed: int, stream: int, counter: int) -> np.random.Philox:
    """This thread's Philox generator, set to a position; a new one would first ask the system for a random seed."""
    try:
        philox: np.random.Philox = _THREAD.philox
    except AttributeError:
        philox = _THREAD.philox = np.random.Philox(0)
    words = [counter >> shift & _WORD for shift in (0, 64, 128, 192)]
    position = {"counter": np.array(words, np.uint64), "key": np.array([seed, stream], np.uint64)}
    philox.state = _EMPTY_BUFFER | {"bit_generator": "Philox", "state": position}
    return philox


def check_position(seed: int, start: int, count: int) -> tuple[int, int, int]:
    """Returns a seed, an image number and a number of images as Python integers, also when they are NumPy's.

    Raises:
        UsageError: seed or start is not a whole number from 0 to 2^64 - 1, or count is negative or not whole.
    """
    for name, value, maximum in (("seed", seed, _WORD), ("start", start, _WORD), ("count", count, None)):
        if not isinstance(value, int | np.integer):
            raise UsageError(f"{name} must be a whole number, not {value!r}")
        if value < 0 or (maximum is not None and value > maximum):
            limits = "of at least 0" if maximum is None else "from 0 to 2^64 - 1"
            raise UsageError(f"{name} must be a whole number {limits}, not {value}")
    return int(seed), int(start), int(count)


def slerp(a: ArrayLike, b: ArrayLike, t: ArrayLike) -> NDArray[np.float32]:
    """Spherical linear interpolation from `a` to `b`, both [dim], at the fractions `t` [n]: float32 [n, dim].

    Shoemake, "Animating rotation with quaternion curves" (1985), in any dimension. The straight line between two normal
    latents passes through points of much smaller norm than the network was trained on; the arc does not. The angle is
    between the directions, so the vectors may have different lengths. Nearly parallel vectors are interpolated
    linearly, where both methods agree.
    """
    a, b, t = np.asarray(a, np.float64), np.asarray(b, np.float64), np.asarray(t, np.float64)[:, None]
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    cosine = float(np.clip(a @ b / lengths, -1.0, 1.0)) if lengths else 1.0
    angle = math.acos(cosine)
    if math.sin(angle) < 1e-6:
        path = a + t * (b - a)
    else:
        path = (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / math.sin(angle)
    return np.asarray(path, np.float32)


def _box_muller(u: Floats, v: Floats) -> Floats:
    """Independent normals from pairs of uniforms, u in (0, 1] and v in [0, 1), both [n, pairs]: [2, n, pairs].

    Computes √(-2 log u) times the cosine and the sine of 2πv, to 1e-12. The logarithm is that of u = m·2^e, with
    log m = 2 artanh((m - 1) / (m + 1)). Sine and cosine are computed within an eighth of a turn and then moved to their
    quadrant. For one image the number of NumPy calls determines the time, so the three series are evaluated together by
    Horner's rule, and then both normals together.
    """
    bits = u.view(np.int64)
    exponent = (bits - _HALF_ROOT) >> _MANTISSA_BITS  # so that m is between √½ and √2
    mantissa = (bits - (exponent << _MANTISSA_BITS)).view(np.float64)
    s = (mantissa - 1.0) / (mantissa + 1.0)
    turns = 4.0 * v
    quadrant = np.rint(turns)
    angle = (turns - quadrant) * (math.pi / 2)
    x = np.empty((3, *u.shape))
    np.multiply(s, s, out=x[0])
    x[1:] = angle * angle
    series = _SERIES[-1] * x
    for coefficient in _SERIES[-2:0:-1]:
        series += coefficient
        series *= x
    series += _SERIES[0]
    radius = np.sqrt(-2.0 * (exponent * math.log(2.0) + 2.0 * s * series[0]))
    series[2] *= angle
    quarter = quadrant.astype(np.intp)
    normals: Floats = np.where(_SWAPPED[quarter], series[:0:-1], series[1:])
    normals *= _SIGNS.take(quarter, axis=1)
    normals *= radius
    return normals
