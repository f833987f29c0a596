"""One step of training. It knows networks, losses and optimizers, and nothing of files, clocks or logs."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from gankit_train.config import Config
from gankit_train.networks import Discriminator, Generator


@dataclass
class GAN:
    """All that a step changes."""

    G: Generator
    G_ema: Generator
    D: Discriminator
    optimizer_g: torch.optim.Optimizer
    optimizer_d: torch.optim.Optimizer
    noise: torch.Generator
    """Where every random number of a step comes from; on the networks' device."""
    steps: int = 0


def build(config: Config, shape: tuple[int, int, int], k: int, device: torch.device) -> GAN:
    """Fresh networks for images of (height, width, channels) and k labels; the seed rules their weights."""
    k = k if config.conditional else 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        G = Generator(*shape, config.z_dim, k, config.filters)
        D = Discriminator(*shape, k, config.filters, config.d_norm)
    G, D = G.to(device, memory_format=torch.channels_last), D.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    betas = (config.beta1, config.beta2)
    return GAN(
        G,
        deepcopy(G).requires_grad_(False).eval(),
        D,
        torch.optim.Adam(G.parameters(), config.lr_g, betas, fused=True),
        torch.optim.Adam(D.parameters(), config.lr_d, betas, fused=True),
        torch.Generator(device).manual_seed(config.seed),
    )


def step(gan: GAN, config: Config, real: Tensor, label: Tensor | None, autocast: torch.autocast) -> dict[str, Tensor]:
    """Updates D, then G, then G's average, once each; returns figures as tensors on the device, not yet waited for.

    Args:
        gan: changed in place.
        config: losses and weights.
        real: images [n, channels, height, width] in [-1, 1].
        label: [n, k] of the real images; the fakes are asked for the same.
        autocast: the context that forward passes run in.

    The loss is the non-saturating one of Goodfellow et al. (2014): D minimises softplus(-D(x)) + softplus(D(G(z))),
    G minimises softplus(-D(G(z))).
    """
    G, D = gan.G, gan.D
    z = torch.randn(len(real), config.z_dim, generator=gan.noise, device=real.device)
    with autocast:
        fake = G(z, label)

    real.requires_grad_(config.r1 > 0)
    with autocast:
        on_real, on_fake = D(real, label), D(fake.detach(), label)
    loss_D = softplus(-on_real).mean() + softplus(on_fake).mean()
    figures = {"loss_d": loss_D, "score_real": on_real.mean(), "score_fake": on_fake.mean()}
    if config.r1 > 0:
        figures["r1"] = gradient_norm_squared(on_real, real).mean()
        loss_D = loss_D + config.r1 / 2 * figures["r1"]
    _update(gan.optimizer_d, loss_D)

    D.requires_grad_(False)  # G's gradient passes through D; the gradients of D's own weights would be thrown away
    with autocast:
        loss_G = softplus(-D(fake, label)).mean()
    _update(gan.optimizer_g, loss_G)
    D.requires_grad_(True)

    _average(gan, config.ema)
    return {name: value.detach() for name, value in {**figures, "loss_g": loss_G}.items()}


def gradient_norm_squared(scores: Tensor, images: Tensor) -> Tensor:
    """|∇ D(x)|² of each image, [n]: R1 is γ/2 times its mean (Mescheder et al., "Which training methods", 2018)."""
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3))


def _update(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


@torch.no_grad()
def _average(gan: GAN, decay: float) -> None:
    """Moves the average towards G. It warms up, so that the first noisy weights are soon forgotten."""
    gan.steps += 1
    weight = 1 - min(decay, (1 + gan.steps) / (10 + gan.steps))
    averaged, current = gan.G_ema.state_dict(), gan.G.state_dict()
    for name, value in averaged.items():
        if value.is_floating_point():
            value.lerp_(current[name], weight)
        else:
            value.copy_(current[name])
