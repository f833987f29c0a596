"""Resuming a run: bit-exactly, from intact checkpoints only, and never with other settings or data."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gankit._errors import GankitError, UsageError
from gankit_train.config.variants import VARIANTS, configure
from gankit_train.models.checkpoints import list_checkpoints, load_checkpoint, newest_checkpoint
from gankit_train.training.loop import train
from tests.helpers.datasets import random_images
from tests.helpers.paths import ROOT
from tests.helpers.training import LineReporter, load_state, read_metrics, states_equal, train_small


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_resumed_run_equals_an_uninterrupted_one_bit_by_bit(tmp_path: Path, variant: str) -> None:
    # An epoch of 1,000 images in steps of 80: the second part crosses into the next epoch within a step.
    settings: dict[str, Any] = {"held_out": 4000, "batch_size": 80, "log_every": 400}
    everything = {"augment": ("color", "translation", "cutout"), "instance_noise": 0.1}
    everything |= {"dropout": 0.1, "packing": 2, "horizontal_flips": True, "optimizer": "rmsprop"}
    settings |= {"vanilla": {"label_noise": 0.1, "label_flips": 0.1}, "dcgan": everything}.get(variant, {})
    train_small(tmp_path / "whole", variant, images=1600, **settings)
    train_small(tmp_path / "parts", variant, images=800, **settings)
    train_small(tmp_path / "parts", variant, images=1600, **settings)
    assert states_equal(load_state(tmp_path / "whole"), load_state(tmp_path / "parts"))
    whole, parts = (read_metrics(tmp_path / name) for name in ("whole", "parts"))
    assert [row["images"] for row in whole] == [row["images"] for row in parts]


# What must not change


def test_a_changed_setting_is_refused_by_name(tmp_path: Path) -> None:
    train_small(tmp_path, images=64)
    with pytest.raises(UsageError, match=r"--z-dim 8, now 9.*--fresh"):
        train_small(tmp_path, images=128, z_dim=9)
    with pytest.raises(UsageError, match=r"--z-dim 8, now 9; with --lr-g 0.0002, now 0.1: use the same"):
        train_small(tmp_path, images=128, z_dim=9, lr_g=0.1)
    with pytest.raises(UsageError, match="variant dcgan, now cgan"):
        train_small(tmp_path, variant="cgan", images=128)
    train_small(tmp_path, images=128, log_every=32, keep=1)  # these may change


def test_a_variant_with_the_same_settings_is_another_variant(tmp_path: Path) -> None:
    train_small(tmp_path, images=64)
    general = {name: configure("dcgan").values()[name] for name in VARIANTS["wgan-gp"]}
    with pytest.raises(UsageError, match="trained with variant dcgan, now wgan-gp: use the same"):
        train_small(tmp_path, "wgan-gp", images=128, **general)


def test_a_preset_that_is_missing_is_named(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"data": "digits", "images": 128, "batch_size": 64, "evaluate_samples": 50}
    train(configure("vanilla", preset="mnist-mlp-tanh", **settings), LineReporter(), tmp_path)
    with pytest.raises(UsageError, match="was started with --preset mnist-mlp-tanh: use the same"):
        train(configure("vanilla", **{**settings, "images": 256}), LineReporter(), tmp_path)
    longer = configure("vanilla", preset="mnist-mlp-tanh", **{**settings, "images": 192})
    assert train(longer, LineReporter(), tmp_path).images == 192


def test_other_data_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "other.npy", random_images(100, 32, 32, 3))
    train_small(tmp_path / "run", images=64, size=(32, 32), channels=3)
    with pytest.raises(UsageError, match=r"trained on digits 32x32x3.*not on other 32x32x3"):
        train_small(tmp_path / "run", images=128, data=str(tmp_path / "other.npy"))


# Checkpoints that cannot be used


def test_a_damaged_checkpoint_is_reported_and_the_one_before_it_used(tmp_path: Path) -> None:
    train_small(tmp_path, images=128, checkpoint_every=64)
    newest, older = list_checkpoints(tmp_path)
    newest.write_bytes(newest.read_bytes()[:1000])
    _, lines = train_small(tmp_path, images=192, dry_run=True)
    assert any("damaged" in line for line in lines) and list_checkpoints(tmp_path) == [newest, older]
    result, lines = train_small(tmp_path, images=192)
    assert any("damaged" in line and newest.name in line for line in lines)
    # The damaged file does not count as one of the checkpoints to keep.
    assert [int(p.stem) for p in list_checkpoints(tmp_path)] == [192, 64]
    assert any("resumed at 64 images" in line for line in lines) and result.images == 192
    assert len(list((tmp_path / "checkpoints").glob("*.damaged"))) == 1
    for path in list_checkpoints(tmp_path):
        path.write_bytes(b"")
    for _ in range(2):  # the second time, it must not start from the beginning in silence
        with pytest.raises(GankitError, match=r"all 2 checkpoints in .* are damaged"):
            train_small(tmp_path, images=256)
    assert older.name == "000000064.pt"


def test_a_checkpoint_that_runs_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'owned'}",)

    torch.save({"config": Evil()}, tmp_path / "x.pt")
    with pytest.raises(GankitError, match="run code"):
        load_checkpoint(tmp_path / "x.pt")
    assert not (tmp_path / "owned").exists()


def test_a_checkpoint_of_another_kind_of_device_can_be_resumed(tmp_path: Path) -> None:
    train_small(tmp_path, images=64)
    path = newest_checkpoint(tmp_path)
    cuda = {"random_device": "cuda", "random_state": torch.zeros(16, dtype=torch.uint8)}
    torch.save(torch.load(path, weights_only=True) | cuda, path)
    assert train_small(tmp_path, images=128)[0].images == 128


# Accidents

KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from tests.helpers.training import train_small

save = torch.save
def save_half(document, file):
    save(document, file)
    if document["images"] >= int(sys.argv[2]):
        file.truncate(1000)
        os.kill(os.getpid(), signal.SIGKILL)
torch.save = save_half
train_small(Path(sys.argv[1]), images=320, checkpoint_every=64)
"""


@pytest.mark.parametrize("at", [64, 192])
def test_a_kill_while_a_checkpoint_is_written_loses_only_the_images_since_the_last_one(tmp_path: Path, at: int) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "killed", str(at)], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [int(p.stem) for p in list_checkpoints(tmp_path / "killed")] == [128, 64][: at // 64 - 1]
    _, lines = train_small(tmp_path / "killed", images=320, checkpoint_every=64)
    assert not any("damaged" in line for line in lines)
    train_small(tmp_path / "whole", images=320, checkpoint_every=64)
    assert states_equal(load_state(tmp_path / "killed"), load_state(tmp_path / "whole"))


def test_a_full_disk_is_one_clear_error_and_loses_no_checkpoint(tmp_path: Path) -> None:
    train_small(tmp_path, images=64)
    before = load_state(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, limits[1]))  # writing a larger file fails
    try:
        with pytest.raises(GankitError, match=r"cannot write .*000000128\.pt"):
            train_small(tmp_path, images=128)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert states_equal(load_state(tmp_path), before)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["000000064.pt", "best.pt"]
    assert train_small(tmp_path, images=128)[0].images == 128
