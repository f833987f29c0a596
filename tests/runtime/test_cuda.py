"""CUDA's backend: its provider is the CPU's here, and everything else is what runs on a GPU."""

import ctypes
import gc
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

import gankit
from gankit import _backends as backends
from gankit._backends import cuda
from tests.helpers.images import close
from tests.helpers.models import foreign_model
from tests.helpers.paths import TINY


@pytest.fixture(scope="module")
def tiny() -> gankit.Generator:
    return gankit.load(TINY, device="cpu", threads=1)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "PROVIDER", "CPUExecutionProvider")
    monkeypatch.setattr(cuda, "MEMORY", "cpu")
    monkeypatch.setattr(backends, "has_nvidia_driver", lambda: True)


@pytest.mark.usefixtures("gpu")
def test_a_request_of_any_size_gives_the_same_images(tiny: gankit.Generator) -> None:
    with gankit.load(TINY, device="cuda", batch=32) as generator:
        assert (generator.device, generator.fallback_reason) == ("cuda", None)
        assert generator.sizes == (1, 2, 8, 32)
        for n in (1, 2, 3, 8, 9, 31, 32, 33, 100):
            assert close(generator.sample(n, seed=n, label="blond"), tiny.sample(n, seed=n, label="blond"))
        out = np.empty((40, 8, 8, 3), np.uint8)
        assert close(generator.sample(40, seed=1, out=out), tiny.sample(40, seed=1)) and close(
            out, tiny.sample(40, seed=1)
        )
        assert close(np.concatenate(list(generator.stream(70, seed=2, batch=33))), tiny.sample(70, seed=2))
        with ThreadPoolExecutor(8) as threads:
            many = list(threads.map(lambda n: generator.submit(n, seed=n).result(60), range(1, 30)))
        assert all(close(images, tiny.sample(len(images), seed=len(images))) for images in many)


@pytest.mark.usefixtures("gpu")
def test_a_session_gets_one_batch_size_only(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[int, set[int]] = {}
    run = cuda._FixedBatch._run

    def spy(self: Any, inputs: Any, staged: Any, memory: str, pointer: int) -> None:
        seen.setdefault(id(self.session), set()).add(len(staged[0]))
        run(self, inputs, staged, memory, pointer)

    monkeypatch.setattr(cuda._FixedBatch, "_run", spy)
    with gankit.load(TINY, device="cuda", batch=16) as generator:
        generator.warmup()
        sessions = set(seen)
        for n in range(1, 60):
            generator.sample(n)
    assert all(len(sizes) == 1 for sizes in seen.values())
    assert set(seen) == sessions and len(sessions) == len(generator.sizes)  # warmup had opened all of them


@pytest.mark.usefixtures("gpu")
def test_images_can_stay_on_the_device(tiny: gankit.Generator) -> None:
    with gankit.load(TINY, device="cuda", batch=16) as generator:
        for n in (1, 5, 16, 33):
            z, label = generator.inputs(n, seed=n)
            assert label is not None
            there = generator.on_device(z, label)
            assert isinstance(there, onnxruntime.OrtValue)
            assert close(torch.from_dlpack(there).numpy(), tiny(z, label))
    with (
        gankit.load(foreign_model("float", labels=False), device="cuda") as floats,
        pytest.raises(gankit.UsageError, match="--output float cannot keep its images on the GPU"),
    ):
        floats.on_device(np.zeros((1, 60), np.float32))


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("batch", [1, 3])
def test_batches_may_be_smaller_than_the_comparison(tiny: gankit.Generator, batch: int) -> None:
    with gankit.load(TINY, device="cuda", batch=batch) as generator:
        assert close(generator.sample(7, seed=1), tiny.sample(7, seed=1))


@pytest.mark.usefixtures("gpu")
def test_float_images_are_converted() -> None:
    model = foreign_model("float", labels=False)
    with gankit.load(model, device="cuda", batch=8) as generator, gankit.load(model, device="cpu") as cpu:
        assert np.array_equal(generator.sample(21), cpu.sample(21))


@pytest.mark.usefixtures("gpu")
def test_options_reach_the_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    opened = cuda.gpu_session
    monkeypatch.setattr(cuda, "gpu_session", lambda *a: given.append(a[2].copy()) or opened(*a))  # type: ignore[func-returns-value]
    assert gankit.load(TINY, device="cuda").precision == "tf32"
    assert gankit.load(TINY, device="cuda", precision="float32", gpu_mem_limit=1 << 30).precision == "float32"
    assert [(each["use_tf32"], each.get("gpu_mem_limit")) for each in given] == [("1", None), ("0", "1073741824")]
    assert {each["cudnn_conv_algo_search"] for each in given} == {"HEURISTIC"}


@pytest.mark.usefixtures("gpu")
def test_a_layout_with_wrong_images_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mismatched drivers and libraries have produced wrong images."""
    run, wrong = cuda._FixedBatch.run, {"1"}

    def damaged(self: Any, inputs: Any, take: Any) -> None:
        off = 30 * (layouts[-1] in wrong)
        run(self, inputs, lambda images: take(np.clip(images.astype(int) + off, 0, 255).astype(np.uint8)))

    layouts: list[str] = []
    opened = cuda.gpu_session
    monkeypatch.setattr(cuda, "gpu_session", lambda *a: layouts.append(a[2]["prefer_nhwc"]) or opened(*a))  # type: ignore[func-returns-value]
    monkeypatch.setattr(cuda._FixedBatch, "run", damaged)
    generator = gankit.load(TINY, device="cuda")
    assert generator.device == "cuda" and layouts == ["1", "0"]
    wrong.add("0")
    monkeypatch.setattr(backends, "cuda_problem", lambda: None)
    with pytest.raises(gankit.DeviceError, match=r"CUDA is not available: its images of tiny differ from the CPU's"):
        gankit.load(TINY, device="cuda")
    fallen = gankit.load(TINY)
    assert fallen.device == "cpu" and "its images of tiny" in str(fallen.fallback_reason)


def test_nodes_on_the_cpu_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that was opened for CUDA and runs on the CPU, as ONNX Runtime's silent fallback gives."""
    monkeypatch.setattr(backends, "has_nvidia_driver", lambda: True)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [cuda.PROVIDER, "CPUExecutionProvider"])
    monkeypatch.setattr(onnxruntime.InferenceSession, "get_providers", lambda self: [cuda.PROVIDER])
    monkeypatch.setattr(backends, "cuda_problem", lambda: None)
    real = onnxruntime.InferenceSession.__init__

    def silent(self: Any, source: Any, options: Any, providers: Any, enable_fallback: Any) -> None:
        real(self, source, options, ["CPUExecutionProvider"], enable_fallback=enable_fallback)

    monkeypatch.setattr(onnxruntime.InferenceSession, "__init__", silent)
    with pytest.raises(gankit.DeviceError, match=r"does not run all nodes of the model: (Gemm|Concat|MatMul)"):
        gankit.load(TINY, device="cuda")


@pytest.mark.usefixtures("gpu")
def test_a_lost_device_is_an_error_without_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = gankit.load(TINY, device="cuda")
    with monkeypatch.context() as lost:
        lost.setattr(
            cuda._FixedBatch, "_run", lambda *_: exec("raise RuntimeError('CUDA failure 719: unspecified launch')")
        )
        for call in (lambda: generator.sample(1), lambda: generator.submit(300).result(60)):
            with pytest.raises(gankit.GankitError, match="tiny failed on cuda: CUDA failure 719"):
                call()
    assert generator.device == "cuda"


class _Cudart:
    """The pinned memory functions of CUDA's runtime library, with ordinary memory."""

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


def test_pinned_memory_is_freed() -> None:
    cudart = _Cudart()
    array = cuda.allocate_pinned((3, 4), np.float32, cudart)
    assert array.shape == (3, 4) and array.dtype == np.float32 and not array.any() and len(cudart.live) == 1
    part = array[1:]
    del array
    gc.collect()
    assert len(cudart.live) == 1
    part[...] = 7
    del part
    gc.collect()
    assert not cudart.live
    ordinary = cuda.allocate_pinned((2,), np.uint8, _Cudart(code=2))  # pinned memory is exhausted
    assert not ordinary.any()


@pytest.mark.usefixtures("gpu")
def test_tf32_can_be_requested() -> None:
    """The CPU, which opens the file for the comparison, does not have it."""
    assert gankit.load(TINY, device="cuda", precision="tf32").precision == "tf32"
    assert gankit.load(TINY, precision="tf32").device == "cuda"
    with pytest.raises(gankit.UsageError, match="tiny computes on cuda in tf32 or float32, not in bfloat16"):
        gankit.load(TINY, device="cuda", precision="bfloat16")


def test_without_a_driver_cuda_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "has_nvidia_driver", lambda: False)
    monkeypatch.setattr(cuda, "gpu_session", None)  # which would fail
    generator = gankit.load(TINY)
    assert (generator.device, generator.fallback_reason) == ("cpu", "no NVIDIA driver")
    with pytest.raises(gankit.UsageError, match="tiny computes on cpu in float32, not in tf32"):
        gankit.load(TINY, precision="tf32")


def test_without_a_driver_there_is_no_advice_about_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    message = r"CUDA is not available: no NVIDIA driver \(.*\): install one.*; or use the device cpu"
    with pytest.raises(gankit.DeviceError, match=message) as raised:
        gankit.load(TINY, device="cuda")
    assert "pip" not in str(raised.value)
