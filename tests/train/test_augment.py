import pytest
import torch

from gankit_train.compute.distributed import ProcessGroup
from gankit_train.compute.rng import RandomStream
from gankit_train.config.variants import configure
from gankit_train.training.augment import AUGMENTATIONS, show


def noise(seed: int = 0) -> RandomStream:
    return RandomStream(torch.Generator().manual_seed(seed), ProcessGroup())


def test_color_keeps_what_is_where() -> None:
    images = torch.rand(500, 3, 4, 4) * 2 - 1
    out = AUGMENTATIONS["color"](images, noise())
    shift = out.mean((1, 2, 3)) - images.mean((1, 2, 3))  # saturation and contrast leave the mean as it is
    assert -0.5 <= shift.min() < -0.45 and 0.45 < shift.max() <= 0.5 and abs(shift.mean()) < 0.05
    grey = images.mean(1, keepdim=True).expand_as(images)
    contrast = AUGMENTATIONS["color"](grey, noise()).std((1, 2, 3)) / grey.std((1, 2, 3))  # grey has no saturation
    assert 0.5 - 1e-3 <= contrast.min() < 0.55 and 1.45 < contrast.max() <= 1.5 + 1e-3


def test_translation_moves_by_up_to_an_eighth_and_fills_with_zero() -> None:
    images = torch.zeros(400, 1, 16, 24)
    images[:, :, 8, 12] = 1
    out = AUGMENTATIONS["translation"](images, noise())
    _, _, rows, columns = out.nonzero().unbind(1)
    assert len(rows) == 400
    assert sorted(set((rows - 8).tolist())) == [-2, -1, 0, 1, 2]
    assert sorted(set((columns - 12).tolist())) == [-3, -2, -1, 0, 1, 2, 3]
    full = AUGMENTATIONS["translation"](torch.ones(400, 2, 16, 16), noise())
    assert full.min() == 0 and full[:, :, 2:-2, 2:-2].min() == 1


def test_cutout_takes_half_of_each_edge() -> None:
    out = AUGMENTATIONS["cutout"](torch.ones(400, 3, 16, 8), noise())
    assert torch.equal(out[:, 0], out[:, 2])
    cut = (out[:, 0] == 0).sum((1, 2))
    assert cut.max() == 8 * 4 and 0 < cut.min() < 16  # at the border less of it falls on the image


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_gradients_pass_through(name: str) -> None:
    images = torch.rand(3, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: AUGMENTATIONS[name](x, noise()).double(), (images,), eps=1e-3, atol=1e-2)


def test_instance_noise_decays_to_none() -> None:
    config = configure("dcgan", instance_noise=0.1, instance_noise_images=1000)
    images = torch.zeros(200, 1, 8, 8)
    deviations = [float(show(images, config, noise(), seen).std()) for seen in (0, 500, 1000, 2000)]
    assert deviations == pytest.approx([0.1, 0.05, 0, 0], abs=2e-3)


def test_nothing_asked_for_changes_nothing() -> None:
    images = torch.rand(2, 1, 8, 8)
    assert show(images, configure("dcgan"), noise(), 0) is images
