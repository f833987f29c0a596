"""`gan-gen`: images from an exported generator."""

from __future__ import annotations

import sys
import zipfile
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Annotated, Any

import typer

from gankit.console import Debug, run, whole_numbers
from gankit.errors import UsageError

_SHEET = 256  # images on a contact sheet beside a folder of PNGs: more could not be looked at


def generate(
    model: Annotated[
        Path | None,
        typer.Option("-m", "--model", help="ONNX file. [default: the newest under runs/, else the bundled faces]"),
    ] = None,
    n: Annotated[
        int | None, typer.Option("-n", help="How many images. [default: 64, in a row of --compare 10]")
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(help="What they show: any part of a label's name, not-NAME, several joined by commas."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Image i of a seed is always the same image.")] = 0,
    interpolate: Annotated[
        str | None, typer.Option(metavar="SEEDS", help="A walk through the first images of these seeds: 0,7,42.")
    ] = None,
    frames: Annotated[int, typer.Option(help="Length of the walk.")] = 60,
    loop: Annotated[bool, typer.Option("--loop", help="Let the walk end where it began.")] = False,
    compare: Annotated[
        str | None,
        typer.Option(metavar="LABEL", help="A sheet with the same n latents under each label that this part fits."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder, or sheet.png, film.gif, arrays.npz. [default: in generated/]"),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cuda or cpu.")] = "auto",
    info: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Only print what a file of gan-export says of itself.")
    ] = None,
    columns: Annotated[int | None, typer.Option(min=1, help="Columns of the sheet. [default: about square]")] = None,
    scale: Annotated[int, typer.Option(min=1, help="Draw each pixel this many times as large.")] = 1,
    debug: Debug = False,
) -> None:
    """Generate images: a folder of PNGs with a contact sheet, one sheet, a GIF or an array.

    gan-gen -n 64 --label blond · gan-gen --interpolate 0,7,42 --loop · gan-gen -n 10 --compare hair
    """
    from gankit.generator import bundled_model, load
    from gankit.images import check_suffix, enlarge, grid, save_gif, save_npz, save_png

    if info is not None:
        _print_card(info)
        return
    if interpolate is not None and compare is not None:
        raise UsageError("--interpolate and --compare are two different pictures; ask for one at a time")
    n = n if n is not None else 10 if compare is not None else 64
    if n < 1:
        raise UsageError(f"-n must be at least 1, not {n}")
    path = model or _newest(Path("runs")) or bundled_model()
    generator = load(path, device)  # type: ignore[arg-type]  # load() itself says which devices there are
    _say(f"{'model':8}{'the faces that come with gankit' if path == bundled_model() else path}")
    _say(f"{'device':8}{generator.device}" + (f" ({generator.fallback_reason})" if generator.fallback_reason else ""))

    request = "-".join(filter(None, [label and label.replace(",", "-"), f"seed{seed}"]))
    folder = Path("generated") / generator.card.name
    if interpolate is not None:
        output = output or folder / f"walk-{'-'.join(interpolate.split(','))}.gif"
        check_suffix(output)
        images = generator.interpolate(whole_numbers(interpolate, "seeds", "0,7,42"), frames, loop, label)
        labels = None
    elif compare is not None:
        names = (
            [generator.labels[i] for i in generator.card.labels.matching(compare)] if generator.card.labels else None
        )
        output = output or folder / f"compare-{compare}-seed{seed}.png"
        check_suffix(output)
        rows = generator.compare_labels(
            n, seed, names if label is None else [f"{name},{label}" for name in names or []]
        )
        _say(f"{'rows':8}{', '.join(names or [])}")
        images, labels, columns = rows.reshape(-1, *rows.shape[2:]), None, n
    elif output is None or not output.suffix or output.is_dir():
        _write_folder(generator, output or folder / request, n, seed, label, columns, scale)
        return
    else:
        check_suffix(output)
        z, labels = generator.inputs(n, seed, label)
        images = generator(z, labels)
    suffix = output.suffix.lower()
    if suffix == ".png":
        save_png(output, enlarge(images[0] if len(images) == 1 else grid(images, columns), scale))
    elif suffix == ".gif":
        save_gif(output, enlarge(images, scale))
    elif suffix == ".npz":
        save_npz(output, images, labels)
    else:
        for i, image in enumerate(images):
            save_png(output / f"{i:06d}.png", enlarge(image, scale))
    _say(f"{'wrote':8}{output}")


def _write_folder(
    generator: Any, folder: Path, n: int, seed: int, label: str | None, columns: int | None, scale: int
) -> None:
    """PNGs as they are made, in constant memory, and the contact sheet at the end."""
    import numpy as np
    from numpy.typing import NDArray

    from gankit.images import enlarge, grid, save_png

    number = count()
    kept: list[NDArray[np.uint8]] = []
    for batch in generator.stream(n, seed, label):
        for image in batch:
            save_png(folder / f"{next(number):06d}.png", enlarge(image, scale))
        if len(kept) * len(batch) < _SHEET:
            kept.append(batch)
    save_png(folder / "sheet.png", enlarge(grid(np.concatenate(kept)[:_SHEET], columns), scale))
    _say(f"{'wrote':8}{folder}/000000.png … {n - 1:06d}.png")
    _say(f"{'':8}{folder}/sheet.png")


def _print_card(path: Path) -> None:
    """Its lines, of ONNX and of PyTorch's formats, whose zip archives hold it as a file."""
    from gankit.card import Card
    from gankit.generator import load

    card = Card.from_archive(path) if zipfile.is_zipfile(path) else load(path, "cpu").card
    if not card.versions:  # which every export has
        print(f"{path} has no card inside; this is what its shapes say")
    for name, value in asdict(card).items():
        parts = value.items() if isinstance(value, dict) else [("", value)]
        for key, part in parts:
            for each in part if isinstance(part, list) else [part]:
                text = ", ".join(f"{k} {v}" for k, v in each.items()) if isinstance(each, dict) else str(each)
                print(f"{name:19}{key and f'{key}: '}{text}")


def _newest(runs: Path) -> Path | None:
    """The export under runs/ that was written last."""
    return max(runs.glob("*/*.onnx"), key=lambda path: path.stat().st_mtime, default=None)


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def main() -> None:
    """The console script."""
    run("gan-gen", generate)
