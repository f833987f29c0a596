"""What a user waits for before anything happens."""

from __future__ import annotations

import tempfile
from functools import partial

from benchmarks.options import Options
from benchmarks.processes import seconds_of
from benchmarks.results import Document, Metric, Row, document
from benchmarks.rounds import Values, interleave

SECONDS = "seconds of the whole process"
GENERATE = "gan-gen -n 64"
HELP = tuple(f"{program} --help" for program in ("gan-train", "gan-export", "gan-gen"))


def run(options: Options) -> Document:
    """The help texts, and 64 images and their sheet from a cold start."""
    with tempfile.TemporaryDirectory() as folder:

        def seconds(line: str) -> Values:
            return {SECONDS: seconds_of((*line.split(), *device.get(line, ())), options, folder)[0]}

        device = {GENERATE: ("--device", options.device)}
        rows = {line: Row() for line in (*HELP, GENERATE)}
        for line in rows:
            seconds(line)  # the files into the page cache
        taken = interleave({line: partial(seconds, line) for line in rows}, options.rounds_of(9))
    about = "Whole processes, their files in the page cache; the bundled 32×32 faces as PNGs and a sheet"
    return document("startup", about, options, taken, {SECONDS: Metric("s", False)}, rows)
