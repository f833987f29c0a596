"""Generator and discriminator of Radford et al., "Unsupervised Representation Learning with DCGANs" (2015).

Both halve or double the image with 4×4 kernels of stride 2; their depth follows the image size. Labels join as in
Mirza & Osindero, "Conditional Generative Adversarial Nets" (2014): appended to z, and as constant maps to the image.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from gankit.errors import UsageError

_SMALLEST = 3
"""Edge of the innermost feature map, in pixels, that no further halving may go below."""


def sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Heights and widths of the feature maps from the image inwards, halved (downwards) to an edge of 3 to 5.

    >>> sizes(28, 28)
    [(28, 28), (14, 14), (7, 7), (3, 3)]

    Raises:
        UsageError: an image too small to be halved once.
    """
    found = [(height, width)]
    while min(found[-1]) // 2 >= _SMALLEST:
        found.append((found[-1][0] // 2, found[-1][1] // 2))
    if len(found) == 1:
        raise UsageError(f"images of {width}x{height} are too small: both edges must be at least {2 * _SMALLEST}")
    return found


def _widths(filters: int, layers: int) -> list[int]:
    """Channels from the layer next to the image inwards: filters, twice, four times, then eight times as many."""
    return [filters * min(2**i, 8) for i in range(layers)]


class Generator(nn.Module):
    """z [n, z_dim] and label [n, k] → images [n, channels, height, width] in (-1, 1)."""

    def __init__(self, height: int, width: int, channels: int, z_dim: int, k: int, filters: int) -> None:
        super().__init__()
        maps = sizes(height, width)[::-1]
        widths = [*_widths(filters, len(maps) - 1)[::-1], channels]
        self.innermost = (*maps[0], widths[0])
        self.first = nn.Linear(z_dim + k, math.prod(self.innermost), bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(widths[0])
        layers: list[nn.Module] = []
        for (here, there), ((h, w), (height, width)) in zip(pairwise(widths), pairwise(maps), strict=True):
            odd = (height - 2 * h, width - 2 * w)  # what halving an odd edge has cut off
            last = (height, width) == maps[-1]
            layers += [nn.ConvTranspose2d(here, there, 4, 2, 1, odd, bias=last)]
            layers += [nn.Tanh()] if last else [nn.BatchNorm2d(there), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.apply(_initialise)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """z [n, z_dim], label [n, k] or None → [n, channels, height, width]."""
        x = self.first(z if label is None else torch.cat([z, label], 1))
        # Channels last in memory from the start, which the convolutions run fastest on.
        x = x.view(-1, *self.innermost).permute(0, 3, 1, 2)
        out: Tensor = self.body(torch.relu(self.norm(x)))
        return out


class Discriminator(nn.Module):
    """Images [n, channels, height, width] and label [n, k] → scores [n], unbounded; higher means more real."""

    def __init__(self, height: int, width: int, channels: int, k: int, filters: int, norm: str) -> None:
        super().__init__()
        maps = sizes(height, width)
        widths = _widths(filters, len(maps) - 1)
        layers: list[nn.Module] = [nn.Conv2d(channels + k, widths[0], 4, 2, 1), nn.LeakyReLU(0.2)]
        for here, there in pairwise(widths):
            layers += [nn.Conv2d(here, there, 4, 2, 1, bias=norm == "none")]
            layers += [nn.BatchNorm2d(there)] if norm == "batch" else []
            layers += [nn.LeakyReLU(0.2)]
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * math.prod(maps[-1]), 1))
        # Without normalisation the small weights of DCGAN would let the signal die out from layer to layer.
        self.apply(_initialise if norm == "batch" else _initialise_by_fan_in)

    def forward(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        """images [n, channels, height, width], label [n, k] or None → scores [n], float32."""
        if label is not None:
            maps = label[:, :, None, None].expand(-1, -1, *images.shape[2:])
            images = torch.cat([images, maps], 1).contiguous(memory_format=torch.channels_last)
        scores: Tensor = self.body(images)
        return scores.flatten().float()


def _initialise(module: nn.Module) -> None:
    """Weights N(0, 0.02), as in the DCGAN paper."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1, 0.02)


def _initialise_by_fan_in(module: nn.Module) -> None:
    """Weights that keep the variance through LeakyReLU (He et al. 2015)."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight, 0.2)
        nn.init.zeros_(module.bias) if module.bias is not None else None


def parameters(module: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(p.numel() for p in module.parameters())
