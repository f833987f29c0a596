"""Signs that a run is failing, read from the rows of metrics.jsonl: what is wrong, since when, and what to try.

A sign is told once it has held for so many updates of G, and never of the first ones. Nothing is remembered beside the
rows, so that a resumed run comes to the same. docs/quality.md has the runs that the thresholds were chosen on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from gankit._errors import UsageError
from gankit_train.config.settings import Config, flag_of

Row = dict[str, Any]
"""Of metrics.jsonl: `images`, and the figures since the row before."""

_LOOK = 1000  # rows that are looked at, at the most, so that no run is slowed by its length
_FIRST, _WINDOW = 4, 6  # rows: what a value began with; what is compared for swings


@dataclass(frozen=True)
class Sign:
    """One way to fail."""

    what: Callable[[Row], str]
    """In words, with the figures of a row."""
    needs: tuple[str, ...]
    """Rows without one of these are passed over."""
    holds: Callable[[Sequence[Row], Config], bool]
    """Whether the last of these rows shows it; the others came before it."""
    lasts: int
    """Updates of G that must show it before it is told, in two rows or more; as many at the beginning are spared."""
    try_: Callable[[Config], list[dict[str, Any]]]
    """Settings that mend it, the likeliest first; those of one entry belong together."""


@dataclass(frozen=True)
class Finding:
    """A sign that has lasted."""

    sign: str
    since: int
    """Images that D had seen at the first row that showed it."""
    what: str
    flags: tuple[str, ...]
    """For `gan-train`, each to be tried by itself or with those before it."""

    def __str__(self) -> str:
        tried = f"; try {', then '.join(self.flags)}" if self.flags else ""
        return f"since image {self.since:,}: {self.what}{tried}"

    def to_json(self) -> dict[str, Any]:
        """For metrics.jsonl."""
        return {"sign": self.sign, "since": self.since, "what": self.what, "try": list(self.flags)}


def _too_strong(rows: Sequence[Row], config: Config) -> bool:
    row = rows[-1]
    if config.loss == "relativistic":
        return bool(row["loss_d"] < 0.02)
    if config.loss == "wasserstein":
        return False  # there D is to be as good as it can
    sure = min(row["accuracy_real"], row["accuracy_fake"]) > 0.995
    blurred = config.label_smoothing or config.label_noise or config.label_flips  # keep the loss from falling to 0
    return bool(sure and (row["loss_d"] < 0.05 or blurred))


def _collapsed(rows: Sequence[Row], config: Config) -> bool:
    return bool(rows[-1]["batch_diversity"] < 0.5)


def _diverging(rows: Sequence[Row], config: Config) -> bool:
    slope = rows[-1]["gradient_fake"]
    if config.gradient_penalty:  # holds it near 1
        return bool(slope > 20)
    return len(rows) > _FIRST and bool(slope > 10 * max(median(row["gradient_fake"] for row in rows[:_FIRST]), 1.0))


def _oscillating(rows: Sequence[Row], config: Config) -> bool:
    losses = [row["loss_d"] for row in rows[-3 * _WINDOW - 1 :]]
    if len(losses) <= 3 * _WINDOW:
        return False
    steps = [b - a for a, b in pairwise(losses)]
    first, second, third = (median(map(abs, steps[at : at + _WINDOW])) for at in range(0, 3 * _WINDOW, _WINDOW))
    turns = sum(a * b < 0 for a, b in pairwise(steps[-_WINDOW:]))  # a loss that only rises does not swing
    grows = third > 1.5 * second > 2.25 * first and third > 0.25 * max(1.0, abs(median(losses)))
    return bool(grows and turns >= _WINDOW // 2)


def _by_heart(rows: Sequence[Row], config: Config) -> bool:
    return bool(rows[-1]["memory"] > 0.5)


def _slower(rate: float) -> float:
    """The usual rate, or a quarter of one that is not above it."""
    return 2e-4 if rate > 2e-4 else rate / 4


SIGNS = {
    "D too strong": Sign(
        lambda row: (
            f"D is too strong: its loss is {row['loss_d']:.2g}"
            + (
                f" and it is right about {min(row['accuracy_real'], row['accuracy_fake']):.1%} of the images"
                if "accuracy_real" in row
                else ""
            )
            + ", so that G learns little from it"
        ),
        ("loss_d", "score_fake"),
        _too_strong,
        300,
        lambda config: [
            {"loss": "non-saturating"} if config.loss == "minimax" else {},
            {"lr_d": _slower(config.lr_d), "lr_g": max(config.lr_g, 2e-4)},
            {"instance_noise": max(config.instance_noise, 0.1)},
            {"dropout": max(config.dropout, 0.3)},
        ],
    ),
    "collapse": Sign(
        lambda row: f"G has collapsed: its images differ by {row['batch_diversity']:.0%} of what real ones do",
        ("batch_diversity",),
        _collapsed,
        300,
        lambda config: [
            {"lr_g": _slower(config.lr_g), "lr_d": max(config.lr_d, 2e-4)},
            {"packing": max(config.packing, 2)},
            {"loss": "relativistic", "d_norm": "none", "r1": max(config.r1, 1.0), "r2": max(config.r2, 1.0)},
        ],
    ),
    "divergence": Sign(
        lambda row: f"D is diverging: its slope on G's images is {row['gradient_fake']:,.0f}, far beyond what is usual",
        ("gradient_fake",),
        _diverging,
        150,
        lambda config: [
            {"gradient_penalty": max(config.gradient_penalty, 10.0), "weight_clip": 0.0, "d_norm": "none"}
            if config.loss == "wasserstein"
            else {},
            {"lr_d": _slower(config.lr_d)},
            {} if config.loss == "wasserstein" else {"d_norm": "spectral"},
        ],
    ),
    "oscillation": Sign(
        lambda row: f"the losses swing, and further each time: D's is {row['loss_d']:.3g} now",
        ("loss_d",),
        _oscillating,
        150,
        lambda config: [{"lr_d": config.lr_d / 2, "lr_g": config.lr_g / 2}, {"beta1": 0.0}],
    ),
    "known by heart": Sign(
        lambda row: (
            f"D knows the training images by heart: images that it never saw lie {row['memory']:.0%} of the way from "
            "them to G's"
        ),
        ("memory",),
        _by_heart,
        300,
        lambda config: [
            {"augment": ("color", "translation", "cutout")},
            {"dropout": max(config.dropout, 0.3)},
            {"lr_d": _slower(config.lr_d)},
        ],
    ),
}


_FOLLOWS = {"D too strong": "collapse", "known by heart": "D too strong"}
"""What a sign brings about by itself, so that it is not told beside it."""


def diagnose(rows: Sequence[Row], config: Config) -> list[Finding]:
    """What the last rows show, if enough of them do."""
    update = config.batch_size * config.critic_steps  # images of one of G
    before: list[dict[str, Any]] = rows[-2].get("diagnosis", []) if len(rows) > 1 else []
    told: dict[str, int] = {found["sign"]: found["since"] for found in before}
    findings = []
    for name, sign in SIGNS.items():
        recent = [row for row in rows[-_LOOK:] if row["images"] > sign.lasts * update]
        known = [row for row in recent if all(need in row for need in sign.needs)]
        shown = 0
        while shown < len(known) and sign.holds(known[: len(known) - shown], config):
            shown += 1
            if shown > 1 and (name in told or known[-1]["images"] - known[-shown]["images"] >= sign.lasts * update):
                since = told[name] if name in told else int(known[-shown]["images"])
                findings.append(Finding(name, since, sign.what(known[-1]), _flags(sign, config)))
                break
    found = {finding.sign for finding in findings}
    return [finding for finding in findings if not any(_FOLLOWS.get(cause) == finding.sign for cause in found)]


def looked_for(rows: Sequence[Row]) -> list[str]:
    """The signs for which the rows have figures."""
    return [name for name, sign in SIGNS.items() if any(all(need in row for need in sign.needs) for row in rows)]


def read_rows(run: Path) -> list[Row]:
    """Of a run folder's metrics.jsonl, without what a crash has cut off; none where there is no such file."""
    path, rows = run / "metrics.jsonl", []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
            row["images"] += 0
        except (ValueError, TypeError, KeyError):
            continue
        rows.append(row)
    return rows


def training_seconds(rows: Sequence[Row]) -> float:
    """What the steps took, without sheets and measurements."""
    timed = [row for row in rows if row.get("images_per_s", 0) > 0]
    spans = zip([0, *(row["images"] for row in timed)], timed, strict=False)
    return float(sum((row["images"] - before) / row["images_per_s"] for before, row in spans))


def _flags(sign: Sign, config: Config) -> tuple[str, ...]:
    """Of the settings that are not so already, and that go with the others."""
    flags = []
    for settings in sign.try_(config):
        changed = {name: value for name, value in settings.items() if value != getattr(config, name)}
        try:
            replace(config, **changed)
        except UsageError:
            continue
        if changed:
            flags.append(" ".join(flag_of(name, value) for name, value in changed.items()))
    return tuple(flags)
