"""What a run shows in a terminal: progress bars with speed and time left, or plain lines where there is no terminal."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from rich.console import Console as RichConsole
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from gankit.errors import MissingExtraError

_PLAIN_SECONDS = 15  # between two lines of progress where there is no terminal


class Reporter:
    """What a run tells while it runs: nothing here; `gan-train` draws progress bars, a program may do what it likes."""

    def line(self, text: str) -> None:
        """One line worth reading."""

    def progress(self, what: str, done: int, total: int, note: str = "") -> None:
        """How far it is."""


class Console(Reporter):
    """Tells it with rich."""

    def __init__(self) -> None:
        self._console = RichConsole(stderr=True, highlight=False, soft_wrap=True)
        columns = (TextColumn("{task.description:10}"), BarColumn(), TextColumn("{task.percentage:3.0f} %"))
        self._bars = Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[note]}"), console=self._console)
        self._tasks: dict[str, TaskID] = {}
        self._last = time.monotonic()

    def __enter__(self) -> Console:
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def line(self, text: str) -> None:
        """Prints above the bars."""
        self._console.print(text, markup=False)

    def progress(self, what: str, done: int, total: int, note: str = "") -> None:
        """Moves a bar, or now and then prints a line where there is no terminal."""
        if self._console.is_terminal:
            if what not in self._tasks:
                self._bars.start()
                self._tasks[what] = self._bars.add_task(what, total=total, note="")
            self._bars.update(self._tasks[what], completed=done, note=note)
        elif done >= total or time.monotonic() - self._last > _PLAIN_SECONDS:
            self._last = time.monotonic()
            self.line(f"{what:10}{done:,} of {total:,}  {note}")


def open_board(run: Path, images: int) -> Any:
    """TensorBoard's writer for a run folder that goes on at a count of images.

    Raises:
        MissingExtraError: tensorboard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"--tensorboard needs a package that is not installed: pip install {error.name}"
        ) from None
    return SummaryWriter(run / "tensorboard", purge_step=images + 1)
