"""Generate images with small GANs, without PyTorch.

>>> import gankit
>>> faces = gankit.load("faces.onnx")                    # device="auto"; faces.device reports the choice
>>> images = faces.sample(64, seed=0, label="blond")     # uint8 [64, height, width, channels]
>>> frames = faces.interpolate([0, 7, 42], frames=90)    # an interpolation between three seeds
>>> for batch in faces.stream(1_000_000, seed=1): ...    # constant memory; the next batch is prefetched
"""

from gankit._card import Card
from gankit._errors import (
    BusyError,
    DeviceError,
    GankitError,
    LabelError,
    MissingExtraError,
    ModelError,
    ModelNotFoundError,
    UsageError,
)
from gankit._generator import Generator
from gankit._images import as_pil, grid
from gankit._labels import Labels
from gankit._latents import latents, slerp
from gankit._load import load

__version__ = "0.1.0"

__all__ = [
    "BusyError",
    "Card",
    "DeviceError",
    "GankitError",
    "Generator",
    "LabelError",
    "Labels",
    "MissingExtraError",
    "ModelError",
    "ModelNotFoundError",
    "UsageError",
    "as_pil",
    "grid",
    "latents",
    "load",
    "slerp",
]
