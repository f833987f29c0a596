"""The stored results as Markdown: the targets, those that are missed first; then everything that was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks import targets
from benchmarks.results import Document
from benchmarks.rounds import noise, number_text, ratio
from benchmarks.suites import sampling, training

BEGIN, END = "<!-- benchmarks: python -m benchmarks table --write -->", "<!-- /benchmarks -->"


def page(documents: Sequence[Document]) -> str:
    """Everything."""
    return "\n\n".join(["# Results", *_targets(documents), *(section(each) for each in documents)]) + "\n"


def for_readme(documents: Sequence[Document]) -> str:
    """What the README shows of it: the targets, and sampling and training."""
    parts = _targets(documents)
    for each in documents:
        quoted = (sampling.SHOWN.get(each["device"], ""), sampling.ONE, training.DCGAN.metric)
        metrics = [_metric(each, metric) for metric in each["metrics"] if metric in quoted]
        parts += [_head(each), *metrics] if metrics else []
    if not any(each["device"] == "cuda" for each in documents):
        parts.append("CUDA is built through the same code path and not yet measured on a GPU.")
    return "\n\n".join([BEGIN, *parts, END])


def with_results(text: str, documents: Sequence[Document]) -> str:
    """The README with its part replaced."""
    before, rest = text.split(BEGIN)
    return before + for_readme(documents) + rest.split(END)[1]


def _targets(documents: Sequence[Document]) -> list[str]:
    checked = targets.check(documents)
    missed = [each for each in checked if each.verdict == "below"]
    said = [f"Below what was asked for: {'; '.join(each.target.what for each in missed)}."] if missed else []
    counts = [f"{sum(each.verdict == verdict for each in checked)} {verdict}" for verdict in targets.VERDICTS]
    said.append(f"Of {len(checked)} figures: {', '.join(counts)}.")
    lines = ["| figure | asked for | | measured, from … to over the rounds |", "|---|---|---|---|"]
    for each in checked:
        verdict = f"**{each.verdict}**" if each.verdict == "below" else each.verdict
        lines.append(f"| {each.target.what} | {each.target.asked} | {verdict} | {each.measured} |")
    return [" ".join(said), "\n".join(lines)]


def section(document: Document) -> str:
    """Everything that one suite measured."""
    parts = [f"## {document['suite']}, {document['device']}", _head(document)]
    if document["limits"]:
        rates = "; ".join(f"{number_text(rate / 1e9)} G{name}" for name, rate in document["limits"].items())
        parts.append(f"Limits, measured beside it: {rates}.")
    parts += [_metric(document, metric) for metric in document["metrics"]]
    return "\n\n".join(parts)


def _head(document: Document) -> str:
    """What was measured, where, and what was left out."""
    machine = document["machine"]
    where = f"{machine['cpu']} with {machine['gpu']}" if document["device"] == "cuda" else machine["cpu"]
    rounds = max(
        (len(way["values"]) for each in document["metrics"].values() for way in each["ways"].values()), default=0
    )
    versions = ", ".join(f"{name} {found}" for name, found in machine["versions"].items())
    parts = [f"{document['about']}, {rounds} round{'s' * (rounds != 1)}."]
    parts.append(f"{machine['cores']} cores of {where}, commit {machine['commit']}, {versions}.")
    if document["quick"]:
        parts.insert(0, "**A quick run: it shows that all works and not how fast it is.**")
    for said, ways in (("**Failed:**", document["failed"]), ("Left out:", document["missing"])):
        if ways:
            parts.append(f"{said} {'; '.join(f'{way} ({why})' for way, why in ways.items())}.")
    return " ".join(parts)


def _metric(document: Document, metric: str) -> str:
    measured = document["metrics"][metric]
    ways: dict[str, Any] = measured["ways"]
    limited = any("share" in way for way in ways.values())
    compared = {name: other for name in ways if measured["compared"] and (other := _peer_of(document, metric, name))}
    columns = [metric, measured["unit"], "from … to"]
    columns += ["share"] * limited + ["beside the best peer, round by round"] * bool(compared)
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for name, way in ways.items():
        shown = f"**{name}**" if document["ways"][name]["ours"] and compared else name
        row = [shown, number_text(way["median"]), f"{number_text(way['min'])} … {number_text(way['max'])}{noise(way)}"]
        if limited:
            row.append(f"{way['share']:.0%} of {way['limit']}" if "share" in way else "")
        if compared:
            row.append(_against(ways, name, compared[name]) if name in compared else "")
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def _against(ways: dict[str, Any], name: str, other: str) -> str:
    found = ratio(ways[name]["values"], ways[other]["values"])
    return f"{found['median']:.2f} ({found['min']:.2f} … {found['max']:.2f}{noise(found)}) of {other}"


def _peer_of(document: Document, metric: str, name: str) -> str | None:
    """The best peer in the same precision, or in any where there is none; None for what is a peer itself."""
    rows, measured = document["ways"], document["metrics"][metric]
    if not rows[name]["ours"]:
        return None
    peers = [way for way in measured["ways"] if not rows[way]["ours"]]
    alike = [way for way in peers if rows[way]["precision"] == rows[name]["precision"]]
    pick = max if measured["higher_is_better"] else min
    return pick(alike or peers, key=lambda way: measured["ways"][way]["median"], default=None)
