"""Recipes by name: gankit's own for certain data sets, and those of books and blog posts as published.

Settings of a preset replace the general defaults of `Config`; those of its variant do not apply. None of the texts
averages its generator, so their presets set `ema` 0. Keras' batch normalisation momentum of 0.9 is PyTorch's 0.1, the
default. `docs/quality.md` shows the results of gankit's own recipes, `docs/recipes.md` those of the texts.
"""

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from gankit._errors import UsageError


@dataclass(frozen=True)
class Preset:
    """A recipe: the settings in which it differs from the general defaults."""

    variant: str
    about: str  # one line for the list of presets
    settings: dict[str, Any]
    caveat: str = ""  # known weaknesses, differences from the text, and what to do instead


_MNIST = {"network": "mlp", "data": "mnist", "d_norm": "none", "ema": 0.0}
_THREE_LAYERS = {**_MNIST, "z_dim": 64, "g_widths": (256, 256), "d_widths": (256, 256), "g_norm": "none",
                 "init": "torch", "beta1": 0.9, "batch_size": 100, "epochs": 300}  # fmt: skip
_KERAS_64 = {"size": (64, 64), "g_widths": (512, 256, 128, 64), "d_widths": (64, 128, 256, 512),
             "g_activation": "leaky-relu", "init": "xavier", "dropout": 0.3, "ema": 0.0}  # fmt: skip
_BRICKS = {**_KERAS_64, "data": "bricks", "channels": 1, "label_noise": -0.1, "bias": False, "batch_size": 128,
           "epochs": 300}  # fmt: skip
_CRITIC = {"data": "celeba", "channels": 3, "loss": "wasserstein", "gradient_penalty": 10.0, "critic_steps": 3,
           "d_norm": "none", "fit": "resize", "beta2": 0.9}  # fmt: skip
_STEADY = {"d_norm": "none", "filters": 32, "lr_g": 1e-3, "lr_d": 1e-3, "beta1": 0.0, "beta2": 0.99}
"""Shared by gankit's own recipes: with R1 and no normalisation, D is stable at five times DCGAN's learning rates."""
_LABEL_NOISE = ("the text's label noise moves D's targets outwards, to 1 … 1.1 and -0.1 … 0, which rewards ever "
                "larger scores; --label-noise 0.1 moves them inwards")  # fmt: skip

OURS = {
    "mnist-deep": Preset(
        "dcgan", "MNIST, two more layers at 3×3 pixels in G and D, relativistic loss, R1 and R2, no normalisation in D",
        {**_STEADY, "data": "mnist", "z_dim": 32, "loss": "relativistic", "r1": 0.1, "r2": 0.1,
         "g_widths": (128, 128, 128, 64, 32), "g_strides": (1, 1, 2, 2, 2), "g_kernels": (3, 3, 4, 4, 4),
         "d_widths": (32, 64, 128, 128, 128), "d_strides": (2, 2, 2, 1, 1), "d_kernels": (4, 4, 4, 3, 3),
         "images": 950_000}),
    "bricks-r1": Preset(
        "dcgan", "grey bricks at 64×64: R1 instead of normalisation in D, five times DCGAN's learning rates",
        {**_STEADY, "data": "bricks", "size": (64, 64), "channels": 1, "z_dim": 32, "r1": 0.5, "images": 800_000}),
    "stacked-mnist": Preset(
        "dcgan", "three digits in three channels, 1000 modes: relativistic loss, R1 and R2, no normalisation in D",
        {**_STEADY, "data": "stacked-mnist", "z_dim": 64, "loss": "relativistic", "r1": 0.3, "r2": 0.3,
         "images": 700_000, "metrics": ("label_kl", "label_modes"), "evaluate_samples": 26_000,
         "evaluate_every": 100_000}),
}  # fmt: skip
"""The recipes behind `docs/quality.md`, beside the defaults of `vanilla` and `cgan`."""

PRESETS = {
    **OURS,
    "mnist-one-hidden": Preset(
        "vanilla", "MNIST, one hidden layer of 128 in G and D, LeakyReLU 0.01, Adam 1e-3, 40,000 steps of 128",
        {**_MNIST, "g_widths": (128,), "d_widths": (128,), "g_activation": "leaky-relu", "leak": 0.01,
         "g_norm": "none", "init": "xavier", "lr_g": 1e-3, "lr_d": 1e-3, "beta1": 0.9, "batch_size": 128,
         "images": 5_120_000},
        "one hidden layer generates strokes and speckle, not clean digits, and β1 0.9 makes both networks oscillate"),
    "mnist-mlp-sigmoid": Preset(
        "vanilla", "MNIST, z of 10, four blocks of Linear, batch norm, ReLU, 128 to 1024, sigmoid, images in [0, 1]",
        {**_MNIST, "z_dim": 10, "g_widths": (128, 256, 512, 1024), "d_widths": (512, 256, 128), "init": "torch",
         "output": "sigmoid", "lr_g": 1e-5, "lr_d": 1e-5, "beta1": 0.9, "batch_size": 128, "images": 12_000_000},
        "a learning rate of 1e-5 is stable but needs 200 epochs; higher rates need fewer"),
    "mnist-mlp-tanh": Preset(
        "vanilla", "MNIST, three layers in G (ReLU) and D (LeakyReLU 0.2), 256 hidden units, z of 64, tanh, Adam 2e-4",
        _THREE_LAYERS,
        "speckle remains, as fully connected layers ignore neighbourhoods; the defaults of vanilla add R1 against it"),
    "mnist-mlp-minimax": Preset(
        "vanilla", "mnist-mlp-tanh with the saturating loss: G minimises log(1 - D(G(z)))",
        {**_THREE_LAYERS, "loss": "minimax"},
        "G's gradient vanishes where D is confident (Goodfellow et al. 2014, section 3); use --loss non-saturating"),
    "bricks-dcgan": Preset(
        "dcgan", "grey bricks at 64×64, 512-256-128-64, dropout 0.3 in D, label noise 0.1, no biases, batch 128",
        _BRICKS, _LABEL_NOISE),
    "bricks-upsample": Preset(
        "dcgan", "bricks-dcgan with upsampling and convolutions instead of transposed convolutions",
        {**_BRICKS, "upsample": True},
        "no checkerboard artefacts, but each layer convolves four times as many pixels; " + _LABEL_NOISE),
    "camel-28-rmsprop": Preset(
        "dcgan", "Quick, Draw!'s camel.npy at 28×28, Dense 7·7·64, 5×5 kernels in lists, RMSprop 8e-4 (D), 4e-4 (G)",
        {"data": "camel.npy", "size": (28, 28), "channels": 1, "upsample": True, "optimizer": "rmsprop",
         "beta2": 0.9, "lr_d": 8e-4, "lr_g": 4e-4, "d_norm": "none", "dropout": 0.4, "d_activation": "relu",
         "g_widths": (64, 128, 64, 64), "g_kernels": (5,), "g_strides": (2, 2, 1, 1), "d_widths": (64, 64, 128, 128),
         "d_kernels": (5,), "d_strides": (2, 2, 2, 1), "init": "normal", "images": 384_000, "ema": 0.0},
        "D's learning rate of 0.008, as in some printings, is ten times too high: D soon gives all images one score"),
    "celeba-wgan-gp": Preset(
        "wgan-gp", "CelebA at 64×64, critic without batch norm, λ 10, 3 critic steps, Adam 2e-4, batch 512",
        {**_KERAS_64, **_CRITIC, "z_dim": 128, "batch_size": 512, "epochs": 600},
        "the text draws interpolation weights from N(0, 1), so that most points are not between real and fake; here "
        "they are U(0, 1) as in the paper. The text takes 3 critic steps on one batch, here on three, hence 600 "
        "epochs for its 200; its critic has no dropout after the first layer"),
    "celeba-wgan-gp-paper": Preset(
        "wgan-gp", "celeba-wgan-gp with the paper's 5 critic steps, Adam 1e-4 with β 0 and 0.9, batch 64",
        {**_KERAS_64, **_CRITIC, "critic_steps": 5, "g_activation": "relu", "init": "auto", "dropout": 0.0,
         "z_dim": 128, "lr_g": 1e-4, "lr_d": 1e-4, "beta1": 0.0, "fit": "crop", "images": 64_000_000},
        "slow: 64 million images are 200,000 steps of G; two learning rates (--lr-d 3e-4 --critic-steps 1) need fewer"),
    "celeba-wgan-clip": Preset(
        "wgan-gp", "the original WGAN: weights clipped to 0.01, RMSprop 5e-5, 5 critic steps",
        {**_KERAS_64, "data": "celeba", "channels": 3, "g_activation": "relu", "init": "auto", "dropout": 0.0,
         "loss": "wasserstein", "weight_clip": 0.01, "critic_steps": 5, "optimizer": "rmsprop", "beta2": 0.99,
         "lr_g": 5e-5, "lr_d": 5e-5, "images": 64_000_000},
        "most clipped weights end at ±0.01, so the critic stays simple: slow and blurred; prefer the gradient penalty"),
    "celeba-blond-cgan": Preset(
        "cgan", "CelebA blond or not at 64×64, z of 32, labels appended to z and as maps to the image, batch 128",
        {**_KERAS_64, **_CRITIC, "attribute": ("Blond_Hair",), "z_dim": 32, "g_widths": (128, 128, 128, 64),
         "d_widths": (64, 128, 128, 128), "lr_g": 5e-5, "lr_d": 5e-5, "batch_size": 128, "epochs": 60},
        "blond is one attribute here, where the text has two exclusive columns with the same information. A learning "
        "rate of 5e-5 is slow; the defaults of cgan are faster. Epochs and dropout as in celeba-wgan-gp"),
}  # fmt: skip
"""All presets by name: gankit's own first, then those of the texts, text by text."""


def find_preset(name: str, variant: str) -> Preset:
    """Looks up a preset. Raises UsageError if there is none of that name, or if it is one of another variant."""
    if name not in PRESETS:
        near = get_close_matches(name, PRESETS, 3, 0.4) or PRESETS
        raise UsageError(f"there is no preset {name!r}; nearest: {', '.join(near)}; see gan-train presets")
    preset = PRESETS[name]
    if preset.variant != variant:
        raise UsageError(f"{name} is a preset of {preset.variant}: gan-train {preset.variant} --preset {name}")
    return preset
