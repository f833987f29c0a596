"""Images in memory. An image is uint8 [height, width, channels] with 1 or 3 channels."""

import io
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gankit._errors import UsageError

Images = NDArray[np.uint8]

_NOTEBOOK_PIXELS = 512  # in a notebook, smaller grids are enlarged by a whole factor up to this


def grid(images: Images, *, columns: int | None = None, gap: int = 2) -> Images:
    """Arranges images row by row on a white background: uint8 [n, h, w, c] → uint8 [height, width, c].

    The result is an array that a notebook displays as a picture.

    Args:
        images: uint8 [n, h, w, c], as `Generator.sample` returns them.
        columns: number of columns; None makes the grid about square.
        gap: white pixels between the images and around them.

    Raises:
        UsageError: there are no images, they have another dtype or shape, or there is less than 1 column.
    """
    if not _are_images(images, 4):
        raise UsageError(f"a grid needs images, uint8 [n, height, width, channels], not {_describe(images)}")
    n, h, w, c = images.shape
    if n == 0:
        raise UsageError(f"a grid needs at least one image, not {_describe(images)}")
    if columns is not None and columns < 1:
        raise UsageError(f"columns must be at least 1, not {columns}")
    if gap < 0:
        raise UsageError(f"gap must be at least 0 pixels, not {gap}")
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    canvas = np.full((rows * (h + gap) + gap, columns * (w + gap) + gap, c), 255, np.uint8)
    for i, image in enumerate(images):
        y, x = gap + i // columns * (h + gap), gap + i % columns * (w + gap)
        canvas[y : y + h, x : x + w] = image
    return canvas.view(_Picture)


class _Picture(np.ndarray[Any, np.dtype[np.uint8]]):
    """An array that a notebook displays as a picture, as long as it is one: uint8 [height, width, 1 or 3]."""

    def _repr_png_(self) -> bytes | None:
        if not _are_images(self, 3) or 0 in self.shape:
            return None
        return encode_png(enlarge(self, _NOTEBOOK_PIXELS // max(self.shape) or 1))


def enlarge(images: Images, scale: int) -> Images:
    """Repeats each pixel `scale` times in both directions: [..., h, w, c] → [..., scale·h, scale·w, c]."""
    return images.repeat(scale, axis=-3).repeat(scale, axis=-2)


def as_pil(images: Images) -> list[Image.Image]:
    """Converts uint8 [n, height, width, channels], or one [height, width, channels], to Pillow images.

    Images with 1 channel get the mode L, images with 3 channels the mode RGB.

    >>> gankit.as_pil(faces.sample(1))[0].show()

    Raises:
        UsageError: the array has another dtype or shape.
    """
    if not _are_images(images, 3, 4):
        raise UsageError(
            "images must be uint8 [n, height, width, channels] with 1 or 3 channels, as sample() returns them, "
            f"not {_describe(images)}"
        )
    return [to_pil(image) for image in (images if images.ndim == 4 else images[None])]


def to_pil(image: Images) -> Image.Image:
    """Converts one uint8 [height, width, channels] to a Pillow image, without checks."""
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else np.asarray(image))


def encode_png(image: Images) -> bytes:
    """The bytes of a PNG file of one uint8 [height, width, channels]."""
    to_pil(image).save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()


def gather(batches: Iterable[Images], n: int) -> Images:
    """Joins an iterable of batches of images into one array: uint8 [n, h, w, c].

    Raises:
        UsageError: the images do not fit into memory.
    """
    images, done = None, 0
    for batch in batches:
        if images is None:
            try:
                images = np.empty((n, *batch.shape[1:]), np.uint8)
            except (MemoryError, ValueError):
                raise UsageError(
                    f"{n} images do not fit into memory at once; write a folder, .npy, .npz or .mp4, which take them "
                    "batch by batch"
                ) from None
        images[done : done + len(batch)] = batch
        done += len(batch)
    assert images is not None
    return images


def _are_images(images: Any, *dimensions: int) -> bool:
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.ndim not in dimensions:
        return False
    return images.shape[-1] in (1, 3)


def _describe(images: Any) -> str:
    return f"{images.dtype} {list(images.shape)}" if isinstance(images, np.ndarray) else type(images).__name__
