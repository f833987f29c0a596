"""What `gan-train evaluate` evaluates: a run, a checkpoint, or any model file that gan-gen opens."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import gankit
from gankit._card import Card
from gankit._errors import ModelNotFoundError
from gankit_train.compute.devices import pick_device
from gankit_train.data.dataset import Fit
from gankit_train.data.sources import BUILT_IN
from gankit_train.metrics.pca import Images
from gankit_train.models.checkpoints import load_checkpoint, load_generator, newest_checkpoint
from gankit_train.models.generate import generate_images


@dataclass(frozen=True)
class EvaluationTarget:
    """A generator and what is known of its training."""

    model: str  # path of the checkpoint or model file
    card: Card  # size, labels and training data, as far as they are known
    generate: Callable[[NDArray[np.float32], NDArray[np.float32] | None], Images]  # from z [n, z_dim], labels [n, k]
    data: str | None  # its training data as --data names it; None if not known
    report: Path  # default path of the evaluation
    fit: Fit = "crop"  # how training images of another aspect ratio were fitted
    seed: int = 0  # of the latents


def open_target(source: Path, device: str) -> EvaluationTarget:
    """Opens a run folder (its newest checkpoint), a checkpoint, or a file for `gankit.load`.

    Raises ModelNotFoundError if there is nothing at the path, and ModelError if the file is damaged.
    """
    if not source.exists():
        raise ModelNotFoundError(f"there is nothing at {source}: give a run folder, a checkpoint or a model file")
    if source.is_dir() or source.suffix == ".pt":
        return _open_checkpoint(newest_checkpoint(source) if source.is_dir() else source, device)
    return _open_model(source, device)


def _open_checkpoint(path: Path, device: str) -> EvaluationTarget:
    info, document = load_checkpoint(path)
    network, value_range = load_generator(info, document).to(pick_device(device)), info.config.networks.value_range
    run = path.parent.parent if path.parent.name == "checkpoints" else path.parent
    dataset, seed = info.config.dataset, info.config.run.seed

    def generate(z: NDArray[np.float32], label: NDArray[np.float32] | None) -> Images:
        return generate_images(network, z, label, value_range)

    report, card = run / "evaluation.json", info.card(run.name)
    return EvaluationTarget(str(path), card, generate, dataset.data, report, dataset.fit, seed)


def _open_model(path: Path, device: str) -> EvaluationTarget:
    generator = gankit.load(path, device=device)  # type: ignore[arg-type]  # the command has checked it
    data = generator.card.data if generator.card.data in BUILT_IN else None
    report = path.with_name(f"{path.stem}-evaluation.json")
    return EvaluationTarget(str(path), generator.card, generator, data, report)
