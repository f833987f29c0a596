"""Training rates: whole runs of gan-train and of other trainers on the same images, and the training step alone."""

from __future__ import annotations

import tempfile
from functools import partial
from itertools import count
from pathlib import Path

from benchmarks.measurement import Measure, Values, interleave, timed
from benchmarks.options import Options
from benchmarks.results import Case, Document, Metric, document
from benchmarks.roofline import OPERATIONS, peak_measures
from benchmarks.trainers import (
    BASELINES,
    BATCH,
    DCGAN,
    Networks,
    Settings,
    auto_precision,
    find_baselines,
    run_baseline,
    run_gan_train,
    training_step,
    write_images,
)
from benchmarks.worker import measure_in_process, run_in_process

STEP = f"images/s of the training step, {DCGAN.name}"


def run(options: Options) -> Document:
    """Measures runs from image files to weights, and steps on a batch in memory."""
    scripts = find_baselines(options.baseline_dirs)
    steps = int(options.pick(240 if options.device == "cuda" else 24, 4))
    auto = measure_in_process(auto_precision, options)
    precisions = {"float32": "float32"} if options.quick else {"float32": "float32", "auto": auto}
    # gan-train trains other networks than the DCGAN only where the baseline that has them is measured too.
    trained = [DCGAN] + [each.networks for each in scripts if options.baselines and each.networks is not DCGAN]
    measures: dict[str, Measure] = {}
    cases: dict[str, Case] = {}
    with tempfile.TemporaryDirectory() as name:
        folder, numbers = Path(name), count()
        write_images(folder, steps)

        def run_of(networks: Networks, setting: str) -> Values:
            out = folder / f"run{next(numbers)}"
            return run_gan_train(networks, setting, steps, folder / "images.npy", out, options)

        for networks in trained:
            for setting, precision in precisions.items():
                case = f"gankit, {setting}" + ("" if networks is DCGAN else ", layers of PyTorch-GAN")
                measures[case], cases[case] = partial(run_of, networks, setting), Case(precision=precision)
        for baseline in BASELINES if options.baselines else ():
            measures[baseline.name] = partial(run_baseline, baseline, scripts.get(baseline), steps, folder, options)
            cases[baseline.name] = Case(baseline=True)
        for setting, precision in () if options.quick else precisions.items():
            case = f"gankit, training step, {setting}"
            measures[case], cases[case] = partial(_measure_step, setting, options), Case(precision=precision)
        measured = interleave(measures | peak_measures(options), options.rounds_or(5))
    work = {networks.metric: _work(networks, options) for networks in trained}
    metrics = {metric: Metric("images/s", work=each) for metric, each in work.items()}
    metrics[STEP] = Metric("images/s", work=work[DCGAN.metric])
    description = (
        f"Training on drawn bricks, batch size {BATCH}, from image files to weights, {options.threads} threads, "
        f"{steps} steps after a warm-up of a quarter as many; without the packing of the images, which gan-train does "
        f"once; auto is {auto} on this machine"
    )
    return document("training", description, options, measured, metrics, cases)


def _measure_step(precision: str, options: Options) -> Values:
    return measure_in_process(measure_step, options, precision=precision, seconds=options.pick(5.0, 1.0))


def measure_step(device: str, threads: int, precision: str, seconds: float) -> Values:
    """Runs in its own process: the rate of the training step alone."""
    times = timed(training_step(device, precision, threads).call, seconds)
    return {STEP: BATCH * len(times) / sum(times)}


def _work(networks: Networks, options: Options) -> Values:
    settings, channels = networks.settings, networks.channels
    return run_in_process(count_operations, options.threads, "cpu", settings=settings, channels=channels)


def count_operations(settings: Settings, channels: int) -> Values:
    """Runs in its own process: the operations of a training step per image, forward and backward."""
    from torch.utils.flop_counter import FlopCounterMode

    # JSON turned tuples into lists.
    tuples = tuple((name, tuple(value) if isinstance(value, list) else value) for name, value in settings)
    step = training_step("cpu", "float32", 1, tuples, channels)
    with FlopCounterMode(display=False) as counter:
        step.call()
    return {OPERATIONS: counter.get_total_flops() / BATCH}
