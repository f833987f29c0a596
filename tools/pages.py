"""What the programs that make pages from training runs have in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from gankit_train.evaluation.diagnosis import Row

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

_COLUMNS, _ROWS = 10, 4  # of a sample grid: its columns, and the rows that a page shows
_GAP = 2  # pixels between the images of a grid
_SMALL = 400  # pixels; narrower grids are shown at twice their size


def save_samples(run: Path, path: Path) -> None:
    """Saves the first rows of the newest sample grid of a run folder as PNG; small grids are enlarged."""
    with Image.open(max((run / "samples").glob("*.png"))) as image:
        height = min(image.height, _GAP + _ROWS * ((image.width - _GAP) // _COLUMNS))
        scale = 2 if image.width < _SMALL else 1
        part = image.crop((0, 0, image.width, height))
        size = (part.width * scale, part.height * scale)
        part.resize(size, Image.Resampling.NEAREST).save(path, optimize=True)


def new_figure(columns: int, size: tuple[float, float]) -> tuple[Any, Any]:
    """Makes a matplotlib figure with one row of plots, without a display; returns it and an array of its axes."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.use("agg")
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def plot_metric(axis: Any, rows: Sequence[Row], name: str, **style: Any) -> None:
    """Draws the values of a metric over the thousands of images that D has seen."""
    points = [(row["images"] / 1000, row[name]) for row in rows if name in row]
    axis.plot(*zip(*points, strict=True), **{"marker": "." if len(points) < 3 else "", **style})
    axis.set_xlabel("thousand images", fontsize=8)
    axis.tick_params(labelsize=7)
