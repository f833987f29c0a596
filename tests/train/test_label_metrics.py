"""The classifier of a data set's labels, and the metrics that use it."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gankit_train.data import Dataset, open_dataset
from gankit_train.metrics.classifier import Head, classifier_of, fixed_permutation, label_heads
from gankit_train.metrics.comparison import Comparison, Reference
from gankit_train.metrics.compute import FUNCTIONS, compute_metrics
from gankit_train.metrics.functions import fidelity_by_label, kl_divergence
from tests.helpers.datasets import BALANCED, DATA, QUARTERS, compare_quarters, one_hot, quarters
from tests.helpers.training import CPU

pytestmark = pytest.mark.usefixtures("global_random_state_stays")


def test_the_classifier_is_trained_once_and_tested_on_held_out_images(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GANKIT_CACHE", str(tmp_path))
    calls: list[tuple[int, int]] = []

    def progress(task: str, done: int, total: int) -> None:
        calls.append((done, total))

    first = classifier_of(DATA, CPU, progress)
    assert calls and calls[-1][0] == calls[-1][1]
    assert first.accuracy == 1 and sorted(first.held_out) == sorted(fixed_permutation(400)[: 400 // 6])
    calls.clear()
    again = classifier_of(DATA, CPU, progress)
    assert not calls and again.accuracy == 1
    images = quarters(BALANCED, seed=3)
    assert np.array_equal(first.predict(images)[0], again.predict(images)[0])
    np.testing.assert_allclose(first.predict(images)[0].sum(1), 1, rtol=1e-5)
    classifier_of(replace(DATA, fingerprint="other"), CPU, progress)
    assert calls  # other data has another classifier


def test_label_fidelity_is_the_share_of_the_requested_labels_that_are_found() -> None:
    requested = BALANCED.copy()
    requested[:50] = (requested[:50] + 1) % 4
    wrong = compare_quarters(BALANCED, requested)
    assert FUNCTIONS["label_fidelity"](compare_quarters(BALANCED, BALANCED)) == 1
    assert FUNCTIONS["label_fidelity"](wrong) == pytest.approx(0.75)
    shares = fidelity_by_label(wrong)
    assert shares == {name: pytest.approx((BALANCED[requested == i] == i).mean()) for i, name in enumerate(QUARTERS)}


def test_real_images_are_scored_only_where_the_classifier_was_not_trained() -> None:
    rows = np.arange(400)
    wrong_if_trained = np.where(np.isin(rows, fixed_permutation(400)[: 400 // 6]), rows % 4, (rows + 1) % 4)
    real = Comparison(Reference(DATA, DATA.images[:200]), DATA.images, one_hot(wrong_if_trained), rows)
    assert FUNCTIONS["label_fidelity"](real) == 1


def test_label_modes_and_their_kl_divergence() -> None:
    skewed = np.array([0] * 100 + [1] * 50 + [2] * 50)
    for classes, modes, kl in (
        (BALANCED, 4, 0),
        (BALANCED % 2, 2, math.log(2)),
        (skewed, 3, 0.5 * math.log(0.5 / 0.25)),
    ):
        found = compute_metrics(["label_modes", "label_kl"], compare_quarters(classes))
        assert found == {"label_modes": modes, "label_kl": pytest.approx(kl)}


def test_the_kl_divergence_counts_an_empty_bin_of_the_data_as_half_an_image() -> None:
    found = kl_divergence(np.array([3, 1]), np.array([8, 0]))
    assert found == pytest.approx(0.75 * math.log(0.75) + 0.25 * math.log(0.25 / (0.5 / 8)))


def test_confidence_is_lower_for_mixed_images() -> None:
    assert FUNCTIONS["confidence"](compare_quarters(BALANCED)) == 1
    clear, mixed = quarters(BALANCED, seed=1), quarters((BALANCED + 1) % 4, seed=2)
    between = ((clear.astype(int) + mixed) // 2).astype(np.uint8)
    assert FUNCTIONS["confidence"](Comparison(Reference(DATA, DATA.images[:200]), between)) < 0.9


def sides_dataset() -> Dataset:
    """Makes images that are bright at the top or at the bottom, and at the left or not."""
    rng = np.random.default_rng(0)
    quarter = rng.integers(0, 4, 600)
    vectors = np.stack([quarter < 2, quarter >= 2, quarter % 2 == 0], 1).astype(np.uint8)
    return Dataset("sides", quarters(quarter), ("top", "bottom", "left"), vectors, "attributes", "sides", ())


def test_attributes_have_a_head_each_and_their_combinations_are_modes() -> None:
    data = sides_dataset()
    assert label_heads(data) == (Head((0, 1)), Head((2,)))
    reference = Reference(data, data.images[:200])
    assert reference.mode_count == 4
    quarter = np.array([0, 0, 0, 3] * 50)
    requested = np.tile(np.array([[1, 0, 1]], np.uint8), (200, 1))  # top and left
    comparison = Comparison(reference, quarters(quarter, seed=5), requested)
    found = compute_metrics(["label_fidelity", "label_modes", "confidence"], comparison)
    assert found == {"label_fidelity": 0.75, "label_modes": 2, "confidence": 1}
    assert fidelity_by_label(comparison) == {"top": 0.75, "left": 0.75}


def test_stacked_images_are_classified_channel_by_channel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANKIT_CACHE", str(tmp_path / "cache"))
    np.savez(tmp_path / "grey.npz", images=DATA.images[..., 0], labels=np.arange(400) % 4)
    data = open_dataset(f"stacked-mnist:{tmp_path / 'grey.npz'}")
    assert data.stacked and [len(head.columns) for head in label_heads(data)] == [4, 4, 4]
    classes = np.random.default_rng(0).integers(0, 4, (500, 3))
    classes[:, 2] %= 2  # the blue channel has two of the four classes
    images = np.concatenate([quarters(column, seed=i) for i, column in enumerate(classes.T)], 3)
    comparison = Comparison(
        Reference(data, data.images[:200]), images, np.concatenate([one_hot(c) for c in classes.T], 1)
    )
    assert comparison.reference.mode_count == 64 and comparison.reference.feature_count == 3 * 64
    found = compute_metrics(["label_fidelity", "label_modes", "label_kl"], comparison)
    p = np.bincount(np.ravel_multi_index(classes.T, (4, 4, 4)), minlength=64) / 500  # type: ignore[call-overload]
    assert found["label_fidelity"] == 1 and found["label_modes"] == np.count_nonzero(p) == 32
    assert found["label_kl"] == pytest.approx((p[p > 0] * np.log(p[p > 0] * 64)).sum())
