"""The report of `gan-gen --doctor`: what is installed, what is wrong, and how fast each device is."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import perf_counter

from gankit._environment import available_cores, import_onnxruntime, installed_packages, nvidia_driver
from gankit._errors import GankitError
from gankit._generator import Generator
from gankit._load import load
from gankit._model import read_model
from gankit._options import Device, Precision

_DEVICES: tuple[tuple[Device, Precision], ...] = (
    ("cpu", "auto"),
    ("cuda", "auto"),
    ("openvino", "float32"),
    ("openvino", "bfloat16"),
)
_SECONDS = 1.0  # of measuring each device


def report(model: Path) -> Iterator[str]:
    """The lines of the report; speeds are those of this model.

    Raises:
        ModelNotFoundError, ModelError: the model cannot be read.
    """
    read_model(model)
    system = f"{platform.system()} {platform.machine()}"
    yield f"python      {platform.python_version()}, {system}, {available_cores()} cores"
    for name, number in installed_packages().items():
        yield f"{'installed' if name == 'gankit' else '':12}{name} {number}"
    with suppress(GankitError):
        yield f"providers   {', '.join(import_onnxruntime().get_available_providers())}"
    driver = nvidia_driver()
    yield f"gpu         {driver.problem or ', '.join([*driver.gpus, f'driver for CUDA {driver.cuda}'])}"
    yield f"model       {model}"
    for device, precision in _DEVICES:
        try:
            with load(model, device=device, precision=precision) as generator:
                speed = f"{_images_per_s(generator):,.0f} images/s in {generator.precision}"
        except GankitError as error:
            speed = f"not available: {error}"
        yield f"{device:12}{speed}"


def _images_per_s(generator: Generator) -> float:
    """Images per second in requests of several batches."""
    generator.warmup()
    n = 4 * generator.sizes[-1]
    done, begin = 0, perf_counter()
    while (seconds := perf_counter() - begin) < _SECONDS:
        generator.sample(n, start=done)
        done += n
    return done / seconds
