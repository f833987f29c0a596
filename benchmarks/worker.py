"""One measurement in one process: `python -m benchmarks.worker MODULE:FUNCTION ARGUMENTS`, and how to ask for it.

Nothing is imported there but what is measured, and nothing that one way leaves behind can help or hinder the next.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.rounds import FailedError, MissingError

ROOT = Path(__file__).parents[1]
_MODULE = "benchmarks.worker"
_BEGUN = "GANKIT_BENCHMARK_BEGUN"
LIMIT = 900.0  # seconds, which no measurement comes near


def environment(threads: int, device: str) -> dict[str, str]:
    """For a process that computes on so many threads, and on no GPU where none was asked for."""
    fixed = {f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "MKL", "OPENBLAS")}
    found = {"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {"LD_LIBRARY_PATH": _cuda_libraries()}
    return {**os.environ, **fixed, **found, _BEGUN: repr(time.monotonic())}


@cache
def _cuda_libraries() -> str:
    """Where CUDA's libraries are that came with torch: ONNX Runtime looks only beside itself and there."""
    spec = find_spec("nvidia")
    roots = [Path(root) for root in spec.submodule_search_locations or ()] if spec else []
    folders = [str(folder) for root in roots for folder in sorted(root.glob("*/lib"))]
    return os.pathsep.join([*folders, *filter(None, [os.environ.get("LD_LIBRARY_PATH")])])


def call(function: str, threads: int, device: str, /, **arguments: Any) -> Any:
    """What `function`, written module:name, returns in a process of its own; arguments and result are JSON.

    Raises:
        MissingError: it needs what is not installed, or a device that is not there.
        FailedError: it raised anything else, crashed, or took more than `LIMIT` seconds.
    """
    line = [sys.executable, "-m", _MODULE, function, json.dumps(arguments)]
    try:
        done = subprocess.run(
            line, env=environment(threads, device), cwd=ROOT, capture_output=True, text=True, timeout=LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        raise FailedError(f"it did not end within {LIMIT:.0f} s") from None
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        raise FailedError(f"its process ended with code {done.returncode}: {last_line(done.stderr)}") from None
    if "missing" in answer:
        raise MissingError(answer["missing"])
    if "failed" in answer:
        raise FailedError(answer["failed"])
    return answer["value"]


def last_line(said: str) -> str:
    """Where a program that failed says why."""
    return (said.strip().splitlines() or ["it said nothing"])[-1][:200]


def since_start() -> float:
    """Seconds since this process was asked for, its own start and imports included."""
    return time.monotonic() - float(os.environ[_BEGUN])


def peak_memory() -> float:
    """The most bytes of memory that this process has held. What `getrusage` says counts its parent's as well."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return 1024.0 * int(line.split()[1])
    import resource

    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # in bytes on a Mac, which has no /proc


def _answer(function: str, arguments: dict[str, Any]) -> dict[str, Any]:
    from gankit._errors import one_line

    module, name = function.split(":")
    try:
        return {"value": getattr(import_module(module), name)(**arguments)}
    except (MissingError, ImportError) as reason:
        return {"missing": one_line(reason)}
    except FailedError as reason:
        return {"failed": str(reason)}
    except Exception as error:  # of whatever library is measured
        return {"failed": f"{type(error).__name__}: {one_line(error)}"}


def main() -> None:
    """The answer is all that comes on standard output; what libraries print goes to standard error."""
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)
        json.dump(_answer(sys.argv[1], json.loads(sys.argv[2])), out)


if __name__ == "__main__":
    main()
