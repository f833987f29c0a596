"""How good a generator's images are, without a pretrained network: one table of measures.

Each is a function of `gankit_train.metrics.functions` of the same name, from `Sets` of images to a number. Nothing in
this file needs torch, so that `gan-train --help` answers at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gankit._errors import UsageError

if TYPE_CHECKING:
    from gankit_train.metrics.functions import Sets


@dataclass(frozen=True)
class Measure:
    """What a figure means, and what it takes to have it."""

    about: str
    """In plain words."""
    better: Literal["lower", "higher", "alike"]
    """`alike`: the nearer to what real images reach, the better."""
    at_least: int
    """Images that each set needs; for each label combination or feature, where it `needs` those."""
    needs: Literal["", "labels", "modes", "asked", "features", "inception"] = ""
    """`labels` of the data; `modes`: combinations of labels that can be counted; `asked`: images made for labels;
    `features` of a network; `inception`: of the one that FID is defined by."""
    slack: tuple[float, float] | None = None
    """How far from what real images reach is still good, and still fair; None where no scale is known."""
    relative: bool = False
    """Whether that is a share of what real images reach."""
    below: str = ""
    above: str = ""
    """What it says when it is too low or too high."""
    form: str = ".3f"
    """How to print it."""

    def score(self, value: float) -> float:
        """For ranking: lower is better."""
        return -value if self.better == "higher" else value

    def verdict(self, value: float, real: float | None) -> str:
        """`good`, or how bad, beside what real images reach; empty where that is not known."""
        if real is None or self.slack is None:
            return ""
        over = value - real
        gap = {"lower": over, "higher": -over, "alike": abs(over)}[self.better]
        good, fair = (slack * abs(real) if self.relative else slack for slack in self.slack)
        if gap <= good + 1e-9:
            return "good"
        why = self.above if over > 0 else self.below
        return f"{'fair' if gap <= fair else 'poor'}{': ' if why else ''}{why}"


MEASURES: dict[str, Measure] = {
    "sliced_wasserstein": Measure(
        "distance to the data, over patches of all sizes (Karras et al. 2018)",
        "lower", 2, slack=(0.04, 0.15), above="the images differ from the data in texture or form"),
    "diversity": Measure(
        "distance between two samples, over that between two real images",
        "alike", 2, slack=(0.05, 0.2), below="less varied than the data, as in a collapse",
        above="more spread than the data, as noise is"),
    "nearest_l1": Measure(
        "median distance to the nearest training image, in grey levels a pixel",
        "alike", 10, slack=(0.1, 0.3), relative=True, below="nearer to training images than new real ones are",
        above="further from the data than real images are", form=".2f"),
    "authenticity": Measure(
        "share further from the nearest training image than that is from its own (Alaa et al. 2022)",
        "alike", 10, slack=(0.1, 0.3), relative=True, below="copies of training images",
        above="unlike any training image", form=".1%"),
    "ndb": Measure(
        "share of bins that are filled otherwise than the data fills them (NDB/K, Richardson & Weiss 2018)",
        "lower", 100, slack=(0.1, 0.4), above="some kinds of images come too often or too rarely", form=".1%"),
    "density": Measure(
        "how many real neighbourhoods a sample lies in, of 1 (Naeem et al. 2020)",
        "alike", 10, slack=(0.1, 0.4), below="samples lie where no real images are",
        above="samples crowd where real images do"),
    "coverage": Measure(
        "share of the real images with a sample in their neighbourhood (Naeem et al. 2020)",
        "higher", 10, slack=(0.05, 0.25), below="some kinds of images are never made", form=".1%"),
    "frechet": Measure(
        "Fréchet distance between the features of samples and data",
        "lower", 2, needs="features"),
    "label_fidelity": Measure(
        "share of the labels asked for that a classifier finds in the image",
        "higher", 1, needs="asked", slack=(0.01, 0.1), below="labels are not obeyed, or not to be seen", form=".1%"),
    "label_modes": Measure(
        "kinds of images that a classifier finds at least once, of those in the data",
        "higher", 2, needs="modes", slack=(0.0, 0.05), relative=True, below="some kinds are never made", form=",.0f"),
    "label_kl": Measure(
        "Kullback-Leibler divergence of the kinds that a classifier finds from the data's",
        "lower", 2, needs="modes", slack=(0.01, 0.1), above="some kinds come too often or too rarely", form=".4f"),
    "confidence": Measure(
        "share of the images that a classifier is sure of, by 0.9 or more",
        "higher", 1, needs="labels", slack=(0.05, 0.15), below="many images are no clear picture of anything",
        form=".1%"),
    "fid": Measure(
        "Fréchet inception distance (Heusel et al. 2017)", "lower", 2_049, needs="inception", form=".2f"),
    "kid": Measure(
        "kernel inception distance (Bińkowski et al. 2018)", "lower", 100, needs="inception", form=".5f"),
}  # fmt: skip
"""What can be measured, by the name it has in `--measures`, `metrics.jsonl` and `evaluation.json`."""


def find(names: Sequence[str]) -> dict[str, Measure]:
    """The measures of these names.

    Raises:
        UsageError: there is none of a name.
    """
    for name in names:
        if name not in MEASURES:
            raise UsageError(f"there is no measure {name!r}; there are {', '.join(MEASURES)}")
    return {name: MEASURES[name] for name in names}


def measured(names: Sequence[str], sets: Sets) -> dict[str, float]:
    """The figures of these names.

    Raises:
        UsageError: one cannot be had of these images: too few, or without what it needs.
        GankitError: a network whose features are wanted makes something else than finite numbers.
    """
    refuse(names, sets)
    return {name: figure(name, sets) for name in names}


def refuse(names: Sequence[str], sets: Sets) -> None:
    """Raises UsageError where one of these measures cannot be had of these images."""
    for name, measure in find(names).items():
        if why := sets.refusal(name, measure):
            raise UsageError(why)


def figure(name: str, sets: Sets) -> float:
    """One figure, of images of which it can be had."""
    from gankit_train.metrics import functions as figures

    value: float = getattr(figures, name)(sets)
    return value
