"""What is exported: the generator with its batch normalisation folded in, and its output as finished images."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from gankit._errors import UsageError
from gankit_train.models.networks import Generator

OPSETS = (18, 20)
"""The oldest and the newest ONNX opset that can be written. From 22 on, older CUDA providers have no ConvTranspose and
move it to the CPU in silence."""

Output = Literal["uint8", "float"]
Precision = Literal["float32", "float16", "compact"]
Rewrite = Literal["plain", "subpixel", "phases"]


@dataclass(frozen=True)
class Recipe:
    """How a graph is written; what it computes stays the same, but for the rounding of half numbers."""

    opset: int = OPSETS[0]
    """Of ONNX, which the other formats do not have. The oldest one is what most runtimes take."""
    output: Output = "uint8"
    """`uint8`: [n, height, width, channels], to show. `float`: float32 [n, channels, height, width] in [-1, 1]."""
    precision: Precision = "float32"
    """`float16`: half weights and arithmetic. `compact`: half weights that are cast to float32 when the file is opened,
    so half the size and the arithmetic of float32."""
    rewrite: Rewrite = "plain"
    """Transposed convolutions as convolutions at the smaller size: `subpixel`, see `Subpixel`, or `phases`, see
    `Phases`."""
    strict: bool = True
    """Whether the rewrite was asked for by its name: then all formats get it, and it is an error that there is nothing
    to rewrite. Else it is a target's, for ONNX files alone, where there is something."""

    def __post_init__(self) -> None:
        """Refuses what cannot be, by the name of its flag."""
        if not OPSETS[0] <= self.opset <= OPSETS[1]:
            raise UsageError(f"--opset must be from {OPSETS[0]} to {OPSETS[1]}, not {self.opset}")
        for name, choices in (("output", Output), ("precision", Precision), ("rewrite", Rewrite)):
            if getattr(self, name) not in get_args(choices):
                raise UsageError(f"{name} is one of {', '.join(get_args(choices))}, not {getattr(self, name)!r}")


PLAIN = Recipe()
TARGETS = {
    # What measured fastest for each; CUDA has not been measured yet.
    "cpu": Recipe(rewrite="phases", strict=False),
    "cuda": Recipe(precision="float16"),
    "openvino": Recipe(rewrite="subpixel", strict=False),
}
"""The recipes of `--for`."""


class ImageGraph(nn.Module):
    """z [n, z_dim] and label [n, k] → images: the contract of an exported file, after one of the recipes."""

    def __init__(
        self,
        generator: nn.Module,
        value_range: tuple[float, float] = (-1.0, 1.0),
        recipe: Recipe = PLAIN,
        examples: tuple[Tensor, ...] | None = None,
    ) -> None:
        super().__init__()
        generator = folded(generator, examples)
        if not -math.inf < value_range[0] < value_range[1] < math.inf:
            raise UsageError(f"a value range rises from black to white, such as -1,1 or 0,1, not {value_range}")
        if recipe.rewrite != "plain" and not _rewrite(generator, recipe.rewrite):
            if recipe.strict:
                block = _REWRITES[recipe.rewrite].block
                raise UsageError(
                    f"--rewrite {recipe.rewrite} needs transposed convolutions of kernel 4, stride 2, padding 1"
                    f"{f' and channels in multiples of {block}' if block > 1 else ''}; there are none"
                )
            recipe = replace(recipe, rewrite="plain")
        if recipe.precision == "compact":
            _store_half(generator)
        self.generator = generator.half() if recipe.precision == "float16" else generator
        self.recipe, (self.low, self.high) = recipe, value_range
        self.eval()

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """z float32 [n, z_dim], label float32 [n, k] or None → what `Recipe.output` says."""
        if self.recipe.precision == "float16":
            z, label = z.half(), label if label is None else label.half()
        images: Tensor = self.generator(z, label).float()
        if self.recipe.output == "float":
            scale = 2 / (self.high - self.low)
            return (images * scale - (1 + self.low * scale)).clamp(-1, 1)
        return steps(images, self.low, self.high).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def steps(images: Tensor, low: float, high: float) -> Tensor:
    """Images in [low, high] → steps of 1/255, which become bytes by truncation where they are from 0 to 255.

    Half a step is added, as casting truncates: that rounds to the nearest without Round, which some runtimes lack.
    """
    scale = 255 / (high - low)
    return images * scale + (0.5 - low * scale)


def _phases(layer: nn.ConvTranspose2d) -> list[Tensor]:
    """The kernels [there, here, 2, 2] of the four phases of a kernel of 4 with stride 2, in the order of `_PHASES`.

    A phase is one of the pixels that an input pixel becomes; it sees 2×2 inputs through every second weight.
    """
    return [layer.weight[:, :, 1 - row :: 2, 1 - column :: 2].flip(2, 3).transpose(0, 1) for row, column in _PHASES]


_PHASES = ((0, 0), (0, 1), (1, 0), (1, 1))
"""Row and column among the four pixels that an input pixel becomes."""


class Subpixel(nn.Module):
    """A transposed convolution with kernel 4, stride 2 and padding 1 as a convolution and a shuffle of its channels.

    Its four phases are channels of one 2×2 convolution, which DepthToSpace puts into their places (Shi et al.,
    "Real-Time Single Image Super-Resolution", 2016). Exact; it computes one row and column too many, which are cropped.
    """

    block = 1
    """What a layer's numbers of channels have to be multiples of to be rewritten."""

    def __init__(self, layer: nn.ConvTranspose2d) -> None:
        super().__init__()
        here, there = layer.in_channels, layer.out_channels
        # The row and the column that are cropped at the start are of phases 1, so those come first.
        weight = torch.stack(_phases(layer)[::-1], 1).reshape(4 * there, here, 2, 2)
        self.convolution = nn.Conv2d(here, 4 * there, 2, padding=1)
        self.convolution.weight = nn.Parameter(weight)
        bias = torch.zeros(there) if layer.bias is None else layer.bias
        self.convolution.bias = nn.Parameter(bias.repeat_interleave(4).to(weight.dtype))

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, h, w] → [n, c', 2 h, 2 w]."""
        return torch.pixel_shuffle(self.convolution(x), 2)[:, :, 1:-1, 1:-1]


class Phases(nn.Module):
    """A transposed convolution with kernel 4, stride 2 and padding 1 as four convolutions, one for each phase.

    Each is 2×2 and padded on two sides, so it computes as many pixels as there are in the input: exact, and not one
    multiplication more. ONNX Runtime computes convolutions on a CPU in blocks of 16 channels, 1.2 to 1.4 times as fast
    as its transposed ones. The phases go to their places as whole pixels, [n, h, w, channel], which is a copy of
    blocks, where DepthToSpace would move single numbers.
    """

    block = 16
    """With other numbers of channels it would fill them up with zeros, and was slower as often as faster."""

    def __init__(self, layer: nn.ConvTranspose2d) -> None:
        super().__init__()
        self.phases = nn.ModuleList()
        for (row, column), weight in zip(_PHASES, _phases(layer), strict=True):
            convolution = nn.Conv2d(layer.in_channels, layer.out_channels, 2)
            convolution.weight, convolution.bias = nn.Parameter(weight.contiguous()), layer.bias
            # ONNX's Conv takes the padding in, which PyTorch's cannot have on one side only.
            self.phases.append(nn.Sequential(nn.ZeroPad2d((1 - column, column, 1 - row, row)), convolution))

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, h, w] → [n, c', 2 h, 2 w]."""
        phases = torch.cat([phase(x) for phase in self.phases], 1).permute(0, 2, 3, 1)
        _, h, w, c = phases.shape
        pixels = phases.reshape(-1, h, w, 2, c // 2).transpose(2, 3)  # [n, h, row, w, column and channel]
        return pixels.reshape(-1, 2 * h, 2 * w, c // 4).permute(0, 3, 1, 2)


_REWRITES: dict[str, type[Subpixel] | type[Phases]] = {"subpixel": Subpixel, "phases": Phases}


def _rewrite(generator: nn.Module, rewrite: str) -> bool:
    """Rewrites every transposed convolution that can be; whether there were any."""
    make, found = _REWRITES[rewrite], False
    for parent in list(generator.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.ConvTranspose2d) and _is_doubling(layer, make.block):
                setattr(parent, name, make(layer).requires_grad_(False))
                found = True
    return found


def _is_doubling(layer: nn.ConvTranspose2d, block: int) -> bool:
    plain = layer.output_padding == (0, 0) and layer.dilation == (1, 1) and layer.groups == 1
    whole = layer.in_channels % block == 0 and layer.out_channels % block == 0
    return plain and whole and layer.kernel_size == (4, 4) and layer.stride == (2, 2) and layer.padding == (1, 1)


class _Widen(nn.Module):
    """Half weights as they are stored → float32."""

    def forward(self, half: Tensor) -> Tensor:
        return half.float()


def _store_half(generator: nn.Module) -> None:
    """Weights in half; biases are few and stay as they are."""
    for module in list(generator.modules()):
        weight = getattr(module, "weight", None)
        if isinstance(weight, Tensor) and weight.dim() > 1:
            module.weight = nn.Parameter(weight.half(), requires_grad=False)
            register_parametrization(module, "weight", _Widen(), unsafe=True)  # unsafe: it changes the type


def folded(generator: nn.Module, examples: tuple[Tensor, ...] | None = None) -> nn.Module:
    """A copy that computes the same with every batch normalisation multiplied into the layer before it.

    One that no layer in the same `Sequential` stands before becomes a scale and a shift; so do all of them where
    folding would change what is computed from the `examples`, as it does where a layer's output is used twice. Weights
    that are computed from others, as by spectral normalisation, are stored as they are.
    """
    plain = _without_parametrizations(deepcopy(generator).eval().requires_grad_(False))
    for fold in (True, False):
        copy = deepcopy(plain)
        if fold and isinstance(copy, Generator):  # its first layer's outputs run [height, width, channel]
            _fold(copy.norm, copy.first, repeats=copy.innermost[0] * copy.innermost[1])
            copy.norm = nn.Identity()
        for parent in list(copy.modules()):
            names = list(parent._modules) if fold and isinstance(parent, nn.Sequential) else []
            for before, name in pairwise(names):
                if _fold(parent._modules[name], parent._modules[before]):
                    parent._modules[name] = nn.Identity()
            for name, layer in list(parent.named_children()):
                if isinstance(layer, _NORMS) and layer.running_mean is not None:
                    setattr(parent, name, _ScaleAndShift(layer))
        if examples is None or _same(plain, copy, examples):
            break
    return copy.requires_grad_(False)


def _without_parametrizations(generator: nn.Module) -> nn.Module:
    """With the weights as they come out, on a copy; its layers share classes that PyTorch made with the original."""
    for module in list(generator.modules()):
        if nn.utils.parametrize.is_parametrized(module):
            values = {name: getattr(module, name).detach() for name in module.parametrizations}  # type: ignore[union-attr]
            del module.parametrizations
            module.__class__ = type(module).__bases__[0]
            for name, value in values.items():
                module.register_parameter(name, nn.Parameter(value, requires_grad=False))
        for hook in list(module._forward_pre_hooks.values()):  # the older way of the same
            if isinstance(hook, SpectralNorm | WeightNorm):
                spectral = isinstance(hook, SpectralNorm)
                (nn.utils.remove_spectral_norm if spectral else nn.utils.remove_weight_norm)(module, hook.name)
    return generator


@torch.no_grad()
def _same(one: nn.Module, other: nn.Module, examples: tuple[Tensor, ...]) -> bool:
    try:
        return torch.allclose(one(*examples), other(*examples), atol=1e-3)
    except RuntimeError:  # shapes that a folded layer cannot take
        return False


_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def _scale_and_shift(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """What a batch normalisation multiplies with and adds after training."""
    assert isinstance(norm, _NORMS) and norm.running_mean is not None and norm.running_var is not None
    scale = torch.rsqrt(norm.running_var + norm.eps) * (1 if norm.weight is None else norm.weight)
    return scale, (0 if norm.bias is None else norm.bias) - norm.running_mean * scale


class _ScaleAndShift(nn.Module):
    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.scale, self.shift = (nn.Parameter(values) for values in _scale_and_shift(norm))

    def forward(self, x: Tensor) -> Tensor:
        shape = (1, -1, *[1] * (x.dim() - 2))
        return x * self.scale.view(shape) + self.shift.view(shape)


def _fold(norm: nn.Module | None, layer: nn.Module | None, repeats: int = 1) -> bool:
    """Puts a batch normalisation's scale and shift into the layer before it, if that is one that can take them."""
    if not isinstance(norm, _NORMS) or norm.running_mean is None:
        return False
    if not isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        return False
    transposed = isinstance(layer, nn.ConvTranspose2d)
    if transposed and layer.groups != 1:  # whose outputs are not one axis of the weights
        return False
    scale, shift = (values.repeat(repeats) for values in _scale_and_shift(norm))
    shape = [1] * layer.weight.dim()
    shape[1 if transposed else 0] = -1
    layer.weight = nn.Parameter(layer.weight * scale.view(shape))
    layer.bias = nn.Parameter(shift if layer.bias is None else layer.bias * scale + shift)
    return True
