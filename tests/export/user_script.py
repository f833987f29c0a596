"""A training script with generator classes, as users have them, and its classes with changed weights."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

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
INIT = {"opt": {"latent": 6, "channels": 3, "classes": 4}}


def perturb(module: nn.Module) -> nn.Module:
    """Changes weights and statistics, in place, to values that no fresh module has."""
    source = torch.Generator().manual_seed(5)
    for value in module.state_dict().values():
        if value.is_floating_point():
            value.add_(torch.rand(value.shape, generator=source) * 0.4)
    return module.eval().requires_grad_(False)


def make(name: str = "Generator", norm: bool = True, **others: Any) -> Any:
    """A class of the script with perturbed weights, built without `load_user_module`."""
    known: dict[str, Any] = {"nn": nn, "cat": torch.cat, "zeros": torch.zeros, "act": lambda: nn.ReLU(True)}
    known |= {"up": lambda: nn.Upsample(scale_factor=2), "opt": SimpleNamespace(**INIT["opt"])}
    known |= {"half": 4, "image": (3, 8, 8), **others}
    exec(SCRIPT[SCRIPT.index("def norm") : SCRIPT.index("class Unfinished")], known)
    return perturb(known[name](norm) if name == "Generator" else known[name]())


def check_error(kind: type[Exception], *words: str, call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Asserts that a call raises an error of one line that has these words."""
    with pytest.raises(kind) as caught:
        call(*arguments)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700
