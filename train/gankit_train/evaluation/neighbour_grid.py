"""A picture of generated images above their nearest training images, in which copies are easy to see."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from gankit._images import enlarge
from gankit_train.metrics.comparison import Comparison
from gankit_train.metrics.pca import Images

_COLUMNS = 12
_EDGE = 56  # pixels that smaller images are enlarged to, roughly
_GAP, _LINE = 4, 15  # pixels


def neighbour_grid(samples: Comparison, baseline: Comparison) -> Images:
    """Draws pairs of an image and its nearest training image, with their distance: uint8 [height, width, 3].

    The first row has the samples closest to a training image, the second is evenly spread from the closest to the
    farthest. The same two rows follow for real images that were left out of the training data one at a time.
    """
    titled: list[tuple[str, Images]] = []
    legend, baseline_legend = "(mean pixel difference, of 255)", "(among all others)"
    for name, comparison, note in (("samples", samples, legend), ("real images", baseline, baseline_legend)):
        distance = comparison.nearest.distance[:, 0]
        ranked = np.argsort(distance, kind="stable")
        spread = ranked[np.linspace(0, len(ranked) - 1, min(_COLUMNS, len(ranked))).astype(int)]
        closest = f"The {name} closest to a training image, above that image {note}"
        farthest = f"{name.capitalize()} from the closest to the farthest of {len(ranked):,}"
        titled += [(closest, _row(comparison, ranked[:_COLUMNS])), (farthest, _row(comparison, spread))]
    width, heights = max(row.shape[1] for _, row in titled), [row.shape[0] + _LINE + 2 * _GAP for _, row in titled]
    picture = Image.new("RGB", (width + 2 * _GAP, sum(heights)), "white")
    draw, font, y = ImageDraw.Draw(picture), ImageFont.load_default(11), 0
    for (title, row), height in zip(titled, heights, strict=True):
        draw.text((_GAP, y + _GAP), title, "black", font)
        picture.paste(Image.fromarray(row), (_GAP, y + _LINE + _GAP))
        y += height
    return np.asarray(picture)


def _row(comparison: Comparison, chosen: NDArray[np.int64]) -> Images:
    """Draws images side by side, each above its nearest training image and their distance."""
    neighbours = comparison.nearest
    columns = []
    for i in chosen.tolist():
        pair = np.stack([comparison.fake[i], comparison.reference.data.images[neighbours.row[i, 0]]])
        pair = enlarge(pair, max(1, round(_EDGE / pair.shape[2]))).repeat(3 // pair.shape[3], axis=3)
        h, w = pair.shape[1:3]
        column = Image.new("RGB", (w + _GAP, 2 * h + _LINE), "white")
        for k in (0, 1):
            column.paste(Image.fromarray(pair[k]), (0, k * h))
        text = f"{neighbours.distance[i, 0]:.1f}"
        ImageDraw.Draw(column).text((w / 2, 2 * h + 2), text, "black", ImageFont.load_default(11), anchor="ma")
        columns.append(np.asarray(column))
    return np.concatenate(columns, axis=1)
