"""Training with several processes: real ones, which exchange gradients through gloo."""

import re
from pathlib import Path

import pytest
import torch

from gankit._errors import GankitError, UsageError
from gankit_train.compute.distributed import ProcessGroup, init_distributed
from gankit_train.models.checkpoints import list_checkpoints, newest_checkpoint
from tests.helpers import shared_batches
from tests.helpers.paths import ROOT
from tests.helpers.processes import GAN_TRAIN, TORCHRUN, run_process, stderr_of
from tests.helpers.training import read_metrics


def test_two_processes_compute_what_one_does_with_all_images(tmp_path: Path) -> None:
    stderr_of(*TORCHRUN, "--module", shared_batches.__name__, tmp_path / "two.pt", cwd=ROOT)
    shared_batches.main(tmp_path / "one.pt")
    two, one = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("two", "one"))
    assert two.keys() == one.keys() == shared_batches.CASES.keys()
    for name in one:
        for network, weights in one[name].items():
            for each, value in weights.items():
                torch.testing.assert_close(two[name][network][each], value, rtol=0, atol=1e-6, msg=f"{name} {each}")


def test_torchrun_trains_one_run_that_one_process_can_resume(tmp_path: Path) -> None:
    command = [GAN_TRAIN, "cgan", "--filters", 4, "--batch-size", 16, "--out", "run", "--log-every", 64]
    command += ["--evaluate-samples", 50]
    reported = stderr_of(*TORCHRUN, "--no-python", *command, "--images", 128, cwd=tmp_path)
    # Only the main process reports and writes.
    assert "2 processes" in reported and reported.count("gan-export run") == reported.count("report.html") == 1
    assert [path.name for path in list_checkpoints(tmp_path / "run")] == ["000000128.pt"]
    assert [row["images"] for row in read_metrics(tmp_path / "run")] == [64, 128]
    assert "resumed at 128 images" in stderr_of(*command, "--images", 192, cwd=tmp_path)


# Errors and signals of some of the processes

PROGRAM = """
import os, signal, sys
import torch
from gankit_train.cli import main
from gankit_train.training import loop

RANK = int(os.environ["RANK"])
step, calls = loop.train_step, []
def interrupted_step(*arguments):
    calls.append(0)
    if len(calls) == 20 and RANK == 1:
        os.kill(os.getpid(), signal.SIGTERM)
    return step(*arguments)
sys.argv = "gan-train dcgan --filters 4 --batch-size 8 --images 100M --log-every 10M --out run".split()
CHANGE
main()
"""


def run_changed(change: str, cwd: Path) -> tuple[int, str]:
    """Runs `gan-train` in two processes with a changed program; returns the exit code and the error output."""
    (cwd / "program.py").write_text(PROGRAM.replace("CHANGE", change))
    done = run_process(*TORCHRUN, "program.py", cwd=cwd)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ('sys.argv += ["--z-dim", str(10 + RANK)]', "process 1 has different settings or data from process 0"),
        (
            "torch.cuda.is_available, torch.cuda.device_count = lambda: True, lambda: 1",
            "there are 1 GPUs on this machine: use torchrun --nproc-per-node 1, not 2",
        ),
    ],
    ids=["settings", "gpus"],
)
def test_an_error_of_some_processes_is_reported_exactly_once(tmp_path: Path, change: str, reason: str) -> None:
    code, errors = run_changed(change, tmp_path)
    assert code != 0 and errors.count(reason) == 1, errors
    assert "Traceback" not in errors.split(reason)[0] and not (tmp_path / "run").exists()


def test_a_signal_to_any_process_stops_all_of_them_with_a_checkpoint(tmp_path: Path) -> None:
    code, errors = run_changed("loop.train_step = interrupted_step", tmp_path)
    assert code != 0 and re.search(r"exitcode\s*: 143", errors), errors
    assert errors.count("stopped at 256 images") == 1  # 32 steps: they ask each other every 16 steps
    assert newest_checkpoint(tmp_path / "run").name == "000000256.pt"


def test_a_missing_gpu_is_an_error_of_every_process_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    for rank in range(4):
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        with pytest.raises(UsageError, match="there are 2 GPUs on this machine: use torchrun --nproc-per-node 2"):
            init_distributed("auto", 64, 1)


# One process at a time


def test_an_error_of_the_main_process_reaches_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[object] = []
    monkeypatch.setattr(
        "gankit_train.compute.distributed.dist.broadcast_object_list", lambda box, source: sent.append(box[0])
    )

    def fail() -> None:
        raise UsageError("no such data")

    with pytest.raises(UsageError, match="no such data"):
        ProcessGroup(0, 2).broadcast_object(fail)
    assert isinstance(sent[0], tuple) and isinstance(sent[0][1], UsageError)


def test_different_weights_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gankit_train.compute.distributed.dist.broadcast", lambda tensor, source: tensor.add_(1e-9))
    monkeypatch.setattr("gankit_train.compute.distributed.dist.all_reduce", lambda tensor: None)
    with pytest.raises(GankitError, match="weights of the processes differ"):
        ProcessGroup(1, 2).check_weights([torch.nn.Linear(2, 2)])


def test_a_batch_that_cannot_be_divided_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UsageError, match=r"--batch-size 64 cannot be divided among 3 processes .* multiple of 3"):
        init_distributed("cpu", 64, 1)
    monkeypatch.setenv("WORLD_SIZE", "128")
    with pytest.raises(UsageError, match="cannot be divided among 128 processes"):
        init_distributed("cpu", 64, 1)


def test_a_single_process_joins_no_group() -> None:
    assert init_distributed("cpu", 64, 1) == ProcessGroup() and ProcessGroup().local_slice(7) == slice(0, 7)
    slices = [ProcessGroup(rank, 4).local_slice(64) for rank in range(4)]
    assert slices == [slice(i, i + 16) for i in (0, 16, 32, 48)]
