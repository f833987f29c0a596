"""The formats that can be written: for each, how to build it, how to save it with its card, and how to run it."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gankit.card import KEY, Card
from gankit.session import open_session
from gankit_export.graph import ImageGraph

OPSET = 18
"""From 22 on, older CUDA providers have no ConvTranspose and move it to the CPU in silence."""

Run = Callable[[NDArray[np.float32], "NDArray[np.float32] | None"], NDArray[np.uint8]]
"""z [n, z_dim] and label [n, k] or None → uint8 [n, height, width, channels]."""


@dataclass(frozen=True)
class Format:
    """One row of the table."""

    name: str
    suffix: str
    opset: int
    """Of ONNX; 0 for formats that have none."""
    needs: tuple[str, ...]
    """Packages beside torch."""
    build: Callable[[ImageGraph, Card], Any]
    save: Callable[[Any, Card, Path], None]
    open: Callable[[Path], tuple[Card, Run]]
    """Opens a file as a user would: its card, and a function that runs it on the CPU."""


def _examples(card: Card) -> tuple[torch.Tensor, ...]:
    z = torch.zeros(2, card.z_dim)
    return (z, torch.zeros(2, len(card.labels.names))) if card.labels else (z,)


def _build_onnx(graph: ImageGraph, card: Card) -> Any:
    inputs = ["z", "label"] if card.labels else ["z"]
    batch = torch.export.Dim("n")
    shapes = tuple({0: batch} for _ in inputs)
    with _quiet():
        program = torch.onnx.export(
            graph,
            _examples(card),
            dynamo=True,
            opset_version=OPSET,
            input_names=inputs,
            output_names=["images"],
            dynamic_shapes=shapes,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    return program.model_proto


def _save_onnx(model: Any, card: Card, path: Path) -> None:
    import onnx

    onnx.helper.set_model_props(model, {KEY: card.to_json()})
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def _open_onnx(path: Path) -> tuple[Card, Run]:
    session = open_session(path, "cpu").session

    def run(z: NDArray[np.float32], label: NDArray[np.float32] | None) -> NDArray[np.uint8]:
        images: NDArray[np.uint8] = session.run(None, {"z": z} if label is None else {"z": z, "label": label})[0]
        return images

    return Card.from_json(session.get_modelmeta().custom_metadata_map[KEY]), run


def _build_torchscript(graph: ImageGraph, card: Card) -> Any:
    with _quiet():
        return torch.jit.freeze(torch.jit.trace(graph.eval(), _examples(card)))  # type: ignore[no-untyped-call]


def _save_torchscript(module: Any, card: Card, path: Path) -> None:
    buffer = io.BytesIO()  # a path would be written into the file, and with it whose machine it was made on
    with _quiet():
        torch.jit.save(module, buffer, _extra_files={f"{KEY}.json": card.to_json()})
    path.write_bytes(buffer.getvalue())


def _open_torchscript(path: Path) -> tuple[Card, Run]:
    extra = {f"{KEY}.json": ""}
    with _quiet():
        module = torch.jit.load(str(path), map_location="cpu", _extra_files=extra)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def run(z: NDArray[np.float32], label: NDArray[np.float32] | None) -> NDArray[np.uint8]:
        arguments = [torch.from_numpy(a) for a in (z, label) if a is not None]
        images: NDArray[np.uint8] = module(*arguments).numpy()
        return images

    text = extra[f"{KEY}.json"]
    return Card.from_json(text.decode() if isinstance(text, bytes) else text), run


FORMATS = {
    each.name: each
    for each in (
        Format("onnx", ".onnx", OPSET, ("onnx", "onnxscript", "onnxruntime"), _build_onnx, _save_onnx, _open_onnx),
        Format("torchscript", ".ts", 0, (), _build_torchscript, _save_torchscript, _open_torchscript),
    )
}


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporting warns of torch's own deprecations and of packages that no generator needs."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
