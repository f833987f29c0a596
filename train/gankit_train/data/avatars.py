"""The built-in data set `avatars`: 10,000 cartoon faces drawn on the spot, with attributes to condition on.

The art is DiceBear's style "Avataaars", a remix of Avataaars (https://avataaars.com) by Pablo Stanley, free for
personal and commercial use; the package dicebear-styles ships it, resvg turns its SVG into pixels. A hand-picked
subset of it keeps the faces learnable by a small network: one pose, no hats or beards, and hair colours, glasses
and mouths that remain legible at 32x32.
"""

import io
import json
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gankit._errors import missing_extra

LABELS: tuple[str, ...] = ("Blond_Hair", "Black_Hair", "Brown_Hair", "Auburn_Hair", "Eyeglasses", "Smiling")
KIND = "attributes"
COUNT = 10_000
SIZE = 128  # pixels on each side of a drawn face
_SEED = 0x6A7E5
HAIR = ("#f7d154", "#17151c", "#5e3418", "#c03412")  # in the order of LABELS
_MOUTHS = (("serious", "sad"), ("smile", "tongue"))  # indexed by Smiling
_GLASSES = 0.3  # share of faces that wear them
_LOOKS = {  # everything that no label speaks of: option of the style -> its choices, all equally likely
    "topVariant": ("shortFlat", "shortWaved", "shortRound", "bob", "straightAndStrand", "curly"),
    "skinColor": ("#ffdbb4", "#edb98a", "#d08b5b", "#b5713f"),
    "eyesVariant": ("default", "squint", "side"),
    "eyebrowsVariant": ("default", "flatNatural", "raisedExcited"),
    "clothesVariant": ("shirtCrewNeck", "hoodie", "collarAndSweater"),
    "clothesColor": ("#3c4f5c", "#5199e4", "#ff5c5c", "#e6e6e6"),
    "backgroundColor": ("#d6e4f5", "#e2dcf3", "#dcefe0", "#f3efe2"),
    "accessoriesVariant": ("prescription02", "round", "wayfarers"),
    "accessoriesColor": ("#262e33", "#25557c"),
}
_CROP = "40 12 200 200"  # x, y, width and height of head and collar on the style's canvas of 280x280


@cache
def _dice() -> NDArray[np.uint64]:
    """uint64 [COUNT, 4 + looks], uniform: row i decides all of face i.

    Raw Philox words, since numpy promises those to stay the same across releases, unlike its distributions.
    """
    columns = 4 + len(_LOOKS)  # hair colour, glasses, smiling, mouth, looks
    return np.asarray(np.random.Philox(key=_SEED).random_raw(COUNT * columns)).reshape(COUNT, columns)


def labels() -> NDArray[np.uint8]:
    """Attributes of all faces: uint8 [COUNT, 6], 0 or 1, columns as in LABELS; exactly one hair colour a row."""
    hair, glasses, smiling = _dice()[:, :3].T
    colours = [hair % len(HAIR) == i for i in range(len(HAIR))]
    return np.stack([*colours, glasses < np.uint64(_GLASSES * 2**64), smiling % 2], 1).astype(np.uint8)


@cache
def _style() -> Any:
    """DiceBear's parsed style; checking it against its schema takes a third of a second, hence once a process."""
    from dicebear import Style

    style = json.loads(files("dicebear_styles").joinpath("avataaars.json").read_text("utf-8"))
    style["components"]["mouth"]["scale"] = {"min": 1.3, "max": 1.3}  # a smile at 32x32 has to be more than a speck
    return Style(style)


def draw(index: int) -> Image.Image:
    """Face number `index` (0 <= index < COUNT): RGB, SIZE x SIZE, the same picture on every call and machine."""
    try:
        import resvg_py
        from dicebear import Avatar

        style = _style()
    except ImportError as error:
        raise missing_extra("the avatars data set", "train") from error
    hair, glasses, smiling, mouth, *looks = _dice()[index].tolist()
    mouths = _MOUTHS[smiling % 2]
    options: dict[str, str | int] = {
        **{name: choices[die % len(choices)] for die, (name, choices) in zip(looks, _LOOKS.items(), strict=True)},
        "seed": "",  # nothing is left for DiceBear to choose
        "hairColor": HAIR[hair % len(HAIR)],
        "mouthVariant": mouths[mouth % len(mouths)],
        "accessoriesProbability": 100 * (glasses < _GLASSES * 2**64),
        "facialHairProbability": 0,
    }
    svg = Avatar(style, options).to_string().replace('viewBox="0 0 280 280"', f'viewBox="{_CROP}"', 1)
    png = resvg_py.svg_to_bytes(svg_string=svg, width=SIZE, height=SIZE, skip_system_fonts=True)
    return Image.open(io.BytesIO(png)).convert("RGB")
