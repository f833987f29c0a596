"""What a terminal and a notebook show of a generator and of a grid."""

import io
import re
from base64 import b64decode
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import gankit
from tests.helpers.images import close
from tests.helpers.models import foreign_model
from tests.helpers.paths import TINY


def test_a_generator_says_what_it_is() -> None:
    with gankit.load(TINY, device="cpu") as tiny:
        labels = "Blond_Hair, Black_Hair, Smiling"
        assert repr(tiny) == f"<gankit.Generator 'tiny': 8×8×3, on cpu in float32, labels {labels}>"
    assert repr(tiny) == f"<gankit.Generator 'tiny': 8×8×3, closed, labels {labels}>"
    plain = gankit.load(foreign_model("uint8", labels=False), device="cpu")
    assert repr(plain).endswith("5×4×3, on cpu in float32, no labels>")


def test_a_notebook_shows_a_generators_properties_and_images(monkeypatch: pytest.MonkeyPatch) -> None:
    with gankit.load(TINY, device="cpu") as tiny:
        monkeypatch.setattr(tiny, "card", replace(tiny.card, data="<script>"))
        html = tiny._repr_html_()
        assert "tiny" in html and "8×8×3" in html and "Blond_Hair, Black_Hair, Smiling" in html
        assert "&lt;script&gt;" in html and "<script" not in html
        match = re.search(r'src="data:image/png;base64,([^"]+)"', html)
        assert match
        with Image.open(io.BytesIO(b64decode(match[1]))) as image:
            shown = np.asarray(image)
        assert close(shown[::8, ::8], gankit.grid(tiny.sample(8), columns=8))
    assert "closed" in tiny._repr_html_() and "<img" not in tiny._repr_html_()


def test_a_notebook_shows_a_grid_as_a_picture() -> None:
    with gankit.load(TINY, device="cpu") as tiny:
        grid = tiny.grid(9, seed=1)
        images = tiny.sample(9, seed=1)
    assert isinstance(grid, np.ndarray) and grid.dtype == np.uint8 and np.array_equal(grid, gankit.grid(images))
    png = grid._repr_png_()  # type: ignore[attr-defined]  # for notebooks
    with Image.open(io.BytesIO(png)) as image:
        scale = image.width // grid.shape[1]
        assert np.array_equal(np.asarray(image)[::scale, ::scale], grid)
    for other in (grid / 2, grid[0], grid[..., :2], grid[:0]):  # which are not pictures
        assert other._repr_png_() is None


def test_a_grid_needs_images() -> None:
    with pytest.raises(gankit.UsageError, match=r"at least one image, not uint8 \[0, 8, 8, 3\]"):
        gankit.grid(np.zeros((0, 8, 8, 3), np.uint8))
    for wrong in (np.zeros((8, 8, 3), np.uint8), np.zeros((1, 8, 8, 3)), np.zeros((1, 8, 8, 2), np.uint8)):
        with pytest.raises(gankit.UsageError, match=r"a grid needs images, uint8 \[n, height, width, channels\], not"):
            gankit.grid(wrong)  # type: ignore[arg-type]
    with pytest.raises(gankit.UsageError, match="gap must be at least 0 pixels, not -1"):
        gankit.grid(np.zeros((1, 8, 8, 3), np.uint8), gap=-1)
