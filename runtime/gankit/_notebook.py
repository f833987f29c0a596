"""How a generator shows itself in a terminal and in a notebook."""

from __future__ import annotations

from base64 import b64encode
from html import escape

from gankit._card import Card
from gankit._images import Images, encode_png, enlarge, grid

IMAGES = 8
"""The number of images that a notebook shows."""

_MAX_LABELS = 6  # names that the text lists
_SHOWN_PIXELS = 64  # smaller images are enlarged by a whole factor up to this


def describe(card: Card, device: str, precision: str, closed: bool) -> str:
    """A generator on one line: name, size, where it runs, and labels."""
    place = "closed" if closed else f"on {device} in {precision}"
    return f"<gankit.Generator {card.name!r}: {_size(card)}, {place}, {_labels(card)}>"


def to_html(card: Card, device: str, precision: str, images: Images | None) -> str:
    """A generator as HTML: a table of its properties and, unless it is closed, a grid of images."""
    rows = {
        "name": card.name,
        "images": _size(card),
        "latents": f"{card.z_dim} dimensions",
        "labels": ", ".join(card.labels.names) if card.labels else "none",
        "trained": f"{card.variant} on {card.images_seen:,} images of {card.data}",
        "runs": "closed" if images is None else f"on {device} in {precision}",
    }
    cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows.items())
    if images is None:
        return f"<table>{cells}</table>"
    picture = enlarge(grid(images, columns=len(images)), _SHOWN_PIXELS // max(card.height, card.width) or 1)
    png = b64encode(encode_png(picture)).decode()
    return f'<table>{cells}</table><img alt="Samples of seed 0" src="data:image/png;base64,{png}">'


def _size(card: Card) -> str:
    return f"{card.height}×{card.width}×{card.channels}"


def _labels(card: Card) -> str:
    names = card.labels.names if card.labels else ()
    more = f" and {len(names) - _MAX_LABELS} more" if len(names) > _MAX_LABELS else ""
    return f"labels {', '.join(names[:_MAX_LABELS])}{more}" if names else "no labels"
