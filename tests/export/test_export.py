import subprocess
import sys
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import gankit
from gankit._card import Card
from gankit._errors import GankitError, ModelError, UsageError
from gankit_export import Recipe, export, export_run
from gankit_export.exporter import write
from gankit_export.formats import FORMATS, Format
from gankit_export.graph import PLAIN, TARGETS, ImageGraph, Phases, Subpixel, folded
from gankit_export.verify import TOLERANCES, Reference, cases
from gankit_train.compute.files import sha256
from gankit_train.models import checkpoints
from tests.helpers.commands import Command, refused
from tests.helpers.training import train_small as go


@pytest.fixture(scope="module", params=["dcgan", "cgan"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / f"{request.param}-digits-28"
    return go(out, request.param, images=640, beta1=0.0, lr_g=0.01)[0].run  # enough to move all statistics


def network(run: Path) -> tuple[checkpoints.CheckpointInfo, Any]:
    header, document = checkpoints.load_checkpoint(checkpoints.newest_checkpoint(run))
    return header, checkpoints.load_generator(header, document)


def card(header: checkpoints.CheckpointInfo) -> Card:
    height, width, channels = header.shape
    return Card("x", height, width, channels, header.config.networks.z_dim, header.labels, opset=18)


def proving(
    generator: Any, header: checkpoints.CheckpointInfo, recipe: Recipe = PLAIN
) -> tuple[ImageGraph, Reference, Card]:
    said = replace(card(header), precision=recipe.precision, output=recipe.output, rewrite=recipe.rewrite)
    return ImageGraph(generator, recipe=recipe), Reference(generator, said, (-1, 1)), said


@pytest.mark.filterwarnings("ignore:.torch.jit.load. is deprecated")
def test_both_files_compute_what_the_network_computes(run: Path, tmp_path: Path) -> None:
    made = list(export_run(run, folder=tmp_path))
    assert [m.path.name for m in made] == [f"{run.name}.onnx", f"{run.name}.ts"]
    header, generator = network(run)
    runtime = gankit.load(made[0].path, device="cpu")
    script = torch.jit.load(str(made[1].path))
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
def test_other_networks_are_proved_too(tmp_path: Path, settings: dict[str, Any]) -> None:
    run = go(tmp_path / "run", images=640, lr_g=0.01, **settings)[0].run
    for made in export_run(run, list(FORMATS)):
        assert made.proofs[0]["equal_bytes"] > 0.999
    assert gankit.load(run / "run.onnx", device="cpu").sample(3).std() > 5


def test_the_card_tells_where_the_file_comes_from(run: Path, tmp_path: Path) -> None:
    for each in export_run(run, list(FORMATS), tmp_path, "mine"):
        found = FORMATS[each.format].open(each.path, "cpu")[0]
        assert (found.name, found.height, found.channels, found.z_dim) == ("mine", 28, 1, 8)
        assert (found.variant, found.data, found.images_seen) == (run.name.split("-")[0], "digits", 640)
        assert found.ema and found.checkpoint_sha256 == sha256(checkpoints.newest_checkpoint(run))
        assert found.versions["torch"] == torch.__version__
        proof = found.verification["measured"][0]
        assert proof == each.proofs[0] and proof["device"] == "cpu"
        assert proof["images"] == 1 + 7 + 64 + 7 + (7 * 11 if found.variant == "cgan" else 0)
        assert 0 <= proof["mean_error"] <= proof["max_error"] <= proof["tolerance"] == 0.02
        assert (found.precision, found.rewrite, found.output) == ("float32", "plain", "uint8")


def test_the_graph_keeps_the_contract(run: Path, tmp_path: Path) -> None:
    model = onnx.load(next(export_run(run, ["onnx"], tmp_path)).path)
    onnx.checker.check_model(model, full_check=True)
    assert [i.name for i in model.graph.input] == ["z"] + ["label"] * run.name.startswith("cgan")
    for value in [*model.graph.input, *model.graph.output]:
        assert value.type.tensor_type.shape.dim[0].dim_param == "n"
    assert model.opset_import[0].version == 18
    kinds = {node.op_type for node in model.graph.node}
    assert not any("Random" in kind or kind in ("BatchNormalization", "Dropout") for kind in kinds)
    assert not any(tensor.external_data for tensor in model.graph.initializer)


def test_folding_changes_no_number(run: Path) -> None:
    header, generator = network(run)
    z = torch.randn(4, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    label = torch.eye(10, dtype=torch.float64)[:4] if header.labels else None
    torch.testing.assert_close(folded(generator.double())(z, label), generator(z, label), rtol=1e-9, atol=1e-9)


def test_raw_weights_are_others(run: Path, tmp_path: Path) -> None:
    averaged, raw = (next(export_run(run, ["onnx"], tmp_path, str(ema), ema)).path for ema in (True, False))
    assert not np.array_equal(gankit.load(averaged, device="cpu").sample(4), gankit.load(raw, device="cpu").sample(4))
    assert not gankit.load(raw, device="cpu").card.ema


RECIPES = {
    "half": Recipe(precision="float16"),
    "compact": Recipe(precision="compact"),
    "subpixel": Recipe(rewrite="subpixel"),
    "phases": Recipe(rewrite="phases"),
    "float": Recipe(output="float"),
    "newest opset": Recipe(opset=20),
    "all": Recipe(20, "float", "compact", "subpixel"),
    "half phases": Recipe(20, "float", "float16", "phases"),
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_every_recipe_is_proved_in_every_format(wide: Path, tmp_path: Path, recipe: Recipe) -> None:
    plain = {m.format: m for m in export_run(wide, list(FORMATS), tmp_path / "plain")}
    expected = gankit.load(plain["onnx"].path, device="cpu").sample(9)
    for made in export_run(wide, list(FORMATS), tmp_path, recipe=recipe):
        proof, found = made.proofs[0], FORMATS[made.format].open(made.path, "cpu")[0]
        assert proof["tolerance"] == TOLERANCES[recipe.precision] and proof["equal_bytes"] > 0.98
        assert (found.precision, found.rewrite, found.output) == (recipe.precision, recipe.rewrite, recipe.output)
        if recipe.precision != "float32":
            assert made.size < 0.6 * plain[made.format].size
    model = onnx.load(tmp_path / f"{wide.name}.onnx")
    assert model.opset_import[0].version == recipe.opset
    kinds = Counter(node.op_type for node in model.graph.node)
    # Of the three layers, the last one makes three channels, no whole block of them. The padding is the Convs' own.
    expected_kinds = {"plain": (3, 0, 0), "subpixel": (0, 3, 3), "phases": (1, 8, 0)}[recipe.rewrite]
    assert (kinds["ConvTranspose"], kinds["Conv"], kinds["DepthToSpace"]) == expected_kinds and not kinds["Pad"]
    halves = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT16 and len(t.dims) > 1]
    assert bool(halves) == (recipe.precision != "float32")
    assert all(i.type.tensor_type.elem_type == onnx.TensorProto.FLOAT for i in model.graph.input)
    images = gankit.load(tmp_path / f"{wide.name}.onnx", device="cpu").sample(9)  # also of a float file
    assert images.dtype == np.uint8 and np.abs(images.astype(int) - expected).max() <= 1


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of networks whose weights are what their files are full of, at a size that doubles without rest."""
    out = tmp_path_factory.mktemp("runs") / "wide"
    # Of few steps by this loss, as others leave larger activations, of which half precision rounds more.
    return go(out, "cgan", images=640, size=(32, 32), filters=48, lr_g=0.003, loss="non-saturating", r2=0.0)[0].run


@pytest.mark.parametrize("rewritten", [Subpixel, Phases])
@pytest.mark.parametrize("bias", [True, False])
def test_a_rewritten_layer_is_the_transposed_convolution(rewritten: type[Subpixel] | type[Phases], bias: bool) -> None:
    torch.manual_seed(0)
    layer = torch.nn.ConvTranspose2d(5, 3, 4, 2, 1, bias=bias).double()
    x = torch.randn(2, 5, 4, 7, dtype=torch.float64)
    torch.testing.assert_close(rewritten(layer)(x), layer(x), rtol=1e-12, atol=1e-12)


def test_what_cannot_be_rewritten_is_an_error_where_it_was_asked_for_by_name() -> None:
    def graph(channels: int, padding: int, recipe: Recipe) -> ImageGraph:
        return ImageGraph(torch.nn.Sequential(torch.nn.ConvTranspose2d(32, channels, 4, 2, padding)), recipe=recipe)

    assert graph(3, 1, Recipe(rewrite="subpixel")).recipe.rewrite == "subpixel"
    with pytest.raises(UsageError, match=r"--rewrite subpixel needs .* kernel 4, stride 2, padding 1; there are none"):
        graph(3, 0, Recipe(rewrite="subpixel"))
    assert graph(48, 1, TARGETS["cpu"]).recipe.rewrite == "phases"
    with pytest.raises(UsageError, match=r"--rewrite phases needs .* channels in multiples of 16; there are none"):
        graph(24, 1, Recipe(rewrite="phases"))
    assert graph(24, 1, TARGETS["cpu"]).recipe.rewrite == "plain"


def test_a_targets_rewrite_is_for_onnx_alone(command: Command, wide: Path, tmp_path: Path) -> None:
    said = {}
    for flags in ("", "--fp16", "--rewrite plain", "--subpixel"):
        assert command("gan-export", wide, "-o", flags, *flags.split()).returncode == 0
        paths = [tmp_path / flags / f"wide{suffix}" for suffix in (".onnx", ".ts")]
        said[flags] = tuple(FORMATS[f].open(p, "cpu")[0].rewrite for f, p in zip(FORMATS, paths, strict=False))
    assert said == {
        "": ("phases", "plain"),
        "--fp16": ("plain", "plain"),
        "--rewrite plain": ("plain", "plain"),
        "--subpixel": ("subpixel", "subpixel"),
    }


IN_OPENVINO = """
import sys
import numpy as np
import openvino

with np.load(sys.argv[2]) as feeds:
    model = openvino.Core().compile_model(sys.argv[1], "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    np.save(sys.argv[3], model(dict(feeds))[0])
"""


def test_independent_readers_agree(run: Path, wide: Path, tmp_path: Path) -> None:
    """The reference implementation of ONNX, and OpenVINO, which share no kernel with ONNX Runtime."""
    from onnx.reference import ReferenceEvaluator

    cases = [(run, PLAIN), (wide, Recipe(rewrite="subpixel")), (wide, Recipe(precision="compact", rewrite="phases"))]
    for i, (source, recipe) in enumerate(cases):
        path = next(export_run(source, ["onnx"], tmp_path / str(i), recipe=recipe)).path
        model = gankit.load(path, device="cpu")
        z, label = model.inputs(3, seed=5)
        feeds = {"z": z} if label is None else {"z": z, "label": label}
        expected = model(z, label)
        slow = ReferenceEvaluator(str(path)).run(None, feeds)[0]
        np.savez(tmp_path / "feeds.npz", **feeds)
        # In a process of its own: beside PyTorch's threads, a signal some tests later crashed the whole of them.
        files = (path, tmp_path / "feeds.npz", tmp_path / "images.npy")
        subprocess.run([sys.executable, "-c", IN_OPENVINO, *map(str, files)], check=True)
        for images in (slow, np.load(tmp_path / "images.npy")):
            assert images.shape == expected.shape and images.dtype == np.uint8 and images.std() > 5
            assert np.abs(images.astype(int) - expected).max() <= 1 and (images == expected).mean() > 0.999


def test_half_arithmetic_that_overflows_is_refused(run: Path, tmp_path: Path) -> None:
    header, generator = network(run)
    with torch.no_grad():  # the same images from numbers beyond what half can hold
        generator.body[0].weight *= 1e6
        generator.body[3].weight /= 1e6
        norm = generator.body[1]
        norm.running_mean *= 1e6
        norm.running_var *= 1e12
        norm.weight *= 1e6
        norm.bias *= 1e6
    export(generator, card(header), tmp_path / "x.onnx")
    with pytest.raises(GankitError, match=r"x\.onnx was not written: .* computes something else on cpu"):
        export(generator, card(header), tmp_path / "x.onnx", recipe=Recipe(precision="float16"))
    assert gankit.load(tmp_path / "x.onnx", device="cpu").card.precision == "float32"  # the older file stays


def test_a_file_says_nothing_of_the_machine_it_was_made_on(run: Path, tmp_path: Path) -> None:
    import torch as somewhere

    for recipe in (PLAIN, Recipe(precision="compact")):
        for made in export_run(run, list(FORMATS), tmp_path, recipe=recipe):
            content = [made.path.read_bytes()]
            if zipfile.is_zipfile(made.path):  # whose members are compressed
                with zipfile.ZipFile(made.path) as archive:
                    content += [archive.read(name) for name in archive.namelist()]
            for place in (Path(str(somewhere.__file__)).parents[1], Path(__file__).parents[2], tmp_path):
                assert not any(str(place).encode() in part for part in content)


class Net(torch.nn.Module):
    """z [n, 6] → images [n, 3, 8, 8], by one of several ways that are hard to carry over."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        nn, self.kind = torch.nn, kind
        self.first, self.conv = nn.Linear(6, 4 * 64), nn.Conv2d(4, 3, 3, padding=1)
        if kind == "spectral":
            self.conv = nn.utils.parametrizations.spectral_norm(self.conv)
        if kind == "old spectral":
            self.conv = nn.utils.spectral_norm(self.conv)
        self.norm, self.other = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.body = nn.Sequential(self.conv, self.norm)
        self.twice = nn.Sequential(self.conv, self.other)
        self.pixels = nn.BatchNorm1d(4)
        for norm in (self.norm, self.other, self.pixels):
            norm.running_mean.normal_()
            norm.running_var.uniform_(4, 8)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        x = self.first(z)
        if self.kind == "three axes":
            x = self.pixels(x.view(-1, 4, 64))
        x = x.view(-1, 4, 8, 8)
        y = self.body(x)
        if self.kind == "shared":
            y = y + self.twice(x)
        if self.kind == "own float32":
            y = y.float() * torch.ones(1, 1, 8, 8)
        return torch.tanh(y)


KINDS = ["spectral", "old spectral", "shared", "three axes", "own float32"]


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.spectral_norm` is deprecated")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", ["float32", "compact"])
def test_what_is_hard_to_fold_is_exported_all_the_same(tmp_path: Path, kind: str, precision: Any) -> None:
    torch.manual_seed(0)
    net = Net(kind).eval()
    for suffix in (".onnx", ".ts", ".pt2"):
        made = export(net, Card("net", 8, 8, 3, 6), tmp_path / f"net{suffix}", recipe=Recipe(precision=precision))
        assert made.proofs[0]["equal_bytes"] > 0.9
    z = torch.randn(4, 6)
    expected = (127.5 * net(z) + 127.5).detach().permute(0, 2, 3, 1).numpy()
    assert np.abs(gankit.load(tmp_path / "net.onnx", device="cpu")(z.numpy()) - expected).max() < 1.6
    assert set(net.state_dict()) == set(Net(kind).state_dict())  # the caller's stays as it was
    net(z)


def test_what_no_format_can_express_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    class Branching(torch.nn.Module):
        def forward(self, z: torch.Tensor) -> torch.Tensor:
            y = torch.tanh(z.view(-1, 3, 8, 8))
            return y if bool((z.abs().sum() > -1).item()) else -y

    for suffix in (".onnx", ".pt2"):
        with pytest.raises(ModelError, match=r"was not written: \w+ cannot express this: ") as error:
            export(Branching(), Card("net", 8, 8, 3, 192), tmp_path / f"net{suffix}")
        assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == [] and capfd.readouterr().err == ""


def test_a_wrong_value_range_is_refused(tmp_path: Path) -> None:
    net, said = Net("plain").eval(), Card("net", 8, 8, 3, 6)
    with pytest.raises(UsageError, match=r"% of the pixels lie outside the value range 0,1: they run from -"):
        export(net, said, tmp_path / "net.onnx", value_range=(0, 1))
    for wrong in ((1, -1), (0, 0), (0, float("inf"))):
        with pytest.raises(UsageError, match="a value range rises"):
            export(net, said, tmp_path / "net.onnx", value_range=wrong)
    with pytest.raises(UsageError, match="it cannot be 'a/b'"):
        export(net, replace(said, name="a/b"), tmp_path / "net.onnx")


def test_float_images_stay_in_their_range(tmp_path: Path) -> None:
    class Loud(Net):
        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return super().forward(z) * 1.2

    made = export(Loud("plain").eval(), Card("x", 8, 8, 3, 6), tmp_path / "x.onnx", recipe=Recipe(output="float"))
    images = FORMATS["onnx"].open(made.path, "cpu")[1](np.random.default_rng(0).normal(0, 3, (50, 6)).astype("f"), None)
    assert images.dtype == np.float32 and images.min() == -1 and images.max() == 1


def test_what_gets_the_name_is_what_is_proved(run: Path, tmp_path: Path) -> None:
    header, generator = network(run)
    saves: list[Path] = []

    def save(artefact: Any, said: Card, path: Path) -> None:
        saves.append(path)
        if len(saves) == 2:  # with the card, other weights slip in
            for tensor in artefact.graph.initializer:
                if len(tensor.dims) > 1:
                    values = onnx.numpy_helper.to_array(tensor)
                    tensor.CopyFrom(onnx.numpy_helper.from_array(-values, tensor.name))
        FORMATS["onnx"].save(artefact, said, path)

    with pytest.raises(GankitError, match="computes something else"):
        write(replace(FORMATS["onnx"], save=save), *proving(generator, header), tmp_path / "x.onnx")
    assert len(saves) == 2 and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("precision", ["compact", "float16"])
def test_a_small_shift_of_everything_is_caught_where_single_pixels_may_differ(
    run: Path, tmp_path: Path, precision: Any
) -> None:
    header, generator = network(run)

    def build(graph: ImageGraph, said: Card) -> Any:
        graph.low -= (0.95 if precision == "compact" else 1.9) / 127.5
        return FORMATS["torchscript"].build(graph, said)

    damaged = replace(FORMATS["torchscript"], build=build)
    with pytest.raises(GankitError, match="steps off on average"):
        write(damaged, *proving(generator, header, Recipe(precision=precision)), tmp_path / "x.ts")


def test_a_module_of_ones_own(tmp_path: Path) -> None:
    class Own(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.ConvTranspose2d(6, 3, 8)

        def forward(self, noise: torch.Tensor) -> torch.Tensor:
            return self.net(noise).sigmoid()

    own, said = Own(), Card("own", 8, 8, 3, 6)
    made = export(own, said, tmp_path / "own.onnx", z_shape=(6, 1, 1), value_range=(0, 1))
    model = gankit.load(made.path, device="cpu")
    z, _ = model.inputs(4)
    expected = 255 * own(torch.from_numpy(z)[:, :, None, None]).detach().permute(0, 2, 3, 1).numpy()
    assert np.abs(model(z) - expected).max() <= 0.51
    with pytest.raises(UsageError, match=r"makes images of .* \(8, 8, 3\), the card says \(9, 8, 3\)"):
        export(own, replace(said, height=9), tmp_path / "x.onnx", z_shape=(6, 1, 1))
    with pytest.raises(UsageError, match=r"x\.pth has no suffix of a format; there are \.onnx, \.ts, \.pt2"):
        export(own, said, tmp_path / "x.pth")


OWN = """
import torch
from torch import nn

raise SystemExit("this file trains when it is run")

class Generator(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.look = nn.Embedding(classes, 4)
        self.net = nn.Sequential(nn.Linear(width + 4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 192))

    def forward(self, noise, labels):
        x = self.net(torch.cat([self.look(labels), noise], 1))
        return torch.tanh(x).view(-1, 3, 8, 8)
"""


def test_a_file_of_ones_own(command: Command, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    scope: dict[str, Any] = {"width": 5}
    exec(OWN.replace("raise SystemExit", "str"), scope)
    torch.manual_seed(0)
    own = scope["Generator"](3).eval()
    own.look.weight.data *= 3
    torch.save({f"module.{k}": v for k, v in own.state_dict().items()}, tmp_path / "w.pt")
    line = ["gan-export", "own.py:Generator", "--weights", "w.pt", "--init", '{"classes": 3, "width": 5}']
    result = command(*line, "--z-dim", 5, "--labels", "cat,dog,owl", "-o", "made", "--onnx", "--torchscript", "--pt2")
    assert result.returncode == 0, result.stderr
    assert sorted(p.name for p in (tmp_path / "made").iterdir()) == ["own.onnx", "own.pt2", "own.ts"]
    model = gankit.load(tmp_path / "made" / "own.onnx", device="cpu")
    assert model.labels == ("cat", "dog", "owl") and not model.card.ema
    z, _ = model.inputs(4, label="dog")
    expected = 127.5 * own(torch.from_numpy(z), torch.ones(4, dtype=torch.int64)).detach().permute(0, 2, 3, 1) + 127.5
    assert np.abs(model.sample(4, label="dog") - expected.numpy()).max() <= 0.51
    assert str(tmp_path) not in command("gan-gen", "--info", "made/own.onnx").stdout


def test_the_formats_are_listed(command: Command) -> None:
    listed = command("gan-export", "--formats").stdout.splitlines()
    assert [line.split()[0] for line in listed] == ["--onnx", "--torchscript", "--pt2"]
    assert all(len(line) > 60 for line in listed)


@pytest.mark.parametrize("suffix", [".onnx", ".ts", ".pt2"])
def test_info_prints_the_card_of_any_format(command: Command, wide: Path, tmp_path: Path, suffix: str) -> None:
    assert command("gan-export", wide, "--onnx", "--torchscript", "--pt2", "--compact", "-o", "x").returncode == 0
    shown = command("gan-gen", "--info", f"x/wide{suffix}").stdout
    for words in ("height             32", "precision          compact", "names: ", "max_error", "float64"):
        assert words in shown, shown


def _damaged(form: Format, damage: str) -> Format:
    """The format with a build step that goes wrong on purpose."""

    def build(graph: ImageGraph, card: Card) -> Any:
        body = graph.generator.body
        if damage == "flipped kernel":
            body[0].weight.data = body[0].weight.data.flip(3)
        if damage == "wrong activation":
            graph.generator.body = torch.nn.Sequential(*body[:-1], torch.nn.Hardtanh())
        if damage == "off by one label":
            first = graph.generator.first
            first.weight.data[:, 8:] = first.weight.data[:, 8:].roll(1, dims=1)
        if damage == "wrong rounding":
            graph.generator.body = torch.nn.Sequential(*body, _Shift())
        return form.build(graph, card)

    return replace(form, build=build)


class _Shift(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images - 0.5 / 127.5


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("damage", ["flipped kernel", "wrong activation", "off by one label", "wrong rounding"])
def test_a_file_that_computes_something_else_is_an_error_and_is_not_left(
    run: Path, tmp_path: Path, form: Format, damage: str
) -> None:
    header, generator = network(run)
    if damage == "off by one label" and header.labels is None:
        damage = "flipped kernel"
    with pytest.raises(
        GankitError,
        match=r"was not written: .*computes something else on cpu: image \d+( under \w+)?, pixel .* is \d+ where",
    ):
        write(_damaged(form, damage), *proving(generator, header), tmp_path / f"x{form.suffix}")
    assert list(tmp_path.iterdir()) == []


def test_a_frozen_batch_is_caught(run: Path, tmp_path: Path) -> None:
    header, generator = network(run)

    def build(graph: ImageGraph, card: Card) -> Any:
        model = FORMATS["onnx"].build(graph, card)
        for value in [*model.graph.input, *model.graph.output]:
            value.type.tensor_type.shape.dim[0].dim_value = 2
        return model

    with pytest.raises(GankitError, match="batch of 1"):
        write(replace(FORMATS["onnx"], build=build), *proving(generator, header), tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []


def test_every_label_is_compared(run: Path) -> None:
    header, _ = network(run)
    compared = list(cases(card(header)))
    assert {len(case.z) for case in compared} >= {1, 7, 64}
    if header.labels:
        alone = np.concatenate([case.label for case in compared if case.label is not None and case.what[:5] == "label"])
        assert np.array_equal(np.unique(alone, axis=0), np.eye(10)[::-1])


def test_the_command(command: Command, run: Path, tmp_path: Path) -> None:
    result = command("gan-export", run, "-o", "models", "--name", "mine")
    assert result.returncode == 0, result.stderr
    assert sorted(p.name for p in (tmp_path / "models").iterdir()) == ["mine.onnx", "mine.ts"]
    assert "/255" in result.stdout and "models/mine.onnx" in result.stdout
    assert command("gan-export", run, "--onnx", "-o", "one").returncode == 0
    assert [p.name for p in (tmp_path / "one").iterdir()] == [f"{run.name}.onnx"]


def test_the_newest_run_is_the_default(command: Command, run: Path, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "it").symlink_to(run)
    result = command("gan-export", "--onnx", "-o", "models")
    assert result.returncode == 0 and "runs/it" in result.stdout


def test_what_cannot_be_exported_is_one_clear_line(command: Command, tmp_path: Path, run: Path) -> None:
    refused(command("gan-export"), 2, "no run under runs/")
    refused(command("gan-export", "nowhere"), 2, "nowhere")
    (tmp_path / "empty").mkdir()
    refused(command("gan-export", "empty"), 1, "no checkpoint")
    (tmp_path / "cut.pt").write_bytes(checkpoints.newest_checkpoint(run).read_bytes()[:5000])
    refused(command("gan-export", "cut.pt"), 1, "cut.pt")
    torch.save({"weights": torch.zeros(3)}, tmp_path / "other.pt")
    refused(command("gan-export", "other.pt"), 1, "other.pt", "no checkpoint of gan-train")
    refused(command("gan-export", run, "-o", "cut.pt/below"), 1, "cannot write")
    refused(command("gan-export", run, "--opset", 22), 2, "--opset", "18 to 20", "22")
    refused(command("gan-export", run, "--output", "int8"), 2, "output", "uint8, float")
    refused(command("gan-export", run, "--fp16", "--compact"), 2, "--fp16", "--compact")
    refused(command("gan-export", run, "--subpixel", "--rewrite", "phases"), 2, "--subpixel", "--rewrite")
    refused(command("gan-export", run, "--rewrite", "winograd"), 2, "rewrite", "plain, subpixel, phases", "winograd")
    refused(command("gan-export", run, "--rewrite", "phases"), 2, "--rewrite phases", "16", "none")
    refused(command("gan-export", run, "--for", "tpu"), 2, "--for", "cpu, cuda, openvino")
    refused(command("gan-export", run, "--value-range", "0,1"), 2, "--value-range", "FILE.py:CLASS")
    refused(command("gan-export", "x.py", "--z-dim", 5), 2, "x.py:CLASS")
    refused(command("gan-export", "x.py:G", "--z-dim", 5, "--raw"), 2, "--raw")
    refused(command("gan-export", "x.py:G", "--weights", "w.pt"), 2, "--z-dim")
    refused(command("gan-export", "x.py:G", "--z-dim", 5, "--init", "[1]"), 2, "--init", "JSON object")
    refused(command("gan-export", "x.py:G", "--z-dim", 5, "--value-range", "1"), 2, "--value-range", "-1,1")
    refused(command("gan-export", "x.py:G", "--z-dim", 5, "--weights", "w.pt"), 2, "no file", "x.py")
    refused(command("gan-gen", "--info", "cut.pt"), 1, "cut.pt")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cut.pt", "empty", "other.pt"]


def test_what_a_format_needs_is_named(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMATS, "onnx", replace(FORMATS["onnx"], needs=("no_such_package",)))
    with pytest.raises(GankitError, match=r"exporting to onnx needs.*gankit\[export,cpu\]"):
        next(export_run(run, ["onnx"], tmp_path))
    next(export_run(run, ["torchscript"], tmp_path))
    assert [p.suffix for p in tmp_path.iterdir()] == [".ts"]


def test_errors_are_also_the_built_in_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no run"):
        next(export_run(tmp_path / "none"))
    assert issubclass(ModelError, ValueError) and issubclass(UsageError, ValueError)
