"""`report.html` of a run: a single self-contained file with samples, symptoms, metrics, charts and settings."""

import base64
import io
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import jinja2
from PIL import Image

from gankit import __version__
from gankit._errors import GankitError, ModelNotFoundError, one_line
from gankit._files import atomic_write
from gankit_train.config.config import Config
from gankit_train.config.flags import format_flag
from gankit_train.config.variants import changed_settings
from gankit_train.evaluation.diagnosis import SYMPTOMS, checked_symptoms, read_rows, training_seconds
from gankit_train.evaluation.evaluate import draw_neighbours
from gankit_train.metrics.table import METRICS
from gankit_train.models.checkpoints import list_checkpoints, load_checkpoint
from gankit_train.reporter import Reporter
from gankit_train.reporting.charts import draw_charts, symptom_periods

_MAX_GRIDS = 24  # sample grids, so that the file is small enough to be mailed
_GRID_WIDTH, _LAST_WIDTH = 1000, 2000  # largest width of a sample grid, and of the last one, in pixels
_NEIGHBOUR_SAMPLES = 500
_LATER = "the search runs when a run is finished, and in gan-train report"
_DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError)  # what reading a damaged file may raise


def write_report(run: Path, reporter: Reporter, device: str | None = None, *, neighbours: bool = True) -> Path:
    """Writes report.html of a run folder and returns its path.

    Args:
        run: folder with config.json and metrics.jsonl; sample grids, checkpoints and evaluation.json are optional.
        device: where samples are generated for the search for nearest training images; None is the run's own.
        neighbours: whether to search for them, which takes a pass over the data.

    Raises:
        ModelNotFoundError: the folder is not a run folder.
        GankitError: the report cannot be written.
    """
    config, rows, evaluation = _read_config(run), read_rows(run), _read_evaluation(run)
    periods, checked = symptom_periods(rows), checked_symptoms(rows)
    picture, no_picture = "", _LATER
    if neighbours:
        picture, no_picture = _neighbour_picture(run, evaluation, reporter, device or config.run.device)
    # None is a setting that the data, or the number of images, has determined since.
    changed = [format_flag(name, value) for name, value in changed_settings(config).items() if value is not None]
    loader = jinja2.PackageLoader("gankit_train.reporting", "")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    text = environment.get_template("report.html.jinja").render(
        version=__version__, run=run.resolve().name, config=config, settings=config.to_json(),
        command=" ".join(["gan-train", config.variant, *changed]),
        images=rows[-1]["images"] if rows else 0, minutes=training_seconds(rows) / 60,
        rate=median([row["images_per_s"] for row in rows if row.get("images_per_s", 0) > 0] or [0]),
        periods=periods, checked=checked, unchecked=[name for name in SYMPTOMS if name not in checked],
        grids=list(_sample_grids(run)), charts=draw_charts(rows, periods),
        evaluation=evaluation, neighbours=picture, no_neighbours=no_picture,
    )  # fmt: skip
    with atomic_write(run / "report.html") as temporary:
        temporary.write_text(text, encoding="utf-8")
    return run / "report.html"


def _read_config(run: Path) -> Config:
    try:
        return Config.from_json(json.loads((run / "config.json").read_text()))
    except FileNotFoundError:
        raise ModelNotFoundError(f"{run} is not a run folder of gan-train: it has no config.json") from None
    except _DAMAGE as error:
        raise GankitError(f"{run} cannot be read as a run of gan-train: {error}") from error


def _sample_grids(run: Path) -> Iterator[dict[str, Any]]:
    """Yields some sample grids, evenly spread, with the first and the last; unreadable ones are left out."""
    paths = [path for path in sorted((run / "samples").glob("*.png")) if path.stem.isdecimal()]
    if len(paths) > _MAX_GRIDS:
        paths = [paths[round(i * (len(paths) - 1) / (_MAX_GRIDS - 1))] for i in range(_MAX_GRIDS)]
    for path in paths:
        with suppress(*_DAMAGE), Image.open(path) as image:
            width = _LAST_WIDTH if path == paths[-1] else _GRID_WIDTH
            yield {"images": int(path.stem), "picture": _data_url(image, width)}


def _data_url(image: Image.Image, max_width: int = _LAST_WIDTH) -> str:
    """Encodes a picture as a data URL, downscaled if it is too wide."""
    image.thumbnail((max_width, 4 * max_width))
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=90)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _read_evaluation(run: Path) -> dict[str, Any] | None:
    """Reads the document of `gan-train evaluate` and formats its values; None if there is none."""
    with suppress(*_DAMAGE):
        document: dict[str, Any] = json.loads((run / "evaluation.json").read_text())
        for name, each in document["metrics"].items():
            spec = METRICS[name].format if name in METRICS else ".4g"
            each["text"] = {which: format(each[which], spec) for which in ("value", "real")}
        return document
    return None


def _neighbour_picture(
    run: Path, evaluation: dict[str, Any] | None, reporter: Reporter, device: str
) -> tuple[str, str]:
    """Returns the picture of samples and their nearest training images, or the reason why there is none."""
    if not (checkpoints := list_checkpoints(run)):
        return "", "the run has no checkpoint yet"
    try:
        info = load_checkpoint(checkpoints[0])[0]
        # The picture of an evaluation is reused if it is of this checkpoint and of the training data.
        evaluated = evaluation and (evaluation["images_seen"], evaluation["fingerprint"])
        if evaluation and evaluated == (info.images, info.fingerprint) and "neighbours" in evaluation:
            with Image.open(run / evaluation["neighbours"]) as image:
                return _data_url(image), ""
        return _data_url(Image.fromarray(draw_neighbours(run, reporter, _NEIGHBOUR_SAMPLES, device))), ""
    except (GankitError, RuntimeError, *_DAMAGE) as error:  # the data may have moved; the rest is reported anyway
        return "", one_line(error)
