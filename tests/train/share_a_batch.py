"""Five steps of several kinds of GAN on shared batches: run alone or by torchrun, it saves the weights at the end.

The optimizers are plain gradient descent: Adam divides by the gradient's own size, so it would blow a difference in the
last digit of a gradient near zero up to a whole step. Their rate is small, as the game amplifies differences too,
and the activations have no kinks for a last digit to move a unit across.
"""

import sys
from pathlib import Path
from typing import Any

import torch

from gankit_train.compute.devices import pick_precision
from gankit_train.compute.distributed import init_distributed, shut_down
from gankit_train.config.variants import configure
from gankit_train.data import open_dataset
from gankit_train.models.gan import build_gan
from gankit_train.training.batches import Batches
from gankit_train.training.step import train_step

SMALL: dict[str, Any] = {"filters": 4, "z_dim": 8, "batch_size": 32, "g_norm": "none", "horizontal_flips": True}
SMALL |= {"g_activation": "silu", "d_activation": "silu"}
CASES = {
    "wgan-gp": configure("wgan-gp", **SMALL, dropout=0.2, packing=2),
    "cgan": configure("cgan", **SMALL, r2=0.1, augment=("color", "translation", "cutout"), instance_noise=0.1),
    "vanilla": configure("vanilla", **{**SMALL, "g_widths": (16, 32)}, label_noise=0.2, label_flips=0.1),
    "spectral": configure("dcgan", **SMALL, d_norm="spectral", loss="relativistic"),
}


def main(out: Path) -> None:
    cpu = torch.device("cpu")
    data, weights = open_dataset("digits"), {}
    for name, config in CASES.items():
        ranks = init_distributed("cpu", config.optimisation.batch_size, config.networks.packing)
        # Another seed would give each process weights of its own, were they not sent around.
        gan = build_gan(config.replace(seed=ranks.rank), (28, 28, 1), 10, cpu, ranks)
        gan.random.generator.manual_seed(config.run.seed)
        ranks.broadcast_weights((gan.G, gan.G_ema, gan.D))
        gan.optimizer_g = torch.optim.SGD(gan.G.parameters(), 1e-3)
        gan.optimizer_d = torch.optim.SGD(gan.D.parameters(), 1e-3)
        batches = Batches(data, config, cpu, ranks)
        for i in range(5 * config.objective.critic_steps):
            train_step(gan, config, *batches.after(i * config.optimisation.batch_size), pick_precision("float32", cpu))
        ranks.check_weights((gan.G, gan.D))
        weights[name] = {n: getattr(gan, n).state_dict() for n in ("G", "D", "G_ema")}
    if ranks.rank == 0:
        torch.save(weights, out)
    shut_down()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
