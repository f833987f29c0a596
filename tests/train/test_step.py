import numpy as np
import pytest
import torch
from torch import nn

from gankit.errors import UsageError
from gankit_train.config import configure
from gankit_train.devices import pick_precision
from gankit_train.networks import Discriminator, Generator, sizes
from gankit_train.step import build, gradient_norm_squared, step

CPU = torch.device("cpu")
EXACT = pick_precision("float32", CPU)


@pytest.mark.parametrize(
    ("size", "layers", "innermost"),
    [((64, 64), 4, (4, 4)), ((28, 28), 3, (3, 3)), ((109, 89), 4, (6, 5)), ((64, 48), 4, (4, 3)), ((7, 16), 1, (3, 8))],
)
def test_the_depth_follows_any_size(size: tuple[int, int], layers: int, innermost: tuple[int, int]) -> None:
    assert len(sizes(*size)) - 1 == layers and sizes(*size)[-1] == innermost
    G, D = Generator(*size, 3, 10, 2, 4), Discriminator(*size, 3, 2, 4, "none")
    label = torch.eye(2)
    images = G(torch.randn(2, 10), label)
    assert images.shape == (2, 3, *size) and images.abs().max() <= 1
    assert D(images, label).shape == (2,)


def test_the_64_pixel_networks_are_those_of_the_dcgan_paper() -> None:
    G, D = Generator(64, 64, 3, 100, 0, 64), Discriminator(64, 64, 3, 0, 64, "batch")
    kernels = [tuple(m.weight.shape) for m in G.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert kernels == [(512, 256, 4, 4), (256, 128, 4, 4), (128, 64, 4, 4), (64, 3, 4, 4)]
    kernels = [tuple(m.weight.shape) for m in D.modules() if isinstance(m, nn.Conv2d)]
    assert kernels == [(64, 3, 4, 4), (128, 64, 4, 4), (256, 128, 4, 4), (512, 256, 4, 4)]


def test_a_size_that_is_too_small_says_what_would_do() -> None:
    with pytest.raises(UsageError, match="5x64 are too small: both edges must be at least 6"):
        sizes(64, 5)


def test_r1_is_the_squared_gradient_by_finite_differences() -> None:
    torch.manual_seed(0)
    D = Discriminator(8, 8, 1, 0, 4, "none").double()
    D.forward = lambda images, label=None: D.body(images).flatten()  # keep float64
    images = torch.randn(2, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    measured = gradient_norm_squared(D(images), images)
    for i in range(2):
        total = 0.0
        for pixel in np.ndindex(8, 8):
            change = torch.zeros_like(images)
            change[i, 0][pixel] = 1e-6
            total += ((D(images + change)[i] - D(images - change)[i]).item() / 2e-6) ** 2
        assert measured[i].item() == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("r1", [0.0, 2.0])
def test_a_step_is_the_non_saturating_loss_with_adam(r1: float) -> None:
    config = configure("dcgan", r1=r1, d_norm="none", filters=4, z_dim=5, batch_size=6, lr_d=0.01, lr_g=0.02)
    gan, twin = (build(config, (16, 16, 1), 0, CPU) for _ in range(2))
    real = torch.rand(6, 1, 16, 16) * 2 - 1
    figures = step(gan, config, real.clone(), None, EXACT)

    # The same by hand, in the order of Goodfellow et al.: D on real and fake, then G through the new D.
    fake = twin.G(torch.randn(6, 5, generator=torch.Generator().manual_seed(0)))
    real.requires_grad_(True)
    on_real, on_fake = twin.D(real), twin.D(fake.detach())
    loss = -torch.log(torch.sigmoid(on_real)).mean() - torch.log(1 - torch.sigmoid(on_fake)).mean()
    (gradient,) = torch.autograd.grad(on_real.sum(), real, create_graph=True)
    penalty = r1 / 2 * (gradient**2).sum((1, 2, 3)).mean()
    assert figures["loss_d"].item() == pytest.approx(loss.item(), rel=1e-5)
    optimizer = torch.optim.Adam(twin.D.parameters(), 0.01, (config.beta1, config.beta2))
    (loss + penalty).backward()
    optimizer.step()
    loss_g = -torch.log(torch.sigmoid(twin.D(fake))).mean()
    assert figures["loss_g"].item() == pytest.approx(loss_g.item(), rel=1e-4)
    optimizer = torch.optim.Adam(twin.G.parameters(), 0.02, (config.beta1, config.beta2))
    loss_g.backward()
    optimizer.step()
    for name in ("G", "D"):
        for mine, expected in zip(getattr(gan, name).parameters(), getattr(twin, name).parameters(), strict=True):
            torch.testing.assert_close(mine, expected, rtol=1e-3, atol=1e-5)


def test_the_average_follows_g_with_a_warm_up() -> None:
    config = configure("dcgan", filters=4, z_dim=5, batch_size=4)
    gan = build(config, (8, 8, 1), 0, CPU)
    start = gan.G.first.weight.detach().clone()
    step(gan, config, torch.zeros(4, 1, 8, 8), None, EXACT)
    decay = (1 + 1) / (10 + 1)
    torch.testing.assert_close(gan.G_ema.first.weight, decay * start + (1 - decay) * gan.G.first.weight)
    assert not any(p.requires_grad for p in gan.G_ema.parameters())


def test_the_seed_rules_the_weights() -> None:
    config = configure("cgan", filters=4)
    first, same, other = (build(c, (8, 8, 3), 2, CPU) for c in (config, config, configure("cgan", filters=4, seed=1)))
    assert torch.equal(first.G.first.weight, same.G.first.weight)
    assert not torch.equal(first.G.first.weight, other.G.first.weight)


def test_the_label_reaches_both_networks() -> None:
    gan = build(configure("cgan", filters=4), (8, 8, 3), 2, CPU)
    z, (a, b) = torch.randn(1, 32), torch.eye(2)[:, None]
    gan.G.eval()
    assert not torch.equal(gan.G(z, a), gan.G(z, b))
    images = gan.G(z, a)
    assert not torch.equal(gan.D(images, a), gan.D(images, b))
