"""A picture of generated images above the training images that are nearest to them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from gankit._images import enlarge
from gankit_train.metrics.functions import Sets
from gankit_train.metrics.pca import Images

_COLUMNS = 12
_EDGE = 56  # smaller images are enlarged to about this, in pixels
_GAP, _LINE = 4, 15


def pairs_sheet(samples: Sets, real: Sets) -> Images:
    """Pairs of an image and its nearest training image, with their distance: uint8 [height, width, 3].

    First the samples that are nearest to a training image, where copies would be, then others from the nearest to the
    furthest; and the same of real images that were left out of the training data one at a time, to compare with.
    """
    rows: list[tuple[str, Images]] = []
    kinds = [("samples", samples, "(mean difference of a pixel, of 255)"), ("real images", real, "(out of all others)")]
    for who, sets, legend in kinds:
        far = sets.near.distance[:, 0]
        ranked = np.argsort(far, kind="stable")
        spread = ranked[np.linspace(0, len(ranked) - 1, min(_COLUMNS, len(ranked))).astype(int)]
        rows.append(
            (f"The {who} nearest to a training image, above that image {legend}", _strip(sets, ranked[:_COLUMNS]))
        )
        rows.append((f"{who.capitalize()} from the nearest to the furthest of {len(far):,}", _strip(sets, spread)))
    width = max(strip.shape[1] for _, strip in rows)
    sheet = Image.new("RGB", (width + 2 * _GAP, sum(strip.shape[0] + _LINE + 2 * _GAP for _, strip in rows)), "white")
    pen, font, y = ImageDraw.Draw(sheet), ImageFont.load_default(11), 0
    for title, strip in rows:
        pen.text((_GAP, y + _GAP), title, "black", font)
        sheet.paste(Image.fromarray(strip), (_GAP, y + _LINE + _GAP))
        y += strip.shape[0] + _LINE + 2 * _GAP
    return np.asarray(sheet)


def _strip(sets: Sets, chosen: NDArray[np.int64]) -> Images:
    """These images side by side, each above its nearest training image and their distance."""
    near = sets.near
    columns = []
    for i in chosen.tolist():
        pair = np.stack([sets.fake[i], sets.reference.data.images[near.row[i, 0]]])
        pair = enlarge(pair, max(1, round(_EDGE / pair.shape[2]))).repeat(3 // pair.shape[3], axis=3)
        h, w = pair.shape[1:3]
        column = Image.new("RGB", (w + _GAP, 2 * h + _LINE), "white")
        for k in (0, 1):
            column.paste(Image.fromarray(pair[k]), (0, k * h))
        text = f"{near.distance[i, 0]:.1f}"
        ImageDraw.Draw(column).text((w / 2, 2 * h + 2), text, "black", ImageFont.load_default(11), anchor="ma")
        columns.append(np.asarray(column))
    return np.concatenate(columns, axis=1)
