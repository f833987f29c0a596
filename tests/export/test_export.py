"""Exported runs compute what their networks compute, and their cards say what they are."""

import ast
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import gankit
import gankit_export
from gankit._errors import GankitError, ModelError, UsageError
from gankit_export import ExportOptions, export, export_run, options
from gankit_export.formats import FORMATS
from gankit_train.compute.files import sha256
from gankit_train.models import checkpoints
from tests.export.conftest import Exported
from tests.export.helpers import COMPACT, PHASES, PLAIN, SUBPIXEL, load_network, make_card
from tests.helpers.training import train_small


def test_the_public_names_are_listed_and_static() -> None:
    assert set(gankit_export.__all__) <= set(dir(gankit_export))
    for name in gankit_export.__all__:
        assert getattr(gankit_export, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'exprot'"):
        gankit_export.exprot  # type: ignore[attr-defined]  # noqa: B018
    tree = ast.parse(Path(str(gankit_export.__file__)).read_text())
    typed = {alias.name for node in tree.body if isinstance(node, ast.If) for each in node.body for alias in each.names}  # type: ignore[attr-defined]
    assert typed == set(gankit_export.__all__)  # what type checkers see


def test_the_import_is_quick() -> None:
    code = "import sys, gankit_export; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.filterwarnings("ignore:.torch.jit.load. is deprecated")
def test_files_compute_what_the_network_computes(run: Path, exported: Exported) -> None:
    files = exported(run, ExportOptions())
    header, generator = load_network(run)
    runtime = gankit.load(files["onnx"].path, device="cpu")
    script = torch.jit.load(str(files["torchscript"].path))
    for n in (1, 5, 90):
        z, label = runtime.inputs(n, seed=77)
        arguments = [torch.from_numpy(a) for a in (z, label) if a is not None]
        with torch.no_grad():
            exact = (127.5 * generator(*arguments) + 128).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
        assert exact.std() > 5  # not one grey image, which anything would match
        for images in (runtime(z, label), script(*arguments).numpy()):
            assert images.shape == exact.shape and np.abs(images.astype(int) - exact).max() <= 1
            assert (images == exact).mean() > 0.999
    assert (header.labels is None) == (runtime.labels == ())


@pytest.mark.parametrize(
    "settings",
    [
        {"variant": "vanilla", "g_widths": (16, 32)},
        {"variant": "cgan", "network": "mlp", "g_widths": (16, 32)},
        {"g_norm": "none"},
        {"output": "sigmoid", "g_activation": "silu"},
        {"upsample": True, "g_widths": (8, 8, 4), "g_strides": (2, 2, 1), "size": (20, 30), "bias": False},
        {"g_kernels": (5,), "g_activation": "leaky-relu", "size": (32, 32), "g_widths": (8, 4)},
    ],
)
def test_every_kind_of_network_is_exported(tmp_path: Path, settings: dict[str, Any]) -> None:
    run = train_small(tmp_path / "run", images=640, lr_g=0.01, **settings)[0].run
    for file in export_run(run, formats=["onnx", "torchscript", "pt2"]):
        assert file.verification[0].identical_bytes > 0.999
    assert gankit.load(run / "run.onnx", device="cpu").sample(3).std() > 5


def test_the_card_says_where_the_file_comes_from(run: Path, exported: Exported) -> None:
    for file in exported(run, ExportOptions()).values():
        card = FORMATS[file.format].open(file.path, "cpu")[0]
        assert (card.name, card.height, card.channels, card.z_dim) == (run.name, 28, 1, 8)
        assert (card.variant, card.data, card.images_seen) == (run.name.split("-")[0], "digits", 640)
        assert card.ema and card.checkpoint_sha256 == sha256(checkpoints.newest_checkpoint(run))
        assert card.versions["torch"] == torch.__version__
        assert (card.precision, card.rewrite, card.output) == ("float32", "plain", "uint8")


def test_the_card_says_what_verification_measured(run: Path, exported: Exported) -> None:
    for file in exported(run, ExportOptions()).values():
        measured = FORMATS[file.format].open(file.path, "cpu")[0].verification["measured"][0]
        result = file.verification[0]
        assert measured == vars(result) and result.device == "cpu" and file.not_verified == {}
        assert result.images == 1 + 7 + 64 + 7 + (7 * 11 if run.name.startswith("cgan") else 0)
        assert 0 <= result.mean_error <= result.max_error <= result.tolerance == 0.02


def test_the_graph_keeps_the_contract(run: Path, exported: Exported) -> None:
    model = onnx.load(exported(run, ExportOptions())["onnx"].path)
    onnx.checker.check_model(model, full_check=True)
    assert [i.name for i in model.graph.input] == ["z"] + ["label"] * run.name.startswith("cgan")
    for value in [*model.graph.input, *model.graph.output]:
        assert value.type.tensor_type.shape.dim[0].dim_param == "n"
    assert model.opset_import[0].version == 18
    kinds = {node.op_type for node in model.graph.node}
    assert not any("Random" in kind or kind in ("BatchNormalization", "Dropout") for kind in kinds)
    assert not any(tensor.external_data for tensor in model.graph.initializer)


def test_ema_weights_are_the_default(cgan_run: Path, tmp_path: Path) -> None:
    (raw,) = export_run(cgan_run, formats=["onnx"], out=tmp_path, name="raw", ema=False)
    (averaged,) = export_run(cgan_run, formats=["onnx"], out=tmp_path, name="ema")
    assert not np.array_equal(
        gankit.load(averaged.path, device="cpu").sample(4), gankit.load(raw.path, device="cpu").sample(4)
    )
    assert gankit.load(averaged.path, device="cpu").card.ema and not gankit.load(raw.path, device="cpu").card.ema


RUN_IN_OPENVINO = """
import sys
import numpy as np
import openvino

with np.load(sys.argv[2]) as feeds:
    model = openvino.Core().compile_model(sys.argv[1], "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    np.save(sys.argv[3], model(dict(feeds))[0])
"""


@pytest.mark.parametrize(
    "name, options",
    [
        ("dcgan_run", ExportOptions()),
        ("wide_run", COMPACT),
        ("wide_run", SUBPIXEL),
        ("wide_run", PHASES),
    ],
)
def test_independent_engines_agree(
    request: pytest.FixtureRequest, tmp_path: Path, exported: Exported, name: str, options: ExportOptions
) -> None:
    """ONNX's reference implementation and OpenVINO, which have no kernel in common with ONNX Runtime."""
    from onnx.reference import ReferenceEvaluator

    path = exported(request.getfixturevalue(name), options)["onnx"].path
    model = gankit.load(path, device="cpu")
    z, label = model.inputs(3, seed=5)
    feeds = {"z": z} if label is None else {"z": z, "label": label}
    expected = model(z, label)
    in_onnx = ReferenceEvaluator(str(path)).run(None, feeds)[0]
    np.savez(tmp_path / "feeds.npz", **feeds)
    # In a process of its own: in one process with PyTorch's threads, a signal crashed it some tests later.
    files = (path, tmp_path / "feeds.npz", tmp_path / "images.npy")
    subprocess.run([sys.executable, "-c", RUN_IN_OPENVINO, *map(str, files)], check=True)
    for images in (in_onnx, np.load(tmp_path / "images.npy")):
        assert images.shape == expected.shape and images.dtype == np.uint8 and images.std() > 5
        assert np.abs(images.astype(int) - expected).max() <= 1 and (images == expected).mean() > 0.999


@pytest.mark.parametrize("options", [PLAIN, COMPACT], ids=["float32", "compact"])
def test_a_file_contains_no_path_of_the_machine(wide_run: Path, exported: Exported, options: ExportOptions) -> None:
    for file in exported(wide_run, options).values():
        content = [file.path.read_bytes()]
        if zipfile.is_zipfile(file.path):  # its members are compressed
            with zipfile.ZipFile(file.path) as archive:
                content += [archive.read(name) for name in archive.namelist()]
        for folder in (Path(str(torch.__file__)).parents[1], Path(__file__).parents[2], file.path.parent):
            assert not any(str(folder).encode() in part for part in content)


def test_a_missing_package_is_named(cgan_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMATS, "onnx", replace(FORMATS["onnx"], packages=("no_such_package",)))
    with pytest.raises(GankitError, match=r"exporting to onnx needs.*gankit\[export,cpu\]"):
        export_run(cgan_run, formats=["onnx"], out=tmp_path)
    export_run(cgan_run, formats=["torchscript"], out=tmp_path)
    assert [p.suffix for p in tmp_path.iterdir()] == [".ts"]


def test_wrong_arguments_raise_at_once(cgan_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no run"):  # a UsageError is a ValueError
        export_run(tmp_path / "none")
    with pytest.raises(UsageError, match="format must be one of onnx, torchscript, pt2, not 'tflite'"):
        export_run(cgan_run, formats=["tflite"])  # type: ignore[list-item]
    header, generator = load_network(cgan_run)
    with pytest.raises(UsageError, match=r"x\.pth must end in one of \.onnx, \.ts, \.pt2"):
        export(generator, make_card(header), tmp_path / "x.pth")
    assert issubclass(ModelError, ValueError)


def test_torchscript_is_a_default_only_where_pytorch_supports_it(
    cgan_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "_PYTHON", (3, 14))
    files = export_run(cgan_run, out=tmp_path)
    assert [file.format for file in files] == ["onnx"]
