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
        (["-o", "x.bmp"], 2, [".bmp", ".png, .gif, .npz"]),
        (["-o", "text.onnx/below"], 1, ["cannot write text.onnx/below"]),
        (["--seed", "-1"], 2, ["-1"]),
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
