"""What an app that embeds a generator relies on: arrays of its own, threads, processes, requests that are joined."""

import asyncio
import gc
import multiprocessing
import os
import pickle
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gankit
from gankit import _session as session
from tests.helpers.paths import TINY
from tests.runtime.test_generator import _foreign as foreign


@pytest.fixture
def tiny() -> Iterator[gankit.Generator]:
    with gankit.load(TINY, device="cpu") as generator:
        yield generator


def close(a: Any, b: Any) -> bool:
    return a.shape == b.shape and np.abs(a.astype(int) - b).max() <= 1


# Arrays of one's own


def test_images_go_into_an_array_of_the_caller(tiny: gankit.Generator) -> None:
    out = np.empty((20, 8, 8, 3), np.uint8)
    for seed in (1, 2):
        assert tiny.sample(20, seed, out=out) is out
        assert np.array_equal(out, tiny.sample(20, seed))
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


def test_psi_scales_the_latents_and_nothing_else(tiny: gankit.Generator) -> None:
    z, label = tiny.inputs(9, seed=4)
    half, same = tiny.inputs(9, seed=4, psi=0.5)
    assert same is not None and label is not None
    np.testing.assert_allclose(half, 0.5 * z, rtol=1e-6)
    assert np.array_equal(same, label)
    assert np.array_equal(tiny.sample(9, 4, psi=0.5), tiny(half, label))
    assert np.array_equal(tiny.sample(9, 4, psi=1), tiny.sample(9, 4))
    mean = tiny.sample(9, 4, [1, 0, 0], psi=0)
    assert (mean == mean[0]).all()
    assert np.array_equal(np.concatenate(list(tiny.stream(9, 4, batch=8, psi=0.5))), tiny.sample(9, 4, psi=0.5))


# Walks


def test_a_walk_between_latents_passes_through_them(tiny: gankit.Generator) -> None:
    z, _ = tiny.inputs(3, seed=6)
    blond = np.tile(np.float32([1, 0, 0]), (3, 1))
    for mode in ("slerp", "lerp"):
        frames = tiny.interpolate(z, frames=9, label=[1, 0, 0], mode=mode)
        assert close(frames[[0, 4, 8]], tiny(z, blond))
    middle = tiny.interpolate(z[:2], frames=3, label=[1, 0, 0], mode="lerp")[1:2]
    assert close(middle, tiny((z[:1] + z[1:2]) / 2, blond[:1]))
    assert close(tiny.interpolate(z[:2], frames=3, label=[1, 0, 0], psi=0.5)[:1], tiny(0.5 * z[:1], blond[:1]))
    assert not close(tiny.interpolate(z[:2], 3, label=[1, 0, 0])[1:2], middle)


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


def test_a_grid_is_the_samples_on_a_sheet(tiny: gankit.Generator) -> None:
    sheet = tiny.grid(5, seed=2, label="blond", columns=2, start=3, psi=0.7)
    assert np.array_equal(sheet, gankit.grid(tiny.sample(5, 2, "blond", start=3, psi=0.7), 2))


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
    streamed = np.concatenate(list(generator.stream(n, 3, batch=batch, start=start)))
    assert close(streamed, WHOLE[start : start + n])


def _in_a_process(generator: gankit.Generator, start: int) -> tuple[Any, Any]:
    return generator.inputs(20, 3, start=start)[0], generator.sample(20, 3, start=start)


def test_spawned_processes_give_the_same_images(tiny: gankit.Generator) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        parts = pool.starmap(_in_a_process, [(tiny, start) for start in (0, 20, 40)])
    z, images = (np.concatenate(each) for each in zip(*parts, strict=True))
    assert np.array_equal(z, tiny.inputs(60, 3)[0]) and close(images, WHOLE)


def test_a_pickled_generator_is_opened_as_it_was() -> None:
    named = gankit.load(TINY, device="cpu", threads=2)
    copy = pickle.loads(pickle.dumps(named))
    assert (copy.card, copy.device, copy._origin) == (named.card, "cpu", named._origin)


def test_many_threads_may_share_a_generator(tiny: gankit.Generator) -> None:
    alone = [tiny.sample(n, seed=n) for n in range(1, 31)]
    with ThreadPoolExecutor(16) as threads:
        together = list(threads.map(lambda n: tiny.sample(n, seed=n), range(1, 31)))
    assert all(map(close, together, alone))


def test_float_images_are_converted_on_every_path() -> None:
    model = foreign("float", labels=False)
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


def test_a_model_that_makes_other_numbers_of_images_is_an_error(
    tiny: gankit.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = SimpleNamespace(run=lambda names, values: [np.zeros((1, 8, 8, 3), np.uint8)])
    monkeypatch.setattr(tiny._live(), "session", session)
    monkeypatch.setattr(tiny._live(), "workers", 1)
    with pytest.raises(gankit.GankitError, match=r"failed on cpu: it made \[1, 8, 8, 3\] of \[2, 8, 8, 3\]"):
        tiny.sample(2)


@pytest.mark.parametrize(
    ("content", "expected"), [("200000 100000", 2), ("150000 100000", 1), ("50000 100000", 1), ("max 100000", 8)]
)
def test_a_containers_share_of_the_cores(monkeypatch: pytest.MonkeyPatch, content: str, expected: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(Path, "read_text", lambda _: content)
    assert session.cores() == expected


# Requests that are joined


class Held:
    """Holds a generator's batches until it is told to let them go, and counts their images."""

    def __init__(self, generator: gankit.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
        self.runs: list[int] = []
        self.begun, self.go = threading.Event(), threading.Event()
        backend = generator._live()
        compute = backend.compute

        def held(inputs: Any, images: Any) -> None:
            self.runs.append(len(images))
            self.begun.set()
            assert self.go.wait(60)
            compute(inputs, images)

        monkeypatch.setattr(backend, "compute", held)


@pytest.fixture
def held(tiny: gankit.Generator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    held = Held(tiny, monkeypatch)
    yield held
    held.go.set()


def test_requests_are_joined_and_answered_as_if_alone(tiny: gankit.Generator, held: Held) -> None:
    tiny.serve(batch=8)
    first = tiny.submit(1, seed=0)
    assert held.begun.wait(60)  # from now on everything waits
    sizes = [1, 2, 3, 1, 4, 8, 9, 1]
    later = [tiny.submit(n, seed=n, label="blond", start=n, psi=0.5) for n in sizes]
    held.go.set()
    wait([first, *later], timeout=60)
    # 1+2+3+1 fit into 8, and so on; the 9 go alone.
    assert held.runs[:4] == [1, 7, 4, 8] and sum(held.runs) == 1 + sum(sizes)
    for n, future in zip(sizes, later, strict=True):
        images = future.result()
        assert close(images, tiny.sample(n, n, "blond", n, 0.5))
        assert (
            images.base is None or images.base.nbytes == images.nbytes
        )  # one image does not hold the whole batch in memory


def test_too_many_requests_wait_and_then_are_refused(tiny: gankit.Generator, held: Held) -> None:
    tiny.serve(waiting=2)
    futures = [tiny.submit()]
    assert held.begun.wait(60)
    futures += [tiny.submit(), tiny.submit()]
    with pytest.raises(gankit.BusyError, match="2 requests are waiting already"):
        tiny.submit(timeout=0)
    with pytest.raises(TimeoutError, match="2 requests are waiting already"):
        asyncio.run(tiny.sample_async(timeout=0))
    with ThreadPoolExecutor(1) as other:
        fourth = other.submit(tiny.submit)  # waits for room
        held.go.set()
        futures.append(fourth.result(60))
    assert all(len(future.result(60)) == 1 for future in futures)


def test_a_request_may_wait_for_others(tiny: gankit.Generator, held: Held) -> None:
    held.go.set()
    tiny.serve(batch=3, latest_start=3600)
    futures = [tiny.submit(seed=seed) for seed in range(3)]
    wait(futures, timeout=60)  # the batch is full, so nobody waits for an hour
    assert held.runs == [3]
    lone = tiny.submit()
    tiny.close()  # which lets nobody wait either
    assert len(lone.result(0)) == 1


def test_bad_requests_are_refused_at_once(tiny: gankit.Generator) -> None:
    for call, words in [
        (lambda: tiny.submit(0), "at least 1, not 0"),
        (lambda: tiny.submit(10**12), "stream"),
        (lambda: tiny.submit(10**30), "stream"),
        (lambda: tiny.submit(label="green"), "no label fits"),
        (lambda: tiny.submit(psi="x"), "psi must be a number"),
        (lambda: tiny.serve(batch=0), "batch must be"),
        (lambda: tiny.serve(waiting=0), "waiting must be"),
        (lambda: tiny.serve(latest_start=-1), "latest_start must be"),
    ]:
        with pytest.raises(gankit.UsageError, match=words):
            call()
    tiny.submit().result(60)
    with pytest.raises(gankit.UsageError, match="before the first submit"):
        tiny.serve(batch=2)


def test_a_failure_reaches_everybody_and_the_next_request_works(
    tiny: gankit.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.serve(batch=2, latest_start=3600)
    with monkeypatch.context() as broken:
        broken.setattr(tiny._live(), "run", lambda inputs, out, alone: 1 / 0)
        futures = [tiny.submit(), tiny.submit()]
        for future in futures:
            with pytest.raises(gankit.GankitError, match="tiny failed on cpu: division by zero"):
                future.result(60)
    assert close(tiny.submit(2).result(60), tiny.sample(2))


def test_a_cancelled_request_is_not_computed(tiny: gankit.Generator, held: Held) -> None:
    first = tiny.submit()
    assert held.begun.wait(60)
    second, third = tiny.submit(seed=1), tiny.submit(2, seed=2)
    assert second.cancel()
    held.go.set()
    assert len(third.result(60)) == 2 and len(first.result(60)) == 1
    assert held.runs == [1, 2]
    with pytest.raises(CancelledError):
        second.result()
    alone = tiny.submit()
    alone.cancel()  # it may have been computed already; either way the next one is
    assert len(tiny.submit().result(60)) == 1


def test_awaiting_images(tiny: gankit.Generator) -> None:
    async def many() -> list[Any]:
        return await asyncio.gather(*(tiny.sample_async(2, seed, "blond", start=1, psi=0.5) for seed in range(8)))

    for seed, images in enumerate(asyncio.run(many())):
        assert close(images, tiny.sample(2, seed, "blond", 1, 0.5))
    with pytest.raises(gankit.LabelError):
        asyncio.run(tiny.sample_async(label="green"))


# The end of a generator


def test_closing_computes_what_waits_and_refuses_what_comes(tiny: gankit.Generator, held: Held) -> None:
    tiny.serve(waiting=2)
    futures = [tiny.submit()]
    assert held.begun.wait(60)
    futures += [tiny.submit(), tiny.submit()]  # as many as may wait
    with ThreadPoolExecutor(2) as other:
        beyond = other.submit(tiny.submit)  # waits for room, or comes when it is closed already
        end = other.submit(tiny.close)
        with pytest.raises(gankit.UsageError, match="closed"):
            beyond.result(60)
        held.go.set()
        end.result(60)
    assert all(future.done() and len(future.result()) == 1 for future in futures)


def test_a_closed_generator_refuses_everything(tiny: gankit.Generator) -> None:
    stream = tiny.stream(200, batch=10)
    next(stream)
    with tiny as same:
        assert same is tiny and not tiny.closed
    assert tiny.closed
    z = np.zeros((1, 6), np.float32)
    for call in (
        lambda: tiny.sample(1),
        lambda: tiny(z, [[1, 0, 0]]),
        lambda: tiny.submit(),
        lambda: tiny.serve(),
        lambda: tiny.stream(5),
        lambda: tiny.interpolate([1, 2]),
        lambda: tiny.grid(1),
        lambda: pickle.dumps(tiny),
        lambda: list(stream),
        lambda: asyncio.run(tiny.sample_async()),
    ):
        with pytest.raises(gankit.UsageError, match="was closed; load it again"):
            call()
    tiny.close()  # once more is fine
    assert tiny.labels and tiny.card.z_dim == 6


def test_closing_from_a_callback_does_not_wait_for_itself(tiny: gankit.Generator, held: Held) -> None:
    first = tiny.submit()
    assert held.begun.wait(60)
    first.add_done_callback(lambda _: tiny.close())
    second: Future[Any] = tiny.submit(2)
    held.go.set()
    assert len(second.result(60)) == 2
    assert tiny.closed


def test_a_call_under_way_ends_and_then_the_model_is_free(tiny: gankit.Generator, held: Held) -> None:
    with ThreadPoolExecutor(1) as other:
        images = other.submit(tiny.sample, 3)
        assert held.begun.wait(60)
        tiny.close()
        held.go.set()
        assert len(images.result(60)) == 3


@pytest.mark.parametrize("closed", [True, False])
def test_nothing_is_left_of_a_generator(closed: bool) -> None:
    before = set(threading.enumerate())
    generator = gankit.load(TINY, device="cpu", threads=2)
    generator.sample(40)
    generator.submit(40).result(60)
    backend, whole = weakref.ref(generator._live()), weakref.ref(generator)
    if closed:
        generator.close()
    else:
        del generator
    threads = set(threading.enumerate()) - before
    for thread in threads:
        thread.join(60)
    gc.collect()
    assert backend() is None and (closed or whole() is None)
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_is_explained(tiny: gankit.Generator) -> None:
    tiny.submit(20).result(60)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        said = []
        for call in (lambda: tiny.sample(1), lambda: tiny.submit(), lambda: pickle.dumps(tiny)):
            try:
                call()
                said.append("nothing")
            except BaseException as error:
                said.append(f"{type(error).__name__}: {error}")
        tiny.close()
        os.write(write, "\n".join(said).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read().splitlines()
    assert os.waitpid(child, 0)[1] == 0
    assert len(said) == 3
    for line in said:
        assert line.startswith("GankitError: this generator was loaded before a fork") and "spawn" in line
    assert len(tiny.sample(1)) == 1  # and the parent goes on
