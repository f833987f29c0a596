"""The story of a training run: prepare, resume, loop, finish."""

import signal
from dataclasses import dataclass, replace
from pathlib import Path

from gankit_train.config.config import Config
from gankit_train.models.gan import build_gan
from gankit_train.reporter import Reporter
from gankit_train.training.batches import Batches
from gankit_train.training.progress import Progress, due_tasks
from gankit_train.training.recorder import Recorder
from gankit_train.training.resume import resume
from gankit_train.training.setup import Setup, describe, prepare
from gankit_train.training.signals import StopSignals
from gankit_train.training.step import train_step


@dataclass(frozen=True)
class RunResult:
    """How a run ended."""

    run: Path  # run folder
    images: int  # real images that the discriminator has seen
    signal: int | None = None  # number of the signal that stopped it, if one did
    trained: bool = True  # False after a dry run, and if the run was finished before


def train(
    config: Config, reporter: Reporter, out: Path | None = None, *, fresh: bool = False, dry_run: bool = False
) -> RunResult:
    """Trains until `config.run.images`, from the newest checkpoint of the run folder if there is one.

    Args:
        config: the settings, see `gankit_train.config.variants.configure`.
        out: run folder; None takes `runs/VARIANT-DATA-SIZE`.
        fresh: start another run beside an existing one, in the first free folder of that name with a number.
        dry_run: check everything, take one step, and write nothing but packed data.

    Raises:
        GankitError: settings, data, device or disk cannot be used; the message says why and what to do.
        DivergedError: weights or losses became NaN or infinite.
    """
    setup = prepare(config, reporter, out, fresh)
    gan = build_gan(setup.config, setup.shape, setup.data.vectors.shape[1], setup.device, setup.processes)
    progress = resume(gan, setup, read_only=dry_run)
    if progress.images >= setup.config.run.images:
        finished = f"{setup.run} is finished: it has seen {progress.images:,} images"
        setup.reporter.line(f"{finished}; give more --images to continue, or --fresh to start another run")
        return RunResult(setup.run, progress.images, trained=False)
    describe(setup, config, gan, progress)
    batches = Batches(setup.data, setup.config, setup.device, setup.processes)
    if dry_run:
        train_step(gan, setup.config, *batches.after(progress.images), setup.autocast)
        setup.reporter.line("dry run: took one step and wrote nothing")
        return RunResult(setup.run, progress.images, trained=False)

    # The only waiting for the device is in recorder.write.
    end, stopped = setup.config.run.images, False
    with StopSignals(setup.processes, setup.device) as signals, Recorder(setup, batches, progress) as recorder:
        while progress.images < end and not stopped:
            recorder.add(train_step(gan, setup.config, *batches.after(progress.images), setup.autocast))
            before, now = progress.images, progress.images + setup.config.optimisation.batch_size
            progress, stopped = replace(progress, images=now), signals.requested(gan.steps)
            if due := due_tasks(setup.config.run, before, now, stopped):
                progress = recorder.write(due, gan, progress)
            setup.reporter.progress("training", min(now, end), end, recorder.note)
    return _finish(setup, progress, fresh, (signals.received or signal.SIGTERM) if stopped else None)


def _finish(setup: Setup, progress: Progress, fresh: bool, number: int | None) -> RunResult:
    """Reports how to continue, and where the results are."""
    if number is not None:
        command = f"the same command with --out {setup.run} and without --fresh" if fresh else "the same command"
        setup.reporter.line(f"stopped at {progress.images:,} images with a checkpoint; {command} resumes")
    setup.reporter.line(f"{'samples':10}{setup.sample_path(progress.images)}")
    setup.reporter.line(f"{'export':10}gan-export {setup.run}")
    return RunResult(setup.run, progress.images, number)
