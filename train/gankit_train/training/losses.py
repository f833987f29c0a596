"""Adversarial losses, discriminator targets, and gradient penalties.

Scores are the unbounded outputs of the discriminator, float32 [n]; higher means more real. A loss is a scalar that is
minimised.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

from gankit_train.compute.rng import RandomStream
from gankit_train.config.settings import LossName, ObjectiveSettings

Targets = tuple[Tensor | float, Tensor | float]
"""The discriminator's targets for real and for fake images: 1 and 0 unless smoothed, noisy or flipped."""


@dataclass(frozen=True)
class Loss:
    """The losses of both networks."""

    discriminator: Callable[
        [Tensor, Tensor, Targets], Tensor
    ]  # of real and fake scores; only cross-entropies use targets
    generator: Callable[[Tensor, Tensor], Tensor]  # of the scores of real and fake images
    has_accuracy: bool = True  # whether D takes images for real exactly if their score is above 0
    relativistic: bool = False  # whether the generator's loss depends on the scores of real images


def cross_entropy(score: Tensor, target: Tensor | float) -> Tensor:
    """Averages -t log σ(s) - (1 - t) log(1 - σ(s)) in a form that neither overflows nor loses digits."""
    return (softplus(score) - target * score).mean()


def _cross_entropies(real: Tensor, fake: Tensor, targets: Targets) -> Tensor:
    return cross_entropy(real, targets[0]) + cross_entropy(fake, targets[1])


LOSSES: dict[LossName, Loss] = {
    # Goodfellow et al., "Generative Adversarial Nets" (2014): G maximises log D(G(z)).
    "non-saturating": Loss(_cross_entropies, lambda real, fake: softplus(-fake).mean()),
    # The minimax game of the same paper: G minimises log(1 - D(G(z))), whose gradient vanishes where D is confident.
    "minimax": Loss(_cross_entropies, lambda real, fake: -softplus(fake).mean()),
    # Arjovsky et al., "Wasserstein GAN" (2017); needs the gradient penalty or weight clipping.
    "wasserstein": Loss(
        lambda real, fake, targets: fake.mean() - real.mean(), lambda real, fake: -fake.mean(), has_accuracy=False
    ),
    # Lim & Ye, "Geometric GAN" (2017), and Miyato et al., "Spectral Normalization" (2018).
    "hinge": Loss(
        lambda real, fake, targets: relu(1 - real).mean() + relu(1 + fake).mean(), lambda real, fake: -fake.mean()
    ),
    # Jolicoeur-Martineau, "The relativistic discriminator" (2018), paired as in Huang et al., "R3GAN" (2024).
    "relativistic": Loss(
        lambda real, fake, targets: softplus(fake - real).mean(),
        lambda real, fake: softplus(real - fake).mean(),
        has_accuracy=False,
        relativistic=True,
    ),
}


def discriminator_targets(objective: ObjectiveSettings, random: RandomStream, n: int) -> Targets:
    """Returns the targets of n real and n fake images, with smoothing, noise and flips."""
    if not (objective.label_smoothing or objective.label_noise or objective.label_flips):
        return 1.0, 0.0
    u = random.uniform(n, 4).unbind(1)
    # One-sided smoothing (Salimans et al. 2016) lowers the ones only; noise moves both targets inwards.
    ones = 1 - objective.label_smoothing - objective.label_noise * u[0]
    zeros = objective.label_noise * u[1]
    flip_ones, flip_zeros = u[2] < objective.label_flips, u[3] < objective.label_flips
    return torch.where(flip_ones, zeros, ones), torch.where(flip_zeros, ones, zeros)


def gradient_norm_squared(scores: Tensor, images: Tensor) -> Tensor:
    """Computes |∇ D(x)|² for each score, summed over all images that it belongs to: [n], differentiable.

    R1 is γ/2 times its mean over real images, R2 over fake images (Mescheder et al., "Which training methods for GANs
    do actually converge?", 2018).
    """
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradient.square().reshape(len(scores), -1).sum(1)


def gradient_penalty(
    score: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, random: RandomStream, packing: int = 1
) -> Tensor:
    """Computes the mean of (|∇ D(x)| - 1)² between real and fake images, differentiable.

    Gulrajani et al., "Improved Training of Wasserstein GANs" (2017), equation 3: x lies on the line from a real to a
    fake image, [n, c, h, w], with a weight from U(0, 1) for each score. Images that are scored together share it.
    """
    weight = random.uniform(len(real) // packing).repeat_interleave(packing)
    mixed = interpolate(real.detach(), fake.detach(), weight).requires_grad_()
    return (gradient_norm_squared(score(mixed), mixed).add(1e-12).sqrt() - 1).square().mean()


def interpolate(real: Tensor, fake: Tensor, weight: Tensor) -> Tensor:
    """Interpolates linearly between images [n, c, h, w], with one weight of the fake image for each pair: [n]."""
    return torch.lerp(real, fake.to(real.dtype), weight.view(-1, 1, 1, 1))
