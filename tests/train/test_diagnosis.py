"""Signs of failing runs: told when they last, with flags that can be given, and never on runs that go well."""

import inspect
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from gankit_train.cli import _train
from gankit_train.compute.devices import pick_precision
from gankit_train.config.config import Config
from gankit_train.config.presets import PRESETS
from gankit_train.config.variants import VARIANTS, configure
from gankit_train.data import open_dataset
from gankit_train.evaluation.diagnosis import SYMPTOMS, Finding, Row, _flags, diagnose
from gankit_train.models.gan import build_gan
from gankit_train.training.batches import Batches, held_out_of
from gankit_train.training.overfitting import held_out_score_gap
from gankit_train.training.step import batch_statistics
from tests.train.test_run import same

WELL: Row = {
    "loss_d": 1.0, "accuracy_real": 0.8, "accuracy_fake": 0.8, "score_fake": -1.0, "batch_diversity": 0.95,
    "gradient_fake": 1.0, "memory": 0.1,
}  # fmt: skip
FAILING: dict[str, list[Row]] = {
    "D too strong": [{"loss_d": 0.001, "accuracy_real": 1.0, "accuracy_fake": 0.999}] * 30,
    "collapse": [{"batch_diversity": 0.1}] * 30,
    "divergence": [{"gradient_fake": 20.0 * 2**i} for i in range(30)],
    "oscillation": [{"loss_d": 1 + 0.05 * (-1.3) ** i} for i in range(30)],
    "known by heart": [{"memory": 0.9}] * 30,
}
EVERY = 5000  # images between two rows


def rows(changes: list[Row], begin: int = 0) -> list[Row]:
    return [{"images": EVERY * (begin + i + 1)} | WELL | change for i, change in enumerate(changes)]


def told(history: list[Row], config: Config) -> list[list[Finding]]:
    """After each row, with what was told before in the rows, as a run has it."""
    found = []
    for n in range(1, len(history) + 1):
        found.append(diagnose(history[:n], config))
        history[n - 1]["diagnosis"] = [each.to_json() for each in found[-1]]
    return found


@pytest.mark.parametrize("sign", SYMPTOMS)
def test_a_sign_is_told_when_it_has_lasted(sign: str) -> None:
    config = configure("dcgan")
    history = rows([{}] * 10) + rows(FAILING[sign], 10) + rows([{}] * 25, 40)
    signs = [[each for each in after if each.sign == sign] for after in told(history, config)]
    first = next(n for n, found in enumerate(signs) if found)
    (finding,) = signs[first]
    lasted = SYMPTOMS[sign].lasts * config.optimisation.batch_size  # in images
    assert finding.since > 10 * EVERY and 0 <= history[first]["images"] - finding.since - lasted < EVERY
    assert str(finding).startswith(f"since image {finding.since:,}: ") and "; try --" in str(finding)
    assert all(found and found[0].since == finding.since for found in signs[first:40])  # as long as it lasts
    assert not signs[-1]


@pytest.mark.parametrize("sign", ["D too strong", "collapse", "known by heart"])
@pytest.mark.parametrize(("every", "at"), [(64, 38_464), (5_000, 40_000), (50_000, 100_000)])
def test_it_is_updates_of_g_that_count_and_not_rows(sign: str, every: int, at: int) -> None:
    # 300 of 64 images are spared, and so many must then show it, in two rows at least.
    config, row = configure("dcgan"), WELL | FAILING[sign][0]
    history = [row | {"images": every * (i + 1)} for i in range(max(3, 40_000 // every))]
    assert next(history[n - 1]["images"] for n in range(1, 10_000) if diagnose(history[:n], config)) == at
    slow = config.replace(batch_size=512, critic_steps=5)  # 15 updates of G in 40,000 images
    assert not diagnose(history[: 40_000 // every], slow)


def test_a_run_that_goes_well_is_left_alone() -> None:
    wobble = np.random.default_rng(0)
    history = rows([{name: value * wobble.uniform(0.8, 1.05) for name, value in WELL.items()} for _ in range(200)])
    # At the beginning G makes one grey image, and D is right about everything.
    for row, diversity in zip(history, (0.05, 0.2, 0.4, 0.6), strict=False):
        row |= {"batch_diversity": diversity, "accuracy_real": 1.0, "accuracy_fake": 1.0, "loss_d": 0.01}
    assert not any(told(history, configure("dcgan")))
    # A loss that only grows does not swing.
    growing = rows([{"loss_d": 1.1**i} for i in range(60)])
    assert not any(told(growing, configure("dcgan")))


def test_a_penalised_critic_that_is_steep_from_the_start_is_diverging() -> None:
    config = configure("wgan-gp")  # whose penalty holds the slope near 1
    for slope, signs in ((5.0, []), (50.0, ["divergence"])):
        history = [{"images": 5000 * (i + 1), "gradient_fake": slope} for i in range(60)]
        assert [finding.sign for finding in diagnose(history, config)] == signs


def test_a_sign_that_follows_from_another_is_not_told_beside_it() -> None:
    strong, heart = FAILING["D too strong"][0], FAILING["known by heart"][0]
    for change, sign in ((strong | {"batch_diversity": 0.1}, "D too strong"), (strong | heart, "known by heart")):
        assert [finding.sign for finding in diagnose(rows([change] * 20), configure("dcgan"))] == [sign]


def test_a_batch_of_one_image_again_and_again_is_no_collapse() -> None:
    one = torch.ones(4, 1, 8, 8)
    fake = torch.rand(4, 1, 8, 8).requires_grad_()
    (2 * fake).sum().backward()  # type: ignore[no-untyped-call]
    seen = batch_statistics(one, fake, 4)
    assert seen["batch_diversity"] == 1 and seen["gradient_fake"] == pytest.approx(4 * 2 * 8)


CONFIGS = {name: configure(name) for name in VARIANTS}
CONFIGS |= {name: configure(preset.variant, preset=name) for name, preset in PRESETS.items()}
STRENGTHS = ("dropout", "packing", "instance_noise", "r1", "r2", "gradient_penalty")


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("sign", SYMPTOMS)
def test_what_is_advised_can_be_given_and_weakens_nothing(sign: str, name: str) -> None:
    config = CONFIGS[name]
    flags = _flags(SYMPTOMS[sign], config)
    entries = [entry for entry in SYMPTOMS[sign].try_(config) if any(v != getattr(config, k) for k, v in entry.items())]
    assert flags and len(flags) >= len(entries) - 1
    for entry in entries:
        assert all(value >= getattr(config, key) for key, value in entry.items() if key in STRENGTHS)
    known = {f"--{each.replace('_', '-')}" for each in inspect.signature(_train).parameters}
    assert {word for each in flags for word in each.split() if word.startswith("--")} <= known
    if sign in ("D too strong", "divergence", "known by heart"):
        assert all(entry["lr_d"] < config.optimisation.lr_d for entry in entries if "lr_d" in entry)


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
    gan, float32 = build_gan(config, (28, 28, 1), 0, cpu), pick_precision("float32", cpu)
    gan.D, gan.G_ema = Brightness(), Grey()
    assert held_out_score_gap(gan, config, batches, float32) == pytest.approx(0)
    batches.images[batches.held_out] = 64  # scores -0.498, as G's
    assert held_out_score_gap(gan, config, batches, float32) == pytest.approx(1.498 / 1.5, abs=1e-3)
    assert held_out_score_gap(gan, config, Batches(data, config.replace(held_out=1), cpu), float32) is None


def test_memory_leaves_no_trace() -> None:
    config, cpu = configure("cgan", filters=4, dropout=0.5, d_norm="batch", r1=0.0, r2=0.0), torch.device("cpu")
    data, float32 = open_dataset("digits"), pick_precision("float32", cpu)
    gan = build_gan(config, (28, 28, 1), 10, cpu)
    before = {name: {k: v.clone() for k, v in getattr(gan, name).state_dict().items()} for name in ("D", "G_ema")}
    noise = gan.random.generator.get_state()
    first = held_out_score_gap(gan, config, Batches(data, config, cpu), float32)
    assert first == held_out_score_gap(gan, config, Batches(data, config, cpu), float32)
    assert same({name: getattr(gan, name).state_dict() for name in before}, before)
    assert same(noise, gan.random.generator.get_state()) and gan.D.training


def test_few_images_are_held_out_and_of_tiny_sets_none() -> None:
    config = configure("dcgan")
    assert [held_out_of(n, config) for n in (20, 79, 80, 100, 1000, 5000, 60_000)] == [0, 0, 8, 10, 20, 100, 128]
    assert held_out_of(60_000, config.replace(held_out=0)) == 0
