"""Targets, tables, charts and stored results."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import cli, roofline, tables, targets
from benchmarks.chart import draw
from benchmarks.implementations import IMPLEMENTATIONS
from benchmarks.measurement import Measurements
from benchmarks.options import Options
from benchmarks.results import Case, Document, Metric, document, read_all, write
from benchmarks.suites import sampling
from gankit import GankitError
from tests.benchmarks.documents import AT_128, BASELINE, GANKIT, rates, stored
from tests.helpers.commands import Result

# Targets


def test_targets_are_checked_by_the_rounds_and_the_missed_ones_come_first() -> None:
    name = "sampling in float32 on the CPU, versus PyTorch and a default session on its exporter's file"

    def checked(result: Document) -> targets.Checked:
        return next(each for each in targets.check_targets([result]) if each.target.name == name)

    assert checked(rates(gankit=[130, 260], baseline=[100, 200])).status == "met"
    missed = checked(rates(gankit=[129, 258], baseline=[100, 200]))
    assert missed.status == "missed" and missed.result.startswith("1.29 (1.29 … 1.29)")
    assert checked(rates(gankit=[130, 260], baseline=[100, 200]) | {"quick": True}).status == "not measured"
    assert targets.check_targets([rates(gankit=[1], baseline=[1])])[0].target.name == name
    assert f"Missed: {name}." in tables.full_tables([rates(gankit=[1], baseline=[1])])


def test_a_target_names_the_baseline_that_has_no_result() -> None:
    values, failed = {AT_128: {GANKIT: [200.0], BASELINE: [100.0]}}, {"torch.compile, float32": "no compiler"}
    [first, *_] = targets.check_targets([stored("sampling", values, {AT_128: Metric("images/s")}, failed=failed)])
    assert first.status == "met" and "without torch.compile, float32" in first.result


def test_less_is_better_for_latencies() -> None:
    values = {sampling.LATENCY: {GANKIT: [1.2], "onnxruntime, --for cpu, float32": [1.0]}}
    [first, *_] = targets.check_targets(
        [stored("sampling", values, {sampling.LATENCY: Metric("ms", higher_is_better=False)})]
    )
    assert (first.status, first.target.requirement) == ("missed", "≤ 1.1")


def test_every_target_finds_its_implementations() -> None:
    for device in ("cpu", "cuda"):
        cases = {each.name: each.case for each in IMPLEMENTATIONS if each.device == device}
        metrics = {
            name: Metric("", work={roofline.BYTES_OUT: 1.0})
            for name in (sampling.LATENCY, sampling.rate(128), sampling.rate(1024))
        }
        values = {metric: {name: [1.0] for name in cases} for metric in metrics}
        values |= {roofline.TO_HOST: {"peak rates by torch": [1e9]}}
        result = document("sampling", "", Options(device), Measurements(values), metrics, cases)
        for each in targets.check_targets([result]):
            expected = (each.target.suite, each.target.device) == ("sampling", device)
            assert (each.status != "not measured") == expected, each.target.name


def test_a_target_is_missed_where_gankit_fails() -> None:
    openvino = "OpenVINO, --for openvino, float32"
    measured = Measurements({AT_128: {openvino: [1.0]}}, failed={GANKIT: "its images differ"})
    cases = {GANKIT: Case(), openvino: Case(baseline=True)}
    result = document("sampling", "", Options(), measured, {AT_128: Metric("images/s")}, cases)
    missed = [each for each in targets.check_targets([result]) if each.status == "missed"]
    assert len(missed) == 3 and all("**failed**: its images differ" in each.result for each in missed)


# Tables


def test_the_summary_compares_the_best_of_gankit_with_the_best_baseline() -> None:
    values = {
        AT_128: {GANKIT: [200.0, 300.0], BASELINE: [100.0, 100.0], "torch channels_last, float32": [160.0, 150.0]},
        sampling.LATENCY: {GANKIT: [2.0], BASELINE: [3.0]},
    }
    metrics = {AT_128: Metric("images/s"), sampling.LATENCY: Metric("ms", higher_is_better=False)}
    summary = tables.summary_table([stored("sampling", values, metrics)])
    assert f"| 250 images/s ({GANKIT}) | 155 images/s (torch channels_last, float32) | 1.62×, spread 46 % |" in summary
    assert f"| 2.00 ms ({GANKIT}) | 3.00 ms ({BASELINE}) | 1.50× |" in summary
    assert "CUDA is not measured yet." in summary
    assert len(tables.JOBS) <= 10


def test_only_the_text_between_the_markers_is_replaced() -> None:
    before = f"# gankit\n{tables.BEGIN}\nold\n{tables.END}\nafter\n"
    after = tables.replace_between_markers(before, "new")
    assert after == f"# gankit\n{tables.BEGIN}\n\nnew\n\n{tables.END}\nafter\n"
    assert tables.replace_between_markers(after, "new") == after
    with pytest.raises(GankitError, match="add these two lines"):
        tables.replace_between_markers("# gankit\n", "new")


def test_the_tables_are_written_into_the_documents(
    benchmarks: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "ROOT", tmp_path)
    monkeypatch.setattr(cli, "DOCS", tmp_path)
    pages = [tmp_path / "README.md", tmp_path / "benchmarks.md"]
    for page in pages:
        page.write_text(f"before\n{tables.BEGIN}\n{tables.END}\n")
    write(rates(gankit=[2], baseline=[1]), tmp_path)
    assert benchmarks("table", "--write", "--results", tmp_path).returncode == 0
    readme, full = (page.read_text() for page in pages)
    assert readme.startswith("before\n") and "2.00×" in readme
    assert "### Targets" in full and "### sampling, CPU" in full


# Charts and files


def test_a_chart_shows_the_cases_and_the_roofline(benchmarks: Callable[..., Result], tmp_path: Path) -> None:
    values = {AT_128: {GANKIT: [900.0, 1000.0], BASELINE: [700.0, 800.0]}}
    values |= {roofline.FLOPS["float32"]: {"peak rates by torch": [4e11]}}
    metrics = {AT_128: Metric("images/s", work={roofline.OPERATIONS: 2e8})}
    result = document(
        "sampling", "", Options(), Measurements(values), metrics, {GANKIT: Case(), BASELINE: Case(baseline=True)}
    )
    write(result, tmp_path)
    assert benchmarks("chart", "--results", tmp_path, "--out", tmp_path).returncode == 0
    assert (tmp_path / "benchmarks-cpu.png").read_bytes().startswith(b"\x89PNG")
    drawn = (tmp_path / "benchmarks-cpu.svg").read_text()
    for text in ("gankit, --for cpu", "torch eager", "950", "roofline, arithmetic in float32: 2,000"):
        assert text in drawn
    assert draw([], tmp_path) == []


def test_results_are_stored_by_suite_and_device(tmp_path: Path) -> None:
    result = rates(gankit=[1], baseline=[2])
    write(result | {"device": "cuda"}, tmp_path)
    write(result | {"suite": "training"}, tmp_path)
    write(result, tmp_path)
    documents = read_all(tmp_path)
    order = [("sampling", "cpu"), ("training", "cpu"), ("sampling", "cuda")]
    assert [(each["suite"], each["device"]) for each in documents] == order
    assert json.loads((tmp_path / "sampling-cuda.json").read_text())["device"] == "cuda"
    headings = [line for line in tables.full_tables(documents).splitlines() if line.startswith("### ")]
    assert headings == ["### Targets", "### sampling, CPU", "### training, CPU", "### sampling, CUDA"]
