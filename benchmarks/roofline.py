"""The machine's peak rates, and the images/s that they allow: the roofline model of Williams et al. (2009).

Published peaks do not hold on a shared machine, so they are measured in the same rounds as everything else: the
best that PyTorch, ONNX Runtime or OpenVINO reaches with shapes that suit it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmarks.measurement import Measure, Values, synchronized, timed
from benchmarks.options import Options
from benchmarks.worker import measure_in_process
from gankit._options import Precision

if TYPE_CHECKING:
    import torch

# Names of peak rates in a document. A multiplication or an addition is one operation.
FLOPS = {
    "float32": "FLOP/s in float32",
    "bfloat16": "FLOP/s in bfloat16",
    "float16": "FLOP/s in float16",
}
MEMORY = "B/s of memory"
TO_HOST, TO_HOST_PAGEABLE = "B/s to the host, pinned", "B/s to the host, pageable"
PEAKS = (*FLOPS.values(), MEMORY, TO_HOST, TO_HOST_PAGEABLE)

# Names of the work per image.
OPERATIONS, BYTES_MOVED, BYTES_OUT = "FLOP per image", "bytes moved per image", "bytes copied to the host per image"

Sizes = dict[str, Any]
"""`gemm`: (m, k, n) of products of m×k and k×n matrices. `conv`: (n, channels, edge) of 3×3 convolutions. `bytes`: of
copies."""
SIZES: dict[str, Sizes] = {
    "cpu": {
        "gemm": [(2048, 2048, 2048), (4096, 512, 4096), (1024, 256, 2048)],
        "conv": [(16, 256, 16), (16, 128, 32)],
        "bytes": 1 << 28,
    },
    "cuda": {
        "gemm": [(8192, 8192, 8192), (4096, 4096, 4096), (16384, 2048, 8192)],
        "conv": [(256, 256, 32), (512, 512, 16)],
        "bytes": 1 << 30,
    },
}


class Bound(NamedTuple):
    """An upper bound of a rate."""

    name: str
    """What limits the rate."""
    rate: float
    """Images/s."""


def bound(peaks: Mapping[str, float], work: Mapping[str, float], precision: str) -> Bound | None:
    """The lowest of the rates that arithmetic, memory and the copy to the host allow; None where none is known.

    Args:
        peaks: Peak rates of the machine, by their names in `PEAKS`.
        work: `OPERATIONS`, `BYTES_MOVED` and `BYTES_OUT`, as far as they are known. Memory traffic is the least that
            is possible: latents in, images out, weights in the caches.
        precision: The precision of the arithmetic.
    """
    candidates = (
        (f"arithmetic in {precision}", FLOPS[precision], OPERATIONS),
        ("memory bandwidth", MEMORY, BYTES_MOVED),
        ("copy to the host", TO_HOST, BYTES_OUT),
    )
    known = [
        Bound(name, peaks[peak] / work[amount]) for name, peak, amount in candidates if peak in peaks if amount in work
    ]
    return min(known, key=lambda each: each.rate, default=None)


def peak_measures(options: Options) -> dict[str, Measure]:
    """Measures of the peak rates for `interleave`, each engine in its own process.

    A quick run measures them once for all suites.
    """
    measure = _measure_once if options.quick else _measure
    engines = ENGINES if options.device == "cpu" else ("torch",)
    return {f"peak rates by {engine}": partial(measure, engine, options) for engine in engines}


def _measure(engine: str, options: Options) -> Values:
    sizes, seconds = SIZES[options.device], options.pick(0.5, 0.1)
    return measure_in_process(measure_peaks, options, engine=engine, sizes=sizes, seconds=seconds)


_measure_once = cache(_measure)


def measure_peaks(device: str, threads: int, engine: str, sizes: Sizes, seconds: float) -> Values:
    """Runs in its own process: the highest rates that one engine reaches, by their names in `PEAKS`."""
    best = Values()
    for name, amount, call in ENGINES[engine](device, threads, sizes):
        best[name] = max(best.get(name, 0.0), amount / min(timed(call, seconds)))
    return best


def torch_dtype(precision: str) -> torch.dtype:
    """PyTorch's type for the name of a precision."""
    import torch

    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]


OPENVINO_TYPES: dict[Precision, str] = {"float32": "f32", "bfloat16": "bf16"}
"""OpenVINO's names of the precisions."""


def openvino_precisions() -> list[Precision]:
    """The precisions that OpenVINO has on this processor: float32, and bfloat16 where the processor supports it."""
    import openvino

    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ["float32", "bfloat16"] if "BF16" in capabilities else ["float32"]


Calls = Iterator[tuple[str, float, Callable[[], object]]]
"""(name of the peak rate, operations or bytes of a call, the call); a call returns when all is computed."""


def _torch(device: str, threads: int, sizes: Sizes) -> Calls:
    import torch

    torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = True  # as it is by default for convolutions
    torch.backends.cudnn.benchmark = True

    with torch.inference_mode():
        for precision in ("float32", "bfloat16", "float16") if device == "cuda" else ("float32", "bfloat16"):
            like: Any = {"dtype": torch_dtype(precision), "device": device}
            for m, k, n in sizes["gemm"]:
                a, b = torch.randn(m, k, **like), torch.randn(k, n, **like)
                yield FLOPS[precision], 2.0 * m * k * n, partial(synchronized, partial(torch.mm, a, b), device)
            for n, channels, edge in sizes["conv"]:
                layer: Any = torch.nn.Conv2d(channels, channels, 3, padding=1, bias=False, **like)
                layer = layer.to(memory_format=torch.channels_last)
                x = torch.randn(n, channels, edge, edge, **like).to(memory_format=torch.channels_last)
                call = partial(synchronized, partial(layer, x), device)
                yield FLOPS[precision], _conv_operations(n, channels, edge), call
        source, target = (torch.zeros(sizes["bytes"], dtype=torch.uint8, device=device) for _ in range(2))
        yield MEMORY, 2.0 * sizes["bytes"], partial(synchronized, partial(target.copy_, source), device)
        if device == "cuda":
            for name, pinned in ((TO_HOST, True), (TO_HOST_PAGEABLE, False)):
                host = torch.empty(sizes["bytes"] // 4, dtype=torch.uint8, pin_memory=pinned)
                call = partial(synchronized, partial(host.copy_, source[: len(host)]), device)
                yield name, float(len(host)), call


def _onnxruntime(device: str, threads: int, sizes: Sizes) -> Calls:
    import onnxruntime

    for operations, model, x in _one_node_models(sizes):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        yield FLOPS["float32"], operations, partial(session.run, None, {"x": x})


def _openvino(device: str, threads: int, sizes: Sizes) -> Calls:
    import openvino

    core = openvino.Core()
    for precision in openvino_precisions():
        settings = {"INFERENCE_PRECISION_HINT": OPENVINO_TYPES[precision], "INFERENCE_NUM_THREADS": str(threads)}
        for operations, model, x in _one_node_models(sizes):
            request = core.compile_model(core.read_model(model), "CPU", settings).create_infer_request()
            yield FLOPS[precision], operations, partial(request.infer, {0: x}, share_inputs=True)


ENGINES: dict[str, Callable[[str, int, Sizes], Calls]] = {
    "torch": _torch,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
}


def _conv_operations(n: int, channels: int, edge: int) -> float:
    """Operations of a 3×3 convolution from [n, channels, edge, edge] to the same shape."""
    return 2.0 * n * channels * channels * 9 * edge * edge


def _one_node_models(sizes: Sizes) -> Iterator[tuple[float, bytes, np.ndarray[Any, Any]]]:
    """(operations, ONNX model of one MatMul or Conv, its input `x`) for each size."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)

    def serialized(node: Any, x: Any, w: Any, y_shape: list[int]) -> bytes:
        graph = helper.make_graph(
            [node],
            "one-node",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, y_shape)],
            [numpy_helper.from_array(w, "w")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        return bytes(model.SerializeToString())

    for m, k, n in sizes["gemm"]:
        x, w = rng.standard_normal((m, k), np.float32), rng.standard_normal((k, n), np.float32)
        yield 2.0 * m * k * n, serialized(helper.make_node("MatMul", ["x", "w"], ["y"]), x, w, [m, n]), x
    for n, channels, edge in sizes["conv"]:
        x = rng.standard_normal((n, channels, edge, edge), np.float32)
        w = rng.standard_normal((channels, channels, 3, 3), np.float32)
        node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
        yield _conv_operations(n, channels, edge), serialized(node, x, w, list(x.shape)), x
