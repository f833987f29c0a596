"""One measurement of sampling in a process of its own: `python -m benchmarks.sampling WAY ONNX CHECKPOINT`.

Every way starts from random numbers and ends with uint8 [n, height, width, channels] in NumPy. Only what is measured is
imported.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 128
_SECONDS, _WARM = 3.0, 4


def _gankit(onnx: Path, checkpoint: Path) -> Callable[[int], Any]:
    import gankit

    model = gankit.load(onnx, device="cpu")
    return lambda i: model.sample(BATCH, seed=1, start=i * BATCH)


def _default_session(onnx: Path, checkpoint: Path) -> Callable[[int], Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    z_dim, rng = session.get_inputs()[0].shape[1], np.random.default_rng(0)
    return lambda i: session.run(None, {"z": rng.standard_normal((BATCH, z_dim), np.float32)})[0]


def _torch(kind: str, onnx: Path, checkpoint: Path) -> Callable[[int], Any]:
    import torch

    from gankit_export.graph import ImageGraph
    from gankit_train import checkpoints

    header, document = checkpoints.read(checkpoint)
    graph: Any = ImageGraph(checkpoints.generator(header, document), header.config.value_range)
    graph = graph.to(memory_format=torch.channels_last) if kind != "eager" else graph
    graph = torch.jit.load(str(onnx.with_suffix(".ts"))) if kind == "torchscript" else graph  # type: ignore[no-untyped-call]
    graph = torch.compile(graph) if kind == "compile" else graph

    def sample(i: int) -> Any:
        with torch.inference_mode():
            return graph(torch.randn(BATCH, header.config.z_dim)).numpy()

    return sample


WAYS: dict[str, Callable[[Path, Path], Callable[[int], Any]]] = {
    "gankit.load(…).sample": _gankit,
    "onnxruntime, default session": _default_session,
    "torch eager": lambda onnx, checkpoint: _torch("eager", onnx, checkpoint),
    "torch channels_last": lambda onnx, checkpoint: _torch("channels_last", onnx, checkpoint),
    "torch.compile": lambda onnx, checkpoint: _torch("compile", onnx, checkpoint),
    "TorchScript": lambda onnx, checkpoint: _torch("torchscript", onnx, checkpoint),
}


def main() -> None:
    """Warms up, then counts images for a few seconds."""
    sample = WAYS[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
    for i in range(_WARM):
        images = sample(i)
        assert images.dtype == np.uint8 and images.shape[0] == BATCH and images.shape[3] in (1, 3)
    done, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < _SECONDS:
        sample(done)
        done += 1
    print(done * BATCH / (time.perf_counter() - begin))


if __name__ == "__main__":
    main()
