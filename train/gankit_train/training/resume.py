"""Resumes a run from its newest intact checkpoint."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from gankit._errors import GankitError, ModelError, UsageError
from gankit_train.config.config import SETTINGS, Config
from gankit_train.config.flags import flag, format_value
from gankit_train.models.checkpoints import CheckpointInfo, list_checkpoints, load_checkpoint, restore_gan
from gankit_train.models.gan import GAN
from gankit_train.reporter import Reporter
from gankit_train.training.progress import Progress
from gankit_train.training.setup import Setup, shape_text


def resume(gan: GAN, setup: Setup, read_only: bool = False) -> Progress:
    """Loads the newest intact checkpoint of the run folder, if there is one, into all processes.

    Args:
        gan: freshly built; changed in place.
        setup: of the run.
        read_only: keep the names of damaged checkpoints.

    Raises:
        UsageError: the checkpoint was trained with other settings or data; the message names them.
        GankitError: all checkpoints are damaged.
    """
    progress = Progress()
    found = setup.processes.broadcast_object(lambda: _newest_intact(setup.run, setup.reporter, read_only))
    if found is not None:
        info, document = found
        check_resumable(setup.run, info.config, setup.config)
        _check_same_data(setup.run, info, setup.checkpoint_info(progress))
        restore_gan(gan, document)
        comparable = info.config.run.metrics[0] == setup.config.run.metrics[0]
        progress = Progress(info.images, info.best_score if comparable else math.inf)
    setup.processes.broadcast_weights((gan.G, gan.G_ema, gan.D))
    return progress


def check_resumable(run: Path, before: Config, now: Config) -> None:
    """Raises UsageError, with names and both values, if a setting changed that a resumed run must keep."""
    old, new = ({"variant": config.variant, **config.values()} for config in (before, now))
    fixed = ["variant", *(name for name, setting in SETTINGS.items() if setting.fixed)]
    changed = [name for name in fixed if old[name] != new[name]]
    if before.run.preset != now.run.preset and len(changed) > 1:
        began = f"--preset {before.run.preset}" if before.run.preset else "no preset"
        raise UsageError(f"{run} was started with {began}: use the same to resume, or --fresh to start another run")
    if changed:
        both = (
            f"{flag(name)} {format_value(name, old[name]) or 'none'}, now {format_value(name, new[name]) or 'none'}"
            for name in changed
        )
        raise UsageError(
            f"{run} was trained with {'; with '.join(both)}: use the same to resume, or --fresh to start another run"
        )


def _newest_intact(run: Path, reporter: Reporter, read_only: bool) -> tuple[CheckpointInfo, dict[str, Any]] | None:
    """Loads the newest checkpoint that can be read; newer ones that are damaged are reported and renamed."""
    damaged: list[Path] = []
    for path in list_checkpoints(run):
        try:
            info, document = load_checkpoint(path)
        except ModelError as error:
            reporter.line(f"{'damaged':10}{error}")
            damaged.append(path)
            continue
        if not read_only:
            for each in damaged:
                each.rename(each.with_suffix(".damaged"))  # else it would count as one of the checkpoints to keep
        with suppress(GankitError):  # best.pt may be newer than this one, and must not be replaced by a worse one
            best = load_checkpoint(path.with_name("best.pt"))[0]
            if best.config.run.metrics[0] == info.config.run.metrics[0]:
                info = replace(info, best_score=min(info.best_score, best.best_score))
        return info, document
    if damaged:
        raise GankitError(f"all {len(damaged)} checkpoints in {run} are damaged: --fresh starts another run")
    return None


def _check_same_data(run: Path, before: CheckpointInfo, now: CheckpointInfo) -> None:
    if (before.shape, before.fingerprint) != (now.shape, now.fingerprint):
        old, new = (f"{i.data} {shape_text(i.shape)} ({i.fingerprint[:8]})" for i in (before, now))
        raise UsageError(f"{run} was trained on {old}, not on {new}: use the same --data, or --fresh, or another --out")
