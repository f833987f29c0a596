"""What is exported: the generator with its batch normalisation folded in, and its output as finished images."""

from __future__ import annotations

from copy import deepcopy
from itertools import pairwise

import torch
from torch import Tensor, nn

from gankit_train.networks import Generator


class ImageGraph(nn.Module):
    """z [n, z_dim] and label [n, k] → uint8 [n, height, width, channels]: the contract of an exported file."""

    def __init__(self, generator: nn.Module, value_range: tuple[float, float] = (-1.0, 1.0)) -> None:
        super().__init__()
        self.generator = folded(generator)
        self.low, self.high = value_range

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """z float32 [n, z_dim], label float32 [n, k] or None → uint8 [n, height, width, channels]."""
        images: Tensor = pixels(self.generator(z, label), self.low, self.high).to(torch.uint8).permute(0, 2, 3, 1)
        return images


def pixels(images: Tensor, low: float, high: float) -> Tensor:
    """Images in [low, high] → what becomes bytes by truncation.

    Half a step is added, as casting truncates: that rounds to the nearest without Round, which some runtimes lack.
    """
    scale = 255 / (high - low)
    return (images * scale + (0.5 - low * scale)).clamp(0, 255)


def folded(generator: nn.Module) -> nn.Module:
    """A copy that computes the same with every batch normalisation multiplied into the layer before it."""
    generator = deepcopy(generator).eval()
    if isinstance(generator, Generator):  # its first layer's outputs run [height, width, channel]
        _fold(generator.norm, generator.first, outputs=0, repeats=generator.innermost[0] * generator.innermost[1])
        generator.norm = nn.Identity()
    assert isinstance(generator.body, nn.Sequential)
    layers = list(generator.body)
    for before, layer in pairwise(layers):
        _fold(layer, before, outputs=1 if isinstance(before, nn.ConvTranspose2d) else 0)
    kept = (layer for layer in layers if not isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.Identity))
    generator.body = nn.Sequential(*kept)
    return generator.requires_grad_(False)


def _fold(norm: nn.Module, layer: nn.Module, outputs: int, repeats: int = 1) -> None:
    """Puts the scale and shift of a batch normalisation into a layer without bias, whose outputs are axis `outputs`."""
    weighted = isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)
    if not isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d) or not weighted:
        return
    assert norm.running_mean is not None and norm.running_var is not None and layer.bias is None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    shift = norm.bias - norm.running_mean * scale
    shape = [1] * layer.weight.dim()
    shape[outputs] = -1
    layer.weight = nn.Parameter(layer.weight * scale.repeat(repeats).view(shape))
    layer.bias = nn.Parameter(shift.repeat(repeats))
