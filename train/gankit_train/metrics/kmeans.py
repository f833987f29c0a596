"""How often each kind of image comes: the kinds are bins of the data, found by k-means."""

from __future__ import annotations

import math
from statistics import NormalDist

import torch
from torch import Tensor

_ROUNDS = 50


def kmeans(points: Tensor, k: int) -> Tensor:
    """Centres [k, d] of k clusters of points [n, d], by Lloyd's algorithm.

    It starts from points that lie apart, as by Arthur & Vassilvitskii, "k-means++" (2007), always in the same way, and
    ends when no point changes its cluster.
    """
    noise = torch.Generator().manual_seed(0)
    start = int(torch.randint(len(points), (), generator=noise))
    chosen, far = [points[start]], torch.full((len(points),), torch.inf, device=points.device)
    for _ in range(k - 1):
        far = torch.minimum(far, (points - chosen[-1]).square().sum(1))
        weights = far.double().cumsum(0).cpu()
        at = torch.searchsorted(weights, weights[-1:] * torch.rand(1, dtype=torch.float64, generator=noise))
        chosen.append(points[min(int(at), len(points) - 1)])
    centres, before = torch.stack(chosen), None
    for _ in range(_ROUNDS):
        cluster = assign(points, centres)
        if before is not None and torch.equal(cluster, before):
            break
        before = cluster
        count = torch.bincount(cluster, minlength=k)[:, None]
        sums = torch.zeros_like(centres).index_add_(0, cluster, points)
        centres = torch.where(count > 0, sums / count.clamp_min(1), centres)  # an empty one stays
    return centres


def assign(points: Tensor, centres: Tensor) -> Tensor:
    """The nearest centre of each point: [n, d] and [k, d] → int64 [n]."""
    return torch.cat([torch.cdist(part, centres).argmin(1) for part in torch.split(points, 8192)])


def different_bins(real: Tensor, fake: Tensor, significance: float = 0.05) -> float:
    """NDB/K: the share of bins in which two counts differ by more than chance, from counts [k] and [k].

    Richardson & Weiss, "On GANs and GMMs" (2018), section 3: a test of two proportions in each bin,
    z = (p - q) / √(r (1 - r) (1/n + 1/m)), where r is the share in both sets together. Of two samples of one
    distribution about `significance` of the bins differ.
    """
    n, m = real.sum().double(), fake.sum().double()
    p, q, r = real / n, fake / m, (real + fake) / (n + m)
    z = (p - q).abs() / (r * (1 - r) * (1 / n + 1 / m)).sqrt().clamp_min(1e-300)
    return float((z > NormalDist().inv_cdf(1 - significance / 2)).double().mean())


def bins_for(n: int) -> int:
    """As many bins as leave 50 images in each of them, on average; 100 at the most, as the paper has."""
    return min(100, max(2, math.floor(n / 50)))
