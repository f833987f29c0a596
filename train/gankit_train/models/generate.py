"""Images of a generator in training, as its exported file would make them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gankit._errors import GankitError
from gankit._images import grid
from gankit._latents import latents
from gankit_train.models.checkpoints import Header

EVALUATED_FROM = 1_000_000
"""The first latent of those that a measurement takes, beyond those of sheets."""
_COLUMNS, _ROWS = 10, 8
_BATCH = 128


@torch.no_grad()
def samples(
    network: nn.Module, header: Header, z: NDArray[np.float32], vectors: NDArray[np.float32] | None
) -> NDArray[np.uint8]:
    """Latents [n, z_dim] and label vectors [n, k] or None → uint8 [n, height, width, channels].

    Raises:
        GankitError: they are not finite.
    """
    device = next(network.parameters()).device
    low, high = header.config.value_range
    made = []
    for at in range(0, len(z), _BATCH):
        label = None if vectors is None else torch.from_numpy(vectors[at : at + _BATCH]).to(device)
        images = network(torch.from_numpy(z[at : at + _BATCH]).to(device), label)
        if not bool(images.isfinite().all()):
            raise GankitError(
                "the generator makes pixels that are no numbers (NaN or Inf): its training has diverged, so take an "
                "earlier checkpoint"
            )
        pixels = ((images - low) * (255 / (high - low)) + 0.5).clamp(0, 255).to(torch.uint8)
        made.append(pixels.permute(0, 2, 3, 1).cpu().numpy())
    return np.concatenate(made)


def sheet(network: nn.Module, header: Header) -> NDArray[np.uint8]:
    """Samples on latents that stay the same during a run; with labels, the same ones under each of them, row by row."""
    seed, vectors = header.config.seed, None
    z = latents(seed, 0, _COLUMNS * _ROWS, header.config.z_dim)
    if labels := header.labels:
        asked = list(labels.names)
        if labels.kind == "attributes" and len(asked) <= _ROWS:
            asked = [request for name in asked for request in (name, f"not-{name}")]
        asked = asked[: 2 * _ROWS]
        z = np.tile(z[:_COLUMNS], (len(asked), 1))
        vectors = np.concatenate([labels.vectors(request, seed, 0, _COLUMNS) for request in asked])
    return grid(samples(network, header, z, vectors), columns=_COLUMNS)
