"""The formats that can be written: for each, how to build it, how to save it with its card, and how to run it."""

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

Run = Callable[[NDArray[np.float32], "NDArray[np.float32] | None"], NDArray[Any]]
"""z [n, z_dim] and label [n, k] or None → images, as the contract has them."""


@dataclass(frozen=True)
class Format:
    """One row of the table."""

    name: str
    suffix: str
    about: str
    """What it is for."""
    needs: tuple[str, ...]
    """Packages beside torch."""
    build: Callable[[ImageGraph, Card], Any]
    save: Callable[[Any, Card, Path], None]
    open: Callable[[Path, Device], tuple[Card, Run]]
    """Opens a file as a user would: its card, and what runs it. DeviceError where that device is not there."""


def _examples(card: Card) -> tuple[torch.Tensor, ...]:
    z = torch.zeros(2, card.z_dim)
    return (z, torch.zeros(2, len(card.labels.names))) if card.labels else (z,)


def _dynamic(card: Card) -> tuple[dict[int, Any], ...]:
    """Which axes of z, and of label, may be any size."""
    batch = torch.export.Dim("n")
    return ({0: batch}, {0: batch}) if card.labels else ({0: batch},)


def _build_onnx(graph: ImageGraph, card: Card) -> Any:
    inputs = ["z", "label"] if card.labels else ["z"]
    with _quiet():
        program = torch.onnx.export(
            graph,
            _examples(card),
            dynamo=True,
            opset_version=graph.recipe.opset,
            input_names=inputs,
            output_names=["images"],
            dynamic_shapes=_dynamic(card),
            external_data=False,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _forget_the_machine(model)
    return model


def _forget_the_machine(model: Any) -> None:
    """Takes out what the exporter notes of itself: stack traces with the paths of whoever exported."""
    graph = model.graph
    for each in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del each.metadata_props[:]
        each.doc_string = ""


def _save_onnx(model: Any, card: Card, path: Path) -> None:
    import onnx

    onnx.helper.set_model_props(model, {KEY: card.to_json()})
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def _open_onnx(path: Path, device: Device = "cpu") -> tuple[Card, Run]:
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
    with _quiet():
        traced = torch.jit.trace(graph, _examples(card), check_trace=False)  # type: ignore[no-untyped-call]
        # Freezing would compute the float32 weights and store those.
        return traced if graph.recipe.precision == "compact" else torch.jit.freeze(traced)


def _save_torchscript(module: Any, card: Card, path: Path) -> None:
    buffer = io.BytesIO()
    with _quiet():
        torch.jit.save(module, buffer, _extra_files={_EXTRA: card.to_json()})
    buffer.seek(0)
    # Without the notes for debuggers, which name the files and folders of the machine it was made on. PyTorch's own
    # writer, as it keeps the weights aligned.
    reader, writer = torch._C.PyTorchFileReader(buffer), torch._C.PyTorchFileWriter(str(path))
    for name in reader.get_all_records():
        if not name.endswith(".debug_pkl") and name not in _WRITTEN_ALWAYS:
            record = reader.get_record(name)
            writer.write_record(name, record, len(record))
    writer.write_end_of_file()


def _open_torchscript(path: Path, device: Device = "cpu") -> tuple[Card, Run]:
    extra = {_EXTRA: ""}
    with _quiet():
        module = torch.jit.load(str(path), map_location=_torch_device(device), _extra_files=extra)  # type: ignore[no-untyped-call]
    return _card(extra), _torch_run(module, device)


def _build_pt2(graph: ImageGraph, card: Card) -> Any:
    with _quiet():
        program = torch.export.export(graph, _examples(card), dynamic_shapes=_dynamic(card))
    for node in program.graph.nodes:  # stack traces, as in _forget_the_machine
        node.meta.pop("stack_trace", None)
    return program


def _save_pt2(program: Any, card: Card, path: Path) -> None:
    buffer = io.BytesIO()
    with _quiet():
        torch.export.save(program, buffer, extra_files={_EXTRA: card.to_json()})
    path.write_bytes(buffer.getvalue())


def _open_pt2(path: Path, device: Device = "cpu") -> tuple[Card, Run]:
    extra = {_EXTRA: ""}
    with _quiet():
        program = torch.export.load(io.BytesIO(path.read_bytes()), extra_files=extra)
        module = program.module().to(_torch_device(device))
    return _card(extra), _torch_run(module, device)


_EXTRA = f"{KEY}.json"
_WRITTEN_ALWAYS = ("version", ".data/serialization_id", "byteorder")  # by PyTorch's writer itself


def _card(extra: dict[str, Any]) -> Card:
    text = extra[_EXTRA]
    return Card.from_json(text.decode() if isinstance(text, bytes) else text)


def _torch_device(device: Device) -> torch.device:
    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceError("this torch finds no CUDA")
    return torch.device(device)


def _torch_run(module: Any, device: Device) -> Run:
    @torch.no_grad()
    def run(z: NDArray[np.float32], label: NDArray[np.float32] | None) -> NDArray[Any]:
        arguments = [torch.from_numpy(a).to(_torch_device(device)) for a in (z, label) if a is not None]
        images: NDArray[Any] = module(*arguments).cpu().numpy()
        return images

    return run


FORMATS = {
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
            "programs that have PyTorch, Python or C++ (libtorch), without the code of the network",
            (),
            _build_torchscript,
            _save_torchscript,
            _open_torchscript,
        ),
        Format(
            "pt2",
            ".pt2",
            "torch.export's successor of TorchScript, to compile ahead of time; open only files that you trust",
            (),
            _build_pt2,
            _save_pt2,
            _open_pt2,
        ),
    )
}


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporting warns of torch's own deprecations and of packages that no generator needs, and prints whole graphs."""
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
