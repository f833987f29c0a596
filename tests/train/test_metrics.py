"""The metrics: their table, their verdicts, and that they distinguish good images from bad ones."""

import math
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from gankit._errors import UsageError
from gankit_train.metrics.comparison import Comparison, Reference
from gankit_train.metrics.compute import FUNCTIONS, check_available, compute_metrics
from gankit_train.metrics.table import METRICS, Metric
from tests.helpers.datasets import BALANCED, DATA, compare_quarters, quarters, quarters_dataset, random_images

pytestmark = pytest.mark.usefixtures("global_random_state_stays")


# The table


def test_every_metric_has_a_function_with_a_description() -> None:
    assert FUNCTIONS.keys() == METRICS.keys()
    for name, metric in METRICS.items():
        assert FUNCTIONS[name].__doc__
        assert metric.about and metric.better in ("lower", "higher", "close to real")
        assert format(0.5, metric.format)


@pytest.mark.parametrize(
    ("better", "value", "verdict"),
    [
        ("lower", 1.05, "good"),
        ("lower", 0.0, "good"),
        ("lower", 1.15, "fair: high"),
        ("lower", 1.3, "poor: high"),
        ("higher", 0.95, "good"),
        ("higher", 9.0, "good"),
        ("higher", 0.7, "poor: low"),
        ("close to real", 1.1, "good"),
        ("close to real", 0.85, "fair: low"),
        ("close to real", 1.5, "poor: high"),
    ],
)
def test_a_verdict_rates_the_distance_from_the_value_of_real_images(better: Any, value: float, verdict: str) -> None:
    metric = Metric("", better, 1, margins=(0.1, 0.2), too_low="low", too_high="high")
    assert metric.verdict(value, 1.0) == verdict
    assert replace(metric, relative=True).verdict(10 * value, 10.0) == verdict
    assert replace(metric, margins=None).verdict(value, 1.0) == ""


# Values


def test_diversity_equals_the_root_mean_square_distance_of_all_pairs() -> None:
    data = replace(DATA, images=random_images(30), vectors=DATA.vectors[:30])
    fake = random_images(30, seed=1) // 2
    squares = [
        np.mean([np.square(a.astype(float) - b).sum() for a, b in combinations(x, 2)]) for x in (data.images, fake)
    ]
    found = FUNCTIONS["diversity"](Comparison(Reference(data, data.images), fake))
    assert found == pytest.approx(math.sqrt(squares[1] / squares[0]))


def test_copies_are_distinguished_from_new_images() -> None:
    new = compare_quarters(BALANCED)
    copies = Comparison(new.reference, DATA.images[100:300] + np.uint8(1))
    real = Comparison(new.reference, DATA.images[:200], rows=np.arange(200))
    names = ["nearest_l1", "authenticity"]
    values, copied, own = (compute_metrics(names, x) for x in (new, copies, real))
    assert copied == {"nearest_l1": pytest.approx(1), "authenticity": 0}
    assert values["nearest_l1"] == pytest.approx(own["nearest_l1"], rel=0.05)
    assert values["authenticity"] == pytest.approx(own["authenticity"], abs=0.15)
    assert METRICS["authenticity"].verdict(0, own["authenticity"]) == "poor: copies of training images"


def test_missing_classes_are_noticed() -> None:
    names = ["ndb", "coverage", "density", "diversity"]
    all_four, two = (compute_metrics(names, compare_quarters(classes)) for classes in (BALANCED, BALANCED % 2))
    assert all_four["ndb"] == 0 and two["ndb"] == 1
    assert all_four["coverage"] > 0.9 and two["coverage"] < 0.55
    assert all_four["density"] == pytest.approx(1, abs=0.15)
    assert all_four["diversity"] == pytest.approx(1, abs=0.02) and two["diversity"] < 0.9


# Availability


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("nonsense", {}, "there is no metric 'nonsense'; there are sliced_wasserstein, diversity"),
        ("ndb", {"fake": 50}, "ndb needs at least 100 images of each set, and there are 50"),
        ("coverage", {"real": 5}, "coverage needs at least 10 images of each set, and there are 5"),
        ("label_kl", {"fake": 7}, "label_kl needs at least 8 images of each set, and there are 7"),
        (
            "label_fidelity",
            {},
            "label_fidelity needs images that were generated for labels of quarters, as by a cgan",
        ),
        ("label_modes", {"labels": 0}, "label_modes needs labels, and quarters has none"),
        ("confidence", {"labels": 0}, "confidence needs labels, and quarters has none"),
        ("frechet", {"labels": 0}, "frechet needs a network: give one with --features FILE"),
        ("confidence", {"data": 40}, "confidence needs a classifier, which needs at least 60 images: quarters has 40"),
    ],
)
def test_an_unavailable_metric_is_explained(name: str, change: dict[str, int], words: str) -> None:
    data = quarters_dataset(change.get("data", 400))
    if "labels" in change:
        data = replace(data, label_names=(), vectors=data.vectors[:, :0])
    reference = Reference(data, data.images[: change.get("real", 200)])
    with pytest.raises(UsageError, match=words):
        compute_metrics([name], Comparison(reference, quarters(BALANCED)[: change.get("fake", 200)]))


def test_too_many_label_combinations_are_not_counted() -> None:
    vectors = np.random.default_rng(0).integers(0, 2, (400, 14), dtype=np.uint8)
    data = replace(DATA, label_names=tuple("abcdefghijklmn"), vectors=vectors, kind="attributes")
    with pytest.raises(UsageError, match="the 14 of quarters make too many"):
        check_available(["label_modes"], Comparison(Reference(data, data.images[:200]), data.images))


def test_images_of_different_sizes_are_not_compared() -> None:
    with pytest.raises(UsageError, match=r"the images are 5x6x3 .* and those of quarters 8x8x1"):
        Comparison(Reference(DATA, DATA.images), random_images(20))
