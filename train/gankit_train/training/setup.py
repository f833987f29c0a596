"""Everything about a run that is decided, checked and refused before its first step."""

from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

import torch

from gankit._errors import UsageError
from gankit._labels import Labels
from gankit_train.compute.devices import device_name, pick_device, pick_precision
from gankit_train.compute.distributed import ProcessGroup, init_distributed
from gankit_train.config.config import Config
from gankit_train.config.flags import format_value
from gankit_train.config.presets import PRESETS
from gankit_train.config.variants import changed_settings, configure
from gankit_train.data import Dataset, open_dataset, open_source
from gankit_train.evaluation.evaluator import Evaluator
from gankit_train.models.checkpoints import CheckpointInfo
from gankit_train.models.gan import GAN
from gankit_train.models.layers import Shape, plan_layers
from gankit_train.models.networks import count_parameters
from gankit_train.reporter import Reporter
from gankit_train.training.batches import held_out_count
from gankit_train.training.progress import Progress

_MAX_SKIPPED = 3  # names of broken images to report


@dataclass(frozen=True)
class Setup:
    """What a run computes, with what, and where its files go."""

    config: Config  # with what was left to the data filled in
    data: Dataset
    run: Path  # run folder
    processes: ProcessGroup
    device: torch.device
    autocast: torch.autocast
    evaluator: Evaluator
    reporter: Reporter  # silent in all processes but the main one

    @property
    def shape(self) -> Shape:
        """Height, width and channels of the images."""
        height, width, channels = self.data.images.shape[1:]
        return height, width, channels

    @property
    def labels(self) -> Labels | None:
        """Labels that the networks receive; None for unconditional variants."""
        return self.data.labels if self.config.conditional else None

    def sample_path(self, images: int) -> Path:
        """Returns the path of the sample grid after so many images."""
        return self.run / "samples" / f"{images:09d}.png"

    def checkpoint_info(self, progress: Progress) -> CheckpointInfo:
        """Describes the run for a checkpoint."""
        name, fingerprint, best = self.data.name, self.data.fingerprint, progress.best_score
        return CheckpointInfo(self.config, self.shape, self.labels, name, fingerprint, progress.images, best)


def prepare(config: Config, reporter: Reporter, out: Path | None, fresh: bool) -> Setup:
    """Joins the other processes, chooses device and precision, packs the data, and checks all settings against it.

    Arguments and errors are those of `gankit_train.training.loop.train`.
    """
    processes = init_distributed(config.run.device, config.optimisation.batch_size, config.networks.packing)
    reporter = reporter if processes.is_main else Reporter()
    device = pick_device(config.run.device)
    autocast = pick_precision(config.run.precision, device)
    data = processes.local_rank_zero_first(lambda: _open_data(config, reporter))
    resolved = _resolve(config, data)
    processes.check_same((resolved.to_json(), data.fingerprint, autocast._enabled), "settings or data")
    run = processes.broadcast_object(lambda: _run_folder(resolved, data, out, fresh))
    evaluator = Evaluator(resolved, data, device, reporter.progress)
    return Setup(resolved, data, run, processes, device, autocast, evaluator, reporter)


def describe(setup: Setup, requested: Config, gan: GAN, progress: Progress) -> None:
    """Reports the settings that differ from the defaults, the data, the device, the networks and the run folder."""
    line, preset, data = setup.reporter.line, setup.config.run.preset, setup.data
    changed = {name: value for name, value in changed_settings(requested).items() if name != "preset"}
    defaults = configure(requested.variant, preset=preset or None).values()
    line(f"{'settings':10}{f'preset {preset}' if preset else requested.variant}{'' if changed else ', all defaults'}")
    for name, value in changed.items():
        default = "" if defaults[name] in (None, ()) else f"  (default {format_value(name, defaults[name])})"
        line(f"{'':10}{name:18}{format_value(name, value)}{default}")
    if preset and (caveat := PRESETS[preset].caveat):
        line(f"{'caveat':10}{caveat}")
    labels = setup.labels.names if setup.labels else ()
    some = f", labels {', '.join(labels[:12])}{' …' if len(labels) > 12 else ''}" if labels else ""
    line(f"{'data':10}{data.name}, {len(data.images):,} images of {shape_text(setup.shape)}{some}")
    processes = f", {setup.processes.world_size} processes" if setup.processes.world_size > 1 else ""
    precision = "bfloat16" if setup.autocast._enabled else "float32"
    line(f"{'device':10}{device_name(setup.device)}, {precision}{processes}")
    line(f"{'networks':10}{count_parameters(gan.G):,} parameters in G, {count_parameters(gan.D):,} in D")
    line(f"{'run':10}{setup.run}{f', resumed at {progress.images:,} images' if progress.images else ''}")


def _open_data(config: Config, reporter: Reporter) -> Dataset:
    """Packs the data. What can be refused before packing, which may take minutes, is refused before."""
    settings, batch_size = config.dataset, config.optimisation.batch_size
    source = open_source(settings.data)
    if config.networks.network == "conv":
        shape = (*(settings.size or source.size), settings.channels or 3)
        for network in ("g", "d"):
            plan_layers(config.networks, network, shape, 0)  # raises UsageError for sizes that it cannot have
    if config.conditional and not source.label_names:
        raise UsageError(
            f"cgan needs labels and {settings.data} has none: put each class into a folder of its own, or use dcgan"
        )
    n = len(source.names)
    if batch_size > n - (held_out := held_out_count(n, settings.held_out)):
        of_them = f", {held_out} of them held out" if held_out else ""
        has = f"{settings.data}, which has {n} images{of_them}"
        raise UsageError(f"--batch-size {batch_size} is too large for {has}: use a smaller one or more data")
    labels, progress = settings.attribute if config.conditional else (), partial(reporter.progress, "packing")
    data = open_dataset(source, settings.size, settings.channels, settings.fit, labels, progress)
    for name in data.skipped[:_MAX_SKIPPED]:
        reporter.line(f"{'skipped':10}{name}: it cannot be decoded")
    if len(data.skipped) > _MAX_SKIPPED:
        reporter.line(f"{'skipped':10}{len(data.skipped)} images in total")
    return data


def _resolve(config: Config, data: Dataset) -> Config:
    """Fills in the settings that were left to the data, so that a resumed run compares equal."""
    training = len(data.images) - held_out_count(len(data.images), config.dataset.held_out)
    epochs, images = config.run.epochs, config.run.images
    return config.replace(
        size=data.images.shape[1:3],
        channels=data.images.shape[3],
        attribute=data.label_names if config.conditional else (),
        images=images if epochs is None else max(1, round(epochs * training)),
        epochs=None,
    )


def _run_folder(config: Config, data: Dataset, out: Path | None, fresh: bool) -> Path:
    height, width = data.images.shape[1:3]
    size = str(height) if height == width else f"{width}x{height}"
    run = out or Path("runs") / f"{config.run.preset or config.variant}-{data.name}-{size}"
    if fresh and run.exists():
        return next(path for i in count(2) if not (path := run.with_name(f"{run.name}-{i}")).exists())
    return run


def shape_text(shape: Shape) -> str:
    """Formats a shape as `WIDTHxHEIGHTxCHANNELS`."""
    return f"{shape[1]}x{shape[0]}x{shape[2]}"
