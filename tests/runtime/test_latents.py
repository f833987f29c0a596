import hashlib
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gankit
from gankit._latents import latents, slerp, uniforms


def test_the_stream_never_changes() -> None:
    # These numbers are fixed: a change would give every user other images for their seeds.
    first = [0.11655652, -0.6835324, 0.09819598, -0.29281077]
    assert latents(0, 0, 1, 4)[0].tolist() == np.array(first, np.float32).tolist()
    last = [0.59434456, 0.15245338, -0.3192179]
    assert latents(2**64 - 1, 2**40, 1, 3)[0].tolist() == np.array(last, np.float32).tolist()
    digest = hashlib.sha256(latents(42, 7, 1000, 100).astype("<f4").tobytes()).hexdigest()
    assert digest[:16] == "720cc4d3fe5d652b"


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**20), st.integers(0, 9), st.integers(1, 40), st.integers(0, 9))
def test_an_image_has_the_same_latent_in_any_batch(seed: int, start: int, n: int, dim: int, cut: int) -> None:
    whole = latents(seed, start, n + cut, dim)
    assert whole.shape == (n + cut, dim) and whole.dtype == np.float32
    parts = [latents(seed, start, cut, dim), *(latents(seed, start + cut + i, 1, dim) for i in range(n))]
    assert np.array_equal(whole, np.concatenate(parts))


def test_they_are_standard_normal() -> None:
    z = latents(3, 0, 20_000, 50).astype(np.float64)
    assert abs(z.mean()) < 0.005
    assert abs(z.std() - 1) < 0.005
    assert abs((z**4).mean() - 3) < 0.05
    # Kolmogorov–Smirnov test against the normal distribution; 1.95 / √n is the critical value for p = 0.001.
    ordered = np.sort(z.ravel())
    normal = 0.5 * (1 + np.vectorize(math.erf)(ordered[::100] / math.sqrt(2)))
    assert np.abs(normal - np.arange(0, ordered.size, 100) / ordered.size).max() < 1.95 / math.sqrt(ordered.size)
    neighbours = np.corrcoef(z[:, :10].T)
    assert np.abs(neighbours - np.eye(10)).max() < 0.03


def test_they_follow_box_and_muller() -> None:
    u = uniforms("latents", 9, 0, 500, 10)
    radius, angle = np.sqrt(-2 * np.log(1 - u[:, :5])), 2 * np.pi * u[:, 5:]
    expected = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    np.testing.assert_allclose(latents(9, 0, 500, 10), expected, rtol=2e-7, atol=1e-9)


def test_streams_and_seeds_differ() -> None:
    assert not np.array_equal(uniforms("latents", 1, 0, 1, 8), uniforms("labels", 1, 0, 1, 8))
    assert not np.array_equal(latents(1, 0, 1, 8), latents(2, 0, 1, 8))


def test_slerp_stays_on_the_sphere_between_its_ends() -> None:
    a, b = latents(0, 0, 2, 100)
    path = slerp(a, b, np.linspace(0, 1, 11))
    np.testing.assert_allclose(path[[0, -1]], [a, b], atol=1e-6)
    unit_a, unit_b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    unit = slerp(unit_a, unit_b, np.linspace(0, 1, 11))
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)
    steps = np.linalg.norm(np.diff(unit, axis=0), axis=1)
    np.testing.assert_allclose(steps, steps[0], atol=1e-6)
    assert np.array_equal(slerp(a, a, [0.5])[0], a)


@pytest.mark.parametrize("arguments", [(-1, 0, 1, 4), (2**64, 0, 1, 4), (0, -1, 1, 4), (0, 0, -1, 4), (0, 0, 1, 0)])
def test_unusable_values_are_refused(arguments: tuple[int, int, int, int]) -> None:
    with pytest.raises(gankit.UsageError):
        latents(*arguments)
