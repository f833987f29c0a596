"""Principal components of images."""

import numpy as np
import torch

from gankit_train.metrics.pca import PrincipalComponents
from tests.helpers.datasets import normal, random_images
from tests.helpers.training import CPU


def test_all_principal_components_keep_the_distances() -> None:
    images = random_images(50, 7, 9, 1)  # 63 dimensions
    points = PrincipalComponents(images, CPU)(images)
    assert points.shape == (50, 50)
    flat = torch.from_numpy(images.reshape(50, -1).astype(np.float32))
    torch.testing.assert_close(torch.pdist(points), torch.pdist(flat), rtol=1e-3, atol=0.1)


def test_principal_components_have_the_singular_values() -> None:
    mixed = normal(40, 8) @ normal(8, 12 * 12, seed=1) * 8 + 128
    images = mixed.clamp(0, 255).round().to(torch.uint8).view(40, 12, 12, 1).numpy()
    x = torch.from_numpy(images.reshape(40, -1)).double()
    singular = torch.linalg.svd(x - x.mean(0)).S[:8]
    points = PrincipalComponents(images, CPU, 8)(images)
    torch.testing.assert_close(points.norm(dim=0).double(), singular, rtol=1e-3, atol=0.01)


def test_large_images_are_downscaled_by_averaging() -> None:
    images = np.repeat(np.repeat(random_images(20, 32, 16, 3), 2, axis=1), 2, axis=2)
    small = images[:, ::2, ::2]
    assert torch.equal(PrincipalComponents(images, CPU)(images), PrincipalComponents(small, CPU)(small))
