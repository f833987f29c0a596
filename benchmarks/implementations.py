"""The implementations of sampling: gankit and the baselines, all with the same weights.

Each starts from random numbers and ends with uint8 [n, height, width, channels] in a NumPy array on the host.
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

from benchmarks.measurement import FailedError, UnavailableError
from benchmarks.model import Images, Inputs, Model
from benchmarks.options import Options
from benchmarks.results import Case
from benchmarks.roofline import OPENVINO_TYPES, openvino_precisions, torch_dtype
from gankit._options import Device, Precision
from gankit._session import CPU, CUDA

TOLERANCES = {"float32": 1, "float16": 4, "bfloat16": 8}
"""Largest allowed difference of any value from the network's, in grey levels (1/255); the mean may be a tenth of it.

bfloat16 has three bits less than float16: differences of up to 4 grey levels were measured, 0.3 in the mean."""
GPU_TOLERANCE = 2
"""Tolerance of float32 on a GPU, whose tensor cores multiply in TF32."""
TENSORRT = "TensorrtExecutionProvider"


class Sampler(NamedTuple):
    """An implementation that has loaded the model."""

    generate: Callable[[Inputs], Images]
    """Images for given inputs."""
    sample: Callable[[int, int], Images]
    """`sample(n, i)`: n images from fresh random numbers, in call number i."""


Load = Callable[[Model, int], Sampler]
"""Loads a model into an implementation that uses so many threads."""


@dataclass(frozen=True)
class Implementation:
    """One row of the tables of sampling."""

    name: str
    device: str
    precision: str
    load: Load
    baseline: bool = True
    quick: bool = False
    """Whether a quick run measures it."""

    @property
    def case(self) -> Case:
        """The row's entry in a document."""
        return Case(self.baseline, self.precision)


def check_images(
    implementation: Implementation, generate: Callable[[Inputs], Images], model: Model, n: int = 32
) -> None:
    """Compares the images of an implementation, in a batch of `n`, with those of the network.

    Raises:
        FailedError: shape or dtype are wrong, or a difference is larger than the tolerance of the precision.
    """
    inputs, expected = model.reference()
    indices = np.arange(n) % len(expected)
    inputs, expected = [values[indices] for values in inputs], expected[indices]
    images = generate(inputs)
    if images.shape != expected.shape or images.dtype != np.uint8:
        raise FailedError(f"it generates {images.dtype} {list(images.shape)}, not uint8 {list(expected.shape)}")
    tolerance = TOLERANCES[implementation.precision]
    if implementation.device == "cuda":
        tolerance = max(tolerance, GPU_TOLERANCE)
    errors = np.abs(images.astype(int) - expected)
    if errors.max() > tolerance or errors.mean() > tolerance / 10:
        raise FailedError(
            f"its images differ from the network's by up to {errors.max()} grey levels, {errors.mean():.2g} in the "
            f"mean; {tolerance} and {tolerance / 10:g} are allowed"
        )


def _gankit(file: str, device: Device, model: Model, threads: int, precision: Precision = "auto") -> Sampler:
    import gankit

    if device == "cuda":
        import onnxruntime

        if CUDA not in onnxruntime.get_available_providers():
            raise UnavailableError("this onnxruntime is built without CUDA")
    try:
        generator = gankit.load(model.file(file), device=device, precision=precision, threads=threads)
    except gankit.UsageError as error:  # this processor does not have the precision
        raise UnavailableError(str(error)) from None
    return Sampler(
        lambda inputs: generator(inputs[0], inputs[1] if len(inputs) > 1 else None),
        lambda n, i: generator.sample(n, seed=1, start=i * n),
    )


def numpy_sampler(generate: Callable[[Inputs], Images], widths: Sequence[int]) -> Sampler:
    """Samples with latents of NumPy's generator and, for conditional models, the first label.

    Args:
        generate: Images for given inputs.
        widths: Second dimension of each input.
    """
    rng, (z, *labels) = np.random.default_rng(0), [np.eye(1, width, dtype=np.float32) for width in widths]

    def sample(n: int, _: int) -> Images:
        return generate([rng.standard_normal((n, z.shape[1]), np.float32), *(label.repeat(n, 0) for label in labels)])

    return Sampler(generate, sample)


def ort_session(file: Path, threads: int, provider: str = CPU, **settings: str) -> Any:
    """Opens an ONNX Runtime session as its documentation does, with the number of threads that all baselines have.

    Raises:
        UnavailableError: this onnxruntime is built without the provider.
        FailedError: the provider does not start, or leaves nodes to the CPU, which ONNX Runtime does not report.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    if provider not in onnxruntime.get_available_providers():
        raise UnavailableError(f"this onnxruntime is built without {provider}")
    if provider != CPU:
        onnxruntime.preload_dlls()
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    fallback: list[str] = []
    if provider == TENSORRT:
        fallback = [CUDA]  # for nodes that TensorRT does not support
        with suppress(ImportError):
            import_module("tensorrt")  # a separate package, whose import loads the libraries
    session = onnxruntime.InferenceSession(
        str(file), options, providers=[(provider, settings), *fallback], enable_fallback=0
    )
    if session.get_providers()[0] != provider:
        raise FailedError(f"onnxruntime could not start {provider}")
    if provider != CPU:
        subgraphs = session.get_provider_graph_assignment_info()
        assigned = [(subgraph.ep_name, node.op_type) for subgraph in subgraphs for node in subgraph.get_nodes()]
        if all(name != provider for name, _ in assigned) or any(name == CPU for name, _ in assigned):
            raise FailedError(f"{provider} leaves nodes to other providers: {assigned[:3]}")
    return session


def session_sampler(session: Any) -> Sampler:
    """Samples with an ONNX Runtime session."""
    inputs = session.get_inputs()

    def generate(values: Inputs) -> Images:
        images: Images = session.run(None, {each.name: value for each, value in zip(inputs, values, strict=True)})[0]
        return images

    return numpy_sampler(generate, [each.shape[1] for each in inputs])


def _onnxruntime(file: str, provider: str, model: Model, threads: int) -> Sampler:
    return session_sampler(ort_session(model.file(file), threads, provider))


def _tensorrt(precision: str, model: Model, threads: int) -> Sampler:
    z = model.z_dim
    settings = {
        "trt_profile_min_shapes": f"z:1x{z}",
        "trt_profile_opt_shapes": f"z:128x{z}",
        "trt_profile_max_shapes": f"z:1024x{z}",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(model.path / f"tensorrt-{precision}"),
        "trt_fp16_enable": str(int(precision == "float16")),
    }
    return session_sampler(ort_session(model.file("plain.onnx"), threads, TENSORRT, **settings))


def _torch_graph(kind: str, device: str, precision: str, model: Model) -> Any:
    """A module from latents [n, z_dim] to uint8 images [n, height, width, channels], both on `device`."""
    weights, z_dim = model.generator(), model.z_dim
    import torch

    if kind == "TorchScript" and precision == "float32":
        return torch.jit.load(str(model.file("plain.ts")), device)  # type: ignore[no-untyped-call]
    from gankit_export.graph import ImageGraph
    from gankit_train.models import checkpoints

    like: Any = {"device": device, "dtype": torch_dtype(precision)}
    info, document = checkpoints.load_checkpoint(weights)
    generator, value_range = checkpoints.load_generator(info, document), info.config.networks.value_range
    graph: Any = ImageGraph(generator, value_range).to(**like)
    if kind == "eager":  # NCHW throughout: gankit's network is channels last from its first layer on
        graph.generator.body.register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(),))
        return graph
    graph = graph.to(memory_format=torch.channels_last)
    if kind == "compile":
        cuda_graphs = "reduce-overhead" if device == "cuda" else None
        return torch.compile(graph, dynamic=False, mode=cuda_graphs)
    if kind == "TorchScript":
        return torch.jit.freeze(torch.jit.trace(graph, torch.zeros(2, z_dim, **like)))  # type: ignore[no-untyped-call]
    return graph


def _torch(kind: str, device: str, precision: str, model: Model, threads: int) -> Sampler:
    graph, z_dim = _torch_graph(kind, device, precision, model), model.z_dim
    import torch

    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = True  # search the fastest algorithm for each batch size
    pinned: dict[int, torch.Tensor] = {}

    @torch.inference_mode()
    def generate(z: Any) -> Images:
        images = graph(z.to(device=device, dtype=torch_dtype(precision)))
        if device == "cpu":
            return np.asarray(images)
        host = pinned.setdefault(len(images), torch.empty(images.shape, dtype=images.dtype, pin_memory=True))
        host.copy_(images, non_blocking=True)
        torch.cuda.synchronize()
        return host.numpy().copy()

    return Sampler(
        lambda inputs: generate(torch.from_numpy(inputs[0])),
        lambda n, _: generate(torch.randn(n, z_dim, device=device)),
    )


_CHUNK = 16  # images; 16, 32 and 64 are equally fast on two cores, and gankit's workers take 16


def _openvino(file: str, precision: Precision, model: Model, threads: int) -> Sampler:
    """Splits large batches over as many streams as threads; gives batches of up to 16 images all threads at once."""
    import openvino

    if precision not in openvino_precisions():
        raise UnavailableError(f"this processor has no {precision}")
    core = openvino.Core()
    network = core.read_model(model.file(file))
    common = {"INFERENCE_PRECISION_HINT": OPENVINO_TYPES[precision], "INFERENCE_NUM_THREADS": str(threads)}
    throughput = common | {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": str(threads)}
    queue = openvino.AsyncInferQueue(core.compile_model(network, "CPU", throughput), threads)
    latency = common | {"PERFORMANCE_HINT": "LATENCY"}
    single = core.compile_model(network, "CPU", latency).create_infer_request()
    size = [edge.get_length() for edge in list(network.output(0).partial_shape)[1:]]

    def store(request: Any, part: Images) -> None:
        part[:] = request.get_output_tensor().data

    queue.set_callback(store)

    def generate(inputs: Inputs) -> Images:
        n = len(inputs[0])
        if n <= _CHUNK:
            return np.array(single.infer(dict(enumerate(inputs)))[0])
        images: Images = np.empty((n, *size), np.uint8)
        for start in range(0, n, _CHUNK):
            chunk = slice(start, start + _CHUNK)
            queue.start_async({i: values[chunk] for i, values in enumerate(inputs)}, images[chunk])
        queue.wait_all()
        return images

    return numpy_sampler(generate, [edge.partial_shape[1].get_length() for edge in network.inputs])


_TORCH_KINDS = {
    "eager": "torch eager",
    "channels_last": "torch channels_last",
    "compile": "torch.compile",
    "TorchScript": "TorchScript",
}


def _implementation(
    device: str, name: str, precision: str, load: Load, *, baseline: bool = True, quick: bool = False
) -> Implementation:
    return Implementation(f"{name}, {precision}", device, precision, load, baseline, quick)


def _on_cpu() -> Iterator[Implementation]:
    baseline = partial(_implementation, "cpu")
    ours = partial(_implementation, "cpu", baseline=False)
    yield ours("gankit, --for cpu", "float32", partial(_gankit, "cpu.onnx", "cpu"), quick=True)
    yield ours("gankit, --rewrite plain", "float32", partial(_gankit, "plain.onnx", "cpu"))
    for precision in OPENVINO_TYPES:
        load = partial(_gankit, "openvino.onnx", "openvino", precision=precision)
        yield ours("gankit, openvino", precision, load, quick=precision == "bfloat16")
    yield baseline("onnxruntime, --for cpu", "float32", partial(_onnxruntime, "cpu.onnx", CPU), quick=True)
    yield baseline("onnxruntime, --rewrite plain", "float32", partial(_onnxruntime, "plain.onnx", CPU))
    for precision in OPENVINO_TYPES:
        yield baseline("OpenVINO, --for openvino", precision, partial(_openvino, "openvino.onnx", precision))
        yield baseline("OpenVINO, --rewrite plain", precision, partial(_openvino, "plain.onnx", precision), quick=True)
    yield from _by_torch("cpu", "bfloat16")


def _on_cuda() -> Iterator[Implementation]:
    """All convolutions in float32 are TF32, as they are by default."""
    baseline = partial(_implementation, "cuda")
    ours = partial(_implementation, "cuda", baseline=False)
    yield ours("gankit, --rewrite plain", "float32", partial(_gankit, "plain.onnx", "cuda", precision="tf32"))
    yield ours("gankit, --for cuda", "float16", partial(_gankit, "cuda.onnx", "cuda"), quick=True)
    yield baseline("onnxruntime, --rewrite plain", "float32", partial(_onnxruntime, "plain.onnx", CUDA))
    yield baseline("onnxruntime, --for cuda", "float16", partial(_onnxruntime, "cuda.onnx", CUDA), quick=True)
    for precision in ("float32", "float16"):
        yield baseline("TensorRT", precision, partial(_tensorrt, precision))
    yield from _by_torch("cuda", "float16")


def _by_torch(device: str, half: str) -> Iterator[Implementation]:
    for precision in ("float32", half):
        for kind, name in _TORCH_KINDS.items():
            load = partial(_torch, kind, device, precision)
            yield _implementation(device, name, precision, load, quick=kind == "channels_last")


IMPLEMENTATIONS = [*_on_cpu(), *_on_cuda()]


def select_implementations(options: Options) -> dict[str, Implementation]:
    """The implementations to measure with these options, by name."""
    return {
        each.name: each
        for each in IMPLEMENTATIONS
        if each.device == options.device
        and (options.baselines or not each.baseline)
        and (each.quick or not options.quick)
    }


def find_implementation(name: str, device: str) -> Implementation:
    """The implementation with this name on this device."""
    return next(each for each in IMPLEMENTATIONS if (each.name, each.device) == (name, device))
