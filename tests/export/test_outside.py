import io
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from gankit._errors import ModelError, UsageError
from gankit_export.bridge import Bridged, bridge
from gankit_export.formats import _quiet
from gankit_export.outside import load

SCRIPT = '''
"""Trains when it is run, as most such files do."""
from __future__ import print_function
import argparse
import a_package_that_nobody_has
from a_package_that_nobody_has import block as imported
import torch.nn as nn
import torch.backends.cudnn as cudnn
from torch import cat, zeros
from layers import up
from ran import Nothing

open("ran.txt", "w").write("ran")
parser = argparse.ArgumentParser()
opt = parser.parse_args()
cudnn.benchmark = "set"
width = int(opt.width)
half = 8 // 2
image = (opt.channels, 8, 8)
act = lambda: nn.ReLU(True)
raise SystemExit(3)


def norm(n):
    return nn.BatchNorm2d(n)


class Generator(nn.Module):
    def __init__(self, norm=True):
        super(Generator, self).__init__()
        self.first = nn.Linear(opt.latent, half * 16)
        self.body = nn.Sequential(*[globals()["norm"](half)] * norm, up(), nn.Conv2d(half, image[0], 3, 1, 1), act())

    def forward(self, z):
        return self.body(self.first(z).view(-1, half, 4, 4)).tanh()


class Conditional(nn.Module):
    def __init__(self):
        super().__init__()
        self.names = nn.Embedding(opt.classes, 6)
        self.places = nn.Embedding(opt.classes, 2)  # as many, but of something else
        self.body = nn.Sequential(nn.Linear(14, 64), nn.BatchNorm1d(64), nn.Tanh())

    def forward(self, noise, labels):
        at = self.places(zeros(noise.shape[0], dtype=labels.dtype))
        return self.body(cat((self.names(labels.long()), at, noise), 1)).view(-1, 1, 8, 8)


class Unfinished(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(width, 4)


class Apart(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = imported(3)


class Derived(a_package_that_nobody_has.Base):
    pass


class Options:
    pass


while True:
    pass
'''
OPT = {"opt": {"latent": 6, "channels": 3, "classes": 4}}


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "layers.py").write_text("from torch import nn\ndef up(): return nn.Upsample(scale_factor=2)\n")
    (tmp_path / "ran.py").write_text("import sys\nsys.exit(2)\n")
    (tmp_path / "main.py").write_text(SCRIPT)
    return tmp_path / "main.py"


def moved(module: nn.Module) -> nn.Module:
    """With weights and statistics that no fresh module has."""
    source = torch.Generator().manual_seed(5)
    for value in module.state_dict().values():
        if value.is_floating_point():
            value.add_(torch.rand(value.shape, generator=source) * 0.4)
    return module.eval().requires_grad_(False)


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def first(name: str = "Generator", norm: bool = True, **others: Any) -> Any:
    """A class of the script with moved weights, built without `load`."""
    known: dict[str, Any] = {"nn": nn, "cat": torch.cat, "zeros": torch.zeros, "act": lambda: nn.ReLU(True)}
    known |= {"up": lambda: nn.Upsample(scale_factor=2), "opt": SimpleNamespace(**OPT["opt"])}
    known |= {"half": 4, "image": (3, 8, 8), **others}
    exec(SCRIPT[SCRIPT.index("def norm") : SCRIPT.index("class Unfinished")], known)
    return moved(known[name](norm) if name == "Generator" else known[name]())


def refused(kind: type[Exception], *words: str, call: Callable[..., Any], of: tuple[Any, ...]) -> None:
    with pytest.raises(kind) as caught:
        call(*of)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700


def test_a_script_is_not_run(script: Path) -> None:
    cudnn = torch.backends.cudnn.benchmark
    path = list(sys.path)
    generator = first()
    made, _ = load(f"{script}:Generator", saved(script.parent / "w.pt", generator.state_dict()), OPT)
    z = torch.randn(3, 6)
    assert torch.equal(bridge(made, 6, None, 0)(z), generator(z))
    assert not (script.parent / "ran.txt").exists()
    assert torch.backends.cudnn.benchmark is cudnn and sys.path == path and "layers" not in sys.modules


def test_init_is_arguments_and_globals(script: Path) -> None:
    generator = first(norm=False, half=8, image=(1, 8, 8))
    weights = saved(script.parent / "w.pt", generator.state_dict())
    init = {**OPT, "norm": False, "half": 8, "image": [1, 8, 8]}
    bridged = bridge(load(f"{script}:Generator", weights, init)[0], 6, None, 0)
    z = torch.randn(3, 6)
    assert torch.equal(bridged(z), generator(z)) and bridged.size == (8, 8, 1)
    saved(weights, first().state_dict())  # the file has a function of the name of this argument
    load(f"{script}:Generator", weights, {**OPT, "norm": True})


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {f"module.{key}": value for key, value in state.items()},
        lambda state: {f"_orig_mod.module.{key}": value for key, value in state.items()},
        lambda state: {f"netG.{key}": value for key, value in state.items()} | {"netD.0.weight": torch.zeros(3)},
        lambda state: {"epoch": 3, "state_dict": {f"generator.{key}": value for key, value in state.items()}},
        lambda state: {
            "G": {key: value * 0 for key, value in state.items()},
            "G_ema": state,
            "optimizer": {"state": {}},
        },
        lambda state: {"generator": state, "other": {key: value * 0 for key, value in state.items()}},
        lambda state: {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")},
    ],
)
def test_weights_are_found_in_what_is_usual(script: Path, wrap: Callable[[Any], Any]) -> None:
    generator = first()
    made = load(f"{script}:Generator", saved(script.parent / "w.pt", wrap(generator.state_dict())), OPT)[0].eval()
    z = torch.randn(3, 6)
    assert torch.equal(made(z), generator(z))


def test_weights_that_do_not_fit(script: Path) -> None:
    spec, weights, state = f"{script}:Generator", script.parent / "w.pt", first().state_dict()
    others = {f"layer{i}": torch.zeros(2) for i in range(5)}
    of = (spec, saved(weights, others), OPT)
    refused(
        ModelError,
        "missing: first.weight, first.bias, body.0.weight, …",
        "unexpected: layer0, layer1, layer2, …",
        call=load,
        of=of,
    )
    saved(weights, state | {"first.bias": torch.zeros(7)})
    refused(ModelError, "another shape: first.bias [7] for [64]", "--init", call=load, of=of)
    saved(weights, {"A": state, "B": state})
    refused(ModelError, "'A.'", "'B.'", call=load, of=of)


class _Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, ("evil",)


def test_weights_that_are_damaged_or_want_to_run_code(script: Path) -> None:
    state, weights = first().state_dict(), script.parent / "w.pt"
    of = (f"{script}:Generator", weights, OPT)
    saved(weights, {"state_dict": state, "more": _Evil()})
    refused(ModelError, "w.pt wants to run code", "mkdir", "refused", call=load, of=of)
    assert not (script.parent / "evil").exists()
    saved(weights, nn.Sequential(nn.Linear(2, 2)))
    refused(ModelError, "whole pickled module", "torch.save(G.state_dict()", call=load, of=of)
    for new in (True, False):
        torch.save(state, weights, _use_new_zipfile_serialization=new)
        whole = weights.read_bytes()
        for size in (0, 50, 300, len(whole) // 2, len(whole) - 9):
            weights.write_bytes(whole[:size])
            refused(ModelError, "w.pt is cut off", call=load, of=of)
    weights.write_text("hello")
    refused(ModelError, "no file of torch.save", call=load, of=of)
    refused(UsageError, "there is no file", "nowhere.pt", call=load, of=(of[0], Path("nowhere.pt"), OPT))
    refused(UsageError, "--weights", call=load, of=(of[0], None, OPT))


def test_a_class_that_is_not_there(script: Path) -> None:
    weights = Path("w.pt")
    refused(UsageError, "nowhere.py", call=load, of=("nowhere.py:Generator", weights, {}))
    refused(UsageError, "path/to/file.py:Class", call=load, of=(str(script), weights, {}))
    words = "no nn.Module 'Generatro'", "it has Generator, Conditional", "did you mean Generator?"
    refused(UsageError, *words, call=load, of=(f"{script}:Generatro", weights, OPT))
    refused(UsageError, "no nn.Module 'Options'", call=load, of=(f"{script}:Options", weights, OPT))
    (script.parent / "text.py").write_text("this is\nno Python")
    refused(UsageError, "text.py is not Python", "line", call=load, of=("text.py:Generator", weights, {}))


@pytest.mark.parametrize(
    "name, init, words",
    [
        ("Generator", {}, ["NameError: name 'opt' is not defined", "give opt (line 15 is not run) in --init"]),
        ("Generator", {"opt": {"latent": 3}}, ["'image' is not defined", "line 19", "no 'channels', only latent"]),
        ("Generator", {"latent": 3}, ["--init has 'latent'", "never reads", "Generator(norm=True)"]),
        ("Generator", {**OPT, "norm": "x"}, ["TypeError", "Generator(norm=True)"]),
        ("Unfinished", OPT, ["give width (line 17 is not run) in --init"]),
        ("Apart", OPT, ["imported is of line 6", "No module named 'a_package_that_nobody_has'"]),
        ("Derived", OPT, ["cannot be built", "is of line 5", "No module named 'a_package_that_nobody_has'"]),
    ],
)
def test_a_class_that_cannot_be_built(script: Path, name: str, init: dict[str, Any], words: list[str]) -> None:
    refused(UsageError, name, *words, call=load, of=(f"{script}:{name}", Path("w.pt"), init))


def test_integer_labels_become_vectors() -> None:
    original = first("Conditional")
    bridged = bridge(original, 6, None, 4)
    z = torch.randn(4, 6)
    for n in range(4):
        want = original(z, torch.full((4,), n))
        torch.testing.assert_close(bridged(z, torch.eye(4)[[n] * 4]), want)
        assert (want - original(z, torch.full((4,), (n + 1) % 4))).abs().max() > 0.01
    half = bridged(z, torch.tensor([[0.5, 0, 0.5, 0]] * 4))
    with torch.no_grad():
        original.names.weight[0] = original.names.weight[[0, 2]].mean(0)
    torch.testing.assert_close(half, original(z, torch.zeros(4, dtype=torch.int64)))
    refused(UsageError, "Conditional.forward needs labels", "--labels a,b,c", call=bridge, of=(original, 6, None, 0))
    refused(UsageError, "--labels has 3 names", "knows 4", call=bridge, of=(original, 6, None, 3))
    refused(UsageError, "takes no labels", call=bridge, of=(first(), 6, None, 3))


class Toy(nn.Module):
    """z [n, 6] or as it was shaped → images [n, 3, 4, 4], by a function that may spoil them."""

    def __init__(self, spoil: Callable[[Tensor], Any] = lambda x: x) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.ConvTranspose2d(6, 3, 4), nn.BatchNorm2d(3), nn.Tanh())
        self.spoil = spoil
        moved(self)

    def forward(self, z: Tensor) -> Any:
        return self.spoil(self.body(z))


class Joined(Toy):
    """Labels as vectors, in front of z, which it overwrites."""

    def forward(self, label: Tensor, z: Tensor, strength: float = 0.5) -> Any:
        return self.body(torch.cat((label, z.mul_(strength)), 1)[:, :, None, None])


class Maps(Toy):
    def forward(self, z: Tensor, noise: Tensor) -> Any:
        return self.body(z) + noise


class Mixed(Toy):
    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Embedding(3, 6)

    def forward(self, z: Tensor, y: Tensor) -> Any:
        return self.body((z + self.rows(y))[:, :, None, None]) * (1 + y).view(-1, 1, 1, 1)


@pytest.mark.parametrize(
    "toy, words",
    [
        (Toy(lambda x: x + torch.randn_like(x)), ["random operations"]),
        (Toy(lambda x: nn.functional.dropout(x)), ["random operations"]),
        (Toy(lambda x: x + 0 * torch.rand(1)), ["random operations"]),
        (Toy(lambda x: x + random.random()), ["random operations"]),
        (Toy(lambda x: x - x.mean(0)), ["depend on the rest of the batch", "0.0001"]),
        (Toy(lambda x: nn.functional.batch_norm(x, None, None, training=True)), ["depend on the rest of the batch"]),
        (
            Toy(lambda x: nn.functional.batch_norm(x.mean((2, 3)), None, None, training=True)[..., None, None]),
            ["more than one image"],
        ),
        (Toy(lambda x: x.squeeze(0)), ["depend on the rest of the batch"]),
        (Toy(lambda x: x.flatten(1)), ["[5, 48]", "[5, 1 or 3, height, width]"]),
        (Toy(lambda x: x[:, :2]), ["[5, 2, 4, 4]"]),
        (Toy(lambda x: (x, x)), ["tuple"]),
        (Toy(lambda x: x > 0), ["torch.bool"]),
        (Toy(lambda x: x.log()), ["NaN"]),
        (Maps(), ["Maps.forward needs noise beside z", "noise maps"]),
    ],
)
def test_what_cannot_keep_the_contract_is_refused(toy: nn.Module, words: list[str]) -> None:
    state = torch.get_rng_state()
    refused(ModelError, *words, call=bridge, of=(toy, 6, (6, 1, 1), 0))
    assert torch.equal(state, torch.get_rng_state())


def test_a_wrong_z_shape_is_told() -> None:
    refused(
        UsageError,
        "Toy.forward fails on z [n, 6]",
        "[5, 6]",
        "--z-shape 6,1,1 works",
        call=bridge,
        of=(Toy(), 6, None, 0),
    )
    refused(UsageError, "6,1 has 6 numbers, but z has 7", call=bridge, of=(Toy(), 7, (6, 1), 0))
    refused(UsageError, "8 channels", call=bridge, of=(Toy(), 8, (8, 1, 1), 0))
    refused(UsageError, "--z-shape 6 works", call=bridge, of=(first(), 6, (6, 1, 1), 0))
    refused(UsageError, "z [n, 9] and label [n, 4]", "mat1", call=bridge, of=(first("Conditional"), 9, None, 4))


def test_labels_that_are_vectors_already() -> None:
    toy = Joined()
    bridged = bridge(toy, 4, None, 2)
    z, label = torch.randn(3, 4), torch.tensor([[1.0, 0], [0, 1], [0.3, 0.7]])
    before = z.clone()
    assert torch.equal(bridged(z, label), toy(label, before.clone())) and torch.equal(z, before)
    refused(ModelError, "otherwise than", "nn.Embedding", call=bridge, of=(Mixed(), 6, None, 3))


def _exported(bridged: Bridged, *inputs: Tensor) -> Any:
    buffer, batch = io.BytesIO(), torch.export.Dim("n")
    with _quiet():
        program = torch.onnx.export(
            bridged,
            inputs,
            dynamo=True,
            opset_version=18,
            dynamic_shapes=tuple({0: batch} for _ in inputs),
            verbose=False,
        )
    assert program is not None
    program.save(buffer)
    return onnxruntime.InferenceSession(buffer.getvalue())


@pytest.mark.parametrize("which", ["script", "embedding", "vectors", "shaped"])
def test_what_is_bridged_can_be_exported(which: str) -> None:
    bridged = {
        "script": lambda: bridge(first(), 6, None, 0),
        "embedding": lambda: bridge(first("Conditional"), 6, None, 4),
        "vectors": lambda: bridge(Joined(), 4, None, 2),
        "shaped": lambda: bridge(nn.DataParallel(Toy()), 6, (6, 1, 1), 0),
    }[which]()
    k, dim = {"embedding": (4, 6), "vectors": (2, 4)}.get(which, (0, 6))
    assert not bridged.training and not any(each.requires_grad for each in bridged.parameters())

    def inputs(n: int) -> tuple[Tensor, ...]:
        return (torch.randn(n, dim), torch.rand(n, k)) if k else (torch.randn(n, dim),)

    session = _exported(bridged, *inputs(2))
    with _quiet():
        traced = torch.jit.freeze(torch.jit.trace(bridged, inputs(2)))  # type: ignore[no-untyped-call]
    for n in (1, 5):
        given = inputs(n)
        want = bridged(*given)
        assert (*want.shape[2:], want.shape[1]) == bridged.size
        feed = {each.name: value.numpy() for each, value in zip(session.get_inputs(), given, strict=True)}
        np.testing.assert_allclose(session.run(None, feed)[0], want, atol=1e-5)
        torch.testing.assert_close(traced(*given), want)
