"""`gan-train`: a command for each variant, with the settings of `Config` as options; evaluate, report, presets."""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from gankit._console import Debug, run
from gankit._errors import GankitError, UsageError, missing_extra, one_line
from gankit_train.config.config import SETTINGS
from gankit_train.config.flags import format_value, parse_count, parse_ints, parse_names, parse_size
from gankit_train.config.presets import PRESETS
from gankit_train.config.settings import Setting
from gankit_train.config.variants import VARIANTS, configure
from gankit_train.metrics.table import METRICS

app = typer.Typer(help="Train small GANs, and evaluate them.", no_args_is_help=True)

_COMMON, _TITLES = "Options", {
    "dataset": "Data",
    "networks": "Networks",
    "objective": "Loss and regularisation",
    "optimisation": "Optimisation",
    "run": "Run",
}  # fmt: skip
_METAVARS: dict[Callable[[Any], Any], str] = {
    parse_count: "N",
    parse_size: "SIZE",
    parse_ints: "N,N,…",
    parse_names: "NAME,NAME,…",
}
_ABOUT = {
    "vanilla": "Train fully connected networks (Goodfellow et al. 2014).",
    "dcgan": "Train convolutional networks (Radford et al. 2015).",
    "wgan-gp": "Train with the Wasserstein loss and gradient penalty (Gulrajani et al. 2017).",
    "cgan": "Train networks that receive labels (Mirza & Osindero 2014).",
}

_REPORT_SECONDS = 30  # that the first process of a machine has to report an error before the others end

Out = Annotated[
    Path | None,
    typer.Option(help="Run folder. [default: runs/VARIANT-DATA-SIZE, or PRESET-…]", rich_help_panel=_COMMON),
]
Fresh = Annotated[
    bool, typer.Option("--fresh", help="Start another run beside an existing one.", rich_help_panel=_COMMON)
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Check everything, take one step, write nothing.", rich_help_panel="Run")
]
Device = Annotated[str, typer.Option(help="auto, cuda or cpu.")]


def _train(variant: str, out: Path | None, fresh: bool, dry_run: bool, settings: dict[str, Any]) -> None:
    """Trains a variant, writes report.html, and exits with 130 or 143 after SIGINT or SIGTERM."""
    if settings["images"] is not None and settings["epochs"] is not None:
        raise UsageError("--images and --epochs both give the length of the run: give one of them")
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items() if v != []}
    config = configure(variant, **given)
    with _extra():
        from gankit_train.compute.distributed import local_rank, shut_down
        from gankit_train.reporting.console import Console
        from gankit_train.training.loop import train
        from gankit_train.training.recorder import DivergedError
    try:
        with Console() as console:
            try:
                result = train(config, console, out, fresh=fresh, dry_run=dry_run)
            except DivergedError as error:
                _write_report(error.run, console, complete=False)
                raise
            if not dry_run:
                _write_report(result.run, console, complete=result.signal is None)
    except GankitError as error:
        if local_rank() == 0:
            raise
        # All processes meet the same errors, and the first of each machine reports them. It must also be the first to
        # end, as torchrun then ends the others.
        time.sleep(_REPORT_SECONDS)
        sys.exit(error.exit_code)
    exit_code = 0 if result.signal is None else 128 + result.signal
    shut_down(exit_code)
    if exit_code:
        sys.exit(exit_code)


def _write_report(run_folder: Path, console: Any, *, complete: bool) -> None:
    """Writes report.html from the main process, without the search for nearest images if the run is not complete."""
    from gankit_train.compute.distributed import is_main_process
    from gankit_train.reporting.html import write_report

    if not is_main_process():
        return
    try:
        console.line(f"{'report':10}{write_report(run_folder, console, neighbours=complete)}")
    except Exception as error:  # whatever it is, the trained model exists all the same
        console.line(f"{'report':10}not written: {one_line(error)}; gan-train report {run_folder} tries again")


@app.command()
def evaluate(
    source: Annotated[
        Path, typer.Argument(metavar="RUN|CHECKPOINT|MODEL", help="What to evaluate; MODEL is any file for gan-gen.")
    ],
    data: Annotated[str | None, typer.Option(help="Real images to compare with. [default: the training data]")] = None,
    images: Annotated[str, typer.Option(help="Number of samples: 10000, 10k.", metavar="N")] = "10k",
    metrics: Annotated[
        str,
        typer.Option(
            help=f"{', '.join(METRICS)}; separated by commas. [default: all that are available]",
            metavar="NAME,NAME,…",
            show_default=False,
        ),
    ] = "",
    features: Annotated[
        Path | None,
        typer.Option(help="ONNX or TorchScript file of a network, for frechet. [default: a classifier of the labels]"),
    ] = None,
    device: Device = "auto",
    json: Annotated[
        Path | None,
        typer.Option("--json", help="Path of the result. [default: RUN/evaluation.json, MODEL-evaluation.json]"),
    ] = None,
    debug: Debug = False,
) -> None:
    """Measure image quality against real images, and find copies of training images.

    gan-train evaluate runs/dcgan-digits-28 · gan-train evaluate faces.onnx --data photos/ --metrics coverage,ndb
    """
    count = parse_count(images)
    if not 2 <= count <= 1_000_000:
        raise UsageError(f"--images must be at least 2 and at most 1000000, not {count}")
    SETTINGS["device"].check(device)
    with _extra():
        from gankit_train.evaluation.evaluate import evaluate
        from gankit_train.reporting.console import Console, print_evaluation
    with Console() as console:
        result = evaluate(
            source,
            console,
            data=data,
            images=count,
            metrics=parse_names(metrics),
            device=device,
            features=features,
            path=json,
        )
    print_evaluation(result.document)
    picture = f", and {result.document['neighbours']} beside it" if "neighbours" in result.document else ""
    print(f"written: {result.path}{picture}")


@app.command()
def report(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    device: Annotated[str | None, typer.Option(help="auto, cuda or cpu. [default: the device of the run]")] = None,
    debug: Debug = False,
) -> None:
    """Write report.html of a run: samples over time, symptoms, metrics, nearest training images, charts.

    gan-train report runs/dcgan-digits-28
    """
    SETTINGS["device"].check(device)
    with _extra():
        from gankit_train.reporting.console import Console
        from gankit_train.reporting.html import write_report
    with Console() as console:
        print(f"written: {write_report(run_folder, console, device)}")


@app.command()
def presets() -> None:
    """List the recipes for --preset."""
    for name, preset in PRESETS.items():
        print(f"{name:22}{preset.variant:9}{preset.about}")


@contextmanager
def _extra() -> Iterator[None]:
    """Turns a missing module into an error that says how to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise missing_extra(f"gan-train (module {error.name})", "train") from None


def _parameter(setting: Setting, default: Any) -> inspect.Parameter:
    """Makes the option of a setting; its value is None where the default holds."""
    text, repeatable = setting.help, setting.name == "attribute"
    if setting.choices and setting.parse is None:
        text += f" One of {', '.join(map(str, setting.choices))}."
    elif setting.choices:
        text += f" Any of {', '.join(map(str, setting.choices))}."
    if default not in (None, (), "") and default is not False:  # 0 is shown
        text += f" [default: {format_value(setting.name, default)}]"
    kind = list[str] if repeatable else str if setting.parse or setting.choices else setting.type
    kind = int if setting.name == "channels" else kind
    option = typer.Option(
        help=text,
        parser=setting.parse,
        metavar=_METAVARS.get(setting.parse) if setting.parse else None,
        show_default=False,
        rich_help_panel=_COMMON if setting.common else _TITLES[setting.topic],
    )
    annotation = Annotated[kind | None, option]  # type: ignore[valid-type]
    return inspect.Parameter(
        setting.name, inspect.Parameter.KEYWORD_ONLY, default=[] if repeatable else None, annotation=annotation
    )


def _command(variant: str) -> Callable[..., None]:
    """Makes the command of a variant, with an option for each setting and the variant's defaults in their help."""

    def command(
        out: Out = None, fresh: Fresh = False, dry_run: DryRun = False, debug: Debug = False, **settings: Any
    ) -> None:
        _train(variant, out, fresh, dry_run, settings)

    defaults = configure(variant).values()
    ordered = sorted(SETTINGS.values(), key=lambda setting: not setting.common)
    options = [_parameter(setting, defaults[setting.name]) for setting in ordered]
    common = sum(setting.common for setting in ordered)
    out, fresh, dry_run, debug, _ = (
        p.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for p in inspect.signature(command, eval_str=True).parameters.values()
    )
    parameters = [*options[:common], out, fresh, *options[common:], dry_run, debug]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__doc__ = (
        f"{_ABOUT[variant]} The same command resumes a stopped run.\n\n    gan-train {variant} --data digits"
    )
    return command


for _variant in VARIANTS:
    app.command(_variant)(_command(_variant))


def main() -> None:
    """Runs the console script."""
    run("gan-train", app)
