"""The settings of a run: one dataclass, from which the command makes its options, and one table of the variants.

Nothing here needs torch, so that `gan-train --help` answers at once.
"""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from shlex import quote
from typing import Any, TypeVar

from gankit._console import parse_int_list
from gankit._errors import UsageError
from gankit_train.config.presets import find_preset
from gankit_train.metrics.table import MEASURES

T = TypeVar("T")


def parse_count(text: str | int) -> int:
    """`"2M"` → 2,000,000, `"50k"` → 50,000, `"64"` → 64."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmM]?)", str(text))
    if not match:
        raise UsageError(f"a number of images is written like 50000, 50k or 2M, not {text!r}")
    return round(float(match[1]) * {"": 1, "k": 1_000, "m": 1_000_000}[match[2].lower()])


def parse_size(text: str | tuple[int, int]) -> tuple[int, int]:
    """`"64"` → (64, 64); `"48x64"`, width x height as for pictures, → height and width (64, 48)."""
    if isinstance(text, tuple):
        return text
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if not match:
        raise UsageError(f"a size is written like 64, or 48x64 for width x height, not {text!r}")
    return int(match[2] or match[1]), int(match[1])


def parse_list(text: str | tuple[int, ...]) -> tuple[int, ...]:
    """`"256,512"` → (256, 512)."""
    return text if isinstance(text, tuple) else tuple(parse_int_list(text, "lists", "256,512"))


def parse_names(text: str | tuple[str, ...]) -> tuple[str, ...]:
    """`"color,cutout"` → ("color", "cutout")."""
    return text if isinstance(text, tuple) else tuple(filter(None, (part.strip() for part in text.split(","))))


Range = tuple[float, float]
_FROM_0: Range = (0, math.inf)
_FROM_1: Range = (1, math.inf)
_SHARE: Range = (0, 0.99999)
_ACTIVATIONS = ("relu", "leaky-relu", "elu", "silu")


def setting(
    default: T,
    help: str,  # noqa: A002  # typer's word
    parser: Any = None,
    *,
    within: Range | None = None,
    one_of: tuple[Any, ...] = (),
    free: bool = False,
) -> T:
    """A field of Config.

    Args:
        default: where neither a variant nor a preset has another.
        help: for `--help`.
        parser: reads its text, where that is more than its type.
        within: the least and the greatest value; lists hold for each element, None is always allowed.
        one_of: the choices.
        free: whether it may differ when a run is resumed.
    """
    metadata = {"help": help, "parser": parser, "within": within, "one_of": one_of, "free": free}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Config:
    """All that decides what a run computes."""

    variant: str
    preset: str = setting("", "A recipe by name; `gan-train presets` lists them. Other flags override it.", free=True)
    data: str = setting(
        "digits",
        "digits, bricks, avatars, mnist, fashion-mnist, cifar10, celeba, stacked-mnist[:PATH], or a path: folder, zip, "
        ".npy or .npz.",
        free=True,
    )
    size: tuple[int, int] | None = setting(
        None, "Image size: 64, or WIDTHxHEIGHT. [default: the data's own]", parse_size
    )
    channels: int | None = setting(None, "1 for grey, 3 for colour. [default: as the data]", one_of=(1, 3))
    fit: str = setting("crop", "How pictures take that shape.", one_of=("crop", "pad", "stretch"))
    horizontal_flips: bool = setting(False, "Show D every second image mirrored.")
    attribute: tuple[str, ...] = setting((), "Label to condition on; may be given several times. [default: all]")
    images: int = setting(
        500_000, "Train until D has seen this many: 50000, 50k, 2M.", parse_count, within=_FROM_1, free=True
    )
    epochs: float | None = setting(
        None, "The same as a number of passes over the data.", within=(0.001, math.inf), free=True
    )
    held_out: int | None = setting(
        None,
        "Images that D never sees: they tell whether it learns the others by heart. [default: 2 %, from 16 to 128]",
        within=_FROM_0,
    )
    batch_size: int = setting(64, "Images in a step.", within=(2, math.inf))
    z_dim: int = setting(100, "Length of the latent vector.", within=_FROM_1)
    network: str = setting("conv", "Convolutions, or fully connected layers.", one_of=("conv", "mlp"))
    filters: int = setting(
        64, "Channels next to the image; each layer further in has twice as many, up to 8 times.", within=_FROM_1
    )
    g_widths: tuple[int, ...] = setting(
        (),
        "Channels of G's layers from z to the image instead, such as 512,256,128,64; units in an mlp.",
        parse_list,
        within=_FROM_1,
    )
    d_widths: tuple[int, ...] = setting((), "The same for D, from the image to the score.", parse_list, within=_FROM_1)
    g_kernels: tuple[int, ...] = setting(
        (), "G's kernels: one, or one for each layer. [default: 4]", parse_list, within=_FROM_1
    )
    d_kernels: tuple[int, ...] = setting((), "D's kernels. [default: 4]", parse_list, within=_FROM_1)
    g_strides: tuple[int, ...] = setting(
        (), "By how much each layer of G enlarges. [default: 2]", parse_list, within=_FROM_1
    )
    d_strides: tuple[int, ...] = setting(
        (), "By how much each layer of D reduces. [default: 2]", parse_list, within=_FROM_1
    )
    upsample: bool = setting(False, "G repeats pixels and convolves, in place of transposed convolutions.")
    output: str = setting(
        "tanh", "Last function of G; with a sigmoid D sees images in [0, 1].", one_of=("tanh", "sigmoid")
    )
    g_activation: str = setting("relu", "Between G's layers.", one_of=_ACTIVATIONS)
    d_activation: str = setting("leaky-relu", "Between D's layers.", one_of=_ACTIVATIONS)
    leak: float = setting(0.2, "Slope of leaky-relu below zero.", within=_FROM_0)
    bias: bool = setting(True, "Biases in the layers that no normalisation follows.")
    init: str = setting(
        "auto",
        "Weights at the start; torch is its own, auto is normal for convolutions with batch norm and he for others.",
        one_of=("auto", "normal", "he", "xavier", "torch"),
    )
    init_std: float = setting(0.02, "Standard deviation of --init normal.", within=_FROM_0)
    g_norm: str = setting("batch", "Normalisation in G.", one_of=("batch", "none"))
    d_norm: str = setting("batch", "Normalisation in D.", one_of=("batch", "spectral", "none"))
    dropout: float = setting(0.0, "Share of D's activations that a step leaves out.", within=_SHARE)
    loss: str = setting(
        "non-saturating",
        "What D's scores are made to cost.",
        one_of=("non-saturating", "minimax", "wasserstein", "hinge", "relativistic"),
    )
    critic_steps: int = setting(1, "Steps of D for each of G.", within=_FROM_1)
    gradient_penalty: float = setting(
        0.0, "Weight λ of WGAN-GP's penalty (Gulrajani et al. 2017); 0 for none.", within=_FROM_0
    )
    weight_clip: float = setting(
        0.0, "Clip the critic's weights to this (Arjovsky et al. 2017: 0.01); 0 for not.", within=_FROM_0
    )
    r1: float = setting(
        0.0, "Weight γ of the R1 penalty on real images (Mescheder et al. 2018); 0 for none.", within=_FROM_0
    )
    r2: float = setting(0.0, "The same on fake images.", within=_FROM_0)
    label_smoothing: float = setting(
        0.0, "D is told 1 minus this of real images (Salimans et al. 2016).", within=(0, 0.5)
    )
    label_noise: float = setting(
        0.0, "What D is told is moved inwards by U(0, this); outwards where it is negative.", within=(-0.5, 0.5)
    )
    label_flips: float = setting(0.0, "Share of the images of which D is told the opposite.", within=(0, 0.5))
    instance_noise: float = setting(
        0.0, "Deviation of noise on all that D sees, falling to none (Sønderby et al. 2017).", within=_FROM_0
    )
    instance_noise_images: int = setting(200_000, "Images after which that noise is gone.", parse_count, within=_FROM_1)
    augment: tuple[str, ...] = setting(
        (),
        "DiffAugment (Zhao et al. 2020) of all that D sees, joined by commas.",
        parse_names,
        one_of=("color", "translation", "cutout"),
    )
    packing: int = setting(
        1, "Images that D judges together, against collapse (PacGAN, Lin et al. 2018).", within=_FROM_1
    )
    optimizer: str = setting("adam", "Of both networks.", one_of=("adam", "rmsprop"))
    lr_g: float = setting(2e-4, "Learning rate of G.", within=_FROM_0)
    lr_d: float = setting(2e-4, "Learning rate of D.", within=_FROM_0)
    lr_decay: float = setting(
        0.0, "Share of --images, at their end, over which both rates fall in a straight line to 0.", within=(0, 1)
    )
    beta1: float = setting(0.5, "Adam's decay of the first moment.", within=_SHARE)
    beta2: float = setting(0.999, "Adam's decay of the second moment; RMSprop's only one.", within=_SHARE)
    ema: float = setting(
        0.999, "Decay a step of the averaged generator, which is what is sampled and exported.", within=_SHARE
    )
    seed: int = setting(0, "Rules everything that is random.", within=(0, 2**63 - 1))
    precision: str = setting(
        "auto",
        "Of the arithmetic; auto is bf16 where the hardware has it.",
        one_of=("auto", "float32", "bf16"),
        free=True,
    )
    device: str = setting("auto", "Where to compute.", one_of=("auto", "cuda", "cpu"), free=True)
    compile: bool = setting(False, "Compile the networks with torch.compile; the first steps take minutes.", free=True)
    log_every: int = setting(5_000, "Images between two rows of metrics.jsonl.", parse_count, within=_FROM_1, free=True)
    sample_every: int = setting(
        25_000, "Images between two sheets in samples/.", parse_count, within=_FROM_1, free=True
    )
    checkpoint_every: int = setting(50_000, "Images between two checkpoints.", parse_count, within=_FROM_1, free=True)
    keep: int = setting(
        2, "Checkpoints to keep, the newest ones; best.pt stays beside them.", within=_FROM_1, free=True
    )
    evaluate_every: int = setting(
        50_000,
        "Images between two measurements.",
        parse_count,
        within=_FROM_1,
        free=True,
    )
    evaluate_samples: int = setting(2_000, "Samples that a measurement takes.", within=(2, math.inf), free=True)
    measures: tuple[str, ...] = setting(
        ("sliced_wasserstein",),
        "What is measured, joined by commas; best.pt goes by the first.",
        parse_names,
        one_of=tuple(MEASURES),
        free=True,
    )
    tensorboard: bool = setting(False, "Write metrics and sheets for TensorBoard too.", free=True)

    def __post_init__(self) -> None:
        """Refuses values that cannot be, each by the name of its flag."""
        if self.variant not in VARIANTS:
            raise UsageError(f"there is no variant {self.variant!r}; there are {', '.join(VARIANTS)}")
        for each in fields(self):
            value, within, choices = (getattr(self, each.name), *(each.metadata.get(n) for n in ("within", "one_of")))
            for one in value if isinstance(value, tuple) else (value,) if value is not None else ():
                if within and not (within[0] <= one <= within[1] and one < math.inf):  # so that NaN is refused as well
                    most = f" and at most {within[1]}" if within[1] < math.inf else ""
                    raise UsageError(f"{flag(each.name)} must be at least {within[0]}{most}, not {one}")
                if choices and one not in choices:
                    raise UsageError(f"{flag(each.name)} is one of {', '.join(map(str, choices))}, not {one!r}")
        if self.attribute and not self.conditional:
            raise UsageError(f"{self.variant} takes no labels, so --attribute has no meaning for it; use cgan")
        for name in ("g_kernels", "d_kernels", "g_strides", "d_strides", "upsample"):
            if getattr(self, name) and self.network == "mlp":
                raise UsageError(f"{flag(name)} has no meaning for --network mlp, which has no convolutions")
        if self.batch_size % self.packing or self.batch_size < 2 * self.packing:
            raise UsageError(f"--batch-size {self.batch_size} is not two or more times --packing {self.packing}")
        if self.loss == "wasserstein" and not self.gradient_penalty and not self.weight_clip:
            raise UsageError(
                "--loss wasserstein needs a bounded critic: add --gradient-penalty 10, or --weight-clip 0.01"
            )
        if self.d_norm == "batch" and self.penalised:
            raise UsageError(
                "the penalties are taken image by image, but batch normalisation mixes the images: add --d-norm none"
            )
        if not self.measures or MEASURES[self.measures[0]].better == "alike":
            what = f"{self.measures[0]} has no best value" if self.measures else "there is none"
            first = ", ".join(name for name, measure in MEASURES.items() if measure.better != "alike")
            raise UsageError(f"best.pt goes by the first of --measures, and {what}: begin with one of {first}")
        for name in ("label_smoothing", "label_noise", "label_flips"):
            if getattr(self, name) and self.loss not in ("non-saturating", "minimax"):
                raise UsageError(f"{flag(name)} has no meaning for --loss {self.loss}, which gives D no targets")

    @property
    def conditional(self) -> bool:
        """Whether both networks are given labels."""
        return self.variant == "cgan"

    @property
    def penalised(self) -> bool:
        """Whether D's cost has the slope of its scores in it, and so its step second derivatives."""
        return self.gradient_penalty > 0 or self.r1 > 0 or self.r2 > 0

    @property
    def value_range(self) -> tuple[float, float]:
        """What G's last function makes of black and white, and so what D sees of real images."""
        return (0.0, 1.0) if self.output == "sigmoid" else (-1.0, 1.0)

    def to_json(self) -> dict[str, Any]:
        """A document that JSON and `torch.load(weights_only=True)` can hold."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Config:
        """The settings that `to_json` wrote."""
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in document.items()}
        values.setdefault("held_out", 0)  # of a run that was begun before there was such a setting
        return cls(**values)


VARIANTS: dict[str, dict[str, Any]] = {
    # Goodfellow et al. 2014, with batch normalisation in G and R1 on D. On MNIST after 300,000 images a classifier is
    # sure of 78 % of the samples; of 73 % with γ 5, which was chosen by eye before there was that measure.
    "vanilla": {"network": "mlp", "g_activation": "leaky-relu", "d_norm": "none", "r1": 0.5, "z_dim": 32,
                "lr_g": 1e-3, "lr_d": 1e-3, "beta1": 0.0, "beta2": 0.99},
    # Radford et al. 2015: batch normalisation in both networks, Adam at 2e-4 with β1 0.5.
    "dcgan": {},
    # Gulrajani et al. 2017, with two rates as in Heusel et al. 2017, which need fewer steps of the critic. On MNIST the
    # published 1e-4 and 3e-4 were still blurred after 75,000 images; these give clean digits from 150,000 on.
    "wgan-gp": {"loss": "wasserstein", "gradient_penalty": 10.0, "critic_steps": 3, "d_norm": "none",
                "lr_g": 5e-4, "lr_d": 1e-3, "beta1": 0.0, "beta2": 0.9},
    # Mirza & Osindero 2014: the label joins z and, as constant maps, the image. The relativistic loss with R1 and R2
    # of Huang et al. 2024 keeps D steady, so it bears five times DCGAN's rates. On the avatars at 32×32, after 125,000
    # images, γ 1 covers 91 % of the data and γ 0.1 71 %; the non-saturating loss with R1 alone covered 63 % after
    # 600,000, as it forgot most of the long hair.
    "cgan": {"d_norm": "none", "loss": "relativistic", "r1": 1.0, "r2": 1.0, "filters": 32, "z_dim": 32,
             "lr_g": 1e-3, "lr_d": 1e-3, "beta1": 0.0, "beta2": 0.99},
}  # fmt: skip
"""The settings in which a variant differs from the defaults above."""


def configure(variant: str, **overrides: Any) -> Config:
    """The settings of a variant, or of the preset if one is named, and what overrides them; None overrides nothing.

    >>> configure("cgan", data="avatars", size=(32, 32)).loss
    'relativistic'

    Raises:
        UsageError: no such variant or preset, a preset for another variant, a value that cannot be.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    # A text's recipe stands on the general defaults, not on what this project found to work better.
    base = dict(find_preset(name, variant).settings if (name := given.get("preset")) else VARIANTS.get(variant, {}))
    if "images" in given:
        base.pop("epochs", None)  # else the preset's length would win
    return Config(variant, **{**base, **given})


def refuse_changes(run: Path, before: Config, now: Config) -> None:
    """Raises UsageError, by names and with both values, where `now` would not continue what `before` began."""
    settings = [each.name for each in fields(Config) if not each.metadata.get("free")]
    changed = [name for name in settings if getattr(before, name) != getattr(now, name)]
    if before.preset != now.preset and len(changed) > 1:
        raise UsageError(
            f"{run} was begun with {f'--preset {before.preset}' if before.preset else 'no preset'}: "
            "ask for the same to resume, or add --fresh to start over beside it"
        )
    if changed:
        both = (f"{flag(n)} {_shown(getattr(before, n))}, now it is {_shown(getattr(now, n))}" for n in changed)
        raise UsageError(
            f"{run} was trained with {'; with '.join(both)}: "
            "ask for the same to resume, or add --fresh to start over beside it"
        )


def _shown(value: Any) -> str:
    """A setting as one would give it."""
    return (",".join(map(str, value)) or "none") if isinstance(value, tuple) else str(value)


def flag(name: str) -> str:
    """`batch_size` → `--batch-size`; the variant is no option."""
    return name if name == "variant" else "--" + name.replace("_", "-")


def flag_of(name: str, value: Any) -> str:
    """A setting as it is typed: ("d_widths", (64, 128)) → `--d-widths 64,128`."""
    if isinstance(value, bool):
        return flag(name) if value else flag(f"no_{name}")
    if name == "attribute":
        return " ".join(f"{flag(name)} {quote(each)}" for each in value)
    if name == "size":
        return f"{flag(name)} {value[1]}x{value[0]}"
    if isinstance(value, tuple):
        value = ",".join(map(str, value))
    if isinstance(value, float) and float(short := f"{value:g}") == value:
        value = short
    return f"{flag(name)} {quote(str(value))}"
