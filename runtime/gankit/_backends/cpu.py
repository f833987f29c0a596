"""ONNX Runtime on the CPU."""

from __future__ import annotations

from typing import Any

from gankit._backends.base import Backend, Inputs, resolve_precision, split_evenly
from gankit._card import card_from_session
from gankit._environment import available_cores
from gankit._images import Images
from gankit._options import LoadOptions
from gankit._session import cpu_session


class Cpu(Backend):
    """Splits a request into small batches and shares them among workers with one thread each.

    ONNX Runtime computes a transposed convolution image by image, so threads that share an image wait for each other at
    every layer. Only requests of fewer than two images per core are faster with all threads on one batch: with three
    images on two cores, one worker would have two of them while the other waits. The two sessions hold the weights
    twice.
    """

    device = "cpu"
    batch = 16

    def __init__(self, source: bytes, name: str, options: LoadOptions) -> None:
        super().__init__(options)
        self.workers = options.threads or available_cores()
        self.sizes = (1, self.batch * self.workers)
        self._source, self._one_thread_session = source, None
        self.session = cpu_session(source, name, self.workers)
        self.card = card_from_session(self.session, name)
        self.precision = resolve_precision(options.precision, self.card, self.device, ["float32"])
        self._names = [value.name for value in self.session.get_inputs()]

    def split(self, n: int) -> list[slice]:
        """Equal batches, a multiple of the workers; a request of few images stays whole."""
        return super().split(n) if n < 2 * self.workers else split_evenly(n, self.batch, self.workers)

    def run(self, inputs: Inputs, out: Images, alone: bool) -> None:
        """Computes one batch, with all threads if it is alone, else with one."""
        session = self.session if alone or self.workers == 1 else self._one_thread()
        self.write_output(session.run(None, dict(zip(self._names, inputs, strict=True)))[0], out)

    def _one_thread(self) -> Any:
        with self._lock:
            self._one_thread_session = self._one_thread_session or cpu_session(self._source, self.card.name, 1)
            return self._one_thread_session
