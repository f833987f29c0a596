"""Makes parts of the documentation's reference from the code: commands, settings, presets and metrics, as Markdown.

`docs/conf.py` inserts them into the pages: a line `<!-- generated: NAME -->` is replaced by the result of the function
`GENERATED[NAME]`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import typer

from gankit._cli import generate
from gankit_export.cli import _export
from gankit_train.cli import app as train_app
from gankit_train.config.config import SETTINGS
from gankit_train.config.flags import flag, format_flag, format_value
from gankit_train.config.presets import PRESETS
from gankit_train.config.variants import VARIANTS, configure
from gankit_train.metrics.table import METRICS

_MARKER = re.compile(r"^<!-- generated: ([\w-]+) -->$", re.MULTILINE)
_DEFAULT = re.compile(r"\s*\[default: (?P<value>[^]]+)\]")
_SHELL_OPTIONS = ("install_completion", "show_completion", "help")  # of every command; described once, in words


def insert_generated(text: str) -> str:
    """Replaces the markers in a page. Raises KeyError for an unknown name."""
    return _MARKER.sub(lambda match: GENERATED[match[1]](), text)


@cache
def commands() -> dict[str, Any]:
    """Returns the click command of each console script and of each of its subcommands, such as `gan-train dcgan`."""
    found: dict[str, Any] = {}
    for program, function in (("gan-gen", generate), ("gan-export", _export)):
        single = typer.Typer()
        single.command(name=program)(function)
        found[program] = typer.main.get_command(single)
    group: Any = typer.main.get_command(train_app)
    found["gan-train"] = group
    return found | {f"gan-train {name}": command for name, command in group.commands.items()}


def command_reference(name: str) -> str:
    """Describes a command: what it does, examples, and its arguments and options."""
    command = commands()[name]
    about, *examples = (command.help or "").replace("\b", "").strip().split("\n\n")
    return "\n\n".join([about.replace("\n", " "), *map(_example_block, examples), option_tables(name)])


def option_tables(name: str) -> str:
    """Lists the arguments and options of a command by section, with their defaults."""
    command, lines = commands()[name], list[str]()
    for title, parameters in _sections(command).items():
        rows = [_parameter_row(command, parameter) for parameter in parameters]
        lines += [f"**{title}**", _table(("option", "description", "default"), rows)]
    return "\n\n".join(lines)


def _example_block(text: str) -> str:
    examples = [line.strip() for part in text.splitlines() for line in part.split(" · ")]
    return "\n".join(["```sh", *filter(None, examples), "```"])


def _sections(command: Any) -> dict[str, list[Any]]:
    """The parameters by the sections of the help, in their order."""
    sections: dict[str, list[Any]] = {}
    for parameter in command.params:
        if parameter.name not in _SHELL_OPTIONS:
            sections.setdefault(getattr(parameter, "rich_help_panel", None) or "Options", []).append(parameter)
    return sections


def _parameter_row(command: Any, parameter: Any) -> tuple[str, str, str]:
    """The names, the description and the default of a parameter, as its help has them."""
    names, text = parameter.get_help_record(typer.Context(command))
    found = _DEFAULT.search(text)
    default = re.sub(r"^\((.*)\)$", r"\1", found["value"].split("; x")[0]) if found else ""
    text = _DEFAULT.sub("", text).strip()
    names = names.replace(" / ", "` or `").replace("|", r"\|")
    return f"`{names}`", _escaped(text), f"{_escaped(default)}"


def variant_table() -> str:
    """The settings in which the variants differ, with the default of each."""
    rows = []
    for name in (setting for setting in SETTINGS if any(setting in changed for changed in VARIANTS.values())):
        values = [format_value(name, configure(variant).values()[name]) for variant in VARIANTS]
        rows.append((f"`{flag(name)}`", *values))
    return _table(("setting", *VARIANTS), rows)


def changeable_settings() -> str:
    """The options that a resumed run may change."""
    return ", ".join(f"`{flag(setting.name)}`" for setting in SETTINGS.values() if not setting.fixed) + "."


def preset_reference() -> str:
    """All presets with their settings as options."""
    parts = []
    for name, preset in PRESETS.items():
        options = " ".join(format_flag(*each) for each in preset.settings.items())
        parts += [f"## {name}", f"{_capitalised(preset.about)}."]
        parts += [f"Caveat: {preset.caveat}."] if preset.caveat else []
        parts += [f"```sh\ngan-train {preset.variant} --preset {name}\n```", f"It sets `{options}`."]
    return "\n\n".join(parts)


def metric_table() -> str:
    """All metrics: what they measure, what they need, and their scales."""
    needs = {
        "": "",
        "labels": "labels of the data",
        "modes": "labels with at most 10,000 combinations",
        "requested": "samples generated for labels",
        "features": "labels of the data, or `--features`",
        "inception": "torch-fidelity with its weights",
    }
    rows = []
    for name, metric in METRICS.items():
        scale = ""
        if metric.margins:
            good, fair = (f"{each:.0%}" if metric.relative else f"{each:g}" for each in metric.margins)
            scale = f"good within {good} of real images, fair within {fair}"
        rows.append((f"`{name}`", _escaped(metric.about), metric.better, needs[metric.requires], scale))
    return _table(("metric", "what it measures", "better", "needs", "verdict"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _escaped(text: str) -> str:
    """Escapes what Markdown would take for markup."""
    return re.sub(r"([|*_<>\[\]])", r"\\\1", text)


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


GENERATED: dict[str, Callable[[], str]] = {
    "gan-train-options": lambda: option_tables("gan-train dcgan"),
    "gan-train-variants": variant_table,
    "gan-train-evaluate": lambda: command_reference("gan-train evaluate"),
    "gan-train-report": lambda: command_reference("gan-train report"),
    "gan-train-presets": lambda: command_reference("gan-train presets"),
    "gan-export": lambda: command_reference("gan-export"),
    "gan-gen": lambda: command_reference("gan-gen"),
    "changeable-settings": changeable_settings,
    "presets": preset_reference,
    "metrics": metric_table,
}
"""The functions for the markers, by name."""
