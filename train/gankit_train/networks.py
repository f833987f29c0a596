"""Generator and discriminator of Radford et al., "Unsupervised Representation Learning with DCGANs" (2015).

Both halve or double the image with 4×4 kernels of stride 2; their depth follows the image size. Labels join as in
Mirza & Osindero, "Conditional Generative Adversarial Nets" (2014): appended to z, and as constant maps to the image.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from gankit.errors import UsageError
from gankit_train.config import Config

Shape = tuple[int, int, int]
"""Height, width and channels of an image."""

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
    """z [n, z_dim] and label [n, k] → images [n, channels, height, width] in (-1, 1), by transposed convolutions."""

    def __init__(self, shape: Shape, z_dim: int, k: int, filters: int, norm: str) -> None:
        super().__init__()
        maps = sizes(*shape[:2])[::-1]
        widths = [*_widths(filters, len(maps) - 1)[::-1], shape[2]]
        bias = norm == "none"  # a normalisation has one of its own
        self.innermost = (*maps[0], widths[0])
        self.first = nn.Linear(z_dim + k, math.prod(self.innermost), bias=bias)
        self.norm = _norm(norm, nn.BatchNorm2d, widths[0])
        layers: list[nn.Module] = []
        for (here, there), ((h, w), (height, width)) in zip(pairwise(widths), pairwise(maps), strict=True):
            odd = (height - 2 * h, width - 2 * w)  # what halving an odd edge has cut off
            last = (height, width) == maps[-1]
            layers += [nn.ConvTranspose2d(here, there, 4, 2, 1, odd, bias=bias or last)]
            layers += [nn.Tanh()] if last else [_norm(norm, nn.BatchNorm2d, there), nn.ReLU()]
        self.body = nn.Sequential(*layers)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """z [n, z_dim], label [n, k] or None → [n, channels, height, width]."""
        x = self.first(z if label is None else torch.cat([z, label], 1))
        # Channels last in memory from the start, which the convolutions run fastest on.
        x = x.view(-1, *self.innermost).permute(0, 3, 1, 2)
        out: Tensor = self.body(torch.relu(self.norm(x)))
        return out


class DenseGenerator(nn.Module):
    """The same by fully connected layers, as in the GAN paper of Goodfellow et al. (2014)."""

    def __init__(self, shape: Shape, z_dim: int, k: int, hidden: tuple[int, ...], norm: str) -> None:
        super().__init__()
        height, width, channels = shape
        layers: list[nn.Module] = []
        for here, there in pairwise((z_dim + k, *hidden)):
            layers += [
                nn.Linear(here, there, bias=norm == "none"),
                _norm(norm, nn.BatchNorm1d, there),
                nn.LeakyReLU(0.2),
            ]
        layers += [nn.Linear(hidden[-1], math.prod(shape)), nn.Tanh(), nn.Unflatten(1, (channels, height, width))]
        self.body = nn.Sequential(*layers)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """z [n, z_dim], label [n, k] or None → [n, channels, height, width]."""
        out: Tensor = self.body(z if label is None else torch.cat([z, label], 1))
        return out


class Dropout(nn.Module):
    """Sets a share of the activations to zero while training; from a generator of its own and not from global state."""

    def __init__(self, share: float, noise: torch.Generator | None) -> None:
        super().__init__()
        self.share, self.noise = share, noise

    def forward(self, x: Tensor) -> Tensor:
        """Any shape; what is kept grows so that the mean stays."""
        if not self.training:
            return x
        return x * torch.empty_like(x).bernoulli_(1 - self.share, generator=self.noise) / (1 - self.share)


class Discriminator(nn.Module):
    """Images [n, channels, height, width] and label [n, k] → scores [n], unbounded; higher means more real."""

    def __init__(self, shape: Shape, k: int, filters: int, norm: str, dropout: nn.Module) -> None:
        super().__init__()
        maps = sizes(*shape[:2])
        widths = [shape[2] + k, *_widths(filters, len(maps) - 1)]
        convolution = partial(nn.Conv2d, kernel_size=4, stride=2, padding=1)
        layers = _critic_layers(widths, norm, dropout, convolution, nn.BatchNorm2d)
        self.body = nn.Sequential(
            *layers, nn.Flatten(), _spectral(nn.Linear(widths[-1] * math.prod(maps[-1]), 1), norm)
        )

    def forward(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        """images [n, channels, height, width], label [n, k] or None → scores [n], float32."""
        if label is not None:
            maps = label[:, :, None, None].expand(-1, -1, *images.shape[2:])
            images = torch.cat([images, maps], 1).contiguous(memory_format=torch.channels_last)
        scores: Tensor = self.body(images)
        return scores.flatten().float()


class DenseDiscriminator(nn.Module):
    """The same by fully connected layers; the label joins the pixels."""

    def __init__(self, shape: Shape, k: int, hidden: tuple[int, ...], norm: str, dropout: nn.Module) -> None:
        super().__init__()
        widths = [math.prod(shape) + k, *hidden[::-1]]
        layers = _critic_layers(widths, norm, dropout, nn.Linear, nn.BatchNorm1d)
        self.body = nn.Sequential(*layers, _spectral(nn.Linear(widths[-1], 1), norm))

    def forward(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        """images [n, channels, height, width], label [n, k] or None → scores [n], float32."""
        pixels = images.flatten(1)
        scores: Tensor = self.body(pixels if label is None else torch.cat([pixels, label], 1))
        return scores.flatten().float()


def make_generator(config: Config, shape: Shape, k: int) -> nn.Module:
    """The generator that the settings ask for, with fresh weights."""
    if config.network == "mlp":
        network: nn.Module = DenseGenerator(shape, config.z_dim, k, config.hidden, config.g_norm)
        return network.apply(_initialise_by_fan_in)
    return Generator(shape, config.z_dim, k, config.filters, config.g_norm).apply(_initialise)


def make_discriminator(config: Config, shape: Shape, k: int, noise: torch.Generator | None = None) -> nn.Module:
    """The discriminator, or critic, that the settings ask for, with fresh weights; its dropout draws from `noise`."""
    dropout = Dropout(config.dropout, noise) if config.dropout else nn.Identity()
    if config.network == "mlp":
        network: nn.Module = DenseDiscriminator(shape, k, config.hidden, config.d_norm, dropout)
    else:
        network = Discriminator(shape, k, config.filters, config.d_norm, dropout)
    # Without normalisation the small weights of DCGAN would let the signal die out from layer to layer.
    small = config.network == "conv" and config.d_norm == "batch"
    return network.apply(_initialise if small else _initialise_by_fan_in)


def _norm(norm: str, kind: type[nn.BatchNorm1d] | type[nn.BatchNorm2d], channels: int) -> nn.Module:
    return kind(channels) if norm == "batch" else nn.Identity()


def _spectral(layer: nn.Module, norm: str) -> nn.Module:
    """With its largest singular value held at 1 (Miyato et al., "Spectral Normalization for GANs", 2018)."""
    return nn.utils.parametrizations.spectral_norm(layer) if norm == "spectral" else layer


def _critic_layers(
    widths: list[int],
    norm: str,
    dropout: nn.Module,
    weights: Callable[..., nn.Module],
    batch_norm: type[nn.BatchNorm1d] | type[nn.BatchNorm2d],
) -> list[nn.Module]:
    """Weights, normalisation, LeakyReLU and dropout from each width to the next, without those that do nothing."""
    layers: list[nn.Module] = []
    for i, (here, there) in enumerate(pairwise(widths)):
        normed = "none" if i == 0 and norm == "batch" else norm  # not at the image: DCGAN, section 3
        layers += [_spectral(weights(here, there, bias=normed != "batch"), norm)]
        layers += [_norm(normed, batch_norm, there), nn.LeakyReLU(0.2), dropout]
    return [layer for layer in layers if not isinstance(layer, nn.Identity)]


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
        if not nn.utils.parametrize.is_parametrized(module):  # spectral normalisation sets the scale itself
            nn.init.kaiming_normal_(module.weight, 0.2)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def parameters(module: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(p.numel() for p in module.parameters())
