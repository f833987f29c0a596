"""`gan-gen`: images from an exported generator."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from shutil import disk_usage
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gankit._console import Debug, ranges, run, whole_numbers
from gankit._errors import GankitError, LabelError, UsageError

if TYPE_CHECKING:
    from gankit._generator import Generator
    from gankit._images import Images

_BATCH = 64
_MOST = 10**12  # images of one request, which no disk has room for
_WRITERS = 4  # threads that write PNGs: more would wait for each other's Python
_SHEET = 256  # images on a contact sheet beside a folder of PNGs: more could not be looked at
_UNUSED = {  # which options say nothing to which kind of picture
    "--interpolate": ("-n", "--seed", "--seeds", "--start", "--compare"),
    "--compare": ("--seeds", "--frames", "--loop", "--mode", "--columns", "--labels"),
    "--seeds": ("-n", "--seed", "--start", "--frames", "--loop", "--mode", "--labels"),
    "": ("--frames", "--loop", "--mode"),
}


def generate(
    model: Annotated[
        Path | None,
        typer.Option("-m", "--model", help="ONNX file. [default: the newest under runs/, else the bundled faces]"),
    ] = None,
    n: Annotated[
        int | None,
        typer.Option("-n", help="How many images. [default: 64; 10 of each of --labels, 10 in a row of --compare]"),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(help="What they show: any part of a label's name, not-NAME, blond=0.7, several joined by commas."),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="all|LABELS",
            help="Labels in turn, image by image: all, or those that parts of names joined by commas fit. A sheet has "
            "a column for each, and the seeds of a walk show them in turn.",
        ),
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
        typer.Option(metavar="all|LABELS", help="A sheet with the same n latents under each of these, row by row."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="Folder, or x.png, .gif, .webp, .mp4, .npz, .npy, or - for standard output. [default: in generated/]",
        ),
    ] = None,
    form: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help="What -o - writes: png, npz, … [default: png]")
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
    columns: Annotated[
        int | None,
        typer.Option(min=1, help="Columns of the sheet. [default: about square, or one for each of --labels]"),
    ] = None,
    scale: Annotated[int, typer.Option(min=1, help="Draw each pixel this many times as large.")] = 1,
    debug: Debug = False,
) -> None:
    """Generate images: a folder of PNGs with a contact sheet, one sheet, a film or an array.

    gan-gen -n 64 --label blond · gan-gen --interpolate 0,7,42 --loop · gan-gen -n 10 --compare hair
    """
    from gankit._generator import bundled_model, load

    if info is not None:
        _print_card(info)
        return
    if doctor:
        from gankit._doctor import report

        for line in report(model or _newest(Path("runs")) or bundled_model()):
            print(line, flush=True)
        return
    given = {"-n": n, "--seed": seed, "--seeds": seeds, "--start": start, "--interpolate": interpolate}
    given |= {"--frames": frames, "--loop": loop or None, "--mode": mode, "--compare": compare, "--columns": columns}
    given |= {"--labels": labels}
    kind = next((kind for kind in _UNUSED if given.get(kind) is not None), "")
    if unused := [option for option in _UNUSED[kind] if given[option] is not None]:
        where = f"beside {kind}" if kind else "without --interpolate"
        raise UsageError(f"{', '.join(unused)} can do nothing {where}; leave it out")
    several = ranges(seeds, "seeds", "0,4-6") if seeds is not None else None
    if n is not None and not 1 <= n <= _MOST:
        raise UsageError(f"-n must be at least 1 and at most {_MOST}, not {n}")
    suffix = _suffix(output, form, {"--interpolate": ".gif", "--compare": ".png"}.get(kind, ""))
    path = model or _newest(Path("runs")) or bundled_model()
    generator = load(path, device, precision, batch, threads)  # type: ignore[arg-type]  # load() says which there are
    _say(f"{'model':8}{'the faces that come with gankit' if path == bundled_model() else path}")
    reason = f" ({generator.fallback_reason})" if generator.fallback_reason else ""
    _say(f"{'device':8}{generator.device} in {generator.precision}{reason}")

    parts = labels if compare is None else compare
    names = [] if parts is None else _names(generator, parts)
    if names:
        _say(f"{'labels' if compare is None else 'rows':8}{', '.join(names)}")
    n = len(several) if several else n or (10 if compare else 10 * len(names) if names else 64)
    shown: list[str | None] = [f"{name},{label}" if label else name for name in names] or [label]
    about = {} if suffix else {"model": sha256(path.read_bytes()).hexdigest(), "psi": psi, "scale": scale}
    request = _Request(generator, n, seed or 0, start or 0, several, shown, psi, about)
    folder = Path("generated") / generator.card.name
    if interpolate is not None:
        stops = whole_numbers(interpolate, "seeds", "0,7,42")
        walk: dict[str, Any] = {key: given[f"--{key}"] for key in ("frames", "mode") if given[f"--{key}"] is not None}
        images = generator.interpolate(stops, loop=loop, label=request.labels(0, len(stops)), psi=psi, **walk)
        request = replace(request, n=len(images), images=images)
        output = output or folder / f"walk-{'-'.join(interpolate.split(','))}.gif"
    elif compare is not None:
        rows = generator.compare_labels(n, request.seed, shown, request.start, psi)
        request, columns = replace(request, n=len(rows) * n, images=rows.reshape(-1, *rows.shape[2:])), n
        output = output or folder / f"compare-{compare}-seed{request.seed}.png"
    else:
        request.inputs(0, 1)  # refused before a folder is made
        columns = columns or len(names) or None
        which = f"seeds{seeds.replace(' ', '').replace(',', '_')}" if seeds else f"seed{request.seed}"
        name = [labels and f"each-{labels}", label, which, f"psi{psi:g}" if psi != 1 else ""]
        output = output or folder / "-".join(filter(None, name)).replace(",", "-")
    if suffix:
        _write_file(request, output, suffix, columns, scale)
    else:
        _write_folder(request, output, columns, scale)


@dataclass(frozen=True)
class _Request:
    """What is to be written: image `i` of it, from 0 on, is image `start + i` of the seed, or the first of seed `i`."""

    generator: Generator
    n: int
    seed: int
    start: int
    seeds: Sequence[int] | None
    each: Sequence[str | None]
    """The labels that the images show in turn; it is image `start + i` that counts, so that a later part fits."""
    psi: float
    about: dict[str, Any]
    """What each PNG says of itself, beside its label and its numbers."""
    images: Images | None = None
    """Those of a walk or a comparison, which are made already."""

    def label(self, i: int) -> str | None:
        """What one image shows."""
        return self.each[(self.start + i) % len(self.each)]

    def labels(self, at: int, stop: int) -> Any:
        """What the images `at` … `stop - 1` show: one label for all of them, or a list."""
        return self.each[0] if len(self.each) == 1 else [self.label(i) for i in range(at, stop)]

    def inputs(self, at: int, stop: int) -> tuple[Any, Any]:
        """What they are made of: latents, and label vectors or None."""
        import numpy as np

        if self.seeds is None:
            return self.generator.inputs(stop - at, self.seed, self.labels(at, stop), self.start + at, self.psi)
        label = self.labels(at, stop)
        first = (self.generator.inputs(1, seed, label, psi=self.psi) for seed in self.seeds[at:stop])
        z, vectors = zip(*first, strict=True)
        return np.concatenate(z), np.concatenate(vectors) if self.generator.labels else None

    def vectors(self) -> Iterator[Any] | None:
        """The label vectors of all images, where there are any."""
        if self.images is not None or not self.generator.labels:
            return None
        return (self.inputs(*span)[1] for span in self._spans(0, _BATCH))

    def batches(self, done: int = 0) -> Iterator[Images]:
        """The images from `done` on. On a terminal it says how many there are and how quickly they come."""
        if self.images is not None:
            yield self.images
            return
        begun, at = perf_counter(), done
        for batch in self._made(done):
            yield batch
            at += len(batch)
            if sys.stderr.isatty() and self.n > _BATCH:
                rate, end = (at - done) / (perf_counter() - begun), "\n" * (at == self.n)
                print(f"\r{at} of {self.n} images, {rate:,.0f}/s", end=end, file=sys.stderr, flush=True)

    def _made(self, done: int) -> Iterator[Images]:
        if self.seeds is not None:
            for span in self._spans(done, _BATCH):
                yield self.generator(*self.inputs(*span))
            return
        # Labels in turn are a list as long as what is streamed, so that is not all of a million.
        for at, stop in self._spans(done, self.n if len(self.each) == 1 else 64 * _BATCH):
            labels = self.labels(at, stop)
            yield from self.generator.stream(stop - at, self.seed, labels, _BATCH, self.start + at, self.psi)

    def _spans(self, done: int, step: int) -> Iterator[tuple[int, int]]:
        return ((at, min(at + step, self.n)) for at in range(done, self.n, step))

    def number(self, i: int) -> int:
        """What the file of an image is called by."""
        return self.seeds[i] if self.seeds else self.start + i

    def text(self, i: int) -> str:
        """What a PNG says of itself, so that another run knows it; nothing for those that were made already."""
        if self.images is not None:
            return ""
        seed, image = (self.seeds[i], 0) if self.seeds else (self.seed, self.start + i)
        return json.dumps(self.about | {"label": self.label(i), "seed": seed, "image": image})


def _names(generator: Generator, parts: str) -> list[str]:
    """The names of `all` labels, or of those that parts of names joined by commas fit, in that order."""
    labels = generator.card.labels
    if labels is None:
        raise LabelError(f"this model was trained without labels: {parts!r} cannot be asked for")
    if parts == "all":
        return list(labels.names)
    return [labels.names[column] for part in parts.split(",") for column in labels.matching(part.strip())]


def _suffix(output: Path | None, form: str | None, default: str) -> str:
    """How the output is to be written: one of `images.SUFFIXES`, or nothing for a folder."""
    from gankit._images import suffix_of

    if output is None or str(output) != "-":
        if form is not None:
            raise UsageError("--format can do nothing without -o -, as the name of a file says what it is")
        return default if output is None else suffix_of(output)
    if sys.stdout is None or sys.stdout.isatty():
        raise UsageError("-o - needs a file or a program to write to, no terminal, such as gan-gen -o - > faces.png")
    return suffix_of(Path(f"-.{form or 'png'}"))


def _write_file(request: _Request, path: Path, suffix: str, columns: int | None, scale: int) -> None:
    """A sheet, a film or an array; those that can be are written as the images come."""
    from gankit._images import gather, grid, save_gif, save_mp4, save_npy, save_npz, save_png, save_webp

    n, card = request.n, request.generator.card
    if suffix in (".npy", ".npz") and str(path) != "-":
        size = n * card.height * card.width * card.channels
        free = disk_usage(next(folder for folder in path.absolute().parents if folder.exists())).free
        if size > free:
            raise GankitError(f"{n} images are {size:,} bytes, but at {path} only {free:,} are free: ask for fewer")
    if suffix == ".npy":
        save_npy(path, request.batches(), n)
    elif suffix == ".npz":
        save_npz(path, request.batches(), n, request.vectors())
    elif suffix == ".mp4":
        save_mp4(path, request.batches(), scale)
    else:
        images = gather(request.batches(), n)
        if suffix == ".png":
            save_png(path, images[0] if n == 1 else grid(images, columns), scale)
        else:
            (save_gif if suffix == ".gif" else save_webp)(path, images, scale)
    _say(f"{'wrote':8}{path}")


def _write_folder(request: _Request, folder: Path, columns: int | None, scale: int) -> None:
    """PNGs as they are made, by several threads and in constant memory; the sheet at the end.

    Each PNG says inside what it is: those that a run before this one made of the same request are kept, up to the first
    that is missing. A run that was killed may have left some after it, which are written again.
    """
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    from gankit._images import about_png, grid, read_png, save_png

    def path(i: int) -> Path:
        return folder / f"{request.number(i):06d}.png"

    def save(i: int, image: Images) -> None:
        save_png(path(i), image, scale, request.text(i))

    n = request.n
    done = next((i for i in range(n) if about_png(path(i)) != request.text(i)), n)
    if done:
        _say(f"{'kept':8}{done} that were there already")
    with ThreadPoolExecutor(_WRITERS) as threads:  # Pillow and the system work without holding Python's lock
        for batch in request.batches(done) if done < n else ():
            list(threads.map(save, range(done, done + len(batch)), batch))
            done += len(batch)
    sheet = np.stack([read_png(path(i))[::scale, ::scale] for i in range(min(n, _SHEET))])
    save_png(folder / "sheet.png", grid(sheet, columns), scale)
    _say(f"{'wrote':8}{path(0)} … {path(n - 1).name}")
    _say(f"{'':8}{folder}/sheet.png")


def _print_card(path: Path) -> None:
    """Its lines, of ONNX and of PyTorch's formats, whose zip archives hold it as a file."""
    from gankit._card import Card
    from gankit._generator import load

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
