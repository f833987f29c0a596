"""`python -m benchmarks`: lists the suites, runs those that are named, and shows what came of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer

from benchmarks.machine import machine
from benchmarks.options import QUICK_RESULTS, RESULTS, Options
from benchmarks.results import read_all, write
from benchmarks.rounds import FailedError, MissingError
from benchmarks.suites import SUITES
from benchmarks.table import page, section, with_results
from benchmarks.worker import ROOT
from gankit._console import Debug, run
from gankit._errors import GankitError, UsageError
from gankit._files import atomic_write

_PROGRAM = "python -m benchmarks"
_DEVICES = ("cpu", "cuda")

Results = Annotated[Path, typer.Option(help="Folder of the results.")]
Device = Annotated[str, typer.Option(help="cpu or cuda, which must be there.")]
Quick = Annotated[bool, typer.Option("--quick", help="All in under two minutes, into build/: it works, no more.")]
Model = Annotated[Path | None, typer.Option("-m", "--model", help="ONNX file to sample from instead.")]
_WHERE = "Folder of the results. [default: benchmarks/results]"
Rounds = Annotated[int | None, typer.Option(min=1, help="How often everything is measured. [default: the suite's]")]


def suites(
    names: Annotated[list[str] | None, typer.Argument(metavar="SUITE…|all", help="What to run.")] = None,
    device: Device = "cpu",
    quick: Quick = False,
    peers: Annotated[bool, typer.Option(help="Measure others beside gankit.")] = True,
    peer_dir: Annotated[
        list[Path] | None, typer.Option(help="Checkout of pytorch/examples or PyTorch-GAN, for training; repeatable.")
    ] = None,
    rounds: Rounds = None,
    model: Model = None,
    results: Annotated[Path | None, typer.Option(help=_WHERE)] = None,
    debug: Debug = False,
) -> None:
    """Measure gankit on this machine.

    python -m benchmarks all · python -m benchmarks sampling serving --device cuda

    python -m benchmarks table|chart|profile --help
    """
    if not names:
        for name, about in SUITES.items():
            print(f"{name:10}{about}")
        for name, command in _COMMANDS.items():
            print(f"{name:10}{(command.__doc__ or '').splitlines()[0]}")
        return
    if unknown := [name for name in names if name not in (*SUITES, "all")]:
        raise UsageError(f"there is no suite {unknown[0]!r}; there are {', '.join(SUITES)} and all")
    options = _options(device, quick, peers, tuple(peer_dir or ()), rounds, model, results)
    failed: list[str] = []
    for name in SUITES if "all" in names else dict.fromkeys(names):
        print(f"{name}, {device}", flush=True)
        begin = perf_counter()
        try:
            made = import_module(f"benchmarks.suites.{name}").run(options)
        except (MissingError, FailedError) as reason:  # of what the whole suite needs, such as the model
            failed.append(f"{name} ({reason})")
            continue
        print(f"wrote {write(made, options.results)} after {perf_counter() - begin:.0f} s", flush=True)
    if failed:
        raise GankitError(f"what could not be measured: {'; '.join(failed)}")


def table(
    into_files: Annotated[bool, typer.Option("--write", help="Into README.md and the folder of results too.")] = False,
    results: Results = RESULTS,
    debug: Debug = False,
) -> None:
    """The stored results as Markdown."""
    documents = read_all(results)
    print(page(documents))
    if into_files:
        readme = ROOT / "README.md"
        texts = {results / "README.md": page(documents), readme: with_results(readme.read_text(), documents)}
        for path, text in texts.items():
            with atomic_write(path) as temporary:
                temporary.write_text(text)
            print(f"wrote {path}", file=sys.stderr)


def chart(results: Results = RESULTS, debug: Debug = False) -> None:
    """The stored results as PNG and SVG, beside them."""
    from benchmarks.chart import draw

    for path in draw(read_all(results), results):
        print(f"wrote {path}")


def profile(
    model: Model = None,
    batch: Annotated[int, typer.Option(min=1, help="Images.")] = 16,
    device: Device = "cpu",
    quick: Quick = False,
    rounds: Rounds = None,
    results: Annotated[Path | None, typer.Option(help=_WHERE)] = None,
    debug: Debug = False,
) -> None:
    """Where the time of a batch goes: latents, transfers, each node, conversion."""
    from benchmarks.profile import run as measure

    options = _options(device, quick, rounds=rounds, model=model, results=results)
    try:
        made = measure(options, batch)
    except (MissingError, FailedError) as reason:
        raise GankitError(f"it cannot be profiled: {reason}") from reason
    print(section(made))
    print(f"wrote {write(made, options.results)}")


def _options(
    device: str,
    quick: bool,
    peers: bool = True,
    peer_dirs: tuple[Path, ...] = (),
    rounds: int | None = None,
    model: Path | None = None,
    results: Path | None = None,
) -> Options:
    """Refuses what cannot be, before anything is measured."""
    if device not in _DEVICES:
        raise UsageError(f"--device is one of {', '.join(_DEVICES)}, not {device!r}")
    if device == "cuda":
        from gankit_train.compute.devices import pick_device

        pick_device(device)
    if model is not None and not (model.suffix == ".onnx" and model.is_file()):
        raise UsageError(f"--model must be an ONNX file, and {model} is none")
    machine()  # before anything is measured or written
    results = results or (QUICK_RESULTS if quick else RESULTS)
    return Options(device, quick, peers, peer_dirs, rounds, model, results)


_COMMANDS: dict[str, Callable[..., None]] = {"table": table, "chart": chart, "profile": profile}


def main() -> None:
    """A command that shows something, or the suites to run."""
    if (name := (sys.argv[1:] or [""])[0]) in _COMMANDS:
        sys.argv.pop(1)
        run(f"{_PROGRAM} {name}", _COMMANDS[name])
    run(_PROGRAM, suites)


if __name__ == "__main__":
    main()
