"""Where the time of a batch goes: latents, transfer in, compute by node, conversion, transfer out, and the rest."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.model import Model, model_for
from benchmarks.options import Options
from benchmarks.results import Document, Metric, Row, document
from benchmarks.rounds import Values, interleave, timed
from benchmarks.worker import call

WHOLE, REST = "sample(), all in all", "the rest: Python, copies into the result"
LATENTS, IN, OUT = "latents", "transfer in", "transfer out"
_HEAVY = ("Conv", "Gemm", "MatMul", "Tanh", "Sigmoid", "Relu")  # a node with these in its kind makes the image
_REPEATS = 20


def run(options: Options, batch: int) -> Document:
    """One configuration, in a process of its own for every round."""
    model = model_for(options)
    file = model.file("cuda.onnx" if options.device == "cuda" else "cpu.onnx")
    threads = 1  # what each of gankit's workers has on the CPU
    take = partial(call, "benchmarks.profile:measure", threads, options.device)
    taken = interleave(
        {"profile": partial(take, file=str(file), device=options.device, batch=batch)}, options.rounds_of(5), _say
    )
    # A part is a way here, and the only metric is its time.
    parts = {part: ways["profile"] for part, ways in taken.values.items() if "profile" in ways}
    metric = f"ms for a batch of {batch}"
    taken.values = {metric: parts}
    about = (
        f"{model.about}, {file.name}, in batches of {batch}"
        f"{' on one thread, as each worker has' if options.device == 'cpu' else ''}; nodes as ONNX Runtime's profiler "
        "saw them, those after the last layer are the conversion to bytes"
    )
    made = document("profile", about, options, taken, {metric: Metric("ms", False)}, dict.fromkeys(parts, Row()))
    for way in made["metrics"].get(metric, {"ways": {}})["ways"].values():
        way |= {"share": way["median"] / median(parts[WHOLE]), "limit": "the whole"}
    return made


def _say(line: str) -> None:
    if "failed" in line or "left out" in line:
        print(line)


def measure(file: str, device: str, batch: int) -> Values:
    """In a process of its own: milliseconds of each part, in the order in which they come."""
    import gankit

    values = {}
    with gankit.load(file, device=device, threads=1 if device == "cpu" else 0) as generator:  # type: ignore[arg-type]

        def milliseconds(work: Callable[[], object]) -> float:
            return 1000 * median(timed(work, 0.2, least=_REPEATS))

        inputs = [each for each in generator.inputs(batch, 1) if each is not None]
        values[LATENTS] = milliseconds(lambda: generator.inputs(batch, 1))
        values[IN], values[OUT] = _transfers(
            inputs, Model(Path(file)).reference()[1][:1].repeat(batch, 0), device, milliseconds
        )
        whole = milliseconds(lambda: generator.sample(batch, 1))
    nodes = _nodes(file, device, inputs)
    values |= nodes
    values[OUT] = values.pop(OUT)
    values[REST] = whole - sum(values.values())
    return values | {WHOLE: whole}


def _transfers(inputs: list[Any], images: Any, device: str, milliseconds: Callable[..., float]) -> tuple[float, float]:
    """To the GPU and back; on the CPU ONNX Runtime reads and writes NumPy's own memory."""
    if device == "cpu":
        return 0.0, 0.0
    import onnxruntime

    move = partial(onnxruntime.OrtValue.ortvalue_from_numpy, device_type="cuda", device_id=0)
    there = move(images)
    return milliseconds(lambda: [move(each) for each in inputs]), milliseconds(there.numpy)


def _nodes(file: str, device: str, inputs: list[Any]) -> Values:
    """Of each node the median time, in the order of the first run."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_profiling = True
    provider = "CUDAExecutionProvider" if device == "cuda" else "CPUExecutionProvider"
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(file, options, providers=[provider])
        names = [value.name for value in session.get_inputs()]
        for _ in range(_REPEATS):
            session.run(None, dict(zip(names, inputs, strict=True)))
        events = json.loads(Path(session.end_profiling()).read_text())
    return by_node(events, _REPEATS // 2)


def by_node(events: list[dict[str, Any]], last: int) -> Values:
    """ONNX Runtime's events → milliseconds of each node, the median of its last runs; the first ones warm up."""
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_KERNEL):
            times[event["name"].removesuffix(_KERNEL), event["args"]["op_name"]].append(event["dur"] / 1000)
    heavy = [i for i, (_, kind) in enumerate(times) if any(each in kind for each in _HEAVY)]
    return {
        f"{'conversion' if i > max(heavy, default=-1) else 'compute'}: {kind} {name}": float(np.median(values[-last:]))
        for i, ((name, kind), values) in enumerate(times.items())
    }


_KERNEL = "_kernel_time"
