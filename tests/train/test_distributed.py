"""More than one process: real ones, that exchange gradients through gloo."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gankit._errors import GankitError, UsageError
from gankit_train.compute.distributed import ProcessGroup
from gankit_train.models import checkpoints
from tests.train import share_a_batch

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def run(*line: object, cwd: Path) -> str:
    done = subprocess.run(list(map(str, line)), cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_two_processes_compute_what_one_does_with_all_images(tmp_path: Path) -> None:
    run(*TORCHRUN, share_a_batch.__file__, tmp_path / "two.pt", cwd=tmp_path)
    share_a_batch.main(tmp_path / "one.pt")
    two, one = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("two", "one"))
    assert two.keys() == one.keys() == share_a_batch.CASES.keys()
    for name in one:
        for network, weights in one[name].items():
            for each, value in weights.items():
                torch.testing.assert_close(two[name][network][each], value, rtol=0, atol=1e-6, msg=f"{name} {each}")


def test_torchrun_trains_one_run_that_one_process_can_resume(tmp_path: Path) -> None:
    program = Path(sys.executable).parent / "gan-train"
    command = [program, "cgan", "--filters", 4, "--batch-size", 16, "--out", "run", "--log-every", 64]
    shown = run(*TORCHRUN, "--no-python", *command, "--images", 128, cwd=tmp_path)
    assert "2 processes" in shown and shown.count("gan-export run") == 1  # the second one keeps quiet
    assert [path.name for path in checkpoints.list_checkpoints(tmp_path / "run")] == ["000000128.pt"]
    rows = [json.loads(row) for row in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["images"] for row in rows] == [64, 128]
    assert "resumed at 128 images" in run(*command, "--images", 192, cwd=tmp_path)


APART = """
import os, signal, sys
from pathlib import Path
from gankit_train.cli import main
sys.argv = ["gan-train", "dcgan", "--filters", "4", "--batch-size", "8", "--images", "100M", "--log-every", "10M"]
sys.argv += ["--out", "run"]
if sys.argv_extra == "settings":
    sys.argv += ["--seed", os.environ["RANK"]]
else:
    from gankit_train.training import loop
    step, calls = loop.step, []
    def counted(*arguments):
        calls.append(0)
        if len(calls) == 20 and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGTERM)
        return train_step(*arguments)
    loop.step = counted
main()
"""


def test_processes_with_other_settings_are_refused_once(tmp_path: Path) -> None:
    (tmp_path / "apart.py").write_text(APART.replace("sys.argv_extra", "'settings'"))
    done = subprocess.run([*TORCHRUN, "apart.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and not (tmp_path / "run").exists()


def test_a_signal_to_any_process_stops_all_of_them_with_a_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "apart.py").write_text(APART.replace("sys.argv_extra", "'signal'"))
    assert "stopped at 256 images" in run(*TORCHRUN, "apart.py", cwd=tmp_path)  # they ask each other every 16 steps
    assert checkpoints.newest_checkpoint(tmp_path / "run").name == "000000256.pt"


def test_an_error_of_the_first_process_reaches_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[object] = []
    monkeypatch.setattr(
        "gankit_train.compute.distributed.dist.broadcast_object_list", lambda box, source: sent.append(box[0])
    )

    def fail() -> None:
        raise UsageError("no such data")

    with pytest.raises(UsageError, match="no such data"):
        ProcessGroup(0, 2).broadcast_object(fail)
    assert isinstance(sent[0], tuple) and isinstance(sent[0][1], UsageError)


def test_weights_that_came_apart_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gankit_train.compute.distributed.dist.broadcast", lambda tensor, source: tensor.add_(1e-9))
    monkeypatch.setattr("gankit_train.compute.distributed.dist.all_reduce", lambda tensor: None)
    with pytest.raises(GankitError, match="weights have come apart"):
        ProcessGroup(1, 2).agree([torch.nn.Linear(2, 2)])


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UsageError, match=r"--batch-size 64 cannot be shared by 3 processes .* multiple of 3"):
        init_distributed("cpu", 64, 1)
    monkeypatch.setenv("WORLD_SIZE", "128")
    with pytest.raises(UsageError, match="cannot be shared by 128 processes"):
        init_distributed("cpu", 64, 1)


def test_alone_nothing_is_exchanged() -> None:
    assert init_distributed("cpu", 64, 1) == ProcessGroup() and ProcessGroup().rows(7) == slice(0, 7)
    assert [ProcessGroup(r, 4).rows(64) for r in range(4)] == [slice(i, i + 16) for i in (0, 16, 32, 48)]
