"""What the commands show in a terminal: progress bars, or plain lines where there is none, and a table of measures."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console as RichConsole
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from gankit._errors import MissingExtraError, one_line
from gankit_train.metrics.table import MEASURES

_PLAIN_SECONDS = 15  # between two lines of progress where there is no terminal


class Reporter:
    """What a run tells while it runs: nothing here; `gan-train` draws progress bars, a program may do what it likes."""

    def line(self, text: str) -> None:
        """One line worth reading."""

    def progress(self, what: str, done: int, total: int, note: str = "") -> None:
        """How far it is."""

    def ended(self, run: Path, whole: bool) -> None:
        """A run folder has got all that it gets for now; it is not whole after a stop or an error."""


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

    def ended(self, run: Path, whole: bool) -> None:
        """Makes the report, without what takes long where the run is not whole."""
        try:
            from gankit_train.reporting.html import write_report

            self.line(f"{'report':10}{write_report(run, self, neighbours=whole)}")
        except Exception as error:  # whatever it is, what was trained is there all the same
            self.line(f"{'report':10}not made: {one_line(error)}; gan-train report {run} tries again")


def show_evaluation(document: dict[str, Any]) -> None:
    """Prints what `evaluate` found as a table, with what each figure means."""
    console = RichConsole(highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console.width = 120
    height, width, channels = document["size"]
    console.print(
        f"{document['samples']:,} samples of {document['model']}, of which up to {document['compared']:,} are compared "
        f"with as many images of {document['data']} ({width}x{height}x{channels}); labels were read off all, and "
        f"copies looked for among all {document['training_images']:,}",
        markup=False,
    )
    table = Table("measure", "samples", "real", "what it says", box=SIMPLE_HEAD, pad_edge=False)
    for column in table.columns[1:3]:
        column.justify = "right"
    for name, found in document["measures"].items():
        form = MEASURES[name].form
        says = f"{found['verdict']}\n{found['about']}" if found["verdict"] else found["about"]
        table.add_row(name, format(found["value"], form), format(found["real"], form), Text(says))
    for name, found in document.get("labels", {}).items():
        real = "" if found["real"] is None else format(found["real"], ".1%")
        table.add_row(Text(f"  {name}"), format(found["value"], ".1%"), real, "of the images asked for it show it")
    console.print(table)
    print(
        "real: the same of real images in the place of the samples, each left out of the data that it is held against; "
        "of label_modes and label_kl, of as many draws from the data"
    )
    if "features" in document:
        seen = ", which has seen most of the real images" if document["features"].startswith("classifier of ") else ""
        print(f"frechet: on the features of {document['features']}{seen}; this is no FID")
    if known := document.get("classifier"):
        print(f"classifier: right on {known['accuracy']:.2%} of {known['held_out']:,} images held out of its training")
    for why in dict.fromkeys(document["not_measured"].values()):
        print(f"not measured: {why}")


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
