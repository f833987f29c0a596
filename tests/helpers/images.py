"""Reads and compares images."""

from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image, ImageSequence


def picture(path: Path) -> "np.ndarray[Any, Any]":
    """An image file's pixels: [height, width] or [height, width, 3]; [frames, height, width, 3] for an animation."""
    with Image.open(path) as image:
        if not getattr(image, "is_animated", False):
            return np.asarray(image)
        return np.stack([np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)])


def video(path: Path) -> "np.ndarray[Any, Any]":
    """The frames of an .mp4, which must have a format that every player supports: [frames, height, width, 3]."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 20)
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])


def close(a: Any, b: Any) -> bool:
    """Whether two arrays of images have the same shape and differ by at most one grey level."""
    return bool(a.shape == b.shape and np.abs(a.astype(int) - b).max() <= 1)
