from typing import Any

import pytest
import torch
from torch import nn

from gankit._errors import UsageError
from gankit_train.compute.devices import pick_precision
from gankit_train.compute.distributed import ProcessGroup
from gankit_train.compute.rng import RandomStream
from gankit_train.config.variants import VARIANTS, configure
from gankit_train.models.gan import build_gan
from gankit_train.models.networks import Dropout, plan
from gankit_train.training.step import _targets, train_step

CPU = torch.device("cpu")
EXACT = pick_precision("float32", CPU)


def noise(seed: int = 0) -> RandomStream:
    return RandomStream(torch.Generator().manual_seed(seed), ProcessGroup())


@pytest.mark.parametrize(
    ("size", "layers", "innermost"),
    [((64, 64), 4, (4, 4)), ((28, 28), 3, (3, 3)), ((109, 89), 4, (6, 5)), ((64, 48), 4, (4, 3)), ((7, 16), 1, (3, 8))],
)
@pytest.mark.parametrize("upsample", [False, True])
def test_the_depth_follows_any_size(
    size: tuple[int, int], layers: int, innermost: tuple[int, int], upsample: bool
) -> None:
    config = configure("cgan", filters=4, upsample=upsample, z_dim=10)
    planned = plan(config, "g", (*size, 3), 2)
    assert len(planned) == layers and planned[0].before == innermost and planned[-1].after == size
    gan, label = build_gan(config, (*size, 3), 2, CPU), torch.eye(2)
    images = gan.G(torch.randn(2, 10), label)
    assert images.shape == (2, 3, *size) and images.abs().max() <= 1
    assert gan.D(images, label).shape == (2,)


def shapes(network: nn.Module, kind: type[nn.Module]) -> list[tuple[int, ...]]:
    return [tuple(m.weight.shape) for m in network.modules() if isinstance(m, kind)]  # type: ignore[arg-type]


def test_the_64_pixel_networks_are_those_of_the_dcgan_paper() -> None:
    gan = build_gan(configure("dcgan"), (64, 64, 3), 0, CPU)
    assert shapes(gan.G, nn.ConvTranspose2d) == [(512, 256, 4, 4), (256, 128, 4, 4), (128, 64, 4, 4), (64, 3, 4, 4)]
    assert shapes(gan.D, nn.Conv2d) == [(64, 3, 4, 4), (128, 64, 4, 4), (256, 128, 4, 4), (512, 256, 4, 4)]


def test_lists_make_the_network_of_a_book() -> None:
    # 28×28 from Dense 7·7·64, two layers that enlarge and two that do not, and a critic of four layers.
    gan = build_gan(configure("dcgan", preset="camel-28-rmsprop"), (28, 28, 1), 0, CPU)
    assert gan.G.first.weight.shape == (7 * 7 * 64, 100)
    assert shapes(gan.G, nn.Conv2d) == [(128, 64, 5, 5), (64, 128, 5, 5), (64, 64, 5, 5), (1, 64, 5, 5)]
    assert len([m for m in gan.G.modules() if isinstance(m, nn.Upsample)]) == 2
    assert [m.stride[0] for m in gan.D.modules() if isinstance(m, nn.Conv2d)] == [2, 2, 2, 1]
    assert shapes(gan.D, nn.Linear) == [(1, 128 * 4 * 4)]
    assert isinstance(gan.optimizer_d, torch.optim.RMSprop)
    assert [gan.optimizer_d.param_groups[0]["lr"], gan.optimizer_g.param_groups[0]["lr"]] == [8e-4, 4e-4]


@pytest.mark.parametrize(
    ("settings", "size", "words"),
    [
        ({}, (64, 5), "5x64 are too small: both edges must be at least 6"),
        ({"g_widths": (8, 8, 8)}, (64, 7), r"7 pixels cannot be had with G's kernels 4,4,4 and strides 2,2,2; 8 can"),
        ({"g_kernels": (5,)}, (28, 27), r"28 pixels .* 24 and 32 can"),
        ({"g_widths": (8, 8, 8), "g_strides": (2, 2)}, (16, 16), "--g-widths has 3, --g-strides has 2"),
        ({"g_strides": (1,)}, (16, 16), "give one for each"),
        ({"d_kernels": (3,), "d_strides": (4,)}, (16, 16), "a kernel of 3 with a stride of 4"),
        ({"upsample": True, "g_kernels": (4,)}, (16, 16), "odd kernel"),
    ],
)
def test_layers_that_do_not_fit_say_what_would(settings: dict[str, Any], size: tuple[int, int], words: str) -> None:
    config = configure("dcgan", **settings)
    with pytest.raises(UsageError, match=words):
        plan(config, "g", (*size, 1), 0)
        plan(config, "d", (*size, 1), 0)


def test_what_is_said_to_be_possible_is() -> None:
    config = configure("dcgan", g_kernels=(5,), filters=4)
    for edge in (24, 32):
        assert build_gan(config, (edge, edge, 1), 0, CPU).G(torch.randn(2, 100)).shape == (2, 1, edge, edge)


@pytest.mark.parametrize("network", ["conv", "mlp"])
def test_a_sigmoid_makes_images_from_0_to_1(network: str) -> None:
    config = configure("dcgan", network=network, output="sigmoid", filters=4)
    images = build_gan(config, (8, 8, 1), 0, CPU).G(torch.randn(50, 100))
    assert config.value_range == (0, 1) and 0 <= images.min() < 0.5 < images.max() <= 1


def test_initialisations() -> None:
    def deviation(init: str, **settings: Any) -> float:
        gan = build_gan(configure("dcgan", init=init, d_norm="none", **settings), (32, 32, 3), 0, CPU)
        return float(gan.D.body[2].weight.detach().std())  # 64 → 128 channels, 4×4

    assert deviation("normal") == pytest.approx(0.02, rel=0.02)
    assert deviation("normal", init_std=1.0) == pytest.approx(1, rel=0.02)
    fan_in, fan_out = 64 * 16, 128 * 16
    assert deviation("he") == pytest.approx((2 / (1 + 0.2**2) / fan_in) ** 0.5, rel=0.02)
    assert deviation("xavier") == pytest.approx((2 / (fan_in + fan_out)) ** 0.5, rel=0.02)
    assert deviation("torch") == pytest.approx((1 / (3 * fan_in)) ** 0.5, rel=0.02)


def test_packed_images_are_judged_together() -> None:
    config = configure("cgan", packing=2, filters=4, batch_size=6)
    gan = build_gan(config, (8, 8, 3), 2, CPU)
    images, label = torch.rand(6, 3, 8, 8), torch.eye(2)[[0, 1, 0, 1, 1, 0]]
    scores = gan.D(images, label)
    assert scores.shape == (3,)
    images[5] = 0  # the last image is judged with the one before it, and with no other
    assert torch.equal(gan.D(images, label) == scores, torch.tensor([True, True, False]))
    assert gan.D.body[0].weight.shape[1] == 2 * (3 + 2)
    assert {"loss_d", "loss_g", "r1"} <= train_step(gan, config, images, label, EXACT).keys()
    with pytest.raises(UsageError, match="--batch-size 64 is not two or more times --packing 3"):
        configure("dcgan", packing=3)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_makes_images_of_any_shape(variant: str) -> None:
    config = configure(variant, filters=4, **({"g_widths": (8, 16)} if variant == "vanilla" else {}))
    gan = build_gan(config, (20, 12, 3), 2, CPU)
    label = torch.eye(2)[[0, 1, 0]] if config.conditional else None
    images = gan.G(torch.randn(3, config.networks.z_dim), label)
    assert images.shape == (3, 3, 20, 12) and images.abs().max() <= 1
    scores = gan.D(images, label)
    assert scores.shape == (3,) and scores.dtype == torch.float32


def test_an_mlp_is_as_wide_as_it_was_told() -> None:
    gan = build_gan(configure("vanilla", g_widths=(32, 64), z_dim=10), (28, 28, 1), 0, CPU)
    for network, widths in ((gan.G, [(10, 32), (32, 64), (64, 784)]), (gan.D, [(784, 64), (64, 32), (32, 1)])):
        found = [(m.in_features, m.out_features) for m in network.modules() if isinstance(m, nn.Linear)]
        assert found == widths


def test_batch_normalisation_is_everywhere_but_at_the_image() -> None:
    # As many filters as the image has channels with its labels: widths alone do not tell the layers apart.
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


def test_the_critic_takes_its_steps_first() -> None:
    config = configure("wgan-gp", filters=4, batch_size=4)
    gan = build_gan(config, (8, 8, 1), 0, CPU)
    for number in range(1, 7):
        before_G, before_D = (n.state_dict()["body.0.weight"].clone() for n in (gan.G, gan.D))
        figures = train_step(gan, config, torch.rand(4, 1, 8, 8), None, EXACT)
        assert not torch.equal(gan.D.state_dict()["body.0.weight"], before_D)
        moved = not torch.equal(gan.G.state_dict()["body.0.weight"], before_G)
        assert moved == ("loss_g" in figures) == (number % 3 == 0)
        assert {"loss_d", "gradient_penalty"} <= figures.keys()


def test_wgan_gp_is_its_formula() -> None:
    config = configure("wgan-gp", filters=4, z_dim=5, batch_size=6, critic_steps=1, lr_d=0.01)
    gan, twin = (build_gan(config, (8, 8, 1), 0, CPU) for _ in range(2))
    real = torch.rand(6, 1, 8, 8) * 2 - 1
    train_step(gan, config, real.clone(), None, EXACT)

    random = torch.Generator().manual_seed(0)
    fake = twin.G(torch.randn(6, 5, generator=random)).detach()
    weight = torch.rand(6, generator=random)[:, None, None, None]
    mixed = ((1 - weight) * real + weight * fake).requires_grad_()
    (gradient,) = torch.autograd.grad(twin.D(mixed).sum(), mixed, create_graph=True)
    penalty = ((gradient.flatten(1).norm(dim=1) - 1) ** 2).mean()
    optimizer = torch.optim.Adam(twin.D.parameters(), 0.01, (0.0, 0.9))
    (twin.D(fake).mean() - twin.D(real).mean() + 10 * penalty).backward()
    optimizer.step()
    for mine, expected in zip(gan.D.parameters(), twin.D.parameters(), strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-3, atol=1e-4)


def test_clipped_weights_stay_within() -> None:
    config = configure("wgan-gp", gradient_penalty=0.0, weight_clip=0.01, filters=4, batch_size=4, optimizer="rmsprop")
    gan = build_gan(config, (8, 8, 1), 0, CPU)
    train_step(gan, config, torch.rand(4, 1, 8, 8), None, EXACT)
    assert max(p.abs().max().item() for p in gan.D.parameters()) == pytest.approx(0.01)
    assert isinstance(gan.optimizer_d, torch.optim.RMSprop)


def test_dropout_draws_from_the_runs_own_noise() -> None:
    def scores(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)  # the global state, which must have no say
        gan = build_gan(configure("dcgan", dropout=0.5, filters=4), (8, 8, 1), 0, CPU)
        out: torch.Tensor = gan.D(torch.ones(64, 1, 8, 8))
        return out

    assert torch.equal(scores(1), scores(2)) and scores(1).std() > 0
    halved = Dropout(0.5, noise())(torch.ones(10_000))
    assert halved.unique().tolist() == [0, 2] and halved.mean().item() == pytest.approx(1, abs=0.03)


def test_what_d_is_told() -> None:
    def told(**settings: float) -> list[torch.Tensor]:
        config = configure("dcgan", filters=4, **settings)
        return [torch.as_tensor(t) for t in _targets(noise(), config, 10_000)]

    assert [t.item() for t in told()] == [1, 0]
    ones, zeros = told(label_smoothing=0.1)
    assert ones.unique().tolist() == pytest.approx([0.9]) and zeros.unique().tolist() == [0]  # one-sided
    ones, zeros = told(label_noise=0.2)
    outwards = told(label_noise=-0.1)
    assert 1.09 < outwards[0].max() < 1.1 and -0.1 < outwards[1].min() < -0.09
    assert 0.8 < ones.min() < 0.81 and ones.max() > 0.99 and zeros.min() < 0.01 and 0.19 < zeros.max() < 0.2
    ones, zeros = told(label_flips=0.05)
    assert ones.mean().item() == pytest.approx(0.95, abs=0.01) and zeros.mean().item() == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"loss": "wasserstein"}, "needs a bounded critic"),
        ({"r1": 1.0}, "--d-norm none"),
        ({"loss": "hinge", "label_noise": 0.1}, "--label-noise has no meaning for --loss hinge"),
        ({"dropout": 1.0}, "--dropout must be at least 0 and at most"),
        ({"critic_steps": 0}, "--critic-steps must be at least 1, not 0"),
        ({"g_widths": (0,)}, "--g-widths must be at least 1, not 0"),
        ({"network": "mlp", "g_kernels": (4,)}, "--g-kernels has no meaning for --network mlp"),
        ({"augment": ("color", "flip")}, "--augment is one of color, translation, cutout, not 'flip'"),
        ({"fit": "zoom"}, "--fit is one of crop, pad, stretch, not 'zoom'"),
    ],
)
def test_settings_that_make_no_sense_together(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        configure("dcgan", **settings)


def test_the_rates_fall_over_the_last_share_of_the_run() -> None:
    config = configure("dcgan", images=40, lr_decay=0.5, filters=4, z_dim=5, batch_size=4, lr_g=0.02, lr_d=0.01)
    gan = build_gan(config, (8, 8, 1), 0, CPU)
    rates = []
    for _ in range(11):
        train_step(gan, config, torch.rand(4, 1, 8, 8), None, EXACT)
        rates.append([optimizer.param_groups[0]["lr"] for optimizer in (gan.optimizer_g, gan.optimizer_d)])
    shares = [1.0] * 6 + [0.8, 0.6, 0.4, 0.2, 0.0]  # before images 0, 4, 8, …; from 20 of 40 on it falls
    assert rates == [pytest.approx([0.02 * share, 0.01 * share]) for share in shares]


@pytest.mark.parametrize("r1", [0.0, 2.0])
def test_a_step_is_the_non_saturating_loss_with_adam(r1: float) -> None:
    config = configure("dcgan", r1=r1, d_norm="none", filters=4, z_dim=5, batch_size=6, lr_d=0.01, lr_g=0.02)
    gan, twin = (build_gan(config, (16, 16, 1), 0, CPU) for _ in range(2))
    real = torch.rand(6, 1, 16, 16) * 2 - 1
    figures = train_step(gan, config, real.clone(), None, EXACT)

    # The same by hand, in the order of Goodfellow et al.: D on real and fake, then G through the new D.
    fake = twin.G(torch.randn(6, 5, generator=torch.Generator().manual_seed(0)))
    real.requires_grad_(True)
    on_real, on_fake = twin.D(real), twin.D(fake.detach())
    loss = -torch.log(torch.sigmoid(on_real)).mean() - torch.log(1 - torch.sigmoid(on_fake)).mean()
    (gradient,) = torch.autograd.grad(on_real.sum(), real, create_graph=True)
    penalty = r1 / 2 * (gradient**2).sum((1, 2, 3)).mean()
    assert figures["loss_d"].item() == pytest.approx(loss.item(), rel=1e-5)
    optimizer = torch.optim.Adam(twin.D.parameters(), 0.01, (config.optimisation.beta1, config.optimisation.beta2))
    (loss + penalty).backward()
    optimizer.step()
    loss_g = -torch.log(torch.sigmoid(twin.D(fake))).mean()
    assert figures["loss_g"].item() == pytest.approx(loss_g.item(), rel=1e-4)
    optimizer = torch.optim.Adam(twin.G.parameters(), 0.02, (config.optimisation.beta1, config.optimisation.beta2))
    loss_g.backward()
    optimizer.step()
    for name in ("G", "D"):
        for mine, expected in zip(getattr(gan, name).parameters(), getattr(twin, name).parameters(), strict=True):
            torch.testing.assert_close(mine, expected, rtol=1e-3, atol=1e-5)


def test_the_average_follows_g_with_a_warm_up() -> None:
    config = configure("dcgan", filters=4, z_dim=5, batch_size=4)
    gan = build_gan(config, (8, 8, 1), 0, CPU)
    start = gan.G.first.weight.detach().clone()
    train_step(gan, config, torch.zeros(4, 1, 8, 8), None, EXACT)
    decay = (1 + 1) / (10 + 1)
    torch.testing.assert_close(gan.G_ema.first.weight, decay * start + (1 - decay) * gan.G.first.weight)
    assert not any(p.requires_grad for p in gan.G_ema.parameters())


def test_the_seed_rules_the_weights() -> None:
    config = configure("cgan", filters=4)
    first, same, other = (
        build_gan(c, (8, 8, 3), 2, CPU) for c in (config, config, configure("cgan", filters=4, seed=1))
    )
    assert torch.equal(first.G.first.weight, same.G.first.weight)
    assert not torch.equal(first.G.first.weight, other.G.first.weight)


def test_the_label_reaches_both_networks() -> None:
    gan = build_gan(configure("cgan", filters=4), (8, 8, 3), 2, CPU)
    z, (a, b) = torch.randn(1, 32), torch.eye(2)[:, None]
    gan.G.eval()
    assert not torch.equal(gan.G(z, a), gan.G(z, b))
    images = gan.G(z, a)
    assert not torch.equal(gan.D(images, a), gan.D(images, b))
