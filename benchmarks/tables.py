"""The stored results as Markdown: the full tables of docs/benchmarks.md and the summary of README.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmarks.results import Document, best_baseline, best_case
from benchmarks.stats import number, percent, ratio, spread_note
from benchmarks.suites import sampling, serving
from benchmarks.suites.table import SUITES
from benchmarks.targets import STATUSES, check_targets
from benchmarks.trainers import DCGAN
from gankit._errors import GankitError

BEGIN, END = "<!-- benchmarks -->", "<!-- /benchmarks -->"


class Job(NamedTuple):
    """A row of the summary."""

    name: str
    suite: str
    device: str
    metric: str
    precision: str


JOBS = (
    Job("sampling on the CPU, float32", "sampling", "cpu", sampling.HEADLINE["cpu"], "float32"),
    Job("sampling on the CPU, bfloat16", "sampling", "cpu", sampling.HEADLINE["cpu"], "bfloat16"),
    Job("one image on the CPU, float32", "sampling", "cpu", sampling.LATENCY, "float32"),
    Job(f"{serving.CALLERS} callers on the CPU, float32", "serving", "cpu", serving.REQUESTS, "float32"),
    Job("training on the CPU, float32", "training", "cpu", DCGAN.metric, "float32"),
    Job("training on the CPU, bfloat16", "training", "cpu", DCGAN.metric, "bfloat16"),
    Job("sampling on CUDA, float16", "sampling", "cuda", sampling.HEADLINE["cuda"], "float16"),
    Job("one image on CUDA, float16", "sampling", "cuda", sampling.LATENCY, "float16"),
    Job(f"{serving.CALLERS} callers on CUDA, float16", "serving", "cuda", serving.REQUESTS, "float16"),
    Job("training on CUDA, bfloat16", "training", "cuda", DCGAN.metric, "bfloat16"),
)


def replace_between_markers(text: str, content: str) -> str:
    """Replaces what stands between the markers in `text`.

    Raises:
        GankitError: a marker is missing.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise GankitError(f"there is no {BEGIN} … {END} to write the results into; add these two lines")
    return f"{before}{BEGIN}\n\n{content}\n\n{END}{after}"


def summary_table(documents: Sequence[Document]) -> str:
    """One row per job: the best of gankit's cases, the best baseline, and the ratio of their speeds.

    The ratio is above 1 where gankit is faster: for latencies, it is the baseline's divided by gankit's.
    """
    stored = {(each["suite"], each["device"]): each for each in documents}
    rows = [_summary_row(job, stored[job.suite, job.device]) for job in JOBS if (job.suite, job.device) in stored]
    lines = ["| job | gankit | best baseline | speed versus the baseline |", "|---|---|---|---|", *filter(None, rows)]
    notes = [
        "`--for cpu` and `--for cuda` are the files that gan-export writes for these devices, `--rewrite plain` is the "
        "graph of PyTorch's exporter."
    ]
    if not any(device == "cuda" for _, device in stored):
        notes.append("CUDA is not measured yet.")
    return "\n".join(lines) + "\n\n" + " ".join(notes)


def _summary_row(job: Job, document: Document) -> str | None:
    cases = document["cases"]
    ours = best_case(
        document, job.metric, lambda name: not cases[name]["baseline"] and cases[name]["precision"] == job.precision
    )
    baseline = best_baseline(document, job.metric, job.precision)
    if ours is None or baseline is None:
        return None
    metric = document["metrics"][job.metric]
    pair = [metric["results"][name]["values"] for name in (ours, baseline)]
    factor = ratio(*pair) if metric["higher_is_better"] else ratio(*reversed(pair))
    gankit, best = (
        f"{number(metric['results'][name]['median'])} {metric['unit']} ({name})" for name in (ours, baseline)
    )
    return f"| {job.name} | {gankit} | {best} | {factor['median']:.2f}×{spread_note(factor)} |"


def full_tables(documents: Sequence[Document]) -> str:
    """The targets, then everything that was measured, suite by suite."""
    order = list(SUITES)

    def position(document: Document) -> tuple[str, int]:
        return document["device"], order.index(document["suite"]) if document["suite"] in order else len(order)

    sections = [suite_section(each) for each in sorted(documents, key=position)]
    return "\n\n".join([_target_section(documents), *sections])


def _target_section(documents: Sequence[Document]) -> str:
    checked = check_targets(documents)
    counts = ", ".join(f"{sum(each.status == status for each in checked)} {status}" for status in STATUSES)
    missed = "; ".join(each.target.name for each in checked if each.status == "missed")
    text = f"Of {len(checked)} targets: {counts}." + (f" Missed: {missed}." if missed else "")
    lines = ["| target | required | status | result (range over the rounds) |", "|---|---|---|---|"]
    for each in checked:
        status = f"**{each.status}**" if each.status == "missed" else each.status
        lines.append(f"| {each.target.name} | {each.target.requirement} | {status} | {each.result} |")
    return "\n\n".join(["### Targets", text, "\n".join(lines)])


def suite_section(document: Document) -> str:
    """Everything that one suite measured."""
    device = {"cpu": "CPU", "cuda": "CUDA"}.get(document["device"], document["device"])
    parts = [f"### {document['suite']}, {device}", _conditions(document)]
    if document["peaks"]:
        peaks = "; ".join(f"{number(rate / 1e9)} G{name}" for name, rate in document["peaks"].items())
        parts.append(f"Measured peak rates of the machine: {peaks}.")
    parts += [_metric_table(document, metric) for metric in document["metrics"]]
    return "\n\n".join(parts)


def _conditions(document: Document) -> str:
    """What was measured, on which machine, with which versions, and which cases have no result."""
    machine, metrics = document["machine"], document["metrics"].values()
    rounds = max((len(each["values"]) for metric in metrics for each in metric["results"].values()), default=0)
    hardware = f"{machine['cpu']} with {machine['gpu']}" if document["device"] == "cuda" else machine["cpu"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    parts = [f"{document['description']}. {rounds} {'round' if rounds == 1 else 'rounds'}."]
    parts.append(f"{machine['cores']} cores of {hardware}; commit {machine['commit']}; {versions}.")
    if document["quick"]:
        parts.insert(0, "**A quick run: its values only show that everything works.**")
    for title, reasons in (("**Failed:**", document["failed"]), ("Not available:", document["unavailable"])):
        if reasons:
            parts.append(f"{title} {'; '.join(f'{case} ({reason})' for case, reason in reasons.items())}.")
    return " ".join(parts)


def _metric_table(document: Document, metric: str) -> str:
    cases, measured = document["cases"], document["metrics"][metric]
    results: dict[str, Any] = measured["results"]
    has_share = any("share" in each for each in results.values())
    versus = {
        case: baseline
        for case in results
        if measured["compared"] and not cases[case]["baseline"]
        if (baseline := best_baseline(document, metric, cases[case]["precision"]))
    }
    columns = [metric, measured["unit"], "range", *["share"] * has_share, *["versus the best baseline"] * bool(versus)]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for case, result in results.items():
        spread = f"{number(result['min'])} … {number(result['max'])}{spread_note(result)}"
        row = [f"**{case}**" if case in versus else case, number(result["median"]), spread]
        if has_share:
            row.append(f"{percent(result['share'])} of {result['share_of']}" if "share" in result else "")
        if versus:
            row.append(_versus(results, case, versus[case]) if case in versus else "")
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def _versus(results: dict[str, Any], case: str, baseline: str) -> str:
    found = ratio(results[case]["values"], results[baseline]["values"])
    return f"{found['median']:.2f} ({found['min']:.2f} … {found['max']:.2f}{spread_note(found)}) of {baseline}"
