"""Adapts a generator that gankit did not train to the inputs of the contract, or says why that is not possible."""

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
"""Largest difference between outputs that count as equal, for outputs up to 1: about a hundredth of a grey level."""
_BATCH = 5
"""Images in the batch that the checks run the generator on."""
_LABEL_NAMES = re.compile(r"label|class|cond|attr|categor|one_?hot|^[cy]$", re.IGNORECASE)
"""Parameter names of `forward` that usually mean the label."""
KEYWORD_KINDS = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
"""Kinds of parameters that can be passed by keyword."""


class ContractAdapter(nn.Module):
    """A generator with the inputs of the contract: z [n, z_dim], label [n, k] or None → images [n, channels, h, w].

    It reshapes z, passes the inputs under the names that the generator's `forward` has for them, and lets label vectors
    take the place of integer labels.
    """

    size: tuple[int, int, int]
    """Height, width and channels of the images."""

    def __init__(self, module: nn.Module, names: list[str], z_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.module, self.names, self.z_shape = module, names, z_shape
        self.takes_integer_labels = False
        # The label of the call in progress, for _LabelEmbedding. An object of its own, as torch.export does not allow
        # a tensor to be assigned to a module's attribute, and copies lists and dicts.
        self.current = SimpleNamespace(label=None)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """z float32 [n, z_dim], label float32 [n, k] or None → float32 [n, channels, height, width]."""
        inputs = [z.clone().view(z.shape[0], *self.z_shape)]  # clones, as the module may write into its inputs
        if label is not None:
            self.current.label = label
            if self.takes_integer_labels:  # _LabelEmbedding ignores the integers
                inputs.append(torch.zeros_like(label[:, 0], dtype=torch.int64))
            else:
                inputs.append(label.clone())
        images: Tensor = self.module(**dict(zip(self.names, inputs, strict=True)))
        self.current.label = None
        return images


class _LabelEmbedding(nn.Module):
    """Replaces an `nn.Embedding` of integer labels: the mean of its rows, weighted by the current label vector.

    The integers that the module passes are ignored, except for their shape.
    """

    def __init__(self, weight: Tensor, current: SimpleNamespace) -> None:
        super().__init__()
        self.weight, self.current = weight, current

    def forward(self, index: Tensor) -> Tensor:
        """Index int64 [n] or [n, 1] → float32 [n, width] or [n, 1, width]."""
        rows: Tensor = self.current.label @ self.weight
        return rows.view(*index.shape, self.weight.shape[1])


@torch.no_grad()
def adapt(module: nn.Module, z_dim: int, z_shape: tuple[int, ...] | None, label_count: int) -> ContractAdapter:
    """A copy of a generator, on the CPU in float32, with the inputs of the contract.

    Args:
        module: takes z [n, *z_shape] and, if `label_count` is not 0, a label: float32 [n, label_count], or int64 [n]
            that it looks up in an `nn.Embedding`. It stays as it is.
        z_dim: the latent size.
        z_shape: the shape in which the module takes z; None means (z_dim,).
        label_count: the number of labels; 0 for an unconditional generator.

    Raises:
        UsageError: z or the labels do not fit the module's `forward`.
        ModelError: the module cannot keep the contract: it takes noise maps, uses random operations, makes images that
            depend on the rest of the batch, or makes no images.
    """
    if z_dim < 1:
        raise UsageError(f"--z-dim must be at least 1, not {z_dim}")
    name, shape = type(module).__name__, z_shape or (z_dim,)
    if min(shape) < 1 or math.prod(shape) != z_dim:
        raise UsageError(f"--z-shape {_joined(shape)} has {math.prod(shape)} numbers, but --z-dim is {z_dim}")
    try:
        copy = deepcopy(module.module if isinstance(module, nn.DataParallel) else module).cpu().float()
    except Exception as error:
        raise ModelError(f"{name} cannot be copied: {one_line(error)}") from error
    adapter = ContractAdapter(copy, _input_names(copy, label_count), shape).eval().requires_grad_(False)
    z = torch.randn(_BATCH, z_dim, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng(devices=[]):  # the module is on the CPU: CUDA's generator is not touched
        original = deepcopy(adapter)
        if label_count:
            adapter.takes_integer_labels = _replace_label_embeddings(adapter, z, label_count)
        label = torch.eye(label_count)[torch.arange(_BATCH) % label_count] if label_count else None
        adapter.size = _check_contract(adapter, name, z, label)
        if adapter.takes_integer_labels:
            _check_integer_labels(original, adapter, name, z, label_count)
    return adapter


def _input_names(module: nn.Module, label_count: int) -> list[str]:
    """The names of z and, if there are labels, of the label among the parameters of `forward`."""
    signature = inspect.signature(module.forward)
    parameters = [each for each in signature.parameters.values() if each.kind in KEYWORD_KINDS]
    call = f"{type(module).__name__}.forward"
    names = [each.name for each in parameters]
    required = [each.name for each in parameters if each.default is each.empty]
    labels = [each for each in names if _LABEL_NAMES.search(each)] if len(names) > 1 else []
    if label_count and not labels and len(required) == 2 and "noise" not in required[1]:
        labels = required[1:]
    if label_count and not labels:
        raise UsageError(f"{call}({', '.join(names)}) takes no labels: leave out --labels")
    if not label_count and (required_labels := [each for each in labels if each in required]):
        raise UsageError(f"{call} needs {required_labels[0]}: name the labels, in their order, with --labels a,b,c")
    label = labels[:1] if label_count else []
    z, *others = [each for each in required or names if each not in label] or [""]
    if not z or others:
        problem = f"needs {' and '.join(others)} beside {z}" if z else "takes no z"
        raise ModelError(f"{call} {problem}: a generator may take z and a label, but no noise maps")
    return [z, *label]


def _replace_label_embeddings(adapter: ContractAdapter, z: Tensor, label_count: int) -> bool:
    """Replaces the embeddings that integer labels are looked up in; returns whether there are any."""
    index = torch.arange(_BATCH).flip(0) % label_count  # descending, to differ from an embedding of positions
    looked_up = set()

    def record_lookup(embedding: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if inputs[0].flatten().tolist() == index.tolist():
            looked_up.add(embedding)

    embeddings = [each for each in adapter.modules() if isinstance(each, nn.Embedding)]
    hooks = [each.register_forward_pre_hook(record_lookup) for each in embeddings]
    with suppress(Exception):  # a wrong z fails again in _check_contract, which reports it
        adapter(z, index)
    for hook in hooks:
        hook.remove()
    for parent in list(adapter.modules()):
        for name, child in list(parent._modules.items()):
            if child in looked_up and isinstance(child, nn.Embedding):
                if child.num_embeddings != label_count:
                    raise UsageError(
                        f"--labels has {label_count} names, but the generator has {child.num_embeddings} labels"
                    )
                setattr(parent, name, _LabelEmbedding(child.weight, adapter.current))
    return bool(looked_up)


def _check_contract(adapter: ContractAdapter, name: str, z: Tensor, label: Tensor | None) -> tuple[int, int, int]:
    """Runs a generator several times; returns the height, width and channels of its images.

    Raises:
        UsageError: the generator fails on such inputs.
        ModelError: it breaks the contract; see `adapt`.
    """
    try:
        images: Any = adapter(z, label)
    except Exception as error:
        inputs = f"z [n, {_joined(adapter.z_shape)}]" + ("" if label is None else f" and label [n, {label.shape[1]}]")
        shape = _working_z_shape(adapter, z, label)
        remedy = f"; --z-shape {_joined(shape)} works" if shape else ""
        raise UsageError(f"{name}.forward fails on {inputs}: {one_line(error)}{remedy}") from error
    found = f"{images.dtype} {list(images.shape)}" if isinstance(images, Tensor) else type(images).__name__
    if not re.fullmatch(rf"torch.float32 \[{_BATCH}, [13], \d+, \d+\]", found):
        raise ModelError(f"{name} makes {found} instead of float32 images [{_BATCH}, 1 or 3, height, width]")
    if not images.isfinite().all():
        raise ModelError(f"{name} makes NaN or infinite pixels")
    _check_deterministic(adapter, name, z, label, images)
    _check_independent_of_batch(adapter, name, z, label, images)
    return images.shape[2], images.shape[3], images.shape[1]


def _check_deterministic(adapter: ContractAdapter, name: str, z: Tensor, label: Tensor | None, images: Tensor) -> None:
    # From another state of the random generator than the first run, in case the module seeds it itself. Not by
    # torch.manual_seed, which would seed CUDA's generators too.
    state = torch.Generator().manual_seed(1).get_state()
    torch.set_rng_state(state)
    if _difference(images, adapter(z, label)) > _TOLERANCE or not torch.equal(state, torch.get_rng_state()):
        raise ModelError(
            f"{name}.forward uses random operations or keeps state: the same z must always make the same image"
        )


def _check_independent_of_batch(
    adapter: ContractAdapter, name: str, z: Tensor, label: Tensor | None, images: Tensor
) -> None:
    for i in range(_BATCH):
        one = slice(i, i + 1)
        try:
            difference = _difference(images[one], adapter(z[one], None if label is None else label[one]))
        except Exception as error:
            raise ModelError(f"{name} needs more than one image in a batch: {one_line(error)}") from error
        if difference > _TOLERANCE:
            raise ModelError(
                f"{name} makes images that depend on the rest of the batch: computed alone, an image differs by "
                f"{difference:.2g} of the largest value, more than {_TOLERANCE}"
            )


def _check_integer_labels(
    original: ContractAdapter, adapter: ContractAdapter, name: str, z: Tensor, label_count: int
) -> None:
    """Raises ModelError if one-hot vectors do not make the images that integer labels made originally."""
    for index in torch.split(torch.arange(label_count), _BATCH):
        some = z[: len(index)]
        if _difference(original(some, index), adapter(some, torch.eye(label_count)[index])) > _TOLERANCE:
            raise ModelError(f"{name} uses integer labels for more than looking them up in an nn.Embedding")


def _working_z_shape(adapter: ContractAdapter, z: Tensor, label: Tensor | None) -> tuple[int, ...] | None:
    """A common z shape on which a generator runs, or None."""
    candidate = deepcopy(adapter)
    for candidate.z_shape in ((z.shape[1],), (z.shape[1], 1, 1)):
        with suppress(Exception):
            candidate(z, label)
            return candidate.z_shape
    return None


def _difference(one: Tensor, other: Tensor) -> float:
    """The largest difference of two outputs, relative to the largest value if that exceeds 1; inf for other shapes."""
    if one.shape != other.shape:
        return math.inf
    return float((one - other).abs().max() / one.abs().max().clamp(min=1))


def _joined(shape: tuple[int, ...]) -> str:
    return ",".join(map(str, shape))
