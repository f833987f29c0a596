"""Typer commands with sections in their help, and with usage errors on one line.

Typer's own help draws boxes with rich, which takes half as long again to import as everything else, and its errors
take several lines in the words of other libraries. The classes only use what typer has had since version 0.16, with
click as a dependency or as a part of typer.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin

from typer.core import TyperCommand, TyperGroup

from gankit._errors import UsageError, one_line

_FIRST_SECTION = "Options"
_LAST_SECTION = "Information"
_OWN_OPTIONS = ("help", "install_completion", "show_completion")  # which typer adds to every command
_TYPES = {int: "a whole number", float: "a number", bool: "true or false", Path: "a path"}


class Command(TyperCommand):
    """A command."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Writes the options, one section for each `rich_help_panel`."""
        _write_sections(self, ctx, formatter)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parses the arguments; raises UsageError with what is wrong, the value and what is allowed."""
        return _parse(super().parse_args, self, ctx, args)


class Group(TyperGroup):
    """A command with subcommands."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Writes the subcommands and then the options, one section for each `rich_help_panel`."""
        self.format_commands(ctx, formatter)
        _write_sections(self, ctx, formatter)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parses the arguments before the subcommand; without a subcommand, shows the help."""
        if not args and not self.invoke_without_command and not ctx.resilient_parsing:
            args = ["--help"]
        return _parse(super().parse_args, self, ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Finds the subcommand; raises UsageError with the nearest name for an unknown one."""
        names = self.list_commands(ctx)
        if args[0] not in names and not ctx.resilient_parsing:
            raise UsageError(f"unknown command {args[0]!r}; {_suggest(args[0], names) or 'use ' + ', '.join(names)}")
        return super().resolve_command(ctx, args)


def _write_sections(command: Any, ctx: Any, formatter: Any) -> None:
    sections: dict[str, list[tuple[str, str]]] = {}
    for param in command.get_params(ctx):
        panel = _LAST_SECTION if param.name in _OWN_OPTIONS else getattr(param, "rich_help_panel", None)
        if record := param.get_help_record(ctx):
            sections.setdefault(panel or _FIRST_SECTION, []).append(record)
    for title, records in sections.items():
        with formatter.section(title):
            formatter.write_dl(records)


def _parse(parse: Callable[[Any, list[str]], list[str]], command: Any, ctx: Any, args: list[str]) -> list[str]:
    given = list(args)
    try:
        return parse(ctx, args)
    except Exception as error:
        # Click's exceptions are recognised by their attributes, because typer may bring a click of its own.
        if not hasattr(error, "format_message"):
            raise
        raise _usage_error(error, command, ctx, given) from error


def _usage_error(error: Exception, command: Any, ctx: Any, args: list[str]) -> UsageError:
    """The error on one line for an exception of click; `args` are the arguments that caused it."""
    option, param = getattr(error, "option_name", None), getattr(error, "param", None)
    if option is not None:
        options = {name: each for each in command.get_params(ctx) for name in (*each.opts, *each.secondary_opts)}
        if option in options:
            needs = "takes no value" if getattr(options[option], "is_flag", False) else "needs a value"
            return UsageError(f"{option} {needs}")
        return UsageError(f"unknown option {option!r}; {_suggest(option, options) or _see_help(ctx)}")
    if param is None:
        rest = command.make_parser(ctx).parse_args(list(args))[1]
        return UsageError(f"unexpected argument {' '.join(rest)!r}; {_see_help(ctx)}" if rest else one_line(error))
    name = max(param.opts, key=len) if param.param_type_name == "option" else param.metavar or param.name.upper()
    if hasattr(error, "param_type"):
        return UsageError(f"{name} is missing; {_see_help(ctx)}")
    value = command.make_parser(ctx).parse_args(list(args))[0].get(param.name)
    value = value[0] if isinstance(value, list | tuple) and len(value) == 1 else value
    allowed = _allowed(inspect.signature(command.callback, eval_str=True).parameters[param.name].annotation)
    return UsageError(f"{name} must be {allowed}, not {value!r}" if allowed else f"{name}: {one_line(error)}")


def _allowed(annotation: Any) -> str | None:
    """The values that a parameter's type allows, in words; None for an unknown type."""
    limits = [each for each in getattr(annotation, "__metadata__", ()) if hasattr(each, "min")]
    kind = getattr(annotation, "__origin__", annotation) if limits else annotation
    while get_origin(kind) is not None and (inner := [each for each in get_args(kind) if each is not NoneType]):
        if all(isinstance(each, str) for each in inner):  # a Literal
            return _join(inner)
        kind = inner[0]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _join([str(each.value) for each in kind])
    low, high = (limits[0].min, limits[0].max) if limits else (None, None)
    between = f" from {low} to {high}" if None not in (low, high) else f" of at least {low}" if low is not None else ""
    return _TYPES[kind] + between if kind in _TYPES else None


def _suggest(name: str, known: Iterable[str]) -> str | None:
    near = difflib.get_close_matches(name, list(known), 1)
    return f"did you mean {near[0]}?" if near else None


def _see_help(ctx: Any) -> str:
    return f"see {ctx.command_path} --help"


def _join(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
