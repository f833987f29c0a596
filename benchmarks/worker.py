"""Runs one measurement in its own process, so that no implementation affects the next.

`run_in_process` starts `python -m benchmarks.worker MODULE:FUNCTION ARGUMENTS`, which prints the result as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.measurement import FailedError, UnavailableError
from benchmarks.options import Options
from gankit._errors import one_line

T = TypeVar("T")

ROOT = Path(__file__).parents[1]
TIMEOUT = 900.0
"""Seconds after which a process is stopped; no measurement comes near it."""
_MODULE = "benchmarks.worker"
_START_VARIABLE = "GANKIT_BENCHMARK_START"


def process_environment(threads: int, device: str) -> dict[str, str]:
    """Environment variables of a process that computes with `threads` threads and, on the device `cpu`, on no GPU."""
    thread_counts = {f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "MKL", "OPENBLAS")}
    gpu = {"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {"LD_LIBRARY_PATH": _cuda_library_path()}
    return {**os.environ, **thread_counts, **gpu, _START_VARIABLE: repr(time.monotonic())}


@cache
def _cuda_library_path() -> str:
    """The folders of the CUDA libraries that came with torch, where ONNX Runtime would not look by itself."""
    spec = find_spec("nvidia")
    roots = [Path(root) for root in spec.submodule_search_locations or ()] if spec else []
    folders = [str(folder) for root in roots for folder in sorted(root.glob("*/lib"))]
    return os.pathsep.join([*folders, *filter(None, [os.environ.get("LD_LIBRARY_PATH")])])


def run_in_process(function: Callable[..., T], threads: int, device: str, /, **arguments: Any) -> T:
    """Calls `function(**arguments)` in its own process and returns the result.

    Args:
        function: A function at the top level of a module.
        threads: Number of threads that the libraries in that process use.
        device: `cpu` or `cuda`.
        arguments: Values that JSON can hold, as the result must be.

    Raises:
        UnavailableError: a package or a device that the function needs is missing.
        FailedError: the function raised another error, crashed, or took more than `TIMEOUT` seconds.
    """
    name = f"{function.__module__}:{function.__qualname__}"
    line = [sys.executable, "-m", _MODULE, name, json.dumps(arguments)]
    environment = process_environment(threads, device)
    try:
        done = subprocess.run(
            line, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        raise FailedError(f"it did not end within {TIMEOUT:.0f} s") from None
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        raise FailedError(f"its process ended with code {done.returncode}: {last_line(done.stderr)}") from None
    if "unavailable" in answer:
        raise UnavailableError(answer["unavailable"])
    if "failed" in answer:
        raise FailedError(answer["failed"])
    value: T = answer["value"]
    return value


def measure_in_process(function: Callable[..., T], options: Options, /, **arguments: Any) -> T:
    """Calls `function(device=…, threads=…, **arguments)`, with those of the options, as `run_in_process` does."""
    threads, device = options.threads, options.device
    return run_in_process(function, threads, device, device=device, threads=threads, **arguments)


def last_line(output: str) -> str:
    """The last line of a program's output, at most 200 characters: usually the reason why it failed."""
    return (output.strip().splitlines() or ["it printed nothing"])[-1][:200]


def seconds_since_start() -> float:
    """Seconds since the parent started this process: Python's start and all imports included."""
    return time.monotonic() - float(os.environ[_START_VARIABLE])


def peak_memory() -> float:
    """The peak resident memory of this process, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count the parent's memory before exec as well
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return 1024.0 * int(line.split()[1])
    import resource

    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # bytes on macOS, which has no /proc


def _answer(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Calls the function MODULE:FUNCTION; the result or the reason for having none."""
    module, function = name.split(":")
    try:
        return {"value": getattr(import_module(module), function)(**arguments)}
    except (UnavailableError, ImportError) as reason:
        return {"unavailable": one_line(reason)}
    except FailedError as reason:
        return {"failed": str(reason)}
    except Exception as error:  # any library may raise anything
        return {"failed": f"{type(error).__name__}: {one_line(error)}"}


def main() -> None:
    """Prints the answer as JSON. Nothing else reaches standard output: other prints go to standard error."""
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)
        json.dump(_answer(sys.argv[1], json.loads(sys.argv[2])), out)


if __name__ == "__main__":
    main()
