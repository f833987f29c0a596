"""Ctrl-C and SIGTERM stop a run with a checkpoint."""

from __future__ import annotations

import signal
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

import torch

from gankit_train.compute.distributed import ProcessGroup

_POLL_STEPS = 16  # between two checks with several processes, as asking all of them takes time


class StopSignals:
    """Context in which SIGINT and SIGTERM request a stop instead of ending the process; a second one ends it."""

    def __init__(self, processes: ProcessGroup, device: torch.device) -> None:
        self.received: int | None = None
        """The first signal that this process received."""
        self._processes, self._device = processes, device
        self._handlers: dict[int, Any] = {}

    def requested(self, steps: int, now: bool) -> bool:
        """Returns whether any process should stop. Several processes are asked at every 16th step, or `now`."""
        if now or self._processes.world_size == 1 or steps % _POLL_STEPS == 0:
            return self._processes.any_rank(self.received is not None, self._device)
        return False

    def __enter__(self) -> StopSignals:
        with suppress(ValueError):  # outside of the main thread, signals are left to the program
            self._handlers = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received or number
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
