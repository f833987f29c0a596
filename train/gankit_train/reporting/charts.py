"""The charts of report.html: curves of metrics.jsonl as SVG."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gankit_train.evaluation.diagnosis import Row
from gankit_train.metrics.table import METRICS

_COLOURS = ("#0072B2", "#D55E00", "#009E73")  # of Okabe and Ito, distinguishable with colour-vision deficiency
_STYLE: Any = {
    "svg.hashsalt": "gankit", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9,
    "axes.spines.right": False, "axes.spines.top": False, "axes.grid": True, "grid.color": "#e5e5e5",
}  # fmt: skip


@dataclass(frozen=True)
class Chart:
    """Columns of metrics.jsonl that are drawn together."""

    title: str
    about: str
    lines: dict[str, str]  # columns and their names in the legend
    log: bool = False
    mark: float | None = None  # a value to compare with


CHARTS = (
    Chart("Losses", "adversarial loss of each network; not a measure of image quality", {"loss_d": "D", "loss_g": "G"}),
    Chart("Scores", "output of D; higher means more real", {"score_real": "real", "score_fake": "fake"}),
    Chart("Accuracy", "share of images that D classifies correctly; ½ is guessing",
          {"accuracy_real": "real", "accuracy_fake": "fake"}, mark=0.5),
    Chart("Gradient norms", "of all weights of a network, at single steps",
          {"gradient_norm_d": "D", "gradient_norm_g": "G"}, log=True),
    Chart("Gradient that reaches G", "mean norm per image", {"gradient_fake": "mean"}, log=True),
    Chart("Penalties", "on the gradient of D",
          {"gradient_penalty": "gradient penalty", "r1": "R1, real", "r2": "R2, fake"}, log=True),
    Chart("Batch diversity", "spread of fake images divided by that of real ones", {"batch_diversity": "fake"}, mark=1),
    Chart("Discriminator overfitting",
          "held-out score gap: 0 if D scores held-out images like training images, 1 if like fake ones",
          {"held_out_score_gap": "held-out images"}, mark=0.0),
    *(Chart(name.replace("_", " "), metric.about, {name: name}) for name, metric in METRICS.items()),
    Chart("Speed", "images per second, without sample grids and evaluations", {"images_per_s": "images/s"}),
)  # fmt: skip


@dataclass
class SymptomPeriod:
    """A symptom of failure over the rows that had it."""

    symptom: str
    since: int
    until: int | None  # None if the last row has it
    message: str
    flags: list[str]


def symptom_periods(rows: Sequence[Row]) -> list[SymptomPeriod]:
    """Joins the findings of the rows, in the order of their beginning, with their last messages."""
    periods: dict[tuple[str, int], SymptomPeriod] = {}
    for row in rows:
        until = None if row is rows[-1] else row["images"]
        for each in row.get("diagnosis", []):
            period = SymptomPeriod(each["symptom"], each["since"], until, each["message"], each["try"])
            periods[each["symptom"], each["since"]] = period
    return list(periods.values())


def draw_charts(rows: Sequence[Row], periods: Sequence[SymptomPeriod]) -> list[dict[str, str]]:
    """Draws the charts for which the rows have values: title, about and svg of each."""
    drawn = []
    for chart in CHARTS:
        lines = {name: [(row["images"], row[name]) for row in rows if name in row] for name in chart.lines}
        if not any(lines.values()):
            continue
        with mpl.rc_context(_STYLE):
            figure = Figure(figsize=(4.4, 2.5), layout="constrained")
            _draw(figure.add_subplot(), chart, {name: points for name, points in lines.items() if points}, periods)
            buffer = io.StringIO()
            figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
        text = buffer.getvalue()
        # Without a fixed size, and with a name for screen readers.
        head = rf'<svg role="img" aria-label="{chart.title} over images seen" viewBox='
        text = re.sub(r"^<svg [^>]*?viewBox=", head, text[text.index("<svg") :].replace("\n", " ", 4), count=1)
        drawn.append({"title": chart.title, "about": chart.about, "svg": text})
    return drawn


def _draw(axis: Axes, chart: Chart, lines: dict[str, list[Any]], periods: Sequence[SymptomPeriod]) -> None:
    """Draws lines of (images, value), and the periods with a symptom as shaded areas."""
    last = max(points[-1][0] for points in lines.values())
    for (name, points), colour in zip(lines.items(), _COLOURS, strict=False):
        x, y = zip(*points, strict=True)
        axis.plot(x, y, color=colour, linewidth=1.4, label=chart.lines[name], marker="o" if len(x) < 3 else None)
    for period in periods:
        axis.axvspan(period.since, period.until or last, color="#E69F00", alpha=0.18, linewidth=0)
    if chart.mark is not None:
        axis.axhline(chart.mark, color="#777777", linewidth=0.8, linestyle=":")
    if chart.log and all(value > 0 for points in lines.values() for _, value in points):
        axis.set_yscale("log")
    axis.xaxis.set_major_formatter(lambda value, _: f"{value / 1e6:g}M" if value >= 1e6 else f"{value / 1e3:g}k")
    axis.locator_params(axis="x", nbins=6)
    axis.set_xlim(0, last)
    if len(lines) > 1:
        axis.legend(frameon=False, ncols=len(lines), loc="lower right", bbox_to_anchor=(1, 1), borderpad=0, fontsize=8)
