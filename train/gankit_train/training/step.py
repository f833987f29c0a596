"""One step of training. It knows networks, losses and optimizers, and nothing of files, clocks or logs."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from gankit_train.compute.distributed import ALONE, Ranks
from gankit_train.compute.rng import Noise
from gankit_train.config.settings import Config
from gankit_train.models.networks import Shape, make_discriminator, make_generator
from gankit_train.training.augment import show
from gankit_train.training.losses import LOSSES, Targets, between, gradient_norm_squared, gradient_penalty

WATCHED = 8
"""Updates of G between two looks at what takes a little time: that is then less than a hundredth of a step."""


@dataclass
class GAN:
    """All that a step changes."""

    G: nn.Module
    G_ema: nn.Module
    D: nn.Module
    optimizer_g: torch.optim.Optimizer
    optimizer_d: torch.optim.Optimizer
    noise: Noise
    """Where every random number of a step comes from."""
    ranks: Ranks
    """The processes that share each batch."""
    steps: int = 0


def build(config: Config, shape: Shape, k: int, device: torch.device, ranks: Ranks = ALONE) -> GAN:
    """Fresh networks for images of (height, width, channels) and k labels; the seed rules their weights."""
    k = k if config.conditional else 0
    noise = Noise(torch.Generator(device).manual_seed(config.seed), ranks)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        G, D = make_generator(config, shape, k), make_discriminator(config, shape, k, noise)
    G, D = G.to(device, memory_format=torch.channels_last), D.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return GAN(
        G,
        deepcopy(G).requires_grad_(False).eval(),
        D,
        _optimizer(config, G, config.lr_g),
        _optimizer(config, D, config.lr_d),
        noise,
        ranks,
    )


def _optimizer(config: Config, network: nn.Module, rate: float) -> torch.optim.Optimizer:
    if config.optimizer == "rmsprop":
        return torch.optim.RMSprop(network.parameters(), rate, alpha=config.beta2)
    return torch.optim.Adam(network.parameters(), rate, (config.beta1, config.beta2), fused=True)


def step(gan: GAN, config: Config, real: Tensor, label: Tensor | None, autocast: torch.autocast) -> dict[str, Tensor]:
    """Updates D, and G and its average too on every `critic_steps`-th call.

    Args:
        gan: changed in place.
        config: losses and weights.
        real: images [n, channels, height, width] in the settings' value range; this process' part of the batch.
        label: [n, k] of the real images; the fakes are asked for the same.
        autocast: the context that forward passes run in.

    Returns:
        Figures as tensors on the device, not yet waited for.
    """
    G, D, loss, noise = gan.G, gan.D, LOSSES[config.loss], gan.noise
    images_seen = gan.steps * config.batch_size
    show_d = partial(show, config=config, noise=noise, images_seen=images_seen)
    _set_rates(gan, config, images_seen)
    gan.steps += 1
    for_g = gan.steps % config.critic_steps == 0
    watched = gan.steps % (config.critic_steps * WATCHED) == 0
    z = noise.normal(len(real), config.z_dim)
    with torch.set_grad_enabled(for_g), autocast:
        fake = G(z, label)
    if watched:
        fake.retain_grad()

    # The critic
    shown = fake.detach().float()
    real.requires_grad_(config.r1 > 0)
    shown.requires_grad_(config.r2 > 0)
    with autocast:
        on_real, on_fake = D(show_d(real), label), D(show_d(shown), label)
    cost = loss.critic(on_real, on_fake, _targets(noise, config, len(on_real)))
    figures = {"loss_d": cost, "score_real": on_real.mean(), "score_fake": on_fake.mean()}
    if loss.is_absolute:
        figures["accuracy_real"] = (on_real > 0).float().mean()
        figures["accuracy_fake"] = (on_fake < 0).float().mean()
    for name, gamma, scores, images in (("r1", config.r1, on_real, real), ("r2", config.r2, on_fake, shown)):
        if gamma > 0:
            figures[name] = gradient_norm_squared(scores, images).mean()
            cost = cost + gamma / 2 * figures[name]
    if config.gradient_penalty > 0:
        weight = noise.uniform(len(on_real)).repeat_interleave(config.packing)  # images judged together move together
        mixed = between(real.detach(), shown.detach(), weight).requires_grad_()
        with autocast:
            scores = D(show_d(mixed), label)
        figures["gradient_penalty"] = gradient_penalty(scores, mixed)
        cost = cost + config.gradient_penalty * figures["gradient_penalty"]
    _update(gan, D, gan.optimizer_d, cost)
    if config.weight_clip > 0:
        with torch.no_grad():
            for parameter in D.parameters():
                parameter.clamp_(-config.weight_clip, config.weight_clip)

    # The generator
    if for_g:
        D.requires_grad_(False)  # G's gradient passes through D; those of D's own weights would be thrown away
        with autocast:
            on_fake = D(show_d(fake), label)
            on_real = D(show_d(real.detach()), label) if loss.is_relative else on_real.detach()
        figures["loss_g"] = loss.generator(on_real, on_fake)
        _update(gan, G, gan.optimizer_g, figures["loss_g"])
        D.requires_grad_(True)
        _average(gan, config)
        if watched:
            figures |= watch(real, fake, len(on_fake))
    return {name: value.detach() for name, value in figures.items()}


@torch.no_grad()
def watch(real: Tensor, fake: Tensor, scores: int) -> dict[str, Tensor]:
    """What a diagnosis wants to know of a batch, beside what the step has anyway.

    Args:
        real: [n, c, h, w].
        fake: the same, with its gradient after a backward pass of G's loss, the mean over `scores` of D's scores.
        scores: as many.

    Returns:
        `batch_diversity`, the distance between fakes over that between real ones, and `gradient_fake`, the norm of what
        an image of G is told to change.
    """
    assert fake.grad is not None
    told = fake.grad.flatten(1).float().norm(dim=1).mean()
    ours, theirs = _spread(fake), _spread(real)
    alike = torch.ones_like(theirs)  # where all real ones are one image, G can be no less varied
    return {"batch_diversity": torch.where(theirs > 0, ours / theirs, alike), "gradient_fake": scores * told}


def _spread(images: Tensor) -> Tensor:
    """Root mean square distance of [n, c, h, w] from their mean, by every fourth row and column."""
    return images[:, :, ::4, ::4].float().var(0).mean().sqrt()


def _targets(noise: Noise, config: Config, n: int) -> Targets:
    """What D is told to say: 1 and 0, moved by smoothing and noise, and for a share of the images exchanged."""
    if not (config.label_smoothing or config.label_noise or config.label_flips):
        return 1.0, 0.0
    u = noise.uniform(n, 4).unbind(1)
    # One-sided smoothing (Salimans et al. 2016) lowers the ones only; noise moves both ends inwards.
    ones, zeros = 1 - config.label_smoothing - config.label_noise * u[0], config.label_noise * u[1]
    flip_ones, flip_zeros = u[2] < config.label_flips, u[3] < config.label_flips
    return torch.where(flip_ones, zeros, ones), torch.where(flip_zeros, ones, zeros)


def _set_rates(gan: GAN, config: Config, images_seen: int) -> None:
    """The rates at that image: as given and, over the last `lr_decay` of the run, in a straight line down to 0."""
    left = max(0.0, 1 - images_seen / config.images)
    share = min(1.0, left / config.lr_decay) if config.lr_decay else 1.0
    for optimizer, rate in ((gan.optimizer_g, config.lr_g), (gan.optimizer_d, config.lr_d)):
        for group in optimizer.param_groups:
            group["lr"] = rate * share


def _update(gan: GAN, network: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    # The running statistics of batch normalisation too, which each process has taken from its own images.
    statistics = (b for b in network.buffers() if b.is_floating_point())
    gan.ranks.average([*(p.grad for p in network.parameters() if p.grad is not None), *statistics])
    optimizer.step()


@torch.no_grad()
def _average(gan: GAN, config: Config) -> None:
    """Moves the average towards G. It warms up, so that the first noisy weights are soon forgotten."""
    updates = gan.steps // config.critic_steps
    weight = 1 - min(config.ema, (1 + updates) / (10 + updates))
    averaged, current = gan.G_ema.state_dict(), gan.G.state_dict()
    for name, value in averaged.items():
        if value.is_floating_point():
            value.lerp_(current[name], weight)
        else:
            value.copy_(current[name])
