"""Models that tests load."""

from typing import Literal

import numpy as np
from onnx import TensorProto, helper, numpy_helper


def foreign_model(output: Literal["uint8", "float"], labels: bool) -> bytes:
    """A model of another tool, which fits the contract but has other names and no card: z_dim 60, images 5×4×3."""
    edges = {"uint8": [5, 4, 3], "float": [3, 5, 4]}[output]
    inputs = [helper.make_tensor_value_info("noise", TensorProto.FLOAT, [None, 60])]
    nodes = [helper.make_node("Reshape", ["noise", "shape"], ["raw"])]
    if labels:
        inputs.append(helper.make_tensor_value_info("onehot", TensorProto.FLOAT, [None, 2]))
        nodes = [
            helper.make_node("ReduceSum", ["onehot", "axis"], ["total"], keepdims=1),
            helper.make_node("Mul", ["noise", "total"], ["scaled"]),
            helper.make_node("Reshape", ["scaled", "shape"], ["raw"]),
        ]
    kind = TensorProto.UINT8 if output == "uint8" else TensorProto.FLOAT
    nodes.append(helper.make_node("Cast", ["raw"], ["out"], to=kind))
    constants = [
        numpy_helper.from_array(np.array([-1, *edges]), "shape"),
        numpy_helper.from_array(np.array([1]), "axis"),
    ]
    outputs = [helper.make_tensor_value_info("out", kind, [None, *edges])]
    graph = helper.make_graph(nodes, "foreign", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()
