"""`gan-train evaluate`: every measure of a run, a checkpoint or any generator's file, beside what real images reach."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gankit._errors import LabelError, ModelNotFoundError, UsageError
from gankit._files import atomic_write
from gankit._labels import Labels
from gankit._latents import latents
from gankit._writers import save_png
from gankit_train.compute.devices import pick_device
from gankit_train.config.settings import Config
from gankit_train.data import Dataset, open_dataset, open_source
from gankit_train.data.sources import BUILT_IN
from gankit_train.evaluation.neighbour_grid import pairs_sheet
from gankit_train.metrics.classifier import order
from gankit_train.metrics.features import open_features
from gankit_train.metrics.functions import MOST, Reference, Sets, shown
from gankit_train.metrics.pca import Images
from gankit_train.metrics.table import MEASURES, figure, find, refuse
from gankit_train.models import checkpoints
from gankit_train.models.generate import samples
from gankit_train.models.networks import Shape
from gankit_train.reporting.console import Reporter

_SCHEMA = 1
_REAL = 10_000  # images of the data that samples are compared with, at the most
_IN_PLACE = 50_000  # of the data in the place of samples
_FROM = 2_000_000  # the first latent: beyond those that the best checkpoint was chosen by
_CHUNK = 1000


@dataclass(frozen=True)
class Subject:
    """A generator that is measured, wherever it comes from."""

    about: dict[str, Any]
    """What the report says of it."""
    shape: Shape
    z_dim: int
    labels: Labels | None
    make: Callable[[NDArray[np.float32], NDArray[np.float32] | None], Images]
    """Latents [n, z_dim] and label vectors → uint8 [n, h, w, c]."""
    data: str | None
    """What it was trained on, as `--data` names it; None where that is not known."""
    place: Path
    """Of the report."""
    config: Config | None = None
    """None for a file that says nothing of its training."""
    fingerprint: str = ""
    """Of the data that it was trained on, where that is known."""

    @property
    def seed(self) -> int:
        """Of the latents."""
        return self.config.seed if self.config else 0


def evaluate(
    source: Path,
    report: Reporter,
    data: str | None = None,
    images: int = 10_000,
    names: Sequence[str] = (),
    device: str = "auto",
    features: Path | None = None,
    place: Path | None = None,
) -> dict[str, Any]:
    """Measures a generator, and writes the report and the picture of pairs.

    Args:
        source: a run folder, of which the newest checkpoint is taken, a checkpoint, or a file for `gankit.load`.
        report: where progress goes.
        data: what to compare with; None takes what it was trained on.
        images: samples to make.
        names: out of `MEASURES`; none are all that can be had.
        device: `auto`, `cuda` or `cpu`.
        features: a network for the Fréchet distance, see `open_features`.
        place: of the report; None is `evaluation.json` in the run folder, or `NAME-evaluation.json` beside a file. The
            picture lies beside it.

    Returns:
        What was written as JSON, and as `report` where.

    Raises:
        UsageError: no such file, no data, or a measure that was asked for cannot be had.
        GankitError: the generator or a network fails, or a file cannot be written.
    """
    begun = time.perf_counter()
    find(names)
    subject = open_subject(source, device)
    dataset, fits = _data_for(subject, data, report)
    ours, theirs = _sets(subject, dataset, fits, images, device, features, report)
    reference, n = ours.reference, len(ours.reference.real)
    if names:
        refuse(names, ours)
    reasons = {name: ours.refusal(name, measure) for name, measure in find(names or list(MEASURES)).items()}
    wanted = [name for name, why in reasons.items() if not why]
    if not wanted:
        raise UsageError(f"nothing can be measured: {next(iter(reasons.values()))}")

    figures: dict[str, dict[str, Any]] = {}
    for i, name in enumerate(wanted):
        report.progress("measuring", i, len(wanted), name)
        value, real = (float(f"{figure(name, sets):.6g}") for sets in (ours, theirs))
        measure = MEASURES[name]
        figures[name] = {"value": value, "real": real, "verdict": measure.verdict(value, real)}
        figures[name] |= {"better": measure.better, "about": measure.about}
    report.progress("measuring", len(wanted), len(wanted))

    place = place or subject.place
    by_labels = any(MEASURES[name].needs in ("labels", "modes", "asked") for name in wanted)
    document: dict[str, Any] = {
        "schema": _SCHEMA,
        **subject.about,
        "data": dataset.name,
        "fingerprint": dataset.fingerprint,
        "size": list(subject.shape),
        "training_images": len(dataset.images),
        "samples": images,
        "compared": min(n, MOST),
        "measures": figures,
        "not_measured": {name: why for name, why in reasons.items() if why},
    }
    if "frechet" in wanted:
        document["features"] = reference.features_name
    if by_labels:
        known = reference.classifier
        document["classifier"] = {"accuracy": round(known.accuracy, 6), "held_out": len(known.held_out)}
    if "label_fidelity" in wanted:
        mine, real_ones = shown(ours), shown(theirs)
        document["labels"] = {
            name: {"value": round(share, 6), "real": round(real_ones[name], 6) if name in real_ones else None}
            for name, share in mine.items()
        }
    if {"nearest_l1", "authenticity"} & set(wanted):
        picture = place.with_name(f"{place.stem}-pairs.png")
        save_png(picture, pairs_sheet(ours, theirs))
        document["pairs"] = picture.name
    document["seconds"] = round(time.perf_counter() - begun, 1)
    with atomic_write(place) as temporary:
        temporary.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
    return document | {"report": str(place)}


def nearest_pairs(source: Path, report: Reporter, images: int, device: str = "auto") -> Images:
    """The picture of pairs of as many samples of a run or a checkpoint: uint8 [height, width, 3].

    Raises:
        UsageError: what it was trained on is not there any more. GankitError: the generator fails.
    """
    subject = open_subject(source, device)
    return pairs_sheet(*_sets(subject, *_data_for(subject, None, report), images, device, None, report))


def _sets(
    subject: Subject,
    dataset: Dataset,
    fits: bool,
    images: int,
    device: str,
    features: Path | None,
    report: Reporter,
) -> tuple[Sets, Sets]:
    """Samples, and real images in their place."""
    chosen = order(len(dataset.images))
    n = min(images, _REAL, len(chosen) // 2)
    in_place = chosen[: min(images, _IN_PLACE)]  # its first n are none of those that it is compared with
    device_ = pick_device(device)
    network = open_features(features, device_) if features else None
    reference = Reference(dataset, dataset.images[chosen[::-1][:n]], network, device_, report.progress)
    # Asked for labels as the data has them, but not for those of the very images that they are compared with.
    asked = dataset.vectors[np.resize(chosen, images)] if subject.labels and fits else None
    fake = _sampled(subject, images, asked, report)
    theirs = Sets(reference, dataset.images[in_place], dataset.vectors[in_place], in_place, images)
    return Sets(reference, fake, asked), theirs


def open_subject(source: Path, device: str) -> Subject:
    """The generator that a command line means.

    Raises:
        UsageError: there is nothing. ModelError: it is damaged.
    """
    if not source.exists():
        raise ModelNotFoundError(
            f"there is nothing at {source}: give a run folder or a checkpoint of gan-train, or a model file"
        )
    return _of_checkpoint(source, device) if source.is_dir() or source.suffix == ".pt" else _of_file(source, device)


def _of_checkpoint(source: Path, device: str) -> Subject:
    path = checkpoints.newest(source) if source.is_dir() else source
    header, document = checkpoints.read(path)
    network = checkpoints.generator(header, document).to(pick_device(device))
    run = path.parent.parent if path.parent.name == "checkpoints" else path.parent
    return Subject(
        {"model": str(path), "images_seen": header.images},
        header.shape,
        header.config.z_dim,
        header.labels,
        lambda z, vectors: samples(network, header, z, vectors),
        header.config.data,
        run / "evaluation.json",
        header.config,
        header.fingerprint,
    )


def _of_file(source: Path, device: str) -> Subject:
    import gankit

    generator = gankit.load(source, device=device)  # type: ignore[arg-type]  # the command has checked it
    card = generator.card
    return Subject(
        {"model": str(source), "images_seen": card.images_seen},
        (card.height, card.width, card.channels),
        card.z_dim,
        card.labels,
        generator,
        card.data if card.data in BUILT_IN else None,
        source.with_name(f"{source.stem}-evaluation.json"),
        fingerprint=card.fingerprint,
    )


def _data_for(subject: Subject, data: str | None, report: Reporter) -> tuple[Dataset, bool]:
    """The data in the generator's own size, and whether that has the labels that the generator knows."""
    name = data or subject.data
    if name is None:
        raise UsageError(f"{subject.about['model']} does not say what it was trained on: give --data")
    source = open_source(name)
    height, width, channels = subject.shape
    if channels not in (1, 3):
        raise UsageError(
            f"{subject.about['model']} makes images of {channels} channels: grey (1) and colour (3) it can be"
        )
    if source.size != (height, width):
        own = f"{source.size[1]}x{source.size[0]}"
        report.line(f"{'scaled':10}{name} has images of {own}: they are made {width}x{height}, as the model's are")
    fit = subject.config.fit if subject.config else "crop"

    def opened(labels: tuple[str, ...]) -> Dataset:
        packing = partial(report.progress, "packing")
        return open_dataset(source, (height, width), channels, fit, labels, packing)  # type: ignore[arg-type]

    fits = subject.labels is None or bool(source.label_names)
    try:
        dataset = opened(subject.labels.names if subject.labels and fits else ())
    except LabelError:
        dataset, fits = opened(()), False
    if data is None and subject.fingerprint not in ("", dataset.fingerprint):
        raise UsageError(
            f"{name} is not, or no longer, what {subject.about['model']} was trained on: give --data to compare with "
            "it as it is"
        )
    return dataset, fits


def _sampled(subject: Subject, n: int, asked: NDArray[np.uint8] | None, report: Reporter) -> Images:
    """Samples, uint8 [n, h, w, c], for labels as the data has them."""
    if asked is None and subject.labels:
        vectors: NDArray[Any] | None = subject.labels.vectors(None, subject.seed, _FROM, n)
    else:
        vectors = asked
    fake = np.empty((n, *subject.shape), np.uint8)
    for at in range(0, n, _CHUNK):
        report.progress("sampling", at, n)
        end = min(n, at + _CHUNK)
        z = latents(subject.seed, _FROM + at, end - at, subject.z_dim)
        fake[at:end] = subject.make(z, None if vectors is None else vectors[at:end].astype(np.float32))
    report.progress("sampling", n, n)
    return fake
