"""Runs the console scripts inside the test process."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """What a command did."""

    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., Result]


def refused(result: Result, code: int, *words: str) -> None:
    """Asserts that a command ended with this code and one clear line that has these words."""
    assert result.returncode == code, result.stderr
    line = result.stderr.strip().splitlines()[-1]
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in line, line
