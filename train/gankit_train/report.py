"""`report.html` of a run: one file with nothing outside of it, for a browser, a telephone, a mail or paper."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from PIL import Image

from gankit import __version__
from gankit.errors import GankitError, ModelNotFoundError
from gankit.files import written_whole
from gankit_train import checkpoints
from gankit_train.config import Config, configure, flag_of
from gankit_train.diagnosis import Row
from gankit_train.measures import MEASURES
from gankit_train.terminal import Reporter

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHEETS = 24  # of a run, at the most: so that the file can be mailed
_PAIRS = 500  # samples whose nearest training images are looked for
_COLOURS = ("#0072B2", "#D55E00", "#009E73")  # of Okabe and Ito, which people who see colours differently tell apart
_STYLE: Any = {
    "svg.hashsalt": "gankit",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "grid.color": "#e5e5e5",
}


@dataclass(frozen=True)
class Chart:
    """Columns of metrics.jsonl that are drawn together."""

    title: str
    about: str
    lines: dict[str, str]
    """Their names, and what the legend calls them."""
    log: bool = False
    mark: float | None = None
    """A value to compare with."""


CHARTS = (
    Chart(
        "Losses",
        "what each network is made to lower; G's says nothing of how good the images are",
        {"loss_d": "D", "loss_g": "G"},
    ),
    Chart("Scores", "D's, the higher the more real it finds them", {"score_real": "real", "score_fake": "G's"}),
    Chart(
        "Accuracy",
        "share of the images that D is right about; ½ is guessing",
        {"accuracy_real": "real", "accuracy_fake": "G's"},
        mark=0.5,
    ),
    Chart(
        "Gradient norms",
        "of all weights of a network, at single steps",
        {"gradient_norm_d": "D", "gradient_norm_g": "G"},
        log=True,
    ),
    Chart("What G is told", "norm of the gradient that G gets for an image", {"gradient_fake": "mean"}, log=True),
    Chart(
        "Penalties",
        "on D's slope",
        {"gradient_penalty": "gradient penalty", "r1": "R1, real images", "r2": "R2, G's images"},
        log=True,
    ),
    Chart(
        "Diversity",
        "distance between images of a batch, over that between real ones",
        {"diversity": "G's images"},
        mark=1.0,
    ),
    Chart(
        "Known by heart",
        "how far D finds real images that it never saw from those that it was trained on, of the way to G's",
        {"memory": "held-out images"},
        mark=0.0,
    ),
    *(Chart(name.replace("_", " "), measure.about, {name: name}) for name, measure in MEASURES.items()),
    Chart("Speed", "images a second, with sheets and measurements", {"images_per_s": "images/s"}),
)


@dataclass
class Told:
    """A sign of failure over the rows that had it."""

    sign: str
    since: int
    until: int | None
    """None where the last row has it."""
    what: str
    flags: list[str] = field(default_factory=list)


def write_report(run: Path, report: Reporter, device: str = "auto") -> Path:
    """Makes the report of what a run folder holds now.

    Args:
        run: with config.json and metrics.jsonl; sheets, checkpoints and evaluation.json are shown where they are.
        report: where progress goes.
        device: to make samples on, whose nearest training images are looked for.

    Returns:
        Where it is.

    Raises:
        ModelNotFoundError: it is no run folder. GankitError: the report cannot be written.
    """
    import jinja2

    try:
        config = Config.from_json(json.loads((run / "config.json").read_text()))
        rows: list[Row] = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    except FileNotFoundError as error:
        missing = Path(error.filename).name
        raise ModelNotFoundError(f"{run} is no run folder of gan-train: it has no {missing}") from None
    except (ValueError, TypeError, AttributeError, OSError) as error:
        raise GankitError(f"{run} cannot be read as a run of gan-train: {error}") from error

    told = findings(rows)
    evaluation, pairs, no_pairs = _neighbours(run, report, device)
    seconds = sum(
        (row["images"] - before) / row["images_per_s"]
        for before, row in zip([0, *(row["images"] for row in rows)], rows, strict=False)
        if row["images_per_s"] > 0
    )
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gankit_train", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    text = environment.get_template("report.html.jinja").render(
        version=__version__,
        run=run.resolve().name,
        config=config,
        command=" ".join(["gan-train", config.variant, *_changed(config)]),
        settings=config.to_json(),
        images=rows[-1]["images"] if rows else 0,
        rate=median(row["images_per_s"] for row in rows) if rows else 0,
        minutes=seconds / 60,
        told=told,
        sheets=[{"images": int(path.stem), "picture": _picture(path)} for path in _sheets(run)],
        charts=list(_drawn(rows, told)),
        evaluation=evaluation,
        form={name: partial(_shown, measure.form) for name, measure in MEASURES.items()},
        pairs=pairs,
        no_pairs=no_pairs,
    )
    with written_whole(run / "report.html") as temporary:
        temporary.write_text(text, encoding="utf-8")
    return run / "report.html"


def findings(rows: Sequence[Row]) -> list[Told]:
    """What the rows have told, in the order of its beginning, the words as they were last."""
    told: dict[tuple[str, int], Told] = {}
    for row in rows:
        for each in row.get("diagnosis", []):
            told[each["sign"], each["since"]] = Told(
                each["sign"], each["since"], row["images"], each["what"], each["try"]
            )
    for each in told.values():
        if each.until == rows[-1]["images"]:
            each.until = None
    return list(told.values())


def _changed(config: Config) -> list[str]:
    """The flags that make these settings, where the variant or the preset has others."""
    usual = configure(config.variant, preset=config.preset) if config.preset else configure(config.variant)
    flags = [flag_of("preset", config.preset)] if config.preset else []
    for each in fields(Config):
        value = getattr(config, each.name)
        if each.name not in ("variant", "preset") and value != getattr(usual, each.name):
            flags += [flag_of(each.name, value)]
    return flags


def _sheets(run: Path) -> list[Path]:
    """Some of them, evenly spread, with the first and the last."""
    paths = sorted((run / "samples").glob("*.png"))
    if len(paths) <= _SHEETS:
        return paths
    return [paths[round(i * (len(paths) - 1) / (_SHEETS - 1))] for i in range(_SHEETS)]


def _picture(path: Path) -> str:
    """A picture as a URL that holds it."""
    with Image.open(path) as image:
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", quality=90)
    return _url(buffer.getvalue(), "webp")


def _url(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _neighbours(run: Path, report: Reporter, device: str) -> tuple[dict[str, Any] | None, str, str]:
    """What `gan-train evaluate` has written of the run, the picture of pairs, or why there is none."""
    place, found = run / "evaluation.json", checkpoints.find(run)
    evaluation: dict[str, Any] | None = json.loads(place.read_text()) if place.exists() else None
    newest = int(found[0].stem) if found else None
    if evaluation and evaluation["images_seen"] == newest and "pairs" in evaluation:
        return evaluation, _picture(run / evaluation["pairs"]), ""
    if newest is None:
        return evaluation, "", "the run has no checkpoint yet"
    from gankit_train.evaluation import nearest_pairs

    try:
        pixels = nearest_pairs(run, report, _PAIRS, device)
    except GankitError as error:  # the data may have moved since; all else can still be told
        return evaluation, "", str(error)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=90)
    return evaluation, _url(buffer.getvalue(), "webp"), ""


def _drawn(rows: Sequence[Row], told: Sequence[Told]) -> list[dict[str, str]]:
    """The charts for which there is anything, as SVG."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    drawn = []
    for chart in CHARTS:
        lines = {name: [(row["images"], row[name]) for row in rows if name in row] for name in chart.lines}
        lines = {name: points for name, points in lines.items() if points}
        if not lines:
            continue
        with mpl.rc_context(_STYLE):
            figure = Figure(figsize=(4.4, 2.5), layout="constrained")
            axis = figure.add_subplot()
            _draw(axis, chart, lines, told)
            buffer = io.StringIO()
            figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
        text = buffer.getvalue()
        # Of no fixed size, and with its name for whoever hears the page.
        head = rf'<svg role="img" aria-label="{chart.title} over the images that D has seen" viewBox='
        text = re.sub(r"^<svg [^>]*?viewBox=", head, text[text.index("<svg") :].replace("\n", " ", 4), count=1)
        drawn.append({"title": chart.title, "about": chart.about, "svg": text})
    return drawn


def _draw(axis: Axes, chart: Chart, lines: dict[str, list[tuple[int, float]]], told: Sequence[Told]) -> None:
    last = max(points[-1][0] for points in lines.values())
    for (name, points), colour in zip(lines.items(), _COLOURS, strict=False):
        x, y = zip(*points, strict=True)
        axis.plot(x, y, color=colour, linewidth=1.4, label=chart.lines[name], marker="o" if len(x) < 3 else None)
    for each in told:
        axis.axvspan(each.since, last if each.until is None else each.until, color="#E69F00", alpha=0.18, linewidth=0)
    if chart.mark is not None:
        axis.axhline(chart.mark, color="#777777", linewidth=0.8, linestyle=":")
    if chart.log and all(value > 0 for points in lines.values() for _, value in points):
        axis.set_yscale("log")
    axis.xaxis.set_major_formatter(lambda value, _: f"{value / 1e6:g}M" if value >= 1e6 else f"{value / 1e3:g}k")
    axis.locator_params(axis="x", nbins=6)
    axis.set_xlim(0, last)
    if len(lines) > 1:
        axis.legend(frameon=False, ncols=len(lines), loc="upper right", fontsize=8)


def _shown(form: str, value: float) -> str:
    return format(value, form)
