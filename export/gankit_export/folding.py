"""Folding: batch normalisation is multiplied into the layer before it, and computed weights are stored as numbers."""

from __future__ import annotations

from copy import deepcopy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from gankit_train.models.networks import Generator

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def fold_batch_norm(generator: nn.Module, examples: tuple[Tensor, ...] | None = None) -> nn.Module:
    """A copy of a generator in evaluation mode, without batch normalisation, that computes the same.

    In a `Sequential`, a batch normalisation is multiplied into the convolution or linear layer right before it. Any
    other becomes a multiplication and an addition. Weights that are computed from others, as by spectral or weight
    normalisation, are stored as they are.

    Args:
        generator: any module; it stays as it is.
        examples: inputs to compare the copy with. Folding is wrong where another layer reads the unnormalised output
            too; if the outputs differ, no batch normalisation is folded into a layer. None skips this check.
    """
    original = _materialize_weights(deepcopy(generator).eval().requires_grad_(False))
    folded = deepcopy(original)
    _fold_in_sequentials(folded)
    _replace_batch_norms(folded)
    if examples is not None and not _same_outputs(original, folded, examples):
        folded = original
        _replace_batch_norms(folded)
    return folded.requires_grad_(False)


def _materialize_weights(generator: nn.Module) -> nn.Module:
    """Replaces parametrizations, such as spectral and weight normalisation, by the weights they compute, in place."""
    for module in list(generator.modules()):
        if nn.utils.parametrize.is_parametrized(module):
            values = {name: getattr(module, name).detach() for name in module.parametrizations}  # type: ignore[union-attr]
            # Not remove_parametrizations: it would change the class that the copy shares with the original.
            del module.parametrizations
            module.__class__ = type(module).__bases__[0]
            for name, value in values.items():
                module.register_parameter(name, nn.Parameter(value, requires_grad=False))
        for hook in list(module._forward_pre_hooks.values()):  # torch.nn.utils.spectral_norm and weight_norm
            if isinstance(hook, SpectralNorm):
                nn.utils.remove_spectral_norm(module, hook.name)
            elif isinstance(hook, WeightNorm):
                nn.utils.remove_weight_norm(module, hook.name)
    return generator


def _fold_in_sequentials(generator: nn.Module) -> None:
    """Folds every batch normalisation that directly follows a suitable layer, in place."""
    if isinstance(generator, Generator):  # the outputs of its first layer are ordered [height, width, channel]
        _fold(generator.norm, generator.first, repeats=generator.innermost[0] * generator.innermost[1])
        generator.norm = nn.Identity()
    for sequential in [each for each in generator.modules() if isinstance(each, nn.Sequential)]:
        for previous, name in pairwise(list(sequential._modules)):
            if _fold(sequential._modules[name], sequential._modules[previous]):
                sequential._modules[name] = nn.Identity()


def _replace_batch_norms(generator: nn.Module) -> None:
    """Replaces every remaining batch normalisation by a multiplication and an addition, in place."""
    for parent in list(generator.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, _BATCH_NORMS) and layer.running_mean is not None:
                setattr(parent, name, _ScaleAndShift(layer))


class _ScaleAndShift(nn.Module):
    """A batch normalisation in evaluation mode: x [n, channels, …] · scale + shift."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.scale, self.shift = (nn.Parameter(values) for values in _scale_and_shift(norm))

    def forward(self, x: Tensor) -> Tensor:
        shape = (1, -1, *[1] * (x.dim() - 2))
        return x * self.scale.view(shape) + self.shift.view(shape)


def _fold(norm: nn.Module | None, layer: nn.Module | None, repeats: int = 1) -> bool:
    """Multiplies a batch normalisation into the layer before it; returns whether that was possible.

    Args:
        norm: any module; only a batch normalisation with running statistics can be folded.
        layer: any module; only a linear layer or a convolution can absorb it.
        repeats: the number of consecutive copies of the channels in the layer's outputs.
    """
    if not isinstance(norm, _BATCH_NORMS) or norm.running_mean is None:
        return False
    if not isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        return False
    transposed = isinstance(layer, nn.ConvTranspose2d)
    if transposed and layer.groups != 1:  # its output channels are not one axis of the weight
        return False
    scale, shift = (values.repeat(repeats) for values in _scale_and_shift(norm))
    shape = [1] * layer.weight.dim()
    shape[1 if transposed else 0] = -1
    layer.weight = nn.Parameter(layer.weight * scale.view(shape))
    layer.bias = nn.Parameter(shift if layer.bias is None else layer.bias * scale + shift)
    return True


def _scale_and_shift(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """The factor and the summand, both [channels], of a batch normalisation in evaluation mode."""
    assert isinstance(norm, _BATCH_NORMS) and norm.running_mean is not None and norm.running_var is not None
    scale = torch.rsqrt(norm.running_var + norm.eps) * (1 if norm.weight is None else norm.weight)
    return scale, (0 if norm.bias is None else norm.bias) - norm.running_mean * scale


@torch.no_grad()
def _same_outputs(one: nn.Module, other: nn.Module, examples: tuple[Tensor, ...]) -> bool:
    try:
        return torch.allclose(one(*examples), other(*examples), atol=1e-3)
    except RuntimeError:  # an input shape that a folded layer cannot take
        return False
