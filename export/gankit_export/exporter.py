"""A checkpoint in, verified files out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import nn

import gankit
from gankit.card import Card
from gankit.errors import GankitError, UsageError, missing_extra
from gankit.files import written_whole
from gankit_export.formats import FORMATS, Format
from gankit_export.graph import ImageGraph
from gankit_export.verify import verify
from gankit_train import checkpoints


@dataclass(frozen=True)
class Exported:
    """A file that was written and proved."""

    format: str
    path: Path
    size: int
    """Bytes."""
    verification: dict[str, Any]


def export(
    source: Path | None = None,
    formats: Sequence[str] = tuple(FORMATS),
    folder: Path | None = None,
    name: str | None = None,
    ema: bool = True,
) -> list[Exported]:
    """Writes `folder/NAME.onnx` and `folder/NAME.ts` of a checkpoint, each one only if it computes the same.

    Args:
        source: a checkpoint or a run folder, of which the newest checkpoint is taken; None takes the newest run.
        formats: names out of `FORMATS`.
        folder: None writes into the run folder.
        name: None takes the run folder's name.
        ema: the averaged weights, or the raw ones.

    Raises:
        UsageError: nothing to export there.
        ModelError: the checkpoint is damaged.
        GankitError: the file computes something else than the network, or cannot be written. No file is left.
    """
    checkpoint = find_checkpoint(source)
    header, document = checkpoints.read(checkpoint)
    network = checkpoints.generator(header, document, ema)
    run = checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent
    name = name or run.resolve().name
    height, width, channels = header.shape
    card = Card(
        name,
        height,
        width,
        channels,
        header.config.z_dim,
        header.labels,
        variant=header.config.variant,
        data=header.data,
        images_seen=header.images,
        ema=ema,
        checkpoint_sha256=checkpoints.sha256(checkpoint),
    )
    folder = folder or run
    value_range = header.config.value_range
    return [
        write(FORMATS[each], network, card, folder / f"{name}{FORMATS[each].suffix}", value_range) for each in formats
    ]


def write(
    form: Format, network: nn.Module, card: Card, path: Path, value_range: tuple[float, float] = (-1.0, 1.0)
) -> Exported:
    """Builds one file, proves it, and only then lets it have its name. Errors as for `export`."""
    if any(find_spec(package) is None for package in form.needs):
        raise missing_extra(f"exporting to {form.name}", "export,cpu", "export,gpu")
    versions = {name: version(name) for name in ("torch", *form.needs) if name != "onnxruntime"}
    card = replace(card, opset=form.opset, versions={"gankit": gankit.__version__, **versions})
    graph = ImageGraph(network, value_range)
    with written_whole(path, durable=True) as temporary:
        artefact = form.build(graph, card)
        form.save(artefact, card, temporary)
        try:
            card = replace(card, verification=verify(form.open(temporary)[1], network, card, value_range))
        except GankitError as error:
            raise GankitError(f"{path} was not written: {error}") from error
        form.save(artefact, card, temporary)
        if form.open(temporary)[0] != card:
            raise GankitError(f"{path} was not written: its card does not read back as it was written")
        size = temporary.stat().st_size
    return Exported(form.name, path, size, card.verification)


def find_checkpoint(source: Path | None) -> Path:
    """The checkpoint that a command line means: a file, the newest of a run, or the newest of all runs."""
    if source is None:
        every = list(Path("runs").glob("*/checkpoints/[0-9]*.pt"))
        if not every:
            raise UsageError("there is no run under runs/ to export; train one with gan-train, or give its path")
        return max(every, key=lambda path: path.stat().st_mtime)
    if source.is_dir():
        return checkpoints.newest(source)
    if not source.exists():
        raise UsageError(f"there is no run and no checkpoint at {source}")
    return source
