"""Settings: how they are parsed, checked and combined, and that every table agrees with what they offer."""

from dataclasses import fields
from typing import Any, get_args

import pytest

from gankit._errors import GankitError, UsageError
from gankit_train.config.config import SETTINGS, TOPICS, Config
from gankit_train.config.flags import format_flag, parse_count, parse_size
from gankit_train.config.presets import PRESETS, find_preset
from gankit_train.config.settings import Augmentation, LossName, Variant
from gankit_train.config.variants import VARIANTS, changed_settings, configure
from gankit_train.metrics.compute import FUNCTIONS
from gankit_train.metrics.table import METRICS
from gankit_train.training.augment import AUGMENTATIONS
from gankit_train.training.losses import LOSSES

# Parsing


@pytest.mark.parametrize(("text", "count"), [("64", 64), ("50k", 50_000), ("2M", 2_000_000), ("1.5k", 1500)])
def test_numbers_of_images_have_suffixes(text: str, count: int) -> None:
    assert parse_count(text) == count


def test_sizes_are_width_by_height() -> None:
    assert parse_size("64") == (64, 64) and parse_size("48x64") == (64, 48)


# Names


@pytest.mark.parametrize(
    ("table", "names"),
    [
        (LOSSES, get_args(LossName)),
        (AUGMENTATIONS, get_args(Augmentation)),
        (VARIANTS, get_args(Variant)),
        (FUNCTIONS, tuple(METRICS)),
    ],
    ids=["losses", "augmentations", "variants", "metrics"],
)
def test_a_table_has_exactly_the_names_that_the_settings_offer(table: dict[str, Any], names: tuple[str, ...]) -> None:
    assert tuple(table) == names


def test_the_choices_of_a_setting_are_those_of_its_type() -> None:
    assert SETTINGS["loss"].choices == get_args(LossName)
    assert SETTINGS["augment"].choices == get_args(Augmentation)
    assert SETTINGS["metrics"].choices == tuple(METRICS)
    assert SETTINGS["channels"].choices == (1, 3)


def test_setting_names_are_unique_over_all_topics() -> None:
    names = [field.name for topic in TOPICS.values() for field in fields(topic)]
    assert len(names) == len(set(names)) == len(SETTINGS)
    assert list(configure("dcgan").values()) == list(SETTINGS)


def test_variants_and_presets_use_known_settings() -> None:
    for name, settings in [*VARIANTS.items(), *((name, preset.settings) for name, preset in PRESETS.items())]:
        assert settings.keys() <= SETTINGS.keys(), name
    assert {preset.variant for preset in PRESETS.values()} <= set(VARIANTS)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_replaces_the_general_defaults_and_not_those_of_its_variant(name: str) -> None:
    preset = PRESETS[name]
    values = configure(preset.variant, preset=name).values()
    general = {setting.name: setting.default for setting in SETTINGS.values()}
    assert values == general | preset.settings | {"preset": name}


def test_a_given_number_of_images_replaces_the_epochs_of_a_preset() -> None:
    config = configure("vanilla", preset="mnist-mlp-tanh", images=640)
    assert config.run.images == 640 and config.run.epochs is None


def test_a_preset_of_another_variant_names_the_command() -> None:
    with pytest.raises(UsageError, match="a preset of wgan-gp: gan-train wgan-gp --preset celeba-wgan-gp"):
        find_preset("celeba-wgan-gp", "dcgan")


# Values that are not allowed


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"loss": "wasserstein"}, "--loss wasserstein needs --gradient-penalty, .* or --weight-clip"),
        ({"r1": 1.0}, "--d-norm none"),
        ({"loss": "hinge", "label_noise": 0.1}, "--label-noise has no effect with --loss hinge"),
        ({"dropout": 1.0}, "--dropout must be at least 0 and at most"),
        ({"critic_steps": 0}, "--critic-steps must be at least 1, not 0"),
        ({"g_widths": (0,)}, "--g-widths must be at least 1, not 0"),
        ({"network": "mlp", "g_kernels": (4,)}, "--g-kernels has no effect with --network mlp"),
        ({"augment": ("color", "flip")}, "--augment must be one of color, translation, cutout, not 'flip'"),
        ({"fit": "zoom"}, "--fit must be one of crop, pad, resize, not 'zoom'"),
        ({"packing": 3}, "--batch-size 64 must be a multiple of --packing 3"),
        ({"metrics": ("beauty",)}, r"--metrics must be one of sliced_wasserstein,.* not 'beauty'"),
        ({"metrics": ("diversity",)}, r"by the first of --metrics, which cannot be diversity"),
        ({"metrics": ()}, "by the first of --metrics, which cannot be empty"),
    ],
)
def test_settings_that_are_not_allowed_are_refused_by_name(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        configure("dcgan", **settings)


def test_an_unknown_loss_is_answered_with_all_losses() -> None:
    for name in LOSSES:
        configure("wgan-gp", loss=name)
    with pytest.raises(UsageError, match=f"--loss must be one of {', '.join(LOSSES)}, not"):
        configure("wgan-gp", loss="other")


def test_unknown_variants_and_settings_are_refused() -> None:
    with pytest.raises(UsageError, match="no variant 'biggan'; there are vanilla, dcgan, wgan-gp, cgan"):
        configure("biggan")
    with pytest.raises(UsageError, match="no setting 'colour'"):
        configure("dcgan", colour=1)


# As text and as JSON


def test_changed_settings_as_flags_make_the_same_configuration() -> None:
    config = configure("cgan", data="my pictures", size=(64, 48), attribute=("a b", "c"), d_widths=(4, 8), lr_d=2e-3)
    flags = " ".join(format_flag(*each) for each in changed_settings(config).items())
    assert flags == "--data 'my pictures' --size 48x64 --attribute 'a b' --attribute c --d-widths 4,8 --lr-d 0.002"
    assert configure("cgan", **changed_settings(config)) == config
    preset = configure("dcgan", preset="bricks-dcgan", seed=3)
    assert [format_flag(*each) for each in changed_settings(preset).items()] == ["--preset bricks-dcgan", "--seed 3"]
    resolved = configure("vanilla", preset="mnist-mlp-tanh").replace(epochs=None, images=640, lr_d=1.2345678e-4)
    assert {name: value for name, value in changed_settings(resolved).items() if value is not None} == {
        "images": 640,
        "preset": "mnist-mlp-tanh",
        "lr_d": 1.2345678e-4,
    }
    assert format_flag("lr_d", 1.2345678e-4) == "--lr-d 0.00012345678"


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_configuration_survives_json(variant: str) -> None:
    config = configure(variant, size=(32, 24), g_widths=(8, 4), metrics=("coverage", "ndb"))
    assert Config.from_json(config.to_json()) == config


@pytest.mark.parametrize("default", [0.5, None, "none", (), [], (1, 2)])
def test_an_unknown_setting_is_ignored_if_it_holds_the_default_of_its_version(default: Any) -> None:
    config = configure("dcgan", filters=4)
    stored = list(default) if isinstance(default, tuple) else default  # to_json writes tuples as lists
    document = config.to_json() | {"magic": stored}
    assert Config.from_json(document, {"magic": default}) == config
    with pytest.raises(GankitError, match="the setting magic = 'other' is unknown"):
        Config.from_json(document | {"magic": "other"}, {"magic": default})


def test_an_unknown_setting_without_a_known_default_is_refused() -> None:
    with pytest.raises(GankitError, match=r"the setting magic = 1 is unknown .* use the one that trained it"):
        Config.from_json(configure("dcgan").to_json() | {"magic": 1})


def test_settings_of_earlier_versions_are_renamed_or_removed() -> None:
    config = configure("dcgan", fit="resize", precision="bfloat16", metrics=("coverage",))
    document = config.to_json() | {"fit": "stretch", "precision": "bf16", "measures": ["coverage"]}
    document |= {"init_std": 0.02, "instance_noise_images": 200_000}
    del document["metrics"]
    assert Config.from_json(document) == config
    for name, value in (("init_std", 0.1), ("instance_noise_images", 1000)):
        with pytest.raises(GankitError, match=f"the setting {name} = {value} is unknown"):
            Config.from_json(document | {name: value})


def test_a_run_from_before_images_were_held_out_holds_none_out() -> None:
    document = configure("dcgan").to_json()
    del document["held_out"]
    assert Config.from_json(document).dataset.held_out == 0
