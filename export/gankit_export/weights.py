"""Finds a generator's state dict in a file of weights, and loads it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from gankit._errors import ModelError
from gankit_train.compute.files import load_tensors

_COMMON_PREFIXES = {
    *("", "state_dict", "model_state_dict", "generator", "g", "netg", "gen", "model", "module"),
    "_orig_mod",  # of torch.compile
}
"""Parts of prefixes that usually mean the generator, in lower case."""
_MAX_DEPTH = 3
"""How deep dicts in a file are searched; a file may contain itself."""


def load_weights(module: nn.Module, path: Path) -> str:
    """Loads the state dict in a file that fits a module best, in place.

    The file may hold the state dict itself or dicts around it, as checkpoints do, and names may have prefixes such as
    `module.`. If several state dicts fit, one with `ema` in its prefix wins, then one with a common prefix.

    Returns:
        The prefix of the names that were loaded, such as `G_ema.`.

    Raises:
        UsageError: no such file.
        ModelError: the file is damaged, wants to run code, or no state dict or more than one in it fits.
    """
    tensors = dict(_flatten(load_tensors(path)))
    expected = {key: each for key, each in module.state_dict().items() if isinstance(each, Tensor)}
    best, *others = sorted(_prefixes(tensors, expected), key=lambda prefix: _rank(prefix, tensors, expected))
    if mismatches := _mismatches(best, tensors, expected):
        details = "; ".join(f"{kind}: {', '.join(keys[:3])}{', …' * (len(keys) > 3)}" for kind, keys in mismatches)
        hint = "; --init may give other sizes than in training" * ("of another shape" in dict(mismatches))
        raise ModelError(f"{path} does not fit {type(module).__name__}: {details}{hint}")
    if others and _rank(others[0], tensors, expected) == _rank(best, tensors, expected):
        raise ModelError(f"in {path} both {best!r} and {others[0]!r} fit: save one of them in a file of its own")
    module.load_state_dict({key: tensors[best + key] for key in expected if best + key in tensors}, strict=False)
    return best


def _flatten(value: Any, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    """All tensors in nested dicts, by their keys joined with dots."""
    for key, each in value.items() if isinstance(value, Mapping) else ():
        if isinstance(each, Tensor):
            yield f"{prefix}{key}", each
        elif depth < _MAX_DEPTH:
            yield from _flatten(each, f"{prefix}{key}.", depth + 1)


def _prefixes(tensors: dict[str, Tensor], expected: dict[str, Tensor]) -> set[str]:
    """Every prefix after which at least one expected name follows; "" if there is none."""
    starts = {key: [0, *(dot.end() for dot in re.finditer(r"\.", key))] for key in tensors}
    return {key[:start] for key, ends in starts.items() for start in ends if key[start:] in expected} or {""}


def _rank(prefix: str, tensors: dict[str, Tensor], expected: dict[str, Tensor]) -> tuple[int, bool, bool]:
    """The order of preference of a prefix, lowest first: mismatching names, then no `ema` in it, then uncommon."""
    count = sum(len(keys) for _, keys in _mismatches(prefix, tensors, expected))
    uncommon = not set(prefix.lower().split(".")) <= _COMMON_PREFIXES
    return count, not is_ema(prefix), uncommon


def is_ema(prefix: str) -> bool:
    """Whether a prefix names the moving average of the weights, such as `G_ema.`."""
    return re.search(r"(?<![a-z])ema(?![a-z])", prefix.lower()) is not None


def _mismatches(prefix: str, tensors: dict[str, Tensor], expected: dict[str, Tensor]) -> list[tuple[str, list[str]]]:
    """The names under a prefix that do not fit a module, by kind of mismatch; empty if all fit."""
    found = {key.removeprefix(prefix): each for key, each in tensors.items() if key.startswith(prefix)}
    # Old batch normalisations do not count their batches, and inference does not need the count.
    missing = [key for key in expected if key not in found and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in found if key not in expected]
    other_shapes = [
        f"{key} {list(found[key].shape)} for {list(expected[key].shape)}"
        for key in expected
        if key in found and not is_lazy(expected[key]) and found[key].shape != expected[key].shape
    ]
    kinds = [("missing", missing), ("unexpected", unexpected), ("of another shape", other_shapes)]
    return [(kind, keys) for kind, keys in kinds if keys]
