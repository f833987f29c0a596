"""Random numbers: they depend on the seed of a run alone, and leave the global generators of a program as they are."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gankit_train.compute.distributed import ProcessGroup
from gankit_train.compute.rng import RandomStream
from gankit_train.config.variants import configure
from gankit_train.metrics.classifier import classifier_of
from gankit_train.models.gan import build_gan
from tests.helpers.datasets import DATA
from tests.helpers.training import CPU, states_equal


@pytest.fixture
def global_generators_stay(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails if PyTorch's global generators are seeded, those of CUDA included, or have another state afterwards."""

    def refuse(seed: int) -> None:
        raise AssertionError(f"a global generator was seeded with {seed}")

    for function in ("torch.manual_seed", "torch.random.manual_seed", "torch.cuda.manual_seed_all"):
        monkeypatch.setattr(function, refuse)
    before = torch.get_rng_state()
    yield
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.usefixtures("global_generators_stay")
@pytest.mark.parametrize("variant", ["cgan", "vanilla"])
def test_building_a_gan_touches_no_global_generator(variant: str) -> None:
    build_gan(configure(variant, filters=4, dropout=0.5, g_widths=(8, 8)), (8, 8, 3), 2, CPU)


@pytest.mark.usefixtures("global_generators_stay")
def test_training_the_classifier_touches_no_global_generator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANKIT_CACHE", str(tmp_path))
    rows = slice(0, 100)
    data = replace(DATA, images=DATA.images[rows], vectors=DATA.vectors[rows], fingerprint="a hundred quarters")
    trained: list[int] = []
    classifier_of(data, CPU, lambda task, done, total: trained.append(done))
    assert trained  # and not read from the cache


def test_initial_weights_depend_on_the_seed_alone() -> None:
    def weights(seed: int, global_seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(global_seed)
        return build_gan(configure("cgan", filters=4, seed=seed), (8, 8, 3), 2, CPU).G.state_dict()

    assert states_equal(weights(0, 1), weights(0, 2))
    assert not states_equal(weights(0, 1), weights(1, 1))


def test_processes_draw_the_rows_of_one_process() -> None:
    def draw(processes: ProcessGroup, n: int) -> tuple[torch.Tensor, ...]:
        random = RandomStream(torch.Generator().manual_seed(0), processes)
        return random.normal(n, 3), random.uniform(n, 2), random.dropout_mask(torch.ones(n, 4), 0.5), random.normal(n)

    whole = draw(ProcessGroup(), 8)
    parts = [draw(ProcessGroup(rank, 4), 2) for rank in range(4)]
    assert states_equal(list(whole), [torch.cat(each) for each in zip(*parts, strict=True)])
