"""Each loss and penalty against its formula, written out, in float64."""

import math

import numpy as np
import pytest
import torch

from gankit._errors import UsageError
from gankit_train.config.variants import configure
from gankit_train.training.losses import LOSSES, between, cross_entropy, gradient_norm_squared, gradient_penalty

REAL = torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64)
FAKE = torch.tensor([-3.0, 0.25, 1.0], dtype=torch.float64)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


PAIRS = list(zip(REAL.tolist(), FAKE.tolist(), strict=True))
BCE = mean([-math.log(sigmoid(r)) for r, _ in PAIRS]) + mean([-math.log(1 - sigmoid(f)) for _, f in PAIRS])
FORMULAS = {
    "non-saturating": (BCE, mean([-math.log(sigmoid(f)) for _, f in PAIRS])),
    "minimax": (BCE, mean([math.log(1 - sigmoid(f)) for _, f in PAIRS])),
    "wasserstein": (mean([f for _, f in PAIRS]) - mean([r for r, _ in PAIRS]), -mean([f for _, f in PAIRS])),
    "hinge": (
        mean([max(0, 1 - r) for r, _ in PAIRS]) + mean([max(0, 1 + f) for _, f in PAIRS]),
        -mean([f for _, f in PAIRS]),
    ),
    "relativistic": (
        mean([-math.log(sigmoid(r - f)) for r, f in PAIRS]),
        mean([-math.log(sigmoid(f - r)) for r, f in PAIRS]),
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_its_formula(name: str) -> None:
    critic, generator = FORMULAS[name]
    assert LOSSES[name].critic(REAL, FAKE, (1.0, 0.0)).item() == pytest.approx(critic, rel=1e-12)
    assert LOSSES[name].generator(REAL, FAKE).item() == pytest.approx(generator, rel=1e-12)


@pytest.mark.parametrize("target", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_cross_entropy_with_any_target(target: float) -> None:
    expected = mean([-target * math.log(sigmoid(s)) - (1 - target) * math.log(1 - sigmoid(s)) for s in FAKE.tolist()])
    assert cross_entropy(FAKE, target).item() == pytest.approx(expected, rel=1e-12)
    assert cross_entropy(FAKE, torch.full((3,), target)).item() == pytest.approx(expected, rel=1e-6)


def test_the_settings_offer_the_losses_that_there_are() -> None:
    for name in LOSSES:
        configure("wgan-gp", loss=name)
    with pytest.raises(UsageError, match=f"--loss is one of {', '.join(LOSSES)}, not"):
        configure("wgan-gp", loss="other")


def test_sure_scores_neither_overflow_nor_vanish() -> None:
    far = torch.tensor([-200.0, 200.0], requires_grad=True)
    for loss in LOSSES.values():
        assert loss.critic(far, -far, (1.0, 0.0)).isfinite() and loss.generator(far, -far).isfinite()
    # What "non-saturating" is about: G still learns where D is sure that the image is fake.
    sure = torch.tensor([-20.0], requires_grad=True)
    (strong,) = torch.autograd.grad(LOSSES["non-saturating"].generator(sure, sure), sure)
    (weak,) = torch.autograd.grad(LOSSES["minimax"].generator(sure, sure), sure)
    assert abs(strong.item()) > 0.99 and abs(weak.item()) < 1e-8


def _slope(function: torch.nn.Module, image: torch.Tensor) -> float:
    """|∇| of a scalar function by central differences."""
    total = 0.0
    for at in np.ndindex(*image.shape):
        change = torch.zeros_like(image)
        change[at] = 1e-6
        total += ((function((image + change)[None]) - function((image - change)[None])).item() / 2e-6) ** 2
    return math.sqrt(total)


def test_the_penalties_are_the_slope_by_finite_differences() -> None:
    torch.manual_seed(0)
    critic = torch.nn.Sequential(
        torch.nn.Conv2d(2, 3, 3, stride=2), torch.nn.LeakyReLU(0.2), torch.nn.Flatten(), torch.nn.Linear(12, 1)
    ).double()
    images = torch.randn(3, 2, 6, 6, dtype=torch.float64, requires_grad=True)
    slopes = [_slope(critic, image.detach()) for image in images]
    squared = gradient_norm_squared(critic(images).flatten(), images)
    assert squared.tolist() == pytest.approx([slope**2 for slope in slopes], rel=1e-5)
    penalty = gradient_penalty(critic(images).flatten(), images)
    assert penalty.item() == pytest.approx(mean([(slope - 1) ** 2 for slope in slopes]), rel=1e-5)


def test_the_penalties_can_be_trained_on() -> None:
    weight = torch.tensor([3.0, 4.0], dtype=torch.float64, requires_grad=True)  # D(x) = w·x has the slope |w| = 5
    images = torch.ones(2, 1, 1, 2, dtype=torch.float64, requires_grad=True)
    penalty = gradient_penalty((images.flatten(1) @ weight), images)
    assert penalty.item() == pytest.approx(16)
    (gradient,) = torch.autograd.grad(penalty, weight)
    assert gradient.tolist() == pytest.approx([2 * 4 * 3 / 5, 2 * 4 * 4 / 5])  # 2 (|w| - 1) w / |w|


def test_points_between_have_one_weight_an_image() -> None:
    real, fake = torch.zeros(3, 1, 2, 2), torch.ones(3, 1, 2, 2)
    mixed = between(real, fake, torch.tensor([0.0, 0.25, 1.0]))
    assert mixed.flatten(1).tolist() == [[0.0] * 4, [0.25] * 4, [1.0] * 4]
