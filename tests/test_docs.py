"""What the documents say of the program stays true."""

import importlib
import re
from collections.abc import Callable
from typing import Any

import pytest
import typer

from benchmarks.options import RESULTS
from benchmarks.results import read_all
from benchmarks.suites import SUITES, training
from benchmarks.table import for_readme, page
from tests.helpers.paths import ROOT

README = (ROOT / "README.md").read_text()


def test_the_readmes_figures_are_those_that_were_measured() -> None:
    documents = read_all(RESULTS)
    assert not any(each["quick"] for each in documents)
    assert for_readme(documents).count("|") > 50
    assert for_readme(documents) in README
    assert (RESULTS / "README.md").read_text() == page(documents)


def test_the_figures_of_quality_are_those_that_were_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs")
    quality = importlib.import_module("quality")
    assert quality.table().count("|") > 50
    assert quality.for_readme() in README
    assert quality.table() in (ROOT / "docs/quality.md").read_text()


def test_every_picture_and_file_that_is_named_exists() -> None:
    named = re.findall(r"\]\((?!http)([^)]+)\)", README)
    assert len(named) > 4
    for path in named:
        assert (ROOT / path.partition("#")[0]).is_file(), path


def test_the_options_in_the_readme_exist() -> None:
    from gankit._cli import generate
    from gankit_export.cli import _export
    from gankit_train.cli import _COMMANDS, _train

    commands = {f"gan-train {name} ": command for name, command in _COMMANDS.items()}
    commands |= {"gan-gen ": generate, "gan-export ": _export, "gan-train ": _train}
    found = 0
    for line in re.findall(r"^gan-(?:gen|export|train) .*$", README, re.MULTILINE):
        command = next(command for start, command in commands.items() if line.startswith(start))
        options = re.findall(r"(?<= )(--?[a-z][a-z-]*)", line.split("#")[0])
        assert set(options) <= known_options(command), line
        found += len(options)
    assert found > 20


def known_options(command: Callable[..., Any]) -> set[str]:
    app = typer.Typer()
    app.command()(command)
    parameters = typer.main.get_command(app).params
    return {option for each in parameters for option in [*each.opts, *each.secondary_opts]} | {"--help"}


def test_every_way_that_was_to_be_measured_has_figures_or_a_reason() -> None:
    for document in read_all(RESULTS):
        measured = {way for metric in document["metrics"].values() for way in metric["ways"]}
        assert set(document["ways"]) <= measured | set(document["missing"]) | set(document["failed"]), document["suite"]
    stored = {document["suite"]: document for document in read_all(RESULTS) if document["device"] == "cpu"}
    assert {*SUITES, "profile"} <= set(stored)
    assert {peer.name for peer in training.PEERS} <= set(stored["training"]["ways"])
