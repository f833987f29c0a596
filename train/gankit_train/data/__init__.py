"""Data sets: images from any source, packed once into one array of bytes."""

from gankit_train.data.dataset import Dataset, open_dataset
from gankit_train.data.formats import Source
from gankit_train.data.sources import open_source

__all__ = ["Dataset", "Source", "open_dataset", "open_source"]
