"""Batches: which images a run trains on, in which order, and how they are flipped."""

import numpy as np
import torch

from gankit_train.config.variants import configure
from gankit_train.data import open_dataset
from gankit_train.training.batches import Batches, held_out_count
from tests.helpers.training import CPU


def test_an_epoch_has_every_training_image_once() -> None:
    data, config = open_dataset("digits"), configure("dcgan", batch_size=300, seed=4)
    batches = Batches(data, config, CPU)
    # Three epochs in batches that do not divide one.
    order = np.concatenate([batches._indices(start) for start in range(0, 15_000, 300)])
    assert len(batches.held_out) == 100  # 2 %, which D never sees
    training = sorted(set(range(5000)) - set(batches.held_out))
    for epoch in range(3):
        assert sorted(order[epoch * 4900 : (epoch + 1) * 4900]) == training
    assert not np.array_equal(order[:4900], order[4900:9800])
    real, label = batches.after(0)
    assert label is None and real.shape == (300, 1, 28, 28)
    assert real.min() == -1 and real.max() == 1
    np.testing.assert_allclose(real[0, 0] * 127.5 + 127.5, data.images[order[0], :, :, 0], atol=1e-4)


def test_labels_belong_to_their_images() -> None:
    data, config = open_dataset("digits"), configure("cgan", batch_size=50)
    batches = Batches(data, config, CPU)
    real, label = batches.after(100)
    rows = batches._indices(100)
    assert label is not None and np.array_equal(label, data.vectors[rows])
    np.testing.assert_allclose(real[:, 0] * 127.5 + 127.5, data.images[rows, :, :, 0], atol=1e-4)


def test_half_of_the_images_are_flipped_horizontally() -> None:
    data = open_dataset("digits")
    plain, _ = Batches(data, configure("dcgan", batch_size=500), CPU).after(500)
    config = configure("dcgan", batch_size=500, horizontal_flips=True)
    real, _ = Batches(data, config, CPU).after(500)
    flipped = (real == plain.flip(3)).all((1, 2, 3))
    assert ((real == plain).all((1, 2, 3)) | flipped).all() and 200 < flipped.sum() < 300
    assert torch.equal(Batches(data, config, CPU).after(500)[0], real)


def test_few_images_are_held_out_and_none_of_tiny_data_sets() -> None:
    counts = [held_out_count(n, None) for n in (20, 79, 80, 100, 1000, 5000, 60_000)]
    assert counts == [0, 0, 8, 10, 20, 100, 128]
    assert held_out_count(60_000, 0) == 0 and held_out_count(100, 30) == 30
