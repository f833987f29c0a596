"""The four variants as tables of settings, and how variant, preset and options make a configuration."""

from __future__ import annotations

from typing import Any

from gankit_train.config.config import Config
from gankit_train.config.presets import find_preset
from gankit_train.config.settings import Variant

VARIANTS: dict[Variant, dict[str, Any]] = {
    # Goodfellow et al. 2014, with batch normalisation in G and R1 on D. On MNIST after 300,000 images a classifier
    # recognises 78 % of the samples; with γ 5 it was 73 %.
    "vanilla": {"network": "mlp", "g_activation": "leaky-relu", "d_norm": "none", "r1": 0.5, "z_dim": 32,
                "lr_g": 1e-3, "lr_d": 1e-3, "beta1": 0.0, "beta2": 0.99},
    # Radford et al. 2015: batch normalisation in both networks, Adam with learning rate 2e-4 and β1 0.5.
    "dcgan": {},
    # Gulrajani et al. 2017, with two learning rates as in Heusel et al. 2017, which need fewer critic steps. On MNIST
    # the published 1e-4 and 3e-4 were still blurred after 75,000 images; these give clean digits from 150,000 on.
    "wgan-gp": {"loss": "wasserstein", "gradient_penalty": 10.0, "critic_steps": 3, "d_norm": "none",
                "lr_g": 5e-4, "lr_d": 1e-3, "beta1": 0.0, "beta2": 0.9},
    # Mirza & Osindero 2014: labels are appended to z and, as constant maps, to the image. The relativistic loss with R1
    # and R2 of Huang et al. 2024 stays stable at five times DCGAN's learning rates. On the avatars at 32×32, after
    # 125,000 images, γ 1 covers 91 % of the data and γ 0.1 71 %; the non-saturating loss with R1 alone covered 63 %
    # after 600,000, without most of the long hair.
    "cgan": {"d_norm": "none", "loss": "relativistic", "r1": 1.0, "r2": 1.0, "filters": 32, "z_dim": 32,
             "lr_g": 1e-3, "lr_d": 1e-3, "beta1": 0.0, "beta2": 0.99},
}  # fmt: skip
"""The settings in which each variant differs from the general defaults."""


def configure(variant: str, **settings: Any) -> Config:
    """Returns the configuration of a variant, or of a preset of it, with some settings replaced.

    >>> configure("cgan", data="avatars", size=(32, 32)).objective.loss
    'relativistic'

    Args:
        variant: key of `VARIANTS`.
        settings: by name; None keeps the default. With `preset`, the general defaults and the preset's settings take
            the place of the variant's.

    Raises:
        UsageError: there is no such variant, preset or setting, or a value is not allowed.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    preset = given.get("preset")
    base = dict(find_preset(preset, variant).settings if preset else VARIANTS.get(variant, {}))  # type: ignore[call-overload]
    if "images" in given:
        base.pop("epochs", None)  # else the preset's length would win
    return Config.from_values(variant, {**base, **given})


def changed_settings(config: Config) -> dict[str, Any]:
    """Returns the preset, if there is one, and the settings that differ from its values or from the variant's."""
    preset = {"preset": config.run.preset} if config.run.preset else {}
    defaults = configure(config.variant, **preset).values()
    return preset | {name: value for name, value in config.values().items() if value != defaults[name]}
