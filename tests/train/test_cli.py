"""`gan-train`: its help, its errors in one line, and its presets."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from gankit_train.config.config import SETTINGS
from gankit_train.config.flags import flag, format_value
from gankit_train.config.presets import PRESETS
from gankit_train.config.variants import VARIANTS, configure
from gankit_train.data.sources import BUILT_IN
from gankit_train.training.loop import train
from tests.helpers.commands import Command, refused
from tests.helpers.training import LineReporter

# Help


def help_text(command: Command, *words: str) -> str:
    """Returns the help of a command, without colours and frames."""
    result = command("gan-train", *words, "--help")
    assert result.returncode == 0, result.stderr
    return re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]", " ", result.stdout)


def find_option(text: str, name: str) -> re.Match[str]:
    """Finds the paragraph of a setting in a help text: it begins with the flag and ends before the next flag."""
    match = re.search(rf"^ *{flag(name)}(?![\w-]).*?(?=^ *--[a-z]|\Z)", text, re.MULTILINE | re.DOTALL)
    assert match, f"{flag(name)} is not in the help"
    return match


def default_of(text: str, name: str) -> str | None:
    """Reads the default of a setting from a help text."""
    paragraph = re.sub(r"-\s+(?=\w)", "-", find_option(text, name)[0])  # a hyphen at the end of a line
    match = re.search(r"default: (\S+?)\]?(?=\s|$)", " ".join(paragraph.split()))
    return match and match[1]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_help_of_a_variant_has_all_settings_with_its_own_defaults(command: Command, variant: str) -> None:
    text = help_text(command, variant)
    for name, value in configure(variant).values().items():
        if value in (None, (), "") or isinstance(value, bool):
            find_option(text, name)
        else:
            assert default_of(text, name) == format_value(name, value), name


def test_the_learning_rate_in_the_help_is_that_of_the_variant(command: Command) -> None:
    defaults = {variant: default_of(help_text(command, variant), "lr_g") for variant in ("dcgan", "cgan")}
    assert defaults == {"dcgan": "0.0002", "cgan": "0.001"}


def test_the_help_has_the_common_options_first(command: Command) -> None:
    text = help_text(command, "dcgan")
    at = {name: find_option(text, name).start() for name in (*SETTINGS, "out", "fresh")}
    common = {name for name, setting in SETTINGS.items() if setting.common} | {"out", "fresh"}
    assert {"data", "size", "images", "batch_size"} <= common
    assert max(at[name] for name in common) < min(at[name] for name in SETTINGS if name not in common)


def test_the_help_names_every_built_in_data_set_and_every_command(command: Command) -> None:
    paragraph = "".join(find_option(help_text(command, "dcgan"), "data")[0].split())
    assert all(name in paragraph for name in BUILT_IN)
    text = help_text(command)
    assert all(name in text for name in (*VARIANTS, "evaluate", "report", "presets"))


# Errors


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["dcgan", "--data", "nowhere"], 2, ["'nowhere'", "digits, bricks, avatars"]),
        (["dcgan", "--images", "many"], 2, ["'many'", "50k"]),
        (["dcgan", "--images", "0"], 2, ["--images must be at least 1"]),
        (["dcgan", "--images", "1k", "--epochs", "1"], 2, ["--images", "--epochs"]),
        (["dcgan", "--size", "big"], 2, ["'big'"]),
        (["dcgan", "--attribute", "x"], 2, ["--attribute", "cgan"]),
        (["dcgan", "--size", "0"], 2, ["0x0", "at least 6"]),
        (["dcgan", "--size", "5"], 2, ["5x5", "at least 6"]),
        (["dcgan", "--channels", "2"], 2, ["--channels must be one of 1, 3, not 2"]),
        (["dcgan", "--batch-size", "100000"], 2, ["--batch-size 100000", "5000 images"]),
        (["dcgan", "--batch-size", "1"], 2, ["--batch-size", "2"]),
        (["dcgan", "--ema", "1"], 2, ["--ema"]),
        (["dcgan", "--lr-g", "nan"], 2, ["--lr-g"]),
        (["dcgan", "--precision", "fp8"], 2, ["--precision", "bfloat16"]),
        (["dcgan", "--out", "file/run"], 1, ["cannot write"]),
        (["vanilla", "--preset", "mnist-mlp-tahn"], 2, ["'mnist-mlp-tahn'", "mnist-mlp-tanh", "gan-train presets"]),
        (["dcgan", "--preset", "celeba-wgan-gp"], 2, ["a preset of wgan-gp", "gan-train wgan-gp --preset"]),
        (["dcgan", "--size", "27", "--g-kernels", "5"], 2, ["27 pixels", "use 24 or 32"]),
        (["dcgan", "--g-widths", "a,b"], 2, ["'a,b'", "256,512"]),
        (["dcgan", "--packing", "7"], 2, ["--batch-size 64", "--packing 7"]),
        (["dcgan", "--packing", "64"], 2, ["--batch-size 64", "--packing 64"]),
        (["dcgan", "--seed", "18446744073709551616"], 2, ["--seed"]),
        (["dcgan", "--lr-g", "inf"], 2, ["--lr-g"]),
    ],
)
def test_wrong_use_is_one_clear_line(
    command: Command, tmp_path: Path, arguments: list[str], code: int, words: list[str]
) -> None:
    (tmp_path / "file").write_text("")
    refused(command("gan-train", *arguments), code, *words)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_an_unknown_variant_is_refused(command: Command) -> None:
    refused(command("gan-train", "biggan"), 2, "biggan")


def test_cgan_without_labels_is_refused(command: Command, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "plain" / "0.png")
    refused(command("gan-train", "cgan", "--data", "plain"), 2, "needs labels", "folder of its own")


def test_cuda_never_falls_back_to_the_cpu(command: Command) -> None:
    if torch.cuda.is_available():
        assert "NVIDIA" in command("gan-train", "dcgan", "--device", "cuda", "--dry-run").stderr
    else:
        refused(command("gan-train", "dcgan", "--device", "cuda"), 1, "--device cuda is not available")


# Presets


def test_presets_are_listed_and_options_override_them(command: Command) -> None:
    listed = command("gan-train", "presets").stdout.splitlines()
    assert [line.split()[0] for line in listed] == list(PRESETS) and all(len(line) > 50 for line in listed)
    line = ["gan-train", "vanilla", "--preset", "mnist-mlp-tanh", "--data", "digits", "--lr-d", "0.001"]
    shown = command(*line, "--dry-run").stderr
    assert "settings  preset mnist-mlp-tanh\n" in shown
    assert re.search(r"lr_d +0.001  \(default 0.0002\)", shown)
    assert PRESETS["mnist-mlp-tanh"].caveat in shown
    assert "run       runs/mnist-mlp-tanh-digits-28" in shown


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_takes_a_step(name: str, tmp_path: Path) -> None:
    preset = PRESETS[name]
    for i in range(8):
        path = tmp_path / "pictures" / ("blond_hair", "other")[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (70, 64), (30 * i, 20, 90)).save(path)
    overrides: dict[str, Any] = {
        "data": str(tmp_path / "pictures"),
        "batch_size": 4,
        "precision": "float32",
        "images": 4,
        "metrics": ("sliced_wasserstein",),  # those of labels need more images
    }
    config = configure(preset.variant, preset=name, **overrides)
    reporter = LineReporter()
    train(config, reporter, tmp_path / "run", dry_run=True)
    assert "dry run" in reporter.lines[-1]
    assert config.run.epochs is None and config.run.images == 4  # given options replace the preset's length
    values = config.values()
    assert all(values[key] == value for key, value in preset.settings.items() if key not in {*overrides, "epochs"})
