"""Start-up time of the commands."""

from __future__ import annotations

import tempfile
from functools import partial

from benchmarks.commands import run_command
from benchmarks.measurement import Values, interleave
from benchmarks.options import Options
from benchmarks.results import Case, Document, Metric, document

SECONDS = "seconds of the whole process"
GENERATE = "gan-gen -n 64"
HELP = ("gan-train --help", "gan-export --help", "gan-gen --help")


def run(options: Options) -> Document:
    """Measures the help texts, and 64 images with their grid from a cold start."""
    cases = {line: Case() for line in (*HELP, GENERATE)}
    with tempfile.TemporaryDirectory() as folder:

        def measure(line: str) -> Values:
            device = ("--device", options.device) if line == GENERATE else ()
            return {SECONDS: run_command((*line.split(), *device), options, folder).seconds}

        for line in cases:
            measure(line)  # reads the files into the page cache
        measured = interleave({line: partial(measure, line) for line in cases}, options.rounds_or(9))
    description = "Whole processes, their files in the page cache; 64 PNG files of the bundled 32×32 faces and a grid"
    return document("startup", description, options, measured, {SECONDS: Metric("s", higher_is_better=False)}, cases)
