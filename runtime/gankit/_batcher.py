"""Joins requests that come at the same time into batches: many small ones then cost as little as a few large ones."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gankit._errors import BusyError, UsageError

if TYPE_CHECKING:
    from concurrent.futures import Future

Images = NDArray[np.uint8]
Inputs = Sequence[NDArray[np.float32]]


@dataclass(frozen=True)
class _Request:
    inputs: Inputs
    future: Future[Images]
    came: float

    def __len__(self) -> int:
        return len(self.inputs[0])


class Batcher:
    """A thread that computes whatever has come while it was computing the last batch.

    So a request that comes alone starts at once, and under load the batches grow by themselves. The thread ends when
    nothing waits and the next request starts another: an idle or forgotten batcher holds none.
    """

    def __init__(self, compute: Callable[[Inputs], Images], batch: int, waiting: int, latest_start: float) -> None:
        """Args are those of `Generator.serve`, and `compute`: z [n, z_dim] and maybe label [n, k] → images."""
        self._compute, self._batch, self._waiting, self._latest_start = compute, batch, waiting, latest_start
        self._requests: deque[_Request] = deque()
        self._change = threading.Condition()  # guards the requests, the thread and `_closed`
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, inputs: Inputs, timeout: float | None = None) -> Future[Images]:
        """Lets a request wait for its turn; waits itself for room to do so, for up to `timeout` seconds.

        Raises:
            BusyError: no room came free.
            UsageError: the batcher was closed.
        """
        from concurrent.futures import Future

        with self._change:
            free = self._change.wait_for(lambda: self._closed or len(self._requests) < self._waiting, timeout)
            if self._closed:
                raise UsageError("this generator was closed; load it again")
            if not free:
                raise BusyError(
                    f"{self._waiting} requests are waiting already, and none had its turn within {timeout} s: ask less "
                    "often, or let more wait"
                )
            if self._thread is None:
                thread = threading.Thread(target=self._work, name="gankit-batcher")
                thread.start()
                self._thread = thread
            request = _Request(inputs, Future(), monotonic())
            self._requests.append(request)
            self._change.notify_all()
        return request.future

    def close(self) -> None:
        """Refuses requests from now on, and returns when those that wait are computed."""
        with self._change:
            self._closed, thread = True, self._thread
            self._change.notify_all()
        if thread is not None and thread is not threading.current_thread():  # on which a future's callback may close
            thread.join()

    def _work(self) -> None:
        while joined := self._next():
            self._answer(joined)

    def _next(self) -> list[_Request]:
        """The requests to join; none when nothing waits, and the thread is to end."""
        joined: list[_Request] = []
        n = 0
        with self._change:
            if self._requests and self._latest_start:
                left = self._requests[0].came + self._latest_start - monotonic()
                self._change.wait_for(lambda: self._closed or sum(map(len, self._requests)) >= self._batch, left)
            while self._requests and (not joined or n + len(self._requests[0]) <= self._batch):
                request = self._requests.popleft()
                if request.future.set_running_or_notify_cancel():
                    joined.append(request)
                    n += len(request)
            if not joined:
                self._thread = None
            self._change.notify_all()
        return joined

    def _answer(self, joined: list[_Request]) -> None:
        try:
            images = self._compute([np.concatenate(each) for each in zip(*(r.inputs for r in joined), strict=True)])
        except BaseException as error:  # for whoever waits, whatever it is
            for each in joined:
                each.future.set_exception(error)
            return
        at: Any = np.cumsum([len(each) for each in joined])[:-1]
        for each, part in zip(joined, np.split(images, at), strict=True):
            # A copy: whoever keeps one image would keep the whole batch.
            each.future.set_result(part if len(joined) == 1 else part.copy())
