"""Trains the presets of the texts and the defaults of the variants for a while, and makes `docs/recipes.md` of them.

python -m tools.recipes train DATA    # DATA: a folder with mnist.zip, bricks.zip and avatars.zip (CelebA's layout)
python -m tools.recipes page          # writes the page and its pictures
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gankit_train.config.presets import OURS, PRESETS
from gankit_train.config.variants import VARIANTS
from gankit_train.evaluation.diagnosis import Row, read_rows
from tools.pages import DOCS, new_figure, plot_metric, save_samples

PICTURES = DOCS / "recipes"
RUNS = Path("runs/recipes")


@dataclass(frozen=True)
class Trial:
    """One run of the page."""

    name: str
    """Name of a preset or a variant, or another name for a setting that the page warns of."""
    arguments: str
    """Of gan-train."""
    remarks: str
    """What the samples show."""


TRIALS = [
    Trial(
        "vanilla",
        "vanilla --data mnist.zip --images 300k",
        "Digits of all ten classes. A few have speckle, which disappears with more images (see Image quality).",
    ),
    Trial(
        "mnist-one-hidden",
        "vanilla --preset mnist-one-hidden --data mnist.zip --images 1M",
        "Clouds of dots in the outline of a digit: one layer of 128 units cannot relate the pixels to each other.",
    ),
    Trial(
        "mnist-mlp-sigmoid",
        "vanilla --preset mnist-mlp-sigmoid --data mnist.zip --images 1200k",
        "Dim eights, nines and threes. At a learning rate of 1e-5, this is a tenth of the text's training.",
    ),
    Trial(
        "mnist-mlp-tanh",
        "vanilla --preset mnist-mlp-tanh --data mnist.zip --images 600k",
        "Grey smears and speckle, many of them similar. This is 10 of the text's 300 epochs.",
    ),
    Trial(
        "mnist-mlp-minimax",
        "vanilla --preset mnist-mlp-minimax --data mnist.zip --images 600k",
        "The same noise in every image. D was confident within one epoch: its loss is 0 and G's gradient has vanished.",
    ),
    Trial("dcgan", "dcgan --data mnist.zip --images 120k", "Clean digits. A few are between two classes."),
    Trial(
        "camel-28-rmsprop",
        "dcgan --preset camel-28-rmsprop --data mnist.zip --images 80k",
        "Clear digits: convolutions reach in 80,000 images what fully connected layers do not reach in 600,000.",
    ),
    Trial(
        "camel-28-rmsprop-0.008",
        "dcgan --preset camel-28-rmsprop --lr-d 0.008 --data mnist.zip --images 20k",
        "Broken strokes. D's loss rose to 22 at once. Then D gave nearly all images the same score and G learned "
        "little.",
    ),
    Trial(
        "bricks-dcgan",
        "dcgan --preset bricks-dcgan --data bricks.zip --images 40k",
        "Dark lumps on white, with checkerboard artefacts. This is 4 of the text's 300 epochs.",
    ),
    Trial(
        "bricks-upsample",
        "dcgan --preset bricks-upsample --data bricks.zip --images 40k",
        "Similar lumps with straight edges, with faint stripes instead of checkerboard artefacts.",
    ),
    Trial(
        "cgan",
        "cgan --data avatars.zip --size 32 --images 200k",
        "Faces with the requested hair, glasses and smile in each row. In a column the person stays the same.",
    ),
    Trial(
        "celeba-blond-cgan",
        "cgan --preset celeba-blond-cgan --attribute blond --data avatars.zip --images 40k",
        "Noise with a dark centre. This is 104 steps of G at 5e-5; the text takes about 25,000.",
    ),
    Trial(
        "wgan-gp",
        "wgan-gp --data avatars.zip --size 32 --images 100k",
        "Faces with beards, hats and glasses. The backgrounds are still cloudy.",
    ),
    Trial(
        "celeba-wgan-gp",
        "wgan-gp --preset celeba-wgan-gp --batch-size 64 --data avatars.zip --images 40k",
        "Hair, faces and shoulders begin to appear behind a fine grid pattern. This is 208 steps of G.",
    ),
    Trial(
        "celeba-wgan-gp-paper",
        "wgan-gp --preset celeba-wgan-gp-paper --data avatars.zip --images 40k",
        "Brown and pale patches where hair and faces belong. This is 125 steps of G, at half the learning rate.",
    ),
    Trial(
        "celeba-wgan-clip",
        "wgan-gp --preset celeba-wgan-clip --data avatars.zip --images 40k",
        "A woven pattern, at best darker in the centre: weight clipping with a learning rate of 5e-5 learns slowest.",
    ),
]


def train(data: Path) -> None:
    """Trains all runs, one after the other; finished runs are skipped."""
    program = Path(sys.executable).parent / "gan-train"
    for trial in TRIALS:
        arguments = [str(data / each) if each.endswith(".zip") else each for each in trial.arguments.split()]
        command = [str(program), *arguments, "--out", str(RUNS / trial.name), "--log-every", "2000"]
        command += ["--sample-every", "10M", "--evaluate-every", "20k", "--keep", "1"]
        subprocess.run(command, check=True)


_HEAD = """# Recipes

This page shows every preset that follows a text, and the defaults of every variant. Each was trained on real data, on
two CPU cores, for the number of images that the table gives. That is a small part of what the texts require: the page
shows how a recipe begins, not where it ends. The recipes for CelebA ran on 9,000 drawn faces in CelebA's layout, and
the recipe for camels on MNIST. The samples are not selected: they belong to the first latents of seed 0.
`python -m tools.recipes` makes this page.
"""
_NOTES = (
    "The distance is the sliced Wasserstein distance at the last evaluation. It is only comparable between runs on the "
    "same data and image size; two halves of the data have a distance of about 0.02.\n"
)


def page() -> None:
    """Writes the page, with a sample grid and the curves of each run."""
    assert {*PRESETS, *VARIANTS} - {*OURS} <= {trial.name for trial in TRIALS}
    PICTURES.mkdir(exist_ok=True)
    sections = [_section(trial) for trial in TRIALS]
    (DOCS / "recipes.md").write_text("\n".join([_HEAD, _table(), _NOTES, *sections]))


def _table() -> str:
    lines = ["| recipe | images | distance to the data | samples |", "|---|---|---|---|"]
    for trial in TRIALS:
        rows = read_rows(RUNS / trial.name)
        distances = [row["sliced_wasserstein"] for row in rows if "sliced_wasserstein" in row]
        link = f"[{trial.name}](#{trial.name.replace('.', '')})"
        lines.append(f"| {link} | {rows[-1]['images']:,} | {distances[-1]:.2f} | {trial.remarks} |")
    return "\n".join(lines) + "\n"


def _section(trial: Trial) -> str:
    rows = read_rows(RUNS / trial.name)
    save_samples(RUNS / trial.name, PICTURES / f"{trial.name}.png")
    _draw_curves(rows, PICTURES / f"{trial.name}-curves.png")
    return "\n\n".join(
        [
            f"## {trial.name}",
            *describe(trial.name),
            f"`gan-train {trial.arguments}`, trained on {rows[-1]['images']:,} images.",
            trial.remarks,
            f"![Samples](recipes/{trial.name}.png)",
            f"![Curves](recipes/{trial.name}-curves.png)\n",
        ]
    )


def describe(name: str) -> list[str]:
    """Returns paragraphs about a preset, or about the defaults of a variant."""
    if name in VARIANTS:
        return ["The defaults of the variant."]
    if name not in PRESETS:
        return []
    preset = PRESETS[name]
    caveat = [f"Caveat: {preset.caveat}."] if preset.caveat else []
    return [f"{preset.about[0].upper()}{preset.about[1:]}.", *caveat]


def _draw_curves(rows: Sequence[Row], path: Path) -> None:
    """Draws losses, scores, accuracies, gradient norms and the distance to the data."""
    panels = {
        "loss": ["loss_d", "loss_g"],
        "score": ["score_real", "score_fake"],
        "accuracy of D": ["accuracy_real", "accuracy_fake"],
        "gradient norm": ["gradient_norm_g", "gradient_norm_d"],
        "distance to the data": ["sliced_wasserstein"],
    }
    panels = {title: names for title, names in panels.items() if any(names[0] in row for row in rows)}
    figure, axes = new_figure(len(panels), (2.6 * len(panels), 1.9))
    for axis, (title, names) in zip(axes, panels.items(), strict=True):
        for name in names:
            plot_metric(axis, rows, name, label=name.split("_")[-1], linewidth=1)
        axis.set_title(title, fontsize=8)
        if len(names) > 1:
            axis.legend(fontsize=6, frameon=False)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    train(Path(sys.argv[2])) if sys.argv[1] == "train" else page()
