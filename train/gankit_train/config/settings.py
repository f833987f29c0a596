"""The settings of a run: small dataclasses by topic, from which `gan-train` also makes its options. Needs no torch."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from gankit._errors import UsageError
from gankit_train.config.flags import flag, parse_count, parse_ints, parse_names, parse_size
from gankit_train.metrics.table import METRICS

T = TypeVar("T")
Ints = tuple[int, ...]
Range = tuple[float, float]

Variant = Literal["vanilla", "dcgan", "wgan-gp", "cgan"]
Activation = Literal["relu", "leaky-relu", "elu", "silu"]
LossName = Literal["non-saturating", "minimax", "wasserstein", "hinge", "relativistic"]
Augmentation = Literal["color", "translation", "cutout"]

_FROM_0, _FROM_1, _FROM_2 = (0, math.inf), (1, math.inf), (2, math.inf)
_BELOW_1 = (0, 0.99999)


@dataclass(frozen=True)
class Setting:
    """What is known of a setting; the last four follow from its field."""

    help: str
    within: Range | None = None  # smallest and largest value, of each element of a tuple; None is always allowed
    parse: Callable[[Any], Any] | None = None  # reads the text of the option, where its type does not say how
    choices: tuple[Any, ...] = ()  # allowed values; for a Literal they follow from the type
    common: bool = False  # whether most users need it, so that --help shows it first
    fixed: bool = True  # whether a run can only be resumed with the same value
    name: str = ""
    topic: str = ""  # field of Config
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


def setting(default: T, help: str, within: Range | None = None, parse: Any = None, **known: Any) -> T:  # noqa: A002
    """Declares a setting as a field of a dataclass, with its default for all variants and what is `known` of it."""
    return field(default=default, metadata={"setting": Setting(help, within, parse, **known)})


@dataclass(frozen=True)
class DatasetSettings:
    """Which images the discriminator sees."""

    data: str = setting(
        "digits", "Training data: digits, bricks, avatars, mnist, fashion-mnist, cifar10, celeba, stacked-mnist[:PATH],"
        " or the path of a folder, .zip, .npy or .npz.", common=True, fixed=False)  # fmt: skip
    size: tuple[int, int] | None = setting(
        None, "Image size: 64, or WIDTHxHEIGHT. [default: the data's own]", parse=parse_size, common=True
    )
    channels: Literal[1, 3] | None = setting(None, "1 for grey, 3 for colour. [default: as the data]")
    fit: Literal["crop", "pad", "resize"] = setting("crop", "How images of another aspect ratio are fitted.")
    horizontal_flips: bool = setting(False, "Flip every image horizontally with probability 0.5.")
    attribute: tuple[str, ...] = setting((), "Label to condition on, by a part of its name; repeatable. [default: all]")
    held_out: int | None = setting(
        None, "Images held out of training, to detect overfitting of D. [default: 2 %, from 16 to 128]", _FROM_0
    )


@dataclass(frozen=True)
class NetworkSettings:
    """Generator (G) and discriminator (D)."""

    z_dim: int = setting(100, "Dimension of the latent vector z.", _FROM_1)
    network: Literal["conv", "mlp"] = setting("conv", "Convolutional or fully connected networks.")
    filters: int = setting(64, "Base channels, doubled at each stage, at most 8 times.", _FROM_1)
    g_widths: Ints = setting((), "Channels of G from z to image, as 512,256,128; units for mlp.", _FROM_1, parse_ints)
    d_widths: Ints = setting((), "Channels of D from image to score; units for mlp.", _FROM_1, parse_ints)
    g_kernels: Ints = setting((), "Kernel sizes of G: one, or one per layer. [default: 4]", _FROM_1, parse_ints)
    d_kernels: Ints = setting((), "Kernel sizes of D: one, or one per layer. [default: 4]", _FROM_1, parse_ints)
    g_strides: Ints = setting((), "Strides of G: one, or one per layer. [default: 2]", _FROM_1, parse_ints)
    d_strides: Ints = setting((), "Strides of D: one, or one per layer. [default: 2]", _FROM_1, parse_ints)
    upsample: bool = setting(False, "Nearest-neighbour upsampling and convolutions in G, not transposed convolutions.")
    output: Literal["tanh", "sigmoid"] = setting("tanh", "Output activation of G; sigmoid scales images to [0, 1].")
    g_activation: Activation = setting("relu", "Activation in G.")
    d_activation: Activation = setting("leaky-relu", "Activation in D.")
    leak: float = setting(0.2, "Negative slope of leaky-relu.", _FROM_0)
    bias: bool = setting(True, "Biases in layers without normalisation.")
    init: Literal["auto", "normal", "he", "xavier", "torch"] = setting(
        "auto", "Weight initialisation: normal is N(0, 0.02), torch keeps PyTorch's; auto is normal for convolutional "
        "networks with batch normalisation, he for others.")  # fmt: skip
    g_norm: Literal["batch", "none"] = setting("batch", "Normalisation in G.")
    d_norm: Literal["batch", "spectral", "none"] = setting("batch", "Normalisation in D.")
    dropout: float = setting(0.0, "Dropout probability in D.", _BELOW_1)
    packing: int = setting(1, "Images that D scores together, against mode collapse (Lin et al. 2018).", _FROM_1)

    @property
    def value_range(self) -> tuple[float, float]:
        """Black and white as the networks represent them: G's output and D's input."""
        return (0.0, 1.0) if self.output == "sigmoid" else (-1.0, 1.0)


@dataclass(frozen=True)
class ObjectiveSettings:
    """Adversarial loss, penalties, and what stabilises them."""

    loss: LossName = setting("non-saturating", "Adversarial loss.")
    critic_steps: int = setting(1, "Discriminator steps per generator step.", _FROM_1)
    gradient_penalty: float = setting(
        0.0, "Weight λ of the WGAN-GP gradient penalty (Gulrajani et al. 2017); 0 disables it.", _FROM_0
    )
    weight_clip: float = setting(
        0.0, "Clip D's weights to this absolute value (Arjovsky et al. 2017: 0.01); 0 disables it.", _FROM_0
    )
    r1: float = setting(0.0, "Weight γ of R1, on real images (Mescheder et al. 2018); 0 disables it.", _FROM_0)
    r2: float = setting(0.0, "Weight γ of R2, the same penalty on fake images; 0 disables it.", _FROM_0)
    label_smoothing: float = setting(
        0.0, "One-sided label smoothing: D's target for real images is 1 minus this (Salimans et al. 2016).", (0, 0.5)
    )
    label_noise: float = setting(
        0.0, "Move D's targets inwards by U(0, this); a negative value moves them outwards.", (-0.5, 0.5)
    )
    label_flips: float = setting(0.0, "Probability of swapping D's target of an image.", (0, 0.5))
    instance_noise: float = setting(
        0.0, "Standard deviation of noise on D's input, decaying to 0 over 200,000 images (Sønderby et al. 2017).",
        _FROM_0)  # fmt: skip
    augment: tuple[Augmentation, ...] = setting(
        (), "DiffAugment on the discriminator input (Zhao et al. 2020), separated by commas.", parse=parse_names
    )

    @property
    def has_gradient_penalty(self) -> bool:
        """Whether D's loss contains the gradient of its scores, so that training needs second derivatives."""
        return self.gradient_penalty > 0 or self.r1 > 0 or self.r2 > 0


@dataclass(frozen=True)
class OptimisationSettings:
    """Batches, optimizers and the moving average of the generator."""

    batch_size: int = setting(64, "Images per step.", _FROM_2, common=True)
    optimizer: Literal["adam", "rmsprop"] = setting("adam", "Optimizer of both networks.")
    lr_g: float = setting(2e-4, "Learning rate of G.", _FROM_0)
    lr_d: float = setting(2e-4, "Learning rate of D.", _FROM_0)
    lr_decay: float = setting(0.0, "Final share of the run in which both learning rates decay linearly to 0.", (0, 1))
    beta1: float = setting(0.5, "Adam's β1.", _BELOW_1)
    beta2: float = setting(0.999, "Adam's β2; the smoothing constant of RMSprop.", _BELOW_1)
    ema: float = setting(0.999, "Decay per step of G's averaged weights, which are sampled and exported.", _BELOW_1)


@dataclass(frozen=True)
class RunSettings:
    """Length, hardware and records of a run."""

    images: int = setting(
        500_000, "Train until D has seen this many real images: 50000, 50k, 2M.", _FROM_1, parse_count, common=True,
        fixed=False)  # fmt: skip
    epochs: float | None = setting(
        None, "Length of the run in passes over the data, instead of --images.", (0.001, math.inf), fixed=False
    )
    preset: str = setting(
        "", "Recipe by name; `gan-train presets` lists them. Other options override it.", common=True, fixed=False
    )
    seed: int = setting(0, "Random seed.", (0, 2**63 - 1))
    device: Literal["auto", "cuda", "cpu"] = setting("auto", "Device to train on.", common=True, fixed=False)
    precision: Literal["auto", "float32", "bfloat16"] = setting(
        "auto", "Precision of forward passes; auto is bfloat16 where the hardware supports it.", fixed=False
    )
    compile: bool = setting(False, "Use torch.compile; the first steps take minutes.", fixed=False)
    log_every: int = setting(5_000, "Images between rows of metrics.jsonl.", _FROM_1, parse_count, fixed=False)
    sample_every: int = setting(25_000, "Images between sample grids in samples/.", _FROM_1, parse_count, fixed=False)
    checkpoint_every: int = setting(50_000, "Images between checkpoints.", _FROM_1, parse_count, fixed=False)
    keep: int = setting(2, "Newest checkpoints to keep, beside best.pt.", _FROM_1, fixed=False)
    evaluate_every: int = setting(50_000, "Images between evaluations.", _FROM_1, parse_count, fixed=False)
    evaluate_samples: int = setting(2_000, "Samples per evaluation.", _FROM_2, fixed=False)
    metrics: tuple[str, ...] = setting(
        ("sliced_wasserstein",), "Metrics to evaluate, separated by commas; best.pt is chosen by the first.",
        parse=parse_names, choices=tuple(METRICS), fixed=False)  # fmt: skip
    tensorboard: bool = setting(False, "Write metrics and sample grids for TensorBoard too.", fixed=False)
