"""The ways to sample: gankit's and its peers', from the same weights to the same bytes.

Every way starts from random numbers and ends with uint8 [n, height, width, channels] in NumPy, on the host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.limits import PRECISION_HINTS, openvino_precisions
from benchmarks.model import Images, Inputs, Model
from benchmarks.options import Options
from benchmarks.results import Row
from benchmarks.rounds import FailedError, MissingError
from gankit._session import CPU, CUDA, Device, Precision

TOLERANCES = {"float32": 1, "float16": 4, "bfloat16": 8}
"""How far any byte of a way may lie from the network's, in steps of 1/255; all of them in the mean a tenth of it.
bfloat16 has three bits less than float16: up to 4 steps were seen, and 0.3 in the mean."""
GPU_TOLERANCE = 2
"""The same in float32 on a GPU, whose tensor cores multiply it as TF32."""
TENSORRT = "TensorrtExecutionProvider"


class Opened(NamedTuple):
    """A way that is ready."""

    images: Callable[[Inputs], Images]
    """Of inputs that are given."""
    sample: Callable[[int, int], Images]
    """`sample(n, i)`: n images of fresh random numbers, as the i-th call."""


Opener = Callable[[Model, int], Opened]
"""Makes a way ready for a model, with so many threads."""


@dataclass(frozen=True)
class Way:
    """One row of the table."""

    name: str
    device: str
    precision: str
    open: Opener
    ours: bool = False
    quick: bool = False
    """Whether a quick run has it too."""

    @property
    def row(self) -> Row:
        """For a document."""
        return Row(self.ours, self.precision)


def compare(way: Way, images: Callable[[Inputs], Images], model: Model, n: int = 32) -> None:
    """Raises FailedError where a way makes other images than the network does, in a batch of n."""
    inputs, expected = model.reference()
    which = np.arange(n) % len(expected)
    inputs, expected = [values[which] for values in inputs], expected[which]
    found = images(inputs)
    if found.shape != expected.shape or found.dtype != np.uint8:
        raise FailedError(f"it makes {found.dtype} {list(found.shape)}, not uint8 {list(expected.shape)}")
    tolerance = TOLERANCES[way.precision]
    if way.device == "cuda":
        tolerance = max(tolerance, GPU_TOLERANCE)
    off = np.abs(found.astype(int) - expected)
    if off.max() > tolerance or off.mean() > tolerance / 10:
        measured = f"up to {off.max()}/255 and by {off.mean():.2g}/255 in the mean"
        raise FailedError(
            f"its images differ from the network's by {measured}; allowed is {tolerance}, and a tenth of it"
        )


def _gankit(file: str, device: Device, model: Model, threads: int, precision: Precision = "auto") -> Opened:
    import gankit

    if device == "cuda":
        import onnxruntime

        if CUDA not in onnxruntime.get_available_providers():
            raise MissingError("this onnxruntime is built without CUDA")
    try:
        generator = gankit.load(model.file(file), device, precision, threads=threads)
    except gankit.UsageError as error:  # a precision that this processor does not have
        raise MissingError(str(error)) from None
    return Opened(
        lambda inputs: generator(inputs[0], inputs[1] if len(inputs) > 1 else None),
        lambda n, i: generator.sample(n, seed=1, start=i * n),
    )


def drawn(images: Callable[[Inputs], Images], widths: Sequence[int]) -> Opened:
    """With latents as NumPy draws them, and the first label for every call; the widths are those of the inputs."""
    rng, (z, *labels) = np.random.default_rng(0), [np.eye(1, width, dtype=np.float32) for width in widths]

    def sample(n: int, i: int) -> Images:
        return images([rng.standard_normal((n, z.shape[1]), np.float32), *(label.repeat(n, 0) for label in labels)])

    return Opened(images, sample)


def session(file: Path, threads: int, provider: str = CPU, **settings: str) -> Any:
    """A session of ONNX Runtime as its documentation makes one, but for the number of threads, which all share.

    Raises:
        MissingError: this onnxruntime is built without the provider.
        FailedError: the provider does not start or leaves nodes to others, of which ONNX Runtime says nothing.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    if provider not in onnxruntime.get_available_providers():
        raise MissingError(f"this onnxruntime is built without {provider}")
    if provider != CPU:
        onnxruntime.preload_dlls()
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    others: list[str] = []
    if provider == TENSORRT:
        others = [CUDA]  # for what TensorRT leaves out
        with suppress(ImportError):
            import_module("tensorrt")  # a package of its own, whose libraries are then found
    providers = [(provider, settings), *others]
    made = onnxruntime.InferenceSession(str(file), options, providers=providers, enable_fallback=0)
    if made.get_providers()[0] != provider:
        raise FailedError(f"onnxruntime could not start {provider}")
    if provider != CPU:
        parts = made.get_provider_graph_assignment_info()
        places = [(part.ep_name, node.op_type) for part in parts for node in part.get_nodes()]
        if all(place != provider for place, _ in places) or any(place == CPU for place, _ in places):
            raise FailedError(f"{provider} leaves nodes to others: {places[:3]}")
    return made


def runs(made: Any) -> Callable[[Inputs], Images]:
    """What a session computes."""
    names = [value.name for value in made.get_inputs()]
    return lambda inputs: made.run(None, dict(zip(names, inputs, strict=True)))[0]


def _onnxruntime(file: str, provider: str, model: Model, threads: int, **settings: str) -> Opened:
    opened = session(model.file(file), threads, provider, **settings)
    return drawn(runs(opened), [value.shape[1] for value in opened.get_inputs()])


def _tensorrt(precision: str, model: Model, threads: int) -> Opened:
    z = model.z_dim
    sizes = {f"trt_profile_{name}_shapes": f"z:{n}x{z}" for name, n in (("min", 1), ("opt", 128), ("max", 1024))}
    cache = {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(model.path / f"tensorrt-{precision}")}
    half = {"trt_fp16_enable": str(int(precision == "float16"))}
    return _onnxruntime("plain.onnx", TENSORRT, model, threads, **sizes, **cache, **half)


def _torch(kind: str, device: str, precision: str, model: Model, threads: int) -> Opened:
    weights, z_dim = model.generator(), model.z_dim
    import torch

    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = True  # each size comes again and again
    like: Any = {"device": device, "dtype": getattr(torch, precision)}
    if kind == "TorchScript" and precision == "float32":
        graph: Any = torch.jit.load(str(model.file("plain.ts")), device)  # type: ignore[no-untyped-call]
    else:
        from gankit_export.graph import ImageGraph
        from gankit_train.models import checkpoints

        header, document = checkpoints.read(weights)
        graph = ImageGraph(checkpoints.generator(header, document), header.config.value_range).to(**like)
        if kind == "eager":  # our own network is channels last from its first layer on
            graph.generator.body.register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(),))
        else:
            graph = graph.to(memory_format=torch.channels_last)
        if kind == "compile":  # on a GPU with CUDA graphs
            graph = torch.compile(graph, dynamic=False, mode="reduce-overhead" if device == "cuda" else None)
        if kind == "TorchScript":
            graph = torch.jit.freeze(torch.jit.trace(graph, torch.zeros(2, z_dim, **like)))  # type: ignore[no-untyped-call]
    pinned: dict[int, torch.Tensor] = {}

    @torch.inference_mode()
    def images(z: Any) -> Images:
        made = graph(z.to(**like))
        if device == "cpu":
            return np.asarray(made)
        host = pinned.setdefault(len(made), torch.empty(made.shape, dtype=made.dtype, pin_memory=True))
        host.copy_(made, non_blocking=True)
        torch.cuda.synchronize()
        return host.numpy().copy()

    return Opened(
        lambda inputs: images(torch.from_numpy(inputs[0])),
        lambda n, i: images(torch.randn(n, z_dim, device=device)),
    )


def _openvino(file: str, precision: Precision, model: Model, threads: int) -> Opened:
    """Large batches in pieces over as many streams as there are cores, small ones with all cores at once."""
    import openvino

    if precision not in openvino_precisions():
        raise MissingError(f"this processor has no {precision}")
    core = openvino.Core()
    read = core.read_model(model.file(file))
    common = {"INFERENCE_PRECISION_HINT": PRECISION_HINTS[precision], "INFERENCE_NUM_THREADS": str(threads)}
    streams = {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": str(threads)}
    queue = openvino.AsyncInferQueue(core.compile_model(read, "CPU", common | streams), threads)
    alone = core.compile_model(read, "CPU", common | {"PERFORMANCE_HINT": "LATENCY"}).create_infer_request()
    size = [edge.get_length() for edge in list(read.output(0).partial_shape)[1:]]

    def keep(request: Any, part: Images) -> None:
        part[:] = request.get_output_tensor().data

    queue.set_callback(keep)

    def images(inputs: Inputs) -> Images:
        n = len(inputs[0])
        if n <= _PIECE:
            return np.array(alone.infer(dict(enumerate(inputs)))[0])
        made: Images = np.empty((n, *size), np.uint8)
        for at in range(0, n, _PIECE):
            part = slice(at, at + _PIECE)
            queue.start_async({i: values[part] for i, values in enumerate(inputs)}, made[part])
        queue.wait_all()
        return made

    return drawn(images, [edge.partial_shape[1].get_length() for edge in read.inputs])


_PIECE = 16  # images; 16, 32 and 64 are about alike on two cores, and gankit's own workers take 16

_TORCH = {
    "eager": "torch eager",
    "channels_last": "torch channels_last",
    "compile": "torch.compile",
    "TorchScript": "TorchScript",
}


def _way(device: str, name: str, precision: str, make: Opener, *, ours: bool = False, quick: bool = False) -> Way:
    return Way(f"{name}, {precision}", device, precision, make, ours, quick)


def _on_cpu() -> Iterator[Way]:
    way = partial(_way, "cpu")
    yield way("gankit, --for cpu", "float32", partial(_gankit, "cpu.onnx", "cpu"), ours=True, quick=True)
    yield way("gankit, --rewrite plain", "float32", partial(_gankit, "plain.onnx", "cpu"), ours=True)
    for precision in PRECISION_HINTS:
        make = partial(_gankit, "openvino.onnx", "openvino", precision=precision)
        yield way("gankit, openvino", precision, make, ours=True, quick=precision == "bfloat16")
    yield way("onnxruntime, --for cpu", "float32", partial(_onnxruntime, "cpu.onnx", CPU), quick=True)
    yield way("onnxruntime, --rewrite plain", "float32", partial(_onnxruntime, "plain.onnx", CPU))
    for precision in PRECISION_HINTS:
        yield way("OpenVINO, --for openvino", precision, partial(_openvino, "openvino.onnx", precision))
        yield way("OpenVINO, --rewrite plain", precision, partial(_openvino, "plain.onnx", precision), quick=True)
    yield from _by_torch("cpu", "bfloat16")


def _on_cuda() -> Iterator[Way]:
    """In float32, everybody's convolutions are TF32 there, as they are by default."""
    way = partial(_way, "cuda")
    yield way("gankit, --rewrite plain", "float32", partial(_gankit, "plain.onnx", "cuda", precision="tf32"), ours=True)
    yield way("gankit, --for cuda", "float16", partial(_gankit, "cuda.onnx", "cuda"), ours=True, quick=True)
    yield way("onnxruntime, --rewrite plain", "float32", partial(_onnxruntime, "plain.onnx", CUDA))
    yield way("onnxruntime, --for cuda", "float16", partial(_onnxruntime, "cuda.onnx", CUDA), quick=True)
    for precision in ("float32", "float16"):
        yield way("TensorRT", precision, partial(_tensorrt, precision))
    yield from _by_torch("cuda", "float16")


def _by_torch(device: str, half: str) -> Iterator[Way]:
    for precision in ("float32", half):
        for kind, name in _TORCH.items():
            make = partial(_torch, kind, device, precision)
            yield _way(device, name, precision, make, quick=kind == "channels_last")


WAYS = [*_on_cpu(), *_on_cuda()]


def ways_for(options: Options) -> dict[str, Way]:
    """Those that the command line asks for, by name."""
    return {
        way.name: way
        for way in WAYS
        if way.device == options.device and (options.peers or way.ours) and (way.quick or not options.quick)
    }


def way_named(name: str, device: str) -> Way:
    """Out of the table."""
    return next(way for way in WAYS if (way.name, way.device) == (name, device))
