"""Running a console script: options that every command has, errors on one line, exit codes, and lists of numbers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import typer

from gankit._commands import Command, Group
from gankit._errors import GankitError, UsageError

INFORMATION = "Information"
"""The section of the help for options about the command itself."""

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 120}


def _print_version(requested: bool) -> None:
    if requested:
        from gankit import __version__  # here, because gankit may still be importing this module

        print(f"gankit {__version__}")
        raise typer.Exit


Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.", rich_help_panel=INFORMATION)]
Version = Annotated[
    bool,
    typer.Option(
        "--version",
        help="Show the version and exit.",
        callback=_print_version,
        is_eager=True,
        rich_help_panel=INFORMATION,
    ),
]


def _print_error(line: str) -> None:
    print(line, file=sys.stderr)


def run(
    program: str, command: Callable[..., Any] | typer.Typer, report: Callable[[str], None] = _print_error
) -> NoReturn:
    """Runs a command as a console script and exits; a GankitError becomes one line on stderr and its exit code.

    `--debug`, which a command declares as a parameter of type `Debug`, shows the traceback instead.

    Args:
        program: the name of the console script.
        command: a function whose parameters are the options, or a typer app with one or more commands.
        report: prints the line of an error.
    """
    try:
        code = _build(program, command).main(prog_name=program, standalone_mode=False)
    except typer.Abort:
        sys.exit(130)
    except GankitError as error:
        if "--debug" in sys.argv:
            raise
        report(f"{program}: {error}")
        sys.exit(error.exit_code)
    sys.exit(code if isinstance(code, int) else 0)


def _build(program: str, command: Callable[..., Any] | typer.Typer) -> Any:
    """The typer command, with gankit's help and error messages at every level."""
    if isinstance(command, typer.Typer):
        app = command
    else:
        app = typer.Typer()
        app.command(name=program)(command)
    app.pretty_exceptions_enable, app.rich_markup_mode = False, None
    app.info.cls, app.info.context_settings = Group, _CONTEXT
    for each in app.registered_commands:
        each.cls, each.context_settings = Command, _CONTEXT | (each.context_settings or {})
    return typer.main.get_command(app)


def parse_int_list(text: str, what: str, example: str) -> list[int]:
    """Parses `"0,7,42"` to [0, 7, 42].

    Args:
        text: whole numbers joined by commas.
        what: what they are, for the error.
        example: a valid text, for the error.

    Raises:
        UsageError: the text is something else.
    """
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{what} must be whole numbers joined by commas, such as {example}, not {text!r}") from None


def parse_int_ranges(text: str, what: str, example: str) -> list[int]:
    """Parses `"0,4-6"` to [0, 4, 5, 6].

    Args:
        text: whole numbers or ranges joined by commas, at most a million numbers.
        what: what they are, for the error.
        example: a valid text, for the error.

    Raises:
        UsageError: the text is something else.
    """
    parts = [part.partition("-") for part in text.split(",")]
    try:
        spans = [range(int(first), int(last if dash else first) + 1) for first, dash, last in parts]
    except ValueError:
        spans = []
    if not spans or not all(spans) or sum(span.stop - span.start for span in spans) > 1_000_000:
        raise UsageError(f"{what} must be up to a million whole numbers or ranges, such as {example}, not {text!r}")
    return [number for span in spans for number in span]
