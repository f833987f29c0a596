"""Reads image files and videos for comparisons."""

from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image, ImageSequence


def picture(path: Path) -> "np.ndarray[Any, Any]":
    """An image file's pixels: [height, width] or [height, width, 3]; [frames, height, width, 3] for a film."""
    with Image.open(path) as image:
        if not getattr(image, "is_animated", False):
            return np.asarray(image)
        return np.stack([np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)])


def film(path: Path) -> "np.ndarray[Any, Any]":
    """The frames of an .mp4, which must be one that every player knows: [frames, height, width, 3]."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 20)
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])
