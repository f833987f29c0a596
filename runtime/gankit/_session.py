"""ONNX Runtime's sessions: how one is opened on a device, and what the model in it takes and makes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from gankit._card import KEY, Card
from gankit._errors import DeviceError, ModelError, ModelNotFoundError, UsageError, missing_extra, one_line
from gankit._labels import Labels

if TYPE_CHECKING:
    import onnxruntime

Device = Literal["auto", "cuda", "cpu", "openvino"]
Precision = Literal["auto", "float32", "tf32", "bfloat16", "float16"]

# Threads spin while they wait for the next layer or run. By itself ONNX Runtime burns a core for 40 ms after each call;
# without any spinning, or where it stops with the run, one image takes a third longer.
_SPIN = "1000"
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
# ONNX Runtime's DEFAULT is the slowest choice of plans and EXHAUSTIVE searches for minutes (ORT#22705).
CUDA_OPTIONS = {"cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"}


@dataclass(frozen=True)
class Options:
    """How a model is opened: see `gankit.load`, which takes the same."""

    device: Device = "auto"
    precision: Precision = "auto"
    batch: int = 0
    threads: int = 0
    gpu_mem_limit: int = 0

    def __post_init__(self) -> None:
        """Refuses what cannot be, by its name."""
        for name, choices in (("device", Device), ("precision", Precision)):
            if getattr(self, name) not in get_args(choices):
                raise UsageError(f"unknown {name} {getattr(self, name)!r}; there are {', '.join(get_args(choices))}")
        for name, zero in (("batch", "what suits the device"), ("threads", "all cores"), ("gpu_mem_limit", "no limit")):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 0:
                raise UsageError(f"{name} must be a whole number of at least 1, or 0 for {zero}, not {value!r}")


def read_model(model: str | Path | bytes) -> bytes:
    """The bytes of a model file. Raises ModelNotFoundError or ModelError where it cannot be read."""
    # From bytes, ONNX Runtime has no folder to look for external data in, which the contract forbids anyway.
    if isinstance(model, bytes):
        return model
    try:
        return Path(model).read_bytes()
    except FileNotFoundError:
        raise ModelNotFoundError(
            f"there is no model at {model}; export one with gan-export, or check the path"
        ) from None
    except OSError as error:
        raise ModelError(f"the model {model} cannot be read: {error.strerror}") from None


def cpu_session(source: bytes, name: str, threads: int) -> onnxruntime.InferenceSession:
    """A session on the CPU with that many threads for each run; `name` is for errors.

    Raises:
        ModelError: not ONNX, cut off, or not to be run by ONNX Runtime.
        MissingExtraError: onnxruntime is not installed.
    """
    ort = import_onnxruntime()
    try:
        return _session(ort, source, [CPU], {"session.intra_op.spin_duration_us": _SPIN}, threads)
    except Exception as error:  # ONNX Runtime's exceptions have no common base but Exception
        said = one_line(error)
        if "external" in said.lower():
            raise ModelError(
                f"{name} keeps weights in another file, which gankit does not open: export it as one file"
            ) from error
        if any(words in said for words in ("No Op registered", "not a registered function/op")):
            raise ModelError(f"{name} has an operator that ONNX Runtime does not have: {said}") from error
        raise ModelError(f"{name} cannot be opened as ONNX, it is cut off or something else: {said}") from error


def gpu_session(source: bytes, provider: str, options: dict[str, str]) -> onnxruntime.InferenceSession:
    """A session with every node on that provider.

    ONNX Runtime moves to the CPU in silence where CUDA fails: so what the live session says of itself is looked at,
    node by node, and a run that fails is an error.

    Raises:
        DeviceError: the provider cannot be had, or leaves nodes to the CPU.
        MissingExtraError: onnxruntime is not installed.
    """
    ort = import_onnxruntime()
    if provider not in ort.get_available_providers():
        raise DeviceError("this onnxruntime is built without it")
    with redirect_stdout(StringIO()):  # it prints each library that it misses
        ort.preload_dlls()
    try:
        config = {"session.record_ep_graph_assignment_info": "1"}
        session = _session(ort, source, [(provider, options)], config)
    except Exception as error:
        raise DeviceError(f"ONNX Runtime says {one_line(error)}") from error
    if session.get_providers()[0] != provider:
        raise DeviceError("ONNX Runtime could not start it")
    left = [
        f"{node.op_type} {node.name}"
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name != provider
        for node in part.get_nodes()
    ]
    if left:
        raise DeviceError(f"it leaves to the CPU {', '.join(left[:5])}{' and more' * (len(left) > 5)}")
    return session


def import_onnxruntime() -> Any:
    """The module. Raises MissingExtraError where it is not installed."""
    # It tells Microsoft how it is used, and keeps a database for that in the home of whoever runs the app. Nobody asked
    # them; who wants that sets it to 0.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError:
        raise missing_extra("running a model with ONNX Runtime", "cpu", "gpu") from None
    return onnxruntime


def cores() -> int:
    """CPU cores that this process may use: a container's share, not the machine's."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # cgroup v2: "200000 100000" are two cores, "max 100000" is no limit
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        count = min(count, max(1, int(quota) // int(period)))
    return count


def _session(
    ort: Any, source: bytes, providers: Sequence[Any], config: dict[str, str], threads: int = 0
) -> onnxruntime.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # what matters is raised; the rest would land in the terminal of an app's user
    for key, value in config.items():
        options.add_session_config_entry(key, value)
    return ort.InferenceSession(source, options, providers=providers, enable_fallback=0)


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
