import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gankit._errors import GankitError, UsageError
from gankit_train.config.config import Config
from gankit_train.config.flags import parse_count, parse_size
from gankit_train.config.presets import PRESETS
from gankit_train.config.variants import VARIANTS, configure
from gankit_train.data.sources import BUILT_IN
from gankit_train.models import checkpoints
from gankit_train.reporter import Reporter
from gankit_train.training.loop import RunResult, train
from tests.helpers.commands import Command, refused
from tests.helpers.images import picture


class Silent(Reporter):
    """A reporter that keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


SMALL: dict[str, Any] = {
    "data": "digits",
    "filters": 4,
    "z_dim": 8,
    "batch_size": 16,
    "log_every": 64,
    "precision": "float32",
    "evaluate_samples": 50,
}


def go(
    out: Path, variant: str = "dcgan", fresh: bool = False, dry_run: bool = False, **settings: Any
) -> tuple[RunResult, list[str]]:
    report = Silent()
    finished = train(configure(variant, **{**SMALL, **settings}), report, out, fresh, dry_run)
    return finished, report.lines


def weights(run: Path) -> dict[str, Any]:
    document = checkpoints.load_checkpoint(checkpoints.newest_checkpoint(run))[1]
    return {k: document[k] for k in ("G", "G_ema", "D", "optimizer_g", "optimizer_d", "noise", "images", "steps")}


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def test_a_run_folder_has_everything(tmp_path: Path) -> None:
    finished, lines = go(tmp_path / "run", images=256, sample_every=128)
    assert finished == RunResult(tmp_path / "run", 256, None)
    run = tmp_path / "run"
    assert Config.from_json(json.loads((run / "config.json").read_text())).filters == 4
    rows = [json.loads(row) for row in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["images"] for row in rows] == [64, 128, 192, 256]
    assert all(
        {"loss_d", "loss_g", "score_real", "score_fake", "accuracy_real", "accuracy_fake", "images_per_s"}
        | {"gradient_norm_g", "gradient_norm_d", "lr_g", "lr_d"}
        <= row.keys()
        for row in rows
    )
    assert all(0 <= row["accuracy_real"] <= 1 and row["gradient_norm_d"] > 0 and row["lr_g"] == 2e-4 for row in rows)
    assert sorted(p.name for p in (run / "samples").iterdir()) == ["000000128.png", "000000256.png"]
    assert picture(run / "samples" / "000000256.png").shape == (8 * 30 + 2, 10 * 30 + 2)
    assert [p.name for p in checkpoints.list_checkpoints(run)] == ["000000256.pt"]
    assert any(f"gan-export {run}" in line for line in lines)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_resumed_run_is_bit_for_bit_the_one_that_was_not_stopped(tmp_path: Path, variant: str) -> None:
    # 5,000 images in steps of 400: the second part crosses into the next pass over the data, within a step.
    settings: dict[str, Any] = {"batch_size": 400, "log_every": 2000}
    everything = {"augment": ("color", "translation", "cutout"), "instance_noise": 0.1, "instance_noise_images": 6000}
    everything |= {"dropout": 0.1, "packing": 2, "horizontal_flips": True, "optimizer": "rmsprop"}
    settings |= {"vanilla": {"label_noise": 0.1, "label_flips": 0.1}, "dcgan": everything}.get(variant, {})
    go(tmp_path / "whole", variant, images=8000, **settings)
    go(tmp_path / "parts", variant, images=4000, **settings)
    go(tmp_path / "parts", variant, images=8000, **settings)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "parts"))
    whole, parts = ((tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("whole", "parts"))
    assert [json.loads(row)["images"] for row in whole] == [json.loads(row)["images"] for row in parts]


def test_a_pass_over_the_data_sees_every_image_once(tmp_path: Path) -> None:
    from gankit_train.data import open_dataset
    from gankit_train.training.batches import Batches

    data, config = open_dataset("digits"), configure("dcgan", batch_size=300, seed=4)
    batches = Batches(data, config, torch.device("cpu"))  # three passes in steps that do not divide one
    order = np.concatenate([batches._indices(at) for at in range(0, 15_000, 300)])
    assert len(batches.held_out) == 100  # a fiftieth, which D never sees
    seen = sorted(set(range(5000)) - set(batches.held_out))
    for epoch in range(3):
        assert sorted(order[epoch * 4900 : (epoch + 1) * 4900]) == seen
    assert not np.array_equal(order[:4900], order[4900:9800])
    real, label = batches.after(0)
    assert label is None and real.shape == (300, 1, 28, 28)
    assert real.min() == -1 and real.max() == 1
    np.testing.assert_allclose(real[0, 0] * 127.5 + 127.5, data.images[order[0], :, :, 0], atol=1e-4)


def test_a_finished_run_says_so(tmp_path: Path) -> None:
    go(tmp_path, images=64)
    finished, lines = go(tmp_path, images=64)
    assert finished.images == 64 and "is finished" in lines[-1]


def test_fresh_starts_over_beside(tmp_path: Path) -> None:
    go(tmp_path / "run", images=64)
    finished, _ = go(tmp_path / "run", images=32, fresh=True)
    assert finished.run == tmp_path / "run-2" and finished.images == 32


def test_a_changed_setting_is_refused_by_name(tmp_path: Path) -> None:
    go(tmp_path, images=64)
    with pytest.raises(UsageError, match=r"--z-dim 8, now it is 9.*--fresh"):
        go(tmp_path, images=128, z_dim=9)
    with pytest.raises(UsageError, match=r"--z-dim 8, now it is 9; with --lr-g 0.0002, now it is 0.1: ask"):
        go(tmp_path, images=128, z_dim=9, lr_g=0.1)
    with pytest.raises(UsageError, match="variant dcgan, now it is cgan"):
        go(tmp_path, variant="cgan", images=128)
    go(tmp_path, images=128, log_every=32, keep=1)  # these may change


def test_a_preset_that_was_left_out_is_named(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"data": "digits", "images": 128, "batch_size": 64, "evaluate_samples": 50}
    train(configure("vanilla", preset="mnist-mlp-tanh", **settings), Silent(), tmp_path)
    with pytest.raises(UsageError, match="was begun with --preset mnist-mlp-tanh: ask for the same"):
        train(configure("vanilla", **{**settings, "images": 256}), Silent(), tmp_path)
    finished = train(configure("vanilla", preset="mnist-mlp-tanh", **{**settings, "images": 192}), Silent(), tmp_path)
    assert finished.images == 192


def test_other_data_is_refused(tmp_path: Path) -> None:
    go(tmp_path, images=64, size=(32, 32), channels=3)
    with pytest.raises(UsageError, match=r"trained on digits 32x32x3.*not on avatars 32x32x3"):
        go(tmp_path, images=128, size=(32, 32), channels=3, data="avatars")


def test_a_damaged_checkpoint_is_reported_and_the_one_before_it_taken(tmp_path: Path) -> None:
    go(tmp_path, images=128, checkpoint_every=64)
    newest, older = checkpoints.list_checkpoints(tmp_path)
    newest.write_bytes(newest.read_bytes()[:1000])
    finished, lines = go(tmp_path, images=192)
    assert any("damaged" in line and newest.name in line for line in lines)
    assert [int(p.stem) for p in checkpoints.list_checkpoints(tmp_path)] == [192, 64]  # it does not push a good one out
    assert any("resumed at 64 images" in line for line in lines) and finished.images == 192
    assert len(list((tmp_path / "checkpoints").glob("*.damaged"))) == 1  # kept for whoever can mend it
    for path in checkpoints.list_checkpoints(tmp_path):
        path.write_bytes(b"")
    for _ in range(2):  # the second time it must not start over in silence
        with pytest.raises(GankitError, match="none of the 2 checkpoints"):
            go(tmp_path, images=256)
    assert older.name == "000000064.pt"


def test_a_checkpoint_of_another_gankit_is_not_damaged(tmp_path: Path) -> None:
    go(tmp_path, images=64)
    path = checkpoints.newest_checkpoint(tmp_path)
    torch.save(torch.load(path, weights_only=True) | {"schema": 1}, path)
    with pytest.raises(GankitError, match=r"has schema 1, not 2: use the gankit that wrote it"):
        go(tmp_path, images=128)
    assert checkpoints.list_checkpoints(tmp_path) == [path]


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    _, lines = go(tmp_path / "run", dry_run=True)
    assert "dry run" in lines[-1] and not (tmp_path / "run").exists()


def test_epochs_are_passes_over_the_data(tmp_path: Path) -> None:
    assert go(tmp_path, epochs=0.05, batch_size=50, held_out=0)[0].images == 250
    assert go(tmp_path / "held", epochs=0.05, batch_size=49)[0].images == 245  # of 4,900


def test_nan_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    go(tmp_path, images=64)
    header, document = checkpoints.load_checkpoint(checkpoints.newest_checkpoint(tmp_path))
    document["D"]["body.0.weight"].fill_(float("nan"))
    torch.save(document, checkpoints.newest_checkpoint(tmp_path))
    with pytest.raises(GankitError, match=r"NaN or Inf\) by image 128; the last good checkpoint is .*000000064"):
        go(tmp_path, images=256)
    assert [p.name for p in checkpoints.list_checkpoints(tmp_path)] == ["000000064.pt"]
    assert header.images == 64
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["images"] == 128 and "loss_d" not in last
    assert last["diagnosis"][0]["sign"] == "not finite" and last["diagnosis"][0]["since"] == 128


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'owned'}",)

    torch.save({"config": Evil()}, tmp_path / "x.pt")
    with pytest.raises(GankitError, match="run code"):
        checkpoints.load_checkpoint(tmp_path / "x.pt")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_leaves_a_good_checkpoint(tmp_path: Path, number: int, code: int) -> None:
    program = Path(sys.executable).parent / "gan-train"
    line = [program, "dcgan", "--images", "100M", "--filters", "4", "--batch-size", "16", "--log-every", "32"]
    process = subprocess.Popen(line, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    run = tmp_path / "runs" / "dcgan-digits-28"
    while not ((run / "metrics.jsonl").exists() and (run / "metrics.jsonl").read_text()):
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.02)  # until the loop has begun
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode == code, errors
    assert "the same command goes on" in errors
    header, _ = checkpoints.load_checkpoint(checkpoints.newest_checkpoint(run))
    assert header.images > 0 and f"{header.images:,} images" in errors


class Interrupting(Silent):
    """A reporter during whose first progress, when a step is done and saved or not, a signal arrives."""

    def progress(self, what: str, done: int, total: int, note: str = "") -> None:
        if what == "training" and done == 32:
            signal.raise_signal(signal.SIGINT)


def test_a_signal_between_two_steps_leaves_a_checkpoint_too(tmp_path: Path) -> None:
    finished = train(configure("dcgan", **SMALL, images=640), Interrupting(), tmp_path)
    assert finished.signal == signal.SIGINT and finished.images < 640
    assert checkpoints.load_checkpoint(checkpoints.newest_checkpoint(tmp_path))[0].images == finished.images


def test_a_checkpoint_of_another_kind_of_device_goes_on(tmp_path: Path) -> None:
    go(tmp_path, images=64)
    path = checkpoints.newest_checkpoint(tmp_path)
    document = torch.load(path, weights_only=True) | {
        "noise_device": "cuda",
        "noise": torch.zeros(16, dtype=torch.uint8),
    }
    torch.save(document, path)
    assert go(tmp_path, images=128)[0].images == 128


KILLED = """
import os, signal, sys
import torch
from gankit_train.config.variants import configure
from gankit_train.training.loop import train
from tests.train.test_run import SMALL, Silent

save = torch.save
def torn(document, file):
    save(document, file)
    if document["images"] >= int(sys.argv[2]):
        file.truncate(1000)
        os.kill(os.getpid(), signal.SIGKILL)
torch.save = torn
train(configure("dcgan", **SMALL, images=320, checkpoint_every=64), Silent(), __import__("pathlib").Path(sys.argv[1]))
"""


@pytest.mark.parametrize("at", [64, 192])
def test_kill_9_while_a_checkpoint_is_written_loses_only_what_came_after_the_last(tmp_path: Path, at: int) -> None:
    root = Path(__file__).parents[2]
    killed = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "killed", str(at)], cwd=root, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [int(p.stem) for p in checkpoints.list_checkpoints(tmp_path / "killed")] == [128, 64][: at // 64 - 1]
    _, lines = go(tmp_path / "killed", images=320, checkpoint_every=64)
    assert not any("damaged" in line for line in lines)
    go(tmp_path / "whole", images=320, checkpoint_every=64)
    assert same(weights(tmp_path / "killed"), weights(tmp_path / "whole"))


def test_a_full_disk_is_one_line_and_loses_no_checkpoint(tmp_path: Path) -> None:
    import resource

    go(tmp_path, images=64)
    before = weights(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, limits[1]))  # larger files fail while they are written
    try:
        with pytest.raises(GankitError, match=r"cannot write .*000000128\.pt"):
            go(tmp_path, images=128)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert same(weights(tmp_path), before)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["000000064.pt", "best.pt"]
    assert go(tmp_path, images=128)[0].images == 128


def test_the_best_checkpoint_stays_and_is_the_nearest_to_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distances = iter([0.5, 0.3, 0.4, 0.35, 0.2])
    monkeypatch.setattr("gankit_train.metrics.functions.sliced_wasserstein", lambda sets: next(distances))

    def best() -> tuple[int, float]:
        header = checkpoints.load_checkpoint(tmp_path / "checkpoints" / "best.pt")[0]
        return header.images, header.distance

    go(tmp_path, images=192, evaluate_every=64, checkpoint_every=32)
    assert best() == (128, 0.3)
    assert checkpoints.newest_checkpoint(tmp_path).name == "000000192.pt"  # best.pt is no place to go on from
    go(tmp_path, images=256, evaluate_every=64, checkpoint_every=32)
    assert best() == (128, 0.3)  # the resumed run knows what there was
    go(tmp_path, images=320, evaluate_every=64, checkpoint_every=32)
    assert best() == (320, 0.2)
    rows = [json.loads(row) for row in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [r["sliced_wasserstein"] for r in rows if "sliced_wasserstein" in r] == [0.5, 0.3, 0.4, 0.35, 0.2]


def test_a_short_run_has_a_best_checkpoint_too(tmp_path: Path) -> None:
    go(tmp_path, images=64)
    assert checkpoints.load_checkpoint(tmp_path / "checkpoints" / "best.pt")[0].images == 64


def test_the_distance_is_measured_for_real(tmp_path: Path) -> None:
    go(tmp_path, "cgan", images=64, evaluate_every=32)
    rows = [json.loads(row) for row in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert all(0.2 < row["sliced_wasserstein"] < 3 for row in rows)  # fresh networks are far from digits


def test_tensorboard_gets_the_metrics_and_the_sheets(tmp_path: Path) -> None:
    go(tmp_path, images=64, tensorboard=True)
    go(tmp_path, images=128, tensorboard=True)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [e.step for e in events.Scalars("loss_d")] == [64, 128]
    assert [e.step for e in events.Images("samples")] == [64, 128]


def test_tensorboard_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(GankitError, match=r"--tensorboard needs .*pip install tensorboard"):
        go(tmp_path, images=64, tensorboard=True)


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # of torch.compile's own looking around
def test_compiled_networks_leave_the_same_kind_of_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []

    def compile(self: torch.nn.Module) -> None:  # noqa: A001
        compiled.append(type(self).__name__)
        self._compiled_call_impl = torch.compile(self._call_impl, backend="eager")

    monkeypatch.setattr(torch.nn.Module, "compile", compile)  # the default back end takes a minute
    go(tmp_path / "a", images=64, compile=True)
    assert compiled == ["Generator", "Discriminator"]
    go(tmp_path / "b", images=64)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    go(tmp_path / "c", "cgan", images=64, compile=True)
    assert compiled[2:] == ["Generator"]  # its D is penalised


def test_flips_mirror_half_of_the_images(tmp_path: Path) -> None:
    from gankit_train.data import open_dataset
    from gankit_train.training.batches import Batches

    data, cpu = open_dataset("digits"), torch.device("cpu")
    plain, _ = Batches(data, configure("dcgan", batch_size=500), cpu).after(500)
    config = configure("dcgan", batch_size=500, horizontal_flips=True)
    flipped, _ = Batches(data, config, cpu).after(500)
    mirrored = (flipped == plain.flip(3)).all((1, 2, 3))
    assert ((flipped == plain).all((1, 2, 3)) | mirrored).all() and 200 < mirrored.sum() < 300
    assert torch.equal(Batches(data, config, cpu).after(500)[0], flipped)


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    go(tmp_path, images=256, checkpoint_every=32, keep=3)
    assert [int(p.stem) for p in checkpoints.list_checkpoints(tmp_path)] == [256, 224, 192]


def test_bfloat16_trains_the_same_networks(tmp_path: Path) -> None:
    from gankit_train.compute.devices import pick_precision

    if not pick_precision("auto", torch.device("cpu"))._enabled:
        with pytest.raises(GankitError, match="bf16 is not supported"):
            go(tmp_path, images=64, precision="bf16")
        return
    go(tmp_path, images=64, precision="bf16", variant="cgan")
    assert all(t.dtype == torch.float32 for t in weights(tmp_path)["G"].values() if t.is_floating_point())


@pytest.mark.parametrize(("text", "count"), [("64", 64), ("50k", 50_000), ("2M", 2_000_000), ("1.5k", 1500)])
def test_counts(text: str, count: int) -> None:
    assert parse_count(text) == count


def test_sizes_are_width_by_height() -> None:
    assert parse_size("64") == (64, 64) and parse_size("48x64") == (64, 48)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["biggan"], 2, ["'biggan'", "vanilla, dcgan, wgan-gp, cgan"]),
        (["dcgan", "--data", "nowhere"], 2, ["'nowhere'", "digits, bricks, avatars"]),
        (["dcgan", "--images", "many"], 2, ["'many'", "50k"]),
        (["dcgan", "--images", "0"], 2, ["--images must be at least 1"]),
        (["dcgan", "--images", "1k", "--epochs", "1"], 2, ["--images", "--epochs"]),
        (["dcgan", "--size", "big"], 2, ["'big'"]),
        (["dcgan", "--attribute", "x"], 2, ["--attribute", "cgan"]),
        (["dcgan", "--size", "0"], 2, ["0x0", "at least 6"]),
        (["dcgan", "--size", "5"], 2, ["5x5", "at least 6"]),
        (["dcgan", "--channels", "2"], 2, ["--channels is one of 1, 3, not 2"]),
        (["dcgan", "--batch-size", "100000"], 2, ["--batch-size 100000", "5000 images"]),
        (["dcgan", "--batch-size", "1"], 2, ["--batch-size", "2"]),
        (["dcgan", "--ema", "1"], 2, ["--ema"]),
        (["dcgan", "--lr-g", "nan"], 2, ["--lr-g"]),
        (["dcgan", "--precision", "fp8"], 2, ["--precision", "bf16"]),
        (["dcgan", "--out", "file/run"], 1, ["cannot write"]),
        (["vanilla", "--preset", "mnist-mlp-tahn"], 2, ["'mnist-mlp-tahn'", "mnist-mlp-tanh", "gan-train presets"]),
        (["dcgan", "--preset", "celeba-wgan-gp"], 2, ["a preset of wgan-gp", "gan-train wgan-gp --preset"]),
        (["dcgan", "--size", "27", "--g-kernels", "5"], 2, ["27 pixels", "24 and 32 can"]),
        (["dcgan", "--g-widths", "a,b"], 2, ["'a,b'", "256,512"]),
        (["dcgan", "--packing", "7"], 2, ["--batch-size 64", "--packing 7"]),
        (["dcgan", "--packing", "64"], 2, ["--batch-size 64", "--packing 64"]),
        (["dcgan", "--seed", "18446744073709551616"], 2, ["--seed"]),
        (["dcgan", "--lr-g", "inf"], 2, ["--lr-g"]),
    ],
)
def test_wrong_use_is_one_clear_line(
    command: Command, tmp_path: Path, arguments: list[str], code: int, words: list[str]
) -> None:
    (tmp_path / "file").write_text("")
    refused(command("gan-train", *arguments), code, *words)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_cgan_needs_labels(command: Command, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "plain" / "0.png")
    refused(command("gan-train", "cgan", "--data", "plain"), 2, "needs labels", "folder of its own")


def test_cuda_is_cuda_or_an_error(command: Command) -> None:
    if torch.cuda.is_available():
        assert "NVIDIA" in command("gan-train", "dcgan", "--device", "cuda", "--dry-run").stderr
    else:
        refused(command("gan-train", "dcgan", "--device", "cuda"), 1, "--device cuda cannot be had")


def test_presets_are_listed_and_overridden(command: Command, tmp_path: Path) -> None:
    listed = command("gan-train", "presets").stdout.splitlines()
    assert [line.split()[0] for line in listed] == list(PRESETS) and all(len(line) > 50 for line in listed)
    line = ["gan-train", "vanilla", "--preset", "mnist-mlp-tanh", "--data", "digits", "--lr-d", "0.001"]
    shown = command(*line, "--dry-run").stderr
    assert "lr_d=0.001" in shown and "z_dim=64" in shown and "preset=mnist-mlp-tanh" in shown
    assert "run       runs/mnist-mlp-tanh-digits-28" in shown


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_takes_a_step(name: str, tmp_path: Path) -> None:
    preset = PRESETS[name]
    for i in range(8):
        path = tmp_path / "pictures" / ("blond_hair", "other")[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (70, 64), (30 * i, 20, 90)).save(path)
    overrides: dict[str, Any] = {
        "data": str(tmp_path / "pictures"),
        "batch_size": 4,
        "precision": "float32",
        "images": 4,
        "measures": ("sliced_wasserstein",),  # those of labels need more images
    }
    config = configure(preset.variant, preset=name, **overrides)
    report = Silent()
    train(config, report, tmp_path / "run", dry_run=True)
    assert "dry run" in report.lines[-1]
    assert config.run.epochs is None and config.run.images == 4  # what is asked for wins over the preset's length
    for setting, value in preset.settings.items():
        assert setting in {*overrides, "epochs"} or getattr(config, setting) == value


def test_help_names_every_set(command: Command) -> None:
    shown = " ".join(command("gan-train", "--help").stdout.split()).replace("- ", "-")
    assert all(name in shown for name in BUILT_IN)
