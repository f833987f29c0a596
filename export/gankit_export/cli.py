"""The command `gan-export`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from gankit._console import Debug, Version, parse_int_list, run
from gankit._errors import UsageError, missing_extra
from gankit_export.options import (
    NEWEST_OPSET,
    OLDEST_OPSET,
    ExportOptions,
    FormatName,
    Output,
    Rewrite,
    Target,
    check_choice,
    check_opset,
    default_formats,
    supports_torchscript,
)

if TYPE_CHECKING:
    from gankit_export.exporter import ExportedFile
    from gankit_export.sources import Source

_GRAPH, _PRECISION, _OWN = "Graph", "Precision", "A generator of your own (FILE.py:CLASS)"

SourceArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="RUN|CHECKPOINT|FILE.py:CLASS",
        help="A run folder, a checkpoint, or a generator class of your own.",
        show_default="the newest run under runs/",
    ),
]
OnnxOption = Annotated[bool, typer.Option("--onnx", help="Write NAME.onnx.", show_default="with --torchscript")]
TorchScriptOption = Annotated[bool, typer.Option("--torchscript", help="Write NAME.ts, a TorchScript file.")]
Pt2Option = Annotated[bool, typer.Option("--pt2", help="Write NAME.pt2, a torch.export file.")]
OutOption = Annotated[Path | None, typer.Option("-o", "--out", help="Output folder.", show_default="the run folder")]
NameOption = Annotated[str | None, typer.Option(help="File name without suffix.", show_default="the run's name")]
TargetOption = Annotated[
    str,
    typer.Option(
        "--for",
        metavar="|".join(get_args(Target)),
        help="Engine to be fast on. cpu means --rewrite phases, cuda --fp16, openvino --rewrite subpixel.",
    ),
]
RawOption = Annotated[bool, typer.Option("--raw", help="Export the non-EMA weights.")]
ListFormatsOption = Annotated[bool, typer.Option("--formats", help="List the formats and what each is for, then exit.")]

Fp16Option = Annotated[
    bool, typer.Option("--fp16", help="float16 weights and arithmetic, for CUDA.", rich_help_panel=_PRECISION)
]
CompactOption = Annotated[
    bool,
    typer.Option(
        "--compact", help="float16 weights, float32 arithmetic: half the file size.", rich_help_panel=_PRECISION
    ),
]

RewriteOption = Annotated[
    str | None,
    typer.Option(
        "--rewrite",
        metavar="|".join(get_args(Rewrite)),
        help="How transposed convolutions are written: as they are (plain), as one convolution and a pixel shuffle "
        "(subpixel), or as four convolutions (phases). The images stay the same.",
        show_default="by --for",
        rich_help_panel=_GRAPH,
    ),
]
SubpixelOption = Annotated[bool, typer.Option("--subpixel", help="Same as --rewrite subpixel.", rich_help_panel=_GRAPH)]
OutputOption = Annotated[
    str,
    typer.Option(
        "--output",
        metavar="|".join(get_args(Output)),
        help="Images as uint8 [n, height, width, channels], or as float32 [n, channels, height, width] in [-1, 1].",
        rich_help_panel=_GRAPH,
    ),
]
OpsetOption = Annotated[
    int, typer.Option(help=f"ONNX opset, {OLDEST_OPSET} to {NEWEST_OPSET}.", rich_help_panel=_GRAPH)
]

WeightsOption = Annotated[Path | None, typer.Option(help="File with its state dict.", rich_help_panel=_OWN)]
InitOption = Annotated[
    str | None,
    typer.Option(
        metavar="JSON",
        help="Its constructor's arguments, and globals that its file reads, such as '{\"nz\": 100}'.",
        rich_help_panel=_OWN,
    ),
]
ZDimOption = Annotated[int | None, typer.Option(help="Latent size.", rich_help_panel=_OWN)]
ZShapeOption = Annotated[
    str | None,
    typer.Option(
        metavar="N,N,…",
        help="Shape in which it takes a latent, such as 100,1,1.",
        show_default="a vector of --z-dim",
        rich_help_panel=_OWN,
    ),
]
LabelsOption = Annotated[
    str | None,
    typer.Option(metavar="NAME,NAME,…", help="Names of its classes, in their order.", rich_help_panel=_OWN),
]
ValueRangeOption = Annotated[
    str | None,
    typer.Option(metavar="LOW,HIGH", help="Its values for black and white.", show_default="-1,1", rich_help_panel=_OWN),
]


def _export(
    source: SourceArgument = None,
    onnx: OnnxOption = False,
    torchscript: TorchScriptOption = False,
    pt2: Pt2Option = False,
    out: OutOption = None,
    name: NameOption = None,
    target: TargetOption = "cpu",
    raw: RawOption = False,
    formats: ListFormatsOption = False,
    fp16: Fp16Option = False,
    compact: CompactOption = False,
    rewrite: RewriteOption = None,
    subpixel: SubpixelOption = False,
    output: OutputOption = "uint8",
    opset: OpsetOption = OLDEST_OPSET,
    weights: WeightsOption = None,
    init: InitOption = None,
    z_dim: ZDimOption = None,
    z_shape: ZShapeOption = None,
    labels: LabelsOption = None,
    value_range: ValueRangeOption = None,
    debug: Debug = False,
    version: Version = False,
) -> None:
    """Export a generator to ONNX and TorchScript, and verify that the files compute what the network computes.

    gan-export runs/cgan-avatars-32 --onnx -o models · gan-export models.py:Generator --weights w.pt --z-dim 100
    """
    options = _options(target, fp16, compact, rewrite, subpixel, output, opset)
    _check_installed()
    if formats:
        _list_formats()
        return
    requested = {"onnx": onnx, "torchscript": torchscript, "pt2": pt2}
    chosen = tuple(name for name, wanted in requested.items() if wanted) or _default_formats()
    own = _OwnOptions(weights, init, z_dim, z_shape, labels, value_range)
    if source and ".py:" in source:
        if raw:
            raise UsageError("--raw is for checkpoints of gan-train, which have EMA and non-EMA weights: leave it out")
        loaded, folder = own.load(source, name), out or Path()
    elif source and source.endswith(".py"):
        raise UsageError(f"{source} may have several classes: name the generator's, {source}:CLASS")
    else:
        own.check_unused()
        loaded, folder = _load_run(source, name, out, ema=not raw)
    _write(loaded, folder, chosen, options)


def _options(
    target: str, fp16: bool, compact: bool, rewrite: str | None, subpixel: bool, output: str, opset: int
) -> ExportOptions:
    """The options of the graph, checked. The errors name the command line's options."""
    check_choice("--for", target, get_args(Target))
    check_choice("--output", output, get_args(Output))
    check_opset("--opset", opset)
    if fp16 and compact:
        raise UsageError("--fp16 and --compact are two ways to store the weights: give one of them")
    if subpixel and rewrite:
        raise UsageError("--subpixel is the same as --rewrite subpixel: give one of them")
    if rewrite is not None:
        check_choice("--rewrite", rewrite, get_args(Rewrite))
    return ExportOptions(
        target=cast(Target, target),
        precision="float16" if fp16 else "compact" if compact else None,
        rewrite="subpixel" if subpixel else cast("Rewrite | None", rewrite),
        output=cast(Output, output),
        opset=opset,
    )


def _check_installed() -> None:
    try:
        import gankit_export.exporter  # noqa: F401
    except ModuleNotFoundError as error:
        raise missing_extra(f"gan-export (module {error.name})", "export,cpu", "export,gpu") from None


def _list_formats() -> None:
    from gankit_export.formats import FORMATS

    for fmt in FORMATS.values():
        print(f"--{fmt.name:12}{fmt.suffix:7}{fmt.purpose}")


def _default_formats() -> tuple[FormatName, ...]:
    if not supports_torchscript():
        print(
            "TorchScript is not written, as PyTorch does not support it on Python 3.14; --torchscript tries it anyway"
        )
    return default_formats()


@dataclass(frozen=True)
class _OwnOptions:
    """The options of the panel "A generator of your own", as they were given."""

    weights: Path | None
    init: str | None
    z_dim: int | None
    z_shape: str | None
    labels: str | None
    value_range: str | None

    def check_unused(self) -> None:
        """Raises UsageError if an option was given: the checkpoints of gan-train need none of them."""
        options = {
            "--weights": self.weights,
            "--init": self.init,
            "--z-dim": self.z_dim,
            "--z-shape": self.z_shape,
            "--labels": self.labels,
            "--value-range": self.value_range,
        }
        for option, value in options.items():
            if value is not None:
                raise UsageError(f"{option} is for a generator of your own, FILE.py:CLASS: leave it out")

    def load(self, spec: str, name: str | None) -> Source:
        """The generator FILE.py:CLASS. Raises UsageError for a value that cannot be read."""
        from gankit_export.sources import load_user_generator

        if self.z_dim is None:
            raise UsageError(f"{spec} needs its latent size, such as --z-dim 100")
        return load_user_generator(
            spec,
            self.weights,
            self._parse_init(),
            z_dim=self.z_dim,
            z_shape=tuple(parse_int_list(self.z_shape, "--z-shape", "100,1,1")) if self.z_shape else None,
            labels=[label for label in (self.labels or "").split(",") if label],
            value_range=self._parse_value_range(),
            name=name,
        )

    def _parse_init(self) -> dict[str, Any]:
        try:
            arguments = json.loads(self.init or "{}")
        except ValueError as error:
            raise UsageError(
                f"--init must be a JSON object such as '{{\"nz\": 100}}', not {self.init!r} ({error})"
            ) from None
        if not isinstance(arguments, dict):
            raise UsageError(f"--init must be a JSON object such as '{{\"nz\": 100}}', not {self.init!r}")
        return arguments

    def _parse_value_range(self) -> tuple[float, float]:
        try:
            low, high = (float(part) for part in (self.value_range or "-1,1").split(","))
        except ValueError:
            raise UsageError(
                f"--value-range must be two numbers such as -1,1 or 0,1, not {self.value_range!r}"
            ) from None
        return low, high


def _load_run(source: str | None, name: str | None, out: Path | None, *, ema: bool) -> tuple[Source, Path]:
    """The generator of a run or checkpoint, and the folder to write to."""
    from gankit_export.sources import find_checkpoint, load_checkpoint, run_folder

    checkpoint = find_checkpoint(Path(source) if source else None)
    print(f"checkpoint  {checkpoint}")
    return load_checkpoint(checkpoint, name, ema=ema), out or run_folder(checkpoint)


def _write(source: Source, folder: Path, formats: Sequence[str], options: ExportOptions) -> None:
    """Writes the files and prints how far they are from the network, also if a later one fails."""
    from gankit_export.exporter import export_files, output_paths
    from gankit_train.reporting.console import Console

    files: list[ExportedFile] = []
    try:
        with Console() as console:
            for file in export_files(source, output_paths(source.card.name, formats, folder), options, console):
                files.append(file)
    finally:
        _print_table(files)


def _print_table(files: Sequence[ExportedFile]) -> None:
    if not files:
        return
    print(
        f"{'format':12}{'size':>10}  {'device':8}{'images compared':>15}{'max error':>11}{'mean error':>12}"
        f"{'identical bytes':>17}{'images/s':>10}  file"
    )
    for file in files:
        start = f"{file.format:12}{file.size / 1e6:7.2f} MB  "
        for each in file.verification:
            speed = "" if each.images_per_s is None else f"{each.images_per_s:.0f}"
            print(
                f"{start}{each.device:8}{each.images:15}{each.max_error:11.2g}{each.mean_error:12.2g}"
                f"{each.identical_bytes:17.4%}{speed:>10}  {file.path}"
            )
        for device, reason in file.not_verified.items():
            print(f"{start}{device:8}not verified: {reason}")
    print("errors in grey levels (0 to 255)")


def main() -> None:
    """Runs `gan-export`."""
    run("gan-export", _export)
