"""The commands of `python -m benchmarks`."""

from __future__ import annotations

import sys
from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer

from benchmarks.machine import machine_info
from benchmarks.measurement import FailedError, UnavailableError
from benchmarks.options import QUICK_RESULTS, RESULTS, Options
from benchmarks.results import read_all, write
from benchmarks.suites.table import SUITES
from benchmarks.tables import full_tables, replace_between_markers, suite_section, summary_table
from benchmarks.worker import ROOT
from gankit._console import Debug
from gankit._console import run as run_command
from gankit._errors import GankitError, UsageError
from gankit._files import atomic_write

_PROGRAM = "python -m benchmarks"
_DEVICES = ("cpu", "cuda")
DOCS = ROOT / "docs"
_SUITE_LIST = "\n\n".join(f"{name}: {suite.description}" for name, suite in SUITES.items())

Results = Annotated[Path, typer.Option(help="Folder of the results.", show_default="benchmarks/results")]
NewResults = Annotated[
    Path | None,
    typer.Option(help=f"Folder of the results. [default: benchmarks/results; with --quick {QUICK_RESULTS}]"),
]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]
Quick = Annotated[bool, typer.Option("--quick", help="Only check that everything works, in two minutes.")]
Model = Annotated[
    Path | None, typer.Option("-m", "--model", help="ONNX file to sample from. [default: a 64×64 DCGAN, not trained]")
]
Rounds = Annotated[int | None, typer.Option(min=1, help="Number of interleaved rounds. [default: the suite's]")]

app = typer.Typer(help="Measure the speed and memory of gankit.", add_completion=False)


@app.command("run", epilog=_SUITE_LIST)
def run_suites(
    names: Annotated[list[str], typer.Argument(metavar="SUITE…|all", help="Suites to run, listed below.")],
    device: Device = "cpu",
    quick: Quick = False,
    baselines: Annotated[bool, typer.Option(help="Measure the baselines too.")] = True,
    baseline_dir: Annotated[
        list[Path] | None,
        typer.Option(help="Checkout of pytorch/examples or PyTorch-GAN, for the suite training; repeatable."),
    ] = None,
    rounds: Rounds = None,
    model: Model = None,
    results: NewResults = None,
    debug: Debug = False,
) -> None:
    """Run suites and store their results.

    python -m benchmarks run all · python -m benchmarks run sampling serving --device cuda
    """
    if unknown := [name for name in names if name not in (*SUITES, "all")]:
        raise UsageError(f"there is no suite {unknown[0]!r}; the suites are {', '.join(SUITES)}, or all of them: all")
    options = _options(device, quick, baselines, tuple(baseline_dir or ()), rounds, model, results)
    failed: list[str] = []
    for name in SUITES if "all" in names else dict.fromkeys(names):
        print(f"{name}, {device}", flush=True)
        begin = perf_counter()
        try:
            document = SUITES[name].run(options)
        except (UnavailableError, FailedError) as reason:  # the suite needs it as a whole, such as the model
            failed.append(f"{name} ({reason})")
            continue
        print(f"wrote {write(document, options.results)} after {perf_counter() - begin:.0f} s", flush=True)
    if failed:
        raise GankitError(f"these suites could not be measured: {'; '.join(failed)}")


@app.command()
def table(
    write_files: Annotated[
        bool, typer.Option("--write", help="Write the tables into docs/benchmarks.md and README.md too.")
    ] = False,
    results: Results = RESULTS,
    debug: Debug = False,
) -> None:
    """Print the stored results as Markdown."""
    documents = read_all(results)
    tables = full_tables(documents)
    print(tables)
    if write_files:
        contents = {DOCS / "benchmarks.md": tables, ROOT / "README.md": summary_table(documents)}
        for path, content in contents.items():
            text = replace_between_markers(path.read_text(), content)
            with atomic_write(path) as temporary:
                temporary.write_text(text)
            print(f"wrote {path}", file=sys.stderr)


@app.command()
def chart(
    results: Results = RESULTS,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the charts.", show_default="docs")] = DOCS,
    debug: Debug = False,
) -> None:
    """Draw the stored results as PNG and SVG."""
    from benchmarks.chart import draw

    for path in draw(read_all(results), out):
        print(f"wrote {path}")


@app.command()
def profile(
    model: Model = None,
    batch: Annotated[int, typer.Option(min=1, help="Number of images.")] = 16,
    device: Device = "cpu",
    quick: Quick = False,
    rounds: Rounds = None,
    results: NewResults = None,
    debug: Debug = False,
) -> None:
    """Measure where the time of one batch goes."""
    from benchmarks.profile import run

    options = _options(device, quick, rounds=rounds, model=model, results=results)
    try:
        document = run(options, batch)
    except (UnavailableError, FailedError) as reason:
        raise GankitError(f"the model cannot be profiled: {reason}") from reason
    print(suite_section(document))
    print(f"wrote {write(document, options.results)}")


@app.command()
def soak(
    minutes: Annotated[float, typer.Option(min=0.01, help="Minutes of mixed requests.")] = 60,
    model: Annotated[
        Path | None, typer.Option("-m", "--model", help="Model file. [default: the bundled faces]")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cuda, cpu or openvino.")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="Number of threads that send requests.")] = 4,
    requests: Annotated[int, typer.Option(min=0, help="Number of requests after which to stop; 0: no limit.")] = 0,
    stream: Annotated[int, typer.Option(min=0, help="Instead of mixed requests, one stream of so many images.")] = 0,
    max_growth: Annotated[float, typer.Option(help="MB by which memory may grow after the warm-up.")] = 16,
    results: Results = RESULTS,
    debug: Debug = False,
) -> None:
    """Send requests for an hour and watch the memory.

    Fails if memory grows or an image is wrong.

    python -m benchmarks soak --minutes 60 · python -m benchmarks soak --stream 1000000
    """
    from benchmarks.soak.report import check, write_report
    from benchmarks.soak.runs import mixed_requests, one_stream

    if not Path("/proc/self/statm").exists():
        raise UsageError("soak reads the memory of the process from /proc, which this system lacks; run it on Linux")
    machine_info()
    mixed = (model, device, minutes, requests, threads)
    record = one_stream(model, device, stream) if stream else mixed_requests(*mixed)
    print(f"wrote {write_report(record, max_growth, results)}")
    check(record, max_growth)


def _options(
    device: str,
    quick: bool,
    baselines: bool = True,
    baseline_dirs: tuple[Path, ...] = (),
    rounds: int | None = None,
    model: Path | None = None,
    results: Path | None = None,
) -> Options:
    """Checks the options before anything is measured.

    Raises:
        GankitError: an option has an unusable value.
    """
    if device not in _DEVICES:
        raise UsageError(f"--device must be {' or '.join(_DEVICES)}, not {device!r}")
    if device == "cuda":
        from gankit_train.compute.devices import pick_device

        pick_device(device)
    if model is not None and not (model.suffix == ".onnx" and model.is_file()):
        raise UsageError(f"--model must be an ONNX file, and {model} is not")
    machine_info()  # before the load average shows the benchmarks themselves
    results = results or (QUICK_RESULTS if quick else RESULTS)
    return Options(device, quick, baselines, baseline_dirs, rounds, model, results)


def main() -> None:
    """Runs the command line; a user's error is one line on stderr, with exit code 1 or 2."""
    run_command(_PROGRAM, app)
