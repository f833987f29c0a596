"""`gan-export`: verified files from a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gankit.console import Debug, run
from gankit.errors import missing_extra


def _export(
    source: Annotated[
        Path | None,
        typer.Argument(metavar="RUN|CHECKPOINT", help="What to export. [default: the newest run under runs/]"),
    ] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="Write NAME.onnx. [default: both formats]")] = False,
    torchscript: Annotated[bool, typer.Option("--torchscript", help="Write NAME.ts.")] = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder. [default: the run's own]")] = None,
    name: Annotated[str | None, typer.Option(help="File name without suffix. [default: the run's name]")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="The weights of the last step instead of their average.")] = False,
    debug: Debug = False,
) -> None:
    """Export a generator to ONNX and TorchScript, and prove that the files compute what the network computed.

    gan-export · gan-export runs/cgan-avatars-32 --onnx -o models
    """
    try:
        from gankit_export.exporter import export, find_checkpoint
    except ModuleNotFoundError as error:
        raise missing_extra(f"gan-export (module {error.name})", "export,cpu", "export,gpu") from None

    chosen = {"onnx": onnx, "torchscript": torchscript}
    checkpoint = find_checkpoint(source)
    print(f"checkpoint  {checkpoint}")
    formats = [each for each, wanted in chosen.items() if wanted] or list(chosen)
    print(f"{'format':12}{'size':>10}{'compared':>16}{'largest error':>16}{'equal bytes':>14}  file")
    for each in formats:
        for made in export(checkpoint, [each], output, name, ema=not raw):
            proof = made.verification
            worst = f"{proof['largest_error_steps']:.4f}/255"
            print(
                f"{made.format:12}{made.size / 1e6:7.2f} MB{proof['images']:9} images{worst:>16}"
                f"{proof['equal_bytes']:14.4%}  {made.path}"
            )


def main() -> None:
    """The console script."""
    run("gan-export", _export)
