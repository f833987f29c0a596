"""`gan-gen`: images from an exported generator."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gankit.console import Debug, ranges, run, whole_numbers
from gankit.errors import UsageError

if TYPE_CHECKING:
    from gankit.images import Images

_BATCH = 64
_SHEET = 256  # images on a contact sheet beside a folder of PNGs: more could not be looked at
_UNUSED = {  # which options say nothing to which kind of picture
    "--interpolate": ("-n", "--seed", "--seeds", "--start", "--compare"),
    "--compare": ("--seeds", "--frames", "--loop", "--mode", "--columns"),
    "--seeds": ("-n", "--seed", "--start", "--frames", "--loop", "--mode"),
    "": ("--frames", "--loop", "--mode"),
}


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
        typer.Option(help="What they show: any part of a label's name, not-NAME, blond=0.7, several joined by commas."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Image i of a seed is always the same image. [default: 0]")] = None,
    seeds: Annotated[
        str | None, typer.Option(metavar="SEEDS", help="The first image of each of these seeds: 0,4-6.")
    ] = None,
    start: Annotated[int | None, typer.Option(help="Number of the first image of the seed. [default: 0]")] = None,
    psi: Annotated[float, typer.Option(help="Below 1: more typical images, less variety.")] = 1.0,
    interpolate: Annotated[
        str | None, typer.Option(metavar="SEEDS", help="A walk through the first images of these seeds: 0,7,42.")
    ] = None,
    frames: Annotated[int | None, typer.Option(help="Length of the walk. [default: 60]")] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Let the walk end where it began.")] = False,
    mode: Annotated[str | None, typer.Option(help="The walk's way, slerp or lerp. [default: slerp]")] = None,
    compare: Annotated[
        str | None,
        typer.Option(metavar="LABEL", help="A sheet with the same n latents under each label that this part fits."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder, or x.png, .gif, .webp, .npz, .npy. [default: in generated/]"),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cuda, cpu or openvino.")] = "auto",
    precision: Annotated[
        str, typer.Option(help="float32, tf32 (cuda), bfloat16 (openvino) or float16; auto is the quickest there is.")
    ] = "auto",
    batch: Annotated[int, typer.Option(help="Images computed at a time; 0 takes what suits the device.")] = 0,
    threads: Annotated[int, typer.Option(help="CPU cores to use; 0 takes all.")] = 0,
    info: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Only print what a file of gan-export says of itself.")
    ] = None,
    doctor: Annotated[
        bool, typer.Option("--doctor", help="Only print what is installed, what clashes and what each device can do.")
    ] = False,
    columns: Annotated[int | None, typer.Option(min=1, help="Columns of the sheet. [default: about square]")] = None,
    scale: Annotated[int, typer.Option(min=1, help="Draw each pixel this many times as large.")] = 1,
    debug: Debug = False,
) -> None:
    """Generate images: a folder of PNGs with a contact sheet, one sheet, a film or an array.

    gan-gen -n 64 --label blond · gan-gen --interpolate 0,7,42 --loop · gan-gen -n 10 --compare hair
    """
    from gankit.generator import bundled_model, load
    from gankit.images import check_suffix, enlarge, grid, save_gif, save_npy, save_npz, save_png, save_webp

    if info is not None:
        _print_card(info)
        return
    if doctor:
        from gankit.doctor import report

        for line in report(model or _newest(Path("runs")) or bundled_model()):
            print(line, flush=True)
        return
    given = {"-n": n, "--seed": seed, "--seeds": seeds, "--start": start, "--interpolate": interpolate}
    given |= {"--frames": frames, "--loop": loop or None, "--mode": mode, "--compare": compare, "--columns": columns}
    kind = next((kind for kind in _UNUSED if given.get(kind) is not None), "")
    if unused := [option for option in _UNUSED[kind] if given[option] is not None]:
        where = f"beside {kind}" if kind else "without --interpolate"
        raise UsageError(f"{', '.join(unused)} can do nothing {where}; leave it out")
    several = ranges(seeds, "seeds", "0,4-6") if seeds is not None else None
    n = len(several) if several else n if n is not None else 10 if compare is not None else 64
    seed, start = seed or 0, start or 0
    if n < 1:
        raise UsageError(f"-n must be at least 1, not {n}")
    path = model or _newest(Path("runs")) or bundled_model()
    generator = load(path, device, precision, batch, threads)  # type: ignore[arg-type]  # load() says which there are
    _say(f"{'model':8}{'the faces that come with gankit' if path == bundled_model() else path}")
    reason = f" ({generator.fallback_reason})" if generator.fallback_reason else ""
    _say(f"{'device':8}{generator.device} in {generator.precision}{reason}")

    which = f"seeds{seeds.replace(' ', '').replace(',', '_')}" if seeds else f"seed{seed}"
    request = "-".join(filter(None, [label and label.replace(",", "-"), which, f"psi{psi:g}" if psi != 1 else ""]))
    folder, labels = Path("generated") / generator.card.name, None
    if interpolate is not None:
        output = output or folder / f"walk-{'-'.join(interpolate.split(','))}.gif"
        check_suffix(output)
        walk: dict[str, Any] = {key: given[f"--{key}"] for key in ("frames", "mode") if given[f"--{key}"] is not None}
        stops = whole_numbers(interpolate, "seeds", "0,7,42")
        images = generator.interpolate(stops, loop=loop, label=label, psi=psi, **walk)
    elif compare is not None:
        fits = generator.card.labels.matching(compare) if generator.card.labels else []
        names = [generator.labels[i] for i in fits]
        output = output or folder / f"compare-{compare}-seed{seed}.png"
        check_suffix(output)
        asked = names if label is None else [f"{name},{label}" for name in names]
        rows = generator.compare_labels(n, seed, asked, start, psi)
        _say(f"{'rows':8}{', '.join(names)}")
        images, columns = rows.reshape(-1, *rows.shape[2:]), n
    elif output is None or not output.suffix or output.is_dir():

        def batches(done: int) -> Iterator[Images]:
            """The images from `done` on."""
            if several is None:
                yield from generator.stream(n - done, seed, label, _BATCH, start + done, psi)
                return
            for at in range(done, n, _BATCH):
                yield generator(*_first_of_each(generator, several[at : at + _BATCH], label, psi))

        generator.inputs(1, several[0] if several else seed, label, start, psi)  # refused before a folder is made
        digest = sha256(path.read_bytes()).hexdigest()
        about = {"model": digest, "label": label, "psi": psi, "scale": scale, "seed": seed, "image": 0}
        numbers, counts = (several, "seed") if several else (range(start, start + n), "image")
        _write_folder(batches, output or folder / request, numbers, counts, about, columns, scale)
        return
    else:
        check_suffix(output)
        inputs = generator.inputs(n, seed, label, start, psi)
        z, labels = inputs if several is None else _first_of_each(generator, several, label, psi)
        images = generator(z, labels)
    suffix = output.suffix.lower()
    if suffix == ".png":
        save_png(output, enlarge(images[0] if len(images) == 1 else grid(images, columns), scale))
    elif suffix in (".gif", ".webp"):
        (save_gif if suffix == ".gif" else save_webp)(output, enlarge(images, scale))
    elif suffix == ".npy":
        save_npy(output, images)
    elif suffix == ".npz":
        save_npz(output, images, labels)
    else:
        for i, image in enumerate(images):
            save_png(output / f"{i:06d}.png", enlarge(image, scale))
    _say(f"{'wrote':8}{output}")


def _first_of_each(generator: Any, seeds: Sequence[int], label: str | None, psi: float) -> tuple[Any, Any]:
    """The inputs of the first image of each seed."""
    import numpy as np

    z, labels = zip(*(generator.inputs(1, seed, label, psi=psi) for seed in seeds), strict=True)
    return np.concatenate(z), np.concatenate(labels) if generator.labels else None


def _write_folder(
    batches: Callable[[int], Iterator[Images]],
    folder: Path,
    numbers: Sequence[int],
    counts: str,
    about: dict[str, Any],
    columns: int | None,
    scale: int,
) -> None:
    """PNGs as they are made, named by the number that `counts` them, in constant memory; the sheet at the end.

    Each PNG says inside what it is: those that a run before this one made of the same request are kept.
    """
    import numpy as np

    from gankit.images import about_png, enlarge, grid, read_png, save_png

    def path(i: int) -> Path:
        return folder / f"{numbers[i]:06d}.png"

    def text(i: int) -> str:
        return json.dumps(about | {counts: numbers[i]})

    n = len(numbers)
    done = kept = next((i for i in range(n) if about_png(path(i)) != text(i)), n)
    if kept:
        _say(f"{'kept':8}{kept} that were there already")
    begun = perf_counter()
    for batch in batches(kept) if kept < n else ():
        for image in batch:
            save_png(path(done), enlarge(image, scale), text(done))
            done += 1
        if sys.stderr.isatty():
            rate = (done - kept) / (perf_counter() - begun)
            print(f"\r{done} of {n} images, {rate:,.0f}/s", end="\n" * (done == n), file=sys.stderr, flush=True)
    sheet = np.stack([read_png(path(i)) for i in range(min(n, _SHEET))])
    save_png(folder / "sheet.png", grid(sheet, columns, gap=2 * scale))
    _say(f"{'wrote':8}{path(0)} … {path(n - 1).name}")
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
