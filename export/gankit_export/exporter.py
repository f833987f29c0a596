"""Exports a generator: build the graph, write the file, verify it, and only then give the file its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import gankit
from gankit._card import Card
from gankit._errors import DeviceError, GankitError, ModelError, UsageError, missing_extra, one_line
from gankit._files import atomic_write
from gankit_export.conv_transpose import find_rewritable
from gankit_export.formats import FORMATS, Format
from gankit_export.graph import ImageGraph
from gankit_export.options import ExportOptions, FormatName, Rewrite, check_choice, default_formats
from gankit_export.sources import Source, adapt_module, find_checkpoint, load_checkpoint, run_folder
from gankit_export.verify import Reference, VerificationResult, verification_cases, verify
from gankit_train.reporter import Reporter

_DEFAULT_OPTIONS = ExportOptions()
_STEPS_PER_FILE = 3


@dataclass(frozen=True)
class ExportedFile:
    """A file that was written and verified."""

    format: FormatName
    path: Path
    size: int
    """In bytes."""
    verification: tuple[VerificationResult, ...]
    """How far the file's images are from the network's: on the CPU first, then on CUDA if it is available."""
    not_verified: dict[str, str]
    """Devices of this machine that the file could not be verified on, with the reason."""


def export(
    module: nn.Module,
    card: Card,
    path: Path | str,
    *,
    z_shape: tuple[int, ...] | None = None,
    value_range: tuple[float, float] = (-1.0, 1.0),
    options: ExportOptions = _DEFAULT_OPTIONS,
) -> ExportedFile:
    """Exports a module as one file, and verifies it.

    >>> card = gankit.Card("faces", 64, 64, 3, z_dim=100)
    >>> gankit_export.export(generator, card, "faces.onnx", z_shape=(100, 1, 1))

    Args:
        module: takes z float32 [n, *z_shape] and, if the card has labels, a label: float32 [n, k], or int64 [n] that it
            looks up in an `nn.Embedding`. Makes images float32 [n, channels, height, width]. It stays as it is.
        card: what the file should say: at least its name, image size, z_dim and labels. The export fills in output,
            precision, rewrite, opset, versions and verification.
        path: the file to write. Its suffix decides the format: `.onnx`, `.ts` (TorchScript) or `.pt2`.
        z_shape: the shape in which the module takes z; None means (z_dim,).
        value_range: the module's values for black and white: (-1, 1) after tanh, (0, 1) after sigmoid.
        options: precision, rewrite, output and opset.

    Raises:
        UsageError: an unknown suffix, or shapes, labels or a value range that do not fit the module.
        ModelError: the module cannot be exported, for example because it draws random numbers.
        GankitError: verification failed, or the file cannot be written. No file is left.
    """
    path = Path(path)
    find_format(path)  # before the module is run
    source = adapt_module(module, card, z_shape=z_shape, value_range=value_range)
    return next(export_files(source, [path], options))


def export_run(
    source: Path | str | None = None,
    *,
    formats: Sequence[FormatName] | None = None,
    out: Path | str | None = None,
    name: str | None = None,
    ema: bool = True,
    options: ExportOptions = _DEFAULT_OPTIONS,
) -> list[ExportedFile]:
    """Exports the generator of a run of gan-train in one or more formats, and verifies every file.

    Args:
        source: a run folder, whose newest checkpoint is taken, or a checkpoint. None: the newest run under `runs/`.
        formats: `onnx`, `torchscript` or `pt2`. None: ONNX and TorchScript; ONNX alone on Python 3.14 and newer, where
            PyTorch does not support TorchScript.
        out: the folder to write to; None writes to the run folder.
        name: the name of the files, without suffix; None takes the run folder's name.
        ema: whether to export the moving average of the weights, or the weights of the last training step.
        options: precision, rewrite, output and opset.

    Raises:
        UsageError: no such run or format.
        ModelError: the checkpoint is damaged.
        GankitError: verification failed, or a file cannot be written. The files before it stay.
    """
    checkpoint = find_checkpoint(Path(source) if source is not None else None)
    chosen = default_formats() if formats is None else formats
    loaded = load_checkpoint(checkpoint, name, ema=ema)
    paths = output_paths(loaded.card.name, chosen, Path(out) if out is not None else run_folder(checkpoint))
    return list(export_files(loaded, paths, options))


def output_paths(name: str, formats: Sequence[str], folder: Path) -> list[Path]:
    """The file for each format. Raises UsageError for a format that does not exist."""
    for each in formats:
        check_choice("format", each, tuple(FORMATS))
    return [folder / f"{name}{FORMATS[each].suffix}" for each in formats]


def find_format(path: Path) -> Format:
    """The format of a file, by its suffix. Raises UsageError for another suffix."""
    for fmt in FORMATS.values():
        if path.suffix == fmt.suffix:
            return fmt
    raise UsageError(f"{path} must end in one of {', '.join(fmt.suffix for fmt in FORMATS.values())}")


def export_files(
    source: Source, paths: Sequence[Path], options: ExportOptions, reporter: Reporter | None = None
) -> Iterator[ExportedFile]:
    """Writes and verifies one file after another; their suffixes decide the formats.

    Args:
        source: the generator.
        paths: the files to write.
        options: precision, rewrite, output and opset.
        reporter: receives the progress.

    Yields:
        Each file when it has been written.

    Raises:
        UsageError, ModelError, GankitError: see `export`.
    """
    if not source.card.has_file_name:
        raise UsageError(f"the card's name must be a file name, not {source.card.name!r}")
    reporter, steps, step_count = reporter or Reporter(), count(), 1 + _STEPS_PER_FILE * len(paths)

    def start(step: str) -> None:
        reporter.progress("export", next(steps), step_count, step)

    start("compute the reference")
    formats = [find_format(path) for path in paths]
    rewrites = [choose_rewrite(source.network, fmt.name, options) for fmt in formats]
    try:
        graphs = [_build_graph(source, options, rewrite) for rewrite in rewrites]
        reference = Reference(source.network, source.card, source.value_range)
    except (RuntimeError, TypeError, KeyError, AttributeError) as error:  # what unusual modules fail with
        raise ModelError(f"{source.card.name} cannot be exported: {one_line(error)}") from error
    _check_value_range(reference, source.value_range)
    for fmt, graph, rewrite, path in zip(formats, graphs, rewrites, paths, strict=True):
        card = replace(
            source.card,
            output=options.output,
            precision=options.resolved_precision,
            rewrite=rewrite,
            opset=options.opset if fmt.name == "onnx" else 0,
        )
        yield write_file(fmt, graph, reference, card, path, start)
    reporter.progress("export", step_count, step_count)


def choose_rewrite(network: nn.Module, format_name: FormatName, options: ExportOptions) -> Rewrite:
    """The rewrite for a format: the given one, else the target's if the format and the network allow it."""
    if options.rewrite is not None:
        return options.rewrite
    preferred = options.preferred_rewrite
    if format_name != "onnx" or preferred == "plain" or not find_rewritable(network, preferred):
        return "plain"
    return preferred


def write_file(
    fmt: Format,
    graph: ImageGraph,
    reference: Reference,
    card: Card,
    path: Path,
    start: Callable[[str], None] = lambda step: None,
) -> ExportedFile:
    """Builds a file under a temporary name, verifies it, and renames it to `path` if it passes.

    Args:
        fmt: the file's format.
        graph: what the file should compute.
        reference: what the network computes.
        card: the card without versions and verification, which are filled in.
        path: the file to write.
        start: called at the start of each of the `_STEPS_PER_FILE` steps, with the step.

    Raises:
        ModelError: the format cannot express the network.
        GankitError: verification failed, or the file cannot be written. No file is left.
    """
    card = replace(card, versions=_versions(fmt))
    with atomic_write(path, durable=True) as temporary:
        start(f"build {path.name}")
        try:
            artifact = fmt.build(graph, card)
        except Exception as error:  # PyTorch's exporters raise dozens of kinds
            raise ModelError(
                f"{path} was not written: {fmt.name} cannot express this network: {one_line(error)}"
            ) from error
        try:
            start(f"verify {path.name}")
            fmt.save(artifact, card, temporary)
            results, not_verified = _verify_on_devices(fmt, temporary, reference, card)
            card = replace(card, verification=_verification_document(reference, results, not_verified))
            start(f"verify {path.name} with its card")
            fmt.save(artifact, card, temporary)
            _verify_final(fmt, temporary, reference, card)
        except GankitError as error:
            raise GankitError(f"{path} was not written: {error}") from error
        size = temporary.stat().st_size
    return ExportedFile(fmt.name, path, size, results, not_verified)


def _build_graph(source: Source, options: ExportOptions, rewrite: Rewrite) -> ImageGraph:
    case = next(case for case in verification_cases(source.card) if len(case.z) > 1)  # checks the folding
    return ImageGraph(
        source.network,
        source.value_range,
        output=options.output,
        precision=options.resolved_precision,
        rewrite=rewrite,
        examples=tuple(torch.from_numpy(values) for values in (case.z, case.label) if values is not None),
    )


def _check_value_range(reference: Reference, value_range: tuple[float, float]) -> None:
    """Raises UsageError if much of the images lies outside the value range and would be clipped."""
    values = np.concatenate([part.ravel() for part in reference.grey_levels])
    outside = float(((values < -10) | (values > 265)).mean())
    if outside > 0.2:
        low, high = value_range
        least, most = (low + (high - low) * float(v - 0.5) / 255 for v in (values.min(), values.max()))
        raise UsageError(
            f"{outside:.0%} of the pixels lie outside the value range {low:g},{high:g}: they run from {least:.3g} to "
            f"{most:.3g}; set the value range to that (--value-range)"
        )


def _versions(fmt: Format) -> dict[str, str]:
    """The versions of the packages that write a format. Raises MissingExtraError if one is not installed."""
    if any(find_spec(package) is None for package in fmt.packages):
        raise missing_extra(f"exporting to {fmt.name}", "export,cpu", "export,gpu")
    return {
        "gankit": gankit.__version__,
        **{name: import_module(name).__version__ for name in ("torch", *fmt.packages)},
    }


def _verify_on_devices(
    fmt: Format, path: Path, reference: Reference, card: Card
) -> tuple[tuple[VerificationResult, ...], dict[str, str]]:
    """Verifies a file on the CPU and on CUDA; returns the results, and why a GPU that is there could not be used."""
    on_cpu = verify(fmt.open(path, "cpu")[1], reference, card)
    try:
        runner = fmt.open(path, "cuda")[1]
    except DeviceError as error:
        return (on_cpu,), {"cuda": str(error)} if torch.cuda.is_available() else {}
    return (on_cpu, verify(runner, reference, card, "cuda")), {}


def _verification_document(
    reference: Reference, results: Sequence[VerificationResult], not_verified: dict[str, str]
) -> dict[str, Any]:
    """The card's `verification`."""
    document: dict[str, Any] = {
        "reference": f"the network in {reference.precision} on the CPU",
        "unit": "grey levels, 0 to 255",
        "measured": [asdict(result) for result in results],
    }
    if not_verified:
        document["not_verified"] = [{"device": device, "reason": reason} for device, reason in not_verified.items()]
    return document


def _verify_final(fmt: Format, path: Path, reference: Reference, card: Card) -> None:
    """Verifies a file again after its card was added: exactly what gets the final name has to pass."""
    found, runner = fmt.open(path, "cpu")
    verify(runner, reference, card, measure_speed=False)
    if found != card:
        raise GankitError("its card does not read back as it was written")
