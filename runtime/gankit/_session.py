"""Opening ONNX Runtime sessions, with the guarantee that every node runs where it was requested to run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from gankit._environment import import_onnxruntime, preload_cuda_libraries
from gankit._errors import DeviceError, ModelError, UsageError, one_line
from gankit._options import Provider

if TYPE_CHECKING:
    import onnxruntime

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
CUDA_OPTIONS = {
    # ONNX Runtime's DEFAULT is the slowest choice of cuDNN plans, and EXHAUSTIVE searches for minutes (ORT#22705).
    "cudnn_conv_algo_search": "HEURISTIC",
    "arena_extend_strategy": "kSameAsRequested",
}
# Microseconds for which threads spin while they wait for the next layer or run. ONNX Runtime's default occupies a core
# for 40 ms after each call; without spinning, or with spinning only during a run, one image takes a third longer.
_SPIN = "1000"
_LISTED = 5  # nodes that an error names


class Session(Protocol):
    """The methods of `onnxruntime.InferenceSession` that a generator uses."""

    def get_inputs(self) -> Any:
        """The inputs, with name, type and shape."""

    def get_outputs(self) -> Any:
        """The outputs, with name, type and shape."""

    def get_modelmeta(self) -> Any:
        """The metadata of the file."""

    def get_providers(self) -> Any:
        """The execution providers, in order of priority."""

    def run(self, output_names: Any, input_feed: Any) -> Any:
        """Computes the outputs."""


def cpu_session(source: bytes, name: str, threads: int) -> onnxruntime.InferenceSession:
    """Opens the bytes of an ONNX file on the CPU, with `threads` threads for each run; errors call the file `name`.

    Raises:
        ModelError: not ONNX, truncated, or not supported by ONNX Runtime.
        MissingExtraError: onnxruntime is not installed.
    """
    onnxruntime = import_onnxruntime()
    try:
        return _open(onnxruntime, source, [CPU], {"session.intra_op.spin_duration_us": _SPIN}, threads)
    except Exception as error:  # ONNX Runtime's exceptions have no common base class but Exception
        message = one_line(error)
        if "external" in message.lower():
            raise ModelError(
                f"{name} stores its weights in a second file, which gankit does not open: export it as one file"
            ) from error
        if any(words in message for words in ("No Op registered", "not a registered function/op")):
            raise ModelError(f"{name} has an operator that ONNX Runtime does not have: {message}") from error
        raise ModelError(f"{name} cannot be opened as ONNX; it is truncated or not ONNX: {message}") from error


def gpu_session(source: bytes, provider: str, options: dict[str, str]) -> onnxruntime.InferenceSession:
    """Opens the bytes of an ONNX file on a GPU's execution provider, with every node there.

    Raises:
        DeviceError: the provider is not available, or leaves nodes to the CPU.
        MissingExtraError: onnxruntime is not installed.
    """
    if provider not in import_onnxruntime().get_available_providers():
        raise DeviceError(f"this onnxruntime is built without {provider}")
    preload_cuda_libraries()
    return _session_on_first(source, [(provider, options)], 0)


def provider_session(source: bytes, providers: Sequence[Provider], threads: int) -> onnxruntime.InferenceSession:
    """Opens the bytes of an ONNX file on any list of execution providers, with every node on the first one.

    Raises:
        UsageError: the installed onnxruntime does not have one of the providers.
        DeviceError: the first provider does not start, or leaves nodes to another one.
        MissingExtraError: onnxruntime is not installed.
    """
    available = import_onnxruntime().get_available_providers()
    for name in map(_name, providers):
        if name not in available:
            raise UsageError(f"onnxruntime has no execution provider {name!r}; available: {', '.join(available)}")
    if any(name.startswith(("CUDA", "Tensorrt", "NvTensorRTRTX")) for name in map(_name, providers)):
        preload_cuda_libraries()
    return _session_on_first(source, providers, threads)


def _session_on_first(source: bytes, providers: Sequence[Provider], threads: int) -> onnxruntime.InferenceSession:
    """Opens a session and checks that the first provider runs all its nodes.

    When a GPU fails, ONNX Runtime silently moves to the CPU. So the live session is asked, node by node, where it runs.
    """
    first = _name(providers[0])
    try:
        config = {"session.record_ep_graph_assignment_info": "1"}
        session = _open(import_onnxruntime(), source, providers, config, threads)
    except Exception as error:  # ONNX Runtime's exceptions have no common base class but Exception
        raise DeviceError(f"ONNX Runtime cannot open the model on {first}: {one_line(error)}") from error
    if session.get_providers()[0] != first:
        raise DeviceError(f"ONNX Runtime could not start {first}")
    elsewhere = [
        f"{node.op_type} {node.name} ({part.ep_name})"
        for part in session.get_provider_graph_assignment_info()
        if part.ep_name != first
        for node in part.get_nodes()
    ]
    if elsewhere:
        more = f" and {len(elsewhere) - _LISTED} more" if len(elsewhere) > _LISTED else ""
        raise DeviceError(f"{first} does not run all nodes of the model: {', '.join(elsewhere[:_LISTED])}{more}")
    return session


def _name(provider: Provider) -> str:
    return provider if isinstance(provider, str) else provider[0]


def _open(
    onnxruntime: Any, source: bytes, providers: Sequence[Provider], config: dict[str, str], threads: int
) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # errors are raised; warnings would land in the terminal of an app's user
    for key, value in config.items():
        options.add_session_config_entry(key, value)
    return onnxruntime.InferenceSession(source, options, providers=providers, enable_fallback=0)
