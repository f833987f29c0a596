"""How fast images become files: each format by itself, and gan-gen as a whole."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.options import Options
from benchmarks.processes import seconds_of
from benchmarks.results import Document, Metric, Row, document
from benchmarks.rounds import Measure, Values, interleave, timed
from benchmarks.worker import call

_FRAMES = 64
ENCODED, GENERATED = "images/s into files", "images/s of gan-gen, from its start to its last file"
_ZLIB = "zlib alone, of which PNG is made"


def run(options: Options) -> Document:
    """Formats in a process each, on one thread; gan-gen as a user starts it."""
    n = int(options.pick(4096, 256))
    take = partial(call, "benchmarks.suites.encoding:measure", 1, "cpu", seconds=options.pick(2.0, 0.2))
    measures: dict[str, Measure] = {name: partial(take, way=name) for name in _FORMATS}
    with tempfile.TemporaryDirectory() as folder:
        numbers = count()

        def generated(suffix: str) -> Values:
            line = ("gan-gen", "-n", n, "--device", options.device, "-o", f"{next(numbers)}{suffix}")
            return {GENERATED: n / seconds_of(line, options, folder)[0]}

        measures |= {_generated(suffix): partial(generated, suffix) for suffix in ("", ".npz", ".npy")}
        taken = interleave(measures, options.rounds_of(5))
    rows = {name: Row(ours=name != _ZLIB) for name in measures}
    metrics = {ENCODED: Metric("images/s", compared=False), GENERATED: Metric("images/s")}
    about = (
        f"The bundled 32×32 faces, twice as large for the formats; films of {_FRAMES} frames; gan-gen -n {n} on "
        f"{options.threads} threads"
    )
    return document("encoding", about, options, taken, metrics, rows)


def _generated(suffix: str) -> str:
    return f"gan-gen -o {f'x{suffix}' if suffix else 'FOLDER, as PNG'}"


def measure(way: str, seconds: float) -> Values:
    """In a process of its own."""
    import gankit
    from gankit._images import enlarge

    images = enlarge(gankit.load(device="cpu").sample(_FRAMES), 2)
    with tempfile.TemporaryDirectory() as folder:
        times = timed(partial(_FORMATS[way], Path(folder), images), seconds)
    return {ENCODED: len(times) * len(images) / sum(times)}


def _png(folder: Path, images: Any) -> None:
    from gankit._writers import save_png

    for i, image in enumerate(images):
        save_png(folder / f"{i}.png", image)


def _one_file(suffix: str, folder: Path, images: Any) -> None:
    import gankit._writers

    as_they_come = {"mp4": ([images],), "npz": ([images], len(images)), "npy": ([images], len(images))}
    getattr(gankit._writers, f"save_{suffix}")(folder / f"x.{suffix}", *as_they_come.get(suffix, (images,)))


def _zlib(folder: Path, images: Any) -> None:
    for image in images:
        zlib.compress(image.tobytes())


_FORMATS: dict[str, Callable[[Path, Any], None]] = {
    "save_png": _png,
    **{f"save_{suffix}": partial(_one_file, suffix) for suffix in ("gif", "webp", "mp4", "npz", "npy")},
    _ZLIB: _zlib,
}
