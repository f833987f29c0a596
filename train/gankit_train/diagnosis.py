"""Signs that a run is failing, read from the rows of metrics.jsonl: what is wrong, since when, and what to try.

A sign is looked for in each row and told once it has held for some rows in a row. Nothing is remembered beside the
rows, so that a resumed run and a report come to the same. Where the thresholds come from is told in docs/quality.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median, stdev
from typing import Any

from gankit_train.config import Config, flag_of

Row = dict[str, Any]
"""Of metrics.jsonl, see `gankit_train.loop`."""


@dataclass(frozen=True)
class Sign:
    """One way to fail."""

    what: Callable[[Row], str]
    """In words, with the figures of a row."""
    needs: tuple[str, ...]
    """Rows without one of these are passed over."""
    holds: Callable[[Sequence[Row]], bool]
    """Whether the last of these rows shows it; the others came before it."""
    lasts: int
    """Rows that must show it one after the other before it is told."""
    try_: Callable[[Config], dict[str, Any]]
    """Settings that mend it, the likeliest first."""


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


def _too_strong(rows: Sequence[Row]) -> bool:
    row = rows[-1]
    return bool(min(row["accuracy_real"], row["accuracy_fake"]) > 0.995 and row["loss_d"] < 0.05)


def _collapsed(rows: Sequence[Row]) -> bool:
    return bool(rows[-1]["diversity"] < 0.5)


def _diverging(rows: Sequence[Row]) -> bool:
    usual = median(row["gradient_fake"] for row in rows[:_FIRST])
    return bool(len(rows) > _FIRST and rows[-1]["gradient_fake"] > 10 * max(usual, 1.0))


def _oscillating(rows: Sequence[Row]) -> bool:
    if len(rows) < 3 * _WINDOW:
        return False
    losses = [row["loss_d"] for row in rows[-3 * _WINDOW :]]
    first, second, third = (stdev(losses[at : at + _WINDOW]) for at in range(0, 3 * _WINDOW, _WINDOW))
    return bool(third > 1.5 * second > 2.25 * first and third > 0.5 * max(1.0, abs(median(losses))))


def _by_heart(rows: Sequence[Row]) -> bool:
    return bool(rows[-1]["memory"] > 0.5)


_FIRST = 4
_WINDOW = 6

SIGNS = {
    "D too strong": Sign(
        lambda row: (
            f"D is too strong: it is right about {min(row['accuracy_real'], row['accuracy_fake']):.1%} of all images, "
            f"its loss is {row['loss_d']:.2g}, and G learns little from it"
        ),
        ("accuracy_real", "accuracy_fake", "loss_d"),
        _too_strong,
        4,
        lambda config: {
            "loss": "non-saturating" if config.loss == "minimax" else config.loss,
            "lr_d": min(config.lr_d, 2e-4) if config.lr_d > 2e-4 else config.lr_d / 4,
            "lr_g": max(config.lr_g, 2e-4),
            "instance_noise": 0.1,
            "dropout": 0.3,
        },
    ),
    "collapse": Sign(
        lambda row: f"G has collapsed: its images differ by {row['diversity']:.0%} of what real ones do",
        ("diversity",),
        _collapsed,
        4,
        lambda config: {
            "lr_g": min(config.lr_g, 2e-4),
            "packing": 2,
        },
    ),
    "divergence": Sign(
        lambda row: f"D is diverging: its slope on G's images is {row['gradient_fake']:.3g}, and growing",
        ("gradient_fake",),
        _diverging,
        3,
        lambda config: {
            "gradient_penalty": 10.0 if config.loss == "wasserstein" else config.gradient_penalty,
            "lr_d": min(config.lr_d, 2e-4) if config.lr_d > 2e-4 else config.lr_d / 4,
        },
    ),
    "oscillation": Sign(
        lambda row: f"the losses swing, and further each time: D's is {row['loss_d']:.3g} now",
        ("loss_d",),
        _oscillating,
        3,
        lambda config: {"lr_d": config.lr_d / 2, "lr_g": config.lr_g / 2},
    ),
    "known by heart": Sign(
        lambda row: (
            f"D knows the training images by heart: images that it never saw lie {row['memory']:.0%} of the way from "
            "them to G's"
        ),
        ("memory",),
        _by_heart,
        2,
        lambda config: {"augment": ("color", "translation", "cutout"), "horizontal_flips": True, "dropout": 0.3},
    ),
}


def diagnose(rows: Sequence[Row], config: Config) -> list[Finding]:
    """What the last row shows, if it and enough rows before it show it."""
    findings = []
    for name, sign in SIGNS.items():
        known = [row for row in rows if all(need in row for need in sign.needs)]
        shown = 0
        while shown < len(known) and sign.holds(known[: len(known) - shown]):
            shown += 1
        if shown >= sign.lasts:
            findings.append(Finding(name, known[-shown]["images"], sign.what(known[-1]), _flags(sign, config)))
    return findings


def _flags(sign: Sign, config: Config) -> tuple[str, ...]:
    """Of the settings that are not so already."""
    changed = {name: value for name, value in sign.try_(config).items() if value != getattr(config, name)}
    return tuple(flag_of(name, value) for name, value in changed.items())
