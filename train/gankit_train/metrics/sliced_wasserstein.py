"""The sliced Wasserstein distance between two sets of images."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from gankit_train.metrics.pca import Images, downscale, to_tensor

_PATCH = 7  # edge of a patch, in pixels
_PATCHES = 32  # per image and band
_COARSE = 16  # pixels: the shortest edge of the last band, and the longest edge of the downscaled whole images
_DIRECTIONS = 128
_CHUNK = 64  # images at once, so that intermediate results stay in the processor's cache


@torch.no_grad()
def sliced_wasserstein(real: Images, fake: Images, seed: int = 0) -> float:
    """Returns the distance between two sets of images, 0 or more, in standard deviations of the real pixels.

    Karras et al., "Progressive Growing of GANs" (2018), section 5: the sliced Wasserstein distance of 7x7 patches,
    averaged over the bands of a Laplacian pyramid. Patches are hardly sensitive to repeated images, so the images
    themselves, downscaled to at most 16 pixels, are one more term of the average.

    Images are uint8 [n, height, width, channels]; the seed is that of the patch positions and directions. For two
    samples of one distribution the distance is not 0 but about 0.02 for 2,000 images in each set and 0.04 for 500; this
    floor falls as 1/√n. Values are comparable only for the same real images, number of fake images and seed.
    """
    generator = torch.Generator().manual_seed(seed)
    # Image i of both sets has its patches at the same positions, so that identical sets have distance 0 exactly.
    corners = torch.rand(max(len(real), len(fake)), _PATCHES, 2, generator=generator)
    pairs = zip(_descriptors(real, corners), _descriptors(fake, corners), strict=True)
    return float(np.mean([_distance(*pair, generator) for pair in pairs]))


def _descriptors(images: Images, corners: Tensor) -> list[Tensor]:
    """Returns whole images, then the patches of each band from fine to coarse: float32 [m, channels, pixels]."""
    chunks = (slice(start, start + _CHUNK) for start in range(0, len(images), _CHUNK))
    return [torch.cat(parts) for parts in zip(*(_levels(images[at], corners[at]) for at in chunks), strict=True)]


def _levels(images: Images, corners: Tensor) -> Iterator[Tensor]:
    yield downscale(images, _COARSE).flatten(2)
    band = to_tensor(images)
    h, w = band.shape[2:]
    while min(h, w) >= 2 * _COARSE:
        half = interpolate(band, (h // 2, w // 2), mode="area")
        yield _patches(band - interpolate(half, (h, w), mode="bilinear"), corners)
        band, h, w = half, h // 2, w // 2
    yield _patches(band, corners)


def _patches(band: Tensor, corners: Tensor) -> Tensor:
    """Cuts patches [n * patches, channels, pixels] from a band [n, c, h, w] at corners in [0, 1), [≥ n, patches, 2]."""
    n, _, h, w = band.shape
    edge = min(_PATCH, h, w)
    y, x = (corners[:n] * torch.tensor([h - edge + 1, w - edge + 1])).long().unbind(-1)
    windows = band.unfold(2, edge, 1).unfold(3, edge, 1)
    return windows[torch.arange(n)[:, None], :, y, x].flatten(3).flatten(0, 1)


def _distance(real: Tensor, fake: Tensor, generator: torch.Generator) -> float:
    """Averages the distance between the projections onto random directions (Rabin et al., 2011)."""
    # The paper's code scales each set by its own deviation, which hides wrong contrast. Here the deviation of the real
    # set scales both (at least one grey level, for constant images); its mean would shift both alike and cancels.
    spread = real.std(dim=(0, 2), keepdim=True).clamp_min(1)
    directions = torch.randn(_DIRECTIONS, *real.shape[1:], generator=generator)
    directions /= directions.norm(dim=(1, 2), keepdim=True) * spread
    a, b = ((directions.flatten(1) @ x.flatten(1).T).numpy() for x in (real, fake))
    return float(_wasserstein(a, b).mean())


def _wasserstein(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Integrates |F⁻¹ - G⁻¹| of the samples in each row, [rows, n] and [rows, m]: [rows]."""
    n = max(a.shape[1], b.shape[1])
    # NumPy sorts with vector instructions, several times faster than torch. Exact if one count divides the other.
    a, b = (np.sort(x)[:, (2 * np.arange(n) + 1) * x.shape[1] // (2 * n)] for x in (a, b))
    distances: NDArray[np.float32] = np.abs(a - b).mean(axis=1)
    return distances
