"""The stored results as a picture: bars with their spread, and the limit of the machine as a line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.results import Document
from benchmarks.rounds import number_text
from benchmarks.suites import sampling, training

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Of the palette of Okabe and Ito, which people who see colours differently tell apart; also apart in grey.
_OURS, _PEER, _LIMIT, _SPREAD = "#0072B2", "#BBBBBB", "#D55E00", "#333333"
_STYLE: Any = {
    "svg.hashsalt": "gankit",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
}


class Panel(NamedTuple):
    """Bars that are compared with each other."""

    title: str
    ways: dict[str, Any]
    """Results of a metric, by way."""
    ours: set[str]


def draw(documents: Sequence[Document], folder: Path) -> list[Path]:
    """A chart for each device, as PNG and SVG; their paths."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    written = []
    for device in sorted({each["device"] for each in documents}):
        panels = list(_panels([each for each in documents if each["device"] == device]))
        if not panels:
            continue
        heights = [0.27 * (len(panel.ways) + 3) for panel in panels]
        with plt.rc_context(_STYLE):
            figure, axes = plt.subplots(
                len(panels), figsize=(8, sum(heights)), height_ratios=heights, layout="constrained", squeeze=False
            )
            for axis, panel in zip(axes[:, 0], panels, strict=True):
                _draw(axis, panel)
            for suffix, metadata in (("png", {}), ("svg", {"Date": None})):
                path = folder / f"speed-{device}.{suffix}"
                figure.savefig(path, dpi=110, metadata=metadata)
                written.append(path)
            plt.close(figure)
    return written


def _panels(documents: Sequence[Document]) -> Iterator[Panel]:
    """Sampling in each precision, then training."""
    for document in documents:
        ours = {name for name, row in document["ways"].items() if row["ours"]}
        for metric in (sampling.SHOWN.get(document["device"], ""), training.DCGAN.metric):
            ways = document["metrics"].get(metric, {"ways": {}})["ways"]
            if document["suite"] == "training" and ways:
                yield Panel(f"training, {metric}", ways, ours)
            elif document["suite"] == "sampling":
                for precision in ("float32", "float16", "bfloat16"):
                    alike = {n: way for n, way in ways.items() if document["ways"][n]["precision"] == precision}
                    if alike:
                        yield Panel(f"sampling, {metric}, {precision}", alike, ours)


def _draw(axis: Axes, panel: Panel) -> None:
    ways = dict(sorted(panel.ways.items(), key=lambda item: item[1]["median"]))
    names = [name.removesuffix(f", {panel.title.rsplit(', ')[-1]}") for name in ways]  # the title has the precision
    medians = [way["median"] for way in ways.values()]
    below, above = ([abs(way[end] - way["median"]) for way in ways.values()] for end in ("min", "max"))
    colours = [_OURS if name in panel.ours else _PEER for name in ways]
    line = {"elinewidth": 1, "capsize": 2, "ecolor": _SPREAD}
    axis.barh(names, medians, color=colours, xerr=[below, above], error_kw=line)
    over_lines = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
    text: dict[str, Any] = {"textcoords": "offset points", "fontsize": 8, "bbox": over_lines}
    for name, way in zip(names, ways.values(), strict=True):
        axis.annotate(number_text(way["median"]), (way["max"], name), (4, 0), va="center", **text)
    limits = {way["limit"]: way["median"] / way["share"] for way in ways.values() if "share" in way}
    for name, limit in limits.items():
        axis.axvline(limit, color=_LIMIT, linestyle="--", linewidth=1.2)
        said, at = f"limit by {name}: {number_text(limit)}", ("data", "axes fraction")
        axis.annotate(said, (limit, 0), (-4, 3), at, ha="right", va="bottom", color=_LIMIT, **text)
    axis.set_title(panel.title, loc="left", fontsize=9, fontweight="bold")
    axis.set_xlim(0, 1.1 * max([*limits.values(), *(way["max"] for way in ways.values())]))
    axis.set_ylim(-1.3 if limits else -0.6, len(ways) - 0.4)  # with a row for what is said of the limits
