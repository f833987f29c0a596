"""Commands in processes of their own, and several processes that torchrun starts."""

import subprocess
import sys
from pathlib import Path

GAN_TRAIN = Path(sys.executable).parent / "gan-train"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def run_process(*line: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end and returns its exit code and output."""
    return subprocess.run(list(map(str, line)), cwd=cwd, capture_output=True, text=True, check=False)


def stderr_of(*line: object, cwd: Path) -> str:
    """Runs a command that must succeed and returns what it wrote to standard error."""
    done = run_process(*line, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stderr
