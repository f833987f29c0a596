"""Embedding a generator in an application: output arrays, truncation, interpolation, threads and processes."""

import multiprocessing
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gankit
from tests.helpers.images import close
from tests.helpers.models import foreign_model
from tests.helpers.paths import TINY


@pytest.fixture
def tiny() -> Iterator[gankit.Generator]:
    with gankit.load(TINY, device="cpu") as generator:
        yield generator


# Output arrays


def test_images_go_into_an_array_of_the_caller(tiny: gankit.Generator) -> None:
    out = np.empty((20, 8, 8, 3), np.uint8)
    for seed in (1, 2):
        assert tiny.sample(20, seed=seed, out=out) is out
        assert np.array_equal(out, tiny.sample(20, seed=seed))
    z, label = tiny.inputs(5, seed=3)
    every_other = np.zeros((10, 8, 8, 3), np.uint8)
    tiny(z, label, out=every_other[::2])
    assert np.array_equal(every_other[::2], tiny.sample(5, seed=3)) and not every_other[1::2].any()


def test_results_are_not_overwritten_by_the_next_call(tiny: gankit.Generator) -> None:
    first = tiny.sample(3, seed=1)
    before = first.copy()
    tiny.sample(3, seed=2)
    assert np.array_equal(first, before)


# Truncation


def test_truncation_scales_the_latents_and_nothing_else(tiny: gankit.Generator) -> None:
    z, label = tiny.inputs(9, seed=4)
    half, same = tiny.inputs(9, seed=4, truncation=0.5)
    assert same is not None and label is not None
    np.testing.assert_allclose(half, 0.5 * z, rtol=1e-6)
    assert np.array_equal(same, label)
    assert np.array_equal(tiny.sample(9, seed=4, truncation=0.5), tiny(half, label))
    assert np.array_equal(tiny.sample(9, seed=4, truncation=1), tiny.sample(9, seed=4))
    mean = tiny.sample(9, seed=4, label=[1, 0, 0], truncation=0)
    assert (mean == mean[0]).all()
    streamed = np.concatenate(list(tiny.stream(9, seed=4, batch=8, truncation=0.5)))
    assert np.array_equal(streamed, tiny.sample(9, seed=4, truncation=0.5))


# Interpolation


def test_an_interpolation_between_latents_passes_through_them(tiny: gankit.Generator) -> None:
    z, _ = tiny.inputs(3, seed=6)
    blond = np.tile(np.float32([1, 0, 0]), (3, 1))
    modes: list[Literal["slerp", "lerp"]] = ["slerp", "lerp"]
    for mode in modes:
        frames = tiny.interpolate(z, frames=9, label=[1, 0, 0], mode=mode)
        assert close(frames[[0, 4, 8]], tiny(z, blond))
    middle = tiny.interpolate(z[:2], frames=3, label=[1, 0, 0], mode="lerp")[1:2]
    assert close(middle, tiny((z[:1] + z[1:2]) / 2, blond[:1]))
    assert close(tiny.interpolate(z[:2], frames=3, label=[1, 0, 0], truncation=0.5)[:1], tiny(0.5 * z[:1], blond[:1]))
    assert not close(tiny.interpolate(z[:2], frames=3, label=[1, 0, 0])[1:2], middle)


def test_labels_are_blended_on_the_way(tiny: gankit.Generator) -> None:
    z, _ = tiny.inputs(1, seed=5)
    path = [{"blond": 1, "smiling": 0}, {"black": 1, "smiling": 1}]
    for loop in (False, True):
        frames = tiny.interpolate(np.repeat(z, 2, 0), frames=4 if loop else 3, loop=loop, label=path)
        assert close(frames[:1], tiny(z, [[1, 0, 0]]))
        at = 2 if loop else 1
        assert close(frames[at : at + 1], tiny(z, [[0, 1, 1]] if loop else [[0.5, 0.5, 0.5]]))
    assert close(frames[3:], tiny(z, [[0.5, 0.5, 0.5]]))  # half the way back
    vectors = tiny.interpolate([1, 2], frames=3, label=np.eye(3)[:2])
    assert close(vectors, tiny.interpolate([1, 2], frames=3, label=[[1, 0, 0], [0, 1, 0]]))


def test_a_grid_contains_the_samples(tiny: gankit.Generator) -> None:
    grid = tiny.grid(5, seed=2, label="blond", columns=2, start=3, truncation=0.7)
    assert np.array_equal(grid, gankit.grid(tiny.sample(5, seed=2, label="blond", start=3, truncation=0.7), columns=2))


# Splits: batches, threads, processes

WHOLE = gankit.load(TINY, device="cpu", threads=1).sample(60, seed=3)
WORKERS = {threads: gankit.load(TINY, device="cpu", threads=threads) for threads in (1, 2, 3)}


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 59).flatmap(lambda start: st.tuples(st.just(start), st.integers(1, 60 - start))),
    st.integers(1, 60),
    st.sampled_from([1, 2, 3]),
)
def test_any_split_over_batches_and_threads_gives_the_same_images(
    part: tuple[int, int], batch: int, threads: int
) -> None:
    start, n = part
    generator = WORKERS[threads]
    z, _ = generator.inputs(n, seed=3, start=start)
    assert np.array_equal(z, WORKERS[1].inputs(60, seed=3)[0][start : start + n])
    assert close(generator.sample(n, seed=3, start=start), WHOLE[start : start + n])
    streamed = np.concatenate(list(generator.stream(n, seed=3, batch=batch, start=start)))
    assert close(streamed, WHOLE[start : start + n])


def _in_process(generator: gankit.Generator, start: int) -> tuple[Any, Any]:
    return generator.inputs(20, seed=3, start=start)[0], generator.sample(20, seed=3, start=start)


def test_spawned_processes_give_the_same_images(tiny: gankit.Generator) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        parts = pool.starmap(_in_process, [(tiny, start) for start in (0, 20, 40)])
    z, images = (np.concatenate(each) for each in zip(*parts, strict=True))
    assert np.array_equal(z, tiny.inputs(60, seed=3)[0]) and close(images, WHOLE)


def test_a_pickled_generator_is_opened_as_it_was() -> None:
    named = gankit.load(TINY, device="cpu", threads=2)
    copy = pickle.loads(pickle.dumps(named))
    assert (copy.card, copy.device) == (named.card, "cpu")
    assert copy._reopen is not None and named._reopen is not None and copy._reopen.args == named._reopen.args


def test_many_threads_may_share_a_generator(tiny: gankit.Generator) -> None:
    alone = [tiny.sample(n, seed=n) for n in range(1, 31)]
    with ThreadPoolExecutor(16) as threads:
        together = list(threads.map(lambda n: tiny.sample(n, seed=n), range(1, 31)))
    assert all(map(close, together, alone))


def test_float_images_are_converted_on_every_path() -> None:
    model = foreign_model("float", labels=False)
    with gankit.load(model, device="cpu", threads=2) as generator:
        images = generator.sample(70)
        z = generator.inputs(70)[0].reshape(70, 3, 5, 4).transpose(0, 2, 3, 1)
        assert images.dtype == np.uint8
        assert np.array_equal(images, np.clip(127.5 * z + 128, 0, 255).astype(np.uint8))
        assert np.array_equal(generator.sample(70, out=np.empty_like(images)), images)
        assert np.array_equal(np.concatenate(list(generator.stream(70, batch=9))), images)
        assert np.array_equal(generator.submit(70).result(), images)
        assert np.array_equal(generator.interpolate(generator.inputs(2)[0], frames=2), images[:2])
        assert np.array_equal(gankit.load(model, device="cpu", threads=1).sample(70), images)


def test_a_model_that_returns_another_number_of_images_is_an_error(
    tiny: gankit.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = SimpleNamespace(run=lambda names, values: [np.zeros((1, 8, 8, 3), np.uint8)])
    monkeypatch.setattr(tiny._live(), "session", session)
    monkeypatch.setattr(tiny._live(), "workers", 1)
    with pytest.raises(gankit.GankitError, match=r"the model's output has the shape \[1, 8, 8, 3\] instead of"):
        tiny.sample(2)
