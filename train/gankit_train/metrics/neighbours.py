"""Nearest neighbours: in the training data, to find copies, and between real and fake images, for coverage."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gankit_train.metrics.pca import Images, PrincipalComponents, Rows

_QUERIES, _BLOCK = 1024, 8192  # rows and columns of a block of distances, which takes 32 MB
_CANDIDATES = 64
_MAX_FLOATS = 1 << 24  # numbers in memory while images are compared pixel by pixel


@dataclass(frozen=True)
class Nearest:
    """The nearest training images of n images."""

    distance: NDArray[np.float32]  # [n, k], ascending: mean absolute difference of the pixels, in grey levels
    row: Rows  # [n, k]: indices of these training images


def nearest(
    images: Images, data: Images, pca: PrincipalComponents, projected: Tensor, k: int = 1, exclude: Rows | None = None
) -> Nearest:
    """Finds the k nearest images of the data by L1 distance, for each image.

    64 candidates are chosen by Euclidean distance between principal components, as matrix products are fast; the
    nearest of these by L1 distance over all pixels are returned. Compared with an exhaustive search, this found the
    same image for 600 of 600 digits of MNIST, 600 of 600 bricks at 64x64 and 597 of 600 drawn faces.

    `images` are uint8 [n, h, w, c], `data` uint8 [m, h, w, c] (possibly memory-mapped), `projected` is that data
    in the components of `pca`, [m, d]. `exclude`, [n, any], holds rows of the data to leave out for each image.
    """
    count = min(len(data), _CANDIDATES + (0 if exclude is None else exclude.shape[1]))
    half = projected.square().sum(1) / 2  # half the squared distance, without the part that is equal for all
    distances, rows = [], []
    for at in range(0, len(images), _QUERIES):
        queries = images[at : at + _QUERIES]
        candidates = _candidates(pca(queries), projected, half, count)
        distance = _l1(queries, data, candidates)
        if exclude is not None:
            distance[(candidates[:, :, None] == exclude[at : at + _QUERIES, None, :]).any(2)] = np.inf
        order = np.argsort(distance, axis=1, kind="stable")[:, :k]
        distances.append(np.take_along_axis(distance, order, 1))
        rows.append(np.take_along_axis(candidates, order, 1))
    return Nearest(np.concatenate(distances), np.concatenate(rows))


def _candidates(queries: Tensor, projected: Tensor, half: Tensor, count: int) -> Rows:
    """Returns the indices of the nearest in Euclidean distance: [n, count]."""
    best = torch.full((len(queries), 0), torch.inf, device=projected.device)
    rows = torch.zeros(len(queries), 0, dtype=torch.long, device=projected.device)
    for at in range(0, len(projected), _BLOCK):
        block = torch.addmm(half[at : at + _BLOCK], queries, projected[at : at + _BLOCK].T, alpha=-1)
        some, where = block.topk(min(count, block.shape[1]), largest=False)
        best, rows = torch.cat([best, some], 1), torch.cat([rows, where + at], 1)
        best, keep = best.topk(min(count, best.shape[1]), largest=False)
        rows = rows.gather(1, keep)
    return rows.cpu().numpy()


def _l1(images: Images, data: Images, candidates: Rows) -> NDArray[np.float32]:
    """Computes the mean absolute difference of each image to its candidates: [n, h, w, c] and [n, m] → [n, m]."""
    n, m = candidates.shape
    size = int(np.prod(images.shape[1:]))
    step = max(1, _MAX_FLOATS // (m * size))
    out = np.empty((n, m), np.float32)
    for at in range(0, n, step):
        chosen = candidates[at : at + step]
        others = torch.from_numpy(data[chosen.ravel()]).view(*chosen.shape, size).float()
        these = torch.from_numpy(images[at : at + step]).reshape(-1, 1, size).float()
        out[at : at + step] = torch.cdist(these, others, p=1)[:, 0].numpy() / size
    return out


def is_authentic(
    neighbours: Nearest, data: Images, pca: PrincipalComponents, projected: Tensor, rows: Rows | None = None
) -> NDArray[np.bool_]:
    """Tests whether each image is farther from its nearest training image than that one is from its own nearest: [n].

    Alaa et al., "How Faithful is your Synthetic Data?" (2022), section 3.3: an image that is not may be a copy with
    a little noise. They compare features of a network, here it is the L1 distance of pixels. Somewhat more than half
    of new images from the data's distribution are authentic.

    `neighbours` is what `nearest` returned for the images, and `data`, `pca` and `projected` are as there. If the
    images are real, `rows` are their indices in the data, [n], and each image is left out of the data.
    """
    found, which = np.unique(neighbours.row[:, 0], return_inverse=True)
    own = nearest(data[found], data, pca, projected, 2, found[:, None])
    radius = own.distance[which, 0]
    if rows is not None:
        radius = np.where(own.row[which, 0] == rows, own.distance[which, 1], radius)
    authentic: NDArray[np.bool_] = neighbours.distance[:, 0] > radius
    return authentic


def density_coverage(real: Tensor, fake: Tensor, k: int = 5) -> tuple[float, float]:
    """Computes density and coverage of fake points [m, d] with respect to real points [n, d].

    Naeem et al., "Reliable Fidelity and Diversity Metrics for Generative Models" (2020), equations 3 and 4, with
    B(x) the ball around a real point that reaches to its k-th nearest other real point:

        density = 1/(k m) Σ_j Σ_i 1[y_j ∈ B(x_i)]        coverage = 1/n Σ_i 1[some y_j ∈ B(x_i)]

    For two samples of one distribution with n = m, density is 1 on average and coverage about 1 - 1/2^k = 0.969.
    """
    inside = covered = 0
    for part in torch.split(real, _QUERIES):
        radius = torch.cdist(part, real).topk(k + 1, largest=False).values[:, -1:]  # the nearest is the point itself
        within = torch.cdist(part, fake) < radius
        inside += int(within.sum())
        covered += int(within.any(1).sum())
    return inside / (k * len(fake)), covered / len(real)
