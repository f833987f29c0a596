"""Generators and discriminators, convolutional or fully connected, as the settings ask for.

Where nothing else is asked for they are those of Radford et al., "Unsupervised Representation Learning with DCGANs"
(2015): 4×4 kernels of stride 2 that halve or double the image, to a depth that follows its size. Labels join as in
Mirza & Osindero, "Conditional Generative Adversarial Nets" (2014): appended to z, and as constant maps to the image.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import count, pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from gankit._errors import UsageError
from gankit_train.compute.rng import Noise
from gankit_train.config.settings import Config, flag

Shape = tuple[int, int, int]
"""Height, width and channels of an image."""

_SMALLEST = 3
"""Edge of the innermost feature map, in pixels, that no further halving goes below by itself."""
_MLP = (256, 512, 1024)
"""Units of a generator's layers where none are asked for."""

_ACTIVATIONS: dict[str, Callable[[Config], nn.Module]] = {
    "relu": lambda config: nn.ReLU(),
    "leaky-relu": lambda config: nn.LeakyReLU(config.leak),
    "elu": lambda config: nn.ELU(),
    "silu": lambda config: nn.SiLU(),
}
_OUTPUTS = {"tanh": nn.Tanh, "sigmoid": nn.Sigmoid}


class Layer(NamedTuple):
    """One convolution of a network: what it is given and what it makes of it."""

    here: int
    there: int
    """Channels."""
    kernel: int
    stride: int
    before: tuple[int, int]
    after: tuple[int, int]
    """Heights and widths of the feature maps."""


def plan(config: Config, network: Literal["g", "d"], shape: Shape, k: int) -> list[Layer]:
    """The convolutions of the generator, from z to the image, or of the discriminator, from the image to the score.

    Raises:
        UsageError: lists of different lengths, or a size that these layers cannot make, with those near it that they
            can.
    """
    widths, kernels, strides = (getattr(config, f"{network}_{name}") for name in ("widths", "kernels", "strides"))
    kernels, strides = kernels or ((3,) if network == "g" and config.upsample else (4,)), strides or (2,)
    given = {"widths": widths, "kernels": kernels, "strides": strides}
    lengths = {flag(f"{network}_{n}"): len(v) for n, v in given.items() if len(v) > 1 or (n == "widths" and v)}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise UsageError(f"the lists must have a number for each layer, the same for all: {said}")
    depth = next(iter(lengths.values()), 0) or _depth(shape, strides[0])
    kernels, strides = (v * depth if len(v) == 1 else v for v in (kernels, strides))
    if not widths:  # filters next to the image, then twice, four times and eight times as many
        widths = tuple(config.filters * min(2**i, 8) for i in range(depth))
        widths = widths[::-1] if network == "g" else widths
    for kernel, stride in zip(kernels, strides, strict=True):
        if kernel < stride:
            raise UsageError(f"a kernel of {kernel} with a stride of {stride} would leave pixels out")
        if kernel % 2 == 0 and (stride == 1 or (network == "g" and config.upsample)):
            raise UsageError(
                f"a convolution of stride 1, as all are with --upsample, needs an odd kernel, not {kernel}"
            )
    maps = list(zip(*(_edges(n, config, network, kernels, strides) for n in shape[:2]), strict=True))
    channels = [*widths, shape[2]] if network == "g" else [config.packing * (shape[2] + k), *widths]
    steps = zip(pairwise(channels), kernels, strides, pairwise(maps), strict=True)
    return [Layer(*two, kernel, stride, *sizes) for two, kernel, stride, sizes in steps]


def _depth(shape: Shape, stride: int) -> int:
    """How often an image can be reduced to an edge of 3 or more."""
    if stride == 1:
        raise UsageError("strides of 1 alone do not say how many layers there are: give one for each, such as 2,2,1")
    if min(shape[:2]) < stride * _SMALLEST:
        raise UsageError(
            f"images of {shape[1]}x{shape[0]} are too small: both edges must be at least {stride * _SMALLEST}"
        )
    return next(depth - 1 for depth in count(1) if min(shape[:2]) < stride**depth * _SMALLEST)


def _edges(n: int, config: Config, network: str, kernels: tuple[int, ...], strides: tuple[int, ...]) -> list[int]:
    """One edge of the feature maps, in the order of the layers.

    Raises:
        UsageError: these layers cannot make or take n pixels.
    """

    steps = list(zip(kernels, strides, strict=True))[:: -1 if network == "g" else 1]  # from the image inwards

    def chain(n: int) -> list[int] | None:
        maps = [n]
        for kernel, stride in steps:
            if network == "d":
                maps.append((maps[-1] + 2 * _padding(kernel, stride) - kernel) // stride + 1)
            else:
                rest = maps[-1] % stride + (kernel - stride) % 2 * (not config.upsample)
                if rest >= stride and not config.upsample:  # torch takes no output padding as large as the stride
                    return None
                maps.append(maps[-1] // stride)
            if maps[-1] < 1:
                return None
        return maps[::-1] if network == "g" else maps

    if (maps := chain(n)) is not None:
        return maps
    near = [next((m for m in span if chain(m)), None) for span in (range(n - 1, 0, -1), range(n + 1, 2 * n + 1024))]
    can = " and ".join(str(m) for m in near if m) or "no size near it"
    layers = f"kernels {','.join(map(str, kernels))} and strides {','.join(map(str, strides))}"
    raise UsageError(f"an edge of {n} pixels cannot be had with {network.upper()}'s {layers}; {can} can")


def _padding(kernel: int, stride: int) -> int:
    """What keeps a map's size at 1/stride of the one before."""
    return (kernel - stride + 1) // 2


class Generator(nn.Module):
    """z [n, z_dim] and label [n, k] → images [n, channels, height, width] in the settings' value range."""

    def __init__(self, config: Config, shape: Shape, k: int) -> None:
        super().__init__()
        layers = plan(config, "g", shape, k)
        bias = config.bias and config.g_norm == "none"  # a normalisation has one of its own
        self.innermost = (*layers[0].before, layers[0].here)
        self.first = nn.Linear(config.z_dim + k, math.prod(self.innermost), bias=bias)
        self.norm = _norm(config.g_norm, nn.BatchNorm2d, layers[0].here)
        self.activation = _ACTIVATIONS[config.g_activation](config)
        body: list[nn.Module] = []
        for i, layer in enumerate(layers):
            last = i == len(layers) - 1
            body += _enlarging(layer, config.upsample, config.bias if last else bias)
            body += (
                [_OUTPUTS[config.output]()]
                if last
                else [_norm(config.g_norm, nn.BatchNorm2d, layer.there), _ACTIVATIONS[config.g_activation](config)]
            )
        self.body = nn.Sequential(*body)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """z [n, z_dim], label [n, k] or None → [n, channels, height, width]."""
        x = self.first(z if label is None else torch.cat([z, label], 1))
        # Channels last in memory from the start, which the convolutions run fastest on.
        x = x.view(-1, *self.innermost).permute(0, 3, 1, 2)
        out: Tensor = self.body(self.activation(self.norm(x)))
        return out


def _enlarging(layer: Layer, upsample: bool, bias: bool) -> list[nn.Module]:
    """A transposed convolution, or repeated pixels and a convolution (Odena et al. 2016), which has no checkerboard."""
    here, there, kernel, stride, before, after = layer
    if upsample:
        larger = [nn.Upsample(after)] if after != before else []
        return [*larger, nn.Conv2d(here, there, kernel, padding=kernel // 2, bias=bias)]
    padding = _padding(kernel, stride)
    rest = [a - ((b - 1) * stride - 2 * padding + kernel) for b, a in zip(before, after, strict=True)]
    return [nn.ConvTranspose2d(here, there, kernel, stride, padding, (rest[0], rest[1]), bias=bias)]


class DenseGenerator(nn.Module):
    """The same by fully connected layers, as in the GAN paper of Goodfellow et al. (2014)."""

    def __init__(self, config: Config, shape: Shape, k: int) -> None:
        super().__init__()
        height, width, channels = shape
        widths = config.g_widths or _MLP
        layers: list[nn.Module] = []
        for here, there in pairwise((config.z_dim + k, *widths)):
            layers += [
                nn.Linear(here, there, bias=config.bias and config.g_norm == "none"),
                _norm(config.g_norm, nn.BatchNorm1d, there),
                _ACTIVATIONS[config.g_activation](config),
            ]
        layers += [nn.Linear(widths[-1], math.prod(shape), bias=config.bias), _OUTPUTS[config.output]()]
        self.body = nn.Sequential(*layers, nn.Unflatten(1, (channels, height, width)))

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """z [n, z_dim], label [n, k] or None → [n, channels, height, width]."""
        out: Tensor = self.body(z if label is None else torch.cat([z, label], 1))
        return out


class Dropout(nn.Module):
    """Sets a share of the activations to zero while training; from the run's noise and not from global state."""

    def __init__(self, share: float, noise: Noise) -> None:
        super().__init__()
        self.share, self.noise = share, noise

    def forward(self, x: Tensor) -> Tensor:
        """Any shape; what is kept grows so that the mean stays."""
        return x * self.noise.kept(x, 1 - self.share) / (1 - self.share) if self.training else x


class Discriminator(nn.Module):
    """Images [n, channels, height, width] and label [n, k] → scores, unbounded; higher means more real.

    Convolutional or, as an mlp, on the pixels in a row, which the label joins. With packing, as many images as that
    are judged together and there are [n / packing] scores.
    """

    def __init__(self, config: Config, shape: Shape, k: int, noise: Noise) -> None:
        super().__init__()
        self.packing, self.dense = config.packing, config.network == "mlp"
        layers: list[tuple[Callable[..., nn.Module], nn.Module]]  # each with the normalisation that may follow it
        if self.dense:
            widths = [self.packing * (math.prod(shape) + k), *(config.d_widths or (config.g_widths or _MLP)[::-1])]
            layers = [(partial(nn.Linear, *two), nn.BatchNorm1d(two[1])) for two in pairwise(widths)]
            features = widths[-1]
        else:
            planned = plan(config, "d", shape, k)
            layers = [
                (partial(nn.Conv2d, here, there, kernel, stride, _padding(kernel, stride)), nn.BatchNorm2d(there))
                for here, there, kernel, stride, _, _ in planned
            ]
            features = planned[-1].there * math.prod(planned[-1].after)
        body: list[nn.Module] = []
        for i, (weights, norm) in enumerate(layers):
            normed = config.d_norm == "batch" and i > 0  # not at the image: Radford et al. 2015, section 3
            body += [_spectral(weights(bias=config.bias and not normed), config.d_norm)]
            body += [norm] if normed else []
            body += [_ACTIVATIONS[config.d_activation](config)]
            body += [Dropout(config.dropout, noise)] if config.dropout else []
        score = _spectral(nn.Linear(features, 1, bias=config.bias), config.d_norm)
        self.body = nn.Sequential(*body, nn.Flatten(), score)

    def forward(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        """images [n, channels, height, width], label [n, k] or None → scores [n / packing], float32."""
        x = images.flatten(1) if self.dense else images
        if label is not None:  # beside the pixels, or as constant maps
            x = torch.cat([x, label.view(*label.shape, *[1] * (x.dim() - 2)).expand(-1, -1, *x.shape[2:])], 1)
        x = x.reshape(len(x) // self.packing, -1, *x.shape[2:])
        scores: Tensor = self.body(x if self.dense else x.contiguous(memory_format=torch.channels_last))
        return scores.flatten().float()


def make_generator(config: Config, shape: Shape, k: int) -> nn.Module:
    """The generator that the settings ask for, with fresh weights."""
    network = (DenseGenerator if config.network == "mlp" else Generator)(config, shape, k)
    _initialise(network, config, small=config.network == "conv" and config.g_norm == "batch")
    return network


def make_discriminator(config: Config, shape: Shape, k: int, noise: Noise) -> nn.Module:
    """The discriminator, or critic, that the settings ask for, with fresh weights; its dropout draws from `noise`."""
    network = Discriminator(config, shape, k, noise)
    # Without normalisation the small weights of DCGAN would let the signal die out from layer to layer.
    _initialise(network, config, small=config.network == "conv" and config.d_norm == "batch")
    return network


def _norm(norm: str, kind: type[nn.BatchNorm1d] | type[nn.BatchNorm2d], channels: int) -> nn.Module:
    return kind(channels) if norm == "batch" else nn.Identity()


def _spectral(layer: nn.Module, norm: str) -> nn.Module:
    """With its largest singular value held at 1 (Miyato et al., "Spectral Normalization for GANs", 2018)."""
    return nn.utils.parametrizations.spectral_norm(layer) if norm == "spectral" else layer


def _initialise(network: nn.Module, config: Config, small: bool) -> None:
    """Fresh weights by `config.init`, where auto means DCGAN's N(0, 0.02) for `small` ones and He's for others."""
    init = ("normal" if small else "he") if config.init == "auto" else config.init
    if init == "torch":
        return
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            if nn.utils.parametrize.is_parametrized(module):
                pass  # spectral normalisation sets the scale itself
            elif init == "normal":
                nn.init.normal_(module.weight, 0, config.init_std)
            elif init == "he":
                nn.init.kaiming_normal_(module.weight, config.leak)
            else:
                nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d) and init == "normal":
            nn.init.normal_(module.weight, 1, 0.02)


def parameters(module: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(p.numel() for p in module.parameters())
