"""Fixtures of the benchmarks' tests."""

import sys
from collections.abc import Callable
from itertools import count

import pytest

from benchmarks import cli, roofline, worker
from benchmarks.suites import serving
from tests.helpers.commands import Result


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Runs `python -m benchmarks` with these arguments; each measurement still runs in its own process."""

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["benchmarks", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return Result(int(end.value.code or 0), *capfd.readouterr())

    return run


@pytest.fixture(params=["this processor", "a processor without bfloat16"])
def openvino_precisions(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The precisions that OpenVINO has in the processes of measurements: here, and without support for bfloat16."""
    if request.param == "a processor without bfloat16":
        monkeypatch.setattr(worker, "_MODULE", "tests.benchmarks.worker_without_bfloat16")
    precisions = worker.run_in_process(roofline.openvino_precisions, 1, "cpu")
    assert precisions == ["float32"] or request.param == "this processor"
    return list(precisions)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock for the suite serving that advances by a millisecond at each reading, however busy the machine is.

    A request reads it two or three times. So of the 1000 readings of a second, at least 1000 - 4·64 belong to requests
    of 64 callers that begin and end in it; the others are at its two ends.
    """
    readings = count(0, 0.001)
    monkeypatch.setattr(serving, "perf_counter", lambda: next(readings))
