"""What it takes to get proved files out of a checkpoint."""

from __future__ import annotations

import tempfile
from functools import partial
from itertools import count
from pathlib import Path

from benchmarks.model import model_for
from benchmarks.options import Options
from benchmarks.processes import seconds_of
from benchmarks.results import Document, Metric, Row, document
from benchmarks.rounds import Values, interleave

SECONDS, PEAK, SIZE = "seconds of the whole process", "peak memory of the process", "size of the files"
BOTH = "gan-export --onnx --torchscript"
_COMMANDS = (BOTH, "gan-export --onnx --compact", "gan-export --onnx --for openvino")


def run(options: Options) -> Document:
    """From the checkpoint of a 64×64 DCGAN, as whole processes, the proofs included."""
    model = model_for(options)
    checkpoint = model.checkpoint()
    rows = {line: Row() for line in (_COMMANDS[1:2] if options.quick else _COMMANDS)}
    with tempfile.TemporaryDirectory() as folder:
        numbers = count()

        def measure(line: str) -> Values:
            out = str(next(numbers))
            seconds, peak = seconds_of((*line.split(), checkpoint, "-o", out), options, folder)
            size = sum(path.stat().st_size for path in (Path(folder) / out).iterdir())
            return {SECONDS: seconds, PEAK: peak / 1e6, SIZE: size / 1e6}

        taken = interleave({line: partial(measure, line) for line in rows}, options.rounds_of(3))
    metrics = {SECONDS: Metric("s", False), PEAK: Metric("MB", False), SIZE: Metric("MB", False)}
    about = f"From a checkpoint to files that are proved, {model.about}"
    return document("export", about, options, taken, metrics, rows)
