"""The state of a GAN in training: networks, optimizers, random numbers and the number of steps."""

from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import nn

from gankit_train.compute.distributed import SINGLE_PROCESS, ProcessGroup
from gankit_train.compute.rng import RandomStream, seeded_initialisation
from gankit_train.config.config import Config
from gankit_train.models.layers import Shape
from gankit_train.models.networks import make_discriminator, make_generator


@dataclass
class GAN:
    """Everything that a training step changes."""

    G: nn.Module
    G_ema: nn.Module  # exponential moving average of G
    D: nn.Module
    optimizer_g: torch.optim.Optimizer
    optimizer_d: torch.optim.Optimizer
    random: RandomStream  # source of all random numbers of a step
    processes: ProcessGroup  # those that share each batch
    steps: int = 0  # discriminator steps so far


def build_gan(
    config: Config, shape: Shape, k: int, device: torch.device, processes: ProcessGroup = SINGLE_PROCESS
) -> GAN:
    """Builds a GAN with fresh weights, which depend on the seed alone. Unconditional variants ignore the k labels."""
    k = k if config.conditional else 0
    random = RandomStream(torch.Generator(device).manual_seed(config.run.seed), processes)
    with seeded_initialisation(config.run.seed):
        G, D = make_generator(config.networks, shape, k), make_discriminator(config.networks, shape, k, random)
    G = G.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    D = D.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    G_ema = deepcopy(G).requires_grad_(False).eval()
    if config.run.compile:
        G.compile()
        if not config.objective.has_gradient_penalty:  # torch.compile does not support second derivatives
            D.compile()
    optimizer_g = _optimizer(config, G, config.optimisation.lr_g)
    optimizer_d = _optimizer(config, D, config.optimisation.lr_d)
    return GAN(G, G_ema, D, optimizer_g, optimizer_d, random, processes)


def _optimizer(config: Config, network: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    settings = config.optimisation
    if settings.optimizer == "rmsprop":
        return torch.optim.RMSprop(network.parameters(), learning_rate, alpha=settings.beta2)
    return torch.optim.Adam(network.parameters(), learning_rate, (settings.beta1, settings.beta2), fused=True)
