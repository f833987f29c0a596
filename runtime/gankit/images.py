"""From images in memory to sheets and files. Every image here is uint8 [height, width, channels], 1 or 3 channels."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gankit.errors import UsageError
from gankit.files import written_whole

Images = NDArray[np.uint8]

_ABOUT = "gankit"
SUFFIXES = (".png", ".gif", ".webp", ".npz", ".npy")


def grid(images: Images, columns: int | None = None, gap: int = 2) -> Images:
    """A contact sheet, row by row: uint8 [n, h, w, c] → [rows·h + gaps, columns·w + gaps, c] on white.

    Without `columns` it is about square.
    """
    n, h, w, c = images.shape
    if columns is not None and columns < 1:
        raise UsageError(f"a sheet has at least 1 column, not {columns}")
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    sheet = np.full((rows * (h + gap) + gap, columns * (w + gap) + gap, c), 255, np.uint8)
    for i, image in enumerate(images):
        y, x = gap + i // columns * (h + gap), gap + i % columns * (w + gap)
        sheet[y : y + h, x : x + w] = image
    return sheet


def enlarge(images: Images, scale: int) -> Images:
    """Each pixel repeated `scale` times in both directions: [..., h, w, c] → [..., scale·h, scale·w, c]."""
    return images.repeat(scale, axis=-3).repeat(scale, axis=-2)


def to_pil(image: Images) -> Image.Image:
    """A Pillow image, mode L or RGB."""
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def save_png(path: str | Path, image: Images, about: str = "") -> None:
    """Writes one image, with a text `about` it inside; the file appears only whole."""
    from PIL.PngImagePlugin import PngInfo  # here, as it takes a while

    info = PngInfo()
    if about:
        info.add_text(_ABOUT, about)
    with written_whole(path) as temporary:
        to_pil(image).save(temporary, pnginfo=info)


def about_png(path: str | Path) -> str | None:
    """The text that `save_png` wrote into a file; None where there is no such file or no text in it."""
    try:
        with Image.open(path) as image:
            return image.info.get(_ABOUT)
    except OSError:
        return None


def read_png(path: str | Path) -> Images:
    """What `save_png` wrote: uint8 [height, width, channels]."""
    with Image.open(path) as image:
        pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def save_gif(path: str | Path, frames: Images, frames_per_second: int = 20) -> None:
    """Writes an animation that loops for ever. All frames share the palette of 256 colours of the whole film."""
    film = to_pil(frames.reshape(-1, *frames.shape[2:]))
    palette = film.quantize(256, dither=Image.Dither.NONE)
    pages = (
        [to_pil(frame).convert(film.mode).quantize(palette=palette) for frame in frames]
        if film.mode == "RGB"
        else [to_pil(frame) for frame in frames]
    )
    with written_whole(path) as temporary:
        pages[0].save(temporary, save_all=True, append_images=pages[1:], duration=1000 // frames_per_second, loop=0)


def save_webp(path: str | Path, frames: Images, frames_per_second: int = 20) -> None:
    """Writes an animation that loops for ever, with every pixel as it is."""
    pages = [to_pil(frame) for frame in frames]
    duration = 1000 // frames_per_second
    with written_whole(path) as temporary:
        pages[0].save(temporary, save_all=True, append_images=pages[1:], duration=duration, loop=0, lossless=True)


def save_npy(path: str | Path, images: Images) -> None:
    """Writes uint8 [n, h, w, c]."""
    with written_whole(path) as temporary:
        np.save(temporary, images)


def save_npz(path: str | Path, images: Images, labels: NDArray[np.float32] | None = None) -> None:
    """Writes `arr_0` uint8 [n, h, w, c] and, for conditional models, `arr_1` the label vectors [n, k]."""
    with written_whole(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, *([images] if labels is None else [images, labels]))


def check_suffix(path: Path, suffixes: Sequence[str] = SUFFIXES) -> None:
    """Raises UsageError where a path ends like a file, but not like one that can be written."""
    if path.suffix and path.suffix.lower() not in suffixes and not path.is_dir():
        raise UsageError(
            f"cannot write {path}: {path.suffix} is none of {', '.join(suffixes)}, and folders have no suffix"
        )
