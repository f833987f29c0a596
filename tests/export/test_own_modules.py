"""Modules that gankit did not train, exported from Python."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import gankit
from gankit._card import Card
from gankit._errors import ModelError, UsageError
from gankit_export import ExportOptions, export
from gankit_export.formats import FORMATS
from gankit_export.options import Precision

CARD = Card("net", 8, 8, 3, z_dim=6)


class Net(torch.nn.Module):
    """z [n, 6] → images [n, 3, 8, 8], with something that is hard to fold or to convert."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        nn, self.kind = torch.nn, kind
        self.first, self.conv = nn.Linear(6, 4 * 64), nn.Conv2d(4, 3, 3, padding=1)
        if kind == "spectral norm":
            self.conv = nn.utils.parametrizations.spectral_norm(self.conv)
        if kind == "old spectral norm":
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
        if self.kind == "shared layer":
            y = y + self.twice(x)
        if self.kind == "own float32":
            y = y.float() * torch.ones(1, 1, 8, 8)
        return torch.tanh(y)


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.spectral_norm` is deprecated")
@pytest.mark.parametrize("kind", ["spectral norm", "old spectral norm", "shared layer", "three axes", "own float32"])
@pytest.mark.parametrize("precision", ["float32", "compact"])
def test_modules_that_are_hard_to_fold(tmp_path: Path, kind: str, precision: Precision) -> None:
    torch.manual_seed(0)
    net = Net(kind).eval()
    for suffix in (".onnx", ".ts", ".pt2"):
        file = export(net, CARD, tmp_path / f"net{suffix}", options=ExportOptions(precision=precision))
        assert file.verification[0].identical_bytes > 0.9
    z = torch.randn(4, 6)
    expected = (127.5 * net(z) + 127.5).detach().permute(0, 2, 3, 1).numpy()
    assert np.abs(gankit.load(tmp_path / "net.onnx", device="cpu")(z.numpy()) - expected).max() < 1.6
    assert set(net.state_dict()) == set(Net(kind).state_dict())  # the caller's module is unchanged
    net(z)


def test_a_module_that_a_format_cannot_express(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    class Branching(torch.nn.Module):
        def forward(self, z: torch.Tensor) -> torch.Tensor:
            y = torch.tanh(z.view(-1, 3, 8, 8))
            return y if bool((z.abs().sum() > -1).item()) else -y

    for suffix in (".onnx", ".pt2"):
        with pytest.raises(ModelError, match=r"was not written: \w+ cannot express this network: ") as error:
            export(Branching(), replace(CARD, z_dim=192), tmp_path / f"net{suffix}")
        assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == [] and capfd.readouterr().err == ""


def test_a_wrong_value_range_is_refused(tmp_path: Path) -> None:
    net = Net("plain").eval()
    with pytest.raises(UsageError, match=r"% of the pixels lie outside the value range 0,1: they run from -"):
        export(net, CARD, tmp_path / "net.onnx", value_range=(0, 1))
    for wrong in ((1, -1), (0, 0), (0, float("inf"))):
        with pytest.raises(UsageError, match="the value range must be two ascending numbers"):
            export(net, CARD, tmp_path / "net.onnx", value_range=wrong)
    with pytest.raises(UsageError, match="must be a file name, not 'a/b'"):
        export(net, replace(CARD, name="a/b"), tmp_path / "net.onnx")


def test_float_images_stay_in_their_range(tmp_path: Path) -> None:
    class Loud(Net):
        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return super().forward(z) * 1.2

    file = export(Loud("plain").eval(), CARD, tmp_path / "x.onnx", options=ExportOptions(output="float"))
    images = FORMATS["onnx"].open(file.path, "cpu")[1](np.random.default_rng(0).normal(0, 3, (50, 6)).astype("f"), None)
    assert images.dtype == np.float32 and images.min() == -1 and images.max() == 1


def test_z_shape_and_value_range(tmp_path: Path) -> None:
    class Sigmoid(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.ConvTranspose2d(6, 3, 8)

        def forward(self, noise: torch.Tensor) -> torch.Tensor:
            return self.net(noise).sigmoid()

    module = Sigmoid()
    file = export(module, CARD, tmp_path / "own.onnx", z_shape=(6, 1, 1), value_range=(0, 1))
    model = gankit.load(file.path, device="cpu")
    z, _ = model.inputs(4)
    expected = 255 * module(torch.from_numpy(z)[:, :, None, None]).detach().permute(0, 2, 3, 1).numpy()
    assert np.abs(model(z) - expected).max() <= 0.51
    with pytest.raises(UsageError, match=r"makes images of .* \(8, 8, 3\), but the card says \(9, 8, 3\)"):
        export(module, replace(CARD, height=9), tmp_path / "x.onnx", z_shape=(6, 1, 1))
