"""`report.html` of a run: one file with nothing outside of it, for a browser, a telephone, a mail or paper."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from PIL import Image

from gankit import __version__
from gankit._errors import GankitError, ModelNotFoundError, one_line
from gankit._files import atomic_write
from gankit_train.config.settings import Config, configure, flag_of
from gankit_train.evaluation.diagnosis import SIGNS, Row, looked_for, read_rows, training_seconds
from gankit_train.metrics.table import MEASURES
from gankit_train.models import checkpoints
from gankit_train.reporting.console import Reporter

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHEETS = 24  # of a run, at the most: so that the file can be mailed
_WIDE, _LAST = 1000, 2000  # pixels of a sheet and of the last one, at the most
_PAIRS = 500  # samples whose nearest training images are looked for
_LATER = "they are looked for when a run is finished, and by gan-train report"
_DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError)  # what reading a damaged file may raise
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
        "Diversity of a batch",
        "distance between images of a batch, over that between real ones",
        {"batch_diversity": "G's images"},
        mark=1.0,
    ),
    Chart(
        "Known by heart",
        "how far D finds real images that it never saw from those that it was trained on, of the way to G's",
        {"memory": "held-out images"},
        mark=0.0,
    ),
    *(Chart(name.replace("_", " "), measure.about, {name: name}) for name, measure in MEASURES.items()),
    Chart("Speed", "images a second, without sheets and measurements", {"images_per_s": "images/s"}),
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


def write_report(run: Path, report: Reporter, device: str | None = None, neighbours: bool = True) -> Path:
    """Makes the report of what a run folder holds now.

    Args:
        run: with config.json and metrics.jsonl; sheets, checkpoints and evaluation.json are shown where they are.
        report: where progress goes.
        device: to make samples on, whose nearest training images are looked for; None is the run's own.
        neighbours: whether to look for them, which takes a pass over the data.

    Returns:
        Where it is.

    Raises:
        ModelNotFoundError: it is no run folder. GankitError: the report cannot be written.
    """
    import jinja2

    try:
        config = Config.from_json(json.loads((run / "config.json").read_text()))
    except FileNotFoundError:
        raise ModelNotFoundError(f"{run} is no run folder of gan-train: it has no config.json") from None
    except (ValueError, TypeError, AttributeError, OSError) as error:
        raise GankitError(f"{run} cannot be read as a run of gan-train: {error}") from error

    rows = read_rows(run)
    told, known = findings(rows), looked_for(rows)
    evaluation = _evaluation(run)
    pairs, no_pairs = _pairs(run, evaluation, report, device or config.device) if neighbours else ("", _LATER)
    rates = [row["images_per_s"] for row in rows if row.get("images_per_s", 0) > 0]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gankit_train.reporting", ""),
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
        rate=median(rates) if rates else 0,
        minutes=training_seconds(rows) / 60,
        told=told,
        looked_for=known,
        not_looked_for=[name for name in SIGNS if name not in known],
        sheets=list(_sheets(run)),
        charts=list(_drawn(rows, told)),
        evaluation=evaluation,
        pairs=pairs,
        no_pairs=no_pairs,
    )
    with atomic_write(run / "report.html") as temporary:
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
        # None is what the data or the number of images has settled since.
        if each.name not in ("variant", "preset") and value is not None and value != getattr(usual, each.name):
            flags += [flag_of(each.name, value)]
    return flags


def _sheets(run: Path) -> Iterator[dict[str, Any]]:
    """Some of them, evenly spread, with the first and the last; those that cannot be read are left out."""
    paths = [path for path in sorted((run / "samples").glob("*.png")) if path.stem.isdecimal()]
    if len(paths) > _SHEETS:
        paths = [paths[round(i * (len(paths) - 1) / (_SHEETS - 1))] for i in range(_SHEETS)]
    for path in paths:
        with suppress(*_DAMAGE), Image.open(path) as image:
            yield {"images": int(path.stem), "picture": _url(image, _LAST if path == paths[-1] else _WIDE)}


def _url(image: Image.Image, widest: int = _LAST) -> str:
    """A picture as an address that holds it, made smaller where it is too wide."""
    image.thumbnail((widest, 4 * widest))
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=90)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _evaluation(run: Path) -> dict[str, Any] | None:
    """What `gan-train evaluate` has written, with its figures as they are shown; None without."""
    with suppress(*_DAMAGE):
        found: dict[str, Any] = json.loads((run / "evaluation.json").read_text())
        for name, each in found["measures"].items():
            form = MEASURES[name].form if name in MEASURES else ".4g"
            each["shown"] = {which: format(each[which], form) for which in ("value", "real")}
        return found
    return None


def _pairs(run: Path, evaluation: dict[str, Any] | None, report: Reporter, device: str) -> tuple[str, str]:
    """The picture of samples and their nearest training images, or why there is none."""
    kept = checkpoints.find(run)
    if not kept:
        return "", "the run has no checkpoint yet"
    try:
        header = checkpoints.read(kept[0])[0]
        # Not of an evaluation of another checkpoint, or beside other data.
        of = evaluation and (evaluation["images_seen"], evaluation["fingerprint"])
        if evaluation and of == (header.images, header.fingerprint) and "pairs" in evaluation:
            with Image.open(run / evaluation["pairs"]) as image:
                return _url(image), ""
        from gankit_train.evaluation.evaluate import nearest_pairs

        return _url(Image.fromarray(nearest_pairs(run, report, _PAIRS, device))), ""
    except (GankitError, RuntimeError, *_DAMAGE) as error:  # the data may have moved; all else can still be told
        return "", one_line(error)


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
        axis.legend(frameon=False, ncols=len(lines), loc="lower right", bbox_to_anchor=(1, 1), borderpad=0, fontsize=8)
