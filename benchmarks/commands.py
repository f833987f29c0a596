"""Runs gankit's commands as whole processes, as a user starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from benchmarks.measurement import FailedError
from benchmarks.options import Options
from benchmarks.worker import last_line, process_environment

# Code instead of console scripts, so that a checkout on PYTHONPATH can be measured without installing it.
_PROGRAMS = {
    "gan-train": "from gankit_train.cli import main; main()",
    "gan-export": "from gankit_export.cli import main; main()",
    "gan-gen": "from gankit._cli import main; main()",
}


class Usage(NamedTuple):
    """What a process used."""

    seconds: float
    """Wall-clock time."""
    peak_memory: float
    """Peak resident memory, in bytes."""


def run_command(line: tuple[object, ...], options: Options, folder: str | Path) -> Usage:
    """Runs a command in `folder` and measures it.

    Args:
        line: The program's name, such as `gan-gen`, and its arguments.

    Raises:
        FailedError: the command ended with an error.
    """
    program, *arguments = map(str, line)
    begin = perf_counter()
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAMS[program], *arguments],
        cwd=folder,
        env=process_environment(options.threads, options.device),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        errors = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise FailedError(f"{program} ended with code {process.returncode}: {last_line(errors)}")
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
    return Usage(perf_counter() - begin, float(usage.ru_maxrss * unit))
