"""Training steps against their formulas, written out with PyTorch's own losses and optimizers."""

import pytest
import torch

from gankit_train.config.variants import configure
from gankit_train.models.gan import build_gan
from gankit_train.training.step import batch_statistics, train_step
from tests.helpers.training import CPU, FLOAT32


@pytest.mark.parametrize("r1", [0.0, 2.0])
def test_a_non_saturating_step_equals_its_formula(r1: float) -> None:
    config = configure("dcgan", r1=r1, d_norm="none", filters=4, z_dim=5, batch_size=6, lr_d=0.01, lr_g=0.02)
    gan, twin = (build_gan(config, (16, 16, 1), 0, CPU) for _ in range(2))
    real = torch.rand(6, 1, 16, 16) * 2 - 1
    metrics = train_step(gan, config, real.clone(), None, FLOAT32)

    # In the order of Goodfellow et al. (2014): D on real and fake images, then G through the updated D.
    fake = twin.G(torch.randn(6, 5, generator=torch.Generator().manual_seed(0)))
    real.requires_grad_(True)
    on_real, on_fake = twin.D(real), twin.D(fake.detach())
    loss = -torch.log(torch.sigmoid(on_real)).mean() - torch.log(1 - torch.sigmoid(on_fake)).mean()
    (gradient,) = torch.autograd.grad(on_real.sum(), real, create_graph=True)
    penalty = r1 / 2 * (gradient**2).sum((1, 2, 3)).mean()
    assert metrics["loss_d"].item() == pytest.approx(loss.item(), rel=1e-5)
    optimizer = torch.optim.Adam(twin.D.parameters(), 0.01, (config.optimisation.beta1, config.optimisation.beta2))
    (loss + penalty).backward()
    optimizer.step()
    loss_g = -torch.log(torch.sigmoid(twin.D(fake))).mean()
    assert metrics["loss_g"].item() == pytest.approx(loss_g.item(), rel=1e-4)
    optimizer = torch.optim.Adam(twin.G.parameters(), 0.02, (config.optimisation.beta1, config.optimisation.beta2))
    loss_g.backward()
    optimizer.step()
    for name in ("G", "D"):
        for mine, expected in zip(getattr(gan, name).parameters(), getattr(twin, name).parameters(), strict=True):
            torch.testing.assert_close(mine, expected, rtol=1e-3, atol=1e-5)


def test_a_wgan_gp_step_equals_its_formula() -> None:
    config = configure("wgan-gp", filters=4, z_dim=5, batch_size=6, critic_steps=1, lr_d=0.01)
    gan, twin = (build_gan(config, (8, 8, 1), 0, CPU) for _ in range(2))
    real = torch.rand(6, 1, 8, 8) * 2 - 1
    train_step(gan, config, real.clone(), None, FLOAT32)

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


def test_g_is_updated_after_every_critic_steps_of_d() -> None:
    config = configure("wgan-gp", filters=4, batch_size=4)
    gan = build_gan(config, (8, 8, 1), 0, CPU)
    for number in range(1, 7):
        before_G, before_D = (n.state_dict()["body.0.weight"].clone() for n in (gan.G, gan.D))
        metrics = train_step(gan, config, torch.rand(4, 1, 8, 8), None, FLOAT32)
        assert not torch.equal(gan.D.state_dict()["body.0.weight"], before_D)
        moved = not torch.equal(gan.G.state_dict()["body.0.weight"], before_G)
        assert moved == ("loss_g" in metrics) == (number % 3 == 0)
        assert {"loss_d", "gradient_penalty"} <= metrics.keys()


def test_weight_clipping_bounds_all_parameters_of_d() -> None:
    config = configure("wgan-gp", gradient_penalty=0.0, weight_clip=0.01, filters=4, batch_size=4, optimizer="rmsprop")
    gan = build_gan(config, (8, 8, 1), 0, CPU)
    train_step(gan, config, torch.rand(4, 1, 8, 8), None, FLOAT32)
    assert max(p.abs().max().item() for p in gan.D.parameters()) == pytest.approx(0.01)
    assert isinstance(gan.optimizer_d, torch.optim.RMSprop)


def test_learning_rates_decay_over_the_last_share_of_the_run() -> None:
    config = configure("dcgan", images=40, lr_decay=0.5, filters=4, z_dim=5, batch_size=4, lr_g=0.02, lr_d=0.01)
    gan = build_gan(config, (8, 8, 1), 0, CPU)
    rates = []
    for _ in range(11):
        train_step(gan, config, torch.rand(4, 1, 8, 8), None, FLOAT32)
        rates.append([optimizer.param_groups[0]["lr"] for optimizer in (gan.optimizer_g, gan.optimizer_d)])
    shares = [1.0] * 6 + [0.8, 0.6, 0.4, 0.2, 0.0]  # before images 0, 4, 8, …; constant up to image 20 of 40
    assert rates == [pytest.approx([0.02 * share, 0.01 * share]) for share in shares]


def test_the_moving_average_of_g_warms_up() -> None:
    config = configure("dcgan", filters=4, z_dim=5, batch_size=4)
    gan = build_gan(config, (8, 8, 1), 0, CPU)
    start = gan.G.first.weight.detach().clone()
    train_step(gan, config, torch.zeros(4, 1, 8, 8), None, FLOAT32)
    decay = (1 + 1) / (10 + 1)
    torch.testing.assert_close(gan.G_ema.first.weight, decay * start + (1 - decay) * gan.G.first.weight)
    assert not any(p.requires_grad for p in gan.G_ema.parameters())


def test_a_step_reports_the_loss_of_packed_images_with_labels() -> None:
    config = configure("cgan", packing=2, filters=4, batch_size=6)
    gan, label = build_gan(config, (8, 8, 3), 2, CPU), torch.eye(2)[[0, 1, 0, 1, 1, 0]]
    metrics = train_step(gan, config, torch.rand(6, 3, 8, 8), label, FLOAT32)
    assert {"loss_d", "loss_g", "score_real", "score_fake", "r1", "r2"} <= metrics.keys()
    assert all(value.shape == () and not value.requires_grad for value in metrics.values())


def test_a_batch_of_equal_real_images_is_not_a_mode_collapse() -> None:
    real = torch.ones(4, 1, 8, 8)
    fake = torch.rand(4, 1, 8, 8).requires_grad_()
    (2 * fake).sum().backward()  # type: ignore[no-untyped-call]
    statistics = batch_statistics(real, fake, 4)
    assert statistics["batch_diversity"] == 1
    assert statistics["gradient_fake"] == pytest.approx(4 * 2 * 8)  # four scores, a gradient of 2 at 8·8 pixels
