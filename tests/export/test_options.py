"""What each option changes in the file, and that the images stay the same."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import gankit
from gankit._errors import UsageError
from gankit_export import ExportOptions
from gankit_export.conv_transpose import PhasesConvTranspose, SubpixelConvTranspose
from gankit_export.exporter import choose_rewrite
from gankit_export.folding import fold_batch_norm
from gankit_export.formats import FORMATS
from gankit_export.graph import ImageGraph
from gankit_export.verify import TOLERANCES
from tests.export.conftest import Exported
from tests.export.helpers import COMPACT, PHASES, PLAIN, SUBPIXEL, load_network

OPTIONS = {
    "float16": ExportOptions(precision="float16"),
    "compact": COMPACT,
    "subpixel": SUBPIXEL,
    "phases": PHASES,
    "float output": ExportOptions(output="float", rewrite="plain"),
    "newest opset": ExportOptions(opset=20, rewrite="plain"),
    "everything": ExportOptions(opset=20, output="float", precision="compact", rewrite="subpixel"),
    "float16 phases": ExportOptions(opset=20, output="float", precision="float16", rewrite="phases"),
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_every_option_in_every_format(wide_run: Path, exported: Exported, options: ExportOptions) -> None:
    plain = exported(wide_run, PLAIN)
    files = exported(wide_run, options)
    precision = options.resolved_precision
    for file in files.values():
        card, result = FORMATS[file.format].open(file.path, "cpu")[0], file.verification[0]
        assert result.tolerance == TOLERANCES[precision] and result.identical_bytes > 0.98
        assert (card.precision, card.rewrite, card.output) == (precision, options.rewrite or "plain", options.output)
        if precision != "float32":
            assert file.size < 0.6 * plain[file.format].size
    images = gankit.load(files["onnx"].path, device="cpu").sample(9)  # always uint8 for users
    expected = gankit.load(plain["onnx"].path, device="cpu").sample(9)
    assert images.dtype == np.uint8 and np.abs(images.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_graph_has_the_nodes_that_the_options_name(
    wide_run: Path, exported: Exported, options: ExportOptions
) -> None:
    model = onnx.load(exported(wide_run, options)["onnx"].path)
    assert model.opset_import[0].version == options.opset
    kinds = Counter(node.op_type for node in model.graph.node)
    # The last of the three layers makes three channels, no multiple of 16. All padding became part of Conv.
    expected = {"plain": (3, 0, 0), "subpixel": (0, 3, 3), "phases": (1, 8, 0)}[options.rewrite or "plain"]
    assert (kinds["ConvTranspose"], kinds["Conv"], kinds["DepthToSpace"]) == expected and not kinds["Pad"]
    float16 = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT16 and len(t.dims) > 1]
    assert bool(float16) == (options.resolved_precision != "float32")
    assert all(i.type.tensor_type.elem_type == onnx.TensorProto.FLOAT for i in model.graph.input)


def test_folding_changes_no_number(run: Path) -> None:
    header, generator = load_network(run)
    z = torch.randn(4, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    label = torch.eye(10, dtype=torch.float64)[:4] if header.labels else None
    torch.testing.assert_close(fold_batch_norm(generator.double())(z, label), generator(z, label), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("rewritten", [SubpixelConvTranspose, PhasesConvTranspose])
@pytest.mark.parametrize("bias", [True, False])
def test_a_rewritten_layer_computes_the_transposed_convolution(rewritten: Any, bias: bool) -> None:
    torch.manual_seed(0)
    layer = torch.nn.ConvTranspose2d(5, 3, 4, 2, 1, bias=bias).double()
    x = torch.randn(2, 5, 4, 7, dtype=torch.float64)
    torch.testing.assert_close(rewritten(layer)(x), layer(x), rtol=1e-12, atol=1e-12)


def layer(channels: int, padding: int = 1) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.ConvTranspose2d(32, channels, 4, 2, padding))


def test_a_given_rewrite_that_is_not_possible_is_an_error() -> None:
    ImageGraph(layer(3), rewrite="subpixel")
    with pytest.raises(UsageError, match=r"rewrite 'subpixel' needs .* kernel 4, stride 2, padding 1; there are none"):
        ImageGraph(layer(3, padding=0), rewrite="subpixel")
    ImageGraph(layer(48), rewrite="phases")
    with pytest.raises(UsageError, match=r"rewrite 'phases' needs .* multiples of 16; there are none"):
        ImageGraph(layer(24), rewrite="phases")


@pytest.mark.parametrize(
    "options, rewrites",
    [
        # of ONNX files with 48 and 24 channels, and of TorchScript
        (ExportOptions(), ("phases", "plain", "plain")),
        (ExportOptions(target="cuda"), ("plain", "plain", "plain")),
        (ExportOptions(target="openvino"), ("subpixel", "subpixel", "plain")),
        (ExportOptions(precision="float16"), ("plain", "plain", "plain")),
        (ExportOptions(precision="compact"), ("phases", "plain", "plain")),
        (ExportOptions(rewrite="plain", target="openvino"), ("plain", "plain", "plain")),
        (ExportOptions(rewrite="subpixel"), ("subpixel", "subpixel", "subpixel")),
    ],
)
def test_a_targets_rewrite_is_for_onnx_alone_and_only_where_possible(
    options: ExportOptions, rewrites: tuple[str, str, str]
) -> None:
    chosen = [choose_rewrite(layer(48), "onnx", options), choose_rewrite(layer(24), "onnx", options)]
    assert (*chosen, choose_rewrite(layer(48), "torchscript", options)) == rewrites


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"opset": 22}, "opset must be from 18 to 20, not 22"),
        ({"output": "int8"}, "output must be one of uint8, float, not 'int8'"),
        ({"precision": "bfloat16"}, "precision must be one of float32, float16, compact, not 'bfloat16'"),
        ({"rewrite": "winograd"}, "rewrite must be one of plain, subpixel, phases, not 'winograd'"),
        ({"target": "tpu"}, "target must be one of cpu, cuda, openvino, not 'tpu'"),
    ],
)
def test_wrong_options_are_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ExportOptions(**wrong)
