"""Generators that gankit did not train, behind the inputs of the contract."""

import io
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from gankit._errors import ModelError, UsageError
from gankit_export.adapter import ContractAdapter, adapt
from gankit_export.formats import _silenced
from tests.export.user_script import check_error, make, perturb


def test_integer_labels_become_vectors() -> None:
    original = make("Conditional")
    adapter = adapt(original, 6, None, 4)
    z = torch.randn(4, 6)
    for n in range(4):
        want = original(z, torch.full((4,), n))
        torch.testing.assert_close(adapter(z, torch.eye(4)[[n] * 4]), want)
        assert (want - original(z, torch.full((4,), (n + 1) % 4))).abs().max() > 0.01
    half = adapter(z, torch.tensor([[0.5, 0, 0.5, 0]] * 4))
    with torch.no_grad():
        original.names.weight[0] = original.names.weight[[0, 2]].mean(0)
    torch.testing.assert_close(half, original(z, torch.zeros(4, dtype=torch.int64)))
    check_error(
        UsageError, "Conditional.forward needs labels", "--labels a,b,c", call=adapt, arguments=(original, 6, None, 0)
    )
    check_error(
        UsageError, "--labels has 3 names", "the generator has 4 labels", call=adapt, arguments=(original, 6, None, 3)
    )
    check_error(UsageError, "takes no labels", call=adapt, arguments=(make(), 6, None, 3))


class Toy(nn.Module):
    """z [n, 6] or as it was shaped → images [n, 3, 4, 4], by a function that may spoil them."""

    def __init__(self, spoil: Callable[[Tensor], Any] = lambda x: x) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.ConvTranspose2d(6, 3, 4), nn.BatchNorm2d(3), nn.Tanh())
        self.spoil = spoil
        perturb(self)

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
    check_error(ModelError, *words, call=adapt, arguments=(toy, 6, (6, 1, 1), 0))
    assert torch.equal(state, torch.get_rng_state())


def test_cudas_random_generators_are_not_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    def seed(_: int) -> None:
        raise AssertionError("CUDA's generators were seeded")

    toy, state = Toy(), torch.get_rng_state()
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seed)
    adapt(toy, 6, (6, 1, 1), 0)
    assert torch.equal(state, torch.get_rng_state())


def test_a_wrong_z_shape_is_named() -> None:
    check_error(
        UsageError,
        "Toy.forward fails on z [n, 6]",
        "[5, 6]",
        "--z-shape 6,1,1 works",
        call=adapt,
        arguments=(Toy(), 6, None, 0),
    )
    check_error(
        UsageError, "--z-shape 6,1 has 6 numbers, but --z-dim is 7", call=adapt, arguments=(Toy(), 7, (6, 1), 0)
    )
    check_error(UsageError, "--z-dim must be at least 1, not 0", call=adapt, arguments=(Toy(), 0, None, 0))
    check_error(UsageError, "8 channels", call=adapt, arguments=(Toy(), 8, (8, 1, 1), 0))
    check_error(UsageError, "--z-shape 6 works", call=adapt, arguments=(make(), 6, (6, 1, 1), 0))
    check_error(
        UsageError, "z [n, 9] and label [n, 4]", "mat1", call=adapt, arguments=(make("Conditional"), 9, None, 4)
    )


def test_labels_that_are_vectors_already() -> None:
    toy = Joined()
    adapter = adapt(toy, 4, None, 2)
    z, label = torch.randn(3, 4), torch.tensor([[1.0, 0], [0, 1], [0.3, 0.7]])
    before = z.clone()
    assert torch.equal(adapter(z, label), toy(label, before.clone())) and torch.equal(z, before)
    check_error(
        ModelError, "for more than looking them up in an nn.Embedding", call=adapt, arguments=(Mixed(), 6, None, 3)
    )


def _exported(adapter: ContractAdapter, *inputs: Tensor) -> Any:
    buffer, batch = io.BytesIO(), torch.export.Dim("n")
    with _silenced():
        program = torch.onnx.export(
            adapter,
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
def test_adapted_generators_can_be_exported(which: str) -> None:
    adapter = {
        "script": lambda: adapt(make(), 6, None, 0),
        "embedding": lambda: adapt(make("Conditional"), 6, None, 4),
        "vectors": lambda: adapt(Joined(), 4, None, 2),
        "shaped": lambda: adapt(nn.DataParallel(Toy()), 6, (6, 1, 1), 0),
    }[which]()
    k, dim = {"embedding": (4, 6), "vectors": (2, 4)}.get(which, (0, 6))
    assert not adapter.training and not any(each.requires_grad for each in adapter.parameters())

    def inputs(n: int) -> tuple[Tensor, ...]:
        return (torch.randn(n, dim), torch.rand(n, k)) if k else (torch.randn(n, dim),)

    session = _exported(adapter, *inputs(2))
    with _silenced():
        traced = torch.jit.freeze(torch.jit.trace(adapter, inputs(2)))  # type: ignore[no-untyped-call]
    for n in (1, 5):
        given = inputs(n)
        want = adapter(*given)
        assert (*want.shape[2:], want.shape[1]) == adapter.size
        feed = {each.name: value.numpy() for each, value in zip(session.get_inputs(), given, strict=True)}
        np.testing.assert_allclose(session.run(None, feed)[0], want, atol=1e-5)
        torch.testing.assert_close(traced(*given), want)
