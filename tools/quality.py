"""Trains the runs of `docs/quality.md` and makes that page: recipes with targets, and runs that fail.

python -m tools.quality train DATA [NAME…]    # all runs, or some; DATA: a folder with mnist.zip and bricks.zip
python -m tools.quality measure DATA [NAME…]  # evaluates the runs with targets, as `train` does after training
python -m tools.quality page                  # writes the page and its pictures
"""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageColor

import gankit
from gankit_train.data.avatars import HAIR
from gankit_train.evaluation.diagnosis import Row, read_rows, training_seconds
from gankit_train.reporting.charts import SymptomPeriod, symptom_periods
from tools.pages import DOCS, ROOT, new_figure, plot_metric, save_samples
from tools.quality_runs import FAILURES, GOALS, Failure, Goal, Target

PICTURES = DOCS / "quality"
RUNS = Path("runs/quality")

_HAIR_DISTANCE = 45  # grey levels: half the distance between blond hair and the palest skin
_PEOPLE = 10  # columns of the grid of hair colours
_PAGE_METRICS = ("hair_fidelity", "outside_hair")  # computed here, not by gan-train evaluate


def train(data: Path, names: Sequence[str]) -> None:
    """Trains the named runs, or all, one after the other, and evaluates those with targets. Runs resume."""
    RUNS.mkdir(parents=True, exist_ok=True)
    _save_hundred_digits(data)
    runs = [(goal.name, goal.name, goal.arguments) for goal in GOALS]
    for failure in FAILURES:
        runs.append((failure.name, failure.name, failure.arguments))
        runs.append((failure.name, f"{failure.name}-fixed", f"{failure.arguments} {failure.remedy}"))
    for requested, name, arguments in runs:
        if requested in names or not names:
            line = f"gan-train {arguments} --out {RUNS.resolve() / name}"
            line = line.replace("hundred.npy", str(RUNS.resolve() / "hundred.npy"))
            print(line, flush=True)
            subprocess.run(line.split(), cwd=data, check=False)  # a run that diverges exits with an error
    measure(data, names)


def measure(data: Path, names: Sequence[str]) -> None:
    """Evaluates the named runs with targets, or all of them, and writes `docs/quality/NAME.json`."""
    for goal in GOALS:
        if names and goal.name not in names:
            continue
        run, path = RUNS / goal.name, PICTURES / f"{goal.name}.json"
        source = goal.arguments.split("--data ")[1].split()[0]
        metrics = {"label_fidelity" if t.metric in _PAGE_METRICS else t.metric for t in goal.targets}
        command = ["gan-train", "evaluate", str(run), "--images", str(goal.samples)]
        command += ["--json", str(path.relative_to(ROOT)), "--metrics", ",".join(sorted(metrics))]
        command += ["--data", re.sub(r"\w+\.zip", rf"{data}/\g<0>", source)]
        subprocess.run(command, cwd=ROOT, check=True)
        document = json.loads(path.read_text())
        document["training_minutes"] = round(training_seconds(read_rows(run)) / 60, 1)
        if any(target.metric in _PAGE_METRICS for target in goal.targets):
            document["metrics"] |= _measure_hair(run, document)
        path.write_text(json.dumps(document, indent=1) + "\n")


def _measure_hair(run: Path, document: dict[str, Any]) -> dict[str, dict[str, float | None]]:
    """Measures how well hair colours are obeyed, and how much other pixels change with them; saves a grid of them.

    A pixel belongs to the hair if at least one of two images of the same latent shows it in the requested hair colour.
    `outside_hair` is the mean change of all other pixels divided by that of the hair, over all pairs of colours.
    """
    subprocess.run(["gan-export", str(run), "--onnx", "--name", "faces", "-o", str(run)], cwd=ROOT, check=True)
    shares = {name: each for name, each in document["labels"].items() if name.endswith("_Hair")}
    value, real = (float(np.mean([each[key] for each in shares.values()])) for key in ("value", "real"))
    with gankit.load(run / "faces.onnx", device="cpu") as generator:
        images = generator.compare_labels(256, labels=list(shares))
    grid = gankit.grid(np.concatenate(images[:, :_PEOPLE]), columns=_PEOPLE)
    (picture,) = gankit.as_pil(grid)
    size = (2 * picture.width, 2 * picture.height)
    picture.resize(size, Image.Resampling.NEAREST).save(PICTURES / f"{run.name}.png", optimize=True)
    faces = images.astype(np.float64)
    colours = np.array([ImageColor.getrgb(colour) for colour in HAIR])
    hair = np.abs(faces - colours[:, None, None, None]).max(-1) < _HAIR_DISTANCE
    inside, outside = [], []
    for a, b in combinations(range(len(HAIR)), 2):
        change, either = np.abs(faces[a] - faces[b]).mean(-1), hair[a] | hair[b]
        inside.append(change[either].mean())
        outside.append(change[~either].mean())
    return {
        "hair_fidelity": {"value": round(value, 4), "real": round(real, 4)},
        "outside_hair": {"value": round(float(np.mean(outside) / np.mean(inside)), 4), "real": None},
    }


def _save_hundred_digits(data: Path) -> None:
    """Saves the first 100 digits of MNIST as an array."""
    with zipfile.ZipFile(data / "mnist.zip") as archive:
        name = next(name for name in archive.namelist() if "train-images" in name)
        raw = archive.read(name)
    raw = gzip.decompress(raw) if name.endswith(".gz") else raw
    np.save(RUNS / "hundred.npy", np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 28, 28)[:100])


_HEAD = """# Image quality

This page measures how good the recipes are, with metrics that need no pretrained network. Below that, it shows four
runs that fail, what `gan-train` reported about them, and the same runs after its suggestions were followed.

All runs were trained without a GPU, each on one of two cores and beside one or two others. The minutes are the time of
their steps. The samples are not selected: they belong to the first latents of seed 0. `python -m tools.quality` makes
this page; the values are those of `docs/quality/*.json`.
"""
_NOTES = """
[Metrics](explanation/metrics.md) describes each metric. `confidence` and all metrics of labels use a small classifier,
which is trained once on the real images. `hair_fidelity` is the share of faces in which the classifier finds the
requested hair colour; its value for real images is that of faces held out of the classifier's training. `outside_hair`
is the mean change of all other pixels, when the hair colour changes, divided by the mean change of the hair. The
published values are from table 3 of R3GAN (Huang et al. 2024); by its protocol, a perfect sampler has a `label_kl` of
0.023.
"""
_FAILURES_HEAD = """## Failing runs

Each section shows a run with settings that make it fail, what `gan-train` reported during the run, and the same command
with the options that it suggested.
"""


def page() -> None:
    """Writes the page and its pictures."""
    goals = [_goal_section(goal) for goal in GOALS]
    failures = [_failure_section(failure) for failure in FAILURES]
    (DOCS / "quality.md").write_text("\n".join([_HEAD, table(), _NOTES, *goals, _FAILURES_HEAD, *failures]))


def table() -> str:
    """Returns all targets and results as a Markdown table."""
    lines = ["| run | metric | result | target | real images | published |", "|---|---|---|---|---|---|"]
    for goal in GOALS:
        document = json.loads((PICTURES / f"{goal.name}.json").read_text())
        for target in goal.targets:
            value, real = (document["metrics"][target.metric][key] for key in ("value", "real"))
            result = f"{value:{target.format}}" + ("" if target.is_reached(value, real) else ", missed")
            baseline = "" if real is None else f"{real:{target.format}}"
            published = ", ".join(f"{method} {number}" for method, number in target.published.items())
            lines.append(f"| {goal.name} | {target.metric} | {result} | {target.text} | {baseline} | {published} |")
    return "\n".join(lines)


def _goal_section(goal: Goal) -> str:
    document = json.loads((PICTURES / f"{goal.name}.json").read_text())
    if "outside_hair" not in document["metrics"]:  # `_measure_hair` has saved another grid
        save_samples(RUNS / goal.name, PICTURES / f"{goal.name}.png")
    rows = read_rows(RUNS / goal.name)
    parts = [
        f"## {goal.name}",
        f"{goal.title}: `gan-train {goal.arguments}`. Trained on {document['images_seen']:,} images in "
        f"{document['training_minutes']:.0f} minutes, evaluated with {document['samples']:,} samples.",
        f"![Samples](quality/{goal.name}.png)",
        goal.remarks,
    ]
    if any(target.published for target in goal.targets):
        _draw_targets(rows, goal.targets, PICTURES / f"{goal.name}-curve.png")
        parts.append(f"![Modes and KL divergence during training](quality/{goal.name}-curve.png)")
    if "neighbours" in document:
        parts += [
            "Samples, with the nearest training image below each:",
            f"![Samples and their nearest training images](quality/{document['neighbours']})",
        ]
    parts += [_quote(period) for period in symptom_periods(rows)]
    return "\n\n".join(parts) + "\n"


def _draw_targets(rows: Sequence[Row], targets: Sequence[Target], path: Path) -> None:
    """Draws the metrics of a run during training, with published values as horizontal lines."""
    figure, axes = new_figure(len(targets), (9, 3))
    for axis, target in zip(axes, targets, strict=True):
        plot_metric(axis, rows, target.metric, marker=".")
        for method, value in target.published.items():
            axis.axhline(value, linewidth=0.8, linestyle="--", color="grey")
            axis.annotate(f"{method} {value}", (1, value), xycoords=("axes fraction", "data"), fontsize=7, ha="right")
        axis.set_title(target.metric, fontsize=9)
    axes[1].set_yscale("log")
    figure.savefig(path, dpi=110)


def _failure_section(failure: Failure) -> str:
    for name in (failure.name, f"{failure.name}-fixed"):
        save_samples(RUNS / name, PICTURES / f"{name}.png")
    rows, fixed = read_rows(RUNS / failure.name), read_rows(RUNS / f"{failure.name}-fixed")
    left = sorted({period.symptom for period in symptom_periods(fixed) if period.until is None})
    outcome = f"its last row still reports {', '.join(left)}" if left else "its last row reports no symptom"
    return "\n\n".join(
        [
            f"### {failure.title}",
            f"`gan-train {failure.arguments}`, trained on {rows[-1]['images']:,} images:",
            *(_quote(period) for period in symptom_periods(rows)),
            f"![Samples](quality/{failure.name}.png)",
            f"The same command with `{failure.remedy}`, trained on {fixed[-1]['images']:,} images; {outcome}:",
            f"![Samples of the second run](quality/{failure.name}-fixed.png)",
            failure.remarks + "\n",
        ]
    )


def _quote(period: SymptomPeriod) -> str:
    """Quotes a warning of gan-train."""
    flags = ", then ".join(f"`{flag}`" for flag in period.flags)
    return f"> since image {period.since:,}: {period.message}; try {flags}"


if __name__ == "__main__":
    action, *rest = sys.argv[1:]
    if action == "page":
        page()
    else:
        {"train": train, "measure": measure}[action](Path(rest[0]).resolve(), rest[1:])
