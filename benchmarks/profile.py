"""The time of one batch, split into latents, transfers, each node of the graph, and the rest."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from benchmarks.measurement import FailedError, Values, interleave, timed
from benchmarks.model import Images, Inputs, model_for
from benchmarks.options import Options
from benchmarks.results import Case, Document, Metric, document
from benchmarks.worker import run_in_process
from gankit._options import Device
from gankit._session import CPU, CUDA, CUDA_OPTIONS

LATENTS, TO_DEVICE, TO_HOST = "latents", "transfer to the device", "transfer to the host"
REST = {
    "cpu": "rest: Python, copies into the result",
    "cuda": "rest: waiting for the GPU, Python, copies",  # a node's time may be that of its launch only
}
TOTAL = "sample(), total"
_LAYERS = ("Conv", "Gemm", "MatMul", "Tanh", "Sigmoid", "Relu")  # parts of the types of nodes that compute the image
_KERNEL_TIME = "_kernel_time"  # the end of ONNX Runtime's name for the time of a node
_REPEATS = 20


def run(options: Options, batch: int) -> Document:
    """Profiles one configuration, in its own process for every round.

    Raises:
        UnavailableError, FailedError: the model or the device cannot be measured here.
    """
    model = model_for(options)
    file = model.file("cuda.onnx" if options.device == "cuda" else "cpu.onnx")
    measure_once = partial(
        run_in_process, measure, 1, options.device, file=str(file), device=options.device, batch=batch
    )
    measured = interleave({file.name: measure_once}, options.rounds_or(5), log=lambda _: None)
    for reason in (*measured.unavailable.values(), *measured.failed.values()):
        raise FailedError(reason)
    # The cases are the parts of the batch; their time is the only metric.
    parts, metric = {part: values[file.name] for part, values in measured.values.items()}, f"batch of {batch}"
    measured.values = {metric: parts}
    one_thread = ", on one thread, as in gankit's workers" if options.device == "cpu" else ""
    description = (
        f"Time of a batch of {batch} images, {model.description}{one_thread}; nodes as measured by ONNX Runtime's "
        "profiler; nodes after the last layer are the conversion to uint8"
    )
    cases = dict.fromkeys(parts, Case())
    result = document("profile", description, options, measured, {metric: Metric("ms", higher_is_better=False)}, cases)
    for each in result["metrics"][metric]["results"].values():  # instead of the share of the roofline
        each |= {"share": each["median"] / median(parts[TOTAL]), "share_of": "the total"}
    return result


def measure(file: str, device: Device, batch: int) -> Values:
    """Runs in its own process: milliseconds of each part, in the order in which they happen."""
    import gankit

    threads = 1 if device == "cpu" else 0
    with (
        tempfile.TemporaryDirectory() as folder,
        gankit.load(file, device=device, threads=threads) as generator,
    ):
        inputs = [each for each in generator.inputs(batch, seed=1) if each is not None]
        session = _profiled_session(file, device, folder)
        names = [value.name for value in session.get_inputs()]
        totals = []
        for _ in range(_REPEATS):  # alternate, so that a drift of the machine's speed affects both alike
            session.run(None, dict(zip(names, inputs, strict=True)))
            begin = perf_counter()
            images = generator.sample(batch, seed=1)
            totals.append(1000 * (perf_counter() - begin))
        events = json.loads(Path(session.end_profiling()).read_text())
        latents = 1000 * median(timed(lambda: generator.inputs(batch, seed=1), 0.1))
    # On the CPU, ONNX Runtime reads and writes NumPy's memory.
    to_device, to_host = (0.0, 0.0) if device == "cpu" else _transfers(inputs, images)
    values = {LATENTS: latents, TO_DEVICE: to_device, **node_times(events, _REPEATS // 2), TO_HOST: to_host}
    total = median(totals[_REPEATS // 2 :])
    return values | {REST[device]: total - sum(values.values()), TOTAL: total}


def _profiled_session(file: str, device: str, folder: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_profiling = True
    options.profile_file_prefix = str(Path(folder) / "profile")
    provider: Any = (CUDA, CUDA_OPTIONS) if device == "cuda" else CPU
    return onnxruntime.InferenceSession(file, options, providers=[provider], enable_fallback=0)


def _transfers(inputs: Inputs, images: Images) -> tuple[float, float]:
    """Milliseconds to copy the inputs to the GPU, and the images back."""
    import onnxruntime

    copy = partial(onnxruntime.OrtValue.ortvalue_from_numpy, device_type="cuda", device_id=0)
    on_gpu = copy(images)
    to_device = 1000 * median(timed(lambda: [copy(each) for each in inputs], 0.1))
    return to_device, 1000 * median(timed(on_gpu.numpy, 0.1))


def node_times(events: list[dict[str, Any]], last: int) -> Values:
    """Milliseconds of each node, the median of its last `last` runs, from the events of ONNX Runtime's profiler."""
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_KERNEL_TIME):
            times[event["args"]["op_name"], event["name"].removesuffix(_KERNEL_TIME)].append(event["dur"] / 1000)
    last_layer = max((i for i, (kind, _) in enumerate(times) if any(each in kind for each in _LAYERS)), default=-1)
    return {
        f"{'compute' if i <= last_layer else 'conversion'}: {kind} {name}": median(values[-last:])
        for i, ((kind, name), values) in enumerate(times.items())
    }
