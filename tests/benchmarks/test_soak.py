"""The soak test: its requests, and that it notices errors and growing memory."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import gankit
from benchmarks.soak import memory, report, requests, runs
from tests.helpers.commands import Result, refused
from tests.helpers.models import foreign_model as foreign
from tests.helpers.paths import TINY


def test_mixed_requests_of_every_kind_and_form_are_answered_correctly() -> None:
    record = runs.mixed_requests(TINY, "cpu", minutes=10, requests=300, threads=3)
    assert record.errors == [] and record.device == "cpu"
    assert record.counts.total() == 300
    assert set(record.counts) == set(requests.KINDS) and min(record.counts.values()) > 0
    assert record.images > 300 and record.progress[0] == 0 and record.progress[-1] == 300
    assert all(len(values) == len(record.progress) and min(values) > 0 for values in record.memory.values())


def test_a_model_without_labels_can_be_tested(tmp_path: Path) -> None:
    model = tmp_path / "plain.onnx"
    model.write_bytes(foreign("uint8", labels=False))
    record = runs.mixed_requests(model, "cpu", minutes=10, requests=60, threads=2)
    assert record.errors == [] and record.counts.total() == 60 and "compare_labels" not in record.counts


def test_every_kind_of_request_returns_the_probe_in_every_form_and_other_images_are_noticed() -> None:
    with gankit.load(TINY, device="cpu") as faces:
        probes = requests.make_probes(faces)
        assert {probe.form for probe in probes} == set(requests.LABEL_FORMS)
        for kind, (send, _) in requests.KINDS.items():
            for probe in probes:
                record = runs.Record("soak", "cpu")
                at = min(4, probe.number)
                request = requests.Request(faces, probe, 9, at, lambda: gankit.load(TINY, device="cpu"))
                images = send(request)[1]
                for image in images:
                    record.check("same", image, probe.image)
                assert record.errors == [] and bool(images) == (kind != "invalid")
                for image in images:
                    record.check("other", image, np.where(probe.image < 128, probe.image + 3, probe.image - 3))
                    record.check("cropped", image[1:], probe.image)
                assert len(record.errors) == 2 * len(images)


def test_errors_are_recorded_and_many_end_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gankit.Generator, "grid", lambda *arguments, **named: 1 / 0)
    monkeypatch.setattr(gankit.Generator, "submit", lambda *arguments, **named: 1 / 0)
    record = runs.mixed_requests(TINY, "cpu", minutes=10, requests=10**9, threads=2)
    assert 10 <= len(record.errors) <= 12  # each of the two threads may end the request that it has begun
    assert any("grid" in line and "ZeroDivisionError" in line for line in record.errors)


def test_memory_and_images_of_a_stream_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    record = runs.one_stream(TINY, "cpu", n=2000)
    assert record.errors == [] and record.images == 2000
    assert record.progress[-1] == 2000 and len(record.progress) > 20
    monkeypatch.setattr(gankit.Generator, "stream", lambda self, n, seed: iter([np.zeros((n, 8, 8, 3), np.uint8)]))
    errors = runs.one_stream(TINY, "cpu", n=30).errors
    assert errors == ["image 29 of the stream: not the image that was generated alone"]


def test_growth_is_that_of_the_level_and_not_of_single_samples() -> None:
    waves = [100.0, 130.0, 100.0, 90.0, 100.0] * 8
    assert memory.growth(waves) == 0
    assert memory.growth([*waves, *(value + 20 for value in waves)]) == 20
    assert memory.growth([float(i) for i in range(101)]) == 80
    assert memory.growth([5.0]) == 0


@pytest.mark.parametrize(("images", "name"), [(0, "soak"), (11_000, "soak-stream")])
def test_the_command_writes_results_and_fails_where_memory_grows_or_images_are_wrong(
    images: int, name: str, benchmarks: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(max_growth: float) -> Result:
        limits = ("--minutes", 10, "--threads", 2, "--requests", 30, "--stream", images, "--max-growth", max_growth)
        return benchmarks("soak", "-m", TINY, "--device", "cpu", "--results", tmp_path, *limits)

    first = run(1e6)
    assert first.returncode == 0, first.stderr
    document = json.loads((tmp_path / f"{name}.json").read_text())
    measured = document["metrics"][report.MEMORY]
    assert measured["unit"] == "MB" and document["errors"] == [] and document["max_growth"] == 1e6
    for gauge, values in document["memory"].items():
        assert {"after warm-up", "end", "peak", "growth", "per 1,000"} == set(values)
        result = measured["results"][gauge]
        assert 0 < result["min"] <= result["median"] <= result["max"]
    assert "resident" in first.stdout and f"{document['images']:,}" in first.stdout
    refused(run(-1e6), 1, "memory grew by", "more than the -1e+06 MB")
    monkeypatch.setattr(runs.Record, "check", lambda self, source, image, expected: self.errors.append(source))
    refused(run(1e6), 1, "requests had errors; the first: ")
    assert json.loads((tmp_path / f"{name}.json").read_text())["errors"]
