"""Symptoms of failing runs: reported once they have lasted, with options that can be given, and never on good runs."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gankit_train import cli
from gankit_train.config.config import SETTINGS, Config
from gankit_train.config.flags import flag
from gankit_train.config.presets import PRESETS
from gankit_train.config.variants import VARIANTS, configure
from gankit_train.evaluation.diagnosis import SYMPTOMS, Finding, Row, _flags, diagnose, read_rows
from tests.helpers.training import write_metrics

GOOD: Row = {
    "loss_d": 1.0, "accuracy_real": 0.8, "accuracy_fake": 0.8, "score_fake": -1.0, "batch_diversity": 0.95,
    "gradient_fake": 1.0, "held_out_score_gap": 0.1,
}  # fmt: skip
FAILING: dict[str, list[Row]] = {
    "D too strong": [{"loss_d": 0.001, "accuracy_real": 1.0, "accuracy_fake": 0.999}] * 30,
    "mode collapse": [{"batch_diversity": 0.1}] * 30,
    "divergence": [{"gradient_fake": 20.0 * 2**i} for i in range(30)],
    "oscillation": [{"loss_d": 1 + 0.05 * (-1.3) ** i} for i in range(30)],
    "discriminator overfitting": [{"held_out_score_gap": 0.9}] * 30,
}
EVERY = 5000  # images between two rows


def make_rows(changes: list[Row], begin: int = 0) -> list[Row]:
    return [{"images": EVERY * (begin + i + 1)} | GOOD | change for i, change in enumerate(changes)]


def diagnose_each(rows: list[Row], config: Config) -> list[list[Finding]]:
    """Diagnoses after each row and writes the findings into it, as a run does."""
    found = []
    for n in range(1, len(rows) + 1):
        found.append(diagnose(rows[:n], config))
        rows[n - 1]["diagnosis"] = [each.to_json() for each in found[-1]]
    return found


@pytest.mark.parametrize("symptom", SYMPTOMS)
def test_a_symptom_is_reported_once_it_has_lasted(symptom: str) -> None:
    config = configure("dcgan")
    rows = make_rows([{}] * 10) + make_rows(FAILING[symptom], 10) + make_rows([{}] * 25, 40)
    findings = [[each for each in after if each.symptom == symptom] for after in diagnose_each(rows, config)]
    first = next(n for n, found in enumerate(findings) if found)
    (finding,) = findings[first]
    required = SYMPTOMS[symptom].updates * config.optimisation.batch_size  # in images
    assert finding.since > 10 * EVERY and 0 <= rows[first]["images"] - finding.since - required < EVERY
    assert str(finding).startswith(f"since image {finding.since:,}: ") and "; try --" in str(finding)
    assert all(found and found[0].since == finding.since for found in findings[first:40])  # as long as it lasts
    assert not findings[-1]


@pytest.mark.parametrize("symptom", ["D too strong", "mode collapse", "discriminator overfitting"])
@pytest.mark.parametrize(("every", "at"), [(64, 38_464), (5_000, 40_000), (50_000, 100_000)])
def test_generator_updates_are_counted_and_not_rows(symptom: str, every: int, at: int) -> None:
    # The first 300 updates of 64 images are ignored; then as many must show the symptom, in at least two rows.
    config, row = configure("dcgan"), GOOD | FAILING[symptom][0]
    rows = [row | {"images": every * (i + 1)} for i in range(max(3, 40_000 // every))]
    assert next(rows[n - 1]["images"] for n in range(1, 10_000) if diagnose(rows[:n], config)) == at
    slow = config.replace(batch_size=512, critic_steps=5)  # 15 updates of G in 40,000 images
    assert not diagnose(rows[: 40_000 // every], slow)


def test_a_good_run_has_no_symptoms() -> None:
    random = np.random.default_rng(0)
    rows = make_rows([{name: value * random.uniform(0.8, 1.05) for name, value in GOOD.items()} for _ in range(200)])
    # At the beginning, G generates a single grey image and D is right about everything.
    for row, diversity in zip(rows, (0.05, 0.2, 0.4, 0.6), strict=False):
        row |= {"batch_diversity": diversity, "accuracy_real": 1.0, "accuracy_fake": 1.0, "loss_d": 0.01}
    assert not any(diagnose_each(rows, configure("dcgan")))
    # A loss that only grows does not oscillate.
    growing = make_rows([{"loss_d": 1.1**i} for i in range(60)])
    assert not any(diagnose_each(growing, configure("dcgan")))


def test_a_critic_with_gradient_penalty_diverges_where_its_gradient_is_large_from_the_start() -> None:
    config = configure("wgan-gp")  # whose penalty keeps the gradient near 1
    for gradient, symptoms in ((5.0, []), (50.0, ["divergence"])):
        rows = [{"images": 5000 * (i + 1), "gradient_fake": gradient} for i in range(60)]
        assert [finding.symptom for finding in diagnose(rows, config)] == symptoms


def test_the_consequence_of_a_symptom_is_not_reported_beside_it() -> None:
    strong, overfitting = FAILING["D too strong"][0], FAILING["discriminator overfitting"][0]
    for change, symptom in (
        (strong | {"batch_diversity": 0.1}, "D too strong"),
        (strong | overfitting, "discriminator overfitting"),
    ):
        findings = diagnose(make_rows([change] * 20), configure("dcgan"))
        assert [finding.symptom for finding in findings] == [symptom]


CONFIGS = {name: configure(name) for name in VARIANTS}
CONFIGS |= {name: configure(preset.variant, preset=name) for name, preset in PRESETS.items()}
STRENGTHS = ("dropout", "packing", "instance_noise", "r1", "r2", "gradient_penalty")


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("symptom", SYMPTOMS)
def test_remedies_are_options_of_the_command_and_weaken_nothing(symptom: str, name: str) -> None:
    config, values = CONFIGS[name], CONFIGS[name].values()
    flags = _flags(SYMPTOMS[symptom], config)
    remedies: list[dict[str, Any]] = [
        remedy
        for remedy in SYMPTOMS[symptom].remedies(config)
        if any(value != values[key] for key, value in remedy.items())
    ]
    assert flags and len(flags) >= len(remedies) - 1
    for remedy in remedies:
        assert all(value >= values[key] for key, value in remedy.items() if key in STRENGTHS)
    command = next(each.callback for each in cli.app.registered_commands if each.name == config.variant)
    assert command is not None
    options = {flag(each) for each in inspect.signature(command).parameters}
    assert {word for each in flags for word in each.split() if word.startswith("--")} <= options
    if symptom in ("D too strong", "divergence", "discriminator overfitting"):
        assert all(remedy["lr_d"] < config.optimisation.lr_d for remedy in remedies if "lr_d" in remedy)
    assert all(key in SETTINGS for remedy in remedies for key in remedy)


def test_rows_of_earlier_versions_are_read_with_todays_names(tmp_path: Path) -> None:
    old = {"sign": "known by heart", "since": 64, "what": "D knows its images", "try": ["--dropout 0.3"]}
    collapse = {"sign": "collapse", "since": 64, "what": "G has collapsed", "try": []}
    strong = {"sign": "D too strong", "since": 64, "what": "D is too strong", "try": []}
    write_metrics(tmp_path, [{"images": 64, "memory": 0.6}, {"images": 128, "diagnosis": [old, collapse, strong]}])
    first, second = read_rows(tmp_path)
    assert first == {"images": 64, "held_out_score_gap": 0.6}
    assert [each["symptom"] for each in second["diagnosis"]] == [
        "discriminator overfitting",
        "mode collapse",
        "D too strong",
    ]
    finding = second["diagnosis"][0]
    assert (finding["since"], finding["message"], finding["try"]) == (64, "D knows its images", ["--dropout 0.3"])


def test_truncated_rows_are_skipped(tmp_path: Path) -> None:
    write_metrics(tmp_path, [{"images": 64, "loss_d": 1.0}])
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('[]\n{"loss_d": 1}\n{"images": "many"}\n{"images": 128, "loss_')
    assert read_rows(tmp_path) == [{"images": 64, "loss_d": 1.0}]
    assert read_rows(tmp_path / "nowhere") == []
