"""The file formats: how to build each one, how to save it with its card, and how to open and run it."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gankit._card import KEY, Card
from gankit._environment import available_cores
from gankit._errors import DeviceError
from gankit._model import read_model
from gankit._options import Device
from gankit._session import CUDA, CUDA_OPTIONS, cpu_session, gpu_session
from gankit_export.graph import ImageGraph
from gankit_export.options import FormatName

Runner = Callable[[NDArray[np.float32], "NDArray[np.float32] | None"], NDArray[Any]]
"""Runs an exported file: z float32 [n, z_dim] and label float32 [n, k] or None → images as in the card's `output`."""


@dataclass(frozen=True)
class Format:
    """A file format."""

    name: FormatName
    suffix: str
    purpose: str
    """What the format is for; `gan-export --formats` prints it."""
    packages: tuple[str, ...]
    """The packages that writing it needs, apart from torch."""
    build: Callable[[ImageGraph, Card], Any]
    """Converts a graph to the format's own representation."""
    save: Callable[[Any, Card, Path], None]
    """Writes what `build` returned, and a card, to a file."""
    open: Callable[[Path, Device], tuple[Card, Runner]]
    """Opens a file as its users do, on a device; returns its card and its runner. Raises DeviceError if the device is
    not available."""


def _example_inputs(card: Card) -> tuple[torch.Tensor, ...]:
    """z [2, z_dim] and, with labels, label [2, k] to trace a graph with. A batch of 1 would be taken for a constant."""
    z = torch.zeros(2, card.z_dim)
    return (z, torch.zeros(2, len(card.labels.names))) if card.labels else (z,)


def _dynamic_shapes(card: Card) -> tuple[dict[int, Any], ...]:
    """Marks the batch axis of z and label as dynamic, for torch.export."""
    batch = torch.export.Dim("n")
    return ({0: batch}, {0: batch}) if card.labels else ({0: batch},)


def _build_onnx(graph: ImageGraph, card: Card) -> Any:
    inputs = ["z", "label"] if card.labels else ["z"]
    with _silenced():
        program = torch.onnx.export(
            graph,
            _example_inputs(card),
            dynamo=True,
            opset_version=card.opset,
            input_names=inputs,
            output_names=["images"],
            dynamic_shapes=_dynamic_shapes(card),
            external_data=False,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _strip_metadata(model)
    return model


def _strip_metadata(model: Any) -> None:
    """Removes the exporter's notes from a graph, in place: stack traces, which contain paths of this machine."""
    graph = model.graph
    for each in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del each.metadata_props[:]
        each.doc_string = ""


def _save_onnx(model: Any, card: Card, path: Path) -> None:
    import onnx

    onnx.helper.set_model_props(model, {KEY: card.to_json()})
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def _open_onnx(path: Path, device: Device = "cpu") -> tuple[Card, Runner]:
    source = read_model(path)
    session = (
        gpu_session(source, CUDA, CUDA_OPTIONS)
        if device == "cuda"
        else cpu_session(source, str(path), available_cores())
    )

    def run(z: NDArray[np.float32], label: NDArray[np.float32] | None) -> NDArray[Any]:
        images: NDArray[Any] = session.run(None, {"z": z} if label is None else {"z": z, "label": label})[0]
        return images

    return Card.from_json(session.get_modelmeta().custom_metadata_map[KEY]), run


def _build_torchscript(graph: ImageGraph, card: Card) -> Any:
    with _silenced():
        traced = torch.jit.trace(graph, _example_inputs(card), check_trace=False)  # type: ignore[no-untyped-call]
        # Freezing a compact file would replace its float16 weights by the float32 weights computed from them.
        return traced if card.precision == "compact" else torch.jit.freeze(traced)


def _save_torchscript(module: Any, card: Card, path: Path) -> None:
    buffer = io.BytesIO()
    with _silenced():
        torch.jit.save(module, buffer, _extra_files={_CARD_FILE: card.to_json()})
    buffer.seek(0)
    # Copy everything but the debug records, which contain paths of this machine. With PyTorch's own writer, as it keeps
    # the weights aligned.
    reader, writer = torch._C.PyTorchFileReader(buffer), torch._C.PyTorchFileWriter(str(path))
    for name in reader.get_all_records():
        if not name.endswith(".debug_pkl") and name not in _WRITER_RECORDS:
            record = reader.get_record(name)
            writer.write_record(name, record, len(record))
    writer.write_end_of_file()


def _open_torchscript(path: Path, device: Device = "cpu") -> tuple[Card, Runner]:
    extra = {_CARD_FILE: ""}
    with _silenced():
        module = torch.jit.load(str(path), map_location=_torch_device(device), _extra_files=extra)  # type: ignore[no-untyped-call]
    return _read_card(extra), _torch_runner(module, device)


def _build_pt2(graph: ImageGraph, card: Card) -> Any:
    with _silenced():
        program = torch.export.export(graph, _example_inputs(card), dynamic_shapes=_dynamic_shapes(card))
    for node in program.graph.nodes:  # contains paths of this machine
        node.meta.pop("stack_trace", None)
    return program


def _save_pt2(program: Any, card: Card, path: Path) -> None:
    buffer = io.BytesIO()
    with _silenced():
        torch.export.save(program, buffer, extra_files={_CARD_FILE: card.to_json()})
    path.write_bytes(buffer.getvalue())


def _open_pt2(path: Path, device: Device = "cpu") -> tuple[Card, Runner]:
    extra = {_CARD_FILE: ""}
    with _silenced():
        program = torch.export.load(io.BytesIO(path.read_bytes()), extra_files=extra)
        module = program.module().to(_torch_device(device))
    return _read_card(extra), _torch_runner(module, device)


_CARD_FILE = f"{KEY}.json"
_WRITER_RECORDS = ("version", ".data/serialization_id", "byteorder")  # PyTorch's writer adds these itself


def _read_card(extra: dict[str, Any]) -> Card:
    """The card among the extra files of a PyTorch archive, which torch returns as text or as bytes."""
    text = extra[_CARD_FILE]
    return Card.from_json(text.decode() if isinstance(text, bytes) else text)


def _torch_device(device: Device) -> torch.device:
    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceError("PyTorch finds no CUDA device")
    return torch.device(device)


def _torch_runner(module: Any, device: Device) -> Runner:
    @torch.no_grad()
    def run(z: NDArray[np.float32], label: NDArray[np.float32] | None) -> NDArray[Any]:
        arguments = [torch.from_numpy(a).to(_torch_device(device)) for a in (z, label) if a is not None]
        images: NDArray[Any] = module(*arguments).cpu().numpy()
        return images

    return run


FORMATS: dict[str, Format] = {
    each.name: each
    for each in (
        Format(
            "onnx",
            ".onnx",
            "apps without PyTorch: gan-gen, import gankit, ONNX Runtime in any language, browsers, phones",
            ("onnx", "onnxscript", "onnxruntime"),
            _build_onnx,
            _save_onnx,
            _open_onnx,
        ),
        Format(
            "torchscript",
            ".ts",
            "programs with PyTorch, in Python or C++ (libtorch), that do not have the network's code",
            (),
            _build_torchscript,
            _save_torchscript,
            _open_torchscript,
        ),
        Format(
            "pt2",
            ".pt2",
            "TorchScript's successor, torch.export, for ahead-of-time compilation; open only files that you trust",
            (),
            _build_pt2,
            _save_pt2,
            _open_pt2,
        ),
    )
}


@contextmanager
def _silenced() -> Iterator[None]:
    """Hides what PyTorch's exporters print: deprecation warnings, hints at optional packages, graphs that failed."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "torch.fx", "torch._dynamo")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
