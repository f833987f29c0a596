"""Links, pictures and command lines of all pages, and the build of the site."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from gankit_train.config.variants import VARIANTS, configure
from tests.docs.pages import DOCS, PAGES, blocks, command_lines, page_id
from tests.helpers.paths import ROOT
from tools.reference import commands


def test_the_readme_is_short() -> None:
    for name in ("README.md", "README.ko.md"):
        assert len((ROOT / name).read_text().splitlines()) <= 160, name


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_and_pictures_exist(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\((?!https?:|#)([^)\s]+)\)", text):
        assert (page.parent / target.partition("#")[0]).exists(), target


def test_every_page_is_reachable_from_the_index() -> None:
    index = (DOCS / "index.md").read_text()
    for page in DOCS.rglob("*.md"):
        name = page.relative_to(DOCS).with_suffix("").as_posix()
        assert "_build" in page.parts or name == "index" or f"\n{name}\n" in index, name


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_command_lines_are_accepted(page: Path) -> None:
    for block in blocks(page):
        if block.language in ("sh", ""):
            for line in command_lines(block.code):
                check_command_line(line)


def test_options_in_sentences_exist() -> None:
    pattern = r"`(gan-(?:train|gen|export) [^`\n]*--[^`\n]*)`"
    found = [line for page in PAGES for line in re.findall(pattern, page.read_text())]
    assert len(found) > 20
    for line in found:
        program, command, *_ = line.split()
        parameters = commands().get(f"{program} {command}", commands()[program]).params
        known = {name for each in parameters for name in (*each.opts, *each.secondary_opts, "--help")}
        assert set(re.findall(r"(?<=\s)--?[a-z][a-z0-9-]*", line)) <= known, line


def check_command_line(line: str) -> None:
    """Parses a line as the command would, and the settings of a training run as well."""
    program, *arguments = shlex.split(line, comments=True)
    if arguments and f"{program} {arguments[0]}" in commands():
        program, arguments = f"{program} {arguments[0]}", arguments[1:]
    elif program == "gan-train" and arguments:
        pytest.fail(f"there is no such command: {line}")
    if "-h" in arguments or "--help" in arguments or "RUN" in arguments:
        return
    try:
        context = commands()[program].make_context(program, list(arguments))
    except Exception as error:
        pytest.fail(f"{line}: {error}")
    variant = program.removeprefix("gan-train ")
    if variant in VARIANTS:
        names = configure(variant).values()
        given = {name: value for name, value in context.params.items() if name in names and value not in (None, [], ())}
        configure(variant, **{name: tuple(v) if isinstance(v, list) else v for name, v in given.items()})


def test_the_site_builds_without_warnings(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", DOCS, tmp_path]
    result = subprocess.run(line, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    reference = (tmp_path / "reference/gan-train.html").read_text()
    for name in commands()["gan-train dcgan"].params:
        assert name.opts[0] in reference, name.name
