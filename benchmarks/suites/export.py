"""Time and memory of exporting a checkpoint to verified files, and the sizes of the files."""

from __future__ import annotations

import tempfile
from functools import partial
from itertools import count
from pathlib import Path

from benchmarks.commands import run_command
from benchmarks.measurement import Values, interleave
from benchmarks.model import model_for
from benchmarks.options import Options
from benchmarks.results import Case, Document, Metric, document

SECONDS, PEAK, SIZE = "seconds of the whole process", "peak memory", "size of the files"
BOTH = "gan-export --onnx --torchscript"
_COMPACT = "gan-export --onnx --compact"
_COMMANDS = (BOTH, _COMPACT, "gan-export --onnx --for openvino")


def run(options: Options) -> Document:
    """Measures whole processes, verification included."""
    model = model_for(options)
    checkpoint = model.checkpoint()
    cases = {line: Case() for line in ([_COMPACT] if options.quick else _COMMANDS)}
    with tempfile.TemporaryDirectory() as folder:
        numbers = count()

        def measure(line: str) -> Values:
            out = str(next(numbers))
            seconds, peak = run_command((*line.split(), checkpoint, "-o", out), options, folder)
            size = sum(path.stat().st_size for path in (Path(folder) / out).iterdir())
            return {SECONDS: seconds, PEAK: peak / 1e6, SIZE: size / 1e6}

        measured = interleave({line: partial(measure, line) for line in cases}, options.rounds_or(3))
    metrics = {
        SECONDS: Metric("s", higher_is_better=False),
        PEAK: Metric("MB", higher_is_better=False),
        SIZE: Metric("MB", higher_is_better=False),
    }
    description = f"From a checkpoint to verified files, {model.description}"
    return document("export", description, options, measured, metrics, cases)
