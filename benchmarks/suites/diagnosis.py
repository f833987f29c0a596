"""The overhead of diagnosing a run while it trains."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import median

from benchmarks.measurement import Values, interleave, synchronized, timed
from benchmarks.options import Options
from benchmarks.results import Case, Document, Metric, document
from benchmarks.worker import measure_in_process

STEP = "training step"
BATCH_STATISTICS, HELD_OUT, DIAGNOSE = "statistics of a batch", "scores of held-out images", "diagnosis of the log"
OVERHEAD = "overhead, as a share of training"
_RUNS: dict[str, tuple[str, int, int]] = {
    "gan-train dcgan --size 64": ("dcgan", 64, 3),
    "gan-train vanilla": ("vanilla", 28, 1),  # its steps are the shortest
}
"""Command → (variant, size, channels)."""
_ROWS = 10_000  # of metrics.jsonl: 50 million images


def run(options: Options) -> Document:
    """Measures the variants with the longest and the shortest step, at batch size 64 and the default intervals."""
    measure_one = partial(
        measure_in_process,
        measure,
        options,
        seconds=options.pick(5.0, 0.5),
    )
    measured = interleave({name: partial(measure_one, name=name) for name in _RUNS}, options.rounds_or(5))
    metrics = {name: Metric("ms", higher_is_better=False) for name in (STEP, BATCH_STATISTICS, HELD_OUT, DIAGNOSE)}
    metrics[OVERHEAD] = Metric("%", higher_is_better=False)
    description = (
        f"Batch size 64, {options.threads} threads, precision auto, default intervals, a log of {_ROWS:,} rows; each "
        "value is a median"
    )
    return document("diagnosis", description, options, measured, metrics, {name: Case() for name in _RUNS})


def measure(device: str, threads: int, name: str, seconds: float) -> Values:
    """Runs in its own process: milliseconds of a step and of each part of the diagnosis, and the overhead."""
    import torch

    from gankit_train.compute.devices import pick_device, pick_precision
    from gankit_train.config.variants import configure
    from gankit_train.data import open_dataset
    from gankit_train.evaluation.diagnosis import diagnose
    from gankit_train.models.gan import build_gan
    from gankit_train.training.batches import Batches
    from gankit_train.training.overfitting import held_out_score_gap
    from gankit_train.training.progress import OVERFITTING_EVERY
    from gankit_train.training.step import MONITOR_EVERY, batch_statistics, train_step

    torch.set_num_threads(threads)
    variant, edge, channels = _RUNS[name]
    config, torch_device = configure(variant), pick_device(device)
    data = open_dataset("digits", (edge, edge), channels)
    gan, autocast = build_gan(config, (edge, edge, channels), 0, torch_device), pick_precision("auto", torch_device)
    batches = Batches(data, config, torch_device)
    real, _ = batches.after(0)
    fake = torch.zeros_like(real).requires_grad_()
    fake.sum().backward()  # type: ignore[no-untyped-call]
    row = {"loss_d": 1.0, "accuracy_real": 0.8, "accuracy_fake": 0.8, "score_fake": 0.0}
    row |= {
        "batch_diversity": 0.4,
        "gradient_fake": 1.0,
        "held_out_score_gap": 0.1,
    }  # mode collapse, so that there is a symptom
    rows = [{"images": 5000 * i} | row for i in range(1, _ROWS + 1)]

    def median_seconds(work: Callable[[], object], share: float) -> float:
        return median(timed(partial(synchronized, work, device), share * seconds))

    times = {
        STEP: median_seconds(lambda: train_step(gan, config, real, None, autocast), 0.6),
        BATCH_STATISTICS: median_seconds(lambda: batch_statistics(real, fake, len(real)), 0.1),
        HELD_OUT: median_seconds(lambda: held_out_score_gap(gan, config, batches, autocast), 0.2),
        DIAGNOSE: median_seconds(lambda: diagnose(rows, config), 0.1),
    }
    # Images after which each of them is due.
    interval = {
        STEP: config.optimisation.batch_size,
        BATCH_STATISTICS: MONITOR_EVERY * config.optimisation.batch_size,
        HELD_OUT: OVERFITTING_EVERY,
        DIAGNOSE: config.run.log_every,
    }
    per_image = {part: times[part] / interval[part] for part in times}
    overhead = (sum(per_image.values()) - per_image[STEP]) / per_image[STEP]
    return {part: 1000 * value for part, value in times.items()} | {OVERHEAD: 100 * overhead}
