"""One training step: it knows networks, losses and optimizers, and nothing of files, clocks or logs."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gankit_train.config.config import Config
from gankit_train.models.gan import GAN
from gankit_train.training.augment import augment
from gankit_train.training.losses import LOSSES, discriminator_targets, gradient_norm_squared, gradient_penalty

MONITOR_EVERY = 8
"""Generator steps between two calls of `batch_statistics`, which then take less than 1 % of a step."""

Score = Callable[[Tensor], Tensor]
"""D with augmentation: images [n, c, h, w] → scores [n / packing]."""


def train_step(
    gan: GAN, config: Config, real: Tensor, label: Tensor | None, autocast: torch.autocast
) -> dict[str, Tensor]:
    """Updates D, and on every `critic_steps`-th call also G and its moving average.

    Args:
        gan: changed in place.
        real: this process's part of the batch, [n, channels, height, width] in the settings' value range.
        label: labels [n, k] of the real images, which are also requested of the fake images; None without labels.
        autocast: context of the forward passes.

    Returns:
        Scalars on the device, by their names in metrics.jsonl.
    """

    def score(images: Tensor) -> Tensor:
        with autocast:
            images_seen = gan.steps * config.optimisation.batch_size
            scores: Tensor = gan.D(augment(images, config.objective, gan.random, images_seen), label)
            return scores

    updates_g = (gan.steps + 1) % config.objective.critic_steps == 0
    set_learning_rates(gan, config)
    z = gan.random.normal(len(real), config.networks.z_dim)
    with torch.set_grad_enabled(updates_g), autocast:
        fake = gan.G(z, label)
    metrics = discriminator_step(gan, config, score, real, fake.detach().float())
    if updates_g:
        metrics |= generator_step(gan, config, score, real.detach(), fake)
        update_ema(gan, config)
    gan.steps += 1
    return {name: value.detach() for name, value in metrics.items()}


def discriminator_step(gan: GAN, config: Config, score: Score, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
    """Updates D on real and fake images, [n, c, h, w] each, and returns its metrics."""
    objective, loss = config.objective, LOSSES[config.objective.loss]
    real.requires_grad_(objective.r1 > 0)
    fake.requires_grad_(objective.r2 > 0)
    real_scores, fake_scores = score(real), score(fake)
    targets = discriminator_targets(objective, gan.random, len(real_scores))
    total = adversarial = loss.discriminator(real_scores, fake_scores, targets)
    metrics = {"loss_d": adversarial, "score_real": real_scores.mean(), "score_fake": fake_scores.mean()}
    if loss.has_accuracy:
        metrics["accuracy_real"] = (real_scores > 0).float().mean()
        metrics["accuracy_fake"] = (fake_scores < 0).float().mean()
    if objective.r1 > 0:
        metrics["r1"] = gradient_norm_squared(real_scores, real).mean()
        total = total + objective.r1 / 2 * metrics["r1"]
    if objective.r2 > 0:
        metrics["r2"] = gradient_norm_squared(fake_scores, fake).mean()
        total = total + objective.r2 / 2 * metrics["r2"]
    if objective.gradient_penalty > 0:
        metrics["gradient_penalty"] = gradient_penalty(score, real, fake, gan.random, config.networks.packing)
        total = total + objective.gradient_penalty * metrics["gradient_penalty"]
    optimizer_step(gan, gan.D, gan.optimizer_d, total)
    for weights in gan.D.parameters() if objective.weight_clip > 0 else ():
        weights.data.clamp_(-objective.weight_clip, objective.weight_clip)  # Arjovsky et al. 2017, algorithm 1
    return metrics


def generator_step(gan: GAN, config: Config, score: Score, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
    """Updates G through its images `fake`, [n, c, h, w] with their graph, and returns its metrics."""
    monitored = (gan.steps + 1) % (config.objective.critic_steps * MONITOR_EVERY) == 0
    if monitored:
        fake.retain_grad()
    loss = LOSSES[config.objective.loss]
    gan.D.requires_grad_(False)  # the gradient passes through D; that of its own weights is not needed
    fake_scores = score(fake)
    real_scores = score(real) if loss.relativistic else fake_scores  # other losses do not use it
    loss_g = loss.generator(real_scores, fake_scores)
    optimizer_step(gan, gan.G, gan.optimizer_g, loss_g)
    gan.D.requires_grad_(True)
    return {"loss_g": loss_g, **(batch_statistics(real, fake, len(fake_scores)) if monitored else {})}


def optimizer_step(gan: GAN, network: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Updates a network by the gradient of a loss, averaged over the processes."""
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    # Running statistics of batch normalisation as well, which each process has computed from its own images.
    statistics = (b for b in network.buffers() if b.is_floating_point())
    gan.processes.average([*(p.grad for p in network.parameters() if p.grad is not None), *statistics])
    optimizer.step()


def set_learning_rates(gan: GAN, config: Config) -> None:
    """Sets the learning rates of the current image: constant, then linearly decaying to 0 at the end of the run."""
    settings = config.optimisation
    remaining = max(0.0, 1 - gan.steps * settings.batch_size / config.run.images)
    factor = min(1.0, remaining / settings.lr_decay) if settings.lr_decay else 1.0
    for optimizer, learning_rate in ((gan.optimizer_g, settings.lr_g), (gan.optimizer_d, settings.lr_d)):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * factor


@torch.no_grad()
def update_ema(gan: GAN, config: Config) -> None:
    """Moves the averaged generator towards G. The decay warms up, so that the first weights are soon forgotten."""
    updates = (gan.steps + 1) // config.objective.critic_steps
    weight = 1 - min(config.optimisation.ema, (1 + updates) / (10 + updates))
    averaged, current = gan.G_ema.state_dict(), gan.G.state_dict()
    for name, value in averaged.items():
        if value.is_floating_point():
            value.lerp_(current[name], weight)
        else:
            value.copy_(current[name])


@torch.no_grad()
def batch_statistics(real: Tensor, fake: Tensor, scores: int) -> dict[str, Tensor]:
    """Computes what `gankit_train.evaluation.diagnosis` needs to know of a batch of images [n, c, h, w].

    `batch_diversity` is the spread of fake images divided by that of real ones, `gradient_fake` the mean norm of the
    gradient that reaches G per image. `fake` has the gradient of G's loss, which is a mean over this number of scores.
    """
    assert fake.grad is not None
    # Root mean square distance of the images from their mean, on every fourth row and column.
    real_spread, fake_spread = (x[:, :, ::4, ::4].float().var(0).mean().sqrt() for x in (real, fake))
    # If all real images are equal, fake images cannot be less diverse.
    diversity = torch.where(real_spread > 0, fake_spread / real_spread, torch.ones_like(real_spread))
    return {"batch_diversity": diversity, "gradient_fake": scores * fake.grad.flatten(1).float().norm(dim=1).mean()}
