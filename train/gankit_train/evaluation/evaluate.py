"""Evaluates a generator: all available metrics, each compared with a baseline on real images."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gankit._errors import LabelError, UsageError
from gankit._files import atomic_write
from gankit._latents import latents
from gankit._writers import save_png
from gankit_train.compute.devices import pick_device
from gankit_train.data import Dataset, open_dataset, open_source
from gankit_train.evaluation.neighbour_grid import neighbour_grid
from gankit_train.evaluation.target import EvaluationTarget, open_target
from gankit_train.metrics.classifier import fixed_permutation
from gankit_train.metrics.comparison import MAX_IMAGES, Comparison, Reference
from gankit_train.metrics.compute import FUNCTIONS, check_available
from gankit_train.metrics.features import open_features
from gankit_train.metrics.functions import fidelity_by_label
from gankit_train.metrics.pca import Images
from gankit_train.metrics.table import METRICS, find_metrics
from gankit_train.reporter import Reporter

_SCHEMA = 2
_MAX_REAL = 10_000  # real images that samples are compared with
_MAX_BASELINE = 50_000  # real images of the baseline
_START = 2_000_000  # number of the first latent: others than those by which best.pt was chosen
_CHUNK = 1000  # samples between two reports of progress


@dataclass(frozen=True)
class Evaluation:
    """The result of `evaluate`."""

    document: dict[str, Any]  # metrics with value, real baseline and verdict, and what they were computed from
    path: Path  # where it was written


def evaluate(
    source: Path,
    reporter: Reporter,
    *,
    data: str | None = None,
    images: int = 10_000,
    metrics: Sequence[str] = (),
    device: str = "auto",
    features: Path | None = None,
    path: Path | None = None,
) -> Evaluation:
    """Evaluates a generator; writes a JSON document and a picture of samples and their nearest training images.

    Args:
        source: a run folder (its newest checkpoint), a checkpoint, or a file for `gankit.load`.
        data: real images to compare with, as for `--data`; None takes the training data.
        images: number of samples.
        metrics: names from `METRICS`; empty takes all that are available.
        features: network for the Fréchet distance, see `open_features`.
        path: of the document, with the picture beside it; None takes `evaluation.json` in the run folder, or
            `NAME-evaluation.json` beside a model file.

    Raises:
        UsageError: a path, the data or a requested metric is not available.
        GankitError: the generator or a network fails, or a file cannot be written.
    """
    begin = time.perf_counter()
    find_metrics(metrics)  # unknown names are refused before anything is generated
    target, samples, baseline = _compare(source, data, images, device, features, reporter)
    check_available(metrics, samples)
    reasons = {name: samples.why_unavailable(name, each) for name, each in find_metrics(metrics or [*METRICS]).items()}
    available = [name for name, reason in reasons.items() if not reason]
    if not available:
        raise UsageError(f"no metric is available: {next(iter(reasons.values()))}")
    card, dataset, path = target.card, samples.reference.data, path or target.report
    document: dict[str, Any] = {
        "schema": _SCHEMA,
        "model": target.model,
        "images_seen": card.images_seen,
        "data": dataset.name,
        "fingerprint": dataset.fingerprint,
        "size": [card.height, card.width, card.channels],
        "training_images": len(dataset.images),
        "samples": images,
        "compared": min(len(samples.reference.real), MAX_IMAGES),
        "metrics": _compute(available, samples, baseline, reporter),
        "unavailable": {name: reason for name, reason in reasons.items() if reason},
        **_label_results(available, samples, baseline),
    }
    if {"nearest_l1", "authenticity"} & set(available):
        picture = path.with_name(f"{path.stem}-neighbours.png")
        save_png(picture, neighbour_grid(samples, baseline))
        document["neighbours"] = picture.name
    document["seconds"] = round(time.perf_counter() - begin, 1)
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
    return Evaluation(document, path)


def draw_neighbours(source: Path, reporter: Reporter, images: int, device: str = "auto") -> Images:
    """Draws samples of a run or a checkpoint and their nearest training images: uint8 [height, width, 3].

    Raises UsageError if the training data is not available any more, and GankitError if the generator fails.
    """
    return neighbour_grid(*_compare(source, None, images, device, None, reporter)[1:])


def _compute(
    names: Sequence[str], samples: Comparison, baseline: Comparison, reporter: Reporter
) -> dict[str, dict[str, Any]]:
    """Computes each metric of the samples and of the baseline, and rates it."""
    results = {}
    for i, name in enumerate(names):
        reporter.progress("evaluating", i, len(names), name)
        value, real = (float(f"{FUNCTIONS[name](comparison):.6g}") for comparison in (samples, baseline))
        metric = METRICS[name]
        results[name] = {"value": value, "real": real, "verdict": metric.verdict(value, real)}
        results[name] |= {"better": metric.better, "about": metric.about}
    reporter.progress("evaluating", len(names), len(names))
    return results


def _label_results(names: Sequence[str], samples: Comparison, baseline: Comparison) -> dict[str, Any]:
    """Describes the networks behind the metrics, and the fidelity of each label."""
    results: dict[str, Any] = {}
    if "frechet" in names:
        results["features"] = samples.reference.features_name
    if any(METRICS[name].requires in ("labels", "modes", "requested") for name in names):
        classifier = samples.reference.classifier
        results["classifier"] = {"accuracy": round(classifier.accuracy, 6), "held_out": len(classifier.held_out)}
    if "label_fidelity" in names:
        real = {name: round(share, 6) for name, share in fidelity_by_label(baseline).items()}
        fidelity = fidelity_by_label(samples).items()
        results["labels"] = {name: {"value": round(share, 6), "real": real.get(name)} for name, share in fidelity}
    return results


def _compare(
    source: Path, data: str | None, images: int, device: str, features: Path | None, reporter: Reporter
) -> tuple[EvaluationTarget, Comparison, Comparison]:
    """Returns the generator, the comparison of its samples with real images, and that of the baseline on real data."""
    target = open_target(source, device)
    dataset, labels_match = _open_data(target, data, reporter)
    order = fixed_permutation(len(dataset.images))
    n = min(images, _MAX_REAL, len(order) // 2)
    baseline_rows = order[: min(images, _MAX_BASELINE)]  # the first n of them are not among the real images below
    torch_device = pick_device(device)
    network = open_features(features, torch_device) if features else None
    reference = Reference(dataset, dataset.images[order[::-1][:n]], network, torch_device, reporter.progress)
    # Labels as frequent as in the data, but not those of the very images that samples are compared with.
    requested = dataset.vectors[np.resize(order, images)] if target.card.labels and labels_match else None
    samples = Comparison(reference, _generate(target, images, requested, reporter), requested)
    real = dataset.images[baseline_rows]
    return target, samples, Comparison(reference, real, dataset.vectors[baseline_rows], baseline_rows, images)


def _open_data(target: EvaluationTarget, data: str | None, reporter: Reporter) -> tuple[Dataset, bool]:
    """Packs the data in the generator's size; returns it, and whether it has the labels that the generator knows."""
    if (name := data or target.data) is None:
        raise UsageError(f"{target.model} does not name its training data: give --data")
    source, labels = open_source(name), target.card.labels
    height, width, channels = target.card.height, target.card.width, target.card.channels
    if channels not in (1, 3):
        raise UsageError(f"{target.model} generates {channels} channels: 1 (grey) and 3 (colour) can be evaluated")
    if source.size != (height, width):
        own = f"{source.size[1]}x{source.size[0]}"
        reporter.line(f"{'resized':10}images of {name} from {own} to {width}x{height}, the size of the model's")

    def pack(names: tuple[str, ...]) -> Dataset:
        return open_dataset(source, (height, width), channels, target.fit, names, partial(reporter.progress, "packing"))

    labels_match = labels is None or bool(source.label_names)
    try:
        dataset = pack(labels.names if labels and labels_match else ())
    except LabelError:
        dataset, labels_match = pack(()), False
    if data is None and target.card.fingerprint not in ("", dataset.fingerprint):
        raise UsageError(f"{name} is not, or no longer, the training data of {target.model}: give --data to use it")
    return dataset, labels_match


def _generate(target: EvaluationTarget, n: int, requested: NDArray[np.uint8] | None, reporter: Reporter) -> Images:
    """Generates samples uint8 [n, h, w, c], for the requested labels or for labels as frequent as in training."""
    card = target.card
    label: NDArray[Any] | None = requested
    if requested is None and card.labels:
        label = card.labels.vectors(None, target.seed, _START, n)
    fake = np.empty((n, card.height, card.width, card.channels), np.uint8)
    for at in range(0, n, _CHUNK):
        reporter.progress("sampling", at, n)
        end = min(n, at + _CHUNK)
        z = latents(target.seed, _START + at, end - at, card.z_dim)
        fake[at:end] = target.generate(z, None if label is None else label[at:end].astype(np.float32))
    reporter.progress("sampling", n, n)
    return fake
