"""What the machine can do at the most: arithmetic in each precision, memory, and copies from the GPU to the host.

Nobody knows these from a data sheet of a shared machine, so they are measured in the same run, as the best that any of
the engines reaches with the shapes that suit it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import Any

import numpy as np

from benchmarks.options import Options
from benchmarks.rounds import Measure, Values, finish, timed
from benchmarks.worker import call
from gankit._session import Precision

# Names in a document: what the machine does in a second, and what an image takes. A multiplication or an addition is
# one operation.
RATE, MEMORY, COPY, PAGEABLE = "FLOP/s in {}", "B/s of memory", "B/s to the host, pinned", "B/s to the host, pageable"
OPERATIONS, MOVED, OUT = "FLOP for an image", "bytes that an image moves", "bytes of an image"

Sizes = dict[str, Any]
"""Of matrices m×k and k×n, of maps [n, c, edge, edge] for a convolution, and bytes to copy."""
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


def nearer(limits: Mapping[str, float], work: Mapping[str, float], precision: str) -> tuple[str, float] | None:
    """The limit that allows the fewest images a second, and how many; None where none was measured.

    Arithmetic in the way's precision, memory for what has to be moved even with everything else in the caches, and the
    copy of the images to the host.
    """
    candidates = (
        (f"arithmetic in {precision}", RATE.format(precision), OPERATIONS),
        ("memory", MEMORY, MOVED),
        ("copy to the host", COPY, OUT),
    )
    known = [
        (name, limits[rate] / work[amount]) for name, rate, amount in candidates if rate in limits and amount in work
    ]
    return min(known, key=lambda limit: limit[1], default=None)


def measures(options: Options) -> dict[str, Measure]:
    """For `interleave`, beside what is held against them: each engine in a process of its own, every time.

    A quick run measures them once for all its suites.
    """
    take = _take_once if options.quick else _take
    engines = ENGINES if options.device == "cpu" else ("torch",)
    return {f"limits by {engine}": partial(take, engine, options) for engine in engines}


def _take(engine: str, options: Options) -> Values:
    sizes, seconds = SIZES[options.device], options.pick(0.5, 0.1)
    arguments = {"engine": engine, "on": options.device, "cores": options.threads, "sizes": sizes, "seconds": seconds}
    found: Values = call("benchmarks.limits:rates", options.threads, options.device, **arguments)
    return found


_take_once = cache(_take)


def rates(engine: str, on: str, cores: int, sizes: Sizes, seconds: float) -> Values:
    """In a process of its own: the best that one engine reaches, by what it is called in a document."""
    best = Values()
    for name, amount, work in ENGINES[engine](on, cores, sizes):
        best[name] = max(best.get(name, 0.0), amount / min(timed(work, seconds)))
    return best


Works = Iterator[tuple[str, float, Callable[[], object]]]
"""What is measured, its amount for a call, and the call, which returns when all is done."""


def _torch(on: str, cores: int, sizes: Sizes) -> Works:
    import torch

    torch.set_num_threads(cores)
    torch.backends.cuda.matmul.allow_tf32 = True  # as it is for convolutions anyway
    torch.backends.cudnn.benchmark = True

    with torch.inference_mode():
        for name in ("float32", "bfloat16", "float16") if on == "cuda" else ("float32", "bfloat16"):
            like: Any = {"dtype": getattr(torch, name), "device": on}
            for m, k, n in sizes["gemm"]:
                a, b = torch.randn(m, k, **like), torch.randn(k, n, **like)
                yield RATE.format(name), 2.0 * m * k * n, partial(finish, partial(torch.mm, a, b), on)
            for n, c, edge in sizes["conv"]:
                layer: Any = torch.nn.Conv2d(c, c, 3, padding=1, bias=False, **like)
                layer = layer.to(memory_format=torch.channels_last)
                x = torch.randn(n, c, edge, edge, **like).to(memory_format=torch.channels_last)
                yield RATE.format(name), _operations(n, c, edge), partial(finish, partial(layer, x), on)
        here, there = (torch.zeros(sizes["bytes"], dtype=torch.uint8, device=on) for _ in range(2))
        yield MEMORY, 2.0 * sizes["bytes"], partial(finish, partial(there.copy_, here), on)
        if on == "cuda":
            for name, pinned in ((COPY, True), (PAGEABLE, False)):
                host = torch.empty(sizes["bytes"] // 4, dtype=torch.uint8, pin_memory=pinned)
                yield name, float(len(host)), partial(finish, partial(host.copy_, here[: len(host)]), on)


def _onnxruntime(on: str, cores: int, sizes: Sizes) -> Works:
    import onnxruntime

    for amount, model, x in _models(sizes):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = cores
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        yield RATE.format("float32"), amount, partial(session.run, None, {"x": x})


def _openvino(on: str, cores: int, sizes: Sizes) -> Works:
    import openvino

    core = openvino.Core()
    for name in openvino_precisions():
        for amount, model, x in _models(sizes):
            settings = {"INFERENCE_PRECISION_HINT": PRECISION_HINTS[name], "INFERENCE_NUM_THREADS": str(cores)}
            request = core.compile_model(core.read_model(model), "CPU", settings).create_infer_request()
            yield RATE.format(name), amount, partial(request.infer, {0: x}, share_inputs=True)


PRECISION_HINTS: dict[Precision, str] = {"float32": "f32", "bfloat16": "bf16"}
"""What OpenVINO calls them."""


def openvino_precisions() -> list[Precision]:
    """The precisions in which OpenVINO computes on this processor: float32, and bfloat16 where the processor has it."""
    import openvino

    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ["float32", "bfloat16"] if "BF16" in capabilities else ["float32"]


ENGINES: dict[str, Callable[[str, int, Sizes], Works]] = {
    "torch": _torch,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
}


def _operations(n: int, channels: int, edge: int) -> float:
    """Of a 3×3 convolution that keeps the size and the channels of n maps."""
    return 2.0 * n * channels * channels * 9 * edge * edge


def _models(sizes: Sizes) -> Iterator[tuple[float, bytes, np.ndarray[Any, Any]]]:
    """ONNX models of one node each: its operations, the model, its input."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)

    def model(node: Any, x: Any, w: Any, y: list[int]) -> bytes:
        graph = helper.make_graph(
            [node],
            "one",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, y)],
            [numpy_helper.from_array(w, "w")],
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        return bytes(made.SerializeToString())

    for m, k, n in sizes["gemm"]:
        x, w = rng.standard_normal((m, k), np.float32), rng.standard_normal((k, n), np.float32)
        yield 2.0 * m * k * n, model(helper.make_node("MatMul", ["x", "w"], ["y"]), x, w, [m, n]), x
    for n, c, edge in sizes["conv"]:
        x, w = rng.standard_normal((n, c, edge, edge), np.float32), rng.standard_normal((c, c, 3, 3), np.float32)
        node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
        yield _operations(n, c, edge), model(node, x, w, list(x.shape)), x
