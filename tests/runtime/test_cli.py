import re
import sys
from pathlib import Path

import numpy as np
import pytest

import gankit
from tests.conftest import TINY, Command, picture, refused


def test_a_folder_of_pngs_and_a_sheet(command: Command, tmp_path: Path) -> None:
    result = command("gan-gen", "-m", TINY, "-n", 10, "--label", "blond", "--seed", 5)
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "generated" / "tiny" / "blond-seed5"
    assert sorted(p.name for p in folder.iterdir()) == [*(f"{i:06d}.png" for i in range(10)), "sheet.png"]
    expected = gankit.load(TINY, device="cpu").sample(10, 5, "blond")
    assert np.array_equal(picture(folder / "000007.png"), expected[7])
    assert picture(folder / "sheet.png").shape == (3 * 10 + 2, 4 * 10 + 2, 3)
    assert str(folder.relative_to(tmp_path)) in result.stderr


def test_one_file_of_each_kind(command: Command, tmp_path: Path) -> None:
    model = gankit.load(TINY, device="cpu")
    assert command("gan-gen", "-m", TINY, "-n", 4, "--columns", 4, "--scale", 3, "-o", "s.png").returncode == 0
    assert picture(tmp_path / "s.png").shape == ((10 + 2) * 3, (4 * 10 + 2) * 3, 3)
    assert command("gan-gen", "-m", TINY, "-n", 4, "-o", "a.npz").returncode == 0
    with np.load(tmp_path / "a.npz") as arrays:
        assert np.array_equal(arrays["arr_0"], model.sample(4))
        assert np.array_equal(arrays["arr_1"], model.inputs(4)[1])
    walk = command("gan-gen", "-m", TINY, "--interpolate", "0,7,42", "--frames", 12, "--loop", "-o", "w.gif")
    assert walk.returncode == 0, walk.stderr
    assert len(picture(tmp_path / "w.gif")) == 12
    assert command("gan-gen", "-m", TINY, "-n", 3, "--compare", "hair", "-o", "c.png").returncode == 0
    assert picture(tmp_path / "c.png").shape == (2 * 10 + 2, 3 * 10 + 2, 3)
    assert command("gan-gen", "-m", TINY, "-n", 1, "-o", "one.png").returncode == 0
    assert np.array_equal(picture(tmp_path / "one.png"), model.sample(1)[0])


def test_arrays_and_films(command: Command, tmp_path: Path) -> None:
    model = gankit.load(TINY, device="cpu")
    result = command("gan-gen", "-m", TINY, "-n", 5, "--start", 7, "--psi", 0.5, "--threads", 1, "-o", "a.npy")
    assert result.returncode == 0, result.stderr
    images = model.sample(5, start=7, psi=0.5)
    assert np.array_equal(np.load(tmp_path / "a.npy"), images)
    assert command("gan-gen", "-m", TINY, "-n", 5, "--start", 7, "--psi", 0.5, "-o", "a.webp").returncode == 0
    assert np.array_equal(picture(tmp_path / "a.webp"), images)
    arguments = ["--interpolate", "0,7", "--frames", 6, "--mode", "lerp", "--label", "blond=0.7,smiling", "-o", "w.npy"]
    assert command("gan-gen", "-m", TINY, *arguments).returncode == 0
    walk = model.interpolate([0, 7], 6, mode="lerp", label={"blond": 0.7, "smiling": 1})
    assert np.array_equal(np.load(tmp_path / "w.npy"), walk)


def test_the_first_image_of_each_seed(command: Command, tmp_path: Path) -> None:
    model = gankit.load(TINY, device="cpu")
    expected = np.concatenate([model.sample(1, seed, "blond") for seed in (0, 4, 5, 6)])
    for output in ("s.npy", "s.npz", "s.png", "folder"):
        result = command("gan-gen", "-m", TINY, "--seeds", "0,4-6", "--label", "blond", "-o", output)
        assert result.returncode == 0, result.stderr
    assert np.abs(np.load(tmp_path / "s.npy").astype(int) - expected).max() <= 1
    with np.load(tmp_path / "s.npz") as arrays:
        assert np.array_equal(arrays["arr_1"][2:3], model.inputs(1, 5, "blond")[1])
    assert picture(tmp_path / "s.png").shape == (2 * 10 + 2, 2 * 10 + 2, 3)
    names = sorted(p.name for p in (tmp_path / "folder").iterdir())
    assert names == ["000000.png", "000004.png", "000005.png", "000006.png", "sheet.png"]
    assert np.abs(picture(tmp_path / "folder" / "000005.png").astype(int) - expected[2]).max() <= 1
    assert command("gan-gen", "-m", TINY, "--seeds", "0,4-6").returncode == 0
    assert (tmp_path / "generated" / "tiny" / "seeds0_4-6" / "000006.png").is_file()


def test_a_folder_that_was_begun_is_gone_on_with(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "out"

    def make(*more: object) -> tuple[dict[str, int], str]:
        result = command("gan-gen", "-m", TINY, "-o", folder, *more)
        assert result.returncode == 0, result.stderr
        return {p.name: p.stat().st_ino for p in folder.glob("0*.png")}, result.stderr

    first, said = make("-n", 5)
    assert "kept" not in said
    sheet = (folder / "sheet.png").read_bytes()
    (folder / "sheet.png").unlink()
    (folder / "000003.png").unlink()  # as if it had been stopped there
    (folder / "000004.png").unlink()
    second, said = make("-n", 5)
    assert "kept    3 that" in said
    assert all(second[f"{i:06d}.png"] == first[f"{i:06d}.png"] for i in range(3))
    assert (folder / "sheet.png").read_bytes() == sheet
    assert np.array_equal(picture(folder / "000004.png"), gankit.load(TINY, device="cpu").sample(5)[4])
    assert "kept    5 that" in make("-n", 5)[1] and "kept    5 that" in make("-n", 70)[1]
    assert "kept    68 that" in make("--start", 2, "-n", 80)[1]  # a file's name is its image's number


@pytest.mark.parametrize(
    "other", [["--seed", 1], ["--label", "blond"], ["--psi", 0.5], ["--scale", 2], ["--seeds", "0-2"], ["-m", "other"]]
)
def test_what_another_request_left_is_not_kept(command: Command, tmp_path: Path, other: list[object]) -> None:
    (tmp_path / "other").write_bytes(TINY.read_bytes().replace(b'"images_seen"', b'"images_SEEN"'))
    count = [] if other[0] == "--seeds" else ["-n", 3]
    assert command("gan-gen", "-m", TINY, "-o", "out", *count, *other).returncode == 0
    result = command("gan-gen", "-m", TINY, "-n", 3, "-o", "out")
    kept = "1 that" if other[0] == "--seeds" else None  # image 0 of seed 0 is both
    assert result.returncode == 0 and ("kept" in result.stderr) == bool(kept) and (kept or "") in result.stderr
    assert np.array_equal(picture(tmp_path / "out" / "000002.png"), gankit.load(TINY, device="cpu").sample(3)[2])


def test_a_file_that_is_no_picture_is_not_kept(command: Command, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "000000.png").write_bytes(b"half a picture")
    assert command("gan-gen", "-m", TINY, "-n", 1, "-o", "out").returncode == 0
    assert picture(tmp_path / "out" / "000000.png").shape == (8, 8, 3)


def test_progress_is_for_terminals(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "images" not in command("gan-gen", "-m", TINY, "-n", 70, "-o", "a").stderr
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    said = command("gan-gen", "-m", TINY, "-n", 70, "-o", "b").stderr
    assert re.search(r"\r64 of 70 images, [\d,]+/s\r70 of 70 images, [\d,]+/s\n", said), said


def test_without_a_path_the_newest_export_and_then_the_bundled_model(command: Command, tmp_path: Path) -> None:
    assert "come with gankit" in command("gan-gen", "-n", 1).stderr
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "mine.onnx").write_bytes(TINY.read_bytes())
    assert "runs/mine/mine.onnx" in command("gan-gen", "-n", 1).stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--label", "green"], 2, ["'green'", "Blond_Hair, Black_Hair, Smiling"]),
        (["--label", "hair"], 2, ["'hair'", "Blond_Hair, Black_Hair"]),
        (["-n", "0"], 2, ["not 0"]),
        (["-n", "-5"], 2, ["not -5"]),
        (["-m", "none.onnx"], 2, ["no model at none.onnx"]),
        (["-m", "text.onnx"], 1, ["text.onnx", "ONNX"]),
        (["--interpolate", "0,x"], 2, ["'0,x'"]),
        (["--interpolate", "0"], 2, ["two seeds"]),
        (["-o", "x.bmp"], 2, [".bmp", ".png, .gif, .webp, .npz, .npy"]),
        (["-o", "text.onnx/below"], 1, ["cannot write text.onnx/below"]),
        (["--seed", "-1"], 2, ["-1"]),
        (["--label", "blond=2"], 2, ["from 0 to 1, not 2"]),
        (["--label", "blond=x"], 2, ["blond=0.7", "'x'"]),
        (["--psi", "nan"], 2, ["psi must be a number"]),
        (["--start", "-1"], 2, ["start -1"]),
        (["--threads", "-1"], 2, ["threads must be", "-1"]),
        (["--seeds", "0,6-4"], 2, ["0,4-6", "'0,6-4'"]),
        (["--seeds", "0-9999999999"], 2, ["up to a million"]),
        (["--seeds", ""], 2, ["seeds are", "''"]),
        (["--seeds", "1", "-n", "3", "--start", "2"], 2, ["-n, --start can do nothing beside --seeds"]),
        (["--seeds", "1", "--seed", "0"], 2, ["--seed can do nothing beside --seeds"]),
        (["--interpolate", "0,1", "--compare", "hair"], 2, ["--compare can do nothing beside --interpolate"]),
        (["--interpolate", "0,1", "-n", "5"], 2, ["-n can do nothing beside --interpolate"]),
        (["--interpolate", "0,1", "--mode", "cubic"], 2, ["slerp or lerp, not 'cubic'"]),
        (["--compare", "hair", "--columns", "3"], 2, ["--columns can do nothing beside --compare"]),
        (["--mode", "lerp", "--loop"], 2, ["--loop, --mode can do nothing without --interpolate"]),
        (["--device", "tpu"], 2, ["'tpu'", "auto, cuda, cpu"]),
    ],
)
def test_wrong_use_is_one_clear_line(
    command: Command, tmp_path: Path, arguments: list[str], code: int, words: list[str]
) -> None:
    (tmp_path / "text.onnx").write_text("this is no model")
    refused(command("gan-gen", "-m", TINY, *arguments), code, *words)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["text.onnx"]


def test_a_traceback_needs_debug(command: Command) -> None:
    assert "Traceback" in command("gan-gen", "-m", TINY, "--label", "green", "--debug").stderr
