"""Batches of real images, in an order that follows from the seed and the number of images seen."""

import numpy as np
import torch
from numpy.typing import NDArray

from gankit_train.compute.distributed import SINGLE_PROCESS, ProcessGroup
from gankit_train.config.config import Config
from gankit_train.data import Dataset

_MIN_IMAGES = 80  # a tenth of fewer images would be too few to measure overfitting


class Batches:
    """The packed data, on the training device if it fits there; any batch can be computed without the ones before."""

    def __init__(
        self, data: Dataset, config: Config, device: torch.device, processes: ProcessGroup = SINGLE_PROCESS
    ) -> None:
        self.images = torch.from_numpy(data.images)
        if device.type == "cuda" and data.images.nbytes < 0.5 * torch.cuda.mem_get_info(device)[0]:
            self.images = self.images.to(device)
        self.vectors = torch.from_numpy(data.vectors.astype(np.float32)) if config.conditional else None
        self.seed, self.batch_size = config.run.seed, config.optimisation.batch_size
        self.flips, self.value_range = config.dataset.horizontal_flips, config.networks.value_range
        self.device, self.local = device, processes.local_slice(self.batch_size)
        self.epoch, self.order = -1, np.zeros(0, np.int64)
        shuffle = np.random.Generator(np.random.Philox(key=[self.seed, 1 << 63]))
        count = held_out_count(len(data.images), config.dataset.held_out)
        rows = shuffle.permutation(len(data.images)) if count else np.arange(len(data.images))
        self.held_out, self.training = np.split(rows, [count])

    def after(self, start: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Returns this process's part of the batch that follows the first `start` images of the run.

        Images are [n, c, h, w] in the networks' value range, in channels-last format; labels are [n, k] or None.
        """
        real, label = self.at(self._indices(start)[self.local])
        if self.flips:
            rng = np.random.Generator(np.random.Philox(key=[self.seed, start], counter=1 << 64))
            flipped = torch.from_numpy(rng.random((self.batch_size, 1, 1, 1))[self.local] < 0.5)
            real = torch.where(flipped.to(self.device, non_blocking=True), real.flip(3), real)
        return real, label

    def at(self, rows: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Returns the images of these rows and their labels, in the form of `after` and without flips."""
        chosen = torch.from_numpy(rows)
        # From a memory map only these rows are read; on a GPU the gather runs there.
        images = self.images[chosen.to(self.images.device, non_blocking=True)].to(self.device, non_blocking=True)
        low, high = self.value_range
        real = images.permute(0, 3, 1, 2).float().div_(255 / (high - low)).add_(low)
        return real, None if self.vectors is None else self.vectors[chosen].to(self.device, non_blocking=True)

    def _indices(self, start: int) -> NDArray[np.int64]:
        """Returns the indices of a batch, which may span the end of an epoch."""
        rows, stop = [], start + self.batch_size
        while start < stop:
            epoch, at = divmod(start, len(self.training))
            if epoch != self.epoch:
                shuffle = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
                self.epoch, self.order = epoch, shuffle.permutation(self.training)
            rows.append(self.order[at : at + stop - start])
            start += len(rows[-1])
        return np.concatenate(rows)


def held_out_count(images: int, requested: int | None) -> int:
    """Returns how many images are held out of training: as requested, or 2 %, from 16 to 128.

    Of fewer than 160 images a tenth is held out, of fewer than 80 none.
    """
    default = min(128, max(16, images // 50), images // 10) if images >= _MIN_IMAGES else 0
    return default if requested is None else requested
