"""Program: five steps of several GANs on shared batches, alone or under torchrun. Saves the weights at the end.

The optimizers are plain gradient descent. Adam divides by the size of the gradient, so a difference in the last digit
of a gradient near zero would become a whole step. The learning rate is small, as the game between the networks
amplifies differences too, and the activations are smooth.
"""

import sys
from pathlib import Path
from typing import Any

import torch

from gankit_train.compute.distributed import init_distributed, shut_down
from gankit_train.config.variants import configure
from gankit_train.data import open_dataset
from gankit_train.models.gan import build_gan
from gankit_train.training.batches import Batches
from gankit_train.training.step import train_step
from tests.helpers.training import CPU, FLOAT32

_SMALL: dict[str, Any] = {"filters": 4, "z_dim": 8, "batch_size": 32, "g_norm": "none", "horizontal_flips": True}
_SMALL |= {"g_activation": "silu", "d_activation": "silu"}
CASES = {
    "wgan-gp": configure("wgan-gp", **_SMALL, dropout=0.2, packing=2),
    "cgan": configure("cgan", **_SMALL, r2=0.1, augment=("color", "translation", "cutout"), instance_noise=0.1),
    "vanilla": configure("vanilla", **{**_SMALL, "g_widths": (16, 32)}, label_noise=0.2, label_flips=0.1),
    "spectral": configure("dcgan", **_SMALL, d_norm="spectral", loss="relativistic"),
}
"""Together they use every source of random numbers, every penalty but weight clipping, and both kinds of networks."""


def main(out: Path) -> None:
    """Trains each of `CASES` in all processes and saves the weights of the first process."""
    data, weights = open_dataset("digits"), {}
    for name, config in CASES.items():
        processes = init_distributed("cpu", config.optimisation.batch_size, config.networks.packing)
        # Each process starts from a seed of its own: without the broadcast their weights would differ.
        gan = build_gan(config.replace(seed=processes.rank), (28, 28, 1), 10, CPU, processes)
        gan.random.generator.manual_seed(config.run.seed)
        processes.broadcast_weights((gan.G, gan.G_ema, gan.D))
        gan.optimizer_g = torch.optim.SGD(gan.G.parameters(), 1e-3)
        gan.optimizer_d = torch.optim.SGD(gan.D.parameters(), 1e-3)
        batches = Batches(data, config, CPU, processes)
        for i in range(5 * config.objective.critic_steps):
            train_step(gan, config, *batches.after(i * config.optimisation.batch_size), FLOAT32)
        processes.check_weights((gan.G, gan.D))
        weights[name] = {"G": gan.G.state_dict(), "D": gan.D.state_dict(), "G_ema": gan.G_ema.state_dict()}
    if processes.is_main:
        torch.save(weights, out)
    shut_down()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
