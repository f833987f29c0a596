"""What the documents say of the program stays true."""

import importlib
import re
from collections.abc import Callable
from typing import Any

import pytest
import typer

from benchmarks.options import RESULTS
from benchmarks.results import read_all
from benchmarks.suites.table import SUITES
from benchmarks.tables import full_tables, replace_between_markers, summary_table
from benchmarks.trainers import BASELINES
from tests.helpers.paths import ROOT

README = (ROOT / "README.md").read_text()


def test_the_documents_show_the_results_that_were_measured() -> None:
    documents = read_all(RESULTS)
    assert not any(each["quick"] for each in documents)
    assert summary_table(documents).count("|") > 30
    assert replace_between_markers(README, summary_table(documents)) == README
    page = (ROOT / "docs/benchmarks.md").read_text()
    assert replace_between_markers(page, full_tables(documents)) == page


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


def test_every_case_of_the_benchmarks_has_results_or_a_reason() -> None:
    documents = read_all(RESULTS)
    for document in documents:
        measured = {case for metric in document["metrics"].values() for case in metric["results"]}
        explained = measured | set(document["unavailable"]) | set(document["failed"])
        assert set(document["cases"]) <= explained, document["suite"]
    stored = {document["suite"]: document for document in documents if document["device"] == "cpu"}
    assert {*SUITES, "profile"} <= set(stored)
    assert {each.name for each in BASELINES} <= set(stored["training"]["cases"])
