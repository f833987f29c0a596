"""What runs a model: CUDA's way on the CPU's provider, OpenVINO, open sessions, and what the doctor says."""

import ctypes
import gc
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import gankit
from gankit import _doctor as doctor
from gankit._backends import base, cuda
from tests.helpers.commands import Command, refused
from tests.helpers.paths import TINY
from tests.runtime.test_generator import _foreign as foreign


@pytest.fixture(scope="module")
def tiny() -> gankit.Generator:
    return gankit.load(TINY, device="cpu", threads=1)


def close(a: Any, b: Any) -> bool:
    return a.shape == b.shape and np.abs(a.astype(int) - b).max() <= 1


# CUDA. The provider is the CPU's, all else is what runs on a GPU.


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "PROVIDER", "CPUExecutionProvider")
    monkeypatch.setattr(cuda, "MEMORY", "cpu")


@pytest.mark.usefixtures("gpu")
def test_on_cuda_any_request_gives_the_same_images(tiny: gankit.Generator) -> None:
    with gankit.load(TINY, device="cuda", batch=32) as generator:
        assert (generator.device, generator.fallback_reason) == ("cuda", None)
        assert generator.sizes == (1, 2, 8, 32)
        for n in (1, 2, 3, 8, 9, 31, 32, 33, 100):
            assert close(generator.sample(n, seed=n, label="blond"), tiny.sample(n, seed=n, label="blond"))
        out = np.empty((40, 8, 8, 3), np.uint8)
        assert close(generator.sample(40, seed=1, out=out), tiny.sample(40, seed=1)) and close(out, tiny.sample(40, 1))
        assert close(np.concatenate(list(generator.stream(70, 2, batch=33))), tiny.sample(70, 2))
        with ThreadPoolExecutor(8) as threads:
            many = list(threads.map(lambda n: generator.submit(n, seed=n).result(60), range(1, 30)))
        assert all(close(images, tiny.sample(len(images), seed=len(images))) for images in many)


@pytest.mark.usefixtures("gpu")
def test_on_cuda_a_session_sees_one_size_of_batch_only(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[int, set[int]] = {}
    run = cuda._Batch._run

    def spy(self: Any, inputs: Any, staged: Any, memory: str, pointer: int) -> None:
        seen.setdefault(id(self.session), set()).add(len(staged[0]))
        run(self, inputs, staged, memory, pointer)

    monkeypatch.setattr(cuda._Batch, "_run", spy)
    with gankit.load(TINY, device="cuda", batch=16) as generator:
        generator.warmup()
        sessions = set(seen)
        for n in range(1, 60):
            generator.sample(n)
    assert all(len(sizes) == 1 for sizes in seen.values())
    assert set(seen) == sessions and len(sessions) == len(generator.sizes)  # all were warm already


@pytest.mark.usefixtures("gpu")
def test_on_cuda_images_can_stay_there(tiny: gankit.Generator) -> None:
    with gankit.load(TINY, device="cuda", batch=16) as generator:
        for n in (1, 5, 16, 33):
            z, label = generator.inputs(n, seed=n)
            assert label is not None
            there = generator.on_device(z, label)
            assert isinstance(there, onnxruntime.OrtValue)
            assert close(torch.from_dlpack(there).numpy(), tiny(z, label))
    with (
        gankit.load(foreign("float", labels=False), device="cuda") as floats,
        pytest.raises(gankit.UsageError, match="--output float are converted on the CPU"),
    ):
        floats.on_device(np.zeros((1, 60), np.float32))


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("batch", [1, 3])
def test_on_cuda_batches_may_be_smaller_than_the_comparison(tiny: gankit.Generator, batch: int) -> None:
    with gankit.load(TINY, device="cuda", batch=batch) as generator:
        assert close(generator.sample(7, seed=1), tiny.sample(7, seed=1))


@pytest.mark.usefixtures("gpu")
def test_on_cuda_float_images_are_converted() -> None:
    model = foreign("float", labels=False)
    with gankit.load(model, device="cuda", batch=8) as generator, gankit.load(model, device="cpu") as cpu:
        assert np.array_equal(generator.sample(21), cpu.sample(21))


@pytest.mark.usefixtures("gpu")
def test_the_options_of_cuda_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    opened = cuda.gpu_session
    monkeypatch.setattr(cuda, "gpu_session", lambda *a: given.append(a[2].copy()) or opened(*a))  # type: ignore[func-returns-value]
    assert gankit.load(TINY, device="cuda").precision == "tf32"
    assert gankit.load(TINY, device="cuda", precision="float32", gpu_mem_limit=1 << 30).precision == "float32"
    assert [(each["use_tf32"], each.get("gpu_mem_limit")) for each in given] == [("1", None), ("0", "1073741824")]
    assert {each["cudnn_conv_algo_search"] for each in given} == {"HEURISTIC"}


@pytest.mark.usefixtures("gpu")
def test_a_layout_whose_images_are_wrong_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a driver and libraries that do not fit together have given."""
    run, wrong = cuda._Batch.run, {"1"}

    def damaged(self: Any, inputs: Any, take: Any) -> None:
        off = 30 * (layouts[-1] in wrong)
        run(self, inputs, lambda images: take(np.clip(images.astype(int) + off, 0, 255).astype(np.uint8)))

    layouts: list[str] = []
    opened = cuda.gpu_session
    monkeypatch.setattr(cuda, "gpu_session", lambda *a: layouts.append(a[2]["prefer_nhwc"]) or opened(*a))  # type: ignore[func-returns-value]
    monkeypatch.setattr(cuda._Batch, "run", damaged)
    generator = gankit.load(TINY, device="cuda")
    assert generator.device == "cuda" and layouts == ["1", "0"]
    wrong.add("0")
    monkeypatch.setattr(doctor, "why_no_cuda", lambda: None)
    with pytest.raises(gankit.DeviceError, match=r"CUDA cannot be had: its images of tiny are up to \d+ of 255 steps"):
        gankit.load(TINY, device="cuda")
    fallen = gankit.load(TINY)
    assert fallen.device == "cpu" and "its images of tiny" in str(fallen.fallback_reason)


def test_nodes_that_are_left_to_the_cpu_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that was asked for CUDA and runs on the CPU: what ONNX Runtime does in silence."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [cuda.PROVIDER, "CPUExecutionProvider"])
    monkeypatch.setattr(onnxruntime.InferenceSession, "get_providers", lambda self: [cuda.PROVIDER])
    monkeypatch.setattr(doctor, "why_no_cuda", lambda: None)
    real = onnxruntime.InferenceSession.__init__

    def silent(self: Any, source: Any, options: Any, providers: Any, enable_fallback: Any) -> None:
        real(self, source, options, ["CPUExecutionProvider"], enable_fallback=enable_fallback)

    monkeypatch.setattr(onnxruntime.InferenceSession, "__init__", silent)
    with pytest.raises(gankit.DeviceError, match=r"it leaves to the CPU (Gemm|Concat|MatMul|FusedGemm)"):
        gankit.load(TINY, device="cuda")


@pytest.mark.usefixtures("gpu")
def test_a_device_that_is_lost_is_an_error_and_not_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = gankit.load(TINY, device="cuda")
    with monkeypatch.context() as lost:
        lost.setattr(cuda._Batch, "_run", lambda *_: exec("raise RuntimeError('CUDA failure 719: unspecified launch')"))
        for call in (lambda: generator.sample(1), lambda: generator.submit(300).result(60)):
            with pytest.raises(gankit.GankitError, match="tiny failed on cuda: CUDA failure 719"):
                call()
    assert generator.device == "cuda"


class _Cudart:
    """CUDA's runtime library as far as pinned memory goes, over the memory of the process."""

    def __init__(self, code: int = 0) -> None:
        self.code, self.live = code, dict[int, Any]()

    def cudaHostAlloc(self, pointer: Any, size: Any, flags: int) -> int:  # noqa: N802
        if not self.code:
            memory = ctypes.create_string_buffer(b"\xff" * size.value, size.value)
            pointer._obj.value = ctypes.addressof(memory)
            self.live[pointer._obj.value] = memory
        return self.code

    def cudaFreeHost(self, pointer: Any) -> None:  # noqa: N802
        del self.live[pointer.value]


def test_pinned_memory_is_given_back() -> None:
    cudart = _Cudart()
    array = cuda.pinned((3, 4), np.float32, cudart)
    assert array.shape == (3, 4) and array.dtype == np.float32 and not array.any() and len(cudart.live) == 1
    part = array[1:]
    del array
    gc.collect()
    assert len(cudart.live) == 1
    part[...] = 7
    del part
    gc.collect()
    assert not cudart.live
    assert not cuda.pinned((2,), np.uint8, _Cudart(code=2)).any()  # no room: any memory does


def test_a_thing_is_lent_to_one_at_a_time() -> None:
    made = iter(range(100))
    lent = base.Lent(lambda: next(made), limit=2)
    with lent.one() as a, lent.one() as b:
        assert {a, b} == {0, 1}
    with pytest.raises(ValueError), lent.one():
        raise ValueError
    with lent.one() as c, lent.one() as d:
        assert {c, d} == {0, 1}


# Options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"device": "tpu"}, "unknown device 'tpu'; there are auto, cuda, cpu, openvino"),
        ({"precision": "int8"}, "unknown precision 'int8'"),
        ({"device": "cpu", "precision": "bfloat16"}, "tiny computes on cpu in float32, not in bfloat16"),
        ({"device": "cpu", "precision": "float16"}, "gan-export --fp16"),
        ({"batch": -1}, "batch must be a whole number"),
        ({"threads": 1.5}, "threads must be a whole number"),
        ({"gpu_mem_limit": "1G"}, "gpu_mem_limit must be"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], words: str) -> None:
    with pytest.raises(gankit.UsageError, match=words):
        gankit.load(TINY, **options)


def test_the_batch_is_what_a_run_takes_at_most(monkeypatch: pytest.MonkeyPatch, tiny: gankit.Generator) -> None:
    with gankit.load(TINY, device="cpu", batch=3, threads=1) as generator:
        sizes = []
        run = generator._live().run
        monkeypatch.setattr(generator._live(), "run", lambda i, o, alone: sizes.append(len(o)) or run(i, o, alone))  # type: ignore[func-returns-value]
        assert close(generator.sample(8), tiny.sample(8))
        assert sizes and max(sizes) <= 3 and sum(sizes) == 8
        generator.warmup([5])
        assert sum(sizes) == 13


@pytest.mark.parametrize(("n", "batch", "workers"), [(1, 16, 2), (2, 16, 2), (20, 16, 2), (128, 16, 3), (5, 1, 4)])
def test_workers_get_equal_parts(n: int, batch: int, workers: int) -> None:
    parts = base.even_parts(n, batch, workers)
    lengths = [part.stop - part.start for part in parts]
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(n))
    assert max(lengths) <= batch and max(lengths) - min(lengths) <= 1
    assert len(parts) == 1 if n < workers else len(parts) % workers == 0 or len(parts) == n


def test_images_stay_on_the_cpu_as_an_array(tiny: gankit.Generator) -> None:
    z, label = tiny.inputs(5)
    assert label is not None
    assert np.array_equal(np.from_dlpack(tiny.on_device(z, label)), tiny(z, label))


def test_an_open_session_is_taken_as_it_is(tiny: gankit.Generator) -> None:
    session = onnxruntime.InferenceSession(TINY, providers=["CPUExecutionProvider"])
    with gankit.load(session, batch=7) as generator:
        assert (generator.device, generator.precision, generator.card.name) == ("cpu", "float32", "tiny")
        assert close(generator.sample(20, 3, "blond"), tiny.sample(20, 3, "blond"))
        with pytest.raises(gankit.UsageError, match="cannot be sent to another process"):
            generator.__reduce__()
    for late in ({"device": "cpu"}, {"threads": 2}, {"gpu_mem_limit": 1}):
        with pytest.raises(gankit.UsageError, match="has its device, threads and memory already"):
            gankit.load(session, **late)


# Files


def test_weights_in_another_file_are_refused(tmp_path: Path) -> None:
    model = onnx.load(TINY)
    onnx.save(model, tmp_path / "x.onnx", save_as_external_data=True, location="x.bin", size_threshold=0)
    with pytest.raises(gankit.ModelError, match="keeps weights in another file"):
        gankit.load(tmp_path / "x.onnx", device="cpu")


@pytest.mark.parametrize("domain", ["", "com.example"])
def test_an_operator_that_nobody_has_is_named(domain: str) -> None:
    z = helper.make_tensor_value_info("z", TensorProto.FLOAT, [None, 4])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [None, 1, 2, 2])
    node = helper.make_node("MyGenerator", ["z"], ["out"], domain=domain)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.example", 1)]
    model = helper.make_model(helper.make_graph([node], "g", [z], [out]), opset_imports=opsets, ir_version=10)
    with pytest.raises(gankit.ModelError, match=r"has an operator that ONNX Runtime does not have.*MyGenerator"):
        gankit.load(model.SerializeToString(), device="cpu")


def test_a_graph_that_fails_is_an_error_with_the_models_name() -> None:
    """It fits the contract and cannot do what it says: reshapes 6 numbers to 5."""
    z = helper.make_tensor_value_info("z", TensorProto.FLOAT, [None, 6])
    out = helper.make_tensor_value_info("out", TensorProto.UINT8, [None, 1, 5, 1])
    nodes = [helper.make_node("Reshape", ["z", "shape"], ["raw"]), helper.make_node("Cast", ["raw"], ["out"], to=2)]
    shape = numpy_helper.from_array(np.array([-1, 1, 5, 1]), "shape")
    graph = helper.make_graph(nodes, "g", [z], [out], [shape])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    with pytest.raises(gankit.GankitError, match="failed on cpu"):
        gankit.load(model.SerializeToString(), device="cpu").sample(1)


def test_nothing_is_told_of_whoever_uses_it(tmp_path: Path) -> None:
    """ONNX Runtime by itself keeps a database of events in the home and sends it."""
    places = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"), str(tmp_path))
    program = f"import gankit; print(gankit.load({str(TINY)!r}, device='cpu').sample(1).shape)"
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"} | places
    line = [sys.executable, "-c", program]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "(1, 8, 8, 3)\n" and not list(tmp_path.iterdir())


# OpenVINO, in a process of its own: its threads do not get on with a test run's signals.

_OPENVINO = f"""
import numpy as np, pickle, gankit
cpu = gankit.load({str(TINY)!r}, device="cpu")
for precision, steps in (("float32", 1), ("auto", 8)):
    with gankit.load({str(TINY)!r}, device="openvino", precision=precision, threads=2) as faces:
        assert faces.device == "openvino" and faces.fallback_reason is None
        assert faces.precision == "float32" if precision == "float32" else faces.precision in ("bfloat16", "float32")
        for n in (1, 2, 33, 100):
            a, b = faces.sample(n, seed=n, label="blond"), cpu.sample(n, seed=n, label="blond")
            assert a.shape == b.shape and np.abs(a.astype(int) - b).max() <= steps
        assert np.abs(faces.submit(40, seed=2).result(60).astype(int) - cpu.sample(40, seed=2)).max() <= steps
        assert np.array_equal(pickle.loads(pickle.dumps(faces)).sample(3), faces.sample(3))
for model, words in ((b"no model", "cannot be opened as ONNX"), (b"PK\\x03\\x04", "OpenVINO takes ONNX files")):
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


def test_openvino_is_openvino_or_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(gankit.MissingExtraError, match=r"openvino.*gankit\[openvino\]"):
        gankit.load(TINY, device="openvino")


# The doctor


class _Driver:
    """An NVIDIA driver for CUDA 13 with one GPU."""

    def __init__(self, code: int = 0, number: int = 13010, gpus: int = 1) -> None:
        self.code, self.number, self.gpus = code, number, gpus

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            if name == "cuDriverGetVersion":
                arguments[0]._obj.value = self.number
            elif name == "cuDeviceGetCount":
                arguments[0]._obj.value = self.gpus
            elif name == "cuDeviceGetName":
                arguments[0].value = b"NVIDIA H100"
            return self.code

        return call


_ALL = {"libcuda.so.1", "libcudart.so.13", "libcublasLt.so.13", "libcublas.so.13", "libcurand.so.10", "libcufft.so.12"}


@pytest.mark.parametrize(
    ("wheels", "driver", "lacking", "words"),
    [
        (["onnxruntime"], None, [], "has no CUDA in it: pip uninstall -y onnxruntime && pip install 'gankit"),
        (["onnxruntime", "onnxruntime-gpu"], None, [], "both installed and overwrite each other: pip uninstall"),
        (["onnxruntime-gpu"], None, ["libcuda.so.1"], "no NVIDIA driver (libcuda.so.1): install one, or start the"),
        (["onnxruntime-gpu"], _Driver(code=100, gpus=0), [], "driver finds no GPU: see what nvidia-smi says"),
        (["onnxruntime-gpu"], _Driver(code=999), [], "does not start (cuInit gives 999)"),
        (["onnxruntime-gpu"], _Driver(number=12040), [], "driver is for CUDA 12 and onnxruntime-gpu 1.0 for CUDA 13"),
        (
            ["onnxruntime-gpu"],
            _Driver(),
            ["libcudnn.so.9", "libcublas.so.13"],
            "libcublas.so.13, libcudnn.so.9 cannot be loaded: pip install 'gankit[gpu]' beside",
        ),
        (["onnxruntime-gpu"], _Driver(), [], None),
    ],
)
def test_what_keeps_from_cuda_is_told_with_the_cure(
    monkeypatch: pytest.MonkeyPatch, wheels: list[str], driver: Any, lacking: list[str], words: str | None
) -> None:
    def version(name: str) -> str:
        if name in wheels:
            return "1.0"
        raise PackageNotFoundError

    def library(name: str) -> Any:
        if name in lacking or name not in _ALL | {"libcudnn.so.9"}:
            raise OSError(name)
        return driver

    monkeypatch.setattr(doctor, "version", version)
    monkeypatch.setattr(doctor.ctypes, "CDLL", library)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    monkeypatch.setattr(onnxruntime, "cuda_version", "13.0")
    monkeypatch.setattr(sys, "platform", "linux")
    said = doctor.why_no_cuda()
    assert said is None if words is None else words in str(said)
    if driver is not None and words is None:
        assert doctor._driver()[1] == ["NVIDIA H100"]


def test_the_doctor_reports_every_device(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)  # see above
    result = command("gan-gen", "--doctor", "-m", TINY)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert any(line.startswith("cpu ") and "images/s in float32" in line for line in lines)
    assert any(line.startswith("cuda ") for line in lines)
    assert any(line.startswith("openvino ") and "gankit[openvino]" in line for line in lines)
    assert any("onnxruntime" in line and onnxruntime.__version__ in line for line in lines)
    refused(command("gan-gen", "--doctor", "-m", "none.onnx"), 2, "no model at none.onnx")


def test_a_device_and_a_precision_from_the_command_line(command: Command) -> None:
    assert "cpu in float32" in command("gan-gen", "-m", TINY, "-n", 1, "--device", "cpu", "-o", "x.png").stderr
    refused(command("gan-gen", "-m", TINY, "--device", "cpu", "--precision", "bfloat16"), 2, "not in bfloat16")
    refused(command("gan-gen", "-m", TINY, "--batch", -1), 2, "batch must be")
