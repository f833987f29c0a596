"""Latents that depend on a seed and an image number and on nothing else.

NumPy promises that a bit generator's raw words never change, but not that `Generator.standard_normal` keeps its
stream, and `log`, `sin` and `cos` differ in the last bit between processors. So the normals are made here, from raw
Philox words (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011) by the transform of Box and Muller
("A note on the generation of random normal deviates", 1958), with logarithm, sine and cosine as polynomials over
additions, multiplications and divisions, which IEEE 754 rounds the same way everywhere.
"""

import math
import threading
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gankit._errors import UsageError

Floats = NDArray[np.float64]

_STREAMS = {"latents": 0, "labels": 1}
_WORDS_PER_BLOCK = 4  # Philox 4x64 makes four 64-bit words for each value of its counter
_WORD = (1 << 64) - 1
# Of a Philox before its first word.
_NOTHING_LEFT: Any = {"buffer": np.zeros(4, np.uint64), "buffer_pos": _WORDS_PER_BLOCK, "has_uint32": 0, "uinteger": 0}

# Of power series, lowest power first: artanh(x) / x in x², cos(x) in x², sin(x) / x in x².
_SERIES = np.array(
    [(1 / (2 * n + 1), (-1) ** n / math.factorial(2 * n), (-1) ** n / math.factorial(2 * n + 1)) for n in range(8)]
)[:, :, None, None]
# After 0 to 4 quarters of a turn: whether cosine and sine have changed places, and their signs.
_SWAPPED = np.array([False, True, False, True, False])
_SIGNS = np.array([[1.0, -1.0, -1.0, 1.0, 1.0], [1.0, 1.0, -1.0, -1.0, 1.0]])
_MANTISSA_BITS = 52
_HALF_ROOT = np.float64(math.sqrt(0.5)).view(np.int64)


def latents(seed: int, start: int, count: int, dim: int) -> NDArray[np.float32]:
    """The latents of the images `start` … `start + count - 1` of a seed: float32 [count, dim], N(0, 1).

    Row `i` depends on `seed`, `start + i` and `dim` alone, bit for bit, on every machine:

    >>> bool((latents(0, 5, 1, 100) == latents(0, 0, 64, 100)[5]).all())
    True

    Raises:
        UsageError: a negative seed, start or count, a seed of more than 64 bits, or a dim below 1.
    """
    if dim < 1:
        raise UsageError(f"a latent needs at least one dimension, not {dim}")
    pairs = -(-dim // 2)
    u = uniforms("latents", seed, start, count, 2 * pairs)
    normals = _box_muller(1.0 - u[:, :pairs], u[:, pairs:])  # 1 - u is in (0, 1], where the logarithm is finite
    return np.concatenate(normals, axis=1)[:, :dim].astype(np.float32)


def uniforms(stream: Literal["latents", "labels"], seed: int, start: int, count: int, dim: int) -> Floats:
    """Numbers in [0, 1) for images of a seed: float64 [count, dim], multiples of 2^-53, row by row independent.

    Streams of different names never meet: the name is the second half of Philox's key.

    Raises:
        UsageError: a negative seed, start or count, or a seed of more than 64 bits.
    """
    check_place(seed, start, count)
    blocks = -(-dim // _WORDS_PER_BLOCK)
    words = _philox(seed, _STREAMS[stream], start * blocks).random_raw(count * blocks * _WORDS_PER_BLOCK)
    rows = np.asarray(words, dtype=np.uint64).reshape(count, blocks * _WORDS_PER_BLOCK)[:, :dim]
    return (rows >> np.uint64(11)).astype(np.float64) * 2.0**-53


_OWN = threading.local()


def _philox(seed: int, stream: int, counter: int) -> np.random.Philox:
    """This thread's one, set there: a new one would first ask the system for a seed that nobody wants."""
    try:
        philox: np.random.Philox = _OWN.philox
    except AttributeError:
        philox = _OWN.philox = np.random.Philox(0)
    words = [counter >> shift & _WORD for shift in (0, 64, 128, 192)]
    place = {"counter": np.array(words, np.uint64), "key": np.array([seed, stream], np.uint64)}
    philox.state = _NOTHING_LEFT | {"bit_generator": "Philox", "state": place}
    return philox


def check_place(seed: int, start: int, count: int) -> None:
    """Raises UsageError where there are no such images: they are counted from 0 to 2^64 - 1, and so are seeds."""
    if not all(isinstance(value, int | np.integer) for value in (seed, start, count)):
        raise UsageError(f"seed, start and count are whole numbers, not {seed!r}, {start!r} and {count!r}")
    if not 0 <= seed < 2**64:
        raise UsageError(f"a seed is a whole number from 0 to 2^64 - 1, not {seed}")
    if not 0 <= start < 2**64 or count < 0:
        raise UsageError(f"images are counted from 0 to 2^64 - 1: start {start} and count {count} cannot be had")


def slerp(a: ArrayLike, b: ArrayLike, t: ArrayLike) -> NDArray[np.float32]:
    """Spherical interpolation from `a` to `b`, both [dim], at the fractions `t` [n]: float32 [n, dim].

    Shoemake, "Animating rotation with quaternion curves" (1985), for any dimension. The straight line between two
    normal latents passes through points of much smaller norm than the network was trained on; the arc does not. The
    angle is taken between the directions, so vectors of different lengths are fine; nearly parallel ones are
    interpolated in a straight line, where both agree.
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
    """Independent normals of pairs of uniforms, u in (0, 1] and v in [0, 1), both [n, pairs]: [2, n, pairs].

    √(-2 log u) times the cosine and the sine of 2πv, to 1e-12: u = m·2^e with log m = 2 artanh((m - 1) / (m + 1)), and
    sine and cosine within an eighth of a turn, then by quadrant. Of one image it is the calls that take time, so there
    are as few as can be: the three series at once by Horner's rule, both normals at once after it.
    """
    bits = u.view(np.int64)
    exponent = (bits - _HALF_ROOT) >> _MANTISSA_BITS  # so that m is from √½ to √2
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
    which = quadrant.astype(np.intp)
    normals: Floats = np.where(_SWAPPED[which], series[:0:-1], series[1:])
    normals *= _SIGNS.take(which, axis=1)
    normals *= radius
    return normals
