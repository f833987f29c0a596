"""Opening models: options, files, sessions, execution providers and OpenVINO."""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import gankit
from gankit._backends import base
from tests.helpers.images import close
from tests.helpers.paths import TINY


@pytest.fixture(scope="module")
def tiny() -> gankit.Generator:
    return gankit.load(TINY, device="cpu", threads=1)


# Options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"device": "tpu"}, "device must be auto, cuda, cpu or openvino, not 'tpu'"),
        ({"precision": "int8"}, "precision must be auto, float32, .* or float16, not 'int8'"),
        ({"device": "cpu", "precision": "bfloat16"}, "tiny computes on cpu in float32, not in bfloat16"),
        ({"device": "cpu", "precision": "float16"}, "gan-export --fp16"),
        ({"batch": -1}, "batch must be a whole number"),
        ({"threads": 1.5}, "threads must be a whole number"),
        ({"gpu_mem_limit": "1G"}, "gpu_mem_limit must be"),
    ],
)
def test_unusable_options_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(gankit.UsageError, match=words):
        gankit.load(TINY, **options)


def test_batch_is_the_maximum_of_a_run(monkeypatch: pytest.MonkeyPatch, tiny: gankit.Generator) -> None:
    with gankit.load(TINY, device="cpu", batch=3, threads=1) as generator:
        sizes = []
        run = generator._live().run
        monkeypatch.setattr(generator._live(), "run", lambda i, o, alone: sizes.append(len(o)) or run(i, o, alone))  # type: ignore[func-returns-value]
        assert close(generator.sample(8), tiny.sample(8))
        assert sizes and max(sizes) <= 3 and sum(sizes) == 8
        generator.warmup([5])
        assert sum(sizes) == 13


@pytest.mark.parametrize(("n", "batch", "workers"), [(1, 16, 2), (2, 16, 2), (20, 16, 2), (128, 16, 3), (5, 1, 4)])
def test_workers_get_equal_batches(n: int, batch: int, workers: int) -> None:
    parts = base.split_evenly(n, batch, workers)
    lengths = [part.stop - part.start for part in parts]
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(n))
    assert max(lengths) <= batch and max(lengths) - min(lengths) <= 1
    assert len(parts) == 1 if n < workers else len(parts) % workers == 0 or len(parts) == n


def test_images_stay_on_the_cpu_as_an_array(tiny: gankit.Generator) -> None:
    z, label = tiny.inputs(5)
    assert label is not None
    assert np.array_equal(np.from_dlpack(tiny.on_device(z, label)), tiny(z, label))


def test_an_open_session_is_used_as_it_is(tiny: gankit.Generator) -> None:
    session = onnxruntime.InferenceSession(TINY, providers=["CPUExecutionProvider"])
    with gankit.load(session, batch=7) as generator:
        assert (generator.device, generator.precision, generator.card.name) == ("cpu", "float32", "tiny")
        assert close(generator.sample(20, seed=3, label="blond"), tiny.sample(20, seed=3, label="blond"))
        with pytest.raises(gankit.UsageError, match="cannot be sent to another process"):
            generator.__reduce__()
    for late in ({"device": "cpu"}, {"threads": 2}, {"gpu_mem_limit": 1}):
        with pytest.raises(gankit.UsageError, match="already has its device, threads and memory limit"):
            gankit.load(session, **late)


def test_an_object_is_borrowed_by_one_caller_at_a_time() -> None:
    made = iter(range(100))
    pool = base.ObjectPool(lambda: next(made), limit=2)
    with pool.borrow() as a, pool.borrow() as b:
        assert {a, b} == {0, 1}
    with pytest.raises(ValueError), pool.borrow():
        raise ValueError
    with pool.borrow() as c, pool.borrow() as d:
        assert {c, d} == {0, 1}


# Files


def test_weights_in_another_file_are_refused(tmp_path: Path) -> None:
    model = onnx.load(TINY)
    onnx.save(model, tmp_path / "x.onnx", save_as_external_data=True, location="x.bin", size_threshold=0)
    with pytest.raises(gankit.ModelError, match="stores its weights in a second file"):
        gankit.load(tmp_path / "x.onnx", device="cpu")


@pytest.mark.parametrize("domain", ["", "com.example"])
def test_an_unknown_operator_is_named(domain: str) -> None:
    z = helper.make_tensor_value_info("z", TensorProto.FLOAT, [None, 4])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [None, 1, 2, 2])
    node = helper.make_node("MyGenerator", ["z"], ["out"], domain=domain)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.example", 1)]
    model = helper.make_model(helper.make_graph([node], "g", [z], [out]), opset_imports=opsets, ir_version=10)
    with pytest.raises(gankit.ModelError, match=r"has an operator that ONNX Runtime does not have.*MyGenerator"):
        gankit.load(model.SerializeToString(), device="cpu")


def test_a_failing_graph_is_an_error_with_the_models_name() -> None:
    """The graph fits the contract but fails when it runs: it reshapes 6 numbers to 5."""
    z = helper.make_tensor_value_info("z", TensorProto.FLOAT, [None, 6])
    out = helper.make_tensor_value_info("out", TensorProto.UINT8, [None, 1, 5, 1])
    nodes = [helper.make_node("Reshape", ["z", "shape"], ["raw"]), helper.make_node("Cast", ["raw"], ["out"], to=2)]
    shape = numpy_helper.from_array(np.array([-1, 1, 5, 1]), "shape")
    graph = helper.make_graph(nodes, "g", [z], [out], [shape])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    with pytest.raises(gankit.GankitError, match="failed on cpu"):
        gankit.load(model.SerializeToString(), device="cpu").sample(1)


def test_onnx_runtime_sends_no_telemetry(tmp_path: Path) -> None:
    """By default, ONNX Runtime keeps a database of events in the user's home and sends it."""
    places = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"), str(tmp_path))
    program = f"import gankit; print(gankit.load({str(TINY)!r}, device='cpu').sample(1).shape)"
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"} | places
    line = [sys.executable, "-c", program]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "(1, 8, 8, 3)\n" and not list(tmp_path.iterdir())


# Execution providers


def test_a_model_runs_on_a_list_of_providers(tiny: gankit.Generator) -> None:
    for providers in (["CPUExecutionProvider"], [("CPUExecutionProvider", {"enable_cpu_mem_arena": "0"})]):
        with gankit.load(TINY, providers=providers, threads=1) as generator:
            assert (generator.device, generator.precision, generator.fallback_reason) == ("cpu", "float32", None)
            assert close(generator.sample(40, seed=1, label="blond"), tiny.sample(40, seed=1, label="blond"))
            assert close(pickle.loads(pickle.dumps(generator)).sample(3), tiny.sample(3))


def test_a_provider_that_leaves_nodes_to_the_cpu_is_refused() -> None:
    """Azure's provider runs no nodes of this model, and is part of the CPU build of ONNX Runtime."""
    words = r"AzureExecutionProvider does not run all nodes.*Concat.*\(CPUExecutionProvider\)"
    for providers in (["AzureExecutionProvider"], ["AzureExecutionProvider", "CPUExecutionProvider"]):
        with pytest.raises(gankit.DeviceError, match=words):
            gankit.load(TINY, providers=providers)


def test_a_provider_that_does_not_start_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime.InferenceSession, "get_providers", lambda self: ["CPUExecutionProvider"])
    with pytest.raises(gankit.DeviceError, match="could not start AzureExecutionProvider"):
        gankit.load(TINY, providers=["AzureExecutionProvider"])


def test_another_provider_is_the_device(monkeypatch: pytest.MonkeyPatch, tiny: gankit.Generator) -> None:
    """A provider that runs every node, as `NPUExecutionProvider` would on its device."""
    available = ["NPUExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: available)
    monkeypatch.setattr(onnxruntime.InferenceSession, "get_providers", lambda self: available)
    monkeypatch.setattr(
        onnxruntime.InferenceSession,
        "get_provider_graph_assignment_info",
        lambda self: [SimpleNamespace(ep_name="NPUExecutionProvider", get_nodes=list)],
    )
    real = onnxruntime.InferenceSession.__init__
    opened = []

    def fake(self: Any, source: Any, options: Any, providers: Any, enable_fallback: Any) -> None:
        opened.append(providers)
        real(self, source, options, ["CPUExecutionProvider"], enable_fallback=enable_fallback)

    monkeypatch.setattr(onnxruntime.InferenceSession, "__init__", fake)
    provider = ("NPUExecutionProvider", {"power": "high"})
    with gankit.load(TINY, providers=[provider]) as generator:
        assert generator.device == "NPUExecutionProvider" and close(generator.sample(3), tiny.sample(3))
    assert opened[-1] == [provider] or opened[-1] == (provider,)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"providers": ["Nobody"]}, "no execution provider 'Nobody'; available: .*CPUExecutionProvider"),
        ({"providers": []}, r"providers must be names .* not \[\]"),
        ({"providers": [7]}, r"providers must be names .* not \[7\]"),
        ({"providers": [("CPUExecutionProvider",)]}, "or pairs of a name and a dict of options"),
        ({"providers": "CPUExecutionProvider"}, "providers must be a list, not 'CPUExecutionProvider'"),
        ({"providers": ["CPUExecutionProvider"], "device": "cpu"}, "device='cpu' and providers exclude each other"),
        ({"providers": ["CPUExecutionProvider"], "gpu_mem_limit": 1}, "gpu_mem_limit and providers exclude"),
        ({"providers": ["CPUExecutionProvider"], "precision": "tf32"}, "in float32, not in tf32"),
    ],
)
def test_unusable_providers_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(gankit.UsageError, match=words):
        gankit.load(TINY, **options)


def test_providers_are_for_onnx_files() -> None:
    with pytest.raises(gankit.ModelError, match="cannot be opened as ONNX"):
        gankit.load(b"not a model", providers=["CPUExecutionProvider"])
    with pytest.raises(gankit.UsageError, match="providers are for ONNX files"):
        gankit.load(b"PK\3\4", providers=["CPUExecutionProvider"])
    session = onnxruntime.InferenceSession(TINY, providers=["CPUExecutionProvider"])
    with pytest.raises(gankit.UsageError, match="already has its device"):
        gankit.load(session, providers=["CPUExecutionProvider"])


# OpenVINO, in a separate process, because its threads disturb a test run's signals.

_OPENVINO = f"""
import numpy as np, pickle, gankit
cpu = gankit.load({str(TINY)!r}, device="cpu")
for precision, tolerance in (("float32", 1), ("auto", 8)):
    with gankit.load({str(TINY)!r}, device="openvino", precision=precision, threads=2) as faces:
        assert faces.device == "openvino" and faces.fallback_reason is None
        assert faces.precision == "float32" if precision == "float32" else faces.precision in ("bfloat16", "float32")
        for n in (1, 2, 33, 100):
            a, b = faces.sample(n, seed=n, label="blond"), cpu.sample(n, seed=n, label="blond")
            assert a.shape == b.shape and np.abs(a.astype(int) - b).max() <= tolerance
        assert np.abs(faces.submit(40, seed=2).result(60).astype(int) - cpu.sample(40, seed=2)).max() <= tolerance
        assert np.array_equal(pickle.loads(pickle.dumps(faces)).sample(3), faces.sample(3))
for model, words in ((b"no model", "cannot be opened as ONNX"), (b"PK\\x03\\x04", "OpenVINO needs an ONNX file")):
    try:
        gankit.load(model, device="openvino")
        raise SystemExit("opened " + repr(model))
    except gankit.GankitError as error:
        assert words in str(error), error
print("sound")
"""


def test_openvino_gives_the_same_images() -> None:
    done = subprocess.run([sys.executable, "-c", _OPENVINO], capture_output=True, text=True, check=False)
    assert done.stdout.endswith("sound\n"), done.stderr


def test_openvino_never_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(gankit.MissingExtraError, match=r"openvino.*gankit\[openvino\]"):
        gankit.load(TINY, device="openvino")
