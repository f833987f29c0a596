"""What the documents say of the program stays true."""

import re
from pathlib import Path

from benchmarks.options import RESULTS
from benchmarks.results import read_all
from benchmarks.table import for_readme, page
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()


def test_the_readmes_figures_are_those_that_were_measured() -> None:
    documents = read_all(RESULTS)
    assert not any(each["quick"] for each in documents)
    assert for_readme(documents).count("|") > 50
    assert for_readme(documents) in README
    assert (RESULTS / "README.md").read_text() == page(documents)


def test_every_picture_and_file_that_is_named_exists() -> None:
    named = re.findall(r"\]\((?!http)([^)]+)\)", README)
    assert len(named) > 4
    for path in named:
        assert (ROOT / Path(path)).is_file(), path


def test_the_options_in_the_readme_exist() -> None:
    import gankit.cli
    import gankit_export.cli
    import gankit_train.cli

    sources = {"gan-gen": gankit.cli, "gan-export": gankit_export.cli, "gan-train": gankit_train.cli}
    for program, module in sources.items():
        config = (ROOT / "train/gankit_train/config.py").read_text() if program == "gan-train" else ""
        known = Path(str(module.__file__)).read_text() + config
        for line in re.findall(rf"^{program} .*$", README, re.MULTILINE):
            for option in re.findall(r"(?<= )--([a-z-]+)", line.split("#")[0]):
                assert re.search(rf"\b{option.replace('-', '[-_]')}\b", known), (line, option)
