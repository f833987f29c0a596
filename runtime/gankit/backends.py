"""What runs a model file: ONNX Runtime, or PyTorch for a TorchScript file. Both take a batch and give a batch."""

from __future__ import annotations

import io
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from gankit.card import KEY, Card
from gankit.errors import DeviceError, GankitError, ModelError, UsageError, missing_extra, one_line
from gankit.labels import Labels
from gankit.session import Device, check_device, cores, open_session

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor


class Backend(ABC):
    """A loaded model. Threads may use it at a time; what it holds is freed with the last reference to it."""

    card: Card
    device: Literal["cuda", "cpu"]
    fallback_reason: str | None = None
    workers = 1
    """How many calls of `run` at a time are quickest."""
    batch = 32
    """How many images a call are quickest."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    @abstractmethod
    def run(self, inputs: Sequence[NDArray[np.float32]], alone: bool) -> NDArray[Any]:
        """z [n, z_dim] and maybe label [n, k] → images as the card's `output` says.

        `alone` says that no other call is made beside this one for the same request.
        """

    def compute(self, inputs: Sequence[NDArray[np.float32]], images: NDArray[np.uint8]) -> None:
        """Fills uint8 [n, height, width, channels], in batches that the workers share.

        Raises:
            GankitError: the device failed, or the model makes something else than its card says.
        """
        parts = [slice(at, at + self.batch) for at in range(0, len(images), self.batch)]

        def one(part: slice) -> None:
            try:
                batch = self.run([values[part] for values in inputs], alone=len(parts) == 1)
                if self.card.output == "float":  # the same scaling and rounding that an exported graph does itself
                    batch = np.clip(127.5 * batch.transpose(0, 2, 3, 1) + 128, 0, 255).astype(np.uint8)
                if batch.shape != images[part].shape:  # NumPy would repeat one image for a whole batch
                    raise ValueError(f"it made {list(batch.shape)} of {list(images[part].shape)}")
                images[part] = batch
            except Exception as error:  # the runtimes' exceptions have no common base but Exception
                raise GankitError(f"{self.card.name} failed on {self.device}: {one_line(error)}") from error

        if len(parts) == 1 or self.workers == 1:
            for part in parts:
                one(part)
        else:
            list(self._threads().map(one, parts))

    def _threads(self) -> ThreadPoolExecutor:
        from concurrent.futures import ThreadPoolExecutor

        with self._lock:
            self._pool = self._pool or ThreadPoolExecutor(self.workers, thread_name_prefix="gankit")
            return self._pool


def open_backend(source: bytes, name: str, device: Device, threads: int) -> Backend:
    """Opens the bytes of a file by what is in them; `name` is for errors. Errors as for `gankit.load`."""
    check_device(device)
    if source.startswith(b"PK\x03\x04"):  # a zip archive, which TorchScript is and ONNX never
        if threads:
            raise UsageError("torch's threads are one number for the whole process: call torch.set_num_threads")
        return _TorchScript(source, name, device)
    return _Onnx(source, name, device, threads)


class _Onnx(Backend):
    """On the CPU a request is shared by workers of one thread each, in small batches.

    ONNX Runtime computes a transposed convolution image by image, so threads that share an image wait for each other
    at every layer; only a single small batch is quicker with all of them. Two sessions hold the weights twice.
    """

    def __init__(self, source: bytes, name: str, device: Device, threads: int) -> None:
        super().__init__()
        opened = open_session(source, device, threads, name)
        self.session, self.device, self.fallback_reason = opened.session, opened.device, opened.fallback_reason
        if self.device == "cpu":
            self.workers, self.batch = threads or cores(), 16
        self.names = [value.name for value in self.session.get_inputs()]
        self.card = card_of_session(self.session, name)
        self._source, self._narrow = source, None

    def run(self, inputs: Sequence[NDArray[np.float32]], alone: bool) -> NDArray[Any]:
        session = self.session if alone or self.workers == 1 else self._one_thread()
        images: NDArray[Any] = session.run(None, dict(zip(self.names, inputs, strict=True)))[0]
        return images

    def _one_thread(self) -> Any:
        with self._lock:
            self._narrow = self._narrow or open_session(self._source, "cpu", 1).session
            return self._narrow


class _TorchScript(Backend):
    """A file of `gan-export --torchscript`, which needs PyTorch; imported nowhere else in this package."""

    def __init__(self, source: bytes, name: str, device: Device) -> None:
        super().__init__()
        try:
            import torch
        except ImportError:
            raise missing_extra(f"{name}, a TorchScript file,", "train") from None
        cuda = torch.cuda.is_available()
        if device == "cuda" and not cuda:
            raise DeviceError("CUDA cannot be had: this torch finds none; use --device cpu")
        self.device = "cuda" if cuda and device != "cpu" else "cpu"
        self.fallback_reason = None if cuda or device == "cpu" else "CUDA cannot be had: this torch finds none"
        self._torch, extra = torch, {f"{KEY}.json": ""}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the deprecation of TorchScript
                self._module = torch.jit.load(io.BytesIO(source), self.device, _extra_files=extra)  # type: ignore[no-untyped-call]
        except Exception as error:
            raise ModelError(
                f"{name} cannot be opened as TorchScript, it is cut off or something else: {one_line(error)}"
            ) from error
        text = extra[f"{KEY}.json"]
        if not text:
            raise ModelError(f"{name} has no card of gan-export inside, which says what it takes")
        self.card = Card.from_json(text.decode() if isinstance(text, bytes) else text)

    def run(self, inputs: Sequence[NDArray[np.float32]], alone: bool) -> NDArray[Any]:
        with self._torch.inference_mode():
            tensors = [self._torch.from_numpy(np.ascontiguousarray(each)).to(self.device) for each in inputs]
            images: NDArray[Any] = self._module(*tensors).cpu().numpy()
        return images


def card_of_session(session: Any, name: str) -> Card:
    """The card in the file, which must agree with its shapes; without one, such as in another tool's file, the shapes.

    Raises:
        ModelError: the inputs and outputs are not the contract's, or not what the card says.
    """
    inputs, outputs = session.get_inputs(), session.get_outputs()
    found = ", ".join(f"{value.name} {value.type} {value.shape}" for value in [*inputs, *outputs])
    fits = len(inputs) in (1, 2) and len(outputs) == 1 and all(i.type == "tensor(float)" for i in inputs)
    fits = fits and all(len(i.shape) == 2 and isinstance(i.shape[1], int) for i in inputs)
    fits = fits and len(outputs[0].shape) == 4 and outputs[0].type in ("tensor(uint8)", "tensor(float)")
    if not fits or not all(isinstance(edge, int) for edge in outputs[0].shape[1:]):
        raise ModelError(
            f"{name} does not fit gankit's contract, z [n, z_dim] and maybe label [n, k] → images; it has {found}"
        )
    if isinstance(inputs[0].shape[0], int):
        raise ModelError(f"{name} takes batches of {inputs[0].shape[0]} only; export it with a dynamic batch axis")
    output: Literal["uint8", "float"] = "uint8" if outputs[0].type == "tensor(uint8)" else "float"
    size = outputs[0].shape[1:]
    height, width, channels = size if output == "uint8" else (size[1], size[2], size[0])
    k = inputs[1].shape[1] if len(inputs) == 2 else 0
    labels = Labels(tuple(map(str, range(k))), "classes", (1 / k,) * k, (tuple(range(k)),)) if k else None
    plain = Card(Path(name).stem or "model", height, width, channels, inputs[0].shape[1], labels, output=output)
    text = session.get_modelmeta().custom_metadata_map.get(KEY)
    if text is None:
        return plain
    card = Card.from_json(text)
    for each in ("height", "width", "channels", "z_dim", "output"):
        if getattr(card, each) != getattr(plain, each):
            raise ModelError(f"{name} has a card that says {each} {getattr(card, each)}, but the graph has {found}")
    if (len(card.labels.names) if card.labels else 0) != k:
        raise ModelError(
            f"{name} has a card with {card.labels and len(card.labels.names)} labels, but the graph has {found}"
        )
    return card
