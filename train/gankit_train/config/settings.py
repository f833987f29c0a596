"""The settings of a run: small dataclasses by topic, from which `gan-train` also makes its options. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from gankit._errors import UsageError
from gankit_train.config.flags import flag, parse_count, parse_ints, parse_names, parse_size
from gankit_train.metrics.table import METRICS

T = TypeVar("T")
Range = tuple[float, float]

Variant = Literal["vanilla", "dcgan", "wgan-gp", "cgan"]
Activation = Literal["relu", "leaky-relu", "elu", "silu"]
LossName = Literal["non-saturating", "minimax", "wasserstein", "hinge", "relativistic"]
Augmentation = Literal["color", "translation", "cutout"]

_FROM_0: Range = (0, math.inf)
_FROM_1: Range = (1, math.inf)
_FROM_2: Range = (2, math.inf)
_BELOW_1: Range = (0, 0.99999)


@dataclass(frozen=True)
class Setting:
    """What is known of a setting; the last four follow from its field."""

    help: str
    parse: Callable[[Any], Any] | None = None
    """Reads the text of the option, where its type does not say how."""
    within: Range | None = None
    """Smallest and largest value, of each element of a tuple. None is always allowed."""
    choices: tuple[Any, ...] = ()
    """Allowed values; for a Literal they follow from the type."""
    common: bool = False
    """Whether most users need it, so that `--help` shows it first."""
    fixed: bool = True
    """Whether a run can only be resumed with the same value."""
    name: str = ""
    topic: str = ""
    """Field of `Config`."""
    type: Any = None
    default: Any = None

    def check(self, value: Any) -> None:
        """Raises UsageError if the value, or an element of a tuple, is out of range or not among the choices."""
        for each in value if isinstance(value, tuple) else (value,) if value is not None else ():
            if self.within and not (self.within[0] <= each <= self.within[1] and each < math.inf):  # refuses NaN too
                most = f" and at most {self.within[1]}" if self.within[1] < math.inf else ""
                raise UsageError(f"{flag(self.name)} must be at least {self.within[0]}{most}, not {each}")
            if self.choices and each not in self.choices:
                raise UsageError(f"{flag(self.name)} must be one of {', '.join(map(str, self.choices))}, not {each!r}")


def setting(default: T, help: str, parse: Callable[[Any], Any] | None = None, **known: Any) -> T:  # noqa: A002
    """Declares a setting as a field of a dataclass, with its default for all variants and what is `known` of it."""
    return field(default=default, metadata={"setting": Setting(help, parse, **known)})


@dataclass(frozen=True)
class DatasetSettings:
    """Which images the discriminator sees."""

    data: str = setting(
        "digits",
        "Training data: digits, bricks, avatars, mnist, fashion-mnist, cifar10, celeba, stacked-mnist[:PATH], or the "
        "path of a folder, .zip, .npy or .npz.",
        common=True,
        fixed=False,
    )
    size: tuple[int, int] | None = setting(
        None, "Image size: 64, or WIDTHxHEIGHT. [default: the data's own]", parse_size, common=True
    )
    channels: Literal[1, 3] | None = setting(None, "1 for grey, 3 for colour. [default: as the data]")
    fit: Literal["crop", "pad", "resize"] = setting("crop", "How images of another aspect ratio are fitted.")
    horizontal_flips: bool = setting(False, "Flip every image horizontally with probability 0.5.")
    attribute: tuple[str, ...] = setting(
        (), "Label to condition on, by any part of its name; repeatable. [default: all]"
    )
    held_out: int | None = setting(
        None,
        "Images held out of training, to detect discriminator overfitting. [default: 2 %, from 16 to 128]",
        within=_FROM_0,
    )


@dataclass(frozen=True)
class NetworkSettings:
    """Generator (G) and discriminator (D)."""

    z_dim: int = setting(100, "Dimension of the latent vector z.", within=_FROM_1)
    network: Literal["conv", "mlp"] = setting("conv", "Convolutional or fully connected networks.")
    filters: int = setting(64, "Base channels, doubled at each stage, at most 8 times.", within=_FROM_1)
    g_widths: tuple[int, ...] = setting(
        (), "Channels of G's layers from z to the image, such as 512,256,128,64; units for mlp.", parse_ints,
        within=_FROM_1,
    )  # fmt: skip
    d_widths: tuple[int, ...] = setting(
        (), "Channels of D's layers from the image to the score; units for mlp.", parse_ints, within=_FROM_1
    )
    g_kernels: tuple[int, ...] = setting(
        (), "Kernel sizes of G: one, or one per layer. [default: 4]", parse_ints, within=_FROM_1
    )
    d_kernels: tuple[int, ...] = setting(
        (), "Kernel sizes of D: one, or one per layer. [default: 4]", parse_ints, within=_FROM_1
    )
    g_strides: tuple[int, ...] = setting(
        (), "Strides of G: one, or one per layer. [default: 2]", parse_ints, within=_FROM_1
    )
    d_strides: tuple[int, ...] = setting(
        (), "Strides of D: one, or one per layer. [default: 2]", parse_ints, within=_FROM_1
    )
    upsample: bool = setting(False, "Nearest-neighbour upsampling and convolutions in G, not transposed convolutions.")
    output: Literal["tanh", "sigmoid"] = setting("tanh", "Output activation of G; sigmoid scales images to [0, 1].")
    g_activation: Activation = setting("relu", "Activation in G.")
    d_activation: Activation = setting("leaky-relu", "Activation in D.")
    leak: float = setting(0.2, "Negative slope of leaky-relu.", within=_FROM_0)
    bias: bool = setting(True, "Biases in layers without normalisation.")
    init: Literal["auto", "normal", "he", "xavier", "torch"] = setting(
        "auto",
        "Weight initialisation: normal is N(0, 0.02), torch keeps PyTorch's; auto is normal for convolutional networks "
        "with batch normalisation, he for others.",
    )
    g_norm: Literal["batch", "none"] = setting("batch", "Normalisation in G.")
    d_norm: Literal["batch", "spectral", "none"] = setting("batch", "Normalisation in D.")
    dropout: float = setting(0.0, "Dropout probability in D.", within=_BELOW_1)
    packing: int = setting(
        1, "Images that D scores together, against mode collapse (PacGAN, Lin et al. 2018).", within=_FROM_1
    )

    @property
    def value_range(self) -> tuple[float, float]:
        """Black and white as the networks represent them: G's output and D's input."""
        return (0.0, 1.0) if self.output == "sigmoid" else (-1.0, 1.0)


@dataclass(frozen=True)
class ObjectiveSettings:
    """Adversarial loss, penalties, and what stabilises them."""

    loss: LossName = setting("non-saturating", "Adversarial loss.")
    critic_steps: int = setting(1, "Discriminator steps per generator step.", within=_FROM_1)
    gradient_penalty: float = setting(
        0.0, "Weight λ of the WGAN-GP gradient penalty (Gulrajani et al. 2017); 0 disables it.", within=_FROM_0
    )
    weight_clip: float = setting(
        0.0, "Clip D's weights to this absolute value (Arjovsky et al. 2017: 0.01); 0 disables it.", within=_FROM_0
    )
    r1: float = setting(
        0.0, "Weight γ of the R1 penalty on real images (Mescheder et al. 2018); 0 disables it.", within=_FROM_0
    )
    r2: float = setting(0.0, "Weight γ of the R2 penalty on fake images; 0 disables it.", within=_FROM_0)
    label_smoothing: float = setting(
        0.0, "One-sided label smoothing: D's target for real images is 1 minus this (Salimans et al. 2016).",
        within=(0, 0.5),
    )  # fmt: skip
    label_noise: float = setting(
        0.0, "Move D's targets inwards by U(0, this); a negative value moves them outwards.", within=(-0.5, 0.5)
    )
    label_flips: float = setting(0.0, "Probability of swapping D's target of an image.", within=(0, 0.5))
    instance_noise: float = setting(
        0.0,
        "Standard deviation of noise on the discriminator input, decaying to 0 over 200,000 images (Sønderby et al. "
        "2017).",
        within=_FROM_0,
    )
    augment: tuple[Augmentation, ...] = setting(
        (), "DiffAugment on the discriminator input (Zhao et al. 2020), separated by commas.", parse_names
    )

    @property
    def has_gradient_penalty(self) -> bool:
        """Whether D's loss contains the gradient of its scores, so that training needs second derivatives."""
        return self.gradient_penalty > 0 or self.r1 > 0 or self.r2 > 0


@dataclass(frozen=True)
class OptimisationSettings:
    """Batches, optimizers and the moving average of the generator."""

    batch_size: int = setting(64, "Images per step.", within=_FROM_2, common=True)
    optimizer: Literal["adam", "rmsprop"] = setting("adam", "Optimizer of both networks.")
    lr_g: float = setting(2e-4, "Learning rate of G.", within=_FROM_0)
    lr_d: float = setting(2e-4, "Learning rate of D.", within=_FROM_0)
    lr_decay: float = setting(
        0.0, "Final share of the run over which both learning rates decay linearly to 0.", within=(0, 1)
    )
    beta1: float = setting(0.5, "Adam's β1.", within=_BELOW_1)
    beta2: float = setting(0.999, "Adam's β2; the smoothing constant of RMSprop.", within=_BELOW_1)
    ema: float = setting(
        0.999, "Decay per step of the moving average of G's weights, which is sampled and exported.", within=_BELOW_1
    )


@dataclass(frozen=True)
class RunSettings:
    """Length, hardware and records of a run."""

    images: int = setting(
        500_000, "Train until D has seen this many real images: 50000, 50k, 2M.", parse_count, within=_FROM_1,
        common=True, fixed=False,
    )  # fmt: skip
    epochs: float | None = setting(
        None, "Length of the run in passes over the data, instead of --images.", within=(0.001, math.inf), fixed=False
    )
    preset: str = setting(
        "", "Recipe by name; `gan-train presets` lists them. Other options override it.", common=True, fixed=False
    )
    seed: int = setting(0, "Random seed.", within=(0, 2**63 - 1))
    device: Literal["auto", "cuda", "cpu"] = setting("auto", "Device to train on.", common=True, fixed=False)
    precision: Literal["auto", "float32", "bfloat16"] = setting(
        "auto", "Precision of forward passes; auto is bfloat16 where the hardware supports it.", fixed=False
    )
    compile: bool = setting(False, "Use torch.compile; the first steps take minutes.", fixed=False)
    log_every: int = setting(5_000, "Images between rows of metrics.jsonl.", parse_count, within=_FROM_1, fixed=False)
    sample_every: int = setting(
        25_000, "Images between sample grids in samples/.", parse_count, within=_FROM_1, fixed=False
    )
    checkpoint_every: int = setting(50_000, "Images between checkpoints.", parse_count, within=_FROM_1, fixed=False)
    keep: int = setting(2, "Newest checkpoints to keep, beside best.pt.", within=_FROM_1, fixed=False)
    evaluate_every: int = setting(50_000, "Images between evaluations.", parse_count, within=_FROM_1, fixed=False)
    evaluate_samples: int = setting(2_000, "Samples per evaluation.", within=_FROM_2, fixed=False)
    metrics: tuple[str, ...] = setting(
        ("sliced_wasserstein",), "Metrics to evaluate, separated by commas; best.pt is chosen by the first.",
        parse_names, choices=tuple(METRICS), fixed=False,
    )  # fmt: skip
    tensorboard: bool = setting(False, "Write metrics and sample grids for TensorBoard too.", fixed=False)
