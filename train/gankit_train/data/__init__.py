"""Data sets: from any source of pictures to one packed array of bytes."""

from gankit_train.data.pack import Dataset, open_dataset

__all__ = ["Dataset", "open_dataset"]
