from pathlib import Path

import numpy as np
import pytest

from gankit.errors import GankitError
from gankit.files import written_whole
from gankit.images import grid, save_gif, save_png
from tests.conftest import picture


def test_a_sheet_has_each_image_in_its_place() -> None:
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((5, 3, 4, 1), np.uint8)
    sheet = grid(images, columns=3, gap=1)
    assert sheet.shape == (2 * 4 + 1, 3 * 5 + 1, 1)
    assert (sheet[1:4, 11:15] == 2).all() and (sheet[5:8, 1:5] == 3).all() and (sheet[5:8, 11:15] == 255).all()


def test_grey_and_colour_films(tmp_path: Path) -> None:
    for channels in (1, 3):
        frames = np.random.default_rng(0).integers(0, 255, (4, 8, 8, channels), np.uint8)
        save_gif(tmp_path / "x.gif", frames)
        assert len(picture(tmp_path / "x.gif")) == 4


def test_nothing_half_written_stands_under_a_final_name(tmp_path: Path) -> None:
    save_png(tmp_path / "x.png", np.zeros((4, 4, 3), np.uint8))
    old = (tmp_path / "x.png").read_bytes()
    with pytest.raises(KeyboardInterrupt), written_whole(tmp_path / "x.png") as temporary:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt
    assert [p.name for p in tmp_path.iterdir()] == ["x.png"]
    assert (tmp_path / "x.png").read_bytes() == old


def test_a_full_disk_is_reported_and_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"old")
    with pytest.raises(GankitError, match=r"cannot write .*x\.png: No space left"), written_whole(tmp_path / "x.png"):
        raise OSError(28, "No space left on device")
    assert (tmp_path / "x.png").read_bytes() == b"old"
