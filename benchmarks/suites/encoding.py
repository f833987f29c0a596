"""The rate at which images are written to files: each format alone, and gan-gen as a whole."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.commands import run_command
from benchmarks.measurement import Measure, Values, interleave, timed
from benchmarks.options import Options
from benchmarks.results import Case, Document, Metric, document
from benchmarks.worker import run_in_process
from gankit import _images, _writers

_FRAMES = 64
ENCODED, GENERATED = "images/s encoded", "images/s of gan-gen, whole process"
_COMMANDS = {"gan-gen -o FOLDER": "", "gan-gen -o x.npz": ".npz", "gan-gen -o x.npy": ".npy"}
"""Case → ending of the output's name."""


def run(options: Options) -> Document:
    """Measures the formats on one thread each, and gan-gen on all threads."""
    n = int(options.pick(4096, 256))
    measure_format = partial(run_in_process, measure, 1, "cpu", seconds=options.pick(2.0, 0.2))
    measures: dict[str, Measure] = {name: partial(measure_format, name=name) for name in _FORMATS}
    with tempfile.TemporaryDirectory() as folder:
        numbers = count()

        def generate(ending: str) -> Values:
            line = ("gan-gen", "-n", n, "--device", options.device, "-o", f"{next(numbers)}{ending}")
            return {GENERATED: n / run_command(line, options, folder).seconds}

        measures |= {name: partial(generate, ending) for name, ending in _COMMANDS.items()}
        measured = interleave(measures, options.rounds_or(5))
    cases = {name: Case(baseline=name == _ZLIB) for name in measures}
    metrics = {ENCODED: Metric("images/s", compared=False), GENERATED: Metric("images/s")}
    description = (
        f"The bundled 32×32 faces; formats: enlarged to 64×64, animations of {_FRAMES} frames, one thread; gan-gen -n "
        f"{n}: {options.threads} threads"
    )
    return document("encoding", description, options, measured, metrics, cases)


def measure(name: str, seconds: float) -> Values:
    """Runs in its own process: the rate of one format."""
    import gankit

    images = _images.enlarge(gankit.load(device="cpu").sample(_FRAMES), 2)
    with tempfile.TemporaryDirectory() as folder:
        times = timed(partial(_FORMATS[name], Path(folder), images), seconds)
    return {ENCODED: len(times) * len(images) / sum(times)}


def _png(folder: Path, images: Any) -> None:
    for i, image in enumerate(images):
        _writers.save_png(folder / f"{i}.png", image)


def _zlib(folder: Path, images: Any) -> None:
    for image in images:
        zlib.compress(image.tobytes())


_ZLIB = "zlib alone, the compression of PNG"
_FORMATS: dict[str, Callable[[Path, Any], None]] = {
    "save_png": _png,
    "save_gif": lambda folder, images: _writers.save_gif(folder / "x.gif", images),
    "save_webp": lambda folder, images: _writers.save_webp(folder / "x.webp", images),
    "save_mp4": lambda folder, images: _writers.save_mp4(folder / "x.mp4", [images]),
    "save_npz": lambda folder, images: _writers.save_npz(folder / "x.npz", [images], len(images)),
    "save_npy": lambda folder, images: _writers.save_npy(folder / "x.npy", [images], len(images)),
    _ZLIB: _zlib,
}
