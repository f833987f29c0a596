"""Whether D tells real images from G's, or those that it has seen from those that it has not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from gankit._latents import latents
from gankit_train.config.settings import Config
from gankit_train.models.generate import EVALUATED_FROM
from gankit_train.training.batches import Batches
from gankit_train.training.step import GAN

_MOST = 128


@torch.no_grad()
def memory(gan: GAN, config: Config, batches: Batches, autocast: torch.autocast) -> float | None:
    """How far held-out images lie on the way from training images to G's, in D's mean scores; None without any.

    0 where the difference may be chance, by three standard errors, as a run looks some hundred times: by two, one good
    run of sixty passes over MNIST was called so. Of 128 images at the most.

        r_v = (E[D(training)] - E[D(held out)]) / (E[D(training)] - E[D(fake)])

    of Karras et al., "Training Generative Adversarial Networks with Limited Data" (2020), equation 1: 0 where D judges
    images that it has never seen as it judges those that it was trained on, 1 where it takes them for G's.
    """
    n = min(_MOST, len(batches.held_out)) // config.packing * config.packing
    if n < 2 * config.packing:
        return None
    held, label = batches.at(batches.held_out[:n])
    trained, trained_label = batches.at(np.resize(batches.trained, n))
    z = torch.from_numpy(latents(config.seed, EVALUATED_FROM, n, config.z_dim)).to(held.device)
    with _judging(gan.D) as D, autocast:
        judged = ((trained, trained_label), (held, label), (gan.G_ema(z, label), label))
        scores = [D(images, vectors) for images, vectors in judged]
    known, unknown, fake = (float(each.mean()) for each in scores)
    chance = 3 * float(sum(each.var() / len(each) for each in scores[:2])) ** 0.5
    return (known - unknown) / (known - fake) if known > fake and known - unknown > chance else 0.0


@contextmanager
def _judging(D: nn.Module) -> Iterator[nn.Module]:
    """D as it judges a batch in training, without a trace: no dropout, and no statistics of the batch are kept."""
    norms = [module for module in D.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    D.eval()
    for norm in norms:
        norm.train()
        norm.track_running_stats = False
    try:
        yield D
    finally:
        for norm in norms:
            norm.track_running_stats = True
        D.train()
