"""The nearest images: in the training data, against copies; of real and generated ones, for density and coverage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gankit_train.metrics.pca import Images

_QUERIES, _BLOCK = 1024, 8192  # a block of distances has as many rows and columns, and takes 32 MB
_SHORTLIST = 64
_FLOATS = 1 << 24  # numbers that are held at once where images are compared pixel by pixel


@dataclass(frozen=True)
class Nearest:
    """Images of the training data that are nearest to others."""

    distance: NDArray[np.float32]
    """[n, k], rising: the mean absolute difference of two pixels, in grey levels (0 to 255)."""
    row: NDArray[np.int64]
    """[n, k]: which they are."""


def nearest(
    images: Images,
    data: Images,
    space: Callable[[Images], Tensor],
    placed: Tensor,
    k: int = 1,
    without: NDArray[np.int64] | None = None,
) -> Nearest:
    """The k nearest images of the data by L1, for each image.

    Sums of absolute differences are slow, matrix products are not: so 64 candidates come from Euclidean distances in
    `space`, and the nearest of those by L1 from all pixels. Beside a comparison of all pairs this found the same image
    for 600 of 600 digits of MNIST and 600 of 600 bricks at 64x64, and for 597 of 600 drawn faces; the other three are
    a few per cent further away.

    Args:
        images: uint8 [n, h, w, c].
        data: the same with any n of its own; may be memory-mapped.
        space: see `Principal`.
        placed: the data there.
        k: how many.
        without: rows of the data that are left out for each image, [n, any]: an image of the data is no neighbour of
            its own.
    """
    left_out = 0 if without is None else without.shape[1]
    few = min(len(data), _SHORTLIST + left_out)
    half = placed.square().sum(1) / 2  # of the squared distance, less what is the same for all candidates
    distances, rows = [], []
    for at in range(0, len(images), _QUERIES):
        here = images[at : at + _QUERIES]
        candidates = _shortlist(space(here), placed, half, few)
        far = _l1(here, data, candidates)
        if without is not None:
            far[(candidates[:, :, None] == without[at : at + _QUERIES, None, :]).any(2)] = np.inf
        order = np.argsort(far, axis=1, kind="stable")[:, :k]
        distances.append(np.take_along_axis(far, order, 1))
        rows.append(np.take_along_axis(candidates, order, 1))
    return Nearest(np.concatenate(distances), np.concatenate(rows))


def _shortlist(queries: Tensor, placed: Tensor, half: Tensor, few: int) -> NDArray[np.int64]:
    """Rows of the nearest in Euclidean distance, [n, few]."""
    best = torch.full((len(queries), 0), torch.inf, device=placed.device)
    rows = torch.zeros(len(queries), 0, dtype=torch.long, device=placed.device)
    for at in range(0, len(placed), _BLOCK):
        block = torch.addmm(half[at : at + _BLOCK], queries, placed[at : at + _BLOCK].T, alpha=-1)
        some, where = block.topk(min(few, block.shape[1]), largest=False)
        best, rows = torch.cat([best, some], 1), torch.cat([rows, where + at], 1)
        best, keep = best.topk(min(few, best.shape[1]), largest=False)
        rows = rows.gather(1, keep)
    return rows.cpu().numpy()


def _l1(images: Images, data: Images, candidates: NDArray[np.int64]) -> NDArray[np.float32]:
    """Mean absolute difference of each image to its own candidates: [n, h, w, c] and [n, m] → [n, m]."""
    n, m = candidates.shape
    size = int(np.prod(images.shape[1:]))
    step = max(1, _FLOATS // (m * size))
    out = np.empty((n, m), np.float32)
    for at in range(0, n, step):
        chosen = candidates[at : at + step]
        others = torch.from_numpy(data[chosen.ravel()]).view(*chosen.shape, size).float()
        these = torch.from_numpy(images[at : at + step]).reshape(-1, 1, size).float()
        out[at : at + step] = torch.cdist(these, others, p=1)[:, 0].numpy() / size
    return out


def authentic(near: Nearest, data: Images, space: Callable[[Images], Tensor], placed: Tensor,
              rows: NDArray[np.int64] | None = None) -> NDArray[np.bool_]:  # fmt: skip
    """Whether each image is further from its nearest training image than that is from its own nearest: [n].

    Alaa et al., "How Faithful is your Synthetic Data?" (2022), section 3.3: an image that is not may be a copy with
    a little noise. They compare features of a network; here it is L1 between pixels. Of images from the same
    distribution that were never trained on, somewhat more than half are.

    Args:
        near: what `nearest` found for the images.
        data: the training data.
        space: see `Principal`.
        placed: the data there.
        rows: where in the data the images are, if they are real; they are then left out of it, one at a time.
    """
    found, which = np.unique(near.row[:, 0], return_inverse=True)
    own = nearest(data[found], data, space, placed, 2, found[:, None])
    radius = own.distance[which, 0]
    if rows is not None:
        radius = np.where(own.row[which, 0] == rows, own.distance[which, 1], radius)
    further: NDArray[np.bool_] = near.distance[:, 0] > radius
    return further


def density_coverage(real: Tensor, fake: Tensor, k: int = 5) -> tuple[float, float]:
    """Density and coverage of fake points beside real ones, [n, d] and [m, d].

    Naeem et al., "Reliable Fidelity and Diversity Metrics for Generative Models" (2020), equations 3 and 4, with
    B(x) the ball around a real point that reaches to its k-th nearest other real point:

        density = 1/(k m) Σ_j Σ_i 1[y_j ∈ B(x_i)]        coverage = 1/n Σ_i 1[some y_j ∈ B(x_i)]

    Of two samples of one distribution with n = m, density is 1 in the mean, and coverage about 1 - 1/2^k: 0.969.
    """
    radius = torch.cat(
        [torch.cdist(part, real).topk(k + 1, largest=False).values[:, -1] for part in torch.split(real, _QUERIES)]
    )  # the nearest of all is the point itself
    inside, covered = 0, 0
    for part, reach in zip(torch.split(real, _QUERIES), torch.split(radius, _QUERIES), strict=True):
        within = torch.cdist(part, fake) < reach[:, None]
        inside += int(within.sum())
        covered += int(within.any(1).sum())
    return inside / (k * len(fake)), covered / len(real)
