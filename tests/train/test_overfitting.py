"""The held-out score gap: what it measures, when it is measured, and that training does not notice."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from gankit_train.config.variants import configure
from gankit_train.data import open_dataset
from gankit_train.models.gan import build_gan
from gankit_train.training.batches import Batches
from gankit_train.training.overfitting import held_out_score_gap
from gankit_train.training.progress import due_tasks
from tests.helpers.training import CPU, FLOAT32, load_state, read_metrics, states_equal, train_small


class MeanScore(nn.Module):
    """Scores an image by the mean of its pixels."""

    def forward(self, images: torch.Tensor, label: torch.Tensor | None) -> torch.Tensor:
        return images.flatten(1).mean(1)


class GreyGenerator(nn.Module):
    """Generates grey images of value -0.5."""

    def forward(self, z: torch.Tensor, label: torch.Tensor | None) -> torch.Tensor:
        return torch.full((len(z), 1, 28, 28), -0.5)


def test_the_gap_is_0_for_scores_of_training_images_and_1_for_scores_of_fake_images() -> None:
    config, data = configure("dcgan"), open_dataset("digits")
    images = np.full((1000, 28, 28, 1), 255, np.uint8)  # with score 1; fake images have -0.5
    batches = Batches(replace(data, images=images, vectors=data.vectors[:1000]), config, CPU)
    gan = build_gan(config, (28, 28, 1), 0, CPU)
    gan.D, gan.G_ema = MeanScore(), GreyGenerator()
    assert held_out_score_gap(gan, config, batches, FLOAT32) == pytest.approx(0)
    batches.images[batches.held_out] = 64  # with score -0.498
    assert held_out_score_gap(gan, config, batches, FLOAT32) == pytest.approx(1.498 / 1.5, abs=1e-3)
    assert held_out_score_gap(gan, config, Batches(data, config.replace(held_out=1), CPU), FLOAT32) is None


def test_measuring_the_gap_changes_no_weights_and_no_random_numbers() -> None:
    config, data = configure("cgan", filters=4, dropout=0.5, d_norm="batch", r1=0.0, r2=0.0), open_dataset("digits")
    gan = build_gan(config, (28, 28, 1), 10, CPU)
    networks = {"D": gan.D, "G_ema": gan.G_ema}
    before = {name: {k: v.clone() for k, v in each.state_dict().items()} for name, each in networks.items()}
    random_state = gan.random.generator.get_state()
    first = held_out_score_gap(gan, config, Batches(data, config, CPU), FLOAT32)
    assert first == held_out_score_gap(gan, config, Batches(data, config, CPU), FLOAT32)
    assert states_equal({name: each.state_dict() for name, each in networks.items()}, before)
    assert torch.equal(random_state, gan.random.generator.get_state()) and gan.D.training


def test_the_gap_is_measured_at_its_own_interval_however_rare_sample_grids_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gankit_train.training.progress.OVERFITTING_EVERY", 96)
    train_small(tmp_path / "rare", images=320, sample_every=10_000_000)
    measured = [row["images"] for row in read_metrics(tmp_path / "rare") if "held_out_score_gap" in row]
    assert measured == [96, 192, 288]
    monkeypatch.undo()
    train_small(tmp_path / "never", images=320)  # fewer images than the interval
    assert not any("held_out_score_gap" in row for row in read_metrics(tmp_path / "never"))
    assert states_equal(load_state(tmp_path / "rare"), load_state(tmp_path / "never"))


def test_the_interval_is_25000_images() -> None:
    run = configure("dcgan").run
    due = [now for now in range(1000, 100_000, 1000) if "overfitting" in due_tasks(run, now - 1000, now, stopped=False)]
    assert due == [25_000, 50_000, 75_000]
