"""Console output: progress bars, or plain lines without a terminal, and the table of an evaluation."""

import time
from typing import Any, Self

from rich.box import SIMPLE_HEAD
from rich.console import Console as RichConsole
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from gankit_train.metrics.table import METRICS
from gankit_train.reporter import Reporter

_PLAIN_SECONDS = 15  # between two lines of progress without a terminal


class Console(Reporter):
    """Reports to standard error: lines above progress bars with remaining time, or plain lines without a terminal."""

    def __init__(self) -> None:
        self._console = RichConsole(stderr=True, highlight=False, soft_wrap=True)
        columns = (TextColumn("{task.description:10}"), BarColumn(), TextColumn("{task.percentage:3.0f} %"))
        self._bars = Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[note]}"), console=self._console)
        self._tasks: dict[str, TaskID] = {}
        self._last = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def line(self, text: str) -> None:
        """Prints a line above the progress bars."""
        self._console.print(text, markup=False)

    def progress(self, task: str, done: int, total: int, note: str = "") -> None:
        """Moves a progress bar or, without a terminal, prints a line every 15 seconds and at the end."""
        if self._console.is_terminal:
            if task not in self._tasks:
                self._bars.start()
                self._tasks[task] = self._bars.add_task(task, total=total, note="")
            self._bars.update(self._tasks[task], completed=done, note=note)
        elif done >= total or time.monotonic() - self._last > _PLAIN_SECONDS:
            self._last = time.monotonic()
            self.line(f"{task:10}{done:,} of {total:,}  {note}")


def print_evaluation(document: dict[str, Any]) -> None:
    """Prints the document of `gankit_train.evaluation.evaluate` as a table with verdicts."""
    console = RichConsole(highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console.width = 120
    height, width, channels = document["size"]
    compared = f"up to {document['compared']:,} are compared with as many images of {document['data']}"
    searched = f"copies are searched among all {document['training_images']:,} training images"
    samples = f"{document['samples']:,} samples of {document['model']}"
    console.print(f"{samples}; {compared} ({width}x{height}x{channels}), and {searched}", markup=False)
    table = Table("metric", "samples", "real", "verdict", box=SIMPLE_HEAD, pad_edge=False)
    table.columns[1].justify = table.columns[2].justify = "right"
    for name, result in document["metrics"].items():
        spec = METRICS[name].format
        verdict = f"{result['verdict']}\n{result['about']}" if result["verdict"] else result["about"]
        table.add_row(name, format(result["value"], spec), format(result["real"], spec), Text(verdict))
    for name, result in document.get("labels", {}).items():
        real = "" if result["real"] is None else format(result["real"], ".1%")
        table.add_row(Text(f"  {name}"), format(result["value"], ".1%"), real, "of the images requested with it")
    console.print(table)
    print("real: leave-one-out baseline on real data; label_modes, label_kl: random draws from the label combinations")
    if features := document.get("features"):
        seen = ", which was trained on most of the real images" if features.startswith("classifier of ") else ""
        print(f"frechet: on features of {features}{seen}; not comparable with FID")
    if classifier := document.get("classifier"):
        print(f"classifier: {classifier['accuracy']:.2%} accuracy on {classifier['held_out']:,} held-out images")
    for reason in dict.fromkeys(document["unavailable"].values()):
        print(f"not available: {reason}")
