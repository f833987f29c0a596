"""Fixtures of the trainer's tests."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.datasets import quarters


@pytest.fixture
def global_random_state_stays() -> Iterator[None]:
    """Fails if a test changes the global random state of PyTorch or NumPy: evaluations must not disturb a run."""
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    yield
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Gives a test a cache of its own for packed data."""
    monkeypatch.setenv("GANKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def quarters_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Writes 400 small labelled images, 8x8x1, into a .npz."""
    path = tmp_path_factory.mktemp("data") / "quarters.npz"
    classes = np.arange(400) % 4
    np.savez(path, images=quarters(classes), labels=classes)
    return path
