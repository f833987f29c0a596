"""The time to fetch a batch, compared with the training step that uses it."""

from __future__ import annotations

from functools import partial
from itertools import count
from statistics import median

from benchmarks.measurement import Values, interleave, synchronized, timed
from benchmarks.options import Options
from benchmarks.results import Case, Document, Metric, document
from benchmarks.trainers import training_step
from benchmarks.worker import measure_in_process

FETCH, STEP, SHARE = "fetching a batch", "training step", "fetching, as a share of the training step"
_CASE = "gan-train dcgan --size 64 --batch-size 64"


def run(options: Options) -> Document:
    """Measures the 64×64 DCGAN at batch size 64, with packed and memory-mapped images as gan-train has them."""
    measure_one = partial(
        measure_in_process,
        measure,
        options,
        seconds=options.pick(5.0, 1.0),
    )
    measured = interleave({_CASE: measure_one}, options.rounds_or(5))
    metrics = {
        FETCH: Metric("ms", higher_is_better=False),
        STEP: Metric("ms", higher_is_better=False),
        SHARE: Metric("%", higher_is_better=False),
    }
    description = (
        f"The 64×64×3 DCGAN at batch size 64, {options.threads} threads, precision auto; each value is a median"
    )
    return document("loader", description, options, measured, metrics, {_CASE: Case()})


def measure(device: str, threads: int, seconds: float) -> Values:
    """Runs in its own process: milliseconds of a fetch and of a step, and their ratio in percent."""
    from gankit_train.data import open_dataset
    from gankit_train.training.batches import Batches

    step = training_step(device, "auto", threads)
    batches = Batches(open_dataset("digits", (64, 64), 3), step.config, step.device)
    images = count(0, len(step.batch))

    fetch_seconds = median(timed(partial(synchronized, lambda: batches.after(next(images)), device), seconds / 5))
    step_seconds = median(timed(step.call, seconds, warmup=1))
    return {FETCH: 1000 * fetch_seconds, STEP: 1000 * step_seconds, SHARE: 100 * fetch_seconds / step_seconds}
