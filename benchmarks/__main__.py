"""The suites."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import count, pairwise
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.measure import Measure, interleave, markdown, ratio, summary, write
from benchmarks.sampling import BATCH, WAYS

app = typer.Typer(add_completion=False, rich_markup_mode=None, help="Measure gankit on this machine.")
_BIN = Path(sys.executable).parent
_BATCH = 64

# The peer imports torchvision, whose compiled operators want CUDA libraries that a CPU build of torch lacks. Its data
# sets need none of them, so registering missing ones may fail for the length of that import.
_PEER = """
import runpy, sys, torch
real = torch.library.register_fake
def tolerant(name, *a, **k):
    return (lambda f: f) if str(name).startswith("torchvision::") else real(name, *a, **k)
torch.library.register_fake = tolerant
import torchvision
torch.library.register_fake = real
sys.argv = ["main.py", *sys.argv[1:]]
runpy.run_path("main.py", run_name="__main__")
"""


@app.callback(invoke_without_command=True)
def every(context: typer.Context) -> None:
    """All suites, where none is named."""
    if context.invoked_subcommand is None:
        startup()
        export()
        loader()
        sampling()
        training()


@app.command()
def training(
    peer_dir: Annotated[Path | None, typer.Option(help="Checkout of pytorch/examples to measure beside.")] = None,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    steps: Annotated[int, typer.Option(min=4, help="Steps counted in a round, after a warm-up of a quarter.")] = 24,
) -> None:
    """Images a second of a 64×64×3 DCGAN at batch 64 on the avatars, 512-256-128-64, from files to weights."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        numbers = count()
        measures: dict[str, Measure] = {
            "gankit float32": lambda: _gankit(folder / str(next(numbers)), "float32", steps),
            "gankit auto": lambda: _gankit(folder / str(next(numbers)), "auto", steps),
        }
        if peer_dir is not None:
            images = _as_files(folder / "images")
            peer = (peer_dir / "dcgan").resolve()
            measures["pytorch/examples dcgan/main.py float32"] = lambda: _peer(peer, images, folder, steps)
        else:
            print("no --peer-dir: pytorch/examples is left out")
        taken = interleave(measures, rounds)
    results = {name: summary(values) for name, values in taken.items()}
    names = list(taken)
    ratios = {f"{a} / {names[2]}": ratio(taken[a], taken[names[2]]) for a in names[:2]} if len(names) > 2 else {}
    write("training", {"unit": "images/s", "batch_size": _BATCH, "results": results, "ratios": ratios})


def _gankit(run: Path, precision: str, steps: int) -> float:
    """What the trainer itself says of its steps after the warm-up."""
    warm, total = steps // 4 * _BATCH, (steps // 4 + steps) * _BATCH
    line = [_BIN / "gan-train", "dcgan", "--data", "avatars", "--size", 64, "--precision", precision, "--device", "cpu"]
    line += ["--batch-size", _BATCH, "--images", total, "--log-every", warm, "--out", run]
    subprocess.run(list(map(str, line)), check=True, capture_output=True)
    rows = [json.loads(row) for row in (run / "metrics.jsonl").read_text().splitlines()]
    seconds = [(now["images"] - before["images"]) / now["images_per_s"] for before, now in pairwise(rows)]
    return float((rows[-1]["images"] - rows[0]["images"]) / sum(seconds))


def _peer(folder: Path, images: Path, out: Path, steps: int) -> float:
    """From the times at which its lines, one a step, arrive."""
    arguments = [
        "--dataset",
        "folder",
        "--dataroot",
        images,
        "--batchSize",
        _BATCH,
        "--niter",
        1,
        "--outf",
        out / "peer",
    ]
    line = [sys.executable, "-u", "-c", _PEER, *map(str, arguments)]
    with subprocess.Popen(line, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        times = []
        for printed in process.stdout:
            if re.match(r"\[0/1\]\[\d+/", printed):
                times.append(time.perf_counter())
            if len(times) > steps // 4 + steps:
                break
        process.kill()
    if len(times) <= steps // 4 + steps:
        raise SystemExit("the peer failed: it ended before its steps were done")
    return steps * _BATCH / (times[-1] - times[-1 - steps])


def _as_files(folder: Path) -> Path:
    """The avatars at 64×64 as PNG files for the peer, whose loader wants a folder of folders."""
    from gankit.images import save_png
    from gankit_train.data import open_dataset

    for i, image in enumerate(open_dataset("avatars", (64, 64)).images[:4000]):
        save_png(folder / "all" / f"{i:05d}.png", image)
    return folder


@app.command()
def loader(rounds: Annotated[int, typer.Option(min=1)] = 9) -> None:
    """What fetching a batch takes beside the step that trains on it: the net of `training`, precision auto."""
    import torch

    from gankit_train.batches import Batches
    from gankit_train.config import configure
    from gankit_train.data import open_dataset
    from gankit_train.devices import pick_precision
    from gankit_train.step import build, step

    config, device = configure("dcgan", batch_size=_BATCH), torch.device("cpu")
    data = open_dataset("avatars", (64, 64))
    gan, batches, autocast = (
        build(config, (64, 64, 3), 0, device),
        Batches(data, config, device),
        pick_precision("auto", device),
    )
    images = count(0, _BATCH)

    def seconds(work: Callable[[], object]) -> float:
        begin = time.perf_counter()
        work()
        return time.perf_counter() - begin

    real, _ = batches.after(0)
    step(gan, config, real, None, autocast)
    measures: dict[str, Measure] = {
        "fetching a batch": lambda: seconds(lambda: batches.after(next(images))),
        "a step of the 64×64 DCGAN": lambda: seconds(lambda: step(gan, config, real, None, autocast)),
    }
    taken = interleave(measures, rounds)
    fetch, whole = taken
    ratios = {f"{fetch} / {whole}": ratio(taken[fetch], taken[whole])}
    write("loader", {"unit": "s", "results": {n: summary(v) for n, v in taken.items()}, "ratios": ratios})


@app.command()
def export(rounds: Annotated[int, typer.Option(min=1)] = 3) -> None:
    """Seconds from a checkpoint of the 64×64 DCGAN (512-256-128-64) to proved files, as whole processes, and sizes."""
    with tempfile.TemporaryDirectory() as folder:

        def run(*line: object) -> None:
            subprocess.run([str(_BIN / str(line[0])), *map(str, line[1:])], check=True, capture_output=True, cwd=folder)

        def seconds(*flags: str) -> float:
            begin = time.perf_counter()
            run("gan-export", "run", "-o", "-".join(flags), *flags)
            return time.perf_counter() - begin

        run("gan-train", "dcgan", "--data", "avatars", "--size", 64, "--images", _BATCH, "--out", "run")
        flags = {
            "gan-export --onnx --torchscript": ("--onnx", "--torchscript"),
            "gan-export --onnx --compact": ("--onnx", "--compact"),
        }
        taken = interleave({name: partial(seconds, *each) for name, each in flags.items()}, rounds)
        sizes = {path.parent.name + "/" + path.name: path.stat().st_size for path in Path(folder).glob("--*/*")}
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    results = {name: summary(values) for name, values in taken.items()}
    write("export", {"unit": "s", "results": results, "bytes": sizes, "peak_bytes_of_any_process": peak})


@app.command()
def sampling(rounds: Annotated[int, typer.Option(min=1)] = 5) -> None:
    """Images a second on the CPU from the same weights of a 64×64 DCGAN (512-256-128-64), in batches of 128."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        line = ["dcgan", "--data", "avatars", "--size", 64, "--images", _BATCH, "--out", folder / "run"]
        subprocess.run([str(_BIN / "gan-train"), *map(str, line)], check=True, capture_output=True)
        subprocess.run([str(_BIN / "gan-export"), str(folder / "run")], check=True, capture_output=True)
        files = [str(folder / "run" / "run.onnx"), str(folder / "run" / "checkpoints" / f"{_BATCH:09d}.pt")]

        def images_per_s(way: str) -> float:
            line = [sys.executable, "-m", "benchmarks.sampling", way, *files]
            done = subprocess.run(line, check=True, capture_output=True, text=True)
            return float(done.stdout.splitlines()[-1])

        taken = interleave({way: partial(images_per_s, way) for way in WAYS}, rounds)
    results = {name: summary(values) for name, values in taken.items()}
    ours, *others = taken
    best = max(others, key=lambda name: results[name]["median"])
    ratios = {f"{ours} / {best}": ratio(taken[ours], taken[best])}
    write("sampling", {"unit": "images/s", "batch_size": BATCH, "results": results, "ratios": ratios})


@app.command()
def startup(rounds: Annotated[int, typer.Option(min=1)] = 9) -> None:
    """Seconds of whole processes: the help texts, and 64 images from a cold start."""
    with tempfile.TemporaryDirectory() as folder:

        def seconds(*line: str) -> float:
            begin = time.perf_counter()
            subprocess.run([str(_BIN / line[0]), *line[1:]], check=True, capture_output=True, cwd=folder)
            return time.perf_counter() - begin

        commands = {
            "gan-train --help": ("gan-train", "--help"),
            "gan-export --help": ("gan-export", "--help"),
            "gan-gen --help": ("gan-gen", "--help"),
            "gan-gen -n 64": ("gan-gen", "-n", "64", "--device", "cpu"),
        }
        for line in commands.values():
            seconds(*line)  # the files into the page cache
        taken = interleave({name: partial(seconds, *line) for name, line in commands.items()}, rounds)
    write("startup", {"unit": "s", "results": {name: summary(values) for name, values in taken.items()}})


@app.command()
def table() -> None:
    """The results that are stored, as the Markdown of the README."""
    print("\n".join(markdown()))


if __name__ == "__main__":
    app()
