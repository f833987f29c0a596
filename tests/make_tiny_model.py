"""Makes tests/models/tiny.onnx: a contract-shaped conditional generator of a few kilobytes, without training or torch.

Run it from the repository's root: python tests/make_tiny_model.py
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from gankit import Card, Labels
from gankit._card import KEY

Z_DIM, EDGE = 6, 8
LABELS = Labels(("Blond_Hair", "Black_Hair", "Smiling"), "attributes", (0.5, 0.5, 0.25), ((0, 1),))


def model() -> onnx.ModelProto:
    """z [n, 6] and label [n, 3] → a random affine map of both → uint8 [n, 8, 8, 3]."""
    rng = np.random.Generator(np.random.Philox(key=1))
    k, pixels = len(LABELS.names), EDGE * EDGE * 3
    weights = {
        "w": rng.normal(0, 20, (Z_DIM + k, pixels)).astype(np.float32),
        "b": np.full(pixels, 128, np.float32),
        "shape": np.array([-1, EDGE, EDGE, 3]),
        "low": np.float32(0),
        "high": np.float32(255),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Concat", ["z", "label"], ["x"], axis=1),
            helper.make_node("Gemm", ["x", "w", "b"], ["y"]),
            helper.make_node("Clip", ["y", "low", "high"], ["clipped"]),
            helper.make_node("Cast", ["clipped"], ["bytes"], to=TensorProto.UINT8),
            helper.make_node("Reshape", ["bytes", "shape"], ["images"]),
        ],
        "tiny",
        [
            helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", Z_DIM]),
            helper.make_tensor_value_info("label", TensorProto.FLOAT, ["n", k]),
        ],
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", EDGE, EDGE, 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10, producer_name="gankit")
    card = Card("tiny", EDGE, EDGE, 3, Z_DIM, LABELS, variant="random", opset=18)
    helper.set_model_props(made, {KEY: card.to_json()})
    onnx.checker.check_model(made, full_check=True)
    return made


if __name__ == "__main__":
    path = Path(__file__).parent / "models" / "tiny.onnx"
    path.write_bytes(model().SerializeToString())
    print(path, path.stat().st_size)
