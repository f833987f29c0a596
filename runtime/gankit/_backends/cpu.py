"""ONNX Runtime on the CPU."""

from __future__ import annotations

from typing import Any

from gankit._backends.base import Backend, Images, Inputs, even_parts, settle
from gankit._session import CUDA, Options, card_of_session, cores, cpu_session


class Cpu(Backend):
    """A request is shared by workers of one thread each, in small batches.

    ONNX Runtime computes a transposed convolution image by image, so threads that share an image wait for each other
    at every layer; only fewer than two images for each core are quicker with all threads: of three images one worker
    would have two, and the other would wait. Two sessions hold the weights twice.
    """

    device = "cpu"
    batch = 16

    def __init__(self, source: bytes, name: str, options: Options) -> None:
        super().__init__(options)
        self.workers = options.threads or cores()
        self.sizes = (1, self.batch * self.workers)
        self._source, self._narrow = source, None
        self.session = cpu_session(source, name, self.workers)
        self.card = card_of_session(self.session, name)
        self.precision = settle(options.precision, self.card, self.device, ["float32"])
        self._names = [value.name for value in self.session.get_inputs()]

    def parts(self, n: int) -> list[slice]:
        """Equal ones, or few images all at once."""
        return super().parts(n) if n < 2 * self.workers else even_parts(n, self.batch, self.workers)

    def run(self, inputs: Inputs, out: Images, alone: bool) -> None:
        """Runs it with all threads or with one."""
        session = self.session if alone or self.workers == 1 else self._one_thread()
        self.put(session.run(None, dict(zip(self._names, inputs, strict=True)))[0], out)

    def _one_thread(self) -> Any:
        with self._lock:
            self._narrow = self._narrow or cpu_session(self._source, self.card.name, 1)
            return self._narrow


class Given(Backend):
    """A session that an app has opened by itself, on whatever device it chose."""

    def __init__(self, session: Any, options: Options) -> None:
        super().__init__(options)
        self.session, self.card = session, card_of_session(session, "the session")
        self.device = "cuda" if session.get_providers()[0] == CUDA else "cpu"
        self.precision = settle(options.precision, self.card, self.device, ["float32"])
        self._names = [value.name for value in session.get_inputs()]

    def run(self, inputs: Inputs, out: Images, alone: bool) -> None:
        """Runs it."""
        self.put(self.session.run(None, dict(zip(self._names, inputs, strict=True)))[0], out)
