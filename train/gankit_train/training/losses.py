"""What the scores of real and fake images are made to cost, and the penalties on the critic's slope.

Scores are unbounded, float32 [n]; higher means more real. A cost is a scalar to be minimised.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus


@dataclass(frozen=True)
class Loss:
    """One row of the table."""

    critic: Callable[[Tensor, Tensor, Targets], Tensor]
    """Cost of the critic, from its scores on real and on fake images; only cross entropies read the targets."""
    generator: Callable[[Tensor, Tensor], Tensor]
    """Cost of the generator, from the critic's scores on real and on fake images."""
    is_absolute: bool = True
    """Whether a score above 0 says real and one below says fake, so that D can be right or wrong on one image."""
    is_relative: bool = False
    """Whether the generator's cost reads the scores on real images."""


Targets = tuple[Tensor | float, Tensor | float]
"""What D should say on real and on fake images: 1 and 0 unless they are smoothed, noisy or flipped."""


def cross_entropy(score: Tensor, target: Tensor | float) -> Tensor:
    """-t log σ(s) - (1 - t) log(1 - σ(s)), its mean; in the form that neither overflows nor loses digits."""
    return (softplus(score) - target * score).mean()


LOSSES = {
    # Goodfellow et al., "Generative Adversarial Nets" (2014): G maximises log D(G(z)).
    "non-saturating": Loss(
        lambda real, fake, targets: cross_entropy(real, targets[0]) + cross_entropy(fake, targets[1]),
        lambda real, fake: softplus(-fake).mean(),
    ),
    # The same paper's game as it stands first: G minimises log(1 - D(G(z))), whose gradient vanishes where D is sure.
    "minimax": Loss(
        lambda real, fake, targets: cross_entropy(real, targets[0]) + cross_entropy(fake, targets[1]),
        lambda real, fake: -softplus(fake).mean(),
    ),
    # Arjovsky et al., "Wasserstein GAN" (2017); needs the gradient penalty or the clipping of weights.
    "wasserstein": Loss(
        lambda real, fake, targets: fake.mean() - real.mean(),
        lambda real, fake: -fake.mean(),
        is_absolute=False,
    ),
    # Lim & Ye, "Geometric GAN" (2017), and Miyato et al., "Spectral Normalization" (2018).
    "hinge": Loss(
        lambda real, fake, targets: relu(1 - real).mean() + relu(1 + fake).mean(),
        lambda real, fake: -fake.mean(),
    ),
    # Jolicoeur-Martineau, "The relativistic discriminator" (2018), paired as in Huang et al., "R3GAN" (2024).
    "relativistic": Loss(
        lambda real, fake, targets: softplus(fake - real).mean(),
        lambda real, fake: softplus(real - fake).mean(),
        is_absolute=False,
        is_relative=True,
    ),
}


def gradient_norm_squared(scores: Tensor, images: Tensor) -> Tensor:
    """|∇ D(x)|² of each score, over the image or the images that it judges, [n], differentiable.

    R1 is γ/2 times its mean on real images, R2 on fake ones (Mescheder et al., "Which training methods for GANs do
    actually converge?", 2018).
    """
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradient.square().reshape(len(scores), -1).sum(1)


def between(real: Tensor, fake: Tensor, weight: Tensor) -> Tensor:
    """Points on the lines from real to fake images, [n, c, h, w], one weight U(0, 1) for each image [n]."""
    return torch.lerp(real, fake.to(real.dtype), weight.view(-1, 1, 1, 1))


def gradient_penalty(scores: Tensor, images: Tensor) -> Tensor:
    """Mean of (|∇ D(x)| - 1)² (Gulrajani et al., "Improved Training of Wasserstein GANs", 2017, equation 3)."""
    return (gradient_norm_squared(scores, images).add(1e-12).sqrt() - 1).square().mean()
