"""The stored results as a bar chart: medians with their ranges, and the machine's roofline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.results import Document
from benchmarks.stats import number
from benchmarks.suites import sampling
from benchmarks.trainers import DCGAN

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The palette of Okabe and Ito, which colour-blind readers can tell apart, as can a print in grey.
_GANKIT, _BASELINE, _ROOFLINE, _RANGE = "#0072B2", "#BBBBBB", "#D55E00", "#333333"
_STYLE: Any = {
    "svg.hashsalt": "gankit",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
}


class Panel(NamedTuple):
    """Bars on one axis."""

    title: str
    results: dict[str, Any]
    """Label → result of a case, as in a document."""
    baselines: set[str]
    """The labels of the baselines."""


def draw(documents: Sequence[Document], folder: Path) -> list[Path]:
    """Draws a chart for each device, as `benchmarks-DEVICE.png` and `.svg`; returns the paths."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    paths = []
    for device in sorted({each["device"] for each in documents}):
        panels = list(_panels([each for each in documents if each["device"] == device]))
        if not panels:
            continue
        heights = [0.27 * (len(panel.results) + 3) for panel in panels]
        with plt.rc_context(_STYLE):
            figure, axes = plt.subplots(
                len(panels), figsize=(8, sum(heights)), height_ratios=heights, layout="constrained", squeeze=False
            )
            for axis, panel in zip(axes[:, 0], panels, strict=True):
                _draw_panel(axis, panel)
            for suffix, metadata in (("png", {}), ("svg", {"Date": None})):
                path = folder / f"benchmarks-{device}.{suffix}"
                figure.savefig(path, dpi=110, metadata=metadata)
                paths.append(path)
            plt.close(figure)
    return paths


def _panels(documents: Sequence[Document]) -> Iterator[Panel]:
    """Sampling in each precision, then training."""
    by_suite = {each["suite"]: each for each in documents}
    if document := by_suite.get("sampling"):
        metric = sampling.HEADLINE[document["device"]]
        for precision in ("float32", "float16", "bfloat16"):
            yield from _panel(document, metric, f"sampling, {metric}, {precision}", precision)
    if document := by_suite.get("training"):
        yield from _panel(document, DCGAN.metric, DCGAN.metric)


def _panel(document: Document, metric: str, title: str, precision: str | None = None) -> Iterator[Panel]:
    """The results of a metric, in one precision or in all; nothing where there are none."""
    cases = document["cases"]
    results, baselines = {}, set()
    for name, result in document["metrics"].get(metric, {"results": {}})["results"].items():
        if precision in (None, cases[name]["precision"]):
            label = name.removesuffix(f", {precision}")  # the title has the precision
            results[label] = result
            if cases[name]["baseline"]:
                baselines.add(label)
    if results:
        yield Panel(title, results, baselines)


def _draw_panel(axis: Axes, panel: Panel) -> None:
    results = dict(sorted(panel.results.items(), key=lambda item: item[1]["median"]))
    medians = [each["median"] for each in results.values()]
    below, above = ([abs(each[end] - each["median"]) for each in results.values()] for end in ("min", "max"))
    colours = [_BASELINE if label in panel.baselines else _GANKIT for label in results]
    error_bar = {"elinewidth": 1, "capsize": 2, "ecolor": _RANGE}
    axis.barh(list(results), medians, color=colours, xerr=[below, above], error_kw=error_bar)
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}  # hides lines behind the text
    text: dict[str, Any] = {"textcoords": "offset points", "fontsize": 8, "bbox": box}
    for label, result in results.items():
        axis.annotate(number(result["median"]), (result["max"], label), (4, 0), va="center", **text)
    bounds = {each["share_of"]: each["median"] / each["share"] for each in results.values() if "share" in each}
    for name, bound in bounds.items():
        axis.axvline(bound, color=_ROOFLINE, linestyle="--", linewidth=1.2)
        label, at = f"roofline, {name}: {number(bound)}", ("data", "axes fraction")
        axis.annotate(label, (bound, 0), (-4, 3), at, ha="right", va="bottom", color=_ROOFLINE, **text)
    axis.set_title(panel.title, loc="left", fontsize=9, fontweight="bold")
    axis.set_xlim(0, 1.1 * max([*bounds.values(), *(each["max"] for each in results.values())]))
    axis.set_ylim(-1.3 if bounds else -0.6, len(results) - 0.4)  # leaves a row for the labels of the rooflines
