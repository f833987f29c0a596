"""What the three commands share: errors in one line, exit codes, and the reading of numbers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import typer

from gankit._errors import GankitError, UsageError

Debug = Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")]


def run(program: str, command: Callable[..., Any] | typer.Typer) -> NoReturn:
    """Runs a command as a console script: a user's error is one line on stderr and exit code 1 or 2.

    A traceback needs `--debug`, which each command declares for its help text and which is acted on here.
    """
    if isinstance(command, typer.Typer):
        app = command
        # Plain help and errors: rich would take [default: 64] for markup and break errors into a box.
        app.pretty_exceptions_enable, app.rich_markup_mode = False, None
    else:
        app = typer.Typer(
            add_completion=False,
            pretty_exceptions_enable=False,
            context_settings={"max_content_width": 120},
        )
        app.command(name=program)(command)
    try:
        app(prog_name=program)
    except GankitError as error:
        if "--debug" in sys.argv:
            raise
        print(f"{program}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    sys.exit(0)


def whole_numbers(text: str, what: str, example: str) -> list[int]:
    """`"0,7,42"` → [0, 7, 42]; `what` they are and an `example` are for the error."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{what} are whole numbers joined by commas, such as {example}, not {text!r}") from None


def ranges(text: str, what: str, example: str) -> list[int]:
    """`"0,4-6"` → [0, 4, 5, 6]; at most a million. `what` and `example` as for `whole_numbers`."""
    parts = [part.partition("-") for part in text.split(",")]
    try:
        spans = [range(int(first), int(last if dash else first) + 1) for first, dash, last in parts]
    except ValueError:
        spans = []
    if not spans or not all(spans) or sum(span.stop - span.start for span in spans) > 1_000_000:
        raise UsageError(f"{what} are up to a million whole numbers or ranges, such as {example}, not {text!r}")
    return [number for span in spans for number in span]
