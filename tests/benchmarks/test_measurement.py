"""Interleaved rounds, statistics, processes and the roofline."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import roofline, stats, tables
from benchmarks.commands import run_command
from benchmarks.measurement import FailedError, Measurements, UnavailableError, interleave
from benchmarks.options import Options
from benchmarks.results import Case, Metric, document
from benchmarks.worker import run_in_process
from tests.benchmarks.documents import AT_128, GANKIT, rates, stored

# Rounds


def test_cases_take_turns() -> None:
    order: list[str] = []

    def measure(name: str) -> Callable[[], dict[str, float]]:
        return lambda: order.append(name) or {"s": float(len(order))}  # type: ignore[func-returns-value]

    measured = interleave({"a": measure("a"), "b": measure("b")}, 3, log=lambda _: None)
    assert order == ["a", "b"] * 3
    assert measured.values == {"s": {"a": [1, 3, 5], "b": [2, 4, 6]}}


def test_a_summary_is_the_median_and_a_ratio_is_taken_round_by_round() -> None:
    summary = stats.summarise([1.0, 4.0, 2.0])
    assert (summary["median"], summary["min"], summary["max"], stats.spread(summary)) == (2, 1, 4, 1.5)
    # Both drift to twice the speed: their ratio does not.
    assert stats.ratio([10, 20, 15], [5, 10, 7.5])["values"] == [2, 2, 2]
    assert [stats.number(v) for v in (0, 0.01234, 1.3, 88.04, 1310.4)] == ["0", "0.0123", "1.30", "88.0", "1,310"]


def test_a_case_that_is_unavailable_or_fails_is_named_once_and_has_no_values() -> None:
    lines: list[str] = []
    calls: list[int] = []

    def fails_later() -> dict[str, float]:
        calls.append(1)
        if len(calls) > 1:
            raise FailedError("it crashed")
        return {"images/s": 1.0}

    def unavailable() -> dict[str, float]:
        raise UnavailableError("not installed")

    measures = {
        "good, float32": lambda: {"images/s": 7.0},
        "later, float32": fails_later,
        "absent, float32": unavailable,
    }
    measured = interleave(measures, 4, lines.append)
    assert measured.values == {"images/s": {"good, float32": [7, 7, 7, 7]}}
    reasons = {"failed": {"later, float32": "it crashed"}, "unavailable": {"absent, float32": "not installed"}}
    assert {"failed": measured.failed, "unavailable": measured.unavailable} == reasons and len(calls) == 2
    assert len([line for line in lines if "not installed" in line or "it crashed" in line]) == 2
    page = tables.full_tables([stored("sampling", measured.values, {"images/s": Metric("images/s")}, **reasons)])
    assert (
        "**Failed:** later, float32 (it crashed)." in page and "Not available: absent, float32 (not installed)." in page
    )
    assert "| later" not in page and "| absent" not in page


def test_a_spread_above_a_fifth_is_marked() -> None:
    page = tables.full_tables([rates(gankit=[100, 110, 119], baseline=[100, 110, 133])])
    rows = [line for line in page.splitlines() if "| 110 |" in line]
    assert "spread" not in rows[0] and "spread 30 %" in rows[1]


# Processes


def answer(text: str) -> dict[str, str]:
    """Runs in a process of its own, and prints, as libraries do."""
    print("a library says hello")
    return {"text": text, "threads": os.environ["MKL_NUM_THREADS"], "gpus": os.environ["CUDA_VISIBLE_DEVICES"]}


def misbehave(how: str) -> None:
    """Runs in a process of its own, and goes wrong."""
    if how == "crash":
        print("a fatal thing", file=sys.stderr, flush=True)
        os._exit(3)
    if how == "import":
        import a_package_that_nobody_has  # type: ignore[import-not-found]  # noqa: F401
    raise ValueError("two\nlines")


def test_a_process_returns_its_result_even_if_libraries_print() -> None:
    assert run_in_process(answer, 3, "cpu", text="ï") == {"text": "ï", "threads": "3", "gpus": ""}


@pytest.mark.parametrize(
    ("how", "kind", "words"),
    [
        ("crash", FailedError, "code 3: a fatal thing"),
        ("import", UnavailableError, "a_package_that_nobody_has"),
        ("raise", FailedError, "ValueError: two lines"),
    ],
)
def test_a_process_that_goes_wrong_gives_a_reason_of_one_line(how: str, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words) as error:
        run_in_process(misbehave, 1, "cpu", how=how)
    assert "\n" not in str(error.value)


def test_a_command_is_measured_as_a_whole_and_one_that_ends_with_an_error_has_failed(tmp_path: Path) -> None:
    seconds, peak = run_command(("gan-gen", "--help"), Options(), tmp_path)
    assert seconds > 0.01 and 1e6 < peak < 1e10
    with pytest.raises(FailedError, match=r"gan-gen ended with code 2: gan-gen: .*'tpu'"):
        run_command(("gan-gen", "--device", "tpu"), Options(), tmp_path)


# The roofline


def test_the_roofline_is_the_lowest_bound() -> None:
    peaks = {roofline.FLOPS["float32"]: 4e11, roofline.MEMORY: 2e10, roofline.TO_HOST: 1e9}
    work = {roofline.OPERATIONS: 2e8, roofline.BYTES_MOVED: 1e4, roofline.BYTES_OUT: 1e4}
    assert roofline.bound(peaks, work, "float32") == ("arithmetic in float32", 2000)
    assert roofline.bound(peaks, work | {roofline.BYTES_OUT: 1e6}, "float32") == ("copy to the host", 1000)
    assert roofline.bound(peaks, work, "float16") == ("copy to the host", 100_000)
    assert roofline.bound({}, work, "float32") is None
    values = {AT_128: {GANKIT: [500.0]}} | {name: {"peak rates by torch": [rate]} for name, rate in peaks.items()}
    metrics = {AT_128: Metric("images/s", work=work)}
    result = document("sampling", "", Options(), Measurements(values), metrics, {GANKIT: Case()})
    assert result["metrics"][AT_128]["results"][GANKIT]["share"] == 0.25
    assert "25 % of arithmetic in float32" in tables.full_tables([result])


@pytest.mark.parametrize("engine", roofline.ENGINES)
def test_peak_rates_are_measured_in_every_precision(engine: str, openvino_precisions: list[str]) -> None:
    sizes = {"gemm": [(16, 16, 16)], "conv": [(1, 4, 4)], "bytes": 1 << 12}
    arguments = {"device": "cpu", "threads": 1, "engine": engine, "sizes": sizes, "seconds": 0.0}
    peaks = run_in_process(roofline.measure_peaks, 1, "cpu", **arguments)
    # PyTorch computes in bfloat16 on every processor, if slowly on those that do not support it.
    precisions = {"torch": ["float32", "bfloat16"], "onnxruntime": ["float32"], "openvino": openvino_precisions}[engine]
    assert peaks.keys() - {roofline.MEMORY} == {roofline.FLOPS[name] for name in precisions}
    assert (roofline.MEMORY in peaks) == (engine == "torch")
    assert all(rate > 0 for rate in peaks.values())
