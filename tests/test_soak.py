"""The soak of benchmarks/: what it asks, and that it notices."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gankit
from benchmarks import soak
from tests.helpers.models import foreign_model
from tests.helpers.paths import TINY


def test_mixed_requests_of_every_kind_and_form_are_answered_rightly() -> None:
    done = soak.mixed(TINY, "cpu", minutes=10, requests=300, threads=3)
    assert done.wrong == [] and done.device == "cpu"
    assert done.counts.total() == 300 and set(done.counts) == set(soak.KINDS) and min(done.counts.values()) > 0
    assert done.images > 300 and done.done[0] == 0 and done.done[-1] == 300
    assert all(len(values) == len(done.done) and min(values) > 0 for values in done.memory.values())


def test_a_model_without_labels_can_be_soaked(tmp_path: Path) -> None:
    model = tmp_path / "plain.onnx"
    model.write_bytes(foreign_model("uint8", labels=False))
    done = soak.mixed(model, "cpu", minutes=10, requests=60, threads=2)
    assert done.wrong == [] and done.counts.total() == 60 and "compare_labels" not in done.counts


def test_every_kind_of_request_in_every_form_has_the_probes_image_and_another_is_noticed() -> None:
    with gankit.load(TINY, device="cpu") as faces:
        probes = soak._probes(faces)
        assert {probe.form for probe in probes} == set(soak.FORMS)
        for kind, (make, _) in soak.KINDS.items():
            for probe in probes:
                seen = soak.Soak("cpu")
                ask = soak.Ask(faces, probe, 9, min(4, probe.number), lambda: gankit.load(TINY, device="cpu"))
                found = make(ask)[1]
                for image in found:
                    seen.check("as it was", image, probe.image)
                assert seen.wrong == [] and bool(found) == (kind != "refused")
                for image in found:
                    seen.check("off", image, np.where(probe.image < 128, probe.image + 3, probe.image - 3))
                    seen.check("cut off", image[1:], probe.image)
                assert len(seen.wrong) == 2 * len(found)


def test_a_failure_is_noted_and_many_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gankit.Generator, "grid", lambda *arguments, **named: 1 / 0)
    monkeypatch.setattr(gankit.Generator, "submit", lambda *arguments, **named: 1 / 0)
    done = soak.mixed(TINY, "cpu", minutes=10, requests=10**9, threads=2)
    assert 10 <= len(done.wrong) <= 12  # of the two threads, each may end what it does
    assert any("grid" in line and "ZeroDivisionError" in line for line in done.wrong)


def test_a_stream_is_watched_and_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    done = soak.stream(TINY, "cpu", n=2000)
    assert done.wrong == [] and done.images == 2000 and done.done[-1] == 2000 and len(done.done) > 20
    monkeypatch.setattr(gankit.Generator, "stream", lambda self, n, seed: iter([np.zeros((n, 8, 8, 3), np.uint8)]))
    assert soak.stream(TINY, "cpu", n=30).wrong == ["image 29 of the stream: another image than when it was made alone"]


def test_growth_is_of_the_level_and_not_of_the_waves() -> None:
    waves = [100.0, 130.0, 100.0, 90.0, 100.0] * 8
    assert soak.growth(waves) == 0
    assert soak.growth([*waves, *(value + 20 for value in waves)]) == 20
    assert soak.growth([float(i) for i in range(101)]) == 80
    assert soak.growth([5.0]) == 0


@pytest.mark.parametrize(("images", "name"), [(0, "soak"), (11_000, "soak-stream")])
def test_the_command_writes_the_figures_and_fails_where_memory_grew(
    images: int, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written: dict[str, Any] = {}
    monkeypatch.setattr(soak, "write", lambda made, _: written.update({made["suite"]: made}))

    def run(bound: float) -> None:
        soak.main(minutes=10, model=TINY, device="cpu", threads=2, requests=30, images=images, bound=bound)

    run(1e6)
    document = written[name]
    assert document["metrics"][soak._MEMORY]["unit"] == "MB" and document["wrong"] == [] and document["bound"] == 1e6
    for gauge, values in document["memory"].items():
        assert {"after warm-up", "end", "peak", "growth", "a thousand"} == set(values)
        row = document["metrics"][soak._MEMORY]["ways"][gauge]
        assert 0 < row["min"] <= row["median"] <= row["max"]
    said = capsys.readouterr().out
    assert "resident" in said and f"{document['images']:,}" in said
    with pytest.raises(gankit.GankitError, match=r"memory grew by .* MB, more than -1e\+06 MB"):
        run(-1e6)
    monkeypatch.setattr(soak.Soak, "check", lambda self, what, image, expected: self.wrong.append(what))
    with pytest.raises(gankit.GankitError, match="answers were wrong; the first: "):
        run(1e6)
    assert written[name]["wrong"]
