"""Checkpoints: one file each, with everything that an exact resume needs."""

from __future__ import annotations

import errno
import hashlib
import math
import pickle
import re
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gankit._errors import GankitError, ModelError, UsageError, one_line
from gankit._files import atomic_write
from gankit._labels import Labels
from gankit_train.config.settings import Config
from gankit_train.models.networks import make_generator
from gankit_train.training.step import GAN

_SCHEMA = 2


@dataclass(frozen=True)
class Header:
    """What a checkpoint says beside its weights."""

    config: Config
    shape: tuple[int, int, int]
    """Height, width and channels of the images."""
    labels: Labels | None
    """None for data without labels and for unconditional variants."""
    data: str
    fingerprint: str
    """Of the data: see `gankit_train.data.Dataset`."""
    images: int
    """Real images that the discriminator has seen. The place in the data follows from it."""
    distance: float = math.inf
    """Score of the best samples so far by the first of the measures; lower is better."""


def save(run: Path, header: Header, gan: GAN, name: str | None = None) -> Path:
    """Writes `checkpoints/IMAGES.pt`, or `NAME.pt`, in the run folder; then those beyond `keep` are removed."""
    path = _folder(run) / f"{name or format(header.images, '09d')}.pt"
    document = {
        "schema": _SCHEMA,
        "config": header.config.to_json(),
        "shape": list(header.shape),
        "labels": header.labels and asdict(header.labels),
        "data": header.data,
        "fingerprint": header.fingerprint,
        "images": header.images,
        "distance": header.distance,
        "steps": gan.steps,
        "noise": gan.noise.generator.get_state(),
        "noise_device": gan.noise.generator.device.type,
        "versions": {"torch": str(torch.__version__)},
        **{name: getattr(gan, name).state_dict() for name in _STATEFUL},
    }
    with atomic_write(path, durable=True) as temporary, temporary.open("wb") as file:
        try:
            torch.save(document, file)
        except RuntimeError as error:  # what torch makes of a full disk
            raise OSError(f"it cannot be written whole, the disk may be full ({one_line(error)})") from error
    for old in find(run)[header.config.keep :]:
        old.unlink()
    return path


_STATEFUL = ("G", "G_ema", "D", "optimizer_g", "optimizer_d")


def find(run: Path) -> list[Path]:
    """The checkpoints of a run, newest first."""
    return sorted(_folder(run).glob("[0-9]*.pt"), reverse=True)


def read(path: Path) -> tuple[Header, dict[str, Any]]:
    """The header of a checkpoint, and the whole document for `restore` and `generator`.

    Raises:
        ModelError: cut off, no checkpoint of ours, or a pickle that would run code.
        GankitError: one that may be sound, but not for this gankit, or that cannot be read now.
    """
    document = read_pickle(path)
    try:
        if document["schema"] != _SCHEMA:
            raise GankitError(f"{path} has schema {document['schema']}, not {_SCHEMA}: use the gankit that wrote it")
        labels = document["labels"]
        header = Header(
            Config.from_json(document["config"]),
            tuple(document["shape"]),
            labels and Labels(**labels),
            document["data"],
            document["fingerprint"],
            document["images"],
            document["distance"],
        )
    except (LookupError, TypeError) as error:
        raise ModelError(f"{path} is no checkpoint of gan-train: {one_line(error)}") from error
    return header, document


def read_pickle(path: Path) -> Any:
    """What torch.save wrote, if it is nothing but numbers, texts and containers.

    Raises:
        UsageError: no such file. GankitError: it cannot be read now.
        ModelError: cut off, no file of torch.save, or it wants to run code, which a file from somebody else must not.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}") from None
    except Exception as error:  # a damaged pickle can raise anything, EINVAL for a seek to before its start included
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise GankitError(f"{path} cannot be read: {error.strerror or one_line(error)}") from error
        wanted = isinstance(error, pickle.UnpicklingError) and re.search(r"GLOBAL ([\w.]+\w)\s", str(error))
        if not wanted:
            raise ModelError(f"{path} is cut off or no file of torch.save: {one_line(error)}") from error
        raise ModelError(
            f"{path} wants to run code ({wanted[1]}), as a whole pickled module does too, which is refused; "
            "save a state dict instead: torch.save(G.state_dict(), 'weights.pt')"
        ) from error


def restore(gan: GAN, document: dict[str, Any]) -> None:
    """Puts a checkpoint's state into freshly built networks."""
    for name in _STATEFUL:
        getattr(gan, name).load_state_dict(document[name])
    if document["noise_device"] == gan.noise.generator.device.type:
        gan.noise.generator.set_state(document["noise"])
    else:  # the generators of CPU and CUDA have nothing in common: another sequence, but always the same one
        gan.noise.generator.manual_seed(document["config"]["seed"] + document["images"])
    gan.steps = document["steps"]


def generator(header: Header, document: dict[str, Any], ema: bool = True) -> nn.Module:
    """The generator of a checkpoint, ready to run on the CPU: the averaged one, or the raw one."""
    k = len(header.labels.names) if header.labels else 0
    network = make_generator(header.config, header.shape, k)
    network.load_state_dict(document["G_ema" if ema else "G"])
    return network.requires_grad_(False).eval()


def sha256(path: Path) -> str:
    """Of the file's bytes, as `sha256sum` prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def newest(run: Path) -> Path:
    """The newest checkpoint of a run folder.

    Raises:
        GankitError: there is none yet.
    """
    if not (found := find(run)):
        raise GankitError(
            f"{run} has no checkpoint: give a run folder of gan-train, or let that go on until its first one"
        )
    return found[0]


def _folder(run: Path) -> Path:
    return run / "checkpoints"
