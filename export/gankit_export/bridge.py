"""A generator of anybody's behind the inputs of the contract, and what cannot be put there."""

from __future__ import annotations

import inspect
import math
import re
from contextlib import suppress
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from gankit._errors import ModelError, UsageError, one_line

_TOLERANCE = 1e-4
"""How far outputs that should be equal may differ, for outputs up to 1: about a hundredth of a step of 1/255."""
_N = 5  # the batch of the checks; one of an image is compared with it
_LABEL = re.compile(r"label|class|cond|attr|categor|one_?hot|^[cy]$", re.IGNORECASE)
NAMED_KINDS = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
"""Parameters that can be given by name."""


class Bridged(nn.Module):
    """A generator behind the contract's inputs: z [n, z_dim], label [n, k] or None → images [n, channels, h, w]."""

    size: tuple[int, int, int]
    """Height, width and channels of the images."""

    def __init__(self, module: nn.Module, names: list[str], z_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.module, self.names, self.z_shape, self.blends = module, names, z_shape, False
        self.given = SimpleNamespace()  # for the blends; torch.export forbids tensors here, and copies lists of them

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """z float32 [n, z_dim], label float32 [n, k] or None → float32 [n, channels, height, width]."""
        inputs = [z.clone().view(z.shape[0], *self.z_shape)]  # clones, as a module may write into its input
        if label is not None:
            self.given.label = label
            inputs.append(torch.zeros_like(label[:, 0], dtype=torch.int64) if self.blends else label.clone())
        images: Tensor = self.module(**dict(zip(self.names, inputs, strict=True)))
        self.given.label = None
        return images


class _Blend(nn.Module):
    """In place of an embedding: its rows weighted by the label vector.

    The index that the module passes says only where they go, so it may change its type and shape on the way.
    """

    def __init__(self, weight: Tensor, given: SimpleNamespace) -> None:
        super().__init__()
        self.weight, self.given = weight, given

    def forward(self, index: Tensor) -> Tensor:
        """Index int64 [n] or [n, 1] → float32 [n, width] or [n, 1, width]."""
        rows: Tensor = self.given.label @ self.weight
        return rows.view(*index.shape, self.weight.shape[1])


@torch.no_grad()
def bridge(module: nn.Module, z_dim: int, z_shape: tuple[int, ...] | None, labels: int) -> Bridged:
    """A copy of a generator that takes z as [n, z_dim] and, if there are labels, vectors [n, labels] of them.

    Raises:
        UsageError: z or the labels are not what the module takes.
        ModelError: the module cannot keep the contract: it takes noise maps, draws random numbers, or makes images that
            depend on the rest of the batch, or no images.
    """
    if z_dim < 1:
        raise UsageError(f"--z-dim must be at least 1, not {z_dim}")
    name, shape = type(module).__name__, z_shape or (z_dim,)
    if min(shape) < 1 or math.prod(shape) != z_dim:
        raise UsageError(f"--z-shape {_commas(shape)} has {math.prod(shape)} numbers, but z has {z_dim}")
    try:
        copy = deepcopy(module.module if isinstance(module, nn.DataParallel) else module).cpu().float()
    except Exception as error:
        raise ModelError(f"{name} cannot be copied: {one_line(error)}") from error
    bridged = Bridged(copy, _inputs(copy, labels), shape).eval().requires_grad_(False)
    source = torch.Generator().manual_seed(0)
    z, eye = torch.randn(_N, z_dim, generator=source), torch.eye(labels)
    label = eye[torch.arange(_N) % labels] if labels else None
    with torch.random.fork_rng(devices=[]):
        indexed = deepcopy(bridged)
        bridged.blends = labels > 0 and _blend(bridged, z, labels)
        bridged.size = _check(bridged, name, z, label)
        for some in torch.split(torch.arange(labels), _N) if bridged.blends else ():
            if _off(indexed(z[: len(some)], some), bridged(z[: len(some)], eye[some])) > _TOLERANCE:
                raise ModelError(f"{name} uses integer labels otherwise than by looking them up in an nn.Embedding")
    return bridged


def _inputs(module: nn.Module, labels: int) -> list[str]:
    """What `forward` calls z and, if there are labels, the label."""
    name, parameters = f"{type(module).__name__}.forward", inspect.signature(module.forward).parameters.values()
    every = [each.name for each in parameters if each.kind in NAMED_KINDS]
    needed = [each.name for each in parameters if each.kind in NAMED_KINDS and each.default is each.empty]
    found = [each for each in every if _LABEL.search(each)] if len(every) > 1 else []
    if labels and not found and len(needed) == 2 and "noise" not in needed[1]:
        found = needed[1:]
    if labels and not found:
        raise UsageError(f"{name}({', '.join(every)}) takes no labels: leave --labels out")
    if not labels and (asked := [each for each in found if each in needed]):
        raise UsageError(f"{name} needs {asked[0]}: name the labels, in their order, with --labels a,b,c")
    label = found[:1] if labels else []
    z, *others = [each for each in needed or every if each not in label] or [""]
    if not z or others:
        wanted = f"needs {' and '.join(others)} beside {z}" if z else "takes no z"
        raise ModelError(f"{name} {wanted}: a generator takes z and a label at most, and no noise maps")
    return [z, *label]


def _blend(bridged: Bridged, z: Tensor, labels: int) -> bool:
    """Replaces the embeddings that labels are looked up in; whether there are any."""
    index = torch.arange(_N).flip(0) % labels  # not ascending, as positions would be
    fed = set()

    def look(embedding: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if inputs[0].flatten().tolist() == index.tolist():
            fed.add(embedding)

    hooks = [each.register_forward_pre_hook(look) for each in bridged.modules() if isinstance(each, nn.Embedding)]
    with suppress(Exception):  # a wrong z fails again in the check, and is told there
        bridged(z, index)
    for hook in hooks:
        hook.remove()
    for parent in list(bridged.modules()):
        for key, child in list(parent._modules.items()):
            if child in fed and isinstance(child, nn.Embedding):
                if child.num_embeddings != labels:
                    raise UsageError(f"--labels has {labels} names, but the generator knows {child.num_embeddings}")
                setattr(parent, key, _Blend(child.weight, bridged.given))
    return bool(fed)


def _check(bridged: Bridged, name: str, z: Tensor, label: Tensor | None) -> tuple[int, int, int]:
    """Runs a generator several times; the height, width and channels of its images. Errors as for `bridge`."""
    try:
        images: Any = bridged(z, label)
    except Exception as error:
        given = f"z [n, {_commas(bridged.z_shape)}]" + ("" if label is None else f" and label [n, {label.shape[1]}]")
        works = f"; --z-shape {_commas(shape)} works" if (shape := _working(bridged, z, label)) else ""
        raise UsageError(f"{name}.forward fails on {given}: {one_line(error)}{works}") from error
    made = f"{images.dtype} {list(images.shape)}" if isinstance(images, Tensor) else type(images).__name__
    if not re.fullmatch(rf"torch.float32 \[{_N}, [13], \d+, \d+\]", made):
        raise ModelError(f"{name} makes {made}, where float32 images [{_N}, 1 or 3, height, width] are due")
    if not images.isfinite().all():
        raise ModelError(f"{name} makes NaN or infinite pixels")
    torch.default_generator.manual_seed(1)
    state = torch.get_rng_state()
    if _off(images, bridged(z, label)) > _TOLERANCE or not torch.equal(state, torch.get_rng_state()):
        raise ModelError(
            f"{name}.forward uses random operations, or keeps state: the same z must always make the same image"
        )
    for i in range(_N):
        try:
            off = _off(images[i : i + 1], bridged(z[i : i + 1], None if label is None else label[i : i + 1]))
        except Exception as error:
            raise ModelError(f"{name} needs more than one image in a batch: {one_line(error)}") from error
        if off > _TOLERANCE:
            raise ModelError(
                f"{name} makes images that depend on the rest of the batch: alone, one differs by {off:.2g} of the "
                f"largest value, where {_TOLERANCE} is tolerated"
            )
    return images.shape[2], images.shape[3], images.shape[1]


def _working(bridged: Bridged, z: Tensor, label: Tensor | None) -> tuple[int, ...] | None:
    """A usual z shape with which a generator runs, if there is one."""
    other = deepcopy(bridged)
    for other.z_shape in ((z.shape[1],), (z.shape[1], 1, 1)):
        with suppress(Exception):
            other(z, label)
            return other.z_shape
    return None


def _off(one: Tensor, other: Tensor) -> float:
    """The largest difference of two outputs, as a share of the larger of 1 and the largest value."""
    if one.shape != other.shape:
        return math.inf
    return float((one - other).abs().max() / one.abs().max().clamp(min=1))


def _commas(shape: tuple[int, ...]) -> str:
    return ",".join(map(str, shape))
