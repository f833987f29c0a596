"""A checkpoint or anybody's generator in, verified files out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import gankit
from gankit._card import Card
from gankit._errors import DeviceError, GankitError, ModelError, UsageError, missing_extra, one_line
from gankit._files import atomic_write
from gankit._labels import Labels
from gankit_export.bridge import bridge
from gankit_export.formats import FORMATS, Format
from gankit_export.graph import PLAIN, ImageGraph, Recipe
from gankit_export.outside import load
from gankit_export.verify import Reference, cases, verify
from gankit_train.compute.files import sha256
from gankit_train.models import checkpoints


@dataclass(frozen=True)
class Exported:
    """A file that was written and proved."""

    format: str
    path: Path
    size: int
    """Bytes."""
    proofs: list[dict[str, Any]]
    """What `verify` measured on each device that is there, the CPU first."""


def export_run(
    source: Path | None = None,
    formats: Sequence[str] = ("onnx", "torchscript"),
    folder: Path | None = None,
    name: str | None = None,
    ema: bool = True,
    recipe: Recipe = PLAIN,
) -> Iterator[Exported]:
    """Writes `folder/NAME.onnx` and so on from a checkpoint, each only if it computes the same.

    Args:
        source: a checkpoint or a run folder, of which the newest checkpoint is taken; None takes the newest run.
        formats: names out of `FORMATS`.
        folder: None writes into the run folder.
        name: None takes the run folder's name.
        ema: the averaged weights, or the raw ones.
        recipe: how the graph is written.

    Yields:
        Each file when it is there.

    Raises:
        UsageError: nothing to export there.
        ModelError: the checkpoint is damaged.
        GankitError: the file computes something else than the network, or cannot be written. No file is left.
    """
    checkpoint = find_checkpoint(source)
    header, document = checkpoints.load_checkpoint(checkpoint)
    network = checkpoints.load_generator(header, document, ema)
    run = checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent
    height, width, channels = header.shape
    card = Card(
        name or run.resolve().name,
        height,
        width,
        channels,
        header.config.networks.z_dim,
        header.labels,
        variant=header.config.variant,
        data=header.data,
        fingerprint=header.fingerprint,
        images_seen=header.images,
        ema=ema,
        checkpoint_sha256=sha256(checkpoint),
    )
    if unknown := set(formats) - set(FORMATS):
        raise UsageError(f"there is no format {min(unknown)!r}; there are {', '.join(FORMATS)}")
    paths = [(folder or run) / f"{card.name}{FORMATS[each].suffix}" for each in formats]
    yield from _export(network, card, paths, header.config.networks.value_range, recipe)


def export_own(
    source: str,
    weights: Path | None,
    init: dict[str, Any],
    z_dim: int,
    z_shape: tuple[int, ...] | None,
    labels: tuple[str, ...],
    value_range: tuple[float, float],
    formats: Sequence[str],
    folder: Path,
    name: str | None,
    recipe: Recipe,
) -> Iterator[Exported]:
    """Writes the generator `FILE.py:CLASS` with these weights; see `export` and `gankit_export.outside.load`.

    Labels are taken as classes, each as frequent as the others.
    """
    if len(set(labels)) != len(labels):
        raise UsageError(f"--labels must differ from each other, not {','.join(labels)}")
    module, chosen = load(source, weights, init)
    network = bridge(module, z_dim, z_shape, len(labels))
    classes = (
        Labels(labels, "classes", (1 / len(labels),) * len(labels), (tuple(range(len(labels))),)) if labels else None
    )
    name = name or Path(source.rsplit(":", 1)[0]).stem
    digest = sha256(weights) if weights else ""
    card = Card(name, *network.size, z_dim, classes, ema="ema" in chosen.lower(), checkpoint_sha256=digest)
    yield from _export(network, card, [folder / f"{name}{FORMATS[f].suffix}" for f in formats], value_range, recipe)


def export(
    module: nn.Module,
    card: Card,
    path: Path | str,
    z_shape: tuple[int, ...] | None = None,
    value_range: tuple[float, float] = (-1.0, 1.0),
    recipe: Recipe = PLAIN,
) -> Exported:
    """Writes anybody's generator as one file, only if it computes the same.

    >>> card = gankit.Card("faces", 64, 64, 3, z_dim=100)
    >>> gankit_export.export(generator, card, "faces.onnx", z_shape=(100, 1, 1))

    Args:
        module: takes z [n, *z_shape] and, with labels, a label: float [n, k], or int [n] for an embedding.
        card: what the file is to say; output, precision, opset, rewrite, versions and proof are filled in.
        path: its suffix chooses the format.
        z_shape: how the module takes z; None takes [n, z_dim].
        value_range: what the module makes of black and white.
        recipe: how the graph is written.

    Raises:
        UsageError: no such format, or shapes that do not fit.
        ModelError: a module that cannot follow the contract, see `gankit_export.bridge.bridge`.
        GankitError: the file computes something else than the module, or cannot be written. No file is left.
    """
    path = Path(path)
    if path.suffix not in (suffixes := [form.suffix for form in FORMATS.values()]):
        raise UsageError(f"{path} has no suffix of a format; there are {', '.join(suffixes)}")
    network = bridge(module, card.z_dim, z_shape, len(card.labels.names) if card.labels else 0)
    if network.size != (size := (card.height, card.width, card.channels)):
        raise UsageError(f"the module makes images of (height, width, channels) {network.size}, the card says {size}")
    return next(_export(network, card, [path], value_range, recipe))


def _export(
    network: nn.Module, card: Card, paths: Sequence[Path], value_range: tuple[float, float], recipe: Recipe
) -> Iterator[Exported]:
    if not card.has_file_name:
        raise UsageError(f"the name becomes part of a file's name, so it cannot be {card.name!r}")
    case = next(case for case in cases(card) if len(case.z) > 1)
    examples = tuple(torch.from_numpy(values) for values in (case.z, case.label) if values is not None)
    forms = [next(form for form in FORMATS.values() if form.suffix == path.suffix) for path in paths]
    # PyTorch itself was slower with what is quicker in ONNX Runtime or OpenVINO.
    recipes = [recipe if form.name == "onnx" or recipe.strict else replace(recipe, rewrite="plain") for form in forms]
    try:
        graphs = [ImageGraph(network, value_range, each, examples) for each in recipes]
        reference = Reference(network, card, value_range)
    except (RuntimeError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(f"{card.name} is no module that can be exported: {one_line(error)}") from error
    _refuse_range(reference, value_range)
    card = replace(card, output=recipe.output, precision=recipe.precision)
    for form, graph, path in zip(forms, graphs, paths, strict=True):
        yield write(form, graph, reference, replace(card, rewrite=graph.recipe.rewrite), path)


def write(form: Format, graph: ImageGraph, reference: Reference, card: Card, path: Path) -> Exported:
    """Builds one file, proves it, and only then lets it have its name. Errors as for `export`."""
    if any(find_spec(package) is None for package in form.needs):
        raise missing_extra(f"exporting to {form.name}", "export,cpu", "export,gpu")
    versions = {name: import_module(name).__version__ for name in ("torch", *form.needs)}
    opset = graph.recipe.opset if form.name == "onnx" else 0
    card = replace(card, opset=opset, versions={"gankit": gankit.__version__, **versions})
    with atomic_write(path, durable=True) as temporary:
        try:
            artefact = form.build(graph, card)
        except Exception as error:  # PyTorch's exporters raise dozens of kinds
            raise ModelError(f"{path} was not written: {form.name} cannot express this: {one_line(error)}") from error
        form.save(artefact, card, temporary)
        try:
            proofs = _prove(form, temporary, reference, card)
            against = f"the network in {reference.precision} on the CPU"
            card = replace(card, verification={"against": against, "measured": proofs})
            form.save(artefact, card, temporary)
            # What gets the name is what is proved: the same once more, now that the card is in it.
            found, run = form.open(temporary, "cpu")
            verify(run, reference, card, timed=False)
        except GankitError as error:
            raise GankitError(f"{path} was not written: {error}") from error
        if found != card:
            raise GankitError(f"{path} was not written: its card does not read back as it was written")
        size = temporary.stat().st_size
    return Exported(form.name, path, size, proofs)


def _prove(form: Format, path: Path, reference: Reference, card: Card) -> list[dict[str, Any]]:
    """What `verify` measures on the CPU and, where there is a GPU, on CUDA."""
    proofs = [verify(form.open(path, "cpu")[1], reference, card)]
    try:
        run = form.open(path, "cuda")[1]
    except DeviceError as error:
        # Without a GPU that is as it should be; beside one the table and the card say why there is no proof on it.
        return proofs + ([{"device": "cuda", "not_run": str(error)}] if torch.cuda.is_available() else [])
    return [*proofs, verify(run, reference, card, "cuda")]


def _refuse_range(reference: Reference, value_range: tuple[float, float]) -> None:
    """Raises UsageError where most of what the network makes would be cut off as brighter or darker than it can be."""
    values = np.concatenate([part.ravel() for part in reference.steps])
    if (outside := float(((values < -10) | (values > 265)).mean())) > 0.2:
        low, high = value_range
        least, most = (low + (high - low) * float(v - 0.5) / 255 for v in (values.min(), values.max()))
        raise UsageError(
            f"{outside:.0%} of the pixels lie outside the value range {low:g},{high:g}: they run from {least:.3g} to "
            f"{most:.3g}; give that range with --value-range"
        )


def find_checkpoint(source: Path | None) -> Path:
    """The checkpoint that a command line means: a file, the newest of a run, or the newest of all runs."""
    if source is None:
        every = list(Path("runs").glob("*/checkpoints/[0-9]*.pt"))
        if not every:
            raise UsageError("there is no run under runs/ to export; train one with gan-train, or give its path")
        return max(every, key=lambda path: path.stat().st_mtime)
    if source.is_dir():
        return checkpoints.newest_checkpoint(source)
    if not source.exists():
        raise UsageError(f"there is no run and no checkpoint at {source}")
    return source
