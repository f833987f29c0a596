"""What the looking for signs of failure takes of a training run."""

from __future__ import annotations

from functools import partial
from statistics import median
from typing import Any

from benchmarks.options import Options
from benchmarks.results import Document, Metric, Row, document
from benchmarks.rounds import Values, finish, interleave, timed
from benchmarks.worker import call

STEP, WATCH, MEMORY, SIGNS = "a step", "looking at a batch", "asking D of held-out images", "reading the rows"
SHARE = "all of it, as a share of training"
_RUNS: dict[str, tuple[str, int, int]] = {
    "gan-train dcgan --size 64": ("dcgan", 64, 3),
    "gan-train vanilla": ("vanilla", 28, 1),  # whose steps are the shortest
}
_ROWS = 10_000  # of metrics.jsonl: 50 million images


def run(options: Options) -> Document:
    """Of two runs at batch 64 with the usual intervals."""
    arguments = {"on": options.device, "cores": options.threads, "seconds": options.pick(5.0, 0.5)}
    take = partial(call, "benchmarks.suites.diagnosis:measure", options.threads, options.device, **arguments)
    taken = interleave({way: partial(take, way=way) for way in _RUNS}, options.rounds_of(5))
    metrics = {name: Metric("ms", False) for name in (STEP, WATCH, MEMORY, SIGNS)} | {SHARE: Metric("%", False)}
    about = f"At batch 64 on {options.threads} threads, precision auto, usual intervals, {_ROWS} rows; medians"
    return document("diagnosis", about, options, taken, metrics, {way: Row() for way in _RUNS})


def measure(way: str, on: str, cores: int, seconds: float) -> Values:
    """In a process of its own."""
    import torch

    from gankit_train.compute.devices import pick_device, pick_precision
    from gankit_train.config.settings import configure
    from gankit_train.data import open_dataset
    from gankit_train.evaluation.diagnosis import diagnose
    from gankit_train.training.batches import Batches
    from gankit_train.training.overfitting import memory
    from gankit_train.training.step import WATCHED, build, step, watch

    torch.set_num_threads(cores)
    variant, edge, channels = _RUNS[way]
    config, device = configure(variant), pick_device(on)
    data = open_dataset("digits", (edge, edge), channels)
    gan, autocast = build(config, (edge, edge, channels), 0, device), pick_precision("auto", device)
    batches = Batches(data, config, device)
    real, _ = batches.after(0)
    fake = torch.zeros_like(real).requires_grad_()
    fake.sum().backward()  # type: ignore[no-untyped-call]

    def time_of(work: Any, share: float) -> float:
        return median(timed(partial(finish, work, on), share * seconds))

    whole = time_of(lambda: step(gan, config, real, None, autocast), 0.6)
    look = time_of(lambda: watch(real, fake, len(real)), 0.1)
    ask = time_of(lambda: memory(gan, config, batches, autocast), 0.2)
    row = {"loss_d": 1.0, "accuracy_real": 0.8, "accuracy_fake": 0.8, "score_fake": 0.0}
    # A collapse, so that there is a sign to follow.
    row |= {"batch_diversity": 0.4, "gradient_fake": 1.0, "memory": 0.1}
    rows = [{"images": 5000 * i} | row for i in range(1, _ROWS + 1)]
    read = time_of(lambda: diagnose(rows, config), 0.1)
    # Of each image's time: a step, a look, a question and a reading of the rows come after so many images.
    image = whole / config.batch_size
    extra = look / (WATCHED * config.batch_size) + ask / config.sample_every + read / config.log_every
    times = {STEP: whole, WATCH: look, MEMORY: ask, SIGNS: read}
    return {name: 1000 * seconds for name, seconds in times.items()} | {SHARE: 100 * extra / image}
