import io
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gankit
from gankit import _progress as progress
from tests.helpers.commands import Command, refused
from tests.helpers.images import picture, video
from tests.helpers.models import foreign_model
from tests.helpers.paths import TINY

# The command in a separate process, after a statement.
PROCESS = "import sys; sys.argv[0] = 'gan-gen'; from gankit._cli import main; {}; main()"


def test_a_folder_of_pngs_and_a_grid(command: Command, tmp_path: Path) -> None:
    result = command("gan-gen", "-m", TINY, "-n", 10, "--label", "blond", "--seed", 5)
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "generated" / "tiny" / "blond-seed5"
    assert sorted(p.name for p in folder.iterdir()) == [*(f"{i:06d}.png" for i in range(10)), "grid.png"]
    expected = gankit.load(TINY, device="cpu").sample(10, seed=5, label="blond")
    assert np.array_equal(picture(folder / "000007.png"), expected[7])
    assert picture(folder / "grid.png").shape == (3 * 10 + 2, 4 * 10 + 2, 3)
    assert str(folder.relative_to(tmp_path)) in result.stderr


def test_one_file_of_each_kind(command: Command, tmp_path: Path) -> None:
    model = gankit.load(TINY, device="cpu")
    assert command("gan-gen", "-m", TINY, "-n", 4, "--columns", 4, "--scale", 3, "-o", "s.png").returncode == 0
    assert picture(tmp_path / "s.png").shape == ((10 + 2) * 3, (4 * 10 + 2) * 3, 3)
    assert command("gan-gen", "-m", TINY, "-n", 4, "-o", "a.npz").returncode == 0
    with np.load(tmp_path / "a.npz") as arrays:
        assert np.array_equal(arrays["arr_0"], model.sample(4))
        assert np.array_equal(arrays["arr_1"], model.inputs(4)[1])
    result = command("gan-gen", "-m", TINY, "--interpolate", "0,7,42", "--frames", 12, "--loop", "-o", "w.gif")
    assert result.returncode == 0, result.stderr
    assert len(picture(tmp_path / "w.gif")) == 12
    assert command("gan-gen", "-m", TINY, "-n", 3, "--compare", "hair", "-o", "c.png").returncode == 0
    assert picture(tmp_path / "c.png").shape == (2 * 10 + 2, 3 * 10 + 2, 3)
    assert command("gan-gen", "-m", TINY, "-n", 1, "-o", "one.png").returncode == 0
    assert np.array_equal(picture(tmp_path / "one.png"), model.sample(1)[0])


def test_arrays_and_animations(command: Command, tmp_path: Path) -> None:
    model = gankit.load(TINY, device="cpu")
    result = command("gan-gen", "-m", TINY, "-n", 5, "--start", 7, "--truncation", 0.5, "--threads", 1, "-o", "a.npy")
    assert result.returncode == 0, result.stderr
    images = model.sample(5, start=7, truncation=0.5)
    assert np.array_equal(np.load(tmp_path / "a.npy"), images)
    assert command("gan-gen", "-m", TINY, "-n", 5, "--start", 7, "--truncation", 0.5, "-o", "a.webp").returncode == 0
    assert np.array_equal(picture(tmp_path / "a.webp"), images)
    arguments = ["--interpolate", "0,7", "--frames", 6, "--mode", "lerp", "--label", "blond=0.7,smiling", "-o", "w.npy"]
    assert command("gan-gen", "-m", TINY, *arguments).returncode == 0
    frames = model.interpolate([0, 7], frames=6, mode="lerp", label={"blond": 0.7, "smiling": 1})
    assert np.array_equal(np.load(tmp_path / "w.npy"), frames)


@pytest.mark.parametrize(
    ("arguments", "count"), [(["--interpolate", "0,7,42", "--frames", 12, "--loop"], 12), (["-n", 70], 70)]
)
def test_videos_for_every_player(command: Command, tmp_path: Path, arguments: list[object], count: int) -> None:
    result = command("gan-gen", "-m", TINY, *arguments, "--scale", 6, "-o", "x.mp4")
    assert result.returncode == 0, result.stderr
    model = gankit.load(TINY, device="cpu")
    frames = model.interpolate([0, 7, 42], frames=12, loop=True) if count == 12 else model.sample(70)
    found = video(tmp_path / "x.mp4").reshape(count, 8, 6, 8, 6, 3)[:, :, 1:5, :, 1:5].mean(axis=(2, 4))
    assert np.abs(found - frames).mean() < 12  # frames of noise, the worst case


def test_labels_in_turn(command: Command, tmp_path: Path) -> None:
    model = gankit.load(TINY, device="cpu")

    def make(*arguments: object) -> dict[str, np.ndarray]:
        result = command("gan-gen", "-m", TINY, "-o", "x.npz", *arguments)
        assert result.returncode == 0, result.stderr
        with np.load(tmp_path / "x.npz") as arrays:
            return dict(arrays)

    made = make("--labels", "all")
    turns = [*model.labels * 10]
    assert np.array_equal(made["arr_0"], model.sample(30, label=turns))
    assert np.array_equal(made["arr_1"], model.inputs(30, label=turns)[1])
    part = make("--labels", "all", "-n", 5000, "--start", 10)  # more labels than one list has
    assert np.array_equal(part["arr_0"][:20], made["arr_0"][10:]) and len(part["arr_1"]) == 5000
    assert np.array_equal(part["arr_0"][4970:], model.sample(30, start=4980, label=turns))
    made = make("--labels", "black,HAIR", "-n", 5, "--label", "smiling")
    turns = [f"{name},smiling" for name in ("Black_Hair", "Blond_Hair", "Black_Hair", "Black_Hair", "Blond_Hair")]
    assert np.array_equal(made["arr_0"], model.sample(5, label=turns))
    made = make("--labels", "blond,black", "--interpolate", "3,3,4", "--frames", 9)
    assert np.array_equal(made["arr_0"], model.interpolate([3, 3, 4], frames=9, label=["blond", "black", "blond"]))


def test_a_grid_has_a_column_for_each_label(command: Command, tmp_path: Path) -> None:
    assert command("gan-gen", "-m", TINY, "--labels", "all", "-n", 7, "-o", "s.png").returncode == 0
    assert picture(tmp_path / "s.png").shape == (3 * 10 + 2, 3 * 10 + 2, 3)
    assert command("gan-gen", "-m", TINY, "-n", 4, "--compare", "all", "-o", "c.png").returncode == 0
    assert picture(tmp_path / "c.png").shape == (3 * 10 + 2, 4 * 10 + 2, 3)
    result = command("gan-gen", "-m", TINY, "-n", 4, "--compare", "smil,blond", "-o", "c.png")
    assert "rows    Smiling, Blond_Hair\n" in result.stderr
    rows = gankit.load(TINY, device="cpu").compare_labels(4, labels=["smiling", "blond"])
    assert np.array_equal(picture(tmp_path / "c.png")[12:20, 32:40], rows[1, 3])


def test_a_folder_with_labels_in_turn_can_grow(command: Command, tmp_path: Path) -> None:
    assert command("gan-gen", "-m", TINY, "--labels", "all", "-n", 4).returncode == 0
    folder = tmp_path / "generated" / "tiny" / "each-all-seed0"
    result = command("gan-gen", "-m", TINY, "--labels", "all", "-n", 8, "-o", folder)
    assert "skipped 4 existing files" in result.stderr
    expected = gankit.load(TINY, device="cpu").sample(8, label=["blond", "black", "smiling"] * 2 + ["blond", "black"])
    assert np.array_equal(picture(folder / "000006.png"), expected[6])
    assert picture(folder / "grid.png").shape == (3 * 10 + 2, 3 * 10 + 2, 3)


def test_an_interpolation_into_a_folder(command: Command, tmp_path: Path) -> None:
    assert command("gan-gen", "-m", TINY, "--interpolate", "0,7", "--frames", 6, "-o", "w").returncode == 0
    assert command("gan-gen", "-m", TINY, "--interpolate", "1,7", "--frames", 6, "-o", "w").returncode == 0
    frames = gankit.load(TINY, device="cpu").interpolate([1, 7], frames=6)
    assert np.array_equal([picture(tmp_path / "w" / f"{i:06d}.png") for i in range(6)], frames)


@pytest.mark.parametrize(
    "arguments",
    [["-n", "3"], ["-n", "1", "--scale", "2"], ["--interpolate", "0,7", "--format", "GIF"], ["--format", "webp"]],
)
def test_standard_output_gets_the_bytes_of_the_file(command: Command, tmp_path: Path, arguments: list[str]) -> None:
    form = arguments[-1].lower() if "--format" in arguments else "png"
    line = [sys.executable, "-c", PROCESS.format("0"), "-m", str(TINY), *arguments, "-o", "-"]
    piped = subprocess.run(line, capture_output=True, check=True)
    assert b"wrote" in piped.stderr
    arguments = arguments[:-2] if "--format" in arguments else arguments
    assert command("gan-gen", "-m", TINY, *arguments, "-o", f"x.{form}").returncode == 0
    assert piped.stdout == (tmp_path / f"x.{form}").read_bytes()


def test_arrays_and_a_video_on_standard_output(tmp_path: Path) -> None:
    def piped(form: str) -> bytes:
        line = [sys.executable, "-c", PROCESS.format("0"), "-m", TINY, "-n", "70", "-o", "-", "--format", form]
        return subprocess.run(line, capture_output=True, check=True).stdout

    model = gankit.load(TINY, device="cpu")
    assert np.array_equal(np.load(io.BytesIO(piped("npy"))), model.sample(70))
    with np.load(io.BytesIO(piped("npz"))) as arrays:
        assert np.array_equal(arrays["arr_0"], model.sample(70))
        assert np.array_equal(arrays["arr_1"], model.inputs(70)[1])
    (tmp_path / "x.mp4").write_bytes(piped("mp4"))
    assert video(tmp_path / "x.mp4").shape == (70, 8, 8, 3)


@pytest.mark.parametrize("form", ["npy", "npz"])
def test_the_reader_of_standard_output_may_close_it(form: str) -> None:
    line = [sys.executable, "-c", PROCESS.format("0"), "-m", TINY, "-n", "5000", "-o", "-", "--format", form]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()  # of a megabyte
        printed = process.stderr.read().decode()
    assert process.returncode == 1 and [line.split()[0] for line in printed.splitlines()] == ["model", "device"], (
        printed
    )


def test_a_terminal_gets_no_bytes(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    refused(command("gan-gen", "-m", TINY, "-o", "-"), 2, "terminal", "gan-gen -o - > faces.png")


def test_the_first_image_of_each_seed(command: Command, tmp_path: Path) -> None:
    model = gankit.load(TINY, device="cpu")
    expected = np.concatenate([model.sample(1, seed=seed, label="blond") for seed in (0, 4, 5, 6)])
    for output in ("s.npy", "s.npz", "s.png", "folder"):
        result = command("gan-gen", "-m", TINY, "--seeds", "0,4-6", "--label", "blond", "-o", output)
        assert result.returncode == 0, result.stderr
    assert np.abs(np.load(tmp_path / "s.npy").astype(int) - expected).max() <= 1
    with np.load(tmp_path / "s.npz") as arrays:
        assert np.array_equal(arrays["arr_1"][2:3], model.inputs(1, seed=5, label="blond")[1])
    assert picture(tmp_path / "s.png").shape == (2 * 10 + 2, 2 * 10 + 2, 3)
    names = sorted(p.name for p in (tmp_path / "folder").iterdir())
    assert names == ["000000.png", "000004.png", "000005.png", "000006.png", "grid.png"]
    assert np.abs(picture(tmp_path / "folder" / "000005.png").astype(int) - expected[2]).max() <= 1
    assert command("gan-gen", "-m", TINY, "--seeds", "0,4-6").returncode == 0
    assert (tmp_path / "generated" / "tiny" / "seeds0_4-6" / "000006.png").is_file()


def test_an_interrupted_folder_is_continued(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "out"

    def make(*more: object) -> tuple[dict[str, int], str]:
        result = command("gan-gen", "-m", TINY, "-o", folder, *more)
        assert result.returncode == 0, result.stderr
        return {p.name: p.stat().st_ino for p in folder.glob("0*.png")}, result.stderr

    first, printed = make("-n", 5)
    assert "skipped" not in printed
    grid = (folder / "grid.png").read_bytes()
    (folder / "grid.png").unlink()
    (folder / "000003.png").unlink()  # as if it had been interrupted there
    (folder / "000004.png").unlink()
    second, printed = make("-n", 5)
    assert "skipped 3 existing files" in printed
    assert all(second[f"{i:06d}.png"] == first[f"{i:06d}.png"] for i in range(3))
    assert (folder / "grid.png").read_bytes() == grid
    assert np.array_equal(picture(folder / "000004.png"), gankit.load(TINY, device="cpu").sample(5)[4])
    assert "skipped 5 existing files" in make("-n", 5)[1] and "skipped 5 existing files" in make("-n", 70)[1]
    assert "skipped 68 existing files" in make("--start", 2, "-n", 80)[1]  # a file's name is its image's number


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_is_continued(command: Command, tmp_path: Path, end: signal.Signals) -> None:
    script = f"""
import itertools, os, pathlib, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a background job ignores
rename, calls = pathlib.Path.replace, itertools.count()
def ended(*arguments):
    if next(calls) == 100:
        os.kill(os.getpid(), {end:d})
    return rename(*arguments)
pathlib.Path.replace = ended
"""
    line = [sys.executable, "-c", PROCESS.format(f"exec({script!r})"), "-m", TINY, "-n", "5000", "-o", tmp_path / "out"]
    result = subprocess.run(line, capture_output=True, text=True, check=False)
    assert result.returncode in (-end, 128 + end) and "Traceback" not in result.stderr
    expected = gankit.load(TINY, device="cpu").sample(200)
    left = {path.name for path in (tmp_path / "out").iterdir()}
    whole = sorted(name for name in left if not name.startswith("."))
    assert 100 <= len(whole) < 200
    for name in whole:  # some numbers may be missing, but every file must be complete
        assert np.array_equal(picture(tmp_path / "out" / name), expected[int(name[:6])])
    assert end == signal.SIGKILL or left == set(whole)
    again = command("gan-gen", "-m", TINY, "-n", 200, "-o", "out")
    assert again.returncode == 0 and "existing files" in again.stderr
    for i in range(200):
        assert np.array_equal(picture(tmp_path / "out" / f"{i:06d}.png"), expected[i])


def test_missing_files_are_written(command: Command, tmp_path: Path) -> None:
    assert command("gan-gen", "-m", TINY, "-n", 8, "-o", "out").returncode == 0
    for i in (2, 5):
        (tmp_path / "out" / f"{i:06d}.png").unlink()
    assert "skipped 2 existing files" in command("gan-gen", "-m", TINY, "-n", 8, "-o", "out").stderr
    expected = gankit.load(TINY, device="cpu").sample(8)
    assert np.array_equal([picture(tmp_path / "out" / f"{i:06d}.png") for i in range(8)], expected)


def test_the_same_seed_twice_is_one_file(command: Command, tmp_path: Path) -> None:
    result = command("gan-gen", "-m", TINY, "--seeds", ",".join(["3"] * 50), "-o", "out")
    assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["000003.png", "grid.png"]


@pytest.mark.parametrize(
    "other",
    [["--seed", 1], ["--label", "blond"], ["--truncation", 0.5], ["--scale", 2], ["--seeds", "0-2"], ["-m", "other"]],
)
def test_files_of_another_request_are_not_kept(command: Command, tmp_path: Path, other: list[object]) -> None:
    (tmp_path / "other").write_bytes(TINY.read_bytes().replace(b'"images_seen"', b'"images_SEEN"'))
    count = [] if other[0] == "--seeds" else ["-n", 3]
    assert command("gan-gen", "-m", TINY, "-o", "out", *count, *other).returncode == 0
    result = command("gan-gen", "-m", TINY, "-n", 3, "-o", "out")
    assert result.returncode == 0
    assert ("skipped 1 existing file\n" in result.stderr) == (other[0] == "--seeds")  # image 0 of seed 0 is both
    assert np.array_equal(picture(tmp_path / "out" / "000002.png"), gankit.load(TINY, device="cpu").sample(3)[2])


def test_a_file_that_is_not_an_image_is_not_kept(command: Command, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "000000.png").write_bytes(b"half a picture")
    assert command("gan-gen", "-m", TINY, "-n", 1, "-o", "out").returncode == 0
    assert picture(tmp_path / "out" / "000000.png").shape == (8, 8, 3)


@pytest.mark.parametrize("output", ["b", "b.npz", "b.npy", "b.gif", "b.png"])
def test_long_work_has_a_progress_bar_on_a_terminal(
    command: Command, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    monkeypatch.setattr(progress, "_DELAY", 0.0)
    assert "images" not in command("gan-gen", "-m", TINY, "-n", 70, "-o", f"a{output}").stderr
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    shown = command("gan-gen", "-m", TINY, "-n", 70, "-o", output).stderr
    assert re.search(r"70 of 70 images, [\d,]+/s, 0:00 left", shown), shown


def test_short_work_has_no_progress_bar(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert "left" not in command("gan-gen", "-m", TINY, "-n", 3, "-o", "c").stderr


def test_without_a_path_the_newest_export_and_then_the_bundled_model(command: Command, tmp_path: Path) -> None:
    assert "the bundled faces" in command("gan-gen", "-n", 1).stderr
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
        (["--columns", "0", "-o", "x.png"], 2, ["columns must be at least 1, not 0"]),
        (["--interpolate", "0,1", "--frames", "0"], 2, ["frames must be a whole number of at least 1, not 0"]),
        (["-m", "none.onnx"], 2, ["no model at none.onnx"]),
        (["-m", "text.onnx"], 1, ["text.onnx", "ONNX"]),
        (["--interpolate", "0,x"], 2, ["'0,x'"]),
        (["--interpolate", "0"], 2, ["at least two stops, not 1"]),
        (["-o", "x.bmp"], 2, [".bmp", ".png, .gif, .webp, .mp4, .npz, .npy"]),
        (["-o", "-", "--format", "bmp"], 2, ["--format must be png, gif, webp, mp4, npz or npy, not 'bmp'"]),
        (["-o", "x.png", "--format", "gif"], 2, ["--format has no effect without -o -"]),
        (["-n", "9999999999999"], 2, ["from 1 to 1000000000000, not 9999999999999"]),
        (["-n", "1000000000000", "-o", "x.npy"], 1, ["192,000,000,000,000 bytes", "x.npy", "free"]),
        (["-n", "1000000000000", "-o", "x.png"], 2, ["do not fit into memory"]),
        (["--labels", "green"], 2, ["'green'", "Blond_Hair, Black_Hair, Smiling"]),
        (["--labels", ""], 2, ["no label matches ''"]),
        (["--labels", "blond", "--label", "black"], 2, ["only one of Blond_Hair, Black_Hair"]),
        (["--labels", "all", "--compare", "hair"], 2, ["--labels has no effect with --compare"]),
        (["--labels", "all", "--seeds", "1"], 2, ["--labels has no effect with --seeds"]),
        (["-o", "text.onnx/below"], 1, ["cannot write text.onnx/below"]),
        (["--seed", "-1"], 2, ["-1"]),
        (["--label", "blond=2"], 2, ["from 0 to 1, not 2.0 for"]),
        (["--label", "blond=x"], 2, ["blond=0.7", "'x'"]),
        (["--truncation", "nan"], 2, ["truncation must be a number"]),
        (["--start", "-1"], 2, ["start must be", "-1"]),
        (["--threads", "-1"], 2, ["threads must be", "-1"]),
        (["--seeds", "0,6-4"], 2, ["0,4-6", "'0,6-4'"]),
        (["--seeds", "0-9999999999"], 2, ["up to a million"]),
        (["--seeds", ""], 2, ["--seeds must be", "''"]),
        (["--seeds", "1", "-n", "3", "--start", "2"], 2, ["-n, --start has no effect with --seeds"]),
        (["--seeds", "1", "--seed", "0"], 2, ["--seed has no effect with --seeds"]),
        (["--interpolate", "0,1", "--compare", "hair"], 2, ["--compare has no effect with --interpolate"]),
        (["--interpolate", "0,1", "-n", "5"], 2, ["-n has no effect with --interpolate"]),
        (["--interpolate", "0,1", "--mode", "cubic"], 2, ["--mode must be slerp or lerp, not 'cubic'"]),
        (["--compare", "hair", "--columns", "3"], 2, ["--columns has no effect with --compare"]),
        (["--mode", "lerp", "--loop"], 2, ["--loop, --mode has no effect without --interpolate"]),
        (["--device", "tpu"], 2, ["--device must be auto, cuda, cpu or openvino, not 'tpu'"]),
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


@pytest.mark.parametrize("option", ["--labels", "--compare"])
def test_a_model_without_labels_refuses_them(command: Command, tmp_path: Path, option: str) -> None:
    (tmp_path / "plain.onnx").write_bytes(foreign_model("uint8", labels=False))
    refused(command("gan-gen", "-m", "plain.onnx", option, "all"), 2, "no labels", "'all'")
