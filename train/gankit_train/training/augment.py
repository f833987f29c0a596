"""Changes of the discriminator input, for real and fake images alike: differentiable augmentation and decaying noise.

Zhao et al., "Differentiable Augmentation for Data-Efficient GAN Training" (2020), with the strengths given there.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from gankit_train.compute.rng import RandomStream
from gankit_train.config.settings import Augmentation, ObjectiveSettings

INSTANCE_NOISE_IMAGES = 200_000
"""Real images after which instance noise has decayed to 0."""


def augment(images: Tensor, objective: ObjectiveSettings, random: RandomStream, images_seen: int) -> Tensor:
    """Returns the discriminator input for real or fake images [n, c, h, w]; differentiable.

    Instance noise decays with the number of real images that the discriminator has seen.
    """
    for name in objective.augment:
        images = AUGMENTATIONS[name](images, random)
    # Sønderby et al., "Amortised MAP Inference" (2017): noise makes the distributions of real and fake images overlap.
    deviation = objective.instance_noise * max(0.0, 1 - images_seen / INSTANCE_NOISE_IMAGES)
    if deviation > 0:
        images = images + deviation * random.normal(*images.shape)
    return images


def _color(images: Tensor, random: RandomStream) -> Tensor:
    """Changes brightness by ±0.5, saturation by a factor of 0 to 2, contrast by a factor of 0.5 to 1.5."""
    brightness, saturation, contrast = random.uniform(len(images), 3, 1, 1, 1).unbind(1)
    images = images + brightness - 0.5
    grey = images.mean(1, keepdim=True)
    images = grey + 2 * saturation * (images - grey)
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + (contrast + 0.5) * (images - mean)


def _translation(images: Tensor, random: RandomStream) -> Tensor:
    """Shifts images by up to an eighth of each edge and pads with 0."""
    n, _, height, width = images.shape
    u = random.uniform(n, 2)
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1))  # all positions outside are read from this border of zeros
    rows = _shifted_indices(u[:, :1], height)[:, None, :, None]
    columns = _shifted_indices(u[:, 1:], width)[:, None, None, :]
    channels = torch.arange(images.shape[1], device=u.device)[None, :, None, None]
    return padded[torch.arange(n, device=u.device)[:, None, None, None], channels, rows, columns]


def _shifted_indices(u: Tensor, edge: int) -> Tensor:
    """Returns indices [n, edge] into a padded edge, shifted by -edge / 8 to edge / 8 pixels."""
    limit = round(edge / 8)
    shift = (u * (2 * limit + 1)).floor().long() - limit
    return (torch.arange(edge, device=u.device) + 1 + shift).clamp(0, edge + 1)


def _cutout(images: Tensor, random: RandomStream) -> Tensor:
    """Sets a rectangle of half of each edge to 0, with its centre anywhere in the image."""
    n, _, height, width = images.shape
    u = random.uniform(n, 2)
    rows = (torch.arange(height, device=u.device) + 0.5 - u[:, :1] * height).abs() < height / 4
    columns = (torch.arange(width, device=u.device) + 0.5 - u[:, 1:] * width).abs() < width / 4
    return images * ~(rows[:, None, :, None] & columns[:, None, None, :])


AUGMENTATIONS: dict[Augmentation, Callable[[Tensor, RandomStream], Tensor]] = {
    "color": _color,
    "translation": _translation,
    "cutout": _cutout,
}
"""By the names of `--augment`, applied in the given order."""
