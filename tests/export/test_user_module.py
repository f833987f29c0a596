"""Generator classes in users' Python files, and their weights."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gankit._errors import ModelError, UsageError
from gankit_export.adapter import adapt
from gankit_export.user_module import load_user_module
from tests.export.user_script import INIT, SCRIPT, check_error, make


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "layers.py").write_text("from torch import nn\ndef up(): return nn.Upsample(scale_factor=2)\n")
    (tmp_path / "ran.py").write_text("import sys\nsys.exit(2)\n")
    (tmp_path / "main.py").write_text(SCRIPT)
    return tmp_path / "main.py"


def save(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def test_a_script_is_not_run(script: Path) -> None:
    cudnn = torch.backends.cudnn.benchmark
    path = list(sys.path)
    generator = make()
    made, _ = load_user_module(f"{script}:Generator", save(script.parent / "w.pt", generator.state_dict()), INIT)
    z = torch.randn(3, 6)
    assert torch.equal(adapt(made, 6, None, 0)(z), generator(z))
    assert not (script.parent / "ran.txt").exists()
    assert torch.backends.cudnn.benchmark is cudnn and sys.path == path and "layers" not in sys.modules


def test_init_is_arguments_and_globals(script: Path) -> None:
    generator = make(norm=False, half=8, image=(1, 8, 8))
    weights = save(script.parent / "w.pt", generator.state_dict())
    init = {**INIT, "norm": False, "half": 8, "image": [1, 8, 8]}
    adapter = adapt(load_user_module(f"{script}:Generator", weights, init)[0], 6, None, 0)
    z = torch.randn(3, 6)
    assert torch.equal(adapter(z), generator(z)) and adapter.size == (8, 8, 1)
    save(weights, make().state_dict())  # the file has a function of the name of this argument
    load_user_module(f"{script}:Generator", weights, {**INIT, "norm": True})


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
    generator = make()
    made = load_user_module(f"{script}:Generator", save(script.parent / "w.pt", wrap(generator.state_dict())), INIT)[
        0
    ].eval()
    z = torch.randn(3, 6)
    assert torch.equal(made(z), generator(z))


def test_weights_that_do_not_fit(script: Path) -> None:
    spec, weights, state = f"{script}:Generator", script.parent / "w.pt", make().state_dict()
    others = {f"layer{i}": torch.zeros(2) for i in range(5)}
    arguments = (spec, save(weights, others), INIT)
    check_error(
        ModelError,
        "missing: first.weight, first.bias, body.0.weight, …",
        "unexpected: layer0, layer1, layer2, …",
        call=load_user_module,
        arguments=arguments,
    )
    save(weights, state | {"first.bias": torch.zeros(7)})
    check_error(
        ModelError, "another shape: first.bias [7] for [64]", "--init", call=load_user_module, arguments=arguments
    )
    save(weights, {"A": state, "B": state})
    check_error(ModelError, "'A.'", "'B.'", call=load_user_module, arguments=arguments)


class _Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, ("evil",)


def test_weights_that_are_damaged_or_want_to_run_code(script: Path) -> None:
    state, weights = make().state_dict(), script.parent / "w.pt"
    arguments = (f"{script}:Generator", weights, INIT)
    save(weights, {"state_dict": state, "more": _Evil()})
    check_error(ModelError, "w.pt", "run code", "mkdir", "refused", call=load_user_module, arguments=arguments)
    assert not (script.parent / "evil").exists()
    save(weights, nn.Sequential(nn.Linear(2, 2)))
    check_error(ModelError, "pickled module", "torch.save(G.state_dict()", call=load_user_module, arguments=arguments)
    for new in (True, False):
        torch.save(state, weights, _use_new_zipfile_serialization=new)
        whole = weights.read_bytes()
        for size in (0, 50, 300, len(whole) // 2, len(whole) - 9):
            weights.write_bytes(whole[:size])
            check_error(ModelError, "w.pt is ", call=load_user_module, arguments=arguments)
    weights.write_text("hello")
    check_error(ModelError, "file of torch.save", call=load_user_module, arguments=arguments)
    check_error(
        UsageError,
        "there is no file",
        "nowhere.pt",
        call=load_user_module,
        arguments=(arguments[0], Path("nowhere.pt"), INIT),
    )
    check_error(UsageError, "--weights", call=load_user_module, arguments=(arguments[0], None, INIT))


def test_a_class_that_is_not_there(script: Path) -> None:
    weights = Path("w.pt")
    check_error(UsageError, "nowhere.py", call=load_user_module, arguments=("nowhere.py:Generator", weights, {}))
    check_error(UsageError, "path/to/file.py:Class", call=load_user_module, arguments=(str(script), weights, {}))
    words = "no nn.Module 'Generatro'", "it has Generator, Conditional", "did you mean Generator?"
    check_error(UsageError, *words, call=load_user_module, arguments=(f"{script}:Generatro", weights, INIT))
    check_error(
        UsageError, "no nn.Module 'Options'", call=load_user_module, arguments=(f"{script}:Options", weights, INIT)
    )
    (script.parent / "text.py").write_text("this is\nno Python")
    check_error(
        UsageError, "text.py is not Python", "line", call=load_user_module, arguments=("text.py:Generator", weights, {})
    )


@pytest.mark.parametrize(
    "name, init, words",
    [
        ("Generator", {}, ["NameError: name 'opt' is not defined", "give opt (line 15 is not run) in --init"]),
        ("Generator", {"opt": {"latent": 3}}, ["'image' is not defined", "line 19", "no 'channels', only latent"]),
        (
            "Generator",
            {"latent": 3},
            ["--init has 'latent'", "neither Generator nor its file uses", "Generator(norm=True)"],
        ),
        ("Generator", {**INIT, "norm": "x"}, ["TypeError", "Generator(norm=True)"]),
        ("Unfinished", INIT, ["give width (line 17 is not run) in --init"]),
        ("Apart", INIT, ["imported is defined in line 6", "No module named 'a_package_that_nobody_has'"]),
        ("Derived", INIT, ["cannot be built", "defined in line 5", "No module named 'a_package_that_nobody_has'"]),
    ],
)
def test_a_class_that_cannot_be_built(script: Path, name: str, init: dict[str, Any], words: list[str]) -> None:
    check_error(UsageError, name, *words, call=load_user_module, arguments=(f"{script}:{name}", Path("w.pt"), init))
