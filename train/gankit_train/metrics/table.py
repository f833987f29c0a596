"""The metrics by name: what each one measures and requires, and how to read its values. Needs no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gankit._errors import UsageError


@dataclass(frozen=True)
class Metric:
    """What a metric measures, what it requires, and how its values are judged."""

    about: str  # one line for tables
    better: Literal["lower", "higher", "close to real"]  # the last: as near as possible to real images
    min_images: int  # that each set needs; per label combination or feature if `requires` is `modes` or `features`
    requires: Literal["", "labels", "modes", "requested", "features", "inception"] = ""
    """`labels` of the data; `modes`, label combinations few enough to count; `requested`, samples made for given
    labels; `features` of a network; `inception`, the network that defines FID."""
    margins: tuple[float, float] | None = None
    """Largest distance from the value of real images that is rated good, and fair; None where no scale is known."""
    relative: bool = False  # whether the margins are shares of the value of real images
    too_low: str = ""  # what a value means that is too low
    too_high: str = ""  # what a value means that is too high
    format: str = ".3f"  # format specification of its values

    def score(self, value: float) -> float:
        """Returns a number for ranking: lower is better."""
        return -value if self.better == "higher" else value

    def verdict(self, value: float, real: float | None) -> str:
        """Rates a value against that of real images: `good`, `fair: why` or `poor: why`; empty if not known."""
        if real is None or self.margins is None:
            return ""
        excess = value - real
        gap = {"lower": excess, "higher": -excess, "close to real": abs(excess)}[self.better]
        good, fair = (margin * abs(real) if self.relative else margin for margin in self.margins)
        if gap <= good + 1e-9:
            return "good"
        why = self.too_high if excess > 0 else self.too_low
        return f"{'fair' if gap <= fair else 'poor'}{': ' if why else ''}{why}"


# By the names used in `--metrics`, `metrics.jsonl` and `evaluation.json`.
METRICS: dict[str, Metric] = {
    "sliced_wasserstein": Metric(
        "distance to the data, over patches at several scales (Karras et al. 2018)", "lower", 2, margins=(0.04, 0.15),
        too_high="the samples differ from the data in texture or shape"),
    "diversity": Metric(
        "distance between two samples, divided by that between two real images", "close to real", 2,
        margins=(0.05, 0.2), too_low="less varied than the data, as after mode collapse",
        too_high="more spread out than the data, as noise is"),
    "nearest_l1": Metric(
        "median L1 distance to the nearest training image, in grey levels per pixel", "close to real", 10,
        margins=(0.1, 0.3), relative=True, format=".2f", too_low="closer to training images than new real ones",
        too_high="farther from the data than real images"),
    "authenticity": Metric(
        "share farther from its nearest training image than that one is from its own (Alaa et al. 2022)",
        "close to real", 10, margins=(0.1, 0.3), relative=True, format=".1%", too_low="copies of training images",
        too_high="unlike any training image"),
    "ndb": Metric(
        "share of k-means bins that samples fill differently from the data (NDB/K, Richardson & Weiss 2018)", "lower",
        100, margins=(0.1, 0.4), format=".1%", too_high="some kinds of images are too frequent or too rare"),
    "density": Metric(
        "how many real neighbourhoods a sample lies in, 1 for real images (Naeem et al. 2020)", "close to real", 10,
        margins=(0.1, 0.4), too_low="samples lie where no real images are",
        too_high="samples crowd where real images are frequent"),
    "coverage": Metric(
        "share of the real images with a sample in their neighbourhood (Naeem et al. 2020)", "higher", 10,
        margins=(0.05, 0.25), format=".1%", too_low="some kinds of images are never generated"),
    "frechet": Metric(
        "Fréchet distance between the features of samples and data", "lower", 2, requires="features"),
    "label_fidelity": Metric(
        "share of the requested labels that a classifier finds in the image", "higher", 1, requires="requested",
        margins=(0.01, 0.1), format=".1%", too_low="requested labels do not show"),
    "label_modes": Metric(
        "label combinations of the data that a classifier finds in at least one sample", "higher", 2, requires="modes",
        margins=(0.0, 0.05), relative=True, format=",.0f", too_low="some kinds are never generated"),
    "label_kl": Metric(
        "KL divergence of the label combinations that a classifier finds from the data's", "lower", 2, requires="modes",
        margins=(0.01, 0.1), format=".4f", too_high="some kinds are too frequent or too rare"),
    "confidence": Metric(
        "share of the samples that a classifier recognises with probability 0.9 or more", "higher", 1,
        requires="labels", margins=(0.05, 0.15), format=".1%", too_low="many samples are not clearly anything"),
    "fid": Metric(
        "Fréchet inception distance (Heusel et al. 2017)", "lower", 2_049, requires="inception", format=".2f"),
    "kid": Metric(
        "kernel inception distance (Bińkowski et al. 2018)", "lower", 100, requires="inception", format=".5f"),
}  # fmt: skip


def find_metrics(names: Sequence[str]) -> dict[str, Metric]:
    """Looks up metrics by name. Raises UsageError if a name is unknown."""
    if unknown := [name for name in names if name not in METRICS]:
        raise UsageError(f"there is no metric {unknown[0]!r}; there are {', '.join(METRICS)}")
    return {name: METRICS[name] for name in names}
