"""What `gan-train evaluate` evaluates: a run, a checkpoint, or any model file that gan-gen opens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gankit._errors import ModelNotFoundError
from gankit._labels import Labels
from gankit_train.compute.devices import pick_device
from gankit_train.config.config import Config
from gankit_train.data.sources import BUILT_IN
from gankit_train.metrics.pca import Images
from gankit_train.models.checkpoints import load_checkpoint, load_generator, newest_checkpoint, run_folder
from gankit_train.models.generate import generate_images
from gankit_train.models.layers import Shape


@dataclass(frozen=True)
class EvaluationTarget:
    """A generator, wherever it comes from."""

    model: str
    """Path of the checkpoint or model file."""
    images_seen: int
    """Real images that the discriminator had seen; 0 if not known."""
    shape: Shape
    z_dim: int
    labels: Labels | None
    generate: Callable[[NDArray[np.float32], NDArray[np.float32] | None], Images]
    """Latents [n, z_dim] and label vectors [n, k] → uint8 [n, h, w, c]."""
    data: str | None
    """Its training data as `--data` names it; None if not known."""
    report: Path
    """Default path of the evaluation."""
    config: Config | None = None
    """None for a model file."""
    fingerprint: str = ""
    """Hash of its training data; empty if not known."""

    @property
    def seed(self) -> int:
        """Seed of the latents."""
        return self.config.run.seed if self.config else 0


def open_target(source: Path, device: str) -> EvaluationTarget:
    """Opens a run folder, of which the newest checkpoint is taken, a checkpoint, or a file for `gankit.load`.

    Raises:
        ModelNotFoundError: there is nothing at the path.
        ModelError: the file is damaged.
    """
    if not source.exists():
        raise ModelNotFoundError(
            f"there is nothing at {source}: give a run folder or a checkpoint of gan-train, or a model file"
        )
    if source.is_dir() or source.suffix == ".pt":
        return _open_checkpoint(newest_checkpoint(source) if source.is_dir() else source, device)
    return _open_model(source, device)


def _open_checkpoint(path: Path, device: str) -> EvaluationTarget:
    info, document = load_checkpoint(path)
    network = load_generator(info, document).to(pick_device(device))
    networks = info.config.networks
    return EvaluationTarget(
        str(path),
        info.images,
        info.shape,
        networks.z_dim,
        info.labels,
        lambda z, label: generate_images(network, z, label, networks.value_range),
        info.config.dataset.data,
        run_folder(path) / "evaluation.json",
        info.config,
        info.fingerprint,
    )


def _open_model(path: Path, device: str) -> EvaluationTarget:
    import gankit

    generator = gankit.load(path, device=device)  # type: ignore[arg-type]  # the command has checked it
    card = generator.card
    return EvaluationTarget(
        str(path),
        card.images_seen,
        (card.height, card.width, card.channels),
        card.z_dim,
        card.labels,
        generator,
        card.data if card.data in BUILT_IN else None,
        path.with_name(f"{path.stem}-evaluation.json"),
        fingerprint=card.fingerprint,
    )
