"""What all commands share: help in sections, usage errors on one line, versions, shell completion."""

import os
import subprocess
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer

import gankit
from gankit._console import Debug, Version, run
from gankit._errors import GankitError, UsageError
from tests.helpers.commands import Command, refused
from tests.helpers.paths import TINY

SCRIPTS = {"gan-gen": "gankit._cli", "gan-export": "gankit_export.cli", "gan-train": "gankit_train.cli"}


class Colour(str, Enum):  # noqa: UP042  # as typer's documentation has it
    RED = "red"
    BLUE = "blue"


app = typer.Typer()


@app.command()
def paint(
    path: Annotated[Path, typer.Argument(metavar="PICTURE")],
    colour: Colour = Colour.RED,
    layers: Annotated[int, typer.Option(min=1, max=9, rich_help_panel="Layers")] = 1,
    width: Annotated[list[float] | None, typer.Option()] = None,
    debug: Debug = False,
) -> None:
    """Paint a picture."""
    if layers == 3:
        raise GankitError("three layers do not dry")
    print(path, colour.value, layers, width)


@app.command()
def sell(price: Annotated[int, typer.Option(min=0)] = 1, fragile: bool = False) -> None:
    """Sell a picture."""
    raise KeyboardInterrupt


@app.callback()
def common(version: Version = False) -> None:
    """A workshop."""


def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, line: str) -> tuple[Any, str, str]:
    monkeypatch.setattr(sys, "argv", ["studio", *line.split()])
    with pytest.raises(SystemExit) as end:
        run("studio", app)
    return end.value.code, *capsys.readouterr()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("paint x --layers y", "--layers must be a whole number from 1 to 9, not 'y'"),
        ("paint x --layers 10", "--layers must be a whole number from 1 to 9, not '10'"),
        ("paint x --colour green", "--colour must be red or blue, not 'green'"),
        ("paint x --width 1.5 --width wide", "--width must be a number, not ['1.5', 'wide']"),
        ("paint x --width wide", "--width must be a number, not 'wide'"),
        ("sell --price -1", "--price must be a whole number of at least 0, not '-1'"),
        ("paint x --layer 2", "unknown option '--layer'; did you mean --layers?"),
        ("paint x --quick", "unknown option '--quick'; see studio paint --help"),
        ("paint x --layers", "--layers needs a value"),
        ("sell --fragile=yes", "--fragile takes no value"),
        ("sell 3 4", "unexpected argument '3 4'; see studio sell --help"),
        ("paint", "PICTURE is missing; see studio paint --help"),
        ("pain x", "unknown command 'pain'; did you mean paint?"),
        ("throw", "unknown command 'throw'; use paint, sell"),
    ],
)
def test_a_usage_error_is_one_line_with_what_is_allowed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, line: str, message: str
) -> None:
    assert call(capsys, monkeypatch, line) == (2, "", f"studio: {message}\n")


def test_an_app_runs_its_commands(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert call(capsys, monkeypatch, "paint x --layers 2 --width 1") == (0, "x red 2 [1.0]\n", "")
    assert call(capsys, monkeypatch, "paint x --layers 3") == (1, "", "studio: three layers do not dry\n")
    assert call(capsys, monkeypatch, "sell")[0] == 130
    assert call(capsys, monkeypatch, "--version") == (0, f"gankit {gankit.__version__}\n", "")
    monkeypatch.setattr(sys, "argv", ["studio", "paint", "x", "--layers", "3", "--debug"])
    with pytest.raises(GankitError, match="three layers"):
        run("studio", app)


def test_help_has_sections(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for line in ("", "-h", "--help"):
        code, shown, _ = call(capsys, monkeypatch, line)
        assert code == 0 and shown.index("Commands:") < shown.index("paint") < shown.index("Information:")
    code, shown, _ = call(capsys, monkeypatch, "paint -h")
    assert code == 0 and shown.index("--colour") < shown.index("Layers:") < shown.index("--layers")


@pytest.mark.parametrize("program", SCRIPTS)
def test_every_script_has_help_and_a_version(command: Command, program: str) -> None:
    assert command(program, "-h").stdout == command(program, "--help").stdout
    assert command(program, "--version").stdout == f"gankit {gankit.__version__}\n"
    refused(command(program, "--helpp"), 2, f"{program}: unknown option '--helpp'; did you mean --help?")


def test_gan_gen_shows_common_options_first(command: Command) -> None:
    lines = command("gan-gen", "--help").stdout.splitlines()
    sections = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    names = ["Options", "Labels", "Sampling", "Animation", "Output", "Performance", "Information"]
    assert sections == [f"{name}:" for name in names]
    first = lines[lines.index("Options:") : lines.index("Labels:")]
    common = [line.split()[0].strip(",") for line in first if line.startswith("  -")]
    assert common == ["-m", "-n", "--label", "--seed", "--interpolate", "-o", "--device", "--scale"]


@pytest.mark.parametrize(
    ("program", "words", "completed"),
    [
        ("gan-gen", "gan-gen --interp", "--interpolate"),
        ("gan-gen", "gan-gen --device open", "openvino"),
        ("gan-export", "gan-export --torchs", "--torchscript"),
        ("gan-train", "gan-train --vers", "--version"),
    ],
)
def test_shells_complete_options(program: str, words: str, completed: str) -> None:
    shell = {f"_{program.replace('-', '_').upper()}_COMPLETE": "complete_bash"}
    shell |= {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    code = f"import sys; sys.argv = [{program!r}]; from {SCRIPTS[program]} import main; main()"
    line = [sys.executable, "-c", code]
    result = subprocess.run(line, capture_output=True, text=True, check=False, env=os.environ | shell)
    assert result.stdout.split() == [completed], result.stderr


def test_python_m_gankit_is_gan_gen(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "gankit", "-m", str(TINY), "-n", "1", "-o", "x.png"]
    result = subprocess.run(line, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "wrote   x.png" in result.stderr and (tmp_path / "x.png").is_file()


@pytest.mark.parametrize(("option", "value"), [("-n", "x"), ("--frames", "1.5"), ("--seed", ""), ("--batch", "1e3")])
def test_gan_gen_names_the_option_the_value_and_what_is_allowed(command: Command, option: str, value: str) -> None:
    refused(command("gan-gen", option, value), 2, f"gan-gen: {option} must be a whole number, not {value!r}")


def test_usage_errors_are_value_errors() -> None:
    assert issubclass(UsageError, ValueError) and UsageError.exit_code == 2
