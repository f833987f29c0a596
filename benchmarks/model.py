"""The generator that every way is measured with: one set of weights, as a checkpoint and as every file that is needed.

It is the 64×64×3 DCGAN with 512-256-128-64 channels. Speed does not depend on what it has learnt, so it has learnt
nothing; but its statistics have settled and its last layer is scaled until the images use the whole range of bytes, or
a way that computes something else could hide in grey.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.limits import MOVED, OPERATIONS, OUT
from benchmarks.options import Options
from benchmarks.rounds import MissingError, Values
from benchmarks.worker import call
from gankit._latents import latents

Inputs = list[NDArray[np.float32]]
Images = NDArray[np.uint8]

_NAME = "64×64×3 DCGAN (512-256-128-64)"
_SEED, _COMPARED = 7, 32


@dataclass(frozen=True)
class Model:
    """A folder with the files of one generator that `make` filled, or one ONNX file of somebody's."""

    path: Path

    @property
    def about(self) -> str:
        """What it is, for the head of a table."""
        return _NAME if self.path.is_dir() else self.path.name

    def file(self, name: str) -> Path:
        """`plain.onnx`, `plain.ts`, `cpu.onnx` …: what gan-export wrote, the latter for that device. One ONNX file
        stands for all that are ONNX.

        Raises:
            MissingError: another format is asked for than that of the one file.
        """
        if self.path.is_dir():
            return self.path / name
        if not name.endswith(self.path.suffix):
            raise MissingError(f"--model {self.path.name} has no weights for it")
        return self.path

    def checkpoint(self) -> Path:
        """Of gan-train."""
        return self.file("run/checkpoints/000000000.pt")

    def work(self) -> Values:
        """What one image takes: operations of the layers and bytes that have to be moved; empty for somebody's file."""
        found: Values = json.loads((self.path / "work.json").read_text()) if self.path.is_dir() else {}
        return found

    def generator(self) -> Path:
        """The weights that are sampled, and no others."""
        return self.file("generator.pt")

    @property
    def z_dim(self) -> int:
        """Of the folder's generator."""
        return int(self.reference()[0][0].shape[1])

    def reference(self) -> tuple[Inputs, Images]:
        """Inputs, and the images that every way must make of them."""
        if self.path.is_dir():
            with np.load(self.path / "reference.npz") as arrays:
                return [arrays["z"]], arrays["images"]
        import onnxruntime

        import gankit

        with gankit.load(self.path, device="cpu") as generator:
            inputs = [values for values in generator.inputs(_COMPARED, seed=_SEED) if values is not None]
        session = onnxruntime.InferenceSession(str(self.path), providers=["CPUExecutionProvider"])
        names = [value.name for value in session.get_inputs()]
        return inputs, session.run(None, dict(zip(names, inputs, strict=True)))[0]


def model_for(options: Options) -> Model:
    """The file that the command line names, or a folder that is made once for all suites of a run."""
    if options.model:
        return Model(options.model.resolve())
    return Model(_made(options.threads, options.device, options.quick))


@cache
def _made(threads: int, device: str, quick: bool) -> Path:
    print("making the model: a checkpoint, and what gan-export writes of it", flush=True)
    folder = Path(_temporary().name) / device
    call("benchmarks.model:make", threads, "cpu", folder=str(folder), device=device, quick=quick)
    return folder


@cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="gankit-benchmarks-")  # removed when the command ends


def make(folder: str, device: str, quick: bool = False) -> None:
    """Fills the folder: the checkpoint, the exports that this device is measured with, and what they should compute."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from gankit_export import ExportOptions, export_run
    from gankit_export.folding import fold_batch_norm
    from gankit_export.graph import ImageGraph
    from gankit_export.options import Target
    from gankit_train.config.settings import configure
    from gankit_train.models import checkpoints
    from gankit_train.training.step import build

    config, shape = configure("dcgan", size=(64, 64), channels=3), (64, 64, 3)
    gan = build(config, shape, 0, torch.device("cpu"))
    noise = torch.Generator().manual_seed(_SEED)
    with torch.no_grad():
        for _ in range(50):  # the running statistics forget nine tenths of what they began with in 22
            images = gan.G(torch.randn(64, config.z_dim, generator=noise))
        *_, last = (layer for layer in gan.G.modules() if isinstance(layer, torch.nn.ConvTranspose2d))
        last.weight.mul_(0.8 / torch.atanh(images).std())
    gan.G_ema.load_state_dict(gan.G.state_dict())
    header = checkpoints.Header(config, shape, None, "nothing", "", 0)
    saved = checkpoints.save(Path(folder) / "run", header, gan)
    document = checkpoints.read(saved)[1]
    for name in ("G", "D", "optimizer_g", "optimizer_d"):
        del document[name]  # who samples does not load them
    torch.save(document, Path(folder) / "generator.pt")

    run, target = Path(folder) / "run", Path(folder)
    plain = ExportOptions(rewrite="plain")
    export_run(run, formats=["onnx"] if quick else ["onnx", "torchscript"], out=target, name="plain", options=plain)
    targets: tuple[Target, ...] = ("cpu", "openvino") if device == "cpu" else ("cuda",)
    for name in targets:
        export_run(run, formats=["onnx"], out=target, name=name, options=ExportOptions(target=name))
    z = latents(_SEED, 0, _COMPARED, config.z_dim)
    with torch.no_grad():
        made = ImageGraph(gan.G_ema, config.value_range)(torch.from_numpy(z)).numpy()
    assert made.std() > 40, "images without contrast prove nothing"
    np.savez(target / "reference.npz", z=z, images=made)

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        fold_batch_norm(gan.G_ema)(torch.zeros(1, config.z_dim))
    pixels = float(np.prod(shape))
    work = {OPERATIONS: float(counter.get_total_flops()), MOVED: 4.0 * config.z_dim + pixels, OUT: pixels}
    (target / "work.json").write_text(json.dumps(work))
