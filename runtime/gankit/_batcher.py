"""Joins simultaneous requests into batches, so that many small ones cost as little as a few large ones."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np

from gankit._backends.base import Inputs
from gankit._errors import BusyError, UsageError
from gankit._images import Images
from gankit._validation import check_count

if TYPE_CHECKING:
    from concurrent.futures import Future


@dataclass(frozen=True)
class _Pending:
    """A request in the queue."""

    inputs: Inputs
    future: Future[Images]
    arrival: float
    """Seconds of the monotonic clock."""

    def __len__(self) -> int:
        return len(self.inputs[0])


class Batcher:
    """Computes queued requests in a thread; while it computes one batch, the next one collects.

    So a lone request starts at once, and under load the batches grow by themselves. The thread ends when the queue is
    empty, and the next request starts another: an idle or forgotten batcher holds no thread.
    """

    def __init__(self, compute: Callable[[Inputs], Images]) -> None:
        """`compute` maps z [n, z_dim] and optionally label [n, k] to images."""
        self._compute: Callable[[Inputs], Images] | None = compute
        self._max_batch, self._max_queue, self._max_delay = 64, 1024, 0.0
        self._queue: deque[_Pending] = deque()
        self._change = threading.Condition()  # guards everything but the limits
        self._thread: threading.Thread | None = None
        self._used = self._closed = False

    def configure(self, max_batch: int, max_queue: int, max_delay: float) -> None:
        """Sets the limits, which are those of `Generator.serve`, before the first request.

        Raises:
            UsageError: a value is unusable, or there was a request already.
        """
        max_batch, max_queue = check_count("max_batch", max_batch), check_count("max_queue", max_queue)
        if not 0 <= max_delay < math.inf:
            raise UsageError(f"max_delay must be a number of seconds of at least 0, not {max_delay!r}")
        with self._change:
            if self._used:
                raise UsageError("serve() has no effect after the first submit(); call it before")
            self._max_batch, self._max_queue, self._max_delay = max_batch, max_queue, max_delay

    def submit(self, inputs: Inputs, timeout: float | None = None) -> Future[Images]:
        """Queues a request. If the queue is full, waits for a place for up to `timeout` seconds, or without limit.

        Raises:
            BusyError: no place became free in time.
            UsageError: the batcher is closed.
        """
        from concurrent.futures import Future

        with self._change:
            self._used = True
            free = self._change.wait_for(lambda: self._closed or len(self._queue) < self._max_queue, timeout)
            if self._closed:
                raise UsageError("this generator is closed; load it again")
            if not free:
                raise BusyError(
                    f"the queue is full: {self._max_queue} requests are waiting, and none started within {timeout} s; "
                    "retry later, or raise max_queue"
                )
            if self._thread is None:
                thread = threading.Thread(target=self._work, name="gankit-batcher")
                thread.start()
                self._thread = thread
            request = _Pending(inputs, Future(), monotonic())
            self._queue.append(request)
            self._change.notify_all()
        return request.future

    def close(self) -> None:
        """Refuses new requests, and returns when all queued ones are computed."""
        with self._change:
            self._closed, thread = True, self._thread
            if thread is None:
                self._compute = None  # which holds the model
            self._change.notify_all()
        if thread is not None and thread is not threading.current_thread():  # a future's callback may call close()
            thread.join()

    def _work(self) -> None:
        while batch := self._next_batch():
            self._answer(batch)

    def _next_batch(self) -> list[_Pending]:
        """The requests to compute together; none if the queue is empty, which ends the thread."""
        batch: list[_Pending] = []
        n = 0
        with self._change:
            if self._queue and self._max_delay:
                left = self._queue[0].arrival + self._max_delay - monotonic()
                self._change.wait_for(lambda: self._closed or sum(map(len, self._queue)) >= self._max_batch, left)
            while self._queue and (not batch or n + len(self._queue[0]) <= self._max_batch):
                request = self._queue.popleft()
                if request.future.set_running_or_notify_cancel():
                    batch.append(request)
                    n += len(request)
            if not batch:
                self._thread = None
                self._compute = None if self._closed else self._compute
            self._change.notify_all()
        return batch

    def _answer(self, batch: list[_Pending]) -> None:
        assert self._compute is not None
        try:
            images = self._compute([np.concatenate(each) for each in zip(*(r.inputs for r in batch), strict=True)])
        except BaseException as error:  # of any kind: the waiting callers must get it
            for request in batch:
                request.future.set_exception(error)
            return
        ends: Any = np.cumsum([len(request) for request in batch])[:-1]
        for request, part in zip(batch, np.split(images, ends), strict=True):
            # A copy: otherwise a caller that keeps one image would keep the whole batch in memory.
            request.future.set_result(part if len(batch) == 1 else part.copy())
