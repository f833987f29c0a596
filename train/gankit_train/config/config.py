"""The configuration of a run: all settings together, their checks, and their form in files. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from gankit._errors import GankitError, UsageError
from gankit_train.config.flags import flag
from gankit_train.config.settings import (
    DatasetSettings,
    NetworkSettings,
    ObjectiveSettings,
    OptimisationSettings,
    RunSettings,
    Setting,
    Variant,
)
from gankit_train.metrics.table import METRICS


@dataclass(frozen=True)
class Config:
    """All settings of a run, by topic. Names are unique over all topics."""

    variant: Variant
    dataset: DatasetSettings = field(default_factory=DatasetSettings)
    networks: NetworkSettings = field(default_factory=NetworkSettings)
    objective: ObjectiveSettings = field(default_factory=ObjectiveSettings)
    optimisation: OptimisationSettings = field(default_factory=OptimisationSettings)
    run: RunSettings = field(default_factory=RunSettings)

    def __post_init__(self) -> None:
        """Raises UsageError for a value or a combination that is not allowed; the message names the flag."""
        if self.variant not in get_args(Variant):
            raise UsageError(f"there is no variant {self.variant!r}; there are {', '.join(get_args(Variant))}")
        for name, value in self.values().items():
            SETTINGS[name].check(value)
        _check_combinations(self)

    @property
    def conditional(self) -> bool:
        """Whether both networks receive labels."""
        return self.variant == "cgan"

    def values(self) -> dict[str, Any]:
        """Returns all settings by name, without the variant."""
        topics = (self.dataset, self.networks, self.objective, self.optimisation, self.run)
        return {name: value for topic in topics for name, value in vars(topic).items()}

    @classmethod
    def from_values(cls, variant: str, values: Mapping[str, Any]) -> Config:
        """Makes a configuration of settings by name; those that are missing have their general defaults."""
        if unknown := values.keys() - SETTINGS.keys():
            raise UsageError(f"there is no setting {min(unknown)!r}")
        topics = {
            topic: kind(**{name: value for name, value in values.items() if SETTINGS[name].topic == topic})
            for topic, kind in TOPICS.items()
        }
        return cls(variant, **topics)  # type: ignore[arg-type]  # checked in __post_init__

    def replace(self, **changes: Any) -> Config:
        """Returns a copy with other values of some settings, given by name."""
        return self.from_values(self.variant, self.values() | changes)

    def to_json(self) -> dict[str, Any]:
        """Returns a flat document of the variant and all settings, for JSON and checkpoints."""
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in self.values().items()}
        return {"variant": self.variant, **values}

    @classmethod
    def from_json(cls, document: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> Config:
        """Reads a document of `to_json`, of this version or another.

        Args:
            document: the settings. Those that this version does not know are ignored if they hold their default.
            defaults: the general defaults of the version that wrote the document, where they are known.

        Raises:
            GankitError: an unknown setting has another value than its default.
        """
        values = _lists_to_tuples(document)
        variant = values.pop("variant")
        for old, new in _RENAMED.items():
            if old in values:
                values[new] = values.pop(old)
        for name, (old, new) in _RENAMED_VALUES.items():
            values[name] = new if values.get(name) == old else values.get(name, SETTINGS[name].default)
        known_defaults = _REMOVED | _lists_to_tuples(defaults or {})
        for name in [name for name in values if name not in SETTINGS]:
            value = values.pop(name)
            if name not in known_defaults or known_defaults[name] != value:
                raise GankitError(
                    f"the setting {name} = {value!r} is unknown to this version of gankit: use the one that trained it"
                )
        values.setdefault("held_out", 0)  # of a run that began before this setting existed
        return cls.from_values(variant, values)


def _lists_to_tuples(document: Mapping[str, Any]) -> dict[str, Any]:
    """Undoes what JSON does to the values of settings."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in document.items()}


TOPICS: dict[str, type] = {
    "dataset": DatasetSettings,
    "networks": NetworkSettings,
    "objective": ObjectiveSettings,
    "optimisation": OptimisationSettings,
    "run": RunSettings,
}
"""The dataclass of each field of `Config`."""

_RENAMED = {"measures": "metrics"}
_RENAMED_VALUES = {"fit": ("stretch", "resize"), "precision": ("bf16", "bfloat16")}
_REMOVED = {"init_std": 0.02, "instance_noise_images": 200_000}
"""Settings of earlier versions, with the defaults that they had."""


def _literals(kind: Any) -> tuple[Any, ...]:
    """Returns the values of a Literal, or of the Literal inside an optional or a tuple type."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    return next((found for each in get_args(kind) if (found := _literals(each))), ())


def _settings(topic: str, kind: type) -> Iterator[Setting]:
    types = get_type_hints(kind)
    for each in fields(kind):
        declared, type_ = each.metadata["setting"], types[each.name]
        choices = declared.choices or _literals(type_)
        yield replace(declared, name=each.name, topic=topic, type=type_, default=each.default, choices=choices)


SETTINGS = {each.name: each for topic, kind in TOPICS.items() for each in _settings(topic, kind)}
"""Every setting by name."""


def _check_combinations(config: Config) -> None:
    """Raises UsageError for settings that exclude each other."""
    networks, objective, metrics = config.networks, config.objective, config.run.metrics
    if config.dataset.attribute and not config.conditional:
        raise UsageError(f"--attribute needs a conditional variant, and {config.variant} is not: use cgan")
    if networks.network == "mlp":
        for name in ("g_kernels", "d_kernels", "g_strides", "d_strides", "upsample"):
            if config.values()[name]:
                raise UsageError(f"{flag(name)} has no effect with --network mlp, which has no convolutions")
    batch, packing = config.optimisation.batch_size, networks.packing
    if batch % packing or batch < 2 * packing:
        raise UsageError(f"--batch-size {batch} must be a multiple of --packing {packing}, twice at least")
    if objective.loss == "wasserstein" and not objective.gradient_penalty and not objective.weight_clip:
        raise UsageError("--loss wasserstein needs --gradient-penalty, such as 10, or --weight-clip, such as 0.01")
    if networks.d_norm == "batch" and objective.has_gradient_penalty:
        raise UsageError(
            "gradient penalties are defined for single images, but batch normalisation mixes them: add --d-norm none"
        )
    if not metrics or METRICS[metrics[0]].better == "close to real":
        ranked = ", ".join(name for name, metric in METRICS.items() if metric.better != "close to real")
        raise UsageError(
            f"best.pt is chosen by the first of --metrics, which cannot be {metrics[0] if metrics else 'empty'}: "
            f"begin with one of {ranked}"
        )
    if objective.loss not in ("non-saturating", "minimax"):
        for name in ("label_smoothing", "label_noise", "label_flips"):
            if config.values()[name]:
                raise UsageError(f"{flag(name)} has no effect with --loss {objective.loss}, which has no targets")
