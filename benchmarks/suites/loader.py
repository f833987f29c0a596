"""What fetching a batch takes beside the step that trains on it."""

from __future__ import annotations

from functools import partial
from itertools import count
from statistics import median

from benchmarks.options import Options
from benchmarks.results import Document, Metric, Row, document
from benchmarks.rounds import Values, finish, interleave, timed
from benchmarks.worker import call

FETCH, STEP, SHARE = "fetching a batch", "a step", "fetching as a share of the step"
_WAY = "gan-train dcgan --size 64 --batch-size 64"


def run(options: Options) -> Document:
    """Of the 64×64 DCGAN at batch 64, in the precision that `auto` takes; images in the cache as gan-train has them."""
    one = partial(
        call,
        "benchmarks.suites.loader:measure",
        options.threads,
        options.device,
        on=options.device,
        cores=options.threads,
        seconds=options.pick(5.0, 1.0),
    )
    taken = interleave({_WAY: one}, options.rounds_of(5))
    metrics = {FETCH: Metric("ms", False), STEP: Metric("ms", False), SHARE: Metric("%", False)}
    about = f"The 64×64×3 DCGAN at batch 64 on {options.threads} threads, precision auto; medians of each process"
    return document("loader", about, options, taken, metrics, {_WAY: Row()})


def measure(on: str, cores: int, seconds: float) -> Values:
    """In a process of its own."""
    from benchmarks.suites.training import trainer
    from gankit_train.data import open_dataset
    from gankit_train.training.batches import Batches

    step, config, device, real = trainer(on, "auto", cores, ())
    batches, images = Batches(open_dataset("digits", (64, 64), 3), config, device), count(0, len(real))

    fetch = median(timed(partial(finish, lambda: batches.after(next(images)), on), seconds / 5))
    whole = median(timed(step, seconds, warm=1))
    return {FETCH: 1000 * fetch, STEP: 1000 * whole, SHARE: 100 * fetch / whole}
