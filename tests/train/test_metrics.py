"""The measures: their formulas by hand and by brute force, and that they tell good images from bad ones."""

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper

from gankit._errors import ModelError, UsageError
from gankit_train.data import Dataset, open_dataset, open_source
from gankit_train.metrics import functions as figures
from gankit_train.metrics.classifier import Head, classifier_of
from gankit_train.metrics.features import Features, frechet_distance, kernel_distance, open_features
from gankit_train.metrics.functions import Comparison, Reference
from gankit_train.metrics.kmeans import assign, bin_count, kmeans, share_of_different_bins
from gankit_train.metrics.neighbours import density_coverage, is_authentic, nearest
from gankit_train.metrics.pca import PrincipalComponents
from gankit_train.metrics.table import METRICS, Metric, figure, measured, refuse

Images = NDArray[np.uint8]
CPU = torch.device("cpu")
EDGE, QUARTERS = 8, ("top-left", "top-right", "bottom-left", "bottom-right")


@pytest.fixture(autouse=True)
def no_random_state_is_touched() -> Iterator[None]:
    """A run's own random numbers must be the same whatever is measured in between."""
    before, numpys = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002  # the state that is global
    yield
    assert torch.get_rng_state().equal(before)
    assert np.array_equal(np.random.get_state()[1], numpys)  # noqa: NPY002


def noise(n: int, *shape: int, seed: int = 0) -> Images:
    return np.random.default_rng(seed).integers(0, 256, (n, *(shape or (6, 5, 3))), dtype=np.uint8)


def normal(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def quarters(classes: NDArray[np.integer], seed: int = 0) -> Images:
    """Dark images, 8x8x1, with one bright quarter: which one is their class."""
    images = np.random.default_rng(seed).integers(0, 90, (len(classes), EDGE, EDGE, 1), dtype=np.uint8)
    half = EDGE // 2
    for image, quarter in zip(images, classes, strict=True):
        y, x = half * (quarter // 2), half * (quarter % 2)
        image[y : y + half, x : x + half] += 150
    return images


def one_hot(classes: NDArray[np.integer]) -> NDArray[np.uint8]:
    return np.eye(4, dtype=np.uint8)[classes]


def quarters_data(n: int = 400) -> Dataset:
    classes = np.arange(n) % 4
    return Dataset("quarters", quarters(classes), QUARTERS, one_hot(classes), "classes", f"quarters {n}", ())


DATA = quarters_data()


def sets(classes: NDArray[np.integer], asked: NDArray[np.integer] | None = None, seed: int = 1) -> Comparison:
    """New images of these classes beside the data's."""
    reference = Reference(DATA, DATA.images[:200])
    return Comparison(reference, quarters(classes, seed), None if asked is None else one_hot(asked))


BALANCED = np.arange(200) % 4


# The table


def test_every_name_in_the_table_has_a_function_that_says_where_it_comes_from() -> None:
    for name, measure in METRICS.items():
        assert getattr(figures, name).__doc__
        assert measure.about and measure.better in ("lower", "higher", "alike")
        assert format(0.5, measure.form)


@pytest.mark.parametrize(
    ("better", "value", "said"),
    [
        ("lower", 1.05, "good"),
        ("lower", 0.0, "good"),
        ("lower", 1.15, "fair: high"),
        ("lower", 1.3, "poor: high"),
        ("higher", 0.95, "good"),
        ("higher", 9.0, "good"),
        ("higher", 0.7, "poor: low"),
        ("alike", 1.1, "good"),
        ("alike", 0.85, "fair: low"),
        ("alike", 1.5, "poor: high"),
    ],
)
def test_a_verdict_is_given_beside_what_real_images_reach(better: Any, value: float, said: str) -> None:
    measure = Metric("", better, 1, slack=(0.1, 0.2), below="low", above="high")
    assert measure.verdict(value, 1.0) == said
    assert replace(measure, relative=True).verdict(10 * value, 10.0) == said
    assert replace(measure, slack=None).verdict(value, 1.0) == ""


# Copies


def brute(images: Images, data: Images, without: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
    """Mean absolute differences of all pairs: [n, m]."""
    far = np.abs(images[:, None].astype(float) - data[None]).mean((2, 3, 4))
    if without is not None:
        np.put_along_axis(far, without, np.inf, 1)
    return far


def test_the_nearest_images_are_those_of_all_pairs() -> None:
    data, images = noise(60), noise(25, seed=1)
    space = PrincipalComponents(data, CPU)
    without = np.random.default_rng(2).integers(0, 60, (25, 2))
    for left_out in (None, without):
        found = nearest(images, data, space, space(data), 3, left_out)
        far = brute(images, data, left_out)
        assert np.array_equal(found.row, far.argsort(1, kind="stable")[:, :3])
        np.testing.assert_allclose(found.distance, np.sort(far, 1)[:, :3], rtol=1e-5)


def test_the_nearest_of_more_images_than_are_compared_pixel_by_pixel() -> None:
    data = open_dataset("digits").images
    space = PrincipalComponents(data[:1000], CPU)
    rows = np.arange(0, 5000, 400)
    found = nearest(data[rows], data, space, space(data), 1, rows[:, None])
    for row, at in zip(rows, found.row[:, 0], strict=True):
        assert at == brute(data[row : row + 1], data, np.array([[row]])).argmin()


def test_authenticity_of_copies_of_new_images_and_of_the_data_itself() -> None:
    data, new = noise(80), noise(40, seed=1)
    rng = np.random.default_rng(2)
    copies = np.clip(data[:40].astype(int) + rng.integers(-2, 3, new.shape), 0, 255).astype(np.uint8)
    space = PrincipalComponents(data, CPU)
    placed = space(data)

    def share(images: Images, rows: NDArray[np.int64] | None = None) -> NDArray[np.bool_]:
        without = None if rows is None else rows[:, None]
        return is_authentic(nearest(images, data, space, placed, 1, without), data, space, placed, rows)

    assert not share(copies).any()
    far, own = brute(new, data), brute(data, data, np.arange(80)[:, None])
    assert np.array_equal(share(new), far.min(1) > own.min(1)[far.argmin(1)])
    # An image of the data, left out of it: both its neighbour and that one's own are looked for among the others.
    rows = np.arange(0, 80, 3)
    expected = []
    for i in rows:
        others = np.delete(np.arange(80), i)
        j = others[own[i, others].argmin()]
        expected.append(own[i, j] > np.delete(own[j], [i, j]).min())
    assert share(data[rows], rows).tolist() == expected
    assert 0.3 < np.mean(expected) < 0.9


def test_copies_are_told_from_new_images() -> None:
    new, copies = sets(BALANCED), Comparison(Reference(DATA, DATA.images[:200]), DATA.images[100:300] + np.uint8(1))
    real = Comparison(new.reference, DATA.images[:200], rows=np.arange(200))
    names = ["nearest_l1", "authenticity"]
    values, copied, own = (measured(names, x) for x in (new, copies, real))
    assert copied == {"nearest_l1": pytest.approx(1), "authenticity": 0}
    assert values["nearest_l1"] == pytest.approx(own["nearest_l1"], rel=0.05)
    assert values["authenticity"] == pytest.approx(own["authenticity"], abs=0.15)
    assert METRICS["authenticity"].verdict(0, own["authenticity"]) == "poor: copies of training images"


# Spread and neighbourhoods


def test_diversity_is_the_root_mean_square_distance_of_all_pairs() -> None:
    data = replace(DATA, images=noise(30), vectors=DATA.vectors[:30])
    fake = noise(30, seed=1) // 2
    squares = [
        np.mean([np.square(a.astype(float) - b).sum() for a, b in combinations(x, 2)]) for x in (data.images, fake)
    ]
    found = figure("diversity", Comparison(Reference(data, data.images), fake))
    assert found == pytest.approx(math.sqrt(squares[1] / squares[0]))


def test_density_and_coverage_by_the_papers_sums() -> None:
    real, fake, k = normal(40, 3), normal(25, 3, seed=1) * 1.3, 5
    radius = [sorted(float((x - y).norm()) for y in real)[k] for x in real]
    inside = [[float((x - y).norm()) < r for y in fake] for x, r in zip(real, radius, strict=True)]
    density, coverage = density_coverage(real, fake)
    assert density == pytest.approx(np.sum(inside) / (k * 25))
    assert coverage == pytest.approx(np.any(inside, axis=1).mean())


def test_density_and_coverage_of_two_samples_of_one_distribution() -> None:
    n, k = 1500, 5
    density, coverage = density_coverage(normal(n, 8), normal(n, 8, seed=1))
    assert density == pytest.approx(1, abs=0.05)
    # Naeem et al., lemma 2: the k + 1 nearest of all others, real or fake, are k real ones by chance.
    expected = 1 - math.prod((n - i) / (2 * n - i) for i in range(1, k + 1))
    assert coverage == pytest.approx(expected, abs=0.015) and expected == pytest.approx(1 - 2**-k, abs=0.001)
    assert density_coverage(normal(n, 8), normal(n, 8))[1] == 1
    assert density_coverage(normal(n, 8), normal(n, 8) + 100) == (0, 0)


# Bins


def test_bins_differ_by_the_test_of_two_proportions() -> None:
    real, fake = torch.tensor([500, 300, 200, 0]), torch.tensor([470, 300, 130, 100])
    # z = |p - q| / √(r (1 - r) (1/n + 1/m)): 1.34, 0, 4.2 and 10.3
    assert share_of_different_bins(real, fake) == 0.5
    assert share_of_different_bins(real, fake, significance=0.2) == 0.75
    assert share_of_different_bins(real, real) == 0
    assert share_of_different_bins(torch.tensor([5, 0]), torch.tensor([7, 0])) == 0


def test_kmeans_finds_clusters_that_lie_apart() -> None:
    centres = 50 * normal(6, 4)
    points = (centres[:, None] + normal(600, 4, seed=1).view(6, 100, 4)).flatten(0, 1)
    cluster = assign(points, kmeans(points, 6)).view(6, 100)
    assert (cluster == cluster[:, :1]).all() and len(set(cluster[:, 0].tolist())) == 6
    assert kmeans(torch.zeros(20, 2), 3).shape == (3, 2)  # of points that are all the same too
    assert (bin_count(100), bin_count(400), bin_count(10_000)) == (2, 8, 100)


def test_missing_kinds_are_missed() -> None:
    names = ["ndb", "coverage", "density", "diversity"]
    all_four, two = measured(names, sets(BALANCED)), measured(names, sets(BALANCED % 2))
    assert all_four["ndb"] == 0 and two["ndb"] == 1
    assert all_four["coverage"] > 0.9 and two["coverage"] < 0.55
    assert all_four["density"] == pytest.approx(1, abs=0.15)
    assert all_four["diversity"] == pytest.approx(1, abs=0.02) and two["diversity"] < 0.9


# The space


def test_principal_components_keep_distances_where_nothing_is_left_out() -> None:
    images = noise(50, 7, 9, 1)  # 63 dimensions
    points = PrincipalComponents(images, CPU)(images)
    assert points.shape == (50, 50)
    flat = torch.from_numpy(images.reshape(50, -1).astype(np.float32))
    torch.testing.assert_close(torch.pdist(points), torch.pdist(flat), rtol=1e-3, atol=0.1)


def test_principal_components_are_those_of_the_singular_values() -> None:
    mixed = normal(40, 8) @ normal(8, 12 * 12, seed=1) * 8 + 128
    images = mixed.clamp(0, 255).round().to(torch.uint8).view(40, 12, 12, 1).numpy()
    x = torch.from_numpy(images.reshape(40, -1)).double()
    singular = torch.linalg.svd(x - x.mean(0)).S[:8]
    points = PrincipalComponents(images, CPU, 8)(images)
    torch.testing.assert_close(points.norm(dim=0).double(), singular, rtol=1e-3, atol=0.01)


def test_large_images_are_averaged_down() -> None:
    images = np.repeat(np.repeat(noise(20, 32, 16, 3), 2, axis=1), 2, axis=2)
    small = images[:, ::2, ::2]
    assert torch.equal(PrincipalComponents(images, CPU)(images), PrincipalComponents(small, CPU)(small))


# Features


def test_the_frechet_distance_in_closed_form() -> None:
    x = normal(300, 5)
    variances = x.var(0)
    # The covariances commute: Σ and 9 Σ give tr(Σ + 9 Σ - 6 Σ) = 4 tr Σ.
    assert frechet_distance(x, 3 * x) == pytest.approx(float(4 * variances.sum() + 4 * x.mean(0).square().sum()))
    assert frechet_distance(x, x + 2) == pytest.approx(5 * 4)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    # Two dimensions, not commuting: tr √M = √(tr M + 2 √det M).
    a, b = normal(50, 2, seed=1) @ torch.tensor([[2.0, 1], [0, 1]]).double(), normal(60, 2, seed=2)
    one, other = torch.cov(a.T), torch.cov(b.T)
    product = one @ other
    root = (product.trace() + 2 * product.det().sqrt()).sqrt()
    expected = (a.mean(0) - b.mean(0)).square().sum() + one.trace() + other.trace() - 2 * root
    assert frechet_distance(a, b) == pytest.approx(float(expected))


def test_the_kernel_distance_by_its_sums() -> None:
    a, b = normal(7, 3), normal(5, 3, seed=1) + 0.5

    def k(x: torch.Tensor, y: torch.Tensor) -> float:
        return (float(x @ y) / 3 + 1) ** 3

    within = [np.mean([k(x, y) for x, y in combinations(points, 2)]) for points in (a, b)]
    across = np.mean([k(x, y) for x in a for y in b])
    assert kernel_distance(a, b) == pytest.approx(sum(within) - 2 * across)


def mean_network(path: Path, shape: list[Any]) -> Path:
    """An ONNX network that makes the mean of each channel of an image."""
    node = helper.make_node("GlobalAveragePool", ["x"], ["y"])
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", shape[1], 1, 1])
    graph = helper.make_graph([node], "means", [given], [made])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def test_features_of_a_network_in_a_file(tmp_path: Path) -> None:
    colour, grey = noise(9), noise(9, 6, 5, 1)
    means = colour.mean((1, 2)) / 127.5 - 1
    network = open_features(mean_network(tmp_path / "any.onnx", ["n", 3, "h", "w"]), CPU)
    assert network.name == "any.onnx"
    np.testing.assert_allclose(network(colour), means, atol=1e-6)
    assert network(grey).shape == (9, 3)  # grey is repeated
    fixed = open_features(mean_network(tmp_path / "fixed.onnx", ["n", 3, 4, 8]), CPU)
    np.testing.assert_allclose(fixed(colour), means, atol=0.2)  # scaled
    assert not np.allclose(fixed(colour), means, atol=1e-6)
    module = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1))
    with pytest.warns(DeprecationWarning):
        torch.jit.script(module).save(str(tmp_path / "net.ts"))
    np.testing.assert_allclose(open_features(tmp_path / "net.ts", CPU)(colour), means, atol=1e-6)


def test_features_that_cannot_be_had(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no file .*--features"):
        open_features(tmp_path / "none.onnx", CPU)
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(ModelError, match=r"bad\.onnx cannot be opened"):
        open_features(tmp_path / "bad.onnx", CPU)
    with pytest.raises(ModelError, match=r"cannot take images 2x8x8"):
        open_features(mean_network(tmp_path / "three.onnx", ["n", 3, 8, 8]), CPU)(noise(2, 8, 8, 2))
    with pytest.raises(ModelError, match="not finite numbers"):
        Features("broken", lambda images: torch.full((len(images), 2), torch.nan))(noise(2))


def test_the_frechet_distance_takes_the_network_that_is_given() -> None:
    reference = Reference(DATA, DATA.images[:200], Features("means", lambda x: torch.from_numpy(x.mean((1, 2)))))
    fake = quarters(BALANCED, seed=1)
    found = figure("frechet", Comparison(reference, fake))
    real, fakes = (torch.from_numpy(x.mean((1, 2))) for x in (DATA.images[:200], fake))
    assert found == pytest.approx(frechet_distance(real, fakes)) and reference.features_name == "means"
    wide = replace(reference, features=Features("wide", lambda x: torch.zeros(len(x), 150)))
    with pytest.raises(UsageError, match=r"frechet needs at least 300 images of each set, and there are 200"):
        refuse(["frechet"], Comparison(wide, fake))


def test_fid_and_kid_say_why_they_cannot_be_had(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="need torch-fidelity, which is not installed: pip install"):
        refuse(["fid"], sets(BALANCED))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(UsageError, match=r"need the Inception weights of torch-fidelity at .*6726825d\.pth"):
        refuse(["kid"], sets(BALANCED))


def test_fid_and_kid_take_torch_fidelitys_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With its interface, as 0.4 has it, in place of the package, which needs weights that nobody may download here."""

    class Extractor(torch.nn.Module):
        def __init__(self, name: str, features_list: list[str], feature_extractor_weights_path: str) -> None:
            super().__init__()
            assert features_list == ["2048"] and Path(feature_extractor_weights_path).is_file()

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
            assert x.dtype == torch.uint8 and x.shape[1] == 3
            return (x.float().mean((2, 3)),)

    module = ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    module.FeatureExtractorInceptionV3 = Extractor  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "torch_fidelity", ModuleType("torch_fidelity"))
    monkeypatch.setitem(__import__("sys").modules, module.__name__, module)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "weights-inception-2015-12-05-6726825d.pth").write_bytes(b"weights")
    both = sets(BALANCED)
    real, fake = (torch.from_numpy(x.mean((1, 2))).expand(-1, 3) for x in (DATA.images[:200], both.fake))
    assert figure("kid", both) == pytest.approx(kernel_distance(real, fake), rel=1e-4)
    assert figure("fid", both) == pytest.approx(frechet_distance(real, fake), rel=1e-4)
    with pytest.raises(UsageError, match="fid needs at least 2,049 images of each set, and there are 200"):
        refuse(["fid"], both)


# Labels


def test_the_classifier_is_trained_once_and_held_against_what_it_has_not_seen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GANKIT_CACHE", str(tmp_path))
    calls: list[tuple[int, int]] = []

    def told(what: str, done: int, total: int) -> None:
        calls.append((done, total))

    first = classifier_of(DATA, CPU, told)
    assert calls and calls[-1][0] == calls[-1][1]
    assert first.accuracy == 1 and sorted(first.held_out) == sorted(fixed_permutation(400)[: 400 // 6])
    calls.clear()
    again = classifier_of(DATA, CPU, told)
    assert not calls and again.accuracy == 1
    images = quarters(BALANCED, seed=3)
    assert np.array_equal(first.judge(images)[0], again.judge(images)[0])
    np.testing.assert_allclose(first.judge(images)[0].sum(1), 1, rtol=1e-5)
    classifier_of(replace(DATA, fingerprint="other"), CPU, told)
    assert calls  # of other data it is another one


def test_label_fidelity_is_the_share_of_what_was_asked_for() -> None:
    asked = BALANCED.copy()
    asked[:50] = (asked[:50] + 1) % 4
    wrong = sets(BALANCED, asked)
    assert figure("label_fidelity", sets(BALANCED, BALANCED)) == 1
    assert figure("label_fidelity", wrong) == pytest.approx(0.75)
    shares = figures.shown(wrong)
    assert shares == {name: pytest.approx((BALANCED[asked == i] == i).mean()) for i, name in enumerate(QUARTERS)}


def test_real_images_are_judged_only_where_the_classifier_was_not_trained() -> None:
    rows = np.arange(400)
    lies = np.where(np.isin(rows, fixed_permutation(400)[: 400 // 6]), rows % 4, (rows + 1) % 4)
    real = Comparison(Reference(DATA, DATA.images[:200]), DATA.images, one_hot(lies), rows)
    assert figure("label_fidelity", real) == 1


def test_modes_and_their_divergence() -> None:
    assert measured(["label_modes", "label_kl"], sets(BALANCED)) == {"label_modes": 4, "label_kl": pytest.approx(0)}
    assert measured(["label_modes", "label_kl"], sets(BALANCED % 2)) == {
        "label_modes": 2,
        "label_kl": pytest.approx(math.log(2)),
    }
    skewed = np.array([0] * 100 + [1] * 50 + [2] * 50)
    expected = 0.5 * math.log(0.5 / 0.25)
    assert measured(["label_modes", "label_kl"], sets(skewed)) == {
        "label_modes": 3,
        "label_kl": pytest.approx(expected),
    }


def test_divergence_counts_half_an_image_where_the_data_has_none() -> None:
    found = figures.divergence(np.array([3, 1]), np.array([8, 0]))
    assert found == pytest.approx(0.75 * math.log(0.75) + 0.25 * math.log(0.25 / (0.5 / 8)))


def test_confidence_falls_where_nothing_is_to_be_seen() -> None:
    assert figure("confidence", sets(BALANCED)) == 1
    clear, mixed = quarters(BALANCED, seed=1), quarters((BALANCED + 1) % 4, seed=2)
    between = ((clear.astype(int) + mixed) // 2).astype(np.uint8)
    assert figure("confidence", Comparison(Reference(DATA, DATA.images[:200]), between)) < 0.9


def attributes() -> Dataset:
    """Bright at the top or at the bottom, of which every image has one, and, apart from that, at the left or not."""
    rng = np.random.default_rng(0)
    quarter = rng.integers(0, 4, 600)
    vectors = np.stack([quarter < 2, quarter >= 2, quarter % 2 == 0], 1).astype(np.uint8)
    return Dataset("sides", quarters(quarter), ("top", "bottom", "left"), vectors, "attributes", "sides", ())


def test_attributes_are_questions_and_their_combinations_modes() -> None:
    data = attributes()
    assert label_heads(data) == (Head((0, 1)), Head((2,)))
    reference = Reference(data, data.images[:200])
    assert reference.mode_count == 4
    quarter = np.array([0, 0, 0, 3] * 50)
    asked = np.tile(np.array([[1, 0, 1]], np.uint8), (200, 1))  # the top left one
    made = Comparison(reference, quarters(quarter, seed=5), asked)
    found = measured(["label_fidelity", "label_modes", "confidence"], made)
    assert found == {"label_fidelity": 0.75, "label_modes": 2, "confidence": 1}
    assert figures.shown(made) == {"top": 0.75, "left": 0.75}


def test_stacked_digits_are_judged_channel_by_channel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANKIT_CACHE", str(tmp_path / "cache"))
    np.savez(tmp_path / "grey.npz", images=DATA.images[..., 0], labels=np.arange(400) % 4)
    data = open_dataset(f"stacked-mnist:{tmp_path / 'grey.npz'}")
    assert data.stacked and [len(head.columns) for head in label_heads(data)] == [4, 4, 4]
    classes = np.random.default_rng(0).integers(0, 4, (500, 3))
    classes[:, 2] %= 2  # the blue one is never one of the last two
    images = np.concatenate([quarters(column, seed=i) for i, column in enumerate(classes.T)], 3)
    made = Comparison(Reference(data, data.images[:200]), images, np.concatenate([one_hot(c) for c in classes.T], 1))
    assert made.reference.mode_count == 64 and made.reference.feature_count == 3 * 64
    found = measured(["label_fidelity", "label_modes", "label_kl"], made)
    p = np.bincount(np.ravel_multi_index(classes.T, (4, 4, 4)), minlength=64) / 500  # type: ignore[call-overload]
    assert found["label_fidelity"] == 1 and found["label_modes"] == np.count_nonzero(p) == 32
    assert found["label_kl"] == pytest.approx((p[p > 0] * np.log(p[p > 0] * 64)).sum())


# What cannot be measured


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("nonsense", {}, "there is no measure 'nonsense'; there are sliced_wasserstein, diversity"),
        ("ndb", {"fake": 50}, "ndb needs at least 100 images of each set, and there are 50"),
        ("coverage", {"real": 5}, "coverage needs at least 10 images of each set, and there are 5"),
        ("label_kl", {"fake": 7}, "label_kl needs at least 8 images of each set, and there are 7"),
        (
            "label_fidelity",
            {},
            "label_fidelity needs images that were made for labels of quarters, as a cgan makes them",
        ),
        ("label_modes", {"labels": 0}, "label_modes needs labels, and quarters has none"),
        ("confidence", {"labels": 0}, "confidence needs labels, and quarters has none"),
        ("frechet", {"labels": 0}, "frechet needs a network: give one by --features FILE"),
        ("confidence", {"data": 40}, "confidence needs a classifier, and that at least 60 images: quarters has 40"),
    ],
)
def test_what_cannot_be_measured_is_said(name: str, change: dict[str, int], words: str) -> None:
    data = quarters_data(change.get("data", 400))
    if "labels" in change:
        data = replace(data, label_names=(), vectors=data.vectors[:, :0])
    reference = Reference(data, data.images[: change.get("real", 200)])
    with pytest.raises(UsageError, match=words):
        measured([name], Comparison(reference, quarters(BALANCED)[: change.get("fake", 200)]))


def test_too_many_combinations_of_labels_are_not_counted() -> None:
    vectors = np.random.default_rng(0).integers(0, 2, (400, 14), dtype=np.uint8)
    data = replace(DATA, label_names=tuple("abcdefghijklmn"), vectors=vectors, kind="attributes")
    with pytest.raises(UsageError, match="the 14 of quarters make too many"):
        refuse(["label_modes"], Comparison(Reference(data, data.images[:200]), data.images))


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(UsageError, match=r"the images are 5x6x3 .* and those of quarters 8x8x1"):
        Comparison(Reference(DATA, DATA.images), noise(20))


def test_stacking_needs_grey_pictures_of_classes(tmp_path: Path) -> None:
    np.savez(tmp_path / "colour.npz", images=noise(6, 8, 8, 3), labels=np.arange(6))
    np.save(tmp_path / "plain.npy", noise(6, 8, 8, 1))
    for name in ("colour.npz", "plain.npy"):
        with pytest.raises(UsageError, match="stacks grey pictures of classes"):
            open_source(f"stacked-mnist:{tmp_path / name}")
