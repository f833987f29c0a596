"""Symptoms of a failing run, found in the rows of metrics.jsonl: what is wrong, since when, and what to try.

A symptom is reported once it has lasted for a number of generator updates; the first updates are ignored. The rows are
the only state, so that a resumed run comes to the same findings. The thresholds were chosen on the runs that
docs/quality.md shows.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from gankit._errors import UsageError
from gankit_train.config.config import Config
from gankit_train.config.flags import format_flag

Row = dict[str, Any]
"""A row of metrics.jsonl: `images`, and the metrics since the row before."""

_MAX_ROWS = 1000  # rows to look at, so that the cost of a diagnosis does not grow with the run
_INITIAL, _WINDOW = 4, 6  # rows: the baseline of a value; the window in which swings are compared


@dataclass(frozen=True)
class Symptom:
    """One way in which training fails."""

    requires: tuple[str, ...]  # rows without one of these metrics are skipped
    updates: int  # of G, that must show it in at least two rows; as many at the beginning of a run are ignored
    holds: Callable[[Sequence[Row], Config], bool]  # whether the last of these rows shows it; the others came before
    describe: Callable[[Row], str]  # with the values of a row
    remedies: Callable[[Config], list[dict[str, Any]]]  # settings to try together, the most promising first


@dataclass(frozen=True)
class Finding:
    """A symptom that has lasted."""

    symptom: str
    since: int  # real images seen at the first row that showed it
    message: str
    flags: tuple[str, ...]  # options of gan-train to try, each by itself or together with those before it

    def __str__(self) -> str:
        tried = f"; try {', then '.join(self.flags)}" if self.flags else ""
        return f"since image {self.since:,}: {self.message}{tried}"

    def to_json(self) -> dict[str, Any]:
        """Returns the finding as in metrics.jsonl."""
        return {"symptom": self.symptom, "since": self.since, "message": self.message, "try": list(self.flags)}


def _too_strong(rows: Sequence[Row], config: Config) -> bool:
    row, objective = rows[-1], config.objective
    if objective.loss == "relativistic":
        return bool(row["loss_d"] < 0.02)
    if objective.loss == "wasserstein":
        return False  # a critic should be trained to optimality
    confident = min(row["accuracy_real"], row["accuracy_fake"]) > 0.995
    soft_targets = objective.label_smoothing or objective.label_noise or objective.label_flips  # keep the loss above 0
    return bool(confident and (row["loss_d"] < 0.05 or soft_targets))


def _diverging(rows: Sequence[Row], config: Config) -> bool:
    gradient = rows[-1]["gradient_fake"]
    if config.objective.gradient_penalty:  # which holds it near 1
        return bool(gradient > 20)
    initial = [row["gradient_fake"] for row in rows[:_INITIAL]]
    return bool(len(rows) > _INITIAL and gradient > 10 * max(median(initial), 1.0))


def _oscillating(rows: Sequence[Row], config: Config) -> bool:
    losses = [row["loss_d"] for row in rows[-3 * _WINDOW - 1 :]]
    if len(losses) <= 3 * _WINDOW:
        return False
    changes = [b - a for a, b in pairwise(losses)]
    first, second, third = (median(map(abs, changes[at : at + _WINDOW])) for at in range(0, 3 * _WINDOW, _WINDOW))
    turns = sum(a * b < 0 for a, b in pairwise(changes[-_WINDOW:]))  # a loss that only rises does not oscillate
    grows = third > 1.5 * second > 2.25 * first and third > 0.25 * max(1.0, abs(median(losses)))
    return bool(grows and turns >= _WINDOW // 2)


def _describe_too_strong(row: Row) -> str:
    known = "accuracy_real" in row
    accuracy = f" and its accuracy {min(row['accuracy_real'], row['accuracy_fake']):.1%}" if known else ""
    return f"D is too strong: its loss is {row['loss_d']:.2g}{accuracy}, so that G learns little from it"


def _lower(learning_rate: float) -> float:
    """Returns the usual learning rate, or a quarter of one that is not above it."""
    return 2e-4 if learning_rate > 2e-4 else learning_rate / 4


def _at_least(config: Config, **minimum: float) -> dict[str, float]:
    """Returns settings raised to a minimum where they are below it."""
    return {name: max(config.values()[name], value) for name, value in minimum.items()}


def _remedies_of_divergence(config: Config) -> list[dict[str, Any]]:
    lower = {"lr_d": _lower(config.optimisation.lr_d)}
    if config.objective.loss == "wasserstein":
        return [{**_at_least(config, gradient_penalty=10.0), "weight_clip": 0.0, "d_norm": "none"}, lower]
    return [lower, {"d_norm": "spectral"}]


SYMPTOMS = {
    "D too strong": Symptom(
        ("loss_d", "score_fake"), 300, _too_strong, _describe_too_strong,
        lambda config: [
            {"loss": "non-saturating"} if config.objective.loss == "minimax" else {},
            {"lr_d": _lower(config.optimisation.lr_d), **_at_least(config, lr_g=2e-4)},
            _at_least(config, instance_noise=0.1),
            _at_least(config, dropout=0.3),
        ]),
    "mode collapse": Symptom(
        ("batch_diversity",), 300, lambda rows, config: rows[-1]["batch_diversity"] < 0.5,
        lambda row: f"mode collapse: the diversity of fake images is {row['batch_diversity']:.0%} of that of real ones",
        lambda config: [
            {"lr_g": _lower(config.optimisation.lr_g), **_at_least(config, lr_d=2e-4)},
            _at_least(config, packing=2),
            {"loss": "relativistic", "d_norm": "none", **_at_least(config, r1=1.0, r2=1.0)},
        ]),
    "divergence": Symptom(
        ("gradient_fake",), 150, _diverging,
        lambda row: f"D is diverging: the gradient that reaches G is {row['gradient_fake']:,.0f} per image",
        _remedies_of_divergence),
    "oscillation": Symptom(
        ("loss_d",), 150, _oscillating,
        lambda row: f"the losses oscillate with growing amplitude: D's is {row['loss_d']:.3g} now",
        lambda config: [
            {"lr_d": config.optimisation.lr_d / 2, "lr_g": config.optimisation.lr_g / 2}, {"beta1": 0.0},
        ]),
    "discriminator overfitting": Symptom(
        ("held_out_score_gap",), 300, lambda rows, config: rows[-1]["held_out_score_gap"] > 0.5,
        lambda row: f"D overfits: held-out score gap {row['held_out_score_gap']:.0%}",
        lambda config: [
            {"augment": ("color", "translation", "cutout")},
            _at_least(config, dropout=0.3),
            {"lr_d": _lower(config.optimisation.lr_d)},
        ]),
}  # fmt: skip
"""By name, in the order of reports."""

_CONSEQUENCES = {"D too strong": "mode collapse", "discriminator overfitting": "D too strong"}
"""What a symptom causes by itself, and so is not reported beside it."""


def diagnose(rows: Sequence[Row], config: Config) -> list[Finding]:
    """Returns the symptoms that the last row shows, and that have lasted long enough."""
    update = config.optimisation.batch_size * config.objective.critic_steps  # real images per generator update
    previous: list[dict[str, Any]] = rows[-2].get("diagnosis", []) if len(rows) > 1 else []
    known: dict[str, int] = {finding["symptom"]: finding["since"] for finding in previous}
    findings = []
    for name, symptom in SYMPTOMS.items():
        recent = [row for row in rows[-_MAX_ROWS:] if row["images"] > symptom.updates * update]
        usable = [row for row in recent if row.keys() >= set(symptom.requires)]
        lasting = 0
        while lasting < len(usable) and symptom.holds(usable[: len(usable) - lasting], config):
            lasting += 1
            first, last = usable[-lasting]["images"], usable[-1]["images"]
            if lasting > 1 and (name in known or last - first >= symptom.updates * update):
                message = symptom.describe(usable[-1])
                findings.append(Finding(name, known.get(name, int(first)), message, _flags(symptom, config)))
                break
    found = {finding.symptom for finding in findings}
    return [finding for finding in findings if not any(_CONSEQUENCES.get(cause) == finding.symptom for cause in found)]


def _flags(symptom: Symptom, config: Config) -> tuple[str, ...]:
    """Returns the remedies as options, without those that are set already or not allowed with the others."""
    flags, current = [], config.values()
    for settings in symptom.remedies(config):
        changes = {name: value for name, value in settings.items() if value != current[name]}
        with suppress(UsageError):
            config.replace(**changes)
            flags.append(" ".join(format_flag(name, value) for name, value in changes.items()))
    return tuple(filter(None, flags))


def checked_symptoms(rows: Sequence[Row]) -> list[str]:
    """Returns the symptoms for which the rows have the metrics."""
    return [name for name, symptom in SYMPTOMS.items() if any(row.keys() >= set(symptom.requires) for row in rows)]


def read_rows(run: Path) -> list[Row]:
    """Reads metrics.jsonl of a run folder, without lines that a crash has truncated; empty if there is no such file."""
    path, rows = run / "metrics.jsonl", []
    for line in path.read_text().splitlines() if path.exists() else []:
        with suppress(ValueError, TypeError, KeyError):
            row = json.loads(line)
            row["images"] += 0
            rows.append(_upgrade(row))
    return rows


_FORMER_NAMES = {"collapse": "mode collapse", "known by heart": "discriminator overfitting"}


def _upgrade(row: Row) -> Row:
    """Renames what earlier versions of gankit wrote."""
    if "memory" in row:
        row["held_out_score_gap"] = row.pop("memory")
    for finding in row.get("diagnosis", []):
        if name := finding.pop("sign", ""):
            finding |= {"symptom": _FORMER_NAMES.get(name, name), "message": finding.pop("what")}
    return row


def training_seconds(rows: Sequence[Row]) -> float:
    """Returns the time of all steps, without sample grids and evaluations."""
    timed = [row for row in rows if row.get("images_per_s", 0) > 0]
    spans = zip([0, *(row["images"] for row in timed)], timed, strict=False)
    return float(sum((row["images"] - before) / row["images_per_s"] for before, row in spans))
