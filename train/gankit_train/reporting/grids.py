"""Sample grids: images of the generator on latents that stay the same during a run."""

import numpy as np
from numpy.typing import NDArray
from torch import nn

from gankit._images import grid
from gankit._labels import Labels
from gankit._latents import latents
from gankit_train.config.config import Config
from gankit_train.models.generate import generate_images

_COLUMNS, _ROWS = 10, 8


def sample_grid(network: nn.Module, config: Config, labels: Labels | None) -> NDArray[np.uint8]:
    """Draws a grid uint8 [height, width, channels]; with labels, the same latents for each label, row by row."""
    seed, label = config.run.seed, None
    z = latents(seed, 0, _COLUMNS * _ROWS, config.networks.z_dim)
    if labels:
        requests = list(labels.names)
        if labels.kind == "attributes" and len(requests) <= _ROWS:
            requests = [request for name in requests for request in (name, f"not-{name}")]
        requests = requests[: 2 * _ROWS]
        z = np.tile(z[:_COLUMNS], (len(requests), 1))
        label = np.concatenate([labels.vectors(request, seed, 0, _COLUMNS) for request in requests])
    return grid(generate_images(network, z, label, config.networks.value_range), columns=_COLUMNS)
