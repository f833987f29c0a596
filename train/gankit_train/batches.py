"""Batches from the packed data, in an order that a seed and a count of images decide."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from gankit_train.config import Config
from gankit_train.data import Dataset


class Batches:
    """The packed data on the training device, in an order that follows from the seed and a count of images."""

    def __init__(self, data: Dataset, config: Config, device: torch.device) -> None:
        self.images = torch.from_numpy(data.images)
        if device.type == "cuda" and data.images.nbytes < 0.5 * torch.cuda.mem_get_info(device)[0]:
            self.images = self.images.to(device)
        self.vectors = torch.from_numpy(data.vectors.astype(np.float32)) if config.conditional else None
        self.config, self.device = config, device
        self.epoch, self.order = -1, np.zeros(0, np.int64)

    def after(self, start: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The images after the first `start` of the run: [n, c, h, w] in [-1, 1], channels last; labels [n, k]."""
        chosen = torch.from_numpy(self._indices(start))
        # Out of a memory map only the rows asked for are read; on a GPU the gather happens there.
        images = self.images[chosen.to(self.images.device)].to(self.device, non_blocking=True)
        real = images.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
        return real, None if self.vectors is None else self.vectors[chosen].to(self.device, non_blocking=True)

    def _indices(self, start: int) -> NDArray[np.int64]:
        n, rows = len(self.images), []
        stop = start + self.config.batch_size
        while start < stop:
            epoch, at = divmod(start, n)
            if epoch != self.epoch:
                shuffle = np.random.Generator(np.random.Philox(key=[self.config.seed, epoch]))
                self.epoch, self.order = epoch, shuffle.permutation(n)
            rows.append(self.order[at : at + stop - start])
            start += len(rows[-1])
        return np.concatenate(rows)
