"""Requests that are joined into batches, and the end of a generator."""

import asyncio
import gc
import os
import pickle
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np
import pytest

import gankit
from tests.helpers.images import close
from tests.helpers.paths import TINY


@pytest.fixture
def tiny() -> Iterator[gankit.Generator]:
    with gankit.load(TINY, device="cpu") as generator:
        yield generator


class Held:
    """Blocks a generator's batches until `go` is set, and counts their images."""

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


def test_requests_are_joined_into_batches(tiny: gankit.Generator, held: Held) -> None:
    tiny.serve(max_batch=8)
    first = tiny.submit(1, seed=0)
    assert held.begun.wait(60)  # from now on, every request waits
    sizes = [1, 2, 3, 1, 4, 8, 9, 1]
    later = [tiny.submit(n, seed=n, label="blond", start=n, truncation=0.5) for n in sizes]
    held.go.set()
    wait([first, *later], timeout=60)
    # 1+2+3+1 fit into 8, and so on; the 9 go alone.
    assert held.runs[:4] == [1, 7, 4, 8] and sum(held.runs) == 1 + sum(sizes)
    for n, future in zip(sizes, later, strict=True):
        images = future.result()
        assert close(images, tiny.sample(n, seed=n, label="blond", start=n, truncation=0.5))
        # One image must not keep the whole batch in memory.
        assert images.base is None or images.base.nbytes == images.nbytes


def test_a_full_queue_waits_and_then_refuses(tiny: gankit.Generator, held: Held) -> None:
    tiny.serve(max_queue=2)
    futures = [tiny.submit()]
    assert held.begun.wait(60)
    futures += [tiny.submit(), tiny.submit()]
    with pytest.raises(gankit.BusyError, match="the queue is full: 2 requests are waiting"):
        tiny.submit(timeout=0)
    with pytest.raises(TimeoutError, match="the queue is full: 2 requests are waiting"):
        asyncio.run(tiny.sample_async(timeout=0))
    with ThreadPoolExecutor(1) as other:
        fourth = other.submit(tiny.submit)  # waits for a place
        held.go.set()
        futures.append(fourth.result(60))
    assert all(len(future.result(60)) == 1 for future in futures)


def test_a_request_may_wait_for_others(tiny: gankit.Generator, held: Held) -> None:
    held.go.set()
    tiny.serve(max_batch=3, max_delay=3600)
    futures = [tiny.submit(seed=seed) for seed in range(3)]
    wait(futures, timeout=60)  # the batch is full, so no request waits for an hour
    assert held.runs == [3]
    lone = tiny.submit()
    tiny.close()  # which ends the waiting
    assert len(lone.result(0)) == 1


def test_bad_requests_are_refused_at_once(tiny: gankit.Generator) -> None:
    for call, words in [
        (lambda: tiny.submit(0), "at least 1, not 0"),
        (lambda: tiny.submit(10**12), "stream"),
        (lambda: tiny.submit(10**30), "stream"),
        (lambda: tiny.submit(label="green"), "no label matches"),
        (lambda: tiny.submit(truncation="x"), "truncation must be a number"),
        (lambda: tiny.serve(max_batch=0), "max_batch must be"),
        (lambda: tiny.serve(max_queue=0), "max_queue must be"),
        (lambda: tiny.serve(max_delay=-1), "max_delay must be"),
    ]:
        with pytest.raises(gankit.UsageError, match=words):
            call()
    tiny.submit().result(60)
    with pytest.raises(gankit.UsageError, match=r"no effect after the first submit"):
        tiny.serve(max_batch=2)


def test_a_failure_reaches_every_request_of_the_batch_and_the_next_one_works(
    tiny: gankit.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.serve(max_batch=2, max_delay=3600)
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
        return await asyncio.gather(
            *(tiny.sample_async(2, seed=seed, label="blond", start=1, truncation=0.5) for seed in range(8))
        )

    for seed, images in enumerate(asyncio.run(many())):
        assert close(images, tiny.sample(2, seed=seed, label="blond", start=1, truncation=0.5))
    with pytest.raises(gankit.LabelError):
        asyncio.run(tiny.sample_async(label="green"))


# The end of a generator


def test_closing_computes_queued_requests_and_refuses_new_ones(tiny: gankit.Generator, held: Held) -> None:
    tiny.serve(max_queue=2)
    futures = [tiny.submit()]
    assert held.begun.wait(60)
    futures += [tiny.submit(), tiny.submit()]  # the queue is full
    with ThreadPoolExecutor(2) as other:
        beyond = other.submit(tiny.submit)  # waits for a place, or starts after the generator is closed
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
        with pytest.raises(gankit.UsageError, match="is closed; load it again"):
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


def test_a_running_call_ends_after_closing(tiny: gankit.Generator, held: Held) -> None:
    with ThreadPoolExecutor(1) as other:
        images = other.submit(tiny.sample, 3)
        assert held.begun.wait(60)
        tiny.close()
        held.go.set()
        assert len(images.result(60)) == 3


@pytest.mark.parametrize("closed", [True, False])
def test_a_generator_leaves_no_threads_and_no_model(closed: bool) -> None:
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
        printed = []
        for call in (lambda: tiny.sample(1), lambda: tiny.submit(), lambda: pickle.dumps(tiny)):
            try:
                call()
                printed.append("nothing")
            except BaseException as error:
                printed.append(f"{type(error).__name__}: {error}")
        tiny.close()
        os.write(write, "\n".join(printed).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        printed = pipe.read().splitlines()
    assert os.waitpid(child, 0)[1] == 0
    assert len(printed) == 3
    for line in printed:
        assert line.startswith("GankitError: this generator was loaded before a fork") and "spawn" in line
    assert len(tiny.sample(1)) == 1  # the parent is not affected
