"""The sizes of convolutional layers: which feature maps lead from z to an image, or from an image to a score."""

from itertools import count, pairwise
from typing import Literal, NamedTuple

from gankit._errors import UsageError
from gankit_train.config.settings import NetworkSettings

Shape = tuple[int, int, int]
"""Height, width and channels of an image."""

_MIN_EDGE = 3  # edge of the innermost feature map, in pixels, that the default depth does not go below


class Layer(NamedTuple):
    """One convolution of a network."""

    in_channels: int
    out_channels: int
    kernel: int
    stride: int
    in_size: tuple[int, int]  # height and width of the input
    out_size: tuple[int, int]


def plan_layers(settings: NetworkSettings, network: Literal["g", "d"], shape: Shape, k: int) -> list[Layer]:
    """Returns the convolutions of the generator, from z to the image, or of the discriminator, from image to score.

    Raises UsageError if the lists differ in length, or for impossible sizes, with the nearest that are possible.
    """
    if network == "g":
        widths, kernels, strides = settings.g_widths, settings.g_kernels, settings.g_strides
    else:
        widths, kernels, strides = settings.d_widths, settings.d_kernels, settings.d_strides
    upsample = network == "g" and settings.upsample
    kernels, strides = kernels or ((3,) if upsample else (4,)), strides or (2,)
    lists = {f"--{network}-widths": widths, f"--{network}-kernels": kernels, f"--{network}-strides": strides}
    lengths = {flag: len(v) for flag, v in lists.items() if len(v) > 1 or (v is widths and v)}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{flag} has {length}" for flag, length in lengths.items())
        raise UsageError(f"the lists must have one number per layer, equally many: {listed}")
    depth = next(iter(lengths.values()), 0) or _default_depth(shape, strides[0])
    kernels, strides = (v * depth if len(v) == 1 else v for v in (kernels, strides))
    if not widths:  # base channels next to the image, then doubled at each stage, at most 8 times
        widths = tuple(settings.filters * min(2**i, 8) for i in range(depth))
        widths = widths[::-1] if network == "g" else widths
    for kernel, stride in zip(kernels, strides, strict=True):
        if kernel < stride:
            raise UsageError(f"a kernel of {kernel} with a stride of {stride} would skip pixels: use a larger kernel")
        if kernel % 2 == 0 and (stride == 1 or upsample):
            raise UsageError(f"a convolution of stride 1, as all with --upsample, needs an odd kernel, not {kernel}")
    sizes = list(zip(*(_edges(n, network, upsample, kernels, strides) for n in shape[:2]), strict=True))
    channels = [*widths, shape[2]] if network == "g" else [settings.packing * (shape[2] + k), *widths]
    layers = zip(pairwise(channels), kernels, strides, pairwise(sizes), strict=True)
    return [Layer(*in_out, kernel, stride, *size) for in_out, kernel, stride, size in layers]


def _default_depth(shape: Shape, stride: int) -> int:
    """Returns how often an image can be reduced to an edge of at least 3 pixels."""
    if stride == 1:
        raise UsageError("the number of layers does not follow from strides of 1: give one stride per layer, as 2,2,1")
    if min(shape[:2]) < (smallest := stride * _MIN_EDGE):
        raise UsageError(f"images of {shape[1]}x{shape[0]} are too small: both edges must be at least {smallest}")
    return next(depth - 1 for depth in count(1) if min(shape[:2]) < stride**depth * _MIN_EDGE)


def _edges(n: int, network: str, upsample: bool, kernels: tuple[int, ...], strides: tuple[int, ...]) -> list[int]:
    """Returns an edge of all feature maps, in the order of the layers. Raises UsageError if n pixels are impossible."""
    steps = list(zip(kernels, strides, strict=True))[:: -1 if network == "g" else 1]  # from the image inwards

    def chain(n: int) -> list[int] | None:
        edges = [n]
        for kernel, stride in steps:
            if network == "d":
                edges.append((edges[-1] + 2 * conv_padding(kernel, stride) - kernel) // stride + 1)
            else:
                output_padding = edges[-1] % stride + (kernel - stride) % 2 * (not upsample)
                if output_padding >= stride and not upsample:  # which PyTorch does not support
                    return None
                edges.append(edges[-1] // stride)
            if edges[-1] < 1:
                return None
        return edges[::-1] if network == "g" else edges

    if edges := chain(n):
        return edges
    near = [next((m for m in span if chain(m)), None) for span in (range(n - 1, 0, -1), range(n + 1, 2 * n + 1024))]
    possible = " or ".join(str(m) for m in near if m) or "other lists"
    layers = f"kernels {','.join(map(str, kernels))} and strides {','.join(map(str, strides))}"
    raise UsageError(f"{network.upper()} cannot have an edge of {n} pixels with {layers}: use {possible}")


def conv_padding(kernel: int, stride: int) -> int:
    """Returns the padding with which a convolution's output is 1/stride of its input."""
    return (kernel - stride + 1) // 2
