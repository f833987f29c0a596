"""`gan-export`: verified files from a checkpoint, or from a generator of anybody's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gankit._console import Debug, Version, parse_int_list, run
from gankit._errors import UsageError, missing_extra

if TYPE_CHECKING:
    from gankit_export.exporter import Exported
    from gankit_export.graph import Recipe

_OWN = "A generator of your own"


def _export(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN|CHECKPOINT|FILE.py:CLASS", help="What to export. [default: the newest run under runs/]"
        ),
    ] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="Write NAME.onnx. [default: with --torchscript]")] = False,
    torchscript: Annotated[bool, typer.Option("--torchscript", help="Write NAME.ts.")] = False,
    pt2: Annotated[bool, typer.Option("--pt2", help="Write NAME.pt2.")] = False,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Folder. [default: the run's own]")] = None,
    name: Annotated[str | None, typer.Option(help="File name without suffix. [default: the run's name]")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="The weights of the last step instead of their average.")] = False,
    target: Annotated[
        str, typer.Option("--for", help="What is fastest there: cpu (phases), cuda (--fp16) or openvino (subpixel).")
    ] = "cpu",
    fp16: Annotated[bool, typer.Option("--fp16", help="Half weights and half arithmetic, for CUDA.")] = False,
    compact: Annotated[
        bool, typer.Option("--compact", help="Half weights, float32 arithmetic: half the file.")
    ] = False,
    rewrite: Annotated[
        str | None,
        typer.Option(
            help="Transposed convolutions as convolutions, which is exact: subpixel or phases. plain: as they are."
        ),
    ] = None,
    subpixel: Annotated[bool, typer.Option("--subpixel", help="The same as --rewrite subpixel.")] = False,
    output: Annotated[
        str, typer.Option(help="uint8 [n, height, width, channels], or float [n, channels, height, width] in [-1, 1].")
    ] = "uint8",
    opset: Annotated[int, typer.Option(help="Of ONNX, 18 to 20.")] = 18,
    formats: Annotated[bool, typer.Option("--formats", help="List the formats and what each is for.")] = False,
    weights: Annotated[Path | None, typer.Option(help=f"{_OWN}: its state dict.")] = None,
    init: Annotated[
        str | None,
        typer.Option(help=f"{_OWN}: its arguments, and globals that it reads, as JSON such as '{{\"nz\": 100}}'."),
    ] = None,
    z_dim: Annotated[int | None, typer.Option(help=f"{_OWN}: how many numbers it takes for an image.")] = None,
    z_shape: Annotated[str | None, typer.Option(help=f"{_OWN}: their shape, such as 100,1,1.")] = None,
    labels: Annotated[str | None, typer.Option(help=f"{_OWN}: the names of its labels, a,b,c.")] = None,
    value_range: Annotated[
        str | None, typer.Option(help=f"{_OWN}: what it makes of black and white. [default: -1,1]")
    ] = None,
    debug: Debug = False,
    version: Version = False,
) -> None:
    """Export a generator to ONNX and TorchScript, and prove that the files compute what the network computed.

    gan-export · gan-export runs/cgan-avatars-32 --onnx -o models
    gan-export models.py:Generator --weights w.pt --z-dim 100 --z-shape 100,1,1
    """
    try:
        from gankit_export.exporter import export_run, find_checkpoint
        from gankit_export.formats import FORMATS
        from gankit_export.graph import TARGETS
    except ModuleNotFoundError as error:
        raise missing_extra(f"gan-export (module {error.name})", "export,cpu", "export,gpu") from None
    if formats:
        for form in FORMATS.values():
            print(f"--{form.name:12}{form.suffix:7}{form.about}")
        return
    if target not in TARGETS:
        raise UsageError(f"--for is one of {', '.join(TARGETS)}, not {target!r}")
    if fp16 and compact:
        raise UsageError("--fp16 and --compact are two ways to store the weights: give one of them")
    if subpixel and rewrite:
        raise UsageError("--subpixel is --rewrite subpixel: give one of them")
    rewrite = "subpixel" if subpixel else rewrite
    chosen: dict[str, Any] = {"opset": opset, "output": output}
    chosen |= {"precision": "compact"} if compact else {}
    chosen |= {"precision": "float16", "rewrite": "plain"} if fp16 else {}  # which is slower rewritten, on a CPU
    chosen |= {"rewrite": rewrite, "strict": True} if rewrite is not None else {}
    recipe = replace(TARGETS[target], **chosen)
    wanted = {"onnx": onnx, "torchscript": torchscript, "pt2": pt2}
    names = [each for each, asked in wanted.items() if asked] or ["onnx", "torchscript"]
    own = {"z_dim": z_dim, "z_shape": z_shape, "labels": labels, "value_range": value_range}
    if source and ".py:" in source:
        if raw:
            raise UsageError(
                "--raw chooses between weights that gan-train saved; it has no meaning for other generators"
            )
        _show(_export_own(source, weights, init or "{}", own, names, out or Path(), name, recipe))
        return
    if source and source.endswith(".py"):
        raise UsageError(f"{source} may have many classes: give the generator's as well, {source}:CLASS")
    for flag, value in {**own, "weights": weights, "init": init}.items():
        if value is not None:
            raise UsageError(f"--{flag.replace('_', '-')} is for a generator of your own, FILE.py:CLASS")
    checkpoint = find_checkpoint(Path(source) if source else None)
    print(f"checkpoint  {checkpoint}")
    _show(export_run(checkpoint, names, out, name, not raw, recipe))


def _export_own(
    source: str,
    weights: Path | None,
    init: str,
    own: dict[str, Any],
    formats: list[str],
    folder: Path,
    name: str | None,
    recipe: Recipe,
) -> Iterator[Exported]:
    """Somebody's own module: what the flags say of it, as arguments."""
    from gankit_export.exporter import export_own

    try:
        arguments = json.loads(init)
        if not isinstance(arguments, dict):
            raise TypeError("no object")
    except (ValueError, TypeError) as error:
        raise UsageError(f"--init must be a JSON object such as '{{\"nz\": 100}}', not {init!r} ({error})") from None
    if own["z_dim"] is None:
        raise UsageError(f"{source} needs --z-dim, how many numbers it takes for an image, such as --z-dim 100")
    z_shape = own["z_shape"] and tuple(parse_int_list(own["z_shape"], "--z-shape", "100,1,1"))
    try:
        low, high = (float(part) for part in (own["value_range"] or "-1,1").split(","))
    except ValueError:
        raise UsageError(f"--value-range is two numbers such as -1,1 or 0,1, not {own['value_range']!r}") from None
    labels = tuple(filter(None, (own["labels"] or "").split(",")))
    return export_own(
        source, weights, arguments, own["z_dim"], z_shape, labels, (low, high), formats, folder, name, recipe
    )


def _show(made: Iterator[Exported]) -> None:
    head = (
        f"{'format':12}{'size':>10}  {'device':7}{'compared':>12}{'largest error':>15}{'mean error':>13}"
        f"{'equal bytes':>13}{'images/s':>10}  file\n"
    )
    for each in made:
        print(head, end="")
        head = ""
        for proof in each.proofs:
            if "not_run" in proof:
                print(f"{'':24}{proof['device']:7}not run: {proof['not_run']}")
                continue
            print(
                f"{each.format:12}{each.size / 1e6:7.2f} MB  {proof['device']:7}{proof['images']:5} images"
                f"{proof['max_error']:11.4f}/255{proof['mean_error']:9.5f}/255"
                f"{proof['equal_bytes']:13.4%}{proof['images_per_s']:10.0f}  {each.path}"
            )


def main() -> None:
    """The console script."""
    run("gan-export", _export)
