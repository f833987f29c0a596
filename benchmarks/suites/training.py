"""How fast networks learn: whole runs of gan-train beside other trainers on the same images, and a step by itself.

The peers run from checkouts of their own, in a folder of ours: nothing is written into theirs, and none of their code
is here.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count, pairwise
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from benchmarks import limits
from benchmarks.options import Options
from benchmarks.processes import seconds_of
from benchmarks.results import Document, Metric, Row, document
from benchmarks.rounds import FailedError, Measure, MissingError, Values, finish, interleave, timed
from benchmarks.worker import call, environment, last_line
from gankit._errors import UsageError

if TYPE_CHECKING:
    import torch

    from gankit_train.config.settings import Config

BATCH = 64
Settings = tuple[tuple[str, Any], ...]
"""Of gan-train, by name."""


@dataclass(frozen=True)
class Networks:
    """What is trained, by everybody who trains it."""

    name: str
    channels: int
    settings: Settings

    @property
    def metric(self) -> str:
        """Of a whole run."""
        return f"images/s of a run, {self.name}"


DCGAN = Networks("64×64×3 DCGAN (512-256-128-64)", 3, ())
UPSAMPLING = Networks(
    "64×64×1, gankit with layers as in PyTorch-GAN's dcgan.py",
    1,
    (
        ("upsample", True),
        ("g_widths", (128, 128, 64)),
        ("g_strides", (2, 2, 1)),
        ("g_activation", "leaky-relu"),
        ("d_widths", (16, 32, 64, 128)),
        ("d_kernels", (3,)),
        ("dropout", 0.25),
    ),
)
STEP = f"images/s of a step alone, {DCGAN.name}"


@dataclass(frozen=True)
class Peer:
    """Somebody's training script."""

    name: str
    script: str
    """Its path in the checkout, by which that is recognised."""
    networks: Networks
    arguments: Callable[[Path, str], list[object]]
    """Of the folder with the images, and of the device."""
    step: str
    """What a line looks like that it prints after a step."""


PEERS = (
    Peer(
        "pytorch/examples dcgan/main.py",
        "dcgan/main.py",
        DCGAN,
        lambda folder, device: [
            *("--dataset", "folder", "--dataroot", folder / "png", "--batchSize", BATCH, "--niter", 1, "--outf", "out"),
            *(["--accel"] if device == "cuda" else []),
        ],
        r"\[0/1\]\[\d+/",
    ),
    Peer(
        "eriklindernoren/PyTorch-GAN dcgan.py",
        "implementations/dcgan/dcgan.py",
        UPSAMPLING,
        lambda folder, device: ["--batch_size", BATCH, "--img_size", 64, "--channels", 1],
        r"\[Epoch \d+/\d+\] \[Batch \d+/",
    ),
)

# The peers import torchvision, whose compiled operators want CUDA libraries that a CPU build of torch lacks. Its data
# sets need none of them, so registering missing ones may fail for the length of that import.
_LAUNCH = """
import runpy, sys, torch
real = torch.library.register_fake
def tolerant(name, *a, **k):
    return (lambda f: f) if str(name).startswith("torchvision::") else real(name, *a, **k)
torch.library.register_fake = tolerant
import torchvision
torch.library.register_fake = real
torch.set_num_threads(int(sys.argv.pop(1)))
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(options: Options) -> Document:
    """Runs of gan-train and of the peers in turn, each from files to weights; and steps on a batch in memory."""
    scripts = find_peers(options.peer_dirs)
    steps = int(options.pick(240 if options.device == "cuda" else 24, 4))
    auto = call("benchmarks.suites.training:automatic", options.threads, options.device, on=options.device)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _draw(folder, steps)
        numbers = count()
        measures: dict[str, Measure] = {}
        rows: dict[str, Row] = {}
        # Other networks than the DCGAN only beside the peer whose they are.
        trained = [DCGAN] + [peer.networks for peer in scripts if options.peers and peer.networks is not DCGAN]
        for each in trained:
            for precision in ("float32",) if options.quick else ("float32", "auto"):
                way = f"gankit, {precision}" if each is DCGAN else f"gankit, {precision}, PyTorch-GAN's layers"
                measures[way] = partial(_run, each, precision, steps, folder, numbers, options)
                rows[way] = Row(True, auto if precision == "auto" else precision)
        for peer in PEERS if options.peers else ():
            measures[peer.name] = partial(_peer, peer, scripts.get(peer), steps, folder, options)
            rows[peer.name] = Row(False, "float32")
        for precision in () if options.quick else ("float32", "auto"):
            way = f"gankit's step, {precision}"
            measures[way] = partial(_step, precision, options)
            rows[way] = Row(True, auto if precision == "auto" else precision)
        needed = _work(trained, options)
        taken = interleave(measures | limits.measures(options), options.rounds_of(5))
    metrics = {each.metric: Metric("images/s", work=work) for each, work in needed.items()}
    metrics[STEP] = Metric("images/s", work=metrics[DCGAN.metric].work)
    about = (
        f"Drawn bricks at batch {BATCH} from files to weights, on {options.threads} threads, {steps} steps after a "
        f"warm-up of a quarter; what gan-train packs once, before them, is not counted; auto is {auto} here"
    )
    return document("training", about, options, taken, metrics, rows)


def automatic(on: str) -> str:
    """In a process of its own: the precision that `auto` takes."""
    from gankit_train.compute.devices import pick_device, pick_precision

    return "bfloat16" if pick_precision("auto", pick_device(on))._enabled else "float32"


def find_peers(folders: tuple[Path, ...]) -> dict[Peer, Path]:
    """The scripts in the checkouts, which are recognised by their files.

    Raises:
        UsageError: a folder has none of them.
    """
    found: dict[Peer, Path] = {}
    for folder in folders:
        scripts = {peer: folder / peer.script for peer in PEERS if (folder / peer.script).is_file()}
        if not scripts:
            known = " or ".join(f"{peer.script} ({peer.name.split()[0]})" for peer in PEERS)
            raise UsageError(f"--peer-dir {folder} is no checkout of a known trainer: it has no {known}")
        found |= {peer: script.resolve() for peer, script in scripts.items()}
    return found


def _draw(folder: Path, steps: int) -> None:
    """The same bricks for everybody: an array, PNG files in a folder of folders, and MNIST's files in grey."""
    import numpy as np

    from gankit._writers import save_png
    from gankit_train.data.bricks import draw

    images = [draw(i) for i in range((steps // 4 + steps + 2) * BATCH)]
    np.save(folder / "images.npy", np.stack([np.asarray(image) for image in images]))
    for i, image in enumerate(images):
        save_png(folder / "png" / "all" / f"{i:05d}.png", np.asarray(image))
    # Where the script looks from the folder that it is started in; its loader then finds nothing to download.
    raw = folder / "data" / "mnist" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    grey = np.stack([np.asarray(image.convert("L"), np.uint8) for image in images])
    for part in ("train", "t10k"):
        _write_idx(raw / f"{part}-images-idx3-ubyte", grey)
        _write_idx(raw / f"{part}-labels-idx1-ubyte", np.zeros(len(grey), np.uint8))


def _write_idx(path: Path, array: Any) -> None:
    """MNIST's format: two zeros, 8 for bytes, the number of axes, their lengths, the bytes."""
    head = bytes([0, 0, 8, array.ndim]) + b"".join(length.to_bytes(4, "big") for length in array.shape)
    path.write_bytes(head + array.tobytes())


def _run(networks: Networks, precision: str, steps: int, folder: Path, numbers: Any, options: Options) -> Values:
    """What gan-train itself says of its steps after the warm-up."""
    warm, total = steps // 4 * BATCH, (steps // 4 + steps) * BATCH
    out = folder / f"run{next(numbers)}"
    line: list[object] = ["gan-train", "dcgan", "--data", folder / "images.npy", "--channels", networks.channels]
    line += ["--precision", precision, "--device", options.device, "--batch-size", BATCH, *_flags(networks.settings)]
    line += ["--images", total, "--log-every", warm, "--out", out]
    seconds_of(tuple(line), options, folder)
    rows = [json.loads(row) for row in (out / "metrics.jsonl").read_text().splitlines()]
    seconds = [(now["images"] - before["images"]) / now["images_per_s"] for before, now in pairwise(rows)]
    return {networks.metric: (rows[-1]["images"] - rows[0]["images"]) / sum(seconds)}


def _flags(settings: Settings) -> list[str]:
    flags: list[str] = []
    for name, value in settings:
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        flags += [f"--{name.replace('_', '-')}", *([] if value is True else [text])]
    return flags


def _peer(peer: Peer, script: Path | None, steps: int, folder: Path, options: Options) -> Values:
    """From the times at which its lines, one a step, arrive."""
    if script is None:
        raise MissingError(f"no --peer-dir has {peer.script}")
    here = folder / "peer" / "dcgan"
    here.mkdir(parents=True, exist_ok=True)
    arguments = [options.threads, script, *peer.arguments(folder, options.device)]
    line = [sys.executable, "-u", "-c", _LAUNCH, *map(str, arguments)]
    times: list[float] = []
    wanted = steps // 4 + steps
    with (
        (here / "stderr").open("w+") as errors,
        subprocess.Popen(
            line,
            cwd=here,
            env=environment(options.threads, options.device),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        for printed in process.stdout:
            if re.match(peer.step, printed):
                times.append(perf_counter())
            if len(times) > wanted:
                break
        process.kill()
        process.wait()
        errors.seek(0)
        said = last_line(errors.read())
    if len(times) <= wanted:
        raise FailedError(f"it ended after {len(times)} steps: {said}")
    return {peer.networks.metric: steps * BATCH / (times[-1] - times[-1 - steps])}


def _step(precision: str, options: Options) -> Values:
    arguments = {"on": options.device, "precision": precision, "cores": options.threads}
    seconds = options.pick(5.0, 1.0)
    found: Values = call(
        "benchmarks.suites.training:measure_step", options.threads, options.device, seconds=seconds, **arguments
    )
    return found


def _work(trained: list[Networks], options: Options) -> dict[Networks, Values]:
    """What an image takes of each."""
    arguments = {"networks": [[each.channels, each.settings] for each in trained]}
    counted: list[Values] = call("benchmarks.suites.training:work", options.threads, "cpu", **arguments)
    return dict(zip(trained, counted, strict=True))


def trainer(
    on: str, precision: str, cores: int, settings: Settings, channels: int = 3
) -> tuple[Callable[[], object], Config, torch.device, torch.Tensor]:
    """A step of gan-train on a batch that stays the same; its settings, its device and the batch."""
    import torch

    from gankit_train.compute.devices import pick_device, pick_precision
    from gankit_train.config.settings import configure
    from gankit_train.training.step import build, step

    torch.set_num_threads(cores)
    config = configure("dcgan", batch_size=BATCH, **dict(settings))
    device = pick_device(on)
    gan, autocast = build(config, (64, 64, channels), 0, device), pick_precision(precision, device)
    noise = torch.Generator(device).manual_seed(0)
    real = torch.randn(BATCH, channels, 64, 64, generator=noise, device=device).clamp_(-1, 1)
    real = real.contiguous(memory_format=torch.channels_last)

    return partial(finish, partial(step, gan, config, real, None, autocast), on), config, device, real


def measure_step(on: str, precision: str, cores: int, seconds: float) -> Values:
    """In a process of its own."""
    times = timed(trainer(on, precision, cores, ())[0], seconds)
    return {STEP: BATCH * len(times) / sum(times)}


def work(networks: list[tuple[int, list[tuple[str, Any]]]]) -> list[Values]:
    """In a process of its own: the operations that a step takes for an image, forwards and backwards."""
    from torch.utils.flop_counter import FlopCounterMode

    counted = []
    for channels, settings in networks:
        tuples = tuple((name, tuple(value) if isinstance(value, list) else value) for name, value in settings)
        step, *_ = trainer("cpu", "float32", 1, tuples, channels)
        with FlopCounterMode(display=False) as counter:
            step()
        counted.append({limits.OPERATIONS: counter.get_total_flops() / BATCH})
    return counted
