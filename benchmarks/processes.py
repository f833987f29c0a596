"""gankit's commands as a user starts them, timed as whole processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from time import perf_counter

from benchmarks.options import Options
from benchmarks.rounds import FailedError
from benchmarks.worker import environment, last_line

_MAINS = {"gan-train": "gankit_train.cli", "gan-export": "gankit_export.cli", "gan-gen": "gankit._cli"}


def command(program: str) -> list[str]:
    """What its console script does, also where gankit is not installed but only on the path."""
    return [sys.executable, "-c", f"from {_MAINS[program]} import main; main()"]


def seconds_of(line: tuple[object, ...], options: Options, folder: str | Path) -> tuple[float, float]:
    """Seconds that a command took, and the most bytes of memory that it held.

    Raises:
        FailedError: it ended with an error.
    """
    program, *arguments = map(str, line)
    begin = perf_counter()
    with subprocess.Popen(
        [*command(program), *arguments],
        cwd=folder,
        env=environment(options.threads, options.device),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise FailedError(f"{program} ended with code {process.returncode}: {last_line(said)}")
    return perf_counter() - begin, float(usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))
