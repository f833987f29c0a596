"""Clusters of images, and the share of bins that generated images fill differently."""

import torch

from gankit_train.metrics.kmeans import assign, bin_count, kmeans, share_of_different_bins
from tests.helpers.datasets import normal


def test_bins_are_compared_by_a_two_proportion_z_test() -> None:
    real, fake = torch.tensor([500, 300, 200, 0]), torch.tensor([470, 300, 130, 100])
    # z = |p - q| / √(r (1 - r) (1/n + 1/m)): 1.34, 0, 4.2 and 10.3
    assert share_of_different_bins(real, fake) == 0.5
    assert share_of_different_bins(real, fake, significance=0.2) == 0.75
    assert share_of_different_bins(real, real) == 0
    assert share_of_different_bins(torch.tensor([5, 0]), torch.tensor([7, 0])) == 0


def test_kmeans_finds_separated_clusters() -> None:
    centres = 50 * normal(6, 4)
    points = (centres[:, None] + normal(600, 4, seed=1).view(6, 100, 4)).flatten(0, 1)
    cluster = assign(points, kmeans(points, 6)).view(6, 100)
    assert (cluster == cluster[:, :1]).all() and len(set(cluster[:, 0].tolist())) == 6
    assert kmeans(torch.zeros(20, 2), 3).shape == (3, 2)  # equal points are allowed


def test_the_number_of_bins_grows_with_the_images_up_to_100() -> None:
    assert (bin_count(100), bin_count(400), bin_count(10_000)) == (2, 8, 100)
