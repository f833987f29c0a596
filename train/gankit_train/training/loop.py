"""A training run from the data to the last checkpoint: reports, saves and times; the learning itself is in `step`."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gankit._errors import GankitError, ModelError, UsageError
from gankit._files import atomic_write
from gankit._labels import Labels
from gankit._latents import latents
from gankit._writers import save_png
from gankit_train.compute.devices import device_name, pick_device, pick_precision
from gankit_train.compute.distributed import join
from gankit_train.config.presets import PRESETS
from gankit_train.config.settings import Config, flag_of, refuse_changes
from gankit_train.data import Dataset, open_dataset, open_source
from gankit_train.evaluation.diagnosis import Finding, Row, diagnose, read_rows
from gankit_train.metrics.functions import Reference, Sets
from gankit_train.metrics.table import MEASURES, measured, refuse
from gankit_train.models import checkpoints
from gankit_train.models.generate import EVALUATED_FROM, samples, sheet
from gankit_train.models.networks import Shape, parameters, plan
from gankit_train.reporting.console import Reporter, open_board
from gankit_train.training.batches import Batches, held_out_of
from gankit_train.training.overfitting import memory
from gankit_train.training.step import GAN, build, step


@dataclass(frozen=True)
class Finished:
    """How a run ended."""

    run: Path
    images: int
    signal: int | None
    """The signal that stopped it, if one did."""


def train(
    config: Config, report: Reporter, out: Path | None = None, fresh: bool = False, dry_run: bool = False
) -> Finished:
    """Trains until `config.images`, going on from the newest checkpoint of the run folder if it has one.

    Args:
        config: the settings.
        report: where lines and progress go.
        out: run folder; None takes `runs/VARIANT-DATA-SIZE`.
        fresh: start over beside an existing run, in the first free folder of the same name with a number.
        dry_run: check everything, take one step, write nothing but the packed data.

    Raises:
        GankitError: settings, data, device or disk will not do; each message says which and what helps.
    """
    # Where and with what
    ranks = join(config.device, config.batch_size, config.packing)
    first = ranks.rank == 0  # the one that reports and writes
    report = report if first else Reporter()
    device = pick_device(config.device)
    autocast = pick_precision(config.precision, device)
    data = ranks.in_turn(lambda: _open_data(config, report))
    shape = (int(data.images.shape[1]), int(data.images.shape[2]), int(data.images.shape[3]))
    config = _resolved(config, data, shape)
    ranks.same((config.to_json(), data.fingerprint, autocast._enabled), "settings or data")
    run = ranks.from_first(lambda: _run_folder(config, data, shape, out, fresh))
    labels = data.labels if config.conditional else None
    reference = Reference(data, data.images[_chosen(config, data)], None, device, report.progress)
    _refuse_measures(config, reference)
    header = checkpoints.Header(config, shape, labels, data.name, data.fingerprint, 0)

    # New, or where it stopped
    gan = build(config, shape, data.vectors.shape[1], device, ranks)
    if (found := ranks.from_first(lambda: _last_good(run, report, dry_run))) is not None:
        saved, document = found
        refuse_changes(run, saved.config, config)
        _refuse_other_data(run, saved, header)
        checkpoints.restore(gan, document)
        comparable = saved.config.measures[0] == config.measures[0]
        header = replace(header, images=saved.images, distance=saved.distance if comparable else math.inf)
        del document
        if header.images >= config.images:
            report.line(f"{run} is finished: it has seen {header.images:,} images. Give more --images, or --fresh.")
            return Finished(run, header.images, None)
    ranks.start_alike((gan.G, gan.G_ema, gan.D))
    report.line("  ".join(f"{name}={value}" for name, value in config.to_json().items() if value not in (None, [], "")))
    if config.preset and (known := PRESETS[config.preset].known):
        report.line(f"{'preset':10}{config.preset}: {known}")
    report.line(f"{'data':10}{data.name}, {len(data.images):,} images of {_shape_name(shape)}" + _label_note(labels))
    processes = f", {ranks.world} processes" if ranks.world > 1 else ""
    report.line(f"{'device':10}{device_name(device)}, {'bf16' if autocast._enabled else 'float32'}{processes}")
    report.line(f"{'networks':10}G {parameters(gan.G):,} and D {parameters(gan.D):,} parameters")
    report.line(f"{'run':10}{run}" + (f", resumed at {header.images:,} images" if header.images else ""))
    batches = Batches(data, config, device, ranks)
    if config.compile:
        gan.G.compile()
        if not config.penalised:  # torch.compile has no second derivatives
            gan.D.compile()
    if dry_run:
        step(gan, config, *batches.after(header.images), autocast)
        report.line("dry run: one step was taken and nothing written")
        return Finished(run, header.images, None)

    # The loop. Nothing in it waits for the device but the log ticks.
    board = open_board(run, header.images) if config.tensorboard and first else None
    rows = _begin(run, config, header.images) if first else []
    intervals = {name: getattr(config, f"{name}_every") for name in ("log", "sample", "checkpoint", "evaluate")}
    sums: dict[str, tuple[Tensor, int]] = {}
    note, since, clock = "", header.images, time.perf_counter()
    stopped = last = False
    with _signals() as stopped_by:
        while not last:
            for name, value in step(gan, config, *batches.after(header.images), autocast).items():
                sums[name] = (sums[name][0] + value, sums[name][1] + 1) if name in sums else (value, 1)
            before, header = header.images, replace(header, images=header.images + config.batch_size)
            due = {name for name, every in intervals.items() if header.images // every > before // every}
            if due or ranks.world == 1 or gan.steps % 16 == 0:  # several must ask each other, which takes time
                stopped = ranks.any(bool(stopped_by), device)
            last = stopped or header.images >= config.images

            if due or last:  # whatever is due, so that no checkpoint is made of networks that have diverged
                row = _row(gan, config, header.images, sums)  # waits for the device
                row["images_per_s"] = round((header.images - since) / (time.perf_counter() - clock), 2)
                if not all(map(np.isfinite, row.values())) or not _finite(gan):
                    kept = checkpoints.find(run)
                    good = f"the last good checkpoint is {kept[0]}" if kept else "there is no checkpoint yet"
                    if first:
                        row = {name: value for name, value in row.items() if np.isfinite(value)}
                        slower = " ".join(flag_of(name, getattr(config, name) / 4) for name in ("lr_g", "lr_d"))
                        finding = Finding("not finite", header.images, "the networks diverged (NaN or Inf)", (slower,))
                        _append(run / "metrics.jsonl", json.dumps(row | {"diagnosis": [finding.to_json()]}))
                        report.ended(run, whole=False)
                    raise GankitError(
                        f"the networks diverged (NaN or Inf) by image {header.images:,}; {good}; try lower rates"
                    )
                ranks.agree((gan.G, gan.D))
                note = f"{row['images_per_s']:.0f} images/s  D {row['loss_d']:.2f}  G {row.get('loss_g', math.nan):.2f}"
                best = False
                if ("evaluate" in due or header.images >= config.images) and first:
                    row |= _measured(gan, header, reference)
                    score = MEASURES[config.measures[0]].score(row[config.measures[0]])
                    best = score < header.distance
                    header = replace(header, distance=min(header.distance, score))
                if ("checkpoint" in due or last) and first:
                    checkpoints.save(run, header, gan)
                if best:
                    checkpoints.save(run, header, gan, "best")
                if "sample" in due and first and (by_heart := memory(gan, config, batches, autocast)) is not None:
                    row["memory"] = round(by_heart, 6)
                if first:
                    rows.append(_diagnosed(rows, row, config, report))
                    _append(run / "metrics.jsonl", json.dumps(rows[-1]))
                if ("sample" in due or last) and first:
                    pixels = sheet(gan.G_ema, header)
                    save_png(run / "samples" / f"{header.images:09d}.png", pixels)
                    if board:
                        board.add_image("samples", pixels, header.images, dataformats="HWC")
                if board:
                    for name, number in row.items():
                        board.add_scalar(name, number, header.images)
                sums, since, clock = {}, header.images, time.perf_counter()
            report.progress("training", min(header.images, config.images), config.images, note)
    if board:
        board.close()
    if stopped:
        again = f"the same command with --out {run} and without --fresh" if fresh else "the same command"
        report.line(f"stopped at {header.images:,} images with a checkpoint; {again} goes on from there")
    report.line(f"{'samples':10}{run}/samples/{header.images:09d}.png")
    report.ended(run, whole=not stopped)
    report.line(f"{'export':10}gan-export {run}")
    return Finished(run, header.images, (stopped_by or [signal.SIGTERM])[0] if stopped else None)


def _row(gan: GAN, config: Config, images: int, sums: dict[str, tuple[Tensor, int]]) -> dict[str, float]:
    """A row of metrics.jsonl: means since the last one over all processes, and the last step's gradients and rates."""
    means = torch.stack([total / steps for total, steps in sums.values()])
    gan.ranks.average([means])
    row: dict[str, float] = {"images": images}
    row |= {name: round(value, 6) for name, value in zip(sums, means.tolist(), strict=True)}
    for name, network, optimizer in (("g", gan.G, gan.optimizer_g), ("d", gan.D, gan.optimizer_d)):
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        if gradients:  # G has none before its first step
            row[f"gradient_norm_{name}"] = round(float(nn.utils.get_total_norm(gradients)), 6)
        row[f"lr_{name}"] = optimizer.param_groups[0]["lr"]
    return row


def _diagnosed(before: Sequence[Row], row: Row, config: Config, report: Reporter) -> Row:
    """The row with what is wrong, which is reported where the row before did not have it."""
    findings = diagnose([*before, row], config)
    told = {finding["sign"] for finding in (before[-1].get("diagnosis", []) if before else [])}
    for finding in findings:
        if finding.sign not in told:
            report.line(f"{'warning':10}{finding}")
    return row | ({"diagnosis": [finding.to_json() for finding in findings]} if findings else {})


def _refuse_measures(config: Config, reference: Reference) -> None:
    """Raises UsageError where one could not be had, before the hours that pass until it is asked for."""
    asked = reference.data.vectors[_chosen(config, reference.data)] if config.conditional else None
    refuse(config.measures, Sets(reference, reference.real, asked))


def _chosen(config: Config, data: Dataset) -> NDArray[np.int64]:
    """Rows of the data that a measurement compares samples with, and whose labels it asks for."""
    shuffled = np.random.Generator(np.random.Philox(config.seed)).permutation(len(data.images))
    return np.sort(shuffled[: config.evaluate_samples])


def _measured(gan: GAN, header: checkpoints.Header, reference: Reference) -> dict[str, float]:
    """Of fresh samples to as many images of the data, and under their labels; no random state is touched."""
    config, chosen = header.config, _chosen(header.config, reference.data)
    asked = reference.data.vectors[chosen] if header.labels else None
    z = latents(config.seed, EVALUATED_FROM, len(chosen), config.z_dim)
    fake = samples(gan.G_ema, header, z, None if asked is None else asked.astype(np.float32))
    figures = measured(config.measures, Sets(reference, fake, asked))
    return {name: round(value, 6) for name, value in figures.items()}


def _append(path: Path, line: str) -> None:
    try:
        with path.open("a") as file:
            file.write(line + "\n")
    except OSError as error:
        raise GankitError(f"cannot write {path}: {error.strerror}") from error


def _run_folder(config: Config, data: Dataset, shape: Shape, out: Path | None, fresh: bool) -> Path:
    run = out or Path("runs") / f"{config.preset or config.variant}-{data.name}-{_size_name(shape)}"
    if fresh and run.exists():
        return next(beside for i in count(2) if not (beside := run.with_name(f"{run.name}-{i}")).exists())
    return run


def _open_data(config: Config, report: Reporter) -> Dataset:
    """The packed data; what can be refused before packing, which may take minutes, is refused before."""
    source = open_source(config.data)
    if config.network == "conv":
        height, width = config.size or source.size
        for network in ("g", "d"):
            plan(config, network, (height, width, config.channels or 3), 0)  # refuses sizes that cannot be made
    if config.conditional and not source.label_names:
        raise UsageError(
            f"cgan needs labels and {config.data} has none: put each class into a folder of its own, or use dcgan"
        )
    if config.batch_size > (usable := len(source.names) - held_out_of(len(source.names), config)):
        have = f"{config.data} has {len(source.names)} images"
        have += f", of which {len(source.names) - usable} are held out" if usable < len(source.names) else ""
        raise UsageError(f"--batch-size {config.batch_size} is too large, as {have}: take a smaller one or more data")
    data = open_dataset(
        source,
        config.size,
        config.channels,
        config.fit,  # type: ignore[arg-type]  # Config has checked it
        config.attribute if config.conditional else (),
        lambda done, total: report.progress("packing", done, total),
    )
    for name in data.skipped[:3]:
        report.line(f"{'skipped':10}{name}: it cannot be decoded")
    if len(data.skipped) > 3:
        report.line(f"{'skipped':10}{len(data.skipped)} images in all")
    return data


def _resolved(config: Config, data: Dataset, shape: Shape) -> Config:
    """The settings with what they left to the data filled in, so that a resumed run compares like with like."""
    one_pass = len(data.images) - held_out_of(len(data.images), config)
    images = config.images if config.epochs is None else max(1, round(config.epochs * one_pass))
    attribute = data.label_names if config.conditional else ()
    return replace(config, size=shape[:2], channels=shape[2], attribute=attribute, images=images, epochs=None)


def _last_good(run: Path, report: Reporter, dry_run: bool) -> tuple[checkpoints.Header, dict[str, Any]] | None:
    """The newest checkpoint that can be read; a damaged one is reported and the one before it is taken."""
    damaged: list[Path] = []
    for path in checkpoints.find(run):
        try:
            header, document = checkpoints.read(path)
        except ModelError as error:
            report.line(f"{'damaged':10}{error}")
            damaged.append(path)
            continue
        if not dry_run:
            for each in damaged:
                each.rename(each.with_suffix(".damaged"))  # else it would count as one of those to keep
        with suppress(GankitError):  # it may be newer than this one, and must not give way to a worse one
            best = checkpoints.read(path.with_name("best.pt"))[0]
            if best.config.measures[0] == header.config.measures[0]:
                header = replace(header, distance=min(header.distance, best.distance))
        return header, document
    if damaged:
        raise GankitError(f"none of the {len(damaged)} checkpoints in {run} can be read; --fresh starts over beside it")
    return None


def _refuse_other_data(run: Path, before: checkpoints.Header, now: checkpoints.Header) -> None:
    if (before.shape, before.fingerprint) != (now.shape, now.fingerprint):
        old, new = (f"{h.data} {_shape_name(h.shape)} ({h.fingerprint[:8]})" for h in (before, now))
        raise UsageError(
            f"{run} was trained on {old}, not on {new}: give the same --data, or --fresh, or another --out"
        )


def _finite(gan: GAN) -> bool:
    """Whether all weights are numbers: a step with finite losses may still have broken them."""
    return all(bool(p.isfinite().all()) for network in (gan.G, gan.D) for p in network.parameters())


def _begin(run: Path, config: Config, images: int) -> list[Row]:
    """Writes config.json, and drops the rows of metrics.jsonl that came after the checkpoint; returns the others."""
    with atomic_write(run / "config.json") as temporary:
        temporary.write_text(json.dumps(config.to_json(), indent=1) + "\n")
    metrics = run / "metrics.jsonl"
    rows = [row for row in read_rows(run) if row["images"] <= images]
    with atomic_write(metrics) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM fill the list instead of ending the process; a second Ctrl-C interrupts at once."""
    caught: list[int] = []

    def catch(number: int, _: Any) -> None:
        caught.append(number)
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

    try:
        before = {number: signal.signal(number, catch) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread: signals are the program's own business
        yield caught
        return
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _size_name(shape: Shape) -> str:
    return str(shape[0]) if shape[0] == shape[1] else f"{shape[1]}x{shape[0]}"


def _shape_name(shape: Shape) -> str:
    return f"{shape[1]}x{shape[0]}x{shape[2]}"


def _label_note(labels: Labels | None) -> str:
    return f", labels {', '.join(labels.names[:12])}{' …' if len(labels.names) > 12 else ''}" if labels else ""
