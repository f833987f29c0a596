"""What D is shown of every image, real or fake: noise that decays, and differentiable augmentation.

Zhao et al., "Differentiable Augmentation for Data-Efficient GAN Training" (2020), with the strengths given there. The
same kinds of change fall on real and fake images, so that G need not make changed images to pass.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gankit_train.compute.rng import Noise
from gankit_train.config.settings import Config


def show(images: Tensor, config: Config, noise: Noise, images_seen: int) -> Tensor:
    """Images [n, c, h, w] as D is to see them; differentiable."""
    for name in config.augment:
        images = AUGMENTATIONS[name](images, noise)
    # Sønderby et al., "Amortised MAP Inference" (2017): noise makes the two distributions overlap while they are apart.
    deviation = config.instance_noise * max(0.0, 1 - images_seen / config.instance_noise_images)
    if deviation > 0:
        images = images + deviation * noise.normal(*images.shape)
    return images


def _color(images: Tensor, noise: Noise) -> Tensor:
    """Brightness ±0.5, saturation from 0 to 2, contrast from 0.5 to 1.5 times."""
    brightness, saturation, contrast = noise.uniform(len(images), 3, 1, 1, 1).unbind(1)
    images = images + brightness - 0.5
    grey = images.mean(1, keepdim=True)
    images = grey + 2 * saturation * (images - grey)
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + (contrast + 0.5) * (images - mean)


def _translation(images: Tensor, noise: Noise) -> Tensor:
    """By up to an eighth of each edge; what comes into sight is 0."""
    n, _, height, width = images.shape
    u = noise.uniform(n, 2)
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1))  # a border of zeros that every place outside is read from
    rows = _shifted(u[:, :1], height)[:, None, :, None]
    columns = _shifted(u[:, 1:], width)[:, None, None, :]
    return padded[torch.arange(n, device=u.device)[:, None, None, None], _channels(images), rows, columns]


def _shifted(u: Tensor, edge: int) -> Tensor:
    """Indices [n, edge] into a padded edge, moved by whole pixels from -edge / 8 to edge / 8."""
    most = round(edge / 8)
    shift = (u * (2 * most + 1)).floor().long() - most
    return (torch.arange(edge, device=u.device) + 1 + shift).clamp(0, edge + 1)


def _cutout(images: Tensor, noise: Noise) -> Tensor:
    """A rectangle of half of each edge, its centre anywhere, is 0."""
    n, _, height, width = images.shape
    u = noise.uniform(n, 2)
    inside = [
        (torch.arange(edge, device=u.device) + 0.5 - at * edge).abs() < edge / 4
        for at, edge in ((u[:, :1], height), (u[:, 1:], width))
    ]
    return images * ~(inside[0][:, None, :, None] & inside[1][:, None, None, :])


def _channels(images: Tensor) -> Tensor:
    return torch.arange(images.shape[1], device=images.device)[None, :, None, None]


AUGMENTATIONS: dict[str, Callable[[Tensor, Noise], Tensor]] = {
    "color": _color,
    "translation": _translation,
    "cutout": _cutout,
}
"""By the names of `--augment`, applied in the order in which they are given."""
