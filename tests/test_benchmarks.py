"""Measurements: their arithmetic, what becomes of peers that are missing or fail, and the way from a run to a table."""

import json
import os
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import __main__ as commands
from benchmarks import chart, limits, table, targets, worker
from benchmarks.model import Model
from benchmarks.options import Options
from benchmarks.processes import seconds_of
from benchmarks.profile import by_node
from benchmarks.results import Document, Metric, Row, document, read_all, write
from benchmarks.rounds import FailedError, MissingError, Taken, interleave, number_text, ratio, spread, summary
from benchmarks.suites import SUITES, sampling, serving, training
from benchmarks.ways import WAYS, compare, way_named, ways_for
from tests.helpers.commands import Result, refused
from tests.helpers.paths import TINY

Run = Callable[..., Result]
OURS, PEER = "gankit, --for cpu, float32", "torch eager, float32"
AT_128 = sampling.rate(128)


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs `python -m benchmarks` with these arguments; what it measures still gets processes of its own."""

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["benchmarks", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            commands.main()
        return Result(int(end.value.code or 0), *capfd.readouterr())

    return run


@pytest.fixture(params=["this processor", "a processor without bfloat16"])
def openvino_precisions(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The precisions that OpenVINO has in the processes of measurements: here, and as where the CPU lacks bfloat16."""
    if request.param == "a processor without bfloat16":
        monkeypatch.setattr(worker, "_MODULE", "tests.helpers.worker_without_bfloat16")
    found: list[str] = worker.call("benchmarks.limits:openvino_precisions", 1, "cpu")
    assert found == ["float32"] or request.param == "this processor"
    return found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock for the callers of the suite serving that moves by a millisecond at each look, on a busy machine too.

    A request looks two or three times. So of a second at least 1000 - 4·64 looks, at both ends, belong to requests of
    64 callers that began and ended in it.
    """
    looks = count(0, 0.001)
    monkeypatch.setattr(serving, "perf_counter", lambda: next(looks))


def stored(
    suite: str, values: dict[str, dict[str, list[float]]], metrics: dict[str, Metric], **taken: dict[str, str]
) -> Document:
    """A document as a suite makes it."""
    ways = {way for each in values.values() for way in each} | {way for each in taken.values() for way in each}
    rows = {way: Row(way.startswith("gankit"), way.rsplit(", ")[-1]) for way in sorted(ways)}
    return document(suite, "Made up", Options(), Taken(values, **taken), metrics, rows)


def rates(**values: list[float]) -> Document:
    """Of sampling: ours and a peer's."""
    named = {OURS: values["ours"], PEER: values["peer"]}
    return stored("sampling", {AT_128: named}, {AT_128: Metric("images/s")})


# Rounds


def test_measures_take_turns() -> None:
    order: list[str] = []

    def measure(name: str) -> Callable[[], dict[str, float]]:
        return lambda: order.append(name) or {"s": float(len(order))}  # type: ignore[func-returns-value]

    taken = interleave({"a": measure("a"), "b": measure("b")}, 3, say=lambda _: None)
    assert order == ["a", "b"] * 3
    assert taken.values == {"s": {"a": [1, 3, 5], "b": [2, 4, 6]}}


def test_a_summary_is_the_median_and_a_ratio_is_taken_round_by_round() -> None:
    found = summary([1.0, 4.0, 2.0])
    assert (found["median"], found["min"], found["max"], spread(found)) == (2, 1, 4, 1.5)
    # Both drift to twice the speed: their ratio does not.
    assert ratio([10, 20, 15], [5, 10, 7.5])["values"] == [2, 2, 2]
    assert [number_text(v) for v in (0, 0.01234, 1.3, 88.04, 1310.4)] == ["0", "0.0123", "1.30", "88.0", "1,310"]


def test_who_is_missing_or_fails_is_named_once_and_never_as_slow() -> None:
    said: list[str] = []
    calls: list[int] = []

    def fails_later() -> dict[str, float]:
        calls.append(1)
        if len(calls) > 1:
            raise FailedError("it crashed")
        return {"images/s": 1.0}

    def missing() -> dict[str, float]:
        raise MissingError("not installed")

    measures = {"good": lambda: {"images/s": 7.0}, "later": fails_later, "gone": missing}
    taken = interleave(measures, 4, said.append)
    assert taken.values == {"images/s": {"good": [7, 7, 7, 7]}}
    assert (taken.failed, taken.missing, len(calls)) == ({"later": "it crashed"}, {"gone": "not installed"}, 2)
    page = table.page([stored("sampling", taken.values, {"images/s": Metric("images/s")}, **_dropped(taken))])
    assert "**Failed:** later (it crashed)." in page and "Left out: gone (not installed)." in page
    assert "| later" not in page and "| gone" not in page


def _dropped(taken: Taken) -> dict[str, dict[str, str]]:
    return {"missing": taken.missing, "failed": taken.failed}


def test_noise_is_flagged_above_a_fifth() -> None:
    page = table.page([rates(ours=[100, 110, 119], peer=[100, 110, 133])])
    rows = [line for line in page.splitlines() if "| 110 |" in line]
    assert "noise" not in rows[0] and "noise 30%" in rows[1]


# Processes of their own


def answer(text: str) -> dict[str, str]:
    """Called in a process of its own, which prints as libraries do."""
    print("a library says hello")
    return {"text": text, "threads": os.environ["MKL_NUM_THREADS"], "gpus": os.environ["CUDA_VISIBLE_DEVICES"]}


def misbehave(how: str) -> None:
    """Likewise."""
    if how == "crash":
        print("a fatal thing", file=sys.stderr, flush=True)
        os._exit(3)
    if how == "import":
        import a_package_that_nobody_has  # type: ignore[import-not-found]  # noqa: F401
    raise ValueError("two\nlines")


def test_a_process_answers_whatever_is_printed_in_it() -> None:
    found = worker.call("tests.test_benchmarks:answer", 3, "cpu", text="ï")
    assert found == {"text": "ï", "threads": "3", "gpus": ""}


@pytest.mark.parametrize(
    ("how", "kind", "words"),
    [
        ("crash", FailedError, "code 3: a fatal thing"),
        ("import", MissingError, "a_package_that_nobody_has"),
        ("raise", FailedError, "ValueError: two lines"),
    ],
)
def test_a_process_that_goes_wrong_is_one_line(how: str, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words) as error:
        worker.call("tests.test_benchmarks:misbehave", 1, "cpu", how=how)
    assert "\n" not in str(error.value)


def test_a_command_is_timed_as_a_whole_and_one_that_ends_badly_has_failed(tmp_path: Path) -> None:
    seconds, peak = seconds_of(("gan-gen", "--help"), Options(), tmp_path)
    assert seconds > 0.01 and 1e6 < peak < 1e10
    with pytest.raises(FailedError, match=r"gan-gen ended with code 2: gan-gen: .*'tpu'"):
        seconds_of(("gan-gen", "--device", "tpu"), Options(), tmp_path)


# Limits


def test_the_nearer_limit_is_the_one_that_allows_fewer_images() -> None:
    machine = {limits.RATE.format("float32"): 4e11, limits.MEMORY: 2e10, limits.COPY: 1e9}
    work = {limits.OPERATIONS: 2e8, limits.MOVED: 1e4, limits.OUT: 1e4}
    assert limits.nearer(machine, work, "float32") == ("arithmetic in float32", 2000)
    assert limits.nearer(machine, work | {limits.OUT: 1e6}, "float32") == ("copy to the host", 1000)
    assert limits.nearer(machine, work, "float16") == ("copy to the host", 100_000)
    assert limits.nearer({}, work, "float32") is None
    metric = Metric("images/s", work=work)
    values = {AT_128: {OURS: [500.0]}} | {name: {"limits by torch": [rate]} for name, rate in machine.items()}
    made = document("sampling", "", Options(), Taken(values), {AT_128: metric}, {OURS: Row()})
    assert made["metrics"][AT_128]["ways"][OURS]["share"] == 0.25
    assert "25% of arithmetic in float32" in table.page([made])


@pytest.mark.parametrize("engine", limits.ENGINES)
def test_limits_are_measured_in_every_precision(engine: str, openvino_precisions: list[str]) -> None:
    sizes = {"gemm": [(16, 16, 16)], "conv": [(1, 4, 4)], "bytes": 1 << 12}
    arguments = {"engine": engine, "on": "cpu", "cores": 1, "sizes": sizes, "seconds": 0.0}
    found = worker.call("benchmarks.limits:rates", 1, "cpu", **arguments)
    # PyTorch computes in bfloat16 on every processor, if slowly on those that have no instructions for it.
    precisions = {"torch": ["float32", "bfloat16"], "onnxruntime": ["float32"], "openvino": openvino_precisions}[engine]
    assert found.keys() - {limits.MEMORY} == {limits.RATE.format(name) for name in precisions}
    assert (limits.MEMORY in found) == (engine == "torch")
    assert all(rate > 0 for rate in found.values())


def test_a_step_of_training_is_counted_forwards_and_backwards() -> None:
    [small, large] = training.work([(1, [("filters", 2)]), (1, [("filters", 4)])])
    # Most layers have both their inputs and outputs twice as wide.
    assert 2 < large[limits.OPERATIONS] / small[limits.OPERATIONS] < 4


# Ways


def test_every_way_is_there_once_and_quick_runs_have_ours_and_peers() -> None:
    for device in ("cpu", "cuda"):
        every = [way.name for way in WAYS if way.device == device]
        assert len(set(every)) == len(every)
        quick = ways_for(Options(device, quick=True))
        assert 3 <= len(quick) < len(every)
        assert {way.ours for way in quick.values()} == {True, False}
        assert all(way.ours for way in ways_for(Options(device, peers=False)).values())


def test_other_images_are_a_failure() -> None:
    model = Model(TINY)
    _, images = model.reference()
    assert images.std() > 20
    for name, allowed in ((OURS, 1), ("OpenVINO, --rewrite plain, bfloat16", 8)):
        way = way_named(name, "cpu")
        off = images.astype(int)
        off[3, 2, 1, 0] += allowed if off[3, 2, 1, 0] < 128 else -allowed
        compare(way, lambda _, off=off: off.astype(np.uint8), model)  # type: ignore[misc]
        off[3, 2, 1, 0] += 1 if off[3, 2, 1, 0] < 128 + allowed else -1
        with pytest.raises(FailedError, match=f"up to {allowed + 1}/255"):
            compare(way, lambda _, off=off: off.astype(np.uint8), model)  # type: ignore[misc]
    with pytest.raises(FailedError, match="up to 1/255 and by 1/255 in the mean"):
        compare(
            way_named(OURS, "cpu"), lambda _: np.where(images < 128, images + 1, images - 1).astype(np.uint8), model
        )
    with pytest.raises(FailedError, match="float32"):
        compare(way_named(OURS, "cpu"), lambda _: images.astype(np.float32), model)  # type: ignore[arg-type, return-value]


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_the_model_has_one_set_of_weights_in_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import benchmarks.model
    from gankit_train.config.settings import configure

    # The same with few filters, which is quick.
    monkeypatch.setattr("gankit_train.config.settings.configure", lambda *a, **k: configure(*a, filters=8, **k))
    benchmarks.model.make(str(tmp_path), "cpu")
    model = Model(tmp_path)
    _, images = model.reference()
    assert images.shape == (32, 64, 64, 3) and images.std() > 40
    for name in (OURS, "gankit, --rewrite plain, float32", "onnxruntime, --rewrite plain, float32"):
        way = way_named(name, "cpu")
        compare(way, way.open(model, 1).images, model)
    for kind in ("eager", "channels_last", "TorchScript"):
        for precision in ("float32", "bfloat16"):
            name = f"TorchScript, {precision}" if kind == "TorchScript" else f"torch {kind}, {precision}"
            way = way_named(name, "cpu")
            opened = way.open(model, 1)
            compare(way, opened.images, model)
            assert opened.sample(3, 0).shape == (3, 64, 64, 3)
    # z → 4×4, and four transposed convolutions with 4×4 kernels: multiplications of each place of their input.
    widths, edges = (64, 32, 16, 8, 3), (4, 8, 16, 32)
    layers = [e * e * 16 * a * b for e, a, b in zip(edges, widths, widths[1:], strict=False)]
    assert model.work()[limits.OPERATIONS] == 2 * (100 * 16 * widths[0] + sum(layers))


# Suites


def test_the_suites_are_listed(benchmarks: Run) -> None:
    found = benchmarks()
    assert found.returncode == 0
    assert [line.split()[0] for line in found.stdout.splitlines()] == [*SUITES, "table", "chart", "profile"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("sampling", "--device", "cuda"), 1, ["--device cuda cannot be had"]),
        (("sampling", "--device", "tpu"), 2, ["cpu, cuda", "tpu"]),
        (("sampling", "speed"), 2, ["'speed'", "serving"]),
        (("sampling", "--model", "nowhere.onnx"), 2, ["nowhere.onnx"]),
        (("training", "--peer-dir", "nowhere"), 2, ["nowhere", "dcgan/main.py", "PyTorch-GAN"]),
        (("export", "--model", str(TINY)), 1, ["export", "tiny.onnx has no weights"]),
        (("profile", "--device", "cuda"), 1, ["--device cuda cannot be had"]),
    ],
)
def test_what_cannot_be_measured_is_refused(
    benchmarks: Run, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, words: list[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    refused(benchmarks(*arguments), code, *words)


def test_a_quick_run_ends_in_a_table(benchmarks: Run, tmp_path: Path, openvino_precisions: list[str]) -> None:
    run = benchmarks("sampling", "--quick", "--model", TINY, "--results", tmp_path)
    assert run.returncode == 0, run.stderr
    [made] = read_all(tmp_path)
    assert made["quick"] and made["machine"]["commit"] and made["threads"] >= 1
    for metric in (AT_128, sampling.ONE, sampling.COLD, sampling.MEMORY):
        assert {OURS, "onnxruntime, --for cpu, float32"} <= made["metrics"][metric]["ways"].keys()
    assert not made["failed"]
    assert "no weights" in made["missing"]["torch channels_last, float32"]
    for way in ("gankit, openvino, bfloat16", "OpenVINO, --rewrite plain, bfloat16"):
        measured, left_out = way in made["metrics"][AT_128]["ways"], "bfloat16" in made["missing"].get(way, "")
        assert (measured, left_out) == (("bfloat16" in openvino_precisions), ("bfloat16" not in openvino_precisions))
    shown = benchmarks("table", "--results", tmp_path)
    assert "quick run" in shown.stdout
    left_out = shown.stdout.partition("Left out: ")[2].partition("\n")[0]
    assert all(way in left_out for way in made["missing"])
    median = number_text(made["metrics"][AT_128]["ways"][OURS]["median"])
    assert f"| **{OURS}** | {median} |" in shown.stdout


def test_auto_is_bfloat16_only_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for has in (True, False):
        monkeypatch.setattr("torch.cpu.get_capabilities", lambda has=has: {"avx512_bf16": has}, raising=False)
        assert training.automatic("cpu") == ("bfloat16" if has else "float32")


@pytest.mark.usefixtures("clock")
def test_callers_are_counted_while_the_clock_runs() -> None:
    for way in (serving.ALONE, serving.SUBMIT, "gankit, 64 async clients, sample_async", "onnxruntime, 64 threads"):
        found = serving.measure(way, str(TINY), "cpu", 1, 1.0)
        assert found[serving.REQUESTS] >= (1000 - 4 * serving.CALLERS) / 3
        assert 0 < found[serving.P50] <= found[serving.P99]


@pytest.mark.usefixtures("clock")
def test_the_first_while_of_callers_does_not_count() -> None:
    asked: list[int] = []
    waits, seconds = serving._callers(asked.append, 2, 1.0)
    assert seconds == 1.0 and 300 < len(waits) < len(asked) - 50


def test_a_machine_on_which_no_request_ends_in_time_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = count(0, 3600)
    monkeypatch.setattr(serving, "perf_counter", lambda: next(hours))
    with pytest.raises(FailedError, match=r"no request began and ended within 0\.1 s"):
        serving.measure(serving.ALONE, str(TINY), "cpu", 1, 0.1)


def test_every_target_knows_the_ways_that_it_speaks_of() -> None:
    for device in ("cpu", "cuda"):
        rows = {way.name: way.row for way in WAYS if way.device == device}
        names = [sampling.ONE, sampling.rate(128), sampling.rate(1024)]
        values = {name: {way: [1.0] for way in rows} for name in names}
        values |= {limits.COPY: {"limits by torch": [1e9]}}
        metrics = {name: Metric("", work={limits.OUT: 1.0}) for name in names}
        made = document("sampling", "", Options(device), Taken(values), metrics, rows)
        for each in targets.check([made]):
            asked = (each.target.suite, each.target.device) == ("sampling", device)
            assert (each.verdict != "not measured") == asked, each.target.what


def test_a_generator_of_ours_that_fails_is_below_and_not_unmeasured() -> None:
    rows = {name: Row() for name in (OURS, "OpenVINO, --for openvino, float32")}
    taken = Taken({AT_128: {"OpenVINO, --for openvino, float32": [1.0]}}, failed={OURS: "its images differ"})
    made = document("sampling", "", Options(), taken, {AT_128: Metric("images/s")}, rows)
    below = [each for each in targets.check([made]) if each.verdict == "below"]
    assert len(below) == 3 and all("**failed**: its images differ" in each.measured for each in below)


def test_a_profile_names_every_node_and_adds_up(benchmarks: Run, tmp_path: Path) -> None:
    run = benchmarks("profile", "--quick", "--model", TINY, "--batch", 4, "--results", tmp_path)
    assert run.returncode == 0, run.stderr
    [made] = read_all(tmp_path)
    parts = made["metrics"]["ms for a batch of 4"]["ways"]
    kinds = [name.split()[1] for name in parts if name.startswith(("compute", "conversion"))]
    assert kinds == ["Concat", "Gemm", "Clip", "Cast", "Reshape"]
    assert next(name for name in parts if name.startswith("conversion")).startswith("conversion: Clip")
    *several, whole = (way["median"] for way in parts.values())
    assert sum(several) == pytest.approx(whole)
    assert "| latents |" in run.stdout and "100% of the whole" in run.stdout


def test_a_node_takes_the_median_of_its_last_runs() -> None:
    def event(name: str, kind: str, micro: int) -> dict[str, Any]:
        return {"cat": "Node", "name": f"{name}_kernel_time", "args": {"op_name": kind}, "dur": micro}

    first = [event("a", "Conv", 9000), event("b", "Cast", 900), {"cat": "Session", "name": "run", "dur": 1}]
    later = [event("a", "Conv", n) for n in (1000, 2000, 6000)] + [event("b", "Cast", 100)] * 3
    assert by_node(first + later, 3) == {"compute: Conv a": 2.0, "conversion: Cast b": 0.1}


# Trainers beside ours


def test_checkouts_are_recognised_by_their_files(tmp_path: Path) -> None:
    examples, gan = training.PEERS
    for folder, peer in (("one", examples), ("two", gan)):
        (tmp_path / folder / peer.script).parent.mkdir(parents=True)
        (tmp_path / folder / peer.script).write_text("")
    found = training.find_peers((tmp_path / "one", tmp_path / "two"))
    assert found == {examples: tmp_path / "one" / examples.script, gan: tmp_path / "two" / gan.script}


def test_all_trainers_get_the_same_images(tmp_path: Path) -> None:
    from gankit_train.data import open_source

    training._draw(tmp_path, 0)
    colour = np.load(tmp_path / "images.npy")
    assert colour.shape == (2 * training.BATCH, 64, 64, 3)
    for path in (tmp_path / "png", tmp_path / "data" / "mnist" / "MNIST" / "raw"):
        source = open_source(str(path))
        assert len(source.names) == len(colour)
    grey = np.asarray(source.read(5))
    assert grey.shape == (64, 64)
    assert np.abs(grey - colour[5] @ [0.299, 0.587, 0.114]).max() < 1


def test_a_trainer_is_timed_by_what_it_prints_and_one_that_stops_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "main.py"
    script.write_text(
        "import sys\nfor i in range(int(sys.argv[1])): print(f'[0/1][{i}/99] Loss')\nraise OSError('full')"
    )

    def peer(steps: int) -> training.Peer:
        return training.Peer("fake", "main.py", training.DCGAN, lambda *_: [steps], training.PEERS[0].step)

    with pytest.raises(FailedError, match="after 5 steps: OSError: full"):
        training._peer(peer(5), script, 8, tmp_path, Options())
    with pytest.raises(MissingError, match="--peer-dir"):
        training._peer(peer(5), None, 8, tmp_path, Options())
    # Without the imports that a real one has, which take a while.
    monkeypatch.setattr(training, "_LAUNCH", "import runpy, sys; del sys.argv[:2]; runpy.run_path(sys.argv[0])")
    [(metric, rate)] = training._peer(peer(50), script, 8, tmp_path, Options()).items()
    assert metric == training.DCGAN.metric and rate > 0


def test_settings_become_flags_of_gan_train() -> None:
    flags = training._flags(training.UPSAMPLING.settings)
    assert "--upsample --g-widths 128,128,64 --g-strides 2,2,1" in " ".join(flags)


# Tables, targets and charts


def test_targets_are_held_against_the_rounds_and_the_missed_ones_come_first() -> None:
    what = "float32 on the CPU, beside the best of PyTorch's ways and a default session on what its exporter writes"

    def checked(made: Document) -> targets.Checked:
        return next(each for each in targets.check([made]) if each.target.what == what)

    assert checked(rates(ours=[130, 260], peer=[100, 200])).verdict == "reached"
    missed = checked(rates(ours=[129, 258], peer=[100, 200]))
    assert missed.verdict == "below" and missed.measured.startswith("1.29 (1.29 … 1.29)")
    assert checked(rates(ours=[130, 260], peer=[100, 200]) | {"quick": True}).verdict == "not measured"
    assert targets.check([rates(ours=[1], peer=[1])])[0].target.what == what
    page = table.page([rates(ours=[1], peer=[1])])
    assert page.split("\n\n")[1].startswith(f"Below what was asked for: {what}.")


def test_a_target_says_which_peer_it_was_not_held_against() -> None:
    made = stored(
        "sampling",
        {AT_128: {OURS: [200.0], PEER: [100.0]}},
        {AT_128: Metric("images/s")},
        failed={"torch.compile, float32": "no compiler"},
    )
    [first, *_] = targets.check([made])
    assert first.verdict == "reached" and "without torch.compile, float32" in first.measured


def test_less_is_better_where_it_is() -> None:
    session = "onnxruntime, --for cpu, float32"
    made = stored("sampling", {sampling.ONE: {OURS: [1.2], session: [1.0]}}, {sampling.ONE: Metric("ms", False)})
    [first, *_] = targets.check([made])
    assert (first.verdict, first.target.asked) == ("below", "≤ 1.1")


def test_the_part_of_the_readme_is_replaced_whole() -> None:
    before = f"# gankit\n{table.BEGIN}\nold\n{table.END}\nafter\n"
    after = table.with_results(before, [rates(ours=[1], peer=[1])])
    assert after.startswith("# gankit\n") and after.endswith("\nafter\n") and "\nold\n" not in after
    assert table.with_results(after, [rates(ours=[1], peer=[1])]) == after


def test_a_chart_shows_the_ways_and_the_limit(benchmarks: Run, tmp_path: Path) -> None:
    work = {limits.OPERATIONS: 2e8}
    values = {AT_128: {OURS: [900.0, 1000.0], PEER: [700.0, 800.0]}} | {
        limits.RATE.format("float32"): {"limits by torch": [4e11]}
    }
    write(stored("sampling", values, {AT_128: Metric("images/s", work=work)}), tmp_path)
    assert benchmarks("chart", "--results", tmp_path).returncode == 0
    assert (tmp_path / "speed-cpu.png").read_bytes().startswith(b"\x89PNG")
    drawn = (tmp_path / "speed-cpu.svg").read_text()
    for text in ("gankit, --for cpu", "torch eager", "950", "limit by arithmetic in float32: 2,000"):
        assert text in drawn
    assert chart.draw([], tmp_path) == []


def test_results_are_kept_by_suite_and_device(tmp_path: Path) -> None:
    made = rates(ours=[1], peer=[2])
    write(made | {"device": "cuda"}, tmp_path)
    write(made | {"suite": "training"}, tmp_path)
    write(made, tmp_path)
    assert [(each["suite"], each["device"]) for each in read_all(tmp_path)] == [
        ("sampling", "cpu"),
        ("training", "cpu"),
        ("sampling", "cuda"),
    ]
    assert json.loads((tmp_path / "sampling-cuda.json").read_text())["device"] == "cuda"
