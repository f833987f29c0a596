"""Augmentation of the discriminator input, and instance noise."""

import pytest
import torch

from gankit_train.config.variants import configure
from gankit_train.training.augment import AUGMENTATIONS, INSTANCE_NOISE_IMAGES, augment
from tests.helpers.training import random_stream


def test_color_changes_brightness_and_contrast_within_bounds() -> None:
    images = torch.rand(500, 3, 4, 4) * 2 - 1
    out = AUGMENTATIONS["color"](images, random_stream())
    shift = out.mean((1, 2, 3)) - images.mean((1, 2, 3))  # saturation and contrast leave the mean as it is
    assert -0.5 <= shift.min() < -0.45 and 0.45 < shift.max() <= 0.5 and abs(shift.mean()) < 0.05
    grey = images.mean(1, keepdim=True).expand_as(images)
    contrast = AUGMENTATIONS["color"](grey, random_stream()).std((1, 2, 3)) / grey.std((1, 2, 3))  # without saturation
    assert 0.5 - 1e-3 <= contrast.min() < 0.55 and 1.45 < contrast.max() <= 1.5 + 1e-3


def test_translation_shifts_by_up_to_an_eighth_and_pads_with_zero() -> None:
    images = torch.zeros(400, 1, 16, 24)
    images[:, :, 8, 12] = 1
    out = AUGMENTATIONS["translation"](images, random_stream())
    _, _, rows, columns = out.nonzero().unbind(1)
    assert len(rows) == 400
    assert sorted(set((rows - 8).tolist())) == [-2, -1, 0, 1, 2]
    assert sorted(set((columns - 12).tolist())) == [-3, -2, -1, 0, 1, 2, 3]
    full = AUGMENTATIONS["translation"](torch.ones(400, 2, 16, 16), random_stream())
    assert full.min() == 0 and full[:, :, 2:-2, 2:-2].min() == 1


def test_cutout_zeroes_a_rectangle_of_half_of_each_edge() -> None:
    out = AUGMENTATIONS["cutout"](torch.ones(400, 3, 16, 8), random_stream())
    assert torch.equal(out[:, 0], out[:, 2])
    cut = (out[:, 0] == 0).sum((1, 2))
    assert cut.max() == 8 * 4 and 0 < cut.min() < 16  # at the border, less of it falls on the image


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentations_are_differentiable(name: str) -> None:
    images = torch.rand(3, 3, 8, 8, dtype=torch.float64, requires_grad=True)

    def augmented(x: torch.Tensor) -> torch.Tensor:
        return AUGMENTATIONS[name](x, random_stream()).double()

    assert torch.autograd.gradcheck(augmented, (images,), eps=1e-3, atol=1e-2)


def test_instance_noise_decays_linearly_to_zero() -> None:
    objective, images = configure("dcgan", instance_noise=0.1).objective, torch.zeros(200, 1, 8, 8)
    seen = [round(share * INSTANCE_NOISE_IMAGES) for share in (0, 0.5, 1, 2)]
    deviations = [float(augment(images, objective, random_stream(), n).std()) for n in seen]
    assert deviations == pytest.approx([0.1, 0.05, 0, 0], abs=2e-3)
    assert INSTANCE_NOISE_IMAGES == 200_000


def test_without_augmentation_the_images_are_unchanged() -> None:
    images = torch.rand(2, 1, 8, 8)
    assert augment(images, configure("dcgan").objective, random_stream(), 0) is images
