"""Distances between features, and the networks that compute features."""

import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from gankit._errors import ModelError, UsageError
from gankit_train.metrics.comparison import Comparison, Reference
from gankit_train.metrics.compute import FUNCTIONS, check_available
from gankit_train.metrics.features import Features, frechet_distance, kernel_distance, open_features
from tests.helpers.datasets import BALANCED, DATA, compare_quarters, normal, quarters, random_images
from tests.helpers.training import CPU

pytestmark = pytest.mark.usefixtures("global_random_state_stays")


def test_the_frechet_distance_equals_its_closed_form() -> None:
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


def test_the_kernel_distance_equals_its_sums() -> None:
    a, b = normal(7, 3), normal(5, 3, seed=1) + 0.5

    def k(x: torch.Tensor, y: torch.Tensor) -> float:
        return (float(x @ y) / 3 + 1) ** 3

    within = [np.mean([k(x, y) for x, y in combinations(points, 2)]) for points in (a, b)]
    across = np.mean([k(x, y) for x in a for y in b])
    assert kernel_distance(a, b) == pytest.approx(sum(within) - 2 * across)


def mean_network(path: Path, shape: list[Any]) -> Path:
    """Writes an ONNX network that computes the mean of each channel of an image."""
    node = helper.make_node("GlobalAveragePool", ["x"], ["y"])
    network_input = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    network_output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", shape[1], 1, 1])
    graph = helper.make_graph([node], "means", [network_input], [network_output])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def test_features_come_from_an_onnx_or_torchscript_file(tmp_path: Path) -> None:
    colour, grey = random_images(9), random_images(9, 6, 5, 1)
    means = colour.mean((1, 2)) / 127.5 - 1
    network = open_features(mean_network(tmp_path / "any.onnx", ["n", 3, "h", "w"]), CPU)
    assert network.name == "any.onnx"
    np.testing.assert_allclose(network(colour), means, atol=1e-6)
    assert network(grey).shape == (9, 3)  # grey is repeated
    fixed = open_features(mean_network(tmp_path / "fixed.onnx", ["n", 3, 4, 8]), CPU)
    np.testing.assert_allclose(fixed(colour), means, atol=0.2)  # resized
    assert not np.allclose(fixed(colour), means, atol=1e-6)
    module = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1))
    with pytest.warns(DeprecationWarning):
        torch.jit.script(module).save(str(tmp_path / "net.ts"))
    np.testing.assert_allclose(open_features(tmp_path / "net.ts", CPU)(colour), means, atol=1e-6)


def test_unusable_feature_networks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no file .*--features"):
        open_features(tmp_path / "none.onnx", CPU)
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(ModelError, match=r"bad\.onnx cannot be opened"):
        open_features(tmp_path / "bad.onnx", CPU)
    with pytest.raises(ModelError, match=r"cannot take images 2x8x8"):
        open_features(mean_network(tmp_path / "three.onnx", ["n", 3, 8, 8]), CPU)(random_images(2, 8, 8, 2))
    with pytest.raises(ModelError, match="are not finite"):
        Features("broken", lambda images: torch.full((len(images), 2), torch.nan))(random_images(2))


def test_the_frechet_distance_uses_the_given_network() -> None:
    reference = Reference(DATA, DATA.images[:200], Features("means", lambda x: torch.from_numpy(x.mean((1, 2)))))
    fake = quarters(BALANCED, seed=1)
    found = FUNCTIONS["frechet"](Comparison(reference, fake))
    real, fakes = (torch.from_numpy(x.mean((1, 2))) for x in (DATA.images[:200], fake))
    assert found == pytest.approx(frechet_distance(real, fakes)) and reference.features_name == "means"
    wide = replace(reference, features=Features("wide", lambda x: torch.zeros(len(x), 150)))
    with pytest.raises(UsageError, match=r"frechet needs at least 300 images of each set, and there are 200"):
        check_available(["frechet"], Comparison(wide, fake))


def test_fid_and_kid_explain_why_they_are_not_available(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="need torch-fidelity, which is not installed: pip install"):
        check_available(["fid"], compare_quarters(BALANCED))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(UsageError, match=r"need the Inception weights of torch-fidelity at .*6726825d\.pth"):
        check_available(["kid"], compare_quarters(BALANCED))


def test_fid_and_kid_use_the_network_of_torch_fidelity(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The package needs a download of its weights: a class with the interface of version 0.4 replaces it."""

    class Extractor(torch.nn.Module):
        def __init__(self, name: str, features_list: list[str], feature_extractor_weights_path: str) -> None:
            super().__init__()
            assert features_list == ["2048"] and Path(feature_extractor_weights_path).is_file()

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
            assert x.dtype == torch.uint8 and x.shape[1] == 3
            return (x.float().mean((2, 3)),)

    module = ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    module.FeatureExtractorInceptionV3 = Extractor  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch_fidelity", ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "weights-inception-2015-12-05-6726825d.pth").write_bytes(b"weights")
    both = compare_quarters(BALANCED)
    real, fake = (torch.from_numpy(x.mean((1, 2))).expand(-1, 3) for x in (DATA.images[:200], both.fake))
    assert FUNCTIONS["kid"](both) == pytest.approx(kernel_distance(real, fake), rel=1e-4)
    assert FUNCTIONS["fid"](both) == pytest.approx(frechet_distance(real, fake), rel=1e-4)
    with pytest.raises(UsageError, match="fid needs at least 2,049 images of each set, and there are 200"):
        check_available(["fid"], both)
