"""Networks: their layers and sizes, what they compute, and how their weights are initialised."""

from typing import Any

import pytest
import torch
from torch import nn

from gankit._errors import UsageError
from gankit_train.config.settings import NetworkSettings
from gankit_train.config.variants import VARIANTS, configure
from gankit_train.models.gan import build_gan
from gankit_train.models.layers import plan_layers
from gankit_train.models.networks import Dropout, he_std, make_discriminator, make_generator
from tests.helpers.training import CPU, random_stream


def weight_shapes(network: nn.Module, kind: type[nn.Module]) -> list[tuple[int, ...]]:
    return [tuple(m.weight.shape) for m in network.modules() if isinstance(m, kind)]  # type: ignore[arg-type]


# Layers


@pytest.mark.parametrize(
    ("size", "depth", "innermost"),
    [((64, 64), 4, (4, 4)), ((28, 28), 3, (3, 3)), ((109, 89), 4, (6, 5)), ((64, 48), 4, (4, 3)), ((7, 16), 1, (3, 8))],
)
@pytest.mark.parametrize("upsample", [False, True])
def test_the_number_of_layers_follows_from_the_size(
    size: tuple[int, int], depth: int, innermost: tuple[int, int], upsample: bool
) -> None:
    config = configure("cgan", filters=4, upsample=upsample, z_dim=10)
    layers = plan_layers(config.networks, "g", (*size, 3), 2)
    assert len(layers) == depth and layers[0].in_size == innermost and layers[-1].out_size == size
    gan, label = build_gan(config, (*size, 3), 2, CPU), torch.eye(2)
    images = gan.G(torch.randn(2, 10), label)
    assert images.shape == (2, 3, *size) and images.abs().max() <= 1
    assert gan.D(images, label).shape == (2,)


def test_the_networks_for_64_pixels_are_those_of_the_dcgan_paper() -> None:
    gan = build_gan(configure("dcgan"), (64, 64, 3), 0, CPU)
    assert weight_shapes(gan.G, nn.ConvTranspose2d) == [
        (512, 256, 4, 4),
        (256, 128, 4, 4),
        (128, 64, 4, 4),
        (64, 3, 4, 4),
    ]
    assert weight_shapes(gan.D, nn.Conv2d) == [(64, 3, 4, 4), (128, 64, 4, 4), (256, 128, 4, 4), (512, 256, 4, 4)]


def test_lists_of_widths_kernels_and_strides_build_the_network_of_a_book() -> None:
    # 28×28 from Dense 7·7·64, two layers that enlarge and two that do not, and a critic of four layers.
    gan = build_gan(configure("dcgan", preset="camel-28-rmsprop"), (28, 28, 1), 0, CPU)
    assert gan.G.first.weight.shape == (7 * 7 * 64, 100)
    assert weight_shapes(gan.G, nn.Conv2d) == [(128, 64, 5, 5), (64, 128, 5, 5), (64, 64, 5, 5), (1, 64, 5, 5)]
    assert len([m for m in gan.G.modules() if isinstance(m, nn.Upsample)]) == 2
    assert [m.stride[0] for m in gan.D.modules() if isinstance(m, nn.Conv2d)] == [2, 2, 2, 1]
    assert weight_shapes(gan.D, nn.Linear) == [(1, 128 * 4 * 4)]
    assert isinstance(gan.optimizer_d, torch.optim.RMSprop)
    assert [gan.optimizer_d.param_groups[0]["lr"], gan.optimizer_g.param_groups[0]["lr"]] == [8e-4, 4e-4]


@pytest.mark.parametrize(
    ("settings", "size", "words"),
    [
        ({}, (64, 5), "5x64 are too small: both edges must be at least 6"),
        ({"g_widths": (8, 8, 8)}, (64, 7), r"G .* 7 pixels with kernels 4,4,4 and strides 2,2,2: use 8"),
        ({"g_kernels": (5,)}, (28, 27), r"28 pixels .* use 24 or 32"),
        ({"g_widths": (8, 8, 8), "g_strides": (2, 2)}, (16, 16), "--g-widths has 3, --g-strides has 2"),
        ({"g_strides": (1,)}, (16, 16), "give one stride per layer"),
        ({"d_kernels": (3,), "d_strides": (4,)}, (16, 16), "a kernel of 3 with a stride of 4"),
        ({"upsample": True, "g_kernels": (4,)}, (16, 16), "odd kernel"),
    ],
)
def test_impossible_layers_are_refused_with_what_is_possible(
    settings: dict[str, Any], size: tuple[int, int], words: str
) -> None:
    networks = configure("dcgan", **settings).networks
    with pytest.raises(UsageError, match=words):
        plan_layers(networks, "g", (*size, 1), 0)
        plan_layers(networks, "d", (*size, 1), 0)


def test_the_sizes_that_an_error_names_are_possible() -> None:
    config = configure("dcgan", g_kernels=(5,), filters=4)
    for edge in (24, 32):
        assert build_gan(config, (edge, edge, 1), 0, CPU).G(torch.randn(2, 100)).shape == (2, 1, edge, edge)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_generates_images_of_any_shape(variant: str) -> None:
    config = configure(variant, filters=4, **({"g_widths": (8, 16)} if variant == "vanilla" else {}))
    gan = build_gan(config, (20, 12, 3), 2, CPU)
    label = torch.eye(2)[[0, 1, 0]] if config.conditional else None
    images = gan.G(torch.randn(3, config.networks.z_dim), label)
    assert images.shape == (3, 3, 20, 12) and images.abs().max() <= 1
    scores = gan.D(images, label)
    assert scores.shape == (3,) and scores.dtype == torch.float32


def test_a_fully_connected_network_has_the_given_widths() -> None:
    gan = build_gan(configure("vanilla", g_widths=(32, 64), z_dim=10), (28, 28, 1), 0, CPU)
    for network, widths in ((gan.G, [(10, 32), (32, 64), (64, 784)]), (gan.D, [(784, 64), (64, 32), (32, 1)])):
        found = [(m.in_features, m.out_features) for m in network.modules() if isinstance(m, nn.Linear)]
        assert found == widths


@pytest.mark.parametrize("network", ["conv", "mlp"])
def test_a_sigmoid_output_is_in_0_to_1(network: str) -> None:
    config = configure("dcgan", network=network, output="sigmoid", filters=4)
    images = build_gan(config, (8, 8, 1), 0, CPU).G(torch.randn(50, 100))
    assert config.networks.value_range == (0, 1) and 0 <= images.min() < 0.5 < images.max() <= 1


def test_batch_normalisation_follows_every_layer_of_d_but_the_first() -> None:
    # The filters equal the channels of image and labels together, so that widths alone do not identify the layers.
    gan = build_gan(configure("cgan", d_norm="batch", r1=0.0, r2=0.0, filters=5), (32, 32, 3), 2, CPU)
    kinds = [type(m) for m in gan.D.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
    assert kinds == [nn.Conv2d, *[nn.Conv2d, nn.BatchNorm2d] * 2]


def test_spectral_normalisation_bounds_every_layer() -> None:
    gan = build_gan(configure("dcgan", d_norm="spectral", filters=4), (16, 16, 1), 0, CPU)
    for _ in range(30):
        gan.D(torch.randn(2, 1, 16, 16))  # each forward pass in training is a step of the power iteration
    layers = [m for m in gan.D.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    largest = [torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() for layer in layers]
    assert len(largest) == 3 and largest == pytest.approx([1] * 3, rel=0.02)


def test_both_networks_depend_on_the_label() -> None:
    gan = build_gan(configure("cgan", filters=4), (8, 8, 3), 2, CPU)
    z, (a, b) = torch.randn(1, 32), torch.eye(2)[:, None]
    gan.G.eval()
    assert not torch.equal(gan.G(z, a), gan.G(z, b))
    images = gan.G(z, a)
    assert not torch.equal(gan.D(images, a), gan.D(images, b))


def test_packed_images_are_scored_together() -> None:
    gan = build_gan(configure("cgan", packing=2, filters=4, batch_size=6), (8, 8, 3), 2, CPU)
    images, label = torch.rand(6, 3, 8, 8), torch.eye(2)[[0, 1, 0, 1, 1, 0]]
    scores = gan.D(images, label)
    assert scores.shape == (3,)
    images[5] = 0  # the last image shares its score with the one before it, and with no other
    assert torch.equal(gan.D(images, label) == scores, torch.tensor([True, True, False]))
    assert gan.D.body[0].weight.shape[1] == 2 * (3 + 2)


def test_dropout_draws_from_the_random_stream_of_the_run() -> None:
    def scores(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)  # the global state, which must have no effect
        gan = build_gan(configure("dcgan", dropout=0.5, filters=4), (8, 8, 1), 0, CPU)
        out: torch.Tensor = gan.D(torch.ones(64, 1, 8, 8))
        return out

    assert torch.equal(scores(1), scores(2)) and scores(1).std() > 0
    dropped = Dropout(0.5, random_stream())(torch.ones(10_000))
    assert dropped.unique().tolist() == [0, 2] and dropped.mean().item() == pytest.approx(1, abs=0.03)


# Initial weights


def test_initial_weights_have_the_deviation_of_their_formula() -> None:
    def deviation(init: str, **settings: Any) -> float:
        networks = configure("dcgan", init=init, d_norm="none", **settings).networks
        D = make_discriminator(networks, (32, 32, 3), 0, random_stream())
        return float(D.body[2].weight.detach().std())  # 64 → 128 channels, 4×4

    fan_in, fan_out = 64 * 16, 128 * 16
    assert deviation("normal") == pytest.approx(0.02, rel=0.02)
    assert deviation("he") == pytest.approx((2 / (1 + 0.2**2) / fan_in) ** 0.5, rel=0.02)
    assert deviation("he", leak=0.5) == pytest.approx((2 / (1 + 0.5**2) / fan_in) ** 0.5, rel=0.02)
    assert deviation("he", d_activation="relu", leak=0.5) == pytest.approx((2 / fan_in) ** 0.5, rel=0.02)
    assert deviation("xavier") == pytest.approx((2 / (fan_in + fan_out)) ** 0.5, rel=0.02)
    assert deviation("torch") == pytest.approx((1 / (3 * fan_in)) ** 0.5, rel=0.02)


@pytest.mark.parametrize(("kernel", "stride"), [(4, 2), (5, 2), (6, 3), (3, 1)])
@pytest.mark.parametrize(("activation", "leak", "gain_squared"), [("relu", 0.5, 2), ("leaky-relu", 0.5, 2 / 1.25)])
def test_he_initialisation_keeps_the_variance_in_transposed_convolutions(
    kernel: int, stride: int, activation: str, leak: float, gain_squared: float
) -> None:
    """The outputs have gain² times the second moment of the inputs, and so the variance of the layer before."""
    torch.manual_seed(0)
    settings = NetworkSettings(
        init="he", g_norm="none", g_activation=activation, leak=leak, g_widths=(96, 64),  # type: ignore[arg-type]
        g_kernels=(kernel,) * 2, g_strides=(stride,) * 2,
    )  # fmt: skip
    network = make_generator(settings, (6 * stride**2, 6 * stride**2, 1), 0)
    layer = next(module for module in network.modules() if isinstance(module, nn.ConvTranspose2d))
    signals: list[torch.Tensor] = []
    layer.register_forward_hook(lambda _, inputs, output: signals.extend((inputs[0], output)))
    with torch.no_grad():
        network(torch.randn(64, 100))
    x, y = signals
    inside = y[:, :, stride:-stride, stride:-stride]  # at the border, units sum fewer products
    assert float(inside.var() / x.square().mean()) == pytest.approx(gain_squared, rel=0.1)
    deviation = (gain_squared / (96 * kernel**2 // stride**2)) ** 0.5
    assert he_std(layer, activation, leak) == pytest.approx(deviation)
    assert float(layer.weight.detach().std()) == pytest.approx(deviation, rel=0.02)
