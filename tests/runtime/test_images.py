import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from gankit import _writers as writers
from gankit._errors import GankitError, MissingExtraError, UsageError
from gankit._images import Images, as_pil, gather, grid
from gankit._writers import save_gif, save_mp4, save_npy, save_npz, save_webp
from tests.helpers.images import picture, video


def test_a_grid_has_each_image_in_its_place() -> None:
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((5, 3, 4, 1), np.uint8)
    made = grid(images, columns=3, gap=1)
    assert made.shape == (2 * 4 + 1, 3 * 5 + 1, 1) and made.dtype == np.uint8
    assert (made[1:4, 11:15] == 2).all() and (made[5:8, 1:5] == 3).all() and (made[5:8, 11:15] == 255).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_an_animation_keeps_every_pixel(tmp_path: Path, channels: int) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (200, channels), np.uint8)  # a palette has room for them
    frames = colours[np.random.default_rng(1).integers(0, 200, (4, 8, 6))]
    large = np.broadcast_to(frames.repeat(3, axis=1).repeat(3, axis=2), (4, 24, 18, 3))
    for save, name in ((save_gif, "x.gif"), (save_webp, "x.webp")):
        save(tmp_path / name, frames, scale=3)
        assert np.array_equal(picture(tmp_path / name), large), name


def test_a_gif_has_nearly_the_colours_of_its_frames(tmp_path: Path) -> None:
    frames = np.linspace((0, 40, 255), (255, 200, 0), 32 * 128 * 128).astype(np.uint8).reshape(-1, 128, 128, 3)
    save_gif(tmp_path / "x.gif", frames)  # more pixels than the palette samples
    assert np.abs(picture(tmp_path / "x.gif").astype(int) - frames).max() <= 4


@pytest.mark.parametrize(("height", "width", "channels"), [(16, 24, 3), (16, 24, 1), (15, 13, 3), (1, 1, 1)])
def test_an_mp4_has_the_colours_of_its_frames(tmp_path: Path, height: int, width: int, channels: int) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (5, 2, 2, channels), np.uint8)
    frames = colours.repeat(8, axis=1).repeat(12, axis=2)[:, :height, :width]
    for scale in (1, 3, 4):
        save_mp4(tmp_path / "x.mp4", iter([frames[:2], frames[2:]]), scale)
        found = video(tmp_path / "x.mp4")
        assert found.shape == (5, -(-scale * height // 2) * 2, -(-scale * width // 2) * 2, 3)
        error = found[:, : scale * height, : scale * width].astype(int) - frames.repeat(scale, 1).repeat(scale, 2)
        assert np.abs(error).mean() < 5
    assert [path.name for path in tmp_path.iterdir()] == ["x.mp4"]


def test_an_mp4_starts_with_its_index(tmp_path: Path) -> None:
    save_mp4(tmp_path / "x.mp4", [np.zeros((3, 8, 8, 3), np.uint8)])
    written = (tmp_path / "x.mp4").read_bytes()
    assert 0 < written.index(b"moov") < written.index(b"mdat")


def test_an_mp4_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'gankit\[video\]'"):
        save_mp4(tmp_path / "x.mp4", [np.zeros((3, 8, 8, 3), np.uint8)])


def test_animations_have_a_maximum_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = np.zeros((2, 2, 20, 3), np.uint8)
    for save, frames in ((save_gif, wide), (save_webp, wide), (save_mp4, [wide])):
        with pytest.raises(UsageError, match="at most 16383 pixels high and wide, not 2000×20000"):
            save(tmp_path / "x", frames, 1000)  # type: ignore[operator]
    monkeypatch.setattr(writers, "_MAX_EDGE", 20_000)
    with pytest.raises(GankitError, match=r"cannot write .*x\.mp4: PyAV reports .*264"):
        save_mp4(tmp_path / "x.mp4", [wide], 1000)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("save", [save_npy, save_npz, lambda path, batches, n: save_mp4(path, batches)])
def test_writing_batch_by_batch_needs_constant_memory(tmp_path: Path, save: Callable[..., None]) -> None:
    def batches() -> Iterator[Images]:
        for i in range(100):
            yield np.full((4, 128, 128, 3), i, np.uint8)

    save(tmp_path / "x", [next(batches())], 4)  # so that imports are not counted
    tracemalloc.start()
    save(tmp_path / "x", batches(), 400)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 400 * 128 * 128 * 3 / 10


def test_arrays_are_as_numpy_writes_them(tmp_path: Path) -> None:
    made = np.random.default_rng(0).integers(0, 256, (70, 5, 4, 3), np.uint8)
    vectors = np.random.default_rng(1).random((70, 3), np.float32)
    save_npy(tmp_path / "x.npy", [made[:64], made[64:]], 70)
    save_npz(tmp_path / "x.npz", [made[:64], made[64:]], 70, [vectors[:1], vectors[1:]])
    np.save(tmp_path / "numpy.npy", made)
    assert (tmp_path / "x.npy").read_bytes() == (tmp_path / "numpy.npy").read_bytes()
    with np.load(tmp_path / "x.npz") as arrays:
        assert arrays.files == ["arr_0", "arr_1"]
        assert np.array_equal(arrays["arr_0"], made) and np.array_equal(arrays["arr_1"], vectors)


def test_too_many_images_for_memory_are_refused() -> None:
    with pytest.raises(UsageError, match="1000000000000 images do not fit into memory at once"):
        gather(iter([np.zeros((2, 64, 64, 3), np.uint8)]), 10**12)


def test_images_for_pillow() -> None:
    images = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    first, second = as_pil(images)
    assert (first.mode, first.size) == ("RGB", (5, 4)) and np.array_equal(np.asarray(second), images[1])
    [grey] = as_pil(images[0, :, :, :1])
    assert grey.mode == "L" and np.array_equal(np.asarray(grey), images[0, :, :, 0])
    for wrong in (images.astype(float), images[0, 0], images[..., :2], [[0]]):
        with pytest.raises(UsageError, match=r"images must be uint8 .* with 1 or 3 channels"):
            as_pil(wrong)  # type: ignore[arg-type]
