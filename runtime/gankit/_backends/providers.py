"""One ONNX Runtime session on any execution provider: opened here, or by the application."""

from __future__ import annotations

from gankit._backends.base import Backend, Inputs, resolve_precision
from gankit._card import card_from_session
from gankit._images import Images
from gankit._options import LoadOptions
from gankit._session import CPU, CUDA, Session, cpu_session, provider_session

_DEVICES = {CPU: "cpu", CUDA: "cuda"}


class ExistingSession(Backend):
    """Computes one batch at a time on a session that is open already."""

    def __init__(self, session: Session, name: str, options: LoadOptions) -> None:
        super().__init__(options)
        self.session, self.card = session, card_from_session(session, name)
        provider = session.get_providers()[0]
        self.device = _DEVICES.get(provider, provider)
        self.precision = resolve_precision(options.precision, self.card, self.device, ["float32"])
        self._names = [value.name for value in session.get_inputs()]

    def run(self, inputs: Inputs, out: Images, alone: bool) -> None:
        """Computes one batch on the session."""
        self.write_output(self.session.run(None, dict(zip(self._names, inputs, strict=True)))[0], out)


def open_on_providers(source: bytes, name: str, options: LoadOptions) -> Backend:
    """Opens a model on `options.providers`; the first of them runs every node.

    Raises:
        UsageError: the list is empty or has a provider that onnxruntime does not have.
        ModelError: the file is not ONNX, truncated, or does not fit the generator's contract.
        DeviceError: the first provider does not run all nodes.
    """
    card_from_session(cpu_session(source, name, 1), name)  # an invalid file is not the provider's fault
    return ExistingSession(provider_session(source, options.providers or (), options.threads), name, options)
