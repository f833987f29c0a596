"""Where the time of a batch goes: latents, transfer in, compute by node, conversion, transfer out, and the rest."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from benchmarks.model import Images, Inputs, model_for
from benchmarks.options import Options
from benchmarks.results import Document, Metric, Row, document
from benchmarks.rounds import FailedError, Values, interleave, timed
from benchmarks.worker import call
from gankit._options import Device
from gankit._session import CPU, CUDA, CUDA_OPTIONS

LATENTS, IN, OUT = "latents", "transfer in", "transfer out"
GPU = "the rest: waiting for the GPU, which a node's time may not hold, Python, copies"
REST, WHOLE = "the rest: Python, copies into the result", "sample(), all in all"
_LAYERS = ("Conv", "Gemm", "MatMul", "Tanh", "Sigmoid", "Relu")  # what is in the kind of a node that makes the image
_KERNEL = "_kernel_time"  # how ONNX Runtime calls the time of a node itself
_REPEATS = 20


def run(options: Options, batch: int) -> Document:
    """One configuration, in a process of its own for every round.

    Raises:
        MissingError, FailedError: it cannot be measured.
    """
    model = model_for(options)
    file = model.file("cuda.onnx" if options.device == "cuda" else "cpu.onnx")
    arguments = {"file": str(file), "device": options.device, "batch": batch}
    take = partial(call, "benchmarks.profile:measure", 1, options.device, **arguments)
    taken = interleave({file.name: take}, options.rounds_of(5), say=lambda _: None)
    for reason in (*taken.missing.values(), *taken.failed.values()):
        raise FailedError(reason)
    # The parts are the ways here, and their time is the only metric.
    parts, metric = {part: ways[file.name] for part, ways in taken.values.items()}, f"ms for a batch of {batch}"
    taken.values = {metric: parts}
    thread = ", on one thread, as each of gankit's workers has;" if options.device == "cpu" else ";"
    about = (
        f"Where the time of {batch} images goes, {model.about}{thread} nodes as ONNX "
        "Runtime's profiler saw them; those after the last layer are the conversion to bytes"
    )
    made = document("profile", about, options, taken, {metric: Metric("ms", False)}, dict.fromkeys(parts, Row()))
    for way in made["metrics"][metric]["ways"].values():
        way |= {"share": way["median"] / median(parts[WHOLE]), "limit": "the whole"}
    return made


def measure(file: str, device: Device, batch: int) -> Values:
    """In a process of its own: milliseconds of each part, in the order in which they come."""
    import gankit

    with (
        tempfile.TemporaryDirectory() as folder,
        gankit.load(file, device=device, threads=int(device == "cpu")) as generator,
    ):
        inputs = [each for each in generator.inputs(batch, seed=1) if each is not None]
        session = _profiled(file, device, folder)
        names = [value.name for value in session.get_inputs()]
        whole = []
        for _ in range(_REPEATS):  # in turn, as everything
            session.run(None, dict(zip(names, inputs, strict=True)))
            begin = perf_counter()
            images = generator.sample(batch, seed=1)
            whole.append(1000 * (perf_counter() - begin))
        events = json.loads(Path(session.end_profiling()).read_text())
        latents = 1000 * median(timed(lambda: generator.inputs(batch, seed=1), 0.1))
    there, back = (0.0, 0.0) if device == "cpu" else _transfers(inputs, images)
    values = {LATENTS: latents, IN: there, **by_node(events, _REPEATS // 2), OUT: back}
    total = median(whole[_REPEATS // 2 :])
    return values | {REST if device == "cpu" else GPU: total - sum(values.values()), WHOLE: total}


def _profiled(file: str, device: str, folder: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_profiling = True
    options.profile_file_prefix = str(Path(folder) / "profile")
    provider: Any = (CUDA, CUDA_OPTIONS) if device == "cuda" else CPU
    return onnxruntime.InferenceSession(file, options, providers=[provider], enable_fallback=0)


def _transfers(inputs: Inputs, images: Images) -> tuple[float, float]:
    """Milliseconds to the GPU and back. On the CPU ONNX Runtime reads and writes NumPy's own memory."""
    import onnxruntime

    move = partial(onnxruntime.OrtValue.ortvalue_from_numpy, device_type="cuda", device_id=0)
    there = move(images)
    both = (lambda: [move(each) for each in inputs]), there.numpy
    return tuple(1000 * median(timed(work, 0.1)) for work in both)  # type: ignore[return-value]


def by_node(events: list[dict[str, Any]], last: int) -> Values:
    """ONNX Runtime's events → milliseconds of each node, the median of its last runs; the first ones warm up."""
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_KERNEL):
            times[event["args"]["op_name"], event["name"].removesuffix(_KERNEL)].append(event["dur"] / 1000)
    layers = [i for i, (kind, _) in enumerate(times) if any(each in kind for each in _LAYERS)]
    return {
        f"{'compute' if i <= max(layers, default=-1) else 'conversion'}: {kind} {name}": median(values[-last:])
        for i, ((kind, name), values) in enumerate(times.items())
    }
