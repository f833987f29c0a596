"""Each loss and penalty against its formula, written out, in float64."""

import math

import numpy as np
import pytest
import torch

from gankit_train.config.settings import ObjectiveSettings
from gankit_train.training.losses import (
    LOSSES,
    cross_entropy,
    discriminator_targets,
    gradient_norm_squared,
    gradient_penalty,
    interpolate,
)
from tests.helpers.training import random_stream

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
def test_a_loss_equals_its_formula(name: str) -> None:
    discriminator, generator = FORMULAS[name]
    assert LOSSES[name].discriminator(REAL, FAKE, (1.0, 0.0)).item() == pytest.approx(discriminator, rel=1e-12)
    assert LOSSES[name].generator(REAL, FAKE).item() == pytest.approx(generator, rel=1e-12)


@pytest.mark.parametrize("target", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_cross_entropy_with_any_target(target: float) -> None:
    expected = mean([-target * math.log(sigmoid(s)) - (1 - target) * math.log(1 - sigmoid(s)) for s in FAKE.tolist()])
    assert cross_entropy(FAKE, target).item() == pytest.approx(expected, rel=1e-12)
    assert cross_entropy(FAKE, torch.full((3,), target)).item() == pytest.approx(expected, rel=1e-6)


def test_large_scores_neither_overflow_nor_lose_their_gradient() -> None:
    far = torch.tensor([-200.0, 200.0], requires_grad=True)
    for loss in LOSSES.values():
        assert loss.discriminator(far, -far, (1.0, 0.0)).isfinite() and loss.generator(far, -far).isfinite()
    # The point of the non-saturating loss: G still learns where D is confident that the image is fake.
    confident = torch.tensor([-20.0], requires_grad=True)
    (strong,) = torch.autograd.grad(LOSSES["non-saturating"].generator(confident, confident), confident)
    (weak,) = torch.autograd.grad(LOSSES["minimax"].generator(confident, confident), confident)
    assert abs(strong.item()) > 0.99 and abs(weak.item()) < 1e-8


def gradient_norm(function: torch.nn.Module, image: torch.Tensor) -> float:
    """Computes |∇| of a scalar function by central differences."""
    total = 0.0
    for at in np.ndindex(*image.shape):
        change = torch.zeros_like(image)
        change[at] = 1e-6
        total += ((function((image + change)[None]) - function((image - change)[None])).item() / 2e-6) ** 2
    return math.sqrt(total)


def test_gradient_norms_equal_finite_differences() -> None:
    torch.manual_seed(0)
    critic = torch.nn.Sequential(
        torch.nn.Conv2d(2, 3, 3, stride=2), torch.nn.LeakyReLU(0.2), torch.nn.Flatten(), torch.nn.Linear(12, 1)
    ).double()
    real, fake = torch.randn(2, 3, 2, 6, 6).unbind()
    images = real.double().requires_grad_()
    squared = gradient_norm_squared(critic(images).flatten(), images)
    assert squared.tolist() == pytest.approx([gradient_norm(critic, image) ** 2 for image in real.double()], rel=1e-5)
    penalty = gradient_penalty(lambda x: critic(x.double()).flatten(), real, fake, random_stream())
    mixed = interpolate(real, fake, random_stream().uniform(3)).double()
    expected = mean([(gradient_norm(critic, image) - 1) ** 2 for image in mixed])
    assert penalty.item() == pytest.approx(expected, rel=1e-5)


def test_gradient_penalties_have_the_gradient_of_their_formula() -> None:
    weight = torch.tensor([3.0, 4.0], dtype=torch.float64, requires_grad=True)  # D(x) = w·x has the gradient |w| = 5
    images = torch.ones(2, 1, 1, 2)
    penalty = gradient_penalty(lambda x: x.flatten(1).double() @ weight, images, images, random_stream())
    assert penalty.item() == pytest.approx(16)
    (gradient,) = torch.autograd.grad(penalty, weight)
    assert gradient.tolist() == pytest.approx([2 * 4 * 3 / 5, 2 * 4 * 4 / 5])  # 2 (|w| - 1) w / |w|


def test_packed_images_share_one_weight_and_one_gradient() -> None:
    weight = torch.tensor([3.0, 4.0])
    seen: list[torch.Tensor] = []

    def score(images: torch.Tensor) -> torch.Tensor:
        seen.append(images.detach())
        return images.reshape(2, 2) @ weight  # each score belongs to two images of one pixel

    real, fake = torch.zeros(4, 1, 1, 1), torch.ones(4, 1, 1, 1)
    assert gradient_penalty(score, real, fake, random_stream(), packing=2).item() == pytest.approx((5 - 1) ** 2)
    assert seen[0].flatten().tolist() == pytest.approx(random_stream().uniform(2).repeat_interleave(2).tolist())


def test_interpolation_takes_one_weight_per_image() -> None:
    real, fake = torch.zeros(3, 1, 2, 2), torch.ones(3, 1, 2, 2)
    mixed = interpolate(real, fake, torch.tensor([0.0, 0.25, 1.0]))
    assert mixed.flatten(1).tolist() == [[0.0] * 4, [0.25] * 4, [1.0] * 4]


def test_targets_are_smoothed_noisy_or_flipped() -> None:
    def targets(**settings: float) -> list[torch.Tensor]:
        drawn = discriminator_targets(ObjectiveSettings(**settings), random_stream(), 10_000)  # type: ignore[arg-type]
        return [torch.as_tensor(t) for t in drawn]

    assert [t.item() for t in targets()] == [1, 0]
    ones, zeros = targets(label_smoothing=0.1)
    assert ones.unique().tolist() == pytest.approx([0.9]) and zeros.unique().tolist() == [0]  # one-sided
    ones, zeros = targets(label_noise=0.2)
    assert 0.8 < ones.min() < 0.81 and ones.max() > 0.99 and zeros.min() < 0.01 and 0.19 < zeros.max() < 0.2
    ones, zeros = targets(label_noise=-0.1)
    assert 1.09 < ones.max() < 1.1 and -0.1 < zeros.min() < -0.09
    ones, zeros = targets(label_flips=0.05)
    assert ones.mean().item() == pytest.approx(0.95, abs=0.01) and zeros.mean().item() == pytest.approx(0.05, abs=0.01)
