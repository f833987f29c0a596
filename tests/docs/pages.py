"""Reads the pages of the documentation: their code blocks, links and pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.paths import ROOT

DOCS = ROOT / "docs"
PAGES = [
    *sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts),
    *(ROOT / name for name in ("README.md", "README.ko.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    ROOT / "examples/README.md",
]
_BLOCK = re.compile(
    r"^(?:<!-- (?P<note>[^>]*) -->\n)?```(?P<language>\w*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """A fenced code block."""

    language: str
    note: str
    """A comment in the line above: `run`, `file: NAME` or `not run: REASON`; empty if there is none."""
    code: str


def page_id(path: Path) -> str:
    """Names a page in the output of pytest."""
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path) -> list[Block]:
    """Returns the code blocks of a page, without those inside of MyST directives."""
    return [Block(language, note, code) for note, language, code in _BLOCK.findall(path.read_text())]


def command_lines(code: str) -> Iterator[str]:
    """Yields the calls of gankit's commands in a shell block, with comments."""
    for line in code.replace("\\\n", " ").splitlines():
        if match := re.search(r"(?:^|\s)(gan-(?:train|export|gen)\b.*)", line.removeprefix("$ ")):
            yield re.split(r"\s(?:\||>|&&|2>)\s", match[1])[0]
