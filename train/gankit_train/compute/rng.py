"""The random numbers of a run: from one generator, and the same however many processes share a batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gankit_train.compute.distributed import Ranks


@dataclass
class Noise:
    """Draws for the whole batch in every process and gives each the rows of its own images.

    So the generators of all processes stay in the same state, which one checkpoint can hold.
    """

    generator: torch.Generator
    """On the networks' device."""
    ranks: Ranks

    def normal(self, n: int, *shape: int) -> Tensor:
        """N(0, 1), [n, *shape] for this process' n images."""
        return self._mine(torch.randn(self._all(n), *shape, generator=self.generator, device=self.generator.device))

    def uniform(self, n: int, *shape: int) -> Tensor:
        """U(0, 1), [n, *shape] for this process' n images."""
        return self._mine(torch.rand(self._all(n), *shape, generator=self.generator, device=self.generator.device))

    def kept(self, x: Tensor, share: float) -> Tensor:
        """1 for a share of x's places and 0 for the others, in x's shape, type and layout."""
        last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if last else torch.contiguous_format
        every = torch.empty(
            self._all(len(x)), *x.shape[1:], dtype=x.dtype, device=x.device, memory_format=layout
        )  # filled in the order in which it lies in memory
        return self._mine(every.bernoulli_(share, generator=self.generator))

    def _all(self, n: int) -> int:
        return n * self.ranks.world

    def _mine(self, every: Tensor) -> Tensor:
        return every[self.ranks.rows(len(every))]
