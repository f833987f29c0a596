"""`gan-gen`: generates images with an exported generator."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import typer

from gankit._card import Card
from gankit._console import INFORMATION, Debug, Version, parse_int_list, parse_int_ranges, run
from gankit._errors import LabelError, UsageError
from gankit._generator import Generator
from gankit._job import Job, say, write_file, write_folder
from gankit._load import load
from gankit._model import bundled_model, newest_export
from gankit._options import DEVICES, PRECISIONS
from gankit._writers import output_suffix

_MAX_IMAGES = 10**12  # more than any disk holds
_MODES = ("slerp", "lerp")
_FORMATS = ("png", "gif", "webp", "mp4", "npz", "npy")
_WITHOUT_EFFECT = {  # what is generated → the options that have no effect on it
    "--interpolate": ("-n", "--seed", "--seeds", "--start", "--compare"),
    "--compare": ("--seeds", "--frames", "--loop", "--mode", "--columns", "--labels"),
    "--seeds": ("-n", "--seed", "--start", "--frames", "--loop", "--mode", "--labels"),
    "images": ("--frames", "--loop", "--mode"),
}


def _option(*names: str, panel: str | None = None, default: str | None = None, **settings: Any) -> Any:
    """A typer option in a section of the help.

    Args:
        names: the names of the option.
        panel: the section; None is the first one.
        default: the default in words, for the help.
        settings: arguments of `typer.Option`, and `choices`, the allowed values.
    """
    if default:
        settings["help"] += f"  [default: {default}]"
    if choices := settings.pop("choices", ()):
        settings |= {"autocompletion": lambda: list(choices), "callback": _check_choice(names[-1], choices)}
    return typer.Option(*names, rich_help_panel=panel, **settings)


def _check_choice(name: str, choices: Sequence[str]) -> Callable[[str | None], str | None]:
    def check(value: str | None) -> str | None:
        if value is not None and value.lower() not in choices:
            raise UsageError(f"{name} must be {', '.join(choices[:-1])} or {choices[-1]}, not {value!r}")
        return value and value.lower()

    return check


_LABELS, _SAMPLING, _ANIMATION, _OUTPUT, _PERFORMANCE = "Labels", "Sampling", "Animation", "Output", "Performance"

_Model = Annotated[
    Path | None,
    _option(
        "-m", "--model", metavar="FILE", help="ONNX file.", default="the newest under runs/, else the bundled faces"
    ),
]
_N = Annotated[
    int | None,
    _option("-n", metavar="N", help="Number of images.", default="64; 10 per label with --labels or --compare"),
]
_Label = Annotated[
    str | None,
    _option(
        "--label", metavar="LABEL", help="Label: any part of its name, not-NAME, NAME=0.7, or several joined by commas."
    ),
]
_Seed = Annotated[int | None, _option("--seed", metavar="SEED", help="Random seed, from 0 to 2^64 - 1.", default="0")]
_Interpolate = Annotated[
    str | None, _option("--interpolate", metavar="SEEDS", help="Animate an interpolation between seeds: 0,7,42.")
]
_Output = Annotated[
    Path | None,
    _option(
        "-o",
        "--output",
        metavar="PATH",
        help="Folder of PNGs, or x.png, .gif, .webp, .mp4, .npz, .npy, or - for standard output.",
        default="in generated/",
    ),
]
_Device = Annotated[str, _option("--device", metavar="DEVICE", help=f"Device: {', '.join(DEVICES)}.", choices=DEVICES)]
_Scale = Annotated[
    int, _option("--scale", metavar="N", min=1, help="Repeat each pixel this many times in both directions.")
]

_Labels = Annotated[
    str | None,
    _option(
        "--labels",
        panel=_LABELS,
        metavar="all|LABELS",
        help="Labels in turn, image by image: all, or parts of names, joined by commas. A grid has a column for each.",
    ),
]
_Compare = Annotated[
    str | None,
    _option(
        "--compare",
        panel=_LABELS,
        metavar="all|LABELS",
        help="A grid of the same -n latents under each of these labels, one row per label.",
    ),
]
_Seeds = Annotated[
    str | None,
    _option("--seeds", panel=_SAMPLING, metavar="SEEDS", help="The first image of each of these seeds: 0,4-6."),
]
_Start = Annotated[
    int | None,
    _option("--start", panel=_SAMPLING, metavar="N", help="Number of the first image of the seed.", default="0"),
]
_Truncation = Annotated[
    float,
    _option(
        "--truncation",
        panel=_SAMPLING,
        metavar="FACTOR",
        help="Factor on the latents (StyleGAN's ψ); below 1, images are more typical and less varied.",
    ),
]
_Frames = Annotated[
    int | None, _option("--frames", panel=_ANIMATION, metavar="N", help="Frames of the interpolation.", default="60")
]
_Loop = Annotated[bool, _option("--loop", panel=_ANIMATION, help="Return to the first seed.")]
_Mode = Annotated[
    str | None,
    _option(
        "--mode",
        panel=_ANIMATION,
        metavar="|".join(_MODES),
        help="Interpolate along the sphere (slerp) or in straight lines (lerp).",
        default="slerp",
        choices=_MODES,
    ),
]
_Columns = Annotated[
    int | None,
    _option(
        "--columns",
        panel=_OUTPUT,
        metavar="N",
        help="Columns of a grid.",
        default="about square; with --labels, one per label",
    ),
]
_Format = Annotated[
    str | None,
    _option(
        "--format",
        panel=_OUTPUT,
        metavar="FORMAT",
        help=f"Format of -o -: {', '.join(_FORMATS)}.",
        default="png",
        choices=_FORMATS,
    ),
]
_Precision = Annotated[
    str,
    _option(
        "--precision",
        panel=_PERFORMANCE,
        metavar="NAME",
        help="float32, tf32 (CUDA), bfloat16 (OpenVINO) or float16; auto is the fastest available.",
        choices=PRECISIONS,
    ),
]
_Batch = Annotated[
    int,
    _option("--batch", panel=_PERFORMANCE, metavar="N", help="Images computed together; 0 is the device's default."),
]
_Threads = Annotated[int, _option("--threads", panel=_PERFORMANCE, metavar="N", help="CPU cores to use; 0 is all.")]
_Info = Annotated[
    Path | None,
    _option("--info", panel=INFORMATION, metavar="FILE", help="Print the model card of a file of gan-export and exit."),
]
_Doctor = Annotated[
    bool,
    _option("--doctor", panel=INFORMATION, help="Print what is installed, what is wrong and the speed of each device."),
]


def generate(
    model: _Model = None,
    n: _N = None,
    label: _Label = None,
    seed: _Seed = None,
    interpolate: _Interpolate = None,
    output: _Output = None,
    device: _Device = "auto",
    scale: _Scale = 1,
    labels: _Labels = None,
    compare: _Compare = None,
    seeds: _Seeds = None,
    start: _Start = None,
    truncation: _Truncation = 1.0,
    frames: _Frames = None,
    loop: _Loop = False,
    mode: _Mode = None,
    columns: _Columns = None,
    form: _Format = None,
    precision: _Precision = "auto",
    batch: _Batch = 0,
    threads: _Threads = 0,
    info: _Info = None,
    doctor: _Doctor = False,
    debug: Debug = False,
    version: Version = False,
) -> None:
    """Generate images: a folder of PNGs with a grid, one image or grid, an animation, or an array.

    \b
    gan-gen -n 64 --label blond
    gan-gen --interpolate 0,7,42 --loop
    gan-gen -n 10 --compare hair
    """
    model_path = model or newest_export(Path("runs")) or bundled_model()
    if info is not None or doctor:
        _print_information(info, model_path)
        return
    given = {"-n": n, "--seed": seed, "--seeds": seeds, "--start": start, "--interpolate": interpolate}
    given |= {"--frames": frames, "--loop": loop or None, "--mode": mode, "--compare": compare, "--columns": columns}
    kind = _kind(given | {"--labels": labels})
    seed_list = parse_int_ranges(seeds, "--seeds", "0,4-6") if seeds is not None else None
    stops = parse_int_list(interpolate, "--interpolate", "0,7,42") if interpolate is not None else []
    if n is not None and not 1 <= n <= _MAX_IMAGES:
        raise UsageError(f"-n must be a whole number from 1 to {_MAX_IMAGES}, not {n}")
    suffix = _suffix(output, form, {"--interpolate": ".gif", "--compare": ".png"}.get(kind, ""))
    options = {"device": device, "precision": precision, "batch": batch, "threads": threads}
    generator = _load(model_path, options)
    names = _label_names(generator, compare if labels is None else labels)
    if names:
        say("rows" if compare else "labels", ", ".join(names))
    n = len(seed_list) if seed_list else n or (10 if compare else 10 * len(names) if names else 64)
    in_turn: list[str | None] = [f"{name},{label}" if label else name for name in names] or [label]
    metadata = {"model": sha256(model_path.read_bytes()).hexdigest(), "truncation": truncation, "scale": scale}
    job = Job(generator, n, seed or 0, start or 0, seed_list, in_turn, truncation, metadata)
    if interpolate is not None:
        name = f"interpolation-{'-'.join(map(str, stops))}.gif"
        job = job.interpolation(stops, 60 if frames is None else frames, loop, mode or "slerp")  # type: ignore[arg-type]
    elif compare is not None:
        name = f"compare-{compare}-seed{job.seed}.png"
        job, columns = job.comparison(), n
    else:
        name = _folder_name(job, label, labels, seeds)
        columns = len(names) or None if columns is None else columns
    job.check()
    output = output or Path("generated") / generator.card.name / name
    if suffix:
        write_file(job, output, suffix, columns, scale)
    else:
        write_folder(job, output, columns, scale)


def _kind(given: dict[str, Any]) -> str:
    """What is generated: `images`, or the option that determines it.

    Raises:
        UsageError: another option has no effect on it.
    """
    kind = next((kind for kind in _WITHOUT_EFFECT if given.get(kind) is not None), "images")
    if unused := [option for option in _WITHOUT_EFFECT[kind] if given[option] is not None]:
        where = "without --interpolate" if kind == "images" else f"with {kind}"
        raise UsageError(f"{', '.join(unused)} has no effect {where}; leave it out")
    return kind


def _load(path: Path, options: dict[str, Any]) -> Generator:
    """Opens the model, and reports which one and where it runs."""
    generator = load(path, **options)
    say("model", "the bundled faces" if path == bundled_model() else path)
    precision = "" if generator.precision == "float32" else f" in {generator.precision}"
    reason = f" ({generator.fallback_reason})" if generator.fallback_reason else ""
    say("device", f"{generator.device}{precision}{reason}")
    return generator


def _label_names(generator: Generator, request: str | None) -> list[str]:
    """The labels of `--labels` or `--compare`: all, or those that parts of names joined by commas match, in order."""
    if request is None:
        return []
    labels = generator.card.labels
    if labels is None:
        raise LabelError(f"this model has no labels; leave out the labels {request!r}")
    if request == "all":
        return list(labels.names)
    return [labels.names[column] for part in request.split(",") for column in labels.matching(part.strip())]


def _folder_name(job: Job, label: str | None, labels: str | None, seeds: str | None) -> str:
    """A folder name that tells different requests apart."""
    which = f"seeds{seeds.replace(' ', '').replace(',', '_')}" if seeds else f"seed{job.seed}"
    truncation = f"truncation{job.truncation:g}" if job.truncation != 1 else ""
    return "-".join(filter(None, [labels and f"each-{labels}", label, which, truncation])).replace(",", "-")


def _suffix(output: Path | None, form: str | None, default: str) -> str:
    """The suffix that selects the output's format; empty for a folder of PNGs."""
    if output is None or str(output) != "-":
        if form is not None:
            raise UsageError("--format has no effect without -o -; the name of a file selects its format")
        return default if output is None else output_suffix(output)
    if sys.stdout is None or sys.stdout.isatty():
        raise UsageError("-o - cannot write to a terminal; use a file or a pipe, such as gan-gen -o - > faces.png")
    return output_suffix(Path(f"-.{form or 'png'}"))


def _print_information(info: Path | None, model: Path) -> None:
    """Prints the card of a file, or without one the report on this machine."""
    from gankit._doctor import report

    if info is None:
        for line in report(model):
            print(line, flush=True)
        return
    card = Card.from_archive(info) if zipfile.is_zipfile(info) else load(info, device="cpu").card
    if not card.versions:  # which every exported file has
        print(f"{info} has no card; its inputs and outputs imply this one")
    for name, value in asdict(card).items():
        for key, part in value.items() if isinstance(value, dict) else [("", value)]:
            for each in part if isinstance(part, list) else [part]:
                text = ", ".join(f"{k} {v}" for k, v in each.items()) if isinstance(each, dict) else str(each)
                print(f"{name:19}{key and f'{key}: '}{text}")


def main() -> None:
    """The console script."""
    run("gan-gen", generate)
