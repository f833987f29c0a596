"""The trainers that are compared: gan-train and the training scripts of others, on the same images.

The baselines run from checkouts of the user's, in a temporary folder: nothing is written into the checkouts, and none
of their code is in this repository.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.commands import run_command
from benchmarks.measurement import FailedError, UnavailableError, Values, synchronized
from benchmarks.options import Options
from benchmarks.worker import last_line, process_environment
from gankit._errors import UsageError

if TYPE_CHECKING:
    import torch

    from gankit_train.config.config import Config

BATCH = 64
Settings = tuple[tuple[str, Any], ...]
"""Settings of gan-train: (name, value)."""


@dataclass(frozen=True)
class Networks:
    """The architecture that several trainers train."""

    name: str
    channels: int
    settings: Settings
    """The settings with which gan-train builds it."""

    @property
    def metric(self) -> str:
        """The metric of a whole run."""
        return f"images/s of a training run, {self.name}"


DCGAN = Networks("64×64×3 DCGAN (512-256-128-64)", 3, ())
UPSAMPLING = Networks(
    "64×64×1 with the layers of PyTorch-GAN's dcgan.py",
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


@dataclass(frozen=True)
class Baseline:
    """A training script of another project."""

    name: str
    script: str
    """Its path in the checkout, by which the checkout is recognised."""
    networks: Networks
    arguments: Callable[[Path, str], list[object]]
    """Its command line, from the folder of the images and the device."""
    step_line: str
    """Regular expression for the line that it prints after each step."""


BASELINES = (
    Baseline(
        "pytorch/examples dcgan/main.py",
        "dcgan/main.py",
        DCGAN,
        lambda folder, device: [
            *("--dataset", "folder", "--dataroot", folder / "png", "--batchSize", BATCH, "--niter", 1, "--outf", "out"),
            *(["--accel"] if device == "cuda" else []),
        ],
        r"\[0/1\]\[\d+/",
    ),
    Baseline(
        "eriklindernoren/PyTorch-GAN dcgan.py",
        "implementations/dcgan/dcgan.py",
        UPSAMPLING,
        lambda folder, device: ["--batch_size", BATCH, "--img_size", 64, "--channels", 1],
        r"\[Epoch \d+/\d+\] \[Batch \d+/",
    ),
)

# The scripts import torchvision. Its compiled operators need CUDA libraries that a CPU build of torch lacks, but its
# data sets need no such operator. So during that import, the registration of torchvision's operators does nothing.
_LAUNCH = """
import runpy, sys, torch
register = torch.library.register_fake
def register_others(name, *a, **k):
    return (lambda f: f) if str(name).startswith("torchvision::") else register(name, *a, **k)
torch.library.register_fake = register_others
import torchvision
torch.library.register_fake = register
torch.set_num_threads(int(sys.argv.pop(1)))
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def find_baselines(folders: tuple[Path, ...]) -> dict[Baseline, Path]:
    """Finds the baselines' scripts in checkouts.

    Raises:
        UsageError: a folder has none of the scripts.
    """
    found: dict[Baseline, Path] = {}
    for folder in folders:
        scripts = {each: folder / each.script for each in BASELINES if (folder / each.script).is_file()}
        if not scripts:
            known = " or ".join(f"{each.script} ({each.name.split()[0]})" for each in BASELINES)
            raise UsageError(f"--baseline-dir {folder} is not a checkout of a known trainer: it has no {known}")
        found |= {each: script.resolve() for each, script in scripts.items()}
    return found


def write_images(folder: Path, steps: int) -> None:
    """Writes the same drawn bricks for every trainer, enough for a warm-up of a quarter of `steps` and the steps.

    `images.npy` is uint8 [n, 64, 64, 3], `png/all/` has them as PNG files, and `data/mnist/` as grey images in MNIST's
    format.
    """
    from gankit._writers import save_png
    from gankit_train.data.bricks import draw

    images = [draw(i) for i in range((steps // 4 + steps + 2) * BATCH)]
    np.save(folder / "images.npy", np.stack([np.asarray(image) for image in images]))
    for i, image in enumerate(images):
        save_png(folder / "png" / "all" / f"{i:05d}.png", np.asarray(image))
    # Where torchvision's MNIST finds them, and so downloads nothing.
    raw = folder / "data" / "mnist" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    grey = np.stack([np.asarray(image.convert("L"), np.uint8) for image in images])
    for part in ("train", "t10k"):
        _write_idx(raw / f"{part}-images-idx3-ubyte", grey)
        _write_idx(raw / f"{part}-labels-idx1-ubyte", np.zeros(len(grey), np.uint8))


def _write_idx(path: Path, array: NDArray[np.uint8]) -> None:
    """Writes MNIST's format: two zeros, 8 for uint8, the number of axes, their lengths in four bytes each, the data."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(length.to_bytes(4, "big") for length in array.shape)
    path.write_bytes(header + array.tobytes())


def run_gan_train(networks: Networks, precision: str, steps: int, images: Path, out: Path, options: Options) -> Values:
    """Trains with gan-train for `steps` steps after a warm-up; the rate is the one in its own log."""
    warmup, total = steps // 4 * BATCH, (steps // 4 + steps) * BATCH
    line: list[object] = ["gan-train", "dcgan", "--data", images, "--channels", networks.channels]
    line += ["--precision", precision, "--device", options.device, "--batch-size", BATCH, *flags(networks.settings)]
    line += ["--images", total, "--log-every", warmup, "--out", out]
    run_command(tuple(line), options, out.parent)
    rows = [json.loads(row) for row in (out / "metrics.jsonl").read_text().splitlines()]
    seconds = [(now["images"] - before["images"]) / now["images_per_s"] for before, now in pairwise(rows)]
    return {networks.metric: (rows[-1]["images"] - rows[0]["images"]) / sum(seconds)}


def flags(settings: Settings) -> list[str]:
    """gan-train's command line for these settings."""
    line: list[str] = []
    for name, value in settings:
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        line += [f"--{name.replace('_', '-')}", *([] if value is True else [text])]
    return line


def run_baseline(baseline: Baseline, script: Path | None, steps: int, folder: Path, options: Options) -> Values:
    """Trains with a baseline's script; the rate follows from the times at which it prints the line of each step.

    Raises:
        UnavailableError: `script` is None.
        FailedError: the script ends too early.
    """
    if script is None:
        raise UnavailableError(f"no --baseline-dir has {baseline.script}")
    working_folder = folder / "baseline" / "dcgan"  # PyTorch-GAN's script looks for ../../data/mnist
    working_folder.mkdir(parents=True, exist_ok=True)
    arguments = [options.threads, script, *baseline.arguments(folder, options.device)]
    line = [sys.executable, "-u", "-c", _LAUNCH, *map(str, arguments)]
    environment = process_environment(options.threads, options.device)
    times: list[float] = []
    wanted = steps // 4 + steps
    with (
        (working_folder / "stderr").open("w+") as errors,
        subprocess.Popen(
            line, cwd=working_folder, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        assert process.stdout is not None
        for printed in process.stdout:
            if re.match(baseline.step_line, printed):
                times.append(perf_counter())
            if len(times) > wanted:
                break
        process.kill()
        process.wait()
        errors.seek(0)
        reason = last_line(errors.read())
    if len(times) <= wanted:
        raise FailedError(f"it ended after {len(times)} steps: {reason}")
    return {baseline.networks.metric: steps * BATCH / (times[-1] - times[-1 - steps])}


class Step(NamedTuple):
    """A training step of gan-train on a fixed batch."""

    call: Callable[[], object]
    """Takes the step and, on a GPU, waits for it."""
    config: Config
    device: torch.device
    batch: torch.Tensor
    """float32 [BATCH, channels, 64, 64] in [-1, 1]."""


def training_step(device: str, precision: str, threads: int, settings: Settings = (), channels: int = 3) -> Step:
    """Builds the networks of `gan-train dcgan` and a step on random images."""
    import torch

    from gankit_train.compute.devices import pick_device, pick_precision
    from gankit_train.config.variants import configure
    from gankit_train.models.gan import build_gan
    from gankit_train.training.step import train_step

    torch.set_num_threads(threads)
    config = configure("dcgan", batch_size=BATCH, **dict(settings))
    torch_device = pick_device(device)
    gan, autocast = build_gan(config, (64, 64, channels), 0, torch_device), pick_precision(precision, torch_device)
    noise = torch.Generator(torch_device).manual_seed(0)
    real = torch.randn(BATCH, channels, 64, 64, generator=noise, device=torch_device).clamp_(-1, 1)
    real = real.contiguous(memory_format=torch.channels_last)
    return Step(
        partial(synchronized, partial(train_step, gan, config, real, None, autocast), device),
        config,
        torch_device,
        real,
    )


def auto_precision(device: str, threads: int) -> str:
    """Runs in its own process: what `--precision auto` takes on this device, `bfloat16` or `float32`."""
    from gankit_train.compute.devices import pick_device, pick_precision

    return "bfloat16" if pick_precision("auto", pick_device(device))._enabled else "float32"
