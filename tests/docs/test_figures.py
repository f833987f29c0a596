"""The figures in the documentation are those of the stored results."""

from benchmarks.options import RESULTS
from benchmarks.results import read_all
from benchmarks.tables import full_tables, summary_table
from tests.docs.pages import DOCS
from tests.helpers.paths import ROOT
from tools import quality, quality_runs, recipes


def test_the_tables_of_benchmarks_show_the_stored_results() -> None:
    documents = read_all(RESULTS)
    assert not any(each["quick"] for each in documents)
    assert full_tables(documents) in (DOCS / "benchmarks.md").read_text()
    assert summary_table(documents) in (ROOT / "README.md").read_text()


def test_the_page_on_quality_shows_the_stored_results_and_the_texts_of_its_program() -> None:
    page = (DOCS / "quality.md").read_text()
    assert quality.table().count("|") > 50
    assert quality.table() in page
    for goal in quality_runs.GOALS:
        assert goal.arguments in page and goal.remarks in page, goal.name
    for failure in quality_runs.FAILURES:
        assert f"{failure.arguments}`" in page and failure.remedy in page and failure.remarks in page, failure.name


def test_the_page_on_recipes_has_every_preset_and_the_texts_of_its_program() -> None:
    page = (DOCS / "recipes.md").read_text()
    for trial in recipes.TRIALS:
        section = page.split(f"\n## {trial.name}\n")[1].split("\n## ")[0]
        assert trial.arguments in section and trial.remarks in section
        assert all(text in section for text in recipes.describe(trial.name)), trial.name
