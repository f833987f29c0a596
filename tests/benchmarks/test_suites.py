"""The implementations, the suites and the command line."""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import roofline, stats
from benchmarks.implementations import IMPLEMENTATIONS, check_images, find_implementation, select_implementations
from benchmarks.measurement import FailedError
from benchmarks.model import Model
from benchmarks.options import Options
from benchmarks.profile import node_times
from benchmarks.results import read_all
from benchmarks.suites import sampling, serving
from benchmarks.suites.table import SUITES
from tests.benchmarks.documents import AT_128, GANKIT
from tests.helpers.commands import Result, refused
from tests.helpers.paths import TINY

Run = Callable[..., Result]

# Implementations


def test_names_are_unique_and_quick_runs_have_gankit_and_baselines() -> None:
    for device in ("cpu", "cuda"):
        names = [each.name for each in IMPLEMENTATIONS if each.device == device]
        assert len(set(names)) == len(names)
        quick = select_implementations(Options(device, quick=True))
        assert 3 <= len(quick) < len(names)
        assert {each.baseline for each in quick.values()} == {True, False}
        assert not any(each.baseline for each in select_implementations(Options(device, baselines=False)).values())


def test_wrong_images_are_a_failure() -> None:
    model = Model(TINY)
    _, images = model.reference()
    assert images.std() > 20
    for name, allowed in ((GANKIT, 1), ("OpenVINO, --rewrite plain, bfloat16", 8)):
        implementation = find_implementation(name, "cpu")
        wrong = images.astype(int)
        wrong[3, 2, 1, 0] += allowed if wrong[3, 2, 1, 0] < 128 else -allowed
        check_images(implementation, lambda _, wrong=wrong: wrong.astype(np.uint8), model)  # type: ignore[misc]
        wrong[3, 2, 1, 0] += 1 if wrong[3, 2, 1, 0] < 128 + allowed else -1
        with pytest.raises(FailedError, match=f"up to {allowed + 1} grey levels"):
            check_images(implementation, lambda _, wrong=wrong: wrong.astype(np.uint8), model)  # type: ignore[misc]
    implementation = find_implementation(GANKIT, "cpu")
    everywhere = np.where(images < 128, images + 1, images - 1).astype(np.uint8)
    with pytest.raises(FailedError, match="up to 1 grey levels, 1 in the mean"):
        check_images(implementation, lambda _: everywhere, model)
    with pytest.raises(FailedError, match="float32"):
        check_images(implementation, lambda _: images.astype(np.float32), model)  # type: ignore[arg-type, return-value]


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_the_model_has_one_set_of_weights_in_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import benchmarks.model
    from gankit_train.config.variants import configure

    # Few filters are quick.
    monkeypatch.setattr("gankit_train.config.variants.configure", lambda *a, **k: configure(*a, filters=8, **k))
    benchmarks.model.make(str(tmp_path), "cpu")
    model = Model(tmp_path)
    _, images = model.reference()
    assert images.shape == (32, 64, 64, 3) and images.std() > 40
    names = [GANKIT, "gankit, --rewrite plain, float32", "onnxruntime, --rewrite plain, float32"]
    for precision in ("float32", "bfloat16"):  # PyTorch has both on every processor
        names += [f"{name}, {precision}" for name in ("torch eager", "torch channels_last", "TorchScript")]
    for name in names:
        implementation = find_implementation(name, "cpu")
        sampler = implementation.load(model, 1)
        check_images(implementation, sampler.generate, model)
        assert sampler.sample(3, 0).shape == (3, 64, 64, 3)
    # z → 4×4, and four transposed convolutions with 4×4 kernels: multiplications of each pixel of their input.
    widths, edges = (64, 32, 16, 8, 3), (4, 8, 16, 32)
    layers = [e * e * 16 * a * b for e, a, b in zip(edges, widths, widths[1:], strict=False)]
    assert model.work()[roofline.OPERATIONS] == 2 * (100 * 16 * widths[0] + sum(layers))


# The command line


def test_the_commands_and_the_suites_are_listed(benchmarks: Run) -> None:
    listed = benchmarks("--help").stdout
    assert all(f"\n  {command} " in listed for command in ("run", "table", "chart", "profile", "soak"))
    listed = benchmarks("run", "--help").stdout
    assert all(f"\n  {suite}: " in listed for suite in SUITES)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("run", "sampling", "--device", "cuda"), 1, ["--device cuda"]),
        (("run", "sampling", "--device", "tpu"), 2, ["cpu or cuda", "'tpu'"]),
        (("run", "sampling", "speed"), 2, ["'speed'", "serving"]),
        (("run", "sampling", "--model", "nowhere.onnx"), 2, ["nowhere.onnx"]),
        (("run", "training", "--baseline-dir", "nowhere"), 2, ["nowhere", "dcgan/main.py", "PyTorch-GAN"]),
        (("run", "export", "--model", str(TINY)), 1, ["export", "tiny.onnx has no weights"]),
        (("profile", "--device", "cuda"), 1, ["--device cuda"]),
    ],
)
def test_what_cannot_be_measured_is_refused(
    benchmarks: Run, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, words: list[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    refused(benchmarks(*arguments), code, *words)


# Suites


def test_a_quick_run_ends_in_a_table(benchmarks: Run, tmp_path: Path, openvino_precisions: list[str]) -> None:
    run = benchmarks("run", "sampling", "--quick", "--model", TINY, "--results", tmp_path)
    assert run.returncode == 0, run.stderr
    [document] = read_all(tmp_path)
    assert document["quick"] and document["machine"]["commit"] and document["threads"] >= 1
    for metric in (AT_128, sampling.LATENCY, sampling.COLD_START, sampling.MEMORY):
        assert {GANKIT, "onnxruntime, --for cpu, float32"} <= document["metrics"][metric]["results"].keys()
    assert not document["failed"]
    unavailable = document["unavailable"]
    assert "no weights" in unavailable["torch channels_last, float32"]
    for name in ("gankit, openvino, bfloat16", "OpenVINO, --rewrite plain, bfloat16"):
        if "bfloat16" in openvino_precisions:
            assert name in document["metrics"][AT_128]["results"]
        else:
            assert "bfloat16" in unavailable[name] and name not in document["metrics"][AT_128]["results"]
    table = benchmarks("table", "--results", tmp_path).stdout
    assert "quick run" in table
    assert all(f"{name} ({reason})" in table for name, reason in unavailable.items())
    median = stats.number(document["metrics"][AT_128]["results"][GANKIT]["median"])
    assert f"| **{GANKIT}** | {median} |" in table


@pytest.mark.usefixtures("clock")
def test_requests_are_counted_while_the_clock_runs() -> None:
    for name in (
        serving.SEQUENTIAL,
        serving.SUBMIT,
        "gankit, 64 async clients, sample_async",
        "onnxruntime, 64 threads",
    ):
        values = serving.measure("cpu", 1, name, str(TINY), 1.0)
        assert values[serving.REQUESTS] >= (1000 - 4 * serving.CALLERS) / 3
        assert 0 < values[serving.P50] <= values[serving.P99]


@pytest.mark.usefixtures("clock")
def test_requests_of_the_warm_up_do_not_count() -> None:
    requests: list[int] = []
    latencies = serving.call_from_threads(requests.append, 2, 1.0)
    assert 300 < len(latencies) < len(requests) - 50


def test_a_machine_on_which_no_request_ends_in_time_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = count(0, 3600)
    monkeypatch.setattr(serving, "perf_counter", lambda: next(hours))
    with pytest.raises(FailedError, match=r"no request began and ended within 0\.1 s"):
        serving.measure("cpu", 1, serving.SEQUENTIAL, str(TINY), 0.1)


def test_a_profile_names_every_node_and_adds_up(benchmarks: Run, tmp_path: Path) -> None:
    run = benchmarks("profile", "--quick", "--model", TINY, "--batch", 4, "--results", tmp_path)
    assert run.returncode == 0, run.stderr
    [document] = read_all(tmp_path)
    parts = document["metrics"]["batch of 4"]["results"]
    kinds = [name.split()[1] for name in parts if name.startswith(("compute", "conversion"))]
    assert kinds == ["Concat", "Gemm", "Clip", "Cast", "Reshape"]
    assert next(name for name in parts if name.startswith("conversion")).startswith("conversion: Clip")
    *several, total = (part["median"] for part in parts.values())
    assert sum(several) == pytest.approx(total)
    assert "| latents |" in run.stdout and "100 % of the total" in run.stdout


def test_a_nodes_time_is_the_median_of_its_last_runs() -> None:
    def event(name: str, kind: str, microseconds: int) -> dict[str, Any]:
        return {"cat": "Node", "name": f"{name}_kernel_time", "args": {"op_name": kind}, "dur": microseconds}

    first = [event("a", "Conv", 9000), event("b", "Cast", 900), {"cat": "Session", "name": "run", "dur": 1}]
    later = [event("a", "Conv", n) for n in (1000, 2000, 6000)] + [event("b", "Cast", 100)] * 3
    assert node_times(first + later, 3) == {"compute: Conv a": 2.0, "conversion: Cast b": 0.1}
