"""Results for tests."""

from benchmarks.measurement import Measurements
from benchmarks.options import Options
from benchmarks.results import Case, Document, Metric, document
from benchmarks.suites import sampling

GANKIT, BASELINE = "gankit, --for cpu, float32", "torch eager, float32"
AT_128 = sampling.rate(128)


def stored(
    suite: str, values: dict[str, dict[str, list[float]]], metrics: dict[str, Metric], **reasons: dict[str, str]
) -> Document:
    """A document as a suite makes it; `reasons` are those of `unavailable` or `failed` cases."""
    names = {name for each in values.values() for name in each} | {name for each in reasons.values() for name in each}
    cases = {
        name: Case(baseline=not name.startswith("gankit"), precision=name.rsplit(", ")[-1]) for name in sorted(names)
    }
    return document(suite, "Invented", Options(), Measurements(values, **reasons), metrics, cases)


def rates(gankit: list[float], baseline: list[float]) -> Document:
    """A document of the suite sampling, with gankit and one baseline."""
    return stored("sampling", {AT_128: {GANKIT: gankit, BASELINE: baseline}}, {AT_128: Metric("images/s")})
