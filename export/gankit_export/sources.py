"""Loads the generator to export: from a checkpoint, from a user's Python file, or a module in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from gankit._card import Card
from gankit._errors import UsageError
from gankit._labels import Labels
from gankit_export.adapter import adapt
from gankit_export.user_module import load_user_module
from gankit_export.weights import is_ema
from gankit_train.compute.files import sha256
from gankit_train.models import checkpoints


@dataclass(frozen=True)
class Source:
    """A generator to export."""

    network: nn.Module
    """z float32 [n, z_dim] and label float32 [n, k] or None → images float32 [n, channels, height, width]."""
    card: Card
    """What is known before the export. Output, precision, rewrite, opset, versions and verification come later."""
    value_range: tuple[float, float]
    """The network's values for black and white."""


def find_checkpoint(source: Path | None) -> Path:
    """The checkpoint to export.

    Args:
        source: a checkpoint, or a run folder for its newest checkpoint. None: the newest checkpoint under `runs/`.

    Raises:
        UsageError: no such file or folder, or no run under `runs/`.
        GankitError: the run has no checkpoint yet.
    """
    if source is None:
        every = list(Path("runs").glob("*/checkpoints/[0-9]*.pt"))
        if not every:
            raise UsageError("there is no run under runs/ to export: train one with gan-train, or give its path")
        return max(every, key=lambda path: path.stat().st_mtime)
    if source.is_dir():
        return checkpoints.newest_checkpoint(source)
    if not source.exists():
        raise UsageError(f"there is no run and no checkpoint at {source}")
    return source


def run_folder(checkpoint: Path) -> Path:
    """The run folder of a checkpoint; for a checkpoint outside of a run, the folder that it is in."""
    return checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent


def load_checkpoint(path: Path, name: str | None = None, *, ema: bool = True) -> Source:
    """The generator in a checkpoint of gan-train.

    Args:
        path: the checkpoint.
        name: the name for the card; None takes the name of the run folder.
        ema: whether to take the moving average of the weights, or the weights of the last training step.

    Raises:
        ModelError: the file is damaged or no checkpoint.
    """
    info, document = checkpoints.load_checkpoint(path)
    card = replace(info.card(name or run_folder(path).resolve().name, ema), checkpoint_sha256=sha256(path))
    return Source(checkpoints.load_generator(info, document, ema), card, info.config.networks.value_range)


def load_user_generator(
    spec: str,
    weights: Path | None,
    init: dict[str, Any],
    *,
    z_dim: int,
    z_shape: tuple[int, ...] | None,
    labels: Sequence[str],
    value_range: tuple[float, float],
    name: str | None = None,
) -> Source:
    """A generator class in a user's Python file, with trained weights.

    Args:
        spec: `path/to/file.py:Class`.
        weights: the file with its state dict.
        init: the constructor's arguments and the file's globals, by name; see `load_user_module`.
        z_dim: the latent size.
        z_shape: the shape in which the generator takes z; None means (z_dim,).
        labels: the names of its classes, in their order, all equally frequent; empty for an unconditional generator.
        value_range: its values for black and white.
        name: the name for the card; None takes the file's name.

    Raises:
        UsageError, ModelError: see `load_user_module` and `adapt`.
    """
    if len(set(labels)) != len(labels):
        raise UsageError(f"--labels must be different names, not {','.join(labels)}")
    module, prefix = load_user_module(spec, weights, init)
    network = adapt(module, z_dim, z_shape, len(labels))
    k = len(labels)
    classes = Labels(tuple(labels), "classes", (1 / k,) * k, (tuple(range(k)),)) if labels else None
    card = Card(
        name or Path(spec.rpartition(":")[0]).stem,
        *network.size,
        z_dim,
        classes,
        ema=is_ema(prefix),
        checkpoint_sha256=sha256(weights) if weights else "",
    )
    return Source(network, card, value_range)


def adapt_module(
    module: nn.Module, card: Card, *, z_shape: tuple[int, ...] | None, value_range: tuple[float, float]
) -> Source:
    """A module in memory, with the card that its owner wrote. Errors as in `adapt`.

    Raises:
        UsageError: the module makes images of another size than the card says.
    """
    network = adapt(module, card.z_dim, z_shape, len(card.labels.names) if card.labels else 0)
    if network.size != (size := (card.height, card.width, card.channels)):
        raise UsageError(
            f"the module makes images of (height, width, channels) {network.size}, but the card says {size}"
        )
    return Source(network, card, value_range)
