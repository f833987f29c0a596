"""Random numbers of a run: drawn from one generator and independent of how many processes share a batch."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from gankit_train.compute.distributed import ProcessGroup


@dataclass
class RandomStream:
    """Draws random numbers for the global batch in every process and returns the rows of the local images.

    The generators of all processes therefore stay in the same state, which one checkpoint can hold.
    """

    generator: torch.Generator
    """On the device of the networks."""
    processes: ProcessGroup

    def normal(self, n: int, *shape: int) -> Tensor:
        """Samples N(0, 1): float32 [n, *shape] for the n local images."""
        return self._local(torch.randn(self._global(n), *shape, generator=self.generator, device=self.generator.device))

    def uniform(self, n: int, *shape: int) -> Tensor:
        """Samples U(0, 1): float32 [n, *shape] for the n local images."""
        return self._local(torch.rand(self._global(n), *shape, generator=self.generator, device=self.generator.device))

    def dropout_mask(self, x: Tensor, keep: float) -> Tensor:
        """Samples a mask with the shape, dtype and memory format of `x`: 1 with probability `keep`, else 0."""
        channels_last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        mask = torch.empty(self._global(len(x)), *x.shape[1:], dtype=x.dtype, device=x.device, memory_format=layout)
        return self._local(mask.bernoulli_(keep, generator=self.generator))

    def _global(self, n: int) -> int:
        return n * self.processes.world_size

    def _local(self, drawn: Tensor) -> Tensor:
        return drawn[self.processes.local_slice(len(drawn))]


@contextmanager
def seeded_initialisation(seed: int) -> Iterator[None]:
    """Seeds the generator that PyTorch's layers draw their initial weights from, and restores it afterwards.

    Layers are built on the CPU and take no generator of their own. Only PyTorch's CPU generator is seeded:
    `torch.manual_seed` would also reseed the global CUDA generators of the calling program.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
