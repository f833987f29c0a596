"""Ctrl-C and SIGTERM: a checkpoint, and an exit code that a scheduler understands."""

import signal
import subprocess
import time
from pathlib import Path

import pytest

from gankit_train.config.variants import configure
from gankit_train.models.checkpoints import load_checkpoint, newest_checkpoint
from gankit_train.training.loop import train
from tests.helpers.processes import GAN_TRAIN
from tests.helpers.training import SMALL, LineReporter


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_the_command_with_a_checkpoint_and_its_exit_code(tmp_path: Path, number: int, code: int) -> None:
    line = [GAN_TRAIN, "dcgan", "--images", "100M", "--filters", "4", "--batch-size", "16", "--log-every", "32"]
    process = subprocess.Popen(line, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    run = tmp_path / "runs" / "dcgan-digits-28"
    while not ((run / "metrics.jsonl").exists() and (run / "metrics.jsonl").read_text()):
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.02)  # until the loop has begun
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode == code, errors
    assert "the same command resumes" in errors and "Traceback" not in errors
    info, _ = load_checkpoint(newest_checkpoint(run))
    assert info.images > 0 and f"{info.images:,} images" in errors


class InterruptingReporter(LineReporter):
    """Sends a signal during the first report of progress, between two steps."""

    def progress(self, task: str, done: int, total: int, note: str = "") -> None:
        if task == "training" and done == 32:
            signal.raise_signal(signal.SIGINT)


def test_a_signal_between_two_steps_leaves_a_checkpoint_too(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    result = train(configure("dcgan", **SMALL, images=640), InterruptingReporter(), tmp_path)
    assert result.signal == signal.SIGINT and result.images < 640
    assert load_checkpoint(newest_checkpoint(tmp_path))[0].images == result.images
    assert signal.getsignal(signal.SIGINT) == before  # the program has its own handler again
