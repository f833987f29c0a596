"""Generators and discriminators, convolutional or fully connected.

By default they are those of Radford et al., "Unsupervised Representation Learning with DCGANs" (2015): 4×4 kernels of
stride 2 that halve or double the image, to a depth that follows from its size. Labels are used as in Mirza & Osindero,
"Conditional Generative Adversarial Nets" (2014): appended to z, and as constant maps to the image.
"""

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from gankit_train.compute.rng import RandomStream
from gankit_train.config.settings import NetworkSettings
from gankit_train.models.layers import Layer, Shape, conv_padding, plan_layers

_MLP_WIDTHS = (256, 512, 1024)  # default units of a fully connected generator's hidden layers

_ACTIVATIONS: dict[str, Callable[[NetworkSettings], nn.Module]] = {
    "relu": lambda settings: nn.ReLU(),
    "leaky-relu": lambda settings: nn.LeakyReLU(settings.leak),
    "elu": lambda settings: nn.ELU(),
    "silu": lambda settings: nn.SiLU(),
}
_OUTPUTS: dict[str, Callable[[], nn.Module]] = {"tanh": nn.Tanh, "sigmoid": nn.Sigmoid}


class Generator(nn.Module):
    """Convolutional generator: z [n, z_dim] and label [n, k] → images [n, channels, height, width]."""

    def __init__(self, settings: NetworkSettings, shape: Shape, k: int) -> None:
        super().__init__()
        layers = plan_layers(settings, "g", shape, k)
        bias = settings.bias and settings.g_norm == "none"  # batch normalisation has its own bias
        self.innermost = (*layers[0].in_size, layers[0].in_channels)
        self.first = nn.Linear(settings.z_dim + k, math.prod(self.innermost), bias=bias)
        self.norm = _norm(settings.g_norm, nn.BatchNorm2d, layers[0].in_channels)
        self.activation = _ACTIVATIONS[settings.g_activation](settings)
        body: list[nn.Module] = []
        for layer in layers[:-1]:
            norm = _norm(settings.g_norm, nn.BatchNorm2d, layer.out_channels)
            body += [*_upscaling(layer, settings.upsample, bias), norm, _ACTIVATIONS[settings.g_activation](settings)]
        body += [*_upscaling(layers[-1], settings.upsample, settings.bias), _OUTPUTS[settings.output]()]
        self.body = nn.Sequential(*body)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Computes images [n, channels, height, width] from z [n, z_dim] and label [n, k] or None."""
        x = self.first(z if label is None else torch.cat([z, label], 1))
        # Channels-last memory format from the first layer on, in which convolutions are fastest.
        x = x.view(-1, *self.innermost).permute(0, 3, 1, 2)
        images: Tensor = self.body(self.activation(self.norm(x)))
        return images


def _upscaling(layer: Layer, upsample: bool, bias: bool) -> list[nn.Module]:
    """A transposed convolution, or upsampling and a convolution, which avoids checkerboards (Odena et al. 2016)."""
    in_channels, out_channels, kernel, stride, in_size, out_size = layer
    if upsample:
        larger = [nn.Upsample(out_size)] if out_size != in_size else []
        return [*larger, nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=bias)]
    padding = conv_padding(kernel, stride)
    smallest = [(size - 1) * stride - 2 * padding + kernel for size in in_size]
    missing = (out_size[0] - smallest[0], out_size[1] - smallest[1])
    return [nn.ConvTranspose2d(in_channels, out_channels, kernel, stride, padding, missing, bias=bias)]


class DenseGenerator(nn.Module):
    """Fully connected generator with the same inputs and outputs, as in Goodfellow et al. (2014)."""

    def __init__(self, settings: NetworkSettings, shape: Shape, k: int) -> None:
        super().__init__()
        height, width, channels = shape
        widths = settings.g_widths or _MLP_WIDTHS
        layers: list[nn.Module] = []
        for two in pairwise((settings.z_dim + k, *widths)):
            linear = nn.Linear(*two, bias=settings.bias and settings.g_norm == "none")
            norm = _norm(settings.g_norm, nn.BatchNorm1d, two[1])
            layers += [linear, norm, _ACTIVATIONS[settings.g_activation](settings)]
        layers += [nn.Linear(widths[-1], math.prod(shape), bias=settings.bias), _OUTPUTS[settings.output]()]
        self.body = nn.Sequential(*layers, nn.Unflatten(1, (channels, height, width)))

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Computes images [n, channels, height, width] from z [n, z_dim] and label [n, k] or None."""
        images: Tensor = self.body(z if label is None else torch.cat([z, label], 1))
        return images


class Dropout(nn.Module):
    """Dropout whose mask comes from the run's random stream instead of global state, so that resuming is exact."""

    def __init__(self, p: float, random: RandomStream) -> None:
        super().__init__()
        self.p, self.random = p, random

    def forward(self, x: Tensor) -> Tensor:
        """Zeroes elements with probability p while training and scales the others by 1 / (1 - p)."""
        return x * self.random.dropout_mask(x, 1 - self.p) / (1 - self.p) if self.training else x


class Discriminator(nn.Module):
    """Discriminator or critic: images [n, channels, height, width] and label [n, k] → unbounded scores.

    Higher scores mean more real. It is convolutional or, as an mlp, takes the pixels as a vector. With packing, that
    many images are scored together and there are [n / packing] scores.
    """

    def __init__(self, settings: NetworkSettings, shape: Shape, k: int, random: RandomStream) -> None:
        super().__init__()
        self.packing, self.dense = settings.packing, settings.network == "mlp"
        layers: list[tuple[Callable[..., nn.Module], nn.Module]] = []  # each with the normalisation that may follow it
        if self.dense:
            hidden = settings.d_widths or (settings.g_widths or _MLP_WIDTHS)[::-1]
            widths = [self.packing * (math.prod(shape) + k), *hidden]
            layers = [(partial(nn.Linear, *two), nn.BatchNorm1d(two[1])) for two in pairwise(widths)]
            features = widths[-1]
        else:
            planned = plan_layers(settings, "d", shape, k)
            for layer in planned:
                conv = partial(nn.Conv2d, *layer[:4], conv_padding(layer.kernel, layer.stride))
                layers.append((conv, nn.BatchNorm2d(layer.out_channels)))
            features = planned[-1].out_channels * math.prod(planned[-1].out_size)
        body: list[nn.Module] = []
        for i, (weights, norm) in enumerate(layers):
            normed = settings.d_norm == "batch" and i > 0  # not on the input layer: Radford et al. 2015, section 3
            body += [_spectral(weights(bias=settings.bias and not normed), settings.d_norm)]
            body += [norm] if normed else []
            body += [_ACTIVATIONS[settings.d_activation](settings)]
            body += [Dropout(settings.dropout, random)] if settings.dropout else []
        score = _spectral(nn.Linear(features, 1, bias=settings.bias), settings.d_norm)
        self.body = nn.Sequential(*body, nn.Flatten(), score)

    def forward(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        """Computes scores float32 [n / packing] of images [n, c, h, w] and label [n, k] or None."""
        x = images.flatten(1) if self.dense else images
        if label is not None:  # appended to the pixels, or as constant maps
            x = torch.cat([x, label.view(*label.shape, *[1] * (x.dim() - 2)).expand(-1, -1, *x.shape[2:])], 1)
        x = x.reshape(len(x) // self.packing, -1, *x.shape[2:])
        scores: Tensor = self.body(x if self.dense else x.contiguous(memory_format=torch.channels_last))
        return scores.flatten().float()


def make_generator(settings: NetworkSettings, shape: Shape, k: int) -> nn.Module:
    """Builds a generator with fresh weights for images of (height, width, channels) and k labels."""
    network = (DenseGenerator if settings.network == "mlp" else Generator)(settings, shape, k)
    return _initialise(network, settings, settings.g_norm, settings.g_activation)


def make_discriminator(settings: NetworkSettings, shape: Shape, k: int, random: RandomStream) -> nn.Module:
    """Builds a discriminator with fresh weights, whose dropout draws from `random`."""
    return _initialise(Discriminator(settings, shape, k, random), settings, settings.d_norm, settings.d_activation)


def _norm(norm: str, kind: type[nn.BatchNorm1d] | type[nn.BatchNorm2d], size: int) -> nn.Module:
    return kind(size) if norm == "batch" else nn.Identity()


def _spectral(layer: nn.Module, norm: str) -> nn.Module:
    """Constrains the largest singular value to 1 (Miyato et al., "Spectral Normalization for GANs", 2018)."""
    return nn.utils.parametrizations.spectral_norm(layer) if norm == "spectral" else layer


def _initialise(network: nn.Module, settings: NetworkSettings, norm: str, activation: str) -> nn.Module:
    """Initialises weights by `settings.init`.

    The default is DCGAN's N(0, 0.02) for convolutional networks with batch normalisation. Without it, such small
    weights would let the signal vanish from layer to layer; the default is He's then.
    """
    default = "normal" if settings.network == "conv" and norm == "batch" else "he"
    init = default if settings.init == "auto" else settings.init
    for module in network.modules() if init != "torch" else ():
        if isinstance(module, nn.BatchNorm2d) and init == "normal":
            nn.init.normal_(module.weight, 1, 0.02)
        if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
        if nn.utils.parametrize.is_parametrized(module):
            continue  # spectral normalisation determines the scale
        if init == "xavier":
            nn.init.xavier_uniform_(module.weight)
        else:
            nn.init.normal_(module.weight, 0, 0.02 if init == "normal" else he_std(module, activation, settings.leak))
    return network


def he_std(module: nn.Conv2d | nn.ConvTranspose2d | nn.Linear, activation: str, leak: float) -> float:
    """Returns gain / √fan-in (He et al., "Delving Deep into Rectifiers", 2015), which keeps the variance of signals.

    The fan-in is the number of products that a unit sums. In a transposed convolution only one kernel weight in
    stride² meets an input pixel; PyTorch's own initialisers count its output channels instead.
    """
    fan_in = module.weight[0].numel()
    if isinstance(module, nn.ConvTranspose2d):
        fan_in = module.weight[:, 0].numel() // math.prod(module.stride)
    return math.sqrt(2 / (1 + (leak**2 if activation == "leaky-relu" else 0))) / math.sqrt(max(1, fan_in))


def count_parameters(module: nn.Module) -> int:
    """Counts the trainable numbers of a module."""
    return sum(p.numel() for p in module.parameters())
