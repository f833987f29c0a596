"""The generator that every implementation samples: one set of weights, as a checkpoint and as exported files.

It is the 64×64×3 DCGAN with 512-256-128-64 channels. Speed does not depend on training, so it is not trained. But its
batch statistics have settled, and its last layer is scaled until the images use the whole range of uint8: errors of an
implementation would not show in grey images.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.measurement import UnavailableError, Values
from benchmarks.options import Options
from benchmarks.roofline import BYTES_MOVED, BYTES_OUT, OPERATIONS
from benchmarks.worker import run_in_process
from gankit._latents import latents

if TYPE_CHECKING:
    import torch

    from gankit_export.options import FormatName, Target

Inputs = list[NDArray[np.float32]]
"""Latents [n, z_dim] and, for conditional models, labels [n, k]."""
Images = NDArray[np.uint8]
"""[n, height, width, channels]."""

_NAME = "64×64×3 DCGAN (512-256-128-64)"
_SEED = 7
_REFERENCE_IMAGES = 32


@dataclass(frozen=True)
class Model:
    """The files of one generator: a folder that `make` filled, or one ONNX file of the user's."""

    path: Path

    @property
    def description(self) -> str:
        """The name in a table's heading."""
        return _NAME if self.path.is_dir() else self.path.name

    def file(self, name: str) -> Path:
        """The path of `plain.onnx`, `plain.ts`, `cpu.onnx`, …, as `gan-export --for` wrote them.

        The user's ONNX file takes the place of every ONNX file.

        Raises:
            UnavailableError: the user's ONNX file cannot serve as a file of this kind.
        """
        if self.path.is_dir():
            return self.path / name
        if not name.endswith(self.path.suffix):
            raise UnavailableError(f"--model {self.path.name} has no weights for it")
        return self.path

    def checkpoint(self) -> Path:
        """The checkpoint, as gan-train writes it."""
        return self.file("run/checkpoints/000000000.pt")

    def generator(self) -> Path:
        """A checkpoint of the averaged generator alone, without discriminator and optimizers."""
        return self.file("generator.pt")

    def work(self) -> Values:
        """Operations and bytes per image, by their names in `benchmarks.roofline`; empty for the user's file."""
        work: Values = json.loads((self.path / "work.json").read_text()) if self.path.is_dir() else {}
        return work

    @property
    def z_dim(self) -> int:
        """The number of dimensions of the latents."""
        return int(self.reference()[0][0].shape[1])

    def reference(self) -> tuple[Inputs, Images]:
        """Inputs, and the images that every implementation must generate from them."""
        if self.path.is_dir():
            with np.load(self.path / "reference.npz") as arrays:
                return [arrays["z"]], arrays["images"]
        import onnxruntime

        import gankit

        with gankit.load(self.path, device="cpu") as generator:
            inputs = [values for values in generator.inputs(_REFERENCE_IMAGES, seed=_SEED) if values is not None]
        session = onnxruntime.InferenceSession(str(self.path), providers=["CPUExecutionProvider"])
        names = [value.name for value in session.get_inputs()]
        return inputs, session.run(None, dict(zip(names, inputs, strict=True)))[0]


def model_for(options: Options) -> Model:
    """The file of `--model`, or a folder that is made once for all suites of a run."""
    if options.model:
        return Model(options.model.resolve())
    return Model(_make_once(options.threads, options.device, options.quick))


@cache
def _make_once(threads: int, device: str, quick: bool) -> Path:
    print("making the model: a checkpoint and its exports", flush=True)
    folder = Path(_temporary_folder().name) / device
    run_in_process(make, threads, "cpu", folder=str(folder), device=device, quick=quick)
    return folder


@cache
def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="gankit-benchmarks-")  # removed when the process ends


def make(folder: str, device: str, quick: bool = False) -> None:
    """Fills `folder`: the checkpoint, the exports for `device`, the reference images and the work per image."""
    import torch

    from gankit_train.config.variants import configure
    from gankit_train.models import checkpoints
    from gankit_train.models.gan import build_gan

    config, shape = configure("dcgan", size=(64, 64), channels=3), (64, 64, 3)
    gan = build_gan(config, shape, 0, torch.device("cpu"))
    _settle(gan.G, config.networks.z_dim)
    gan.G_ema.load_state_dict(gan.G.state_dict())
    path = Path(folder)
    header = checkpoints.CheckpointInfo(config, shape, None, "nothing", "", 0)
    document = checkpoints.load_checkpoint(checkpoints.save_checkpoint(path / "run", header, gan))[1]
    for name in ("G", "D", "optimizer_g", "optimizer_d"):
        del document[name]  # sampling does not need them
    torch.save(document, path / "generator.pt")
    _export(path, device, ["onnx"] if quick else ["onnx", "torchscript"])
    _write_reference(path, gan.G_ema, config.networks.z_dim, config.networks.value_range)


def _settle(generator: torch.nn.Module, z_dim: int) -> None:
    """Lets the batch statistics settle and scales the last layer to tanh inputs of standard deviation 0.8."""
    import torch

    noise = torch.Generator().manual_seed(_SEED)
    with torch.no_grad():
        for _ in range(50):  # at the momentum of 0.1, statistics forget nine tenths of their start in 22 batches
            images = generator(torch.randn(64, z_dim, generator=noise))
        *_, last = (layer for layer in generator.modules() if isinstance(layer, torch.nn.ConvTranspose2d))
        last.weight.mul_(0.8 / torch.atanh(images).std())


def _export(folder: Path, device: str, formats: list[FormatName]) -> None:
    """Writes `plain` in each format, and the ONNX files for `--for cpu` and `openvino`, or for `cuda`."""
    from gankit_export import ExportOptions, export_run

    plain = ExportOptions(rewrite="plain")
    export_run(folder / "run", formats=formats, out=folder, name="plain", options=plain)
    targets: tuple[Target, ...] = ("cpu", "openvino") if device == "cpu" else ("cuda",)
    for target in targets:
        options = ExportOptions(target=target)
        export_run(folder / "run", formats=["onnx"], out=folder, name=target, options=options)


def _write_reference(folder: Path, generator: torch.nn.Module, z_dim: int, value_range: tuple[float, float]) -> None:
    """Writes `reference.npz`, inputs and images, and `work.json`, the work per image."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from gankit_export.folding import fold_batch_norm
    from gankit_export.graph import ImageGraph

    z = latents(_SEED, 0, _REFERENCE_IMAGES, z_dim)
    with torch.no_grad():
        images = ImageGraph(generator, value_range)(torch.from_numpy(z)).numpy()
    assert images.std() > 40, "images without contrast would hide errors"
    np.savez(folder / "reference.npz", z=z, images=images)

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        fold_batch_norm(generator)(torch.zeros(1, z_dim))
    pixels = float(images[0].size)
    work = {OPERATIONS: float(counter.get_total_flops()), BYTES_MOVED: 4.0 * z_dim + pixels, BYTES_OUT: pixels}
    (folder / "work.json").write_text(json.dumps(work))
