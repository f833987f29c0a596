"""Small data sets: arrays in memory, and files in the layouts that `--data` accepts."""

import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from gankit_train.data import Dataset
from gankit_train.metrics.comparison import Comparison, Reference

Images = NDArray[np.uint8]

COLOURS = {"red": (200, 10, 10), "green": (10, 200, 10), "blue": (10, 10, 200)}
QUARTERS = ("top-left", "top-right", "bottom-left", "bottom-right")
_EDGE = 8  # pixels of an image of `quarters`


def random_images(n: int, *shape: int, seed: int = 0) -> Images:
    """Draws n images of uniform noise, by default 6x5x3 (height, width, channels)."""
    return np.random.default_rng(seed).integers(0, 256, (n, *(shape or (6, 5, 3))), dtype=np.uint8)


def normal(n: int, d: int, seed: int = 0) -> torch.Tensor:
    """Draws n points of a normal distribution: float64 [n, d]."""
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def quarters(classes: NDArray[np.integer], seed: int = 0) -> Images:
    """Draws dark images, 8x8x1, each with one bright quarter: its class."""
    images = np.random.default_rng(seed).integers(0, 90, (len(classes), _EDGE, _EDGE, 1), dtype=np.uint8)
    half = _EDGE // 2
    for image, quarter in zip(images, classes, strict=True):
        y, x = half * (quarter // 2), half * (quarter % 2)
        image[y : y + half, x : x + half] += 150
    return images


def one_hot(classes: NDArray[np.integer]) -> Images:
    """Encodes the classes of `quarters` as label vectors [n, 4]."""
    return np.eye(4, dtype=np.uint8)[classes]


def quarters_dataset(n: int = 400) -> Dataset:
    """Makes a labelled data set of `quarters` with equally frequent classes."""
    classes = np.arange(n) % 4
    return Dataset("quarters", quarters(classes), QUARTERS, one_hot(classes), "classes", f"quarters {n}", ())


DATA = quarters_dataset()
BALANCED = np.arange(200) % 4
"""Classes of 200 images, equally frequent."""


def compare_quarters(
    classes: NDArray[np.integer], requested: NDArray[np.integer] | None = None, seed: int = 1
) -> Comparison:
    """Compares new images of these classes, generated for the requested ones, with 200 images of `DATA`."""
    reference = Reference(DATA, DATA.images[:200])
    return Comparison(reference, quarters(classes, seed), None if requested is None else one_hot(requested))


def colour_folders(folder: Path, count: int = 10, size: tuple[int, int] = (20, 30)) -> Path:
    """Writes images into one folder for each colour."""
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", size, colour).save(folder / name / f"{i:03d}.png")
    return folder


def zip_folder(folder: Path) -> Path:
    """Packs a folder into a .zip beside it."""
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder.parent))
    return path


def idx_bytes(array: NDArray[Any]) -> bytes:
    """Encodes bytes in MNIST's IDX format."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def celeba_folder(folder: Path) -> Path:
    """Writes ten images in CelebA's layout; the last one belongs to the test part."""
    (folder / "img_align_celeba").mkdir(parents=True)
    lines, parts = ["10", "Blond_Hair Smiling"], []
    for i in range(10):
        Image.new("RGB", (89, 109), (25 * i, 0, 0)).save(folder / "img_align_celeba" / f"{i:06d}.jpg", quality=95)
        lines.append(f"{i:06d}.jpg {1 if i % 2 else -1:2d} {1 if i < 3 else -1:2d}")
        parts.append(f"{i:06d}.jpg {2 if i == 9 else 0}")
    (folder / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    (folder / "list_eval_partition.txt").write_text("\n".join(parts) + "\n")
    return folder
