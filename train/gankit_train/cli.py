"""`gan-train`: a command for each variant, with the settings of `Config` as options; evaluate, report, presets."""

import inspect
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from gankit._console import Debug, Version, run
from gankit._errors import UsageError, missing_extra, one_line
from gankit_train.config.config import SETTINGS
from gankit_train.config.flags import format_value, parse_count, parse_ints, parse_names, parse_size
from gankit_train.config.presets import PRESETS
from gankit_train.config.settings import Setting
from gankit_train.config.variants import VARIANTS, configure
from gankit_train.metrics.table import METRICS

app = typer.Typer(help="Train small GANs, and evaluate them.")

_COMMON = "Options"
_TITLES = {
    "dataset": "Data", "networks": "Networks", "objective": "Loss and regularisation", "optimisation": "Optimisation",
    "run": "Run",
}  # fmt: skip
_METAVARS: dict[Any, str] = {
    parse_count: "N", parse_size: "SIZE", parse_ints: "N,N,…", parse_names: "NAME,NAME,…", int: "N", int | None: "N",
    float: "X", float | None: "X", str: "NAME",
}  # fmt: skip
_ABOUT = {
    "vanilla": "Train fully connected networks (Goodfellow et al. 2014).",
    "dcgan": "Train convolutional networks (Radford et al. 2015).",
    "wgan-gp": "Train with the Wasserstein loss and gradient penalty (Gulrajani et al. 2017).",
    "cgan": "Train networks that receive labels (Mirza & Osindero 2014).",
}


def _option(text: str, *flags: str, panel: str | None = None, metavar: str | None = None, parser: Any = None) -> Any:
    shown = "default:" not in text  # else the text itself says what happens without the option
    return typer.Option(*flags, help=text, rich_help_panel=panel, metavar=metavar, parser=parser, show_default=shown)


_OUT = "Run folder. [default: runs/VARIANT-DATA-SIZE, or PRESET-…]"
Out = Annotated[Path | None, _option(_OUT, panel=_COMMON, metavar="PATH")]
Fresh = Annotated[bool, _option("Start another run beside an existing one.", "--fresh", panel=_COMMON)]
DryRun = Annotated[bool, _option("Check everything, take one step, write nothing.", "--dry-run", panel="Run")]


def _train(variant: str, out: Path | None, fresh: bool, dry_run: bool, settings: dict[str, Any]) -> None:
    """Trains a variant, writes report.html, and exits with 130 or 143 after SIGINT or SIGTERM."""
    if settings["images"] is not None and settings["epochs"] is not None:
        raise UsageError("--images and --epochs both give the length of the run: give one of them")
    config = configure(variant, **{k: tuple(v) if isinstance(v, list) else v for k, v in settings.items() if v != []})
    with _extra():
        from gankit_train.compute.distributed import shut_down
        from gankit_train.reporting.console import Console
        from gankit_train.training.loop import train
        from gankit_train.training.recorder import DivergedError
    with Console() as console:
        try:
            result = train(config, console, out, fresh=fresh, dry_run=dry_run)
        except DivergedError as error:
            _write_report(error.run, console, complete=False)
            raise
        if result.trained:
            _write_report(result.run, console, complete=result.signal is None)
    exit_code = 0 if result.signal is None else 128 + result.signal
    shut_down(exit_code)
    sys.exit(exit_code)


def _write_report(run_folder: Path, console: Any, *, complete: bool) -> None:
    """Writes report.html from the main process, without the search for nearest images if the run is not complete."""
    if os.environ.get("RANK", "0") != "0":  # of torchrun
        return
    try:
        from gankit_train.reporting.html import write_report

        console.line(f"{'report':10}{write_report(run_folder, console, neighbours=complete)}")
    except Exception as error:  # the trained model exists in spite of any error here
        console.line(f"{'report':10}not written: {one_line(error)}; gan-train report {run_folder} tries again")


def _parameter(setting: Setting, default: Any) -> inspect.Parameter:
    """Makes the option of a setting; its value is None, or empty, where the default holds."""
    text, repeatable = setting.help, setting.name == "attribute"
    kind = type(setting.choices[0]) if setting.choices else str if setting.parse else setting.type
    metavar = "LABEL" if repeatable else _METAVARS.get(setting.parse or kind)
    if setting.choices and not setting.parse:
        metavar = "|".join(map(str, setting.choices))
    elif setting.choices:
        text += f" Any of {', '.join(setting.choices)}."
    if default not in (None, (), "") and default is not False:  # 0 is shown
        text += f" [default: {format_value(setting.name, default)}]"
    panel = _COMMON if setting.common else _TITLES[setting.topic]
    option = _option(text, panel=panel, metavar=metavar, parser=setting.parse)
    annotation = Annotated[list[str] if repeatable else kind | None, option]  # type: ignore[valid-type]
    default = [] if repeatable else None
    return inspect.Parameter(setting.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _command(variant: str) -> Callable[..., None]:
    """Makes the command of a variant, with an option for each setting and the variant's defaults in their help."""

    def command(
        *, out: Out = None, fresh: Fresh = False, dry_run: DryRun = False, debug: Debug = False, **settings: Any
    ) -> None:
        _train(variant, out, fresh, dry_run, settings)

    defaults = configure(variant).values()
    common = [_parameter(each, defaults[each.name]) for each in SETTINGS.values() if each.common]
    others = [_parameter(each, defaults[each.name]) for each in SETTINGS.values() if not each.common]
    out, fresh, dry_run, debug, _ = inspect.signature(command).parameters.values()
    signature = inspect.Signature([*common, out, fresh, *others, dry_run, debug])
    command.__signature__ = signature  # type: ignore[attr-defined]
    about = f"{_ABOUT[variant]} The same command resumes a stopped run."
    command.__doc__ = f"{about}\n\n    gan-train {variant} --data digits"
    return command


@app.callback()
def _main(version: Version = False) -> None:
    """Train small GANs, and evaluate them."""


for _variant in VARIANTS:
    app.command(_variant, short_help=_ABOUT[_variant])(_command(_variant))


@app.command()
def evaluate(
    source: Annotated[Path, typer.Argument(metavar="RUN|CHECKPOINT|MODEL", help="A MODEL is any file for gan-gen.")],
    data: Annotated[str | None, _option("Real images to compare with. [default: the training data]")] = None,
    images: Annotated[str, _option("Number of samples: 10000, 10k.", metavar="N")] = "10k",
    metrics: Annotated[
        str, _option(f"Any of {', '.join(METRICS)}. [default: all that are available]", metavar="NAME,NAME,…")
    ] = "",
    features: Annotated[
        Path | None,
        _option("ONNX or TorchScript file of a network, for frechet. [default: a classifier of the labels]"),
    ] = None,
    device: Annotated[str, _option("auto, cuda or cpu.")] = "auto",
    json: Annotated[
        Path | None, _option("Path of the result. [default: RUN/evaluation.json, MODEL-evaluation.json]", "--json")
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
    names = parse_names(metrics)
    with Console() as console:
        result = evaluate(
            source, console, data=data, images=count, metrics=names, device=device, features=features, path=json
        )
    print_evaluation(result.document)
    picture = f", and {result.document['neighbours']} beside it" if "neighbours" in result.document else ""
    print(f"written: {result.path}{picture}")


@app.command()
def report(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    device: Annotated[str | None, _option("auto, cuda or cpu. [default: the device of the run]")] = None,
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


def _report_error(line: str) -> None:
    """Prints an error in the first process of each machine; under torchrun, all processes meet the same errors."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(line, file=sys.stderr)
    else:
        time.sleep(30)  # torchrun ends all processes with the first one, which must be the one that prints


def main() -> None:
    """Runs the console script."""
    run("gan-train", app, report=_report_error)
