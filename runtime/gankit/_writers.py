"""Writing images to files. A path `-` is standard output; files appear only when they are complete."""

import io
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gankit._errors import GankitError, UsageError, missing_extra, one_line
from gankit._files import open_output
from gankit._images import Images, enlarge, to_pil

SUFFIXES = (".png", ".gif", ".webp", ".mp4", ".npz", ".npy")

_METADATA = "gankit"  # the keyword of a PNG's text
_BT709 = 1  # in all of FFmpeg's tables of colours
_RATE = 20  # frames per second
_MAX_EDGE = 16383  # pixels; WebP's limit, and nearly that of H.264
_PALETTE_PIXELS = 1 << 18  # of more pixels, the palette is the same and takes seconds


def save_png(path: str | Path, image: Images, scale: int = 1, metadata: str = "") -> None:
    """Writes one image [h, w, c] as PNG, each pixel repeated `scale` times in both directions.

    `metadata` is a text that the file stores and `read_png_metadata` returns.
    """
    from PIL.PngImagePlugin import PngInfo  # here, because it takes long to import

    info = PngInfo()
    if metadata:
        info.add_text(_METADATA, metadata)
    # Z_RLE looks for runs only, which suits filtered images: a quarter less time on 64×64 faces, for as many bytes.
    _save_with_pillow(path, to_pil(enlarge(image, scale)), "PNG", pnginfo=info, compress_type=zlib.Z_RLE)


def read_png_metadata(path: str | Path) -> str | None:
    """The `metadata` that `save_png` stored in a file; None if there is no such file or no such text."""
    try:
        with Image.open(path) as image:
            return image.info.get(_METADATA)
    except OSError:
        return None


def read_png(path: str | Path) -> Images:
    """Reads a file of `save_png`: uint8 [height, width, channels]."""
    with Image.open(path) as image:
        pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def save_gif(path: str | Path, frames: Images, scale: int = 1) -> None:
    """Writes frames [n, h, w, c] as a GIF that loops forever. All frames share one palette of 256 colours.

    There is no dithering, which flickers from frame to frame: interpolations between faces are closer to their colours
    without it, with a mean error of 4.2 grey levels instead of 5.3, in a fifth to a half of the bytes.

    Raises:
        UsageError: the animation is too large.
    """
    _check_size(frames[0], scale)
    pages = [to_pil(frame) for frame in frames]
    if pages[0].mode == "RGB":
        step = frames[..., 0].size // _PALETTE_PIXELS | 1  # odd, so that every column is sampled
        palette = to_pil(frames.reshape(1, -1, 3)[:, ::step]).quantize(256)
        pages = [page.quantize(palette=palette, dither=Image.Dither.NONE) for page in pages]
    size = (pages[0].width * scale, pages[0].height * scale)
    _save_animation(path, [page.resize(size, Image.Resampling.NEAREST) for page in pages], "GIF")


def save_webp(path: str | Path, frames: Images, scale: int = 1) -> None:
    """Writes frames [n, h, w, c] as a lossless WebP that loops forever.

    Raises:
        UsageError: the animation is too large.
    """
    _check_size(frames[0], scale)
    _save_animation(path, [to_pil(enlarge(frame, scale)) for frame in frames], "WEBP", lossless=True)


def save_mp4(path: str | Path, batches: Iterable[Images], scale: int = 1) -> None:
    """Writes batches of frames [n, h, w, c] as an H.264 video in yuv420p, which every player supports.

    The format stores colours for blocks of 2×2 pixels, so a scale of at least 2 keeps all of them. Video sizes are
    even: an odd one repeats its last row or column.

    Raises:
        MissingExtraError: PyAV is not installed.
        UsageError: the video is too large.
        GankitError: PyAV cannot encode the video.
    """
    from tempfile import TemporaryDirectory

    av = _import_av()
    frames = _video_frames(batches, scale)
    first = next(frames)
    # In a temporary folder, because PyAV reopens the file at the end to move the index to the front: then a player can
    # start before it has the whole file.
    with open_output(path) as file, TemporaryDirectory() as folder:
        video = Path(folder) / "video.mp4"
        try:
            with av.open(video, "w", options={"movflags": "+faststart"}) as container:
                height, width, _ = first.shape
                stream = container.add_stream("h264", _RATE, {"crf": "18"}, width=width, height=height)
                stream.pix_fmt = "yuv420p"
                codec = stream.codec_context
                codec.colorspace = codec.color_primaries = codec.color_trc = codec.color_range = _BT709
                for frame in chain([first], frames):
                    picture = av.VideoFrame.from_ndarray(frame, "rgb24")
                    container.mux(stream.encode(picture.reformat(format="yuv420p", dst_colorspace=_BT709)))
                container.mux(stream.encode())
        except (av.FFmpegError, av.codec.codec.UnknownCodecError) as error:
            raise GankitError(f"cannot write {path}: PyAV reports {one_line(error)}") from error
        file.write(video.read_bytes())


def save_npy(path: str | Path, batches: Iterable[Images], n: int) -> None:
    """Writes n images as a NumPy array uint8 [n, h, w, c], batch by batch in constant memory."""
    with open_output(path) as file:
        _write_array(file, batches, n)


def save_npz(
    path: str | Path, batches: Iterable[Images], n: int, labels: Iterable[NDArray[np.float32]] | None = None
) -> None:
    """Writes n images as `arr_0` uint8 [n, h, w, c] and their label vectors, if any, as `arr_1` float32 [n, k].

    Works batch by batch in constant memory. Like `numpy.savez` it does not compress: deflate takes a third of a
    millisecond for a 64×64 face and saves 7 %.
    """
    from zipfile import ZipFile  # here, because it takes long to import

    with open_output(path) as file, ZipFile(file, "w") as archive:
        for name, parts in {"arr_0": batches, "arr_1": labels}.items():
            if parts is not None:
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    _write_array(member, parts, n)


def output_suffix(path: Path) -> str:
    """The suffix that selects the format of an output, in lower case and one of SUFFIXES; empty for a folder.

    Raises:
        UsageError: the path has a suffix that no format has.
        MissingExtraError: the path ends in .mp4 and PyAV is not installed.
    """
    suffix = "" if path.is_dir() else path.suffix.lower()
    if suffix and suffix not in SUFFIXES:
        raise UsageError(
            f"cannot write {path}: {path.suffix} is not one of {', '.join(SUFFIXES)}; a folder has no suffix"
        )
    if suffix == ".mp4":
        _import_av()
    return suffix


def _video_frames(batches: Iterable[Images], scale: int) -> Iterator[Images]:
    """Enlarged RGB frames with even edges."""
    for image in (image for batch in batches for image in batch):
        _check_size(image, scale)
        large = enlarge(image, scale)
        even = np.pad(large, ((0, large.shape[0] % 2), (0, large.shape[1] % 2), (0, 0)), "edge")
        yield even if even.shape[2] == 3 else even.repeat(3, axis=2)


def _save_with_pillow(path: str | Path, image: Image.Image, kind: str, **settings: Any) -> None:
    encoded = io.BytesIO()  # because Pillow seeks in its output, or bypasses Python's buffer
    image.save(encoded, kind, **settings)
    with open_output(path) as file:
        file.write(encoded.getbuffer())


def _save_animation(path: str | Path, pages: list[Image.Image], kind: str, **settings: Any) -> None:
    settings |= {"save_all": True, "append_images": pages[1:], "duration": 1000 // _RATE, "loop": 0}
    _save_with_pillow(path, pages[0], kind, **settings)


def _check_size(frame: Images, scale: int) -> None:
    height, width = (scale * edge for edge in frame.shape[:2])
    if max(height, width) > _MAX_EDGE:
        raise UsageError(
            f"an animation is at most {_MAX_EDGE} pixels high and wide, not {height}×{width}; choose a smaller scale"
        )


def _write_array(file: IO[bytes], parts: Iterable[NDArray[Any]], n: int) -> None:
    """Writes arrays [m, ...], n rows in total, as one array in the .npy format."""
    for i, part in enumerate(parts):
        if i == 0:
            header = {"descr": part.dtype.str, "fortran_order": False, "shape": (n, *part.shape[1:])}
            np.lib.format.write_array_header_1_0(file, header)
        file.write(np.ascontiguousarray(part).data)


def _import_av() -> Any:
    """PyAV, which only .mp4 files need."""
    try:
        import av
    except ImportError:
        raise missing_extra("writing .mp4", "video") from None
    return av
