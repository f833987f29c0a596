"""From images in memory to sheets and files. Every image here is uint8 [height, width, channels], 1 or 3 channels.

A path `-` is standard output; files appear only whole.
"""

import io
import math
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gankit._errors import GankitError, UsageError, missing_extra, one_line
from gankit._files import opened

Images = NDArray[np.uint8]

_ABOUT = "gankit"
_BT709 = 1  # in all of FFmpeg's tables of colours
_RATE = 20  # frames a second
_WIDEST = 16383  # pixels, which is WebP's limit and nearly that of H.264
_PALETTE_FROM = 1 << 18  # pixels: the palette of more is the same, and takes seconds
SUFFIXES = (".png", ".gif", ".webp", ".mp4", ".npz", ".npy")


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


def as_pil(images: Images) -> list[Image.Image]:
    """Pillow's images, mode L or RGB, of uint8 [n, height, width, channels] or of one [height, width, channels].

    >>> gankit.as_pil(faces.sample(1))[0].show()

    Raises:
        UsageError: it is something else.
    """
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise UsageError("images are uint8 [n, height, width, channels], as sample() gives them")
    if images.shape[-1] not in (1, 3):
        raise UsageError(f"images have 1 or 3 channels, not {images.shape[-1]}")
    return [_to_pil(image) for image in (images if images.ndim == 4 else images[None])]


def _to_pil(image: Images) -> Image.Image:
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def gather(batches: Iterable[Images], n: int) -> Images:
    """Batches of images as one array: uint8 [n, h, w, c].

    Raises:
        UsageError: they do not fit into memory.
    """
    images, done = None, 0
    for batch in batches:
        if images is None:
            try:
                images = np.empty((n, *batch.shape[1:]), np.uint8)
            except (MemoryError, ValueError):
                raise UsageError(
                    f"{n} images do not fit into memory at once; a folder, .npy, .npz and .mp4 take them as they come"
                ) from None
        images[done : done + len(batch)] = batch
        done += len(batch)
    assert images is not None
    return images


def save_png(path: str | Path, image: Images, scale: int = 1, about: str = "") -> None:
    """Writes one image, each pixel `scale` times as large, with a text `about` it inside."""
    from PIL.PngImagePlugin import PngInfo  # here, as it takes a while

    info = PngInfo()
    if about:
        info.add_text(_ABOUT, about)
    # Matches are looked for in runs only, which is what a filtered image has: on 64×64 faces a quarter less time for as
    # many bytes.
    _save_pillow(path, _to_pil(enlarge(image, scale)), "PNG", pnginfo=info, compress_type=zlib.Z_RLE)


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


def save_gif(path: str | Path, frames: Images, scale: int = 1) -> None:
    """Writes an animation that loops for ever. All frames share the palette of 256 colours of the whole film.

    Not dithered, as that boils from frame to frame: a walk between faces is nearer to its colours without, 4.2 steps of
    255 off on the mean instead of 5.3, in a half to a fifth of the bytes.
    """
    _check_film(frames[0], scale)
    pages = [_to_pil(frame) for frame in frames]
    if pages[0].mode == "RGB":
        step = frames[..., 0].size // _PALETTE_FROM | 1  # odd, so that it takes from every column
        palette = _to_pil(frames.reshape(1, -1, 3)[:, ::step]).quantize(256)
        pages = [page.quantize(palette=palette, dither=Image.Dither.NONE) for page in pages]
    size = (pages[0].width * scale, pages[0].height * scale)
    _save_film(path, [page.resize(size, Image.Resampling.NEAREST) for page in pages], "GIF")


def save_webp(path: str | Path, frames: Images, scale: int = 1) -> None:
    """Writes an animation that loops for ever, with every pixel as it is."""
    _check_film(frames[0], scale)
    _save_film(path, [_to_pil(enlarge(frame, scale)) for frame in frames], "WEBP", lossless=True)


def save_mp4(path: str | Path, batches: Iterable[Images], scale: int = 1) -> None:
    """Writes a film as H.264 in yuv420p, which every player knows, from batches of frames as they come.

    Colours are kept for blocks of 2×2 pixels, so a scale of at least 2 keeps all of them. Sizes are even there: an odd
    one repeats its last row or column.

    Raises:
        MissingExtraError: PyAV is not installed.
        GankitError: it cannot encode this.
    """
    from tempfile import TemporaryDirectory

    av = _av()

    def drawn() -> Iterator[Images]:
        for image in (image for batch in batches for image in batch):
            _check_film(image, scale)
            image = enlarge(image, scale)
            even = np.pad(image, ((0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0)), "edge")
            yield even if even.shape[2] == 3 else even.repeat(3, axis=2)

    frames = drawn()
    first = next(frames)
    # In a folder of its own, as PyAV opens it again at the end: the index goes to the front, so that a film can be
    # shown while it comes.
    with opened(path) as file, TemporaryDirectory() as folder:
        film = Path(folder) / "film.mp4"
        try:
            with av.open(film, "w", options={"movflags": "+faststart"}) as container:
                height, width, _ = first.shape
                stream = container.add_stream("h264", _RATE, {"crf": "18"}, width=width, height=height)
                stream.pix_fmt = "yuv420p"
                for name in ("colorspace", "color_primaries", "color_trc", "color_range"):
                    setattr(stream.codec_context, name, _BT709)
                for frame in chain([first], frames):
                    picture = av.VideoFrame.from_ndarray(frame, "rgb24")
                    container.mux(stream.encode(picture.reformat(format="yuv420p", dst_colorspace=_BT709)))
                container.mux(stream.encode())
        except (av.FFmpegError, av.codec.codec.UnknownCodecError) as error:
            raise GankitError(f"cannot write {path}: PyAV says {one_line(error)}") from error
        file.write(film.read_bytes())


def save_npy(path: str | Path, batches: Iterable[Images], n: int) -> None:
    """Writes uint8 [n, h, w, c] as the batches come, in constant memory."""
    with opened(path) as file:
        _write_array(file, batches, n)


def save_npz(
    path: str | Path, batches: Iterable[Images], n: int, labels: Iterable[NDArray[np.float32]] | None = None
) -> None:
    """Writes `arr_0` uint8 [n, h, w, c] and, for conditional models, `arr_1` the label vectors [n, k].

    In constant memory and, as by `numpy.savez`, not compressed: deflate takes a third of a millisecond for a 64×64 face
    and saves 7 %.
    """
    from zipfile import ZipFile  # here, as it takes a while

    with opened(path) as file, ZipFile(file, "w") as archive:
        for name, parts in {"arr_0": batches, "arr_1": labels}.items():
            if parts is not None:
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    _write_array(member, parts, n)


def suffix_of(path: Path) -> str:
    """In which of the SUFFIXES a path ends, in lower case; nothing for a folder.

    Raises:
        UsageError: it ends like a file, but not like one that can be written.
        MissingExtraError: it ends in .mp4 and PyAV is not installed.
    """
    suffix = "" if path.is_dir() else path.suffix.lower()
    if suffix and suffix not in SUFFIXES:
        raise UsageError(
            f"cannot write {path}: {path.suffix} is none of {', '.join(SUFFIXES)}, and folders have no suffix"
        )
    if suffix == ".mp4":
        _av()
    return suffix


def _save_pillow(path: str | Path, image: Image.Image, kind: str, **settings: Any) -> None:
    encoded = io.BytesIO()  # as Pillow seeks in what it writes, or goes past Python's buffer
    image.save(encoded, kind, **settings)
    with opened(path) as file:
        file.write(encoded.getbuffer())


def _save_film(path: str | Path, pages: list[Image.Image], kind: str, **settings: Any) -> None:
    settings |= {"save_all": True, "append_images": pages[1:], "duration": 1000 // _RATE, "loop": 0}
    _save_pillow(path, pages[0], kind, **settings)


def _check_film(frame: Images, scale: int) -> None:
    height, width = (scale * edge for edge in frame.shape[:2])
    if max(height, width) > _WIDEST:
        raise UsageError(
            f"a film is at most {_WIDEST} pixels high and wide, not {height}×{width}; choose a smaller scale"
        )


def _write_array(file: IO[bytes], parts: Iterable[NDArray[Any]], n: int) -> None:
    """The .npy format, of parts [m, ...] that are n together."""
    for i, part in enumerate(parts):
        if i == 0:
            header = {"descr": part.dtype.str, "fortran_order": False, "shape": (n, *part.shape[1:])}
            np.lib.format.write_array_header_1_0(file, header)
        file.write(np.ascontiguousarray(part).data)


def _av() -> Any:
    """PyAV, which only films as .mp4 need."""
    try:
        import av
    except ImportError:
        raise missing_extra("writing .mp4", "video") from None
    return av
