"""Batches from the packed data, in an order that a seed and a count of images decide."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from gankit_train.compute.distributed import ALONE, Ranks
from gankit_train.config.settings import Config
from gankit_train.data import Dataset

_FEWEST = 80  # of fewer images a tenth would say nothing


class Batches:
    """The packed data on the training device, in an order that follows from the seed and a count of images."""

    def __init__(self, data: Dataset, config: Config, device: torch.device, ranks: Ranks = ALONE) -> None:
        self.images = torch.from_numpy(data.images)
        if device.type == "cuda" and data.images.nbytes < 0.5 * torch.cuda.mem_get_info(device)[0]:
            self.images = self.images.to(device)
        self.vectors = torch.from_numpy(data.vectors.astype(np.float32)) if config.conditional else None
        self.config, self.device, self.rows = config, device, ranks.rows(config.batch_size)
        self.epoch, self.order = -1, np.zeros(0, np.int64)
        shuffle = np.random.Generator(np.random.Philox(key=[config.seed, 1 << 63]))
        # D must know none of the images that tell whether it knows the others by heart.
        count = held_out_of(len(data.images), config)
        rows = shuffle.permutation(len(data.images)) if count else np.arange(len(data.images))
        self.held_out, self.trained = np.split(rows, [count])

    def after(self, start: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """This process' part of the batch after the first `start` images of the run.

        Returns:
            Images [n, c, h, w] in the settings' value range, channels last, and labels [n, k] or None.
        """
        real, label = self.at(self._indices(start)[self.rows])
        if self.config.horizontal_flips:
            mirrored = np.random.Generator(np.random.Philox(key=[self.config.seed, start], counter=1 << 64))
            which = torch.from_numpy(mirrored.random((self.config.batch_size, 1, 1, 1))[self.rows] < 0.5)
            real = torch.where(which.to(self.device, non_blocking=True), real.flip(3), real)
        return real, label

    def at(self, rows: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """These images of the data and their labels, as `after` gives them, but for mirroring."""
        chosen = torch.from_numpy(rows)
        # Out of a memory map only the rows asked for are read; on a GPU the gather happens there.
        images = self.images[chosen.to(self.images.device, non_blocking=True)].to(self.device, non_blocking=True)
        low, high = self.config.value_range
        real = images.permute(0, 3, 1, 2).float().div_(255 / (high - low)).add_(low)
        return real, None if self.vectors is None else self.vectors[chosen].to(self.device, non_blocking=True)

    def _indices(self, start: int) -> NDArray[np.int64]:
        n, rows = len(self.trained), []
        stop = start + self.config.batch_size
        while start < stop:
            epoch, at = divmod(start, n)
            if epoch != self.epoch:
                shuffle = np.random.Generator(np.random.Philox(key=[self.config.seed, epoch]))
                self.epoch, self.order = epoch, shuffle.permutation(self.trained)
            rows.append(self.order[at : at + stop - start])
            start += len(rows[-1])
        return np.concatenate(rows)


def held_out_of(images: int, config: Config) -> int:
    """How many of the images D never sees: a fiftieth, 16 to 128, a tenth of a small set, and none of a tiny one."""
    if config.held_out is not None:
        return config.held_out
    return min(128, max(16, images // 50), images // 10) if images >= _FEWEST else 0
