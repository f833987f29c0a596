"""Ctrl-C and SIGTERM stop a run with a checkpoint."""

import signal
from contextlib import suppress
from typing import Any, Self

import torch

from gankit_train.compute.distributed import ProcessGroup

_POLL_STEPS = 16  # between two questions to all processes, which take time


class StopSignals:
    """Context in which SIGINT and SIGTERM request a stop instead of ending the process; a second one ends it."""

    def __init__(self, processes: ProcessGroup, device: torch.device) -> None:
        self.received: int | None = None  # the first signal that this process received
        self._processes, self._device = processes, device
        self._handlers: dict[int, Any] = {}

    def requested(self, steps: int) -> bool:
        """Returns whether any process received a signal; several processes are asked at every 16th step."""
        due = self._processes.world_size == 1 or steps % _POLL_STEPS == 0
        return due and self._processes.any_rank(self.received is not None, self._device)

    def __enter__(self) -> Self:
        with suppress(ValueError):  # outside of the main thread, signals are left to the program
            self._handlers = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: Any) -> None:
        self.received = self.received or number
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
