"""The graph that is exported: the generator, and after it the conversion of its output to finished images."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from gankit._errors import UsageError
from gankit_export.conv_transpose import find_rewritable, rewrite_conv_transposes, rewrite_requirements
from gankit_export.folding import fold_batch_norm
from gankit_export.options import Output, Precision, Rewrite


class ImageGraph(nn.Module):
    """A generator's copy with the inputs and outputs of the contract: z [n, z_dim] and label [n, k] → images.

    Args:
        generator: takes z [n, z_dim] and label [n, k] or None, and makes images [n, channels, height, width].
        value_range: the generator's values for black and white.
        output: `uint8`: images [n, height, width, channels] from 0 to 255; `float`: float32 [n, channels, height,
            width] in [-1, 1].
        precision: of weights and arithmetic; see `ExportOptions.precision`.
        rewrite: how transposed convolutions are written; see `ExportOptions.rewrite`.
        examples: inputs to check the folding of batch normalisation with; see `fold_batch_norm`.

    Raises:
        UsageError: a value range that does not ascend, or a rewrite where no layer can be rewritten.
    """

    def __init__(
        self,
        generator: nn.Module,
        value_range: tuple[float, float] = (-1.0, 1.0),
        *,
        output: Output = "uint8",
        precision: Precision = "float32",
        rewrite: Rewrite = "plain",
        examples: tuple[Tensor, ...] | None = None,
    ) -> None:
        super().__init__()
        if not -math.inf < value_range[0] < value_range[1] < math.inf:
            raise UsageError(f"the value range must be two ascending numbers such as -1,1 or 0,1, not {value_range}")
        generator = fold_batch_norm(generator, examples)
        if rewrite != "plain":
            if not find_rewritable(generator, rewrite):
                raise UsageError(
                    f"rewrite {rewrite!r} needs {rewrite_requirements(rewrite)}; there are none: choose 'plain'"
                )
            rewrite_conv_transposes(generator, rewrite)
        if precision == "compact":
            _store_weights_as_float16(generator)
        self.generator = generator.half() if precision == "float16" else generator
        self.output, self.precision, (self.low, self.high) = output, precision, value_range
        self.eval()

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """z float32 [n, z_dim], label float32 [n, k] or None → images, as `output` has them."""
        if self.precision == "float16":
            z, label = z.half(), label if label is None else label.half()
        images: Tensor = self.generator(z, label).float()
        if self.output == "float":
            scale = 2 / (self.high - self.low)
            return (images * scale - (1 + self.low * scale)).clamp(-1, 1)
        return to_grey_levels(images, self.low, self.high).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def to_grey_levels(images: Tensor, low: float, high: float) -> Tensor:
    """Converts images in [low, high] to grey levels plus 0.5, that is [0.5, 255.5], in the images' own precision.

    With the 0.5, a cast to uint8, which truncates, rounds to the nearest grey level. Round would do the same, but
    WebGPU does not have it.
    """
    scale = 255 / (high - low)
    return images * scale + (0.5 - low * scale)


class _ToFloat32(nn.Module):
    """A parametrization: a weight stored as float16 → float32."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight.float()


def _store_weights_as_float16(generator: nn.Module) -> None:
    """Stores weights as float16 and casts them where they are used, in place. Biases are small and stay float32."""
    for module in list(generator.modules()):
        weight = getattr(module, "weight", None)
        if isinstance(weight, Tensor) and weight.dim() > 1:
            module.weight = nn.Parameter(weight.half(), requires_grad=False)
            register_parametrization(module, "weight", _ToFloat32(), unsafe=True)  # unsafe: it changes the dtype
