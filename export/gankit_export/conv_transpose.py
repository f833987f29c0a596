"""Transposed convolutions rewritten as ordinary convolutions, which some engines compute faster.

Both rewrites are exact. They apply to layers that double the size: kernel 4, stride 2, padding 1. Such a layer makes
2×2 output pixels from each input pixel. The output pixels at one of these four positions are called a phase; a phase is
a 2×2 convolution of the input with every second weight of the kernel.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

_PHASES = ((0, 0), (0, 1), (1, 0), (1, 1))
"""Row and column of each phase among the 2×2 output pixels."""


class SubpixelConvTranspose(nn.Module):
    """A size-doubling transposed convolution as one convolution followed by a pixel shuffle.

    The four phases are output channels of one 2×2 convolution, which DepthToSpace moves to their positions (Shi et al.,
    "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural Network",
    2016). The convolution computes one row and one column too many, which are cropped.
    """

    channel_multiple = 1
    """The layer's channel counts must be multiples of this number."""

    def __init__(self, layer: nn.ConvTranspose2d) -> None:
        super().__init__()
        in_channels, out_channels = layer.in_channels, layer.out_channels
        # Cropping removes the first row and column, so the phases are stored in reverse order.
        weight = torch.stack(_phase_kernels(layer)[::-1], 1).reshape(4 * out_channels, in_channels, 2, 2)
        self.convolution = nn.Conv2d(in_channels, 4 * out_channels, 2, padding=1)
        self.convolution.weight = nn.Parameter(weight)
        bias = torch.zeros(out_channels) if layer.bias is None else layer.bias
        self.convolution.bias = nn.Parameter(bias.repeat_interleave(4).to(weight.dtype))

    def forward(self, x: Tensor) -> Tensor:
        """[n, in_channels, h, w] → [n, out_channels, 2 h, 2 w]."""
        return torch.pixel_shuffle(self.convolution(x), 2)[:, :, 1:-1, 1:-1]


class PhasesConvTranspose(nn.Module):
    """A size-doubling transposed convolution as four convolutions, one for each phase.

    Each convolution is 2×2, padded on two sides, and makes as many pixels as the input has, so there are no extra
    multiplications. ONNX Runtime computes convolutions on a CPU in blocks of 16 channels, 1.2 to 1.4 times as fast as
    transposed convolutions. The phases are interleaved as whole pixels in [n, h, w, channels] order: that copies blocks
    of memory, whereas DepthToSpace would move single numbers.
    """

    channel_multiple = 16
    """ONNX Runtime pads other channel counts with zeros, which was slower as often as faster."""

    def __init__(self, layer: nn.ConvTranspose2d) -> None:
        super().__init__()
        self.phases = nn.ModuleList()
        for (row, column), weight in zip(_PHASES, _phase_kernels(layer), strict=True):
            convolution = nn.Conv2d(layer.in_channels, layer.out_channels, 2)
            convolution.weight, convolution.bias = nn.Parameter(weight.contiguous()), layer.bias
            # PyTorch's Conv2d cannot pad one side only; in the ONNX graph the padding becomes part of Conv.
            self.phases.append(nn.Sequential(nn.ZeroPad2d((1 - column, column, 1 - row, row)), convolution))

    def forward(self, x: Tensor) -> Tensor:
        """[n, in_channels, h, w] → [n, out_channels, 2 h, 2 w]."""
        phases = torch.cat([phase(x) for phase in self.phases], 1).permute(0, 2, 3, 1)
        _, h, w, c = phases.shape
        pixels = phases.reshape(-1, h, w, 2, c // 2).transpose(2, 3)  # [n, h, row, w, column and channel]
        return pixels.reshape(-1, 2 * h, 2 * w, c // 4).permute(0, 3, 1, 2)


_REWRITES: dict[str, type[SubpixelConvTranspose] | type[PhasesConvTranspose]] = {
    "subpixel": SubpixelConvTranspose,
    "phases": PhasesConvTranspose,
}


def find_rewritable(generator: nn.Module, rewrite: Literal["subpixel", "phases"]) -> list[tuple[nn.Module, str]]:
    """The transposed convolutions that can be rewritten, each as its parent module and its name in it."""
    multiple = _REWRITES[rewrite].channel_multiple
    return [
        (parent, name)
        for parent in generator.modules()
        for name, layer in parent.named_children()
        if isinstance(layer, nn.ConvTranspose2d) and _doubles_size(layer, multiple)
    ]


def rewrite_conv_transposes(generator: nn.Module, rewrite: Literal["subpixel", "phases"]) -> None:
    """Replaces the transposed convolutions of a generator in place, where `find_rewritable` finds any."""
    for parent, name in find_rewritable(generator, rewrite):
        layer = parent.get_submodule(name)
        assert isinstance(layer, nn.ConvTranspose2d)
        setattr(parent, name, _REWRITES[rewrite](layer).requires_grad_(False))


def rewrite_requirements(rewrite: Literal["subpixel", "phases"]) -> str:
    """The layers that a rewrite applies to, in words, for error messages."""
    multiple = _REWRITES[rewrite].channel_multiple
    channels = f" and channel counts that are multiples of {multiple}" if multiple > 1 else ""
    return f"transposed convolutions with kernel 4, stride 2, padding 1{channels}"


def _doubles_size(layer: nn.ConvTranspose2d, multiple: int) -> bool:
    return (
        (layer.kernel_size, layer.stride, layer.padding) == ((4, 4), (2, 2), (1, 1))
        and (layer.output_padding, layer.dilation, layer.groups) == ((0, 0), (1, 1), 1)
        and layer.in_channels % multiple == layer.out_channels % multiple == 0
    )


def _phase_kernels(layer: nn.ConvTranspose2d) -> list[Tensor]:
    """The kernels [out_channels, in_channels, 2, 2] of the four phases of a 4×4 kernel, in the order of `_PHASES`."""
    return [layer.weight[:, :, 1 - row :: 2, 1 - column :: 2].flip(2, 3).transpose(0, 1) for row, column in _PHASES]
