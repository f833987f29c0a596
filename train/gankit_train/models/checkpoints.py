"""Checkpoints: one file each, with everything that is needed to resume a run bit-exactly."""

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gankit._card import Card
from gankit._errors import GankitError, ModelError, one_line
from gankit._files import atomic_write
from gankit._labels import Labels
from gankit_train.compute.files import load_tensors
from gankit_train.config.config import SETTINGS, Config
from gankit_train.models.gan import GAN
from gankit_train.models.layers import Shape
from gankit_train.models.networks import make_generator

_SCHEMA = 3
_RENAMED = {"noise": "random_state", "noise_device": "random_device", "distance": "best_score"}  # since schema 2


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says about its run, beside weights and optimizer state."""

    config: Config
    shape: Shape
    labels: Labels | None  # None for unconditional variants
    data: str  # name of the data set
    fingerprint: str  # hash of the data, see gankit_train.data.dataset.Dataset
    images: int  # real images that the discriminator has seen, from which the position in the data follows
    best_score: float = math.inf  # of the best evaluation so far by the first of the metrics, lower is better

    def card(self, name: str, ema: bool = True) -> Card:
        """Describes the generator for an exported file, or for an evaluation."""
        networks, variant = self.config.networks, self.config.variant
        card = Card(name, *self.shape, networks.z_dim, self.labels, variant=variant, data=self.data, ema=ema)
        return replace(card, fingerprint=self.fingerprint, images_seen=self.images)


def save_checkpoint(run: Path, info: CheckpointInfo, gan: GAN, name: str | None = None) -> Path:
    """Writes `checkpoints/IMAGES.pt`, or `NAME.pt`, in a run folder, and deletes those beyond the number to keep."""
    path = run / "checkpoints" / f"{name or format(info.images, '09d')}.pt"
    document = {
        "schema": _SCHEMA, "versions": {"torch": str(torch.__version__)}, "config": info.config.to_json(),
        "defaults": {name: setting.default for name, setting in SETTINGS.items()}, "shape": list(info.shape),
        "labels": info.labels and asdict(info.labels), "data": info.data, "fingerprint": info.fingerprint,
        "images": info.images, "best_score": info.best_score, "steps": gan.steps,
        "random_state": gan.random.generator.get_state(), "random_device": gan.random.generator.device.type,
        **{name: part.state_dict() for name, part in _stateful(gan).items()},
    }  # fmt: skip
    with atomic_write(path, durable=True) as temporary, temporary.open("wb") as file:
        try:
            torch.save(document, file)
        except RuntimeError as error:  # what torch raises when the disk is full
            raise OSError(f"it cannot be written completely, the disk may be full ({one_line(error)})") from error
    for old in list_checkpoints(run)[info.config.run.keep :]:
        old.unlink()
    return path


def _stateful(gan: GAN) -> dict[str, Any]:
    """The parts of a GAN with a state dict, by their keys in a checkpoint."""
    return {"G": gan.G, "G_ema": gan.G_ema, "D": gan.D, "optimizer_g": gan.optimizer_g, "optimizer_d": gan.optimizer_d}


def list_checkpoints(run: Path) -> list[Path]:
    """Returns the numbered checkpoints of a run folder, newest first."""
    return sorted((run / "checkpoints").glob("[0-9]*.pt"), reverse=True)


def newest_checkpoint(run: Path) -> Path:
    """Returns the newest checkpoint of a run folder, or raises GankitError if there is none."""
    if not (paths := list_checkpoints(run)):
        raise GankitError(f"{run} has no checkpoint: give a run folder of gan-train, or wait for its first checkpoint")
    return paths[0]


def load_checkpoint(path: Path) -> tuple[CheckpointInfo, dict[str, Any]]:
    """Reads a checkpoint: the description of its run, and the document for `restore_gan` and `load_generator`.

    Raises:
        ModelError: the file is truncated, not a checkpoint of gan-train, or would run code.
        GankitError: the checkpoint is intact but needs another version of gankit, or cannot be read at the moment.
    """
    document = load_tensors(path)
    try:
        if document["schema"] not in (2, _SCHEMA):
            raise GankitError(f"{path} has schema {document['schema']}, not {_SCHEMA}: use the gankit that wrote it")
        document = {_RENAMED.get(key, key): value for key, value in document.items()}
        config = Config.from_json(document["config"], document.get("defaults"))
        labels = document["labels"] and Labels(**document["labels"])
        others = (document[key] for key in ("data", "fingerprint", "images", "best_score"))
        return CheckpointInfo(config, tuple(document["shape"]), labels, *others), document
    except (LookupError, TypeError) as error:
        raise ModelError(f"{path} is not a checkpoint of gan-train: {one_line(error)}") from error


def restore_gan(gan: GAN, document: dict[str, Any]) -> None:
    """Loads the state of a checkpoint into a freshly built GAN."""
    for name, part in _stateful(gan).items():
        part.load_state_dict(document[name])
    if document["random_device"] == gan.random.generator.device.type:
        gan.random.generator.set_state(document["random_state"])
    else:  # CPU and CUDA generators have different states: continue with another, reproducible sequence
        gan.random.generator.manual_seed(document["config"]["seed"] + document["images"])
    gan.steps = document["steps"]


def load_generator(info: CheckpointInfo, document: dict[str, Any], ema: bool = True) -> nn.Module:
    """Builds the generator of a checkpoint on the CPU in evaluation mode, with EMA or non-EMA weights."""
    network = make_generator(info.config.networks, info.shape, len(info.labels.names) if info.labels else 0)
    network.load_state_dict(document["G_ema" if ema else "G"])
    return network.requires_grad_(False).eval()
