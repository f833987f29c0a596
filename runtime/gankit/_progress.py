"""A progress bar for work that takes longer than two seconds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from time import perf_counter

_DELAY = 2.0  # seconds before the bar appears


@contextmanager
def progress(total: int, unit: str = "images") -> Iterator[Callable[[int], None]]:
    """Yields a function that reports how many more items are finished.

    The bar has the rate and the remaining time. It appears on stderr if that is a terminal, after two seconds, and
    disappears at the end.

    Args:
        total: number of items.
        unit: what they are.
    """
    if not sys.stderr.isatty():
        yield lambda finished: None
        return
    done, begin = 0, perf_counter()
    update: Callable[[int, str], None] | None = None

    def advance(finished: int) -> None:
        nonlocal done, update
        done += finished
        seconds = perf_counter() - begin
        if done and seconds > _DELAY:
            update = update or _open_bar(stack, total)
            left = round(seconds / done * (total - done))
            text = f"{done:,} of {total:,} {unit}, {done / seconds:,.0f}/s, {left // 60}:{left % 60:02} left"
            update(done, text)

    with ExitStack() as stack:
        yield advance


def _open_bar(stack: ExitStack, total: int) -> Callable[[int, str], None]:
    """Shows a bar until the stack closes; returns a function that sets the number of finished items and the text."""
    from rich.console import Console  # here, because rich takes long to import
    from rich.progress import BarColumn, Progress, TextColumn

    columns = BarColumn(), TextColumn("{task.description}")
    bar = stack.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))
    task = bar.add_task("", total=total)
    return lambda done, text: bar.update(task, completed=done, description=text)
