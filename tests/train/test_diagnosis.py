"""Signs of failing runs: told when they last, with flags that can be given, and never on runs that go well."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from gankit_train.batches import Batches, held_out_of
from gankit_train.config import VARIANTS, configure
from gankit_train.data import open_dataset
from gankit_train.devices import pick_precision
from gankit_train.diagnosis import SIGNS, Row, diagnose
from gankit_train.memory import memory
from gankit_train.step import build
from tests.train.test_run import same

WELL: Row = {
    "loss_d": 1.0, "accuracy_real": 0.8, "accuracy_fake": 0.8, "diversity": 0.95, "gradient_fake": 1.0, "memory": 0.1,
}  # fmt: skip
FAILING: dict[str, list[Row]] = {
    "D too strong": [{"loss_d": 0.001, "accuracy_real": 1.0, "accuracy_fake": 0.999}] * 30,
    "collapse": [{"diversity": 0.1}] * 30,
    "divergence": [{"gradient_fake": 10.0 * 2**i} for i in range(30)],
    "oscillation": [{"loss_d": 1 + 0.05 * (-1.3) ** i} for i in range(30)],
    "known by heart": [{"memory": 0.9}] * 30,
}


def rows(changes: list[Row], begin: int = 0) -> list[Row]:
    return [{"images": 5000 * (begin + i + 1)} | WELL | change for i, change in enumerate(changes)]


@pytest.mark.parametrize("sign", SIGNS)
def test_a_sign_is_told_when_it_has_lasted(sign: str) -> None:
    config, before = configure("dcgan"), rows([{}] * 10)
    history = before + rows(FAILING[sign], 10)
    told = [[finding.sign for finding in diagnose(history[:n], config)] for n in range(1, len(history) + 1)]
    assert not any(told[: 10 + SIGNS[sign].lasts - 1]) and sign in told[-1]
    first = next(n for n, signs in enumerate(told, 1) if sign in signs)
    (finding,) = (f for f in diagnose(history[:first], config) if f.sign == sign)
    assert finding.since == history[first - SIGNS[sign].lasts]["images"]
    assert str(finding).startswith(f"since image {finding.since:,}: ") and "; try --" in str(finding)
    # And no more when it is over.
    assert sign not in [f.sign for f in diagnose(history + rows([{}] * 20, len(history)), config)]


def test_a_run_that_goes_well_is_left_alone() -> None:
    wobble = np.random.default_rng(0)
    history = rows([{name: value * wobble.uniform(0.8, 1.05) for name, value in WELL.items()} for _ in range(200)])
    assert not any(diagnose(history[:n], configure("dcgan")) for n in range(1, 200))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("sign", SIGNS)
def test_what_is_advised_can_be_given(sign: str, variant: str) -> None:
    config = configure(variant)
    advice = SIGNS[sign].try_(config)
    replace(config, **advice)  # refuses what does not go together
    assert advice != {name: getattr(config, name) for name in advice}


class Brightness(nn.Module):
    """Judges an image by its mean."""

    def forward(self, images: torch.Tensor, label: torch.Tensor | None) -> torch.Tensor:
        return images.flatten(1).mean(1)


class Grey(nn.Module):
    """Makes grey images."""

    def forward(self, z: torch.Tensor, label: torch.Tensor | None) -> torch.Tensor:
        return torch.full((len(z), 1, 28, 28), -0.5)


def test_memory_is_the_held_out_images_place_between_training_and_fake() -> None:
    config, cpu = configure("dcgan"), torch.device("cpu")
    data = open_dataset("digits")
    images = np.full((1000, 28, 28, 1), 255, np.uint8)  # D scores 1; G's images -0.5
    batches = Batches(replace(data, images=images, vectors=data.vectors[:1000]), config, cpu)
    gan, float32 = build(config, (28, 28, 1), 0, cpu), pick_precision("float32", cpu)
    gan.D, gan.G_ema = Brightness(), Grey()
    assert memory(gan, config, batches, float32) == pytest.approx(0)
    batches.images[batches.held_out] = 64  # scores -0.498, as G's
    assert memory(gan, config, batches, float32) == pytest.approx(1.498 / 1.5, abs=1e-3)
    assert memory(gan, config, Batches(data, replace(config, held_out=1), cpu), float32) is None


def test_memory_leaves_no_trace() -> None:
    config, cpu = configure("cgan", filters=4, dropout=0.5, d_norm="batch", r1=0.0), torch.device("cpu")
    data, float32 = open_dataset("digits"), pick_precision("float32", cpu)
    gan = build(config, (28, 28, 1), 10, cpu)
    before = {name: {k: v.clone() for k, v in getattr(gan, name).state_dict().items()} for name in ("D", "G_ema")}
    noise = gan.noise.generator.get_state()
    first = memory(gan, config, Batches(data, config, cpu), float32)
    assert first == memory(gan, config, Batches(data, config, cpu), float32)
    assert same({name: getattr(gan, name).state_dict() for name in before}, before)
    assert same(noise, gan.noise.generator.get_state()) and gan.D.training


def test_few_images_are_held_out_and_of_tiny_sets_none() -> None:
    config = configure("dcgan")
    assert [held_out_of(n, config) for n in (20, 79, 80, 100, 1000, 5000, 60_000)] == [0, 0, 8, 10, 20, 100, 128]
    assert held_out_of(60_000, replace(config, held_out=0)) == 0
