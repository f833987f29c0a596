"""Data sets: from any source of pictures to one packed array of bytes."""

from gankit_train.data.dataset import Dataset, open_dataset
from gankit_train.data.sources import Source, open_source

__all__ = ["Dataset", "Source", "open_dataset", "open_source"]
