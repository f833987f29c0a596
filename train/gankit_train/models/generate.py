"""Images of a generator in training, as its exported file would compute them."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gankit._errors import GankitError

_BATCH = 128
EVALUATION_START = 1_000_000
"""Number of the first latent that evaluations during training use, far from those of sample grids."""


@torch.no_grad()
def generate_images(
    network: nn.Module, z: NDArray[np.float32], label: NDArray[np.float32] | None, value_range: tuple[float, float]
) -> NDArray[np.uint8]:
    """Generates images uint8 [n, height, width, channels] from latents [n, z_dim] and label vectors [n, k] or None.

    The network may be on any device; `value_range` is black and white in its output. Raises GankitError if the output
    has NaN or infinite values.
    """
    device = next(network.parameters()).device
    low, high = value_range
    batches = []
    for at in range(0, len(z), _BATCH):
        vectors = None if label is None else torch.from_numpy(label[at : at + _BATCH]).to(device)
        images = network(torch.from_numpy(z[at : at + _BATCH]).to(device), vectors)
        if not bool(images.isfinite().all()):
            raise GankitError("images have NaN or infinite values, as training has diverged: use an earlier checkpoint")
        pixels = ((images - low) * (255 / (high - low)) + 0.5).clamp(0, 255).to(torch.uint8)
        batches.append(pixels.permute(0, 2, 3, 1).cpu().numpy())
    return np.concatenate(batches)
