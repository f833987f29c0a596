"""Trained runs, and their exports, which the tests of this folder share."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from gankit_export import ExportedFile, ExportOptions, export_run
from tests.helpers.training import train_small

Exported = Callable[[Path, ExportOptions], dict[str, ExportedFile]]
"""(run, options) → its file in each format. Exports once for the whole test session; do not change the files."""


@pytest.fixture(scope="session")
def dcgan_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "dcgan-digits-28"
    return train_small(out, "dcgan", images=640, beta1=0.0, lr_g=0.01)[0].run  # enough to move all statistics


@pytest.fixture(scope="session")
def cgan_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "cgan-digits-28"
    return train_small(out, "cgan", images=640, beta1=0.0, lr_g=0.01)[0].run


@pytest.fixture(params=["dcgan", "cgan"])
def run(request: pytest.FixtureRequest, dcgan_run: Path, cgan_run: Path) -> Path:
    """An unconditional and a conditional run."""
    return {"dcgan": dcgan_run, "cgan": cgan_run}[request.param]


@pytest.fixture(scope="session")
def wide_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A conditional run whose files consist mostly of weights; every layer of its generator doubles the size."""
    out = tmp_path_factory.mktemp("runs") / "wide"
    # Few steps of this loss: others leave larger activations, whose rounding errors in float16 are larger too.
    return train_small(out, "cgan", images=640, size=(32, 32), filters=32, lr_g=0.003, loss="non-saturating", r2=0.0)[
        0
    ].run


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    @cache
    def export_once(run: Path, options: ExportOptions) -> dict[str, ExportedFile]:
        out = tmp_path_factory.mktemp("exports")
        return {
            file.format: file
            for file in export_run(run, formats=["onnx", "torchscript", "pt2"], out=out, options=options)
        }

    return export_once
