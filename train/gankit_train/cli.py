"""`gan-train`: its options are the fields of `Config`."""

from __future__ import annotations

import inspect
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from gankit._console import Debug, Version, run
from gankit._errors import GankitError, UsageError, missing_extra
from gankit_train.config.presets import PRESETS
from gankit_train.config.settings import VARIANTS, Config, configure, parse_count, parse_list, parse_names, parse_size
from gankit_train.metrics.table import MEASURES


def _train(
    variant: Annotated[
        str,
        typer.Argument(
            help=f"{', '.join(VARIANTS)}; or presets, to list them; or evaluate RUN, to measure it, or report RUN.",
            metavar="|".join(VARIANTS),
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Run folder. [default: runs/VARIANT-DATA-SIZE, or PRESET-…]")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over beside an existing run.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, take one step, write nothing.")] = False,
    debug: Debug = False,
    version: Version = False,
    **settings: Any,
) -> None:
    """Train a GAN. The same command given again goes on where the run stopped.

    gan-train dcgan · gan-train cgan --data avatars --size 32 · gan-train evaluate RUN · gan-train report RUN
    """
    if variant == "presets":
        for name, preset in PRESETS.items():
            print(f"{name:22}{preset.variant:9}{preset.about}")
        return
    if settings["images"] is not None and settings["epochs"] is not None:
        raise UsageError("--images and --epochs say the same thing; give one of them")
    config = configure(variant, **{k: tuple(v) if isinstance(v, list) else v for k, v in settings.items() if v != []})
    with _extra():
        from gankit_train.compute.distributed import leave
        from gankit_train.reporting.console import Console
        from gankit_train.training.loop import train
    try:
        with Console() as console:
            finished = train(config, console, out, fresh, dry_run)
        exit_code = 130 if finished.signal == signal.SIGINT else 0
        leave(exit_code)
    except GankitError as error:
        if os.environ.get("RANK", "0") != "0":  # the first of torchrun's processes says it
            sys.exit(error.exit_code)
        raise
    if exit_code:
        sys.exit(exit_code)


def _evaluate(
    source: Annotated[
        Path, typer.Argument(metavar="RUN|CHECKPOINT|MODEL", help="What to measure: MODEL is any file for gan-gen.")
    ],
    data: Annotated[str | None, typer.Option(help="To compare with. [default: what it was trained on]")] = None,
    images: Annotated[str, typer.Option(help="Samples to make: 10000, 10k.", metavar="N")] = "10k",
    measures: Annotated[
        str,
        typer.Option(
            help=f"{', '.join(MEASURES)}; joined by commas. [default: all that can be had]",
            metavar="NAME,NAME,…",
            show_default=False,
        ),
    ] = "",
    features: Annotated[
        Path | None, typer.Option(help="ONNX or TorchScript file of a network, for frechet. [default: a classifier]")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cuda or cpu.")] = "auto",
    json: Annotated[
        Path | None, typer.Option("--json", help="The report. [default: RUN/evaluation.json, MODEL-evaluation.json]")
    ] = None,
    debug: Debug = False,
) -> None:
    """Measure how good a generator's images are, beside what real images reach, and look for copies of training images.

    gan-train evaluate runs/dcgan-digits-28 · gan-train evaluate faces.onnx --data photos/ --measures coverage,ndb
    """
    count = parse_count(images)
    if not 2 <= count <= 1_000_000:
        raise UsageError(f"--images must be at least 2 and at most 1000000, not {count}")
    _refuse_device(device)
    with _extra():
        from gankit_train.evaluation.evaluate import evaluate
        from gankit_train.reporting.console import Console, show_evaluation
    with Console() as console:
        document = evaluate(source, console, data, count, parse_names(measures), device, features, json)
    show_evaluation(document)
    beside = f", and {document['pairs']} beside it" if "pairs" in document else ""
    print(f"written: {document['report']}{beside}")


def _report(
    run: Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")],
    device: Annotated[
        str | None, typer.Option(help="auto, cuda or cpu, to make samples on. [default: the run's]")
    ] = None,
    debug: Debug = False,
) -> None:
    """Make report.html of a run again: samples over time, curves, diagnosis, measures, nearest training images.

    gan-train report runs/dcgan-digits-28
    """
    if device is not None:
        _refuse_device(device)
    with _extra():
        from gankit_train.reporting.console import Console
        from gankit_train.reporting.html import write_report
    with Console() as console:
        print(f"written: {write_report(run, console, device)}")


@contextmanager
def _extra() -> Iterator[None]:
    """Says how to install what an import in the block does not find."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise missing_extra(f"gan-train (module {error.name})", "train") from None


def _refuse_device(device: str) -> None:
    if device not in (devices := ("auto", "cuda", "cpu")):
        raise UsageError(f"--device is one of {', '.join(devices)}, not {device!r}")


_METAVARS = {parse_count: "N", parse_size: "SIZE", parse_list: "N,N,…", parse_names: "NAME,NAME,…"}


def _signature() -> inspect.Signature:
    """Of the command: its own parameters and one for each field of Config, None where a variant's default holds."""
    hints = get_type_hints(_train, include_extras=True)
    own = [p for name, p in inspect.signature(_train).parameters.items() if name != "settings"]
    variant, *others = (p.replace(annotation=hints[p.name], kind=inspect.Parameter.KEYWORD_ONLY) for p in own)
    types, settings = get_type_hints(Config), []
    for each in fields(Config):
        if each.name == "variant":
            continue
        help_text, parser, many = each.metadata["help"], each.metadata["parser"], each.name == "attribute"
        if choices := each.metadata["one_of"]:
            help_text += f" One of {', '.join(map(str, choices))}."
        if each.default not in (None, (), "", MISSING):
            differs = [f"{v} {table[each.name]}" for v, table in VARIANTS.items() if each.name in table]
            help_text += f" [default: {'; '.join([str(each.default), *differs])}]"
        kind = list[str] if many else str if parser else types[each.name]
        option = typer.Option(help=help_text, parser=parser, metavar=_METAVARS.get(parser), show_default=False)
        annotation = Annotated[kind | None, option]  # type: ignore[valid-type]
        default: Any = [] if many else None
        settings.append(
            inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        )
    return inspect.Signature([variant, *settings, *others])


_train.__signature__ = _signature()  # type: ignore[attr-defined]


_COMMANDS: dict[str, Callable[..., None]] = {"evaluate": _evaluate, "report": _report}
"""What `gan-train` does beside training."""


def main() -> None:
    """The console script."""
    if len(sys.argv) > 1 and (command := _COMMANDS.get(sys.argv[1])):
        sys.argv[:2] = [f"gan-train {sys.argv[1]}"]
        run(sys.argv[0], command)
    run("gan-train", _train)
