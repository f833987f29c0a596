"""How often each kind of image occurs: the kinds are k-means clusters of the real images."""

from statistics import NormalDist

import torch
from torch import Tensor


def kmeans(points: Tensor, k: int) -> Tensor:
    """Clusters points [n, d] by Lloyd's algorithm and returns the k centres [k, d].

    The initial centres are those of k-means++ (Arthur & Vassilvitskii 2007), drawn with a fixed seed. Ends when no
    point changes its cluster, after 50 iterations at most.
    """
    generator = torch.Generator().manual_seed(0)
    chosen = [points[int(torch.randint(len(points), (), generator=generator))]]
    squared = torch.full((len(points),), torch.inf, device=points.device)
    for _ in range(k - 1):
        squared = torch.minimum(squared, (points - chosen[-1]).square().sum(1))
        weights = squared.double().cumsum(0).cpu()
        at = torch.searchsorted(weights, weights[-1:] * torch.rand(1, dtype=torch.float64, generator=generator))
        chosen.append(points[min(int(at), len(points) - 1)])
    centres, previous = torch.stack(chosen), None
    for _ in range(50):
        cluster = assign(points, centres)
        if previous is not None and torch.equal(cluster, previous):
            break
        previous = cluster
        count = torch.bincount(cluster, minlength=k)[:, None]
        sums = torch.zeros_like(centres).index_add_(0, cluster, points)
        centres = torch.where(count > 0, sums / count.clamp_min(1), centres)  # an empty cluster keeps its centre
    return centres


def assign(points: Tensor, centres: Tensor) -> Tensor:
    """Returns the index of the nearest centre of each point: [n, d] and [k, d] → int64 [n]."""
    return torch.cat([torch.cdist(part, centres).argmin(1) for part in torch.split(points, 8192)])


def share_of_different_bins(real: Tensor, fake: Tensor, significance: float = 0.05) -> float:
    """NDB/K: the share of bins whose counts differ significantly, from counts [k] and [k].

    Richardson & Weiss, "On GANs and GMMs" (2018), section 3: a two-proportion z-test in each bin,
    z = (p - q) / √(r (1 - r) (1/n + 1/m)), where r is the share in both sets together. For two samples of one
    distribution about `significance` of the bins differ.
    """
    n, m = real.sum().double(), fake.sum().double()
    p, q, r = real / n, fake / m, (real + fake) / (n + m)
    z = (p - q).abs() / (r * (1 - r) * (1 / n + 1 / m)).sqrt().clamp_min(1e-300)
    return float((z > NormalDist().inv_cdf(1 - significance / 2)).double().mean())


def bin_count(n: int) -> int:
    """Returns the number of bins for n images: 50 images per bin on average, 100 bins at most as in the paper."""
    return min(100, max(2, n // 50))
