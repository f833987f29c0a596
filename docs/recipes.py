"""Trains every text's preset and every variant's own settings for a while, and makes `recipes.md` of what came out.

python docs/recipes.py train DATA    # DATA: a folder with mnist.zip, bricks.zip and avatars.zip (CelebA's layout)
python docs/recipes.py page
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from gankit_train.config.presets import OURS, PRESETS
from gankit_train.config.variants import VARIANTS
from gankit_train.evaluation.diagnosis import Row, read_rows

HERE = Path(__file__).parent
RUNS = Path("runs/recipes")
_COLUMNS, _ROWS = 10, 4  # of a sheet, and of them those that are shown


@dataclass(frozen=True)
class Trial:
    """One run of the page."""

    name: str
    """A preset's, a variant's, or another for a setting that the page warns of."""
    arguments: str
    """Of gan-train."""
    seen: str
    """What one sees, in a sentence."""


TRIALS = [
    Trial(
        "vanilla",
        "vanilla --data mnist.zip --images 300k",
        "Digits of all ten kinds; a few with speckle, which goes with more images (see quality.md).",
    ),
    Trial(
        "mnist-one-hidden",
        "vanilla --preset mnist-one-hidden --data mnist.zip --images 1M",
        "Clouds of dots in the outline of a digit: one layer of 128 cannot tie the pixels together.",
    ),
    Trial(
        "mnist-mlp-sigmoid",
        "vanilla --preset mnist-mlp-sigmoid --data mnist.zip --images 1200k",
        "Dim eights, nines and threes in the middle of the picture: at 1e-5, this is a tenth of the way.",
    ),
    Trial(
        "mnist-mlp-tanh",
        "vanilla --preset mnist-mlp-tanh --data mnist.zip --images 600k",
        "Grey smears and speckle, many of them alike: this is 10 of the text's 300 passes.",
    ),
    Trial(
        "mnist-mlp-minimax",
        "vanilla --preset mnist-mlp-minimax --data mnist.zip --images 600k",
        "The same noise everywhere: D was sure within one pass, its loss is 0, and G's gradient has vanished.",
    ),
    Trial("dcgan", "dcgan --data mnist.zip --images 120k", "Clean digits, a few of them between two kinds."),
    Trial(
        "camel-28-rmsprop",
        "dcgan --preset camel-28-rmsprop --data mnist.zip --images 80k",
        "Clear digits: convolutions do in 80,000 images what fully connected layers do not do in 600,000.",
    ),
    Trial(
        "camel-28-rmsprop-0.008",
        "dcgan --preset camel-28-rmsprop --lr-d 0.008 --data mnist.zip --images 20k",
        "Broken strokes: D's loss leapt to 22 at once, then D said nearly the same of every image and G heard little.",
    ),
    Trial(
        "bricks-dcgan",
        "dcgan --preset bricks-dcgan --data bricks.zip --images 40k",
        "Dark lumps on white under a checkerboard: this is 4 of the text's 300 passes.",
    ),
    Trial(
        "bricks-upsample",
        "dcgan --preset bricks-upsample --data bricks.zip --images 40k",
        "The same lumps with straight edges, without the checkerboard and with faint stripes instead.",
    ),
    Trial(
        "cgan",
        "cgan --data avatars.zip --size 32 --images 200k",
        "Faces with the hair, glasses and smile that the row asks for; the person stays the same down a column.",
    ),
    Trial(
        "celeba-blond-cgan",
        "cgan --preset celeba-blond-cgan --attribute blond --data avatars.zip --images 40k",
        "A dark middle in noise: this is 104 steps of G at 5e-5, where the text takes some 25,000.",
    ),
    Trial(
        "wgan-gp",
        "wgan-gp --data avatars.zip --size 32 --images 100k",
        "Faces with beards, hats and glasses; the backgrounds are still cloudy.",
    ),
    Trial(
        "celeba-wgan-gp",
        "wgan-gp --preset celeba-wgan-gp --batch-size 64 --data avatars.zip --images 40k",
        "Hair, faces and shoulders begin to show under a fine grid: this is 208 steps of G.",
    ),
    Trial(
        "celeba-wgan-gp-paper",
        "wgan-gp --preset celeba-wgan-gp-paper --data avatars.zip --images 40k",
        "Brown and pale patches in the place of hair and faces: 125 steps of G, at half the rate.",
    ),
    Trial(
        "celeba-wgan-clip",
        "wgan-gp --preset celeba-wgan-clip --data avatars.zip --images 40k",
        "A woven pattern, darker in the middle at best: clipped weights and a rate of 5e-5 learn slowest of all.",
    ),
]


def train(data: Path) -> None:
    """All runs, one after the other; those that are finished are passed over, as the same command does."""
    program = Path(sys.executable).parent / "gan-train"
    for trial in TRIALS:
        arguments = [str(data / a) if a.endswith(".zip") else a for a in trial.arguments.split()]
        line = [str(program), *arguments, "--out", str(RUNS / trial.name), "--log-every", "2000"]
        line += ["--sample-every", "10M", "--evaluate-every", "20k", "--keep", "1"]
        subprocess.run(line, check=True)


def page() -> None:
    """`recipes.md` with a sheet and the curves of each run."""
    assert {*PRESETS, *VARIANTS} - {*OURS} <= {trial.name for trial in TRIALS}
    folder = HERE / "recipes"
    folder.mkdir(exist_ok=True)
    sections = []
    for trial in TRIALS:
        rows = read_rows(RUNS / trial.name)
        save_sheet(RUNS / trial.name, folder / f"{trial.name}.png")
        _curves(rows, folder / f"{trial.name}-curves.png")
        preset = PRESETS.get(trial.name)
        about = preset.about if preset else ("the variant's own settings" if trial.name in VARIANTS else "")
        known = f" Known: {preset.known}." if preset and preset.known else ""
        sections.append(
            f"## {trial.name}\n\n{about[:1].upper()}{about[1:]}{'.' if about else ''}{known}\n\n"
            f"`gan-train {trial.arguments}` · {rows[-1]['images']:,} images seen\n\n"
            f"![Samples](recipes/{trial.name}.png)\n\n![Curves](recipes/{trial.name}-curves.png)\n\n{trial.seen}\n"
        )
    (HERE / "recipes.md").write_text("\n".join([_HEAD, _table(), *sections]))


def save_sheet(run: Path, path: Path) -> None:
    """The first rows of a run's newest sheet, small ones enlarged."""
    with Image.open(max((run / "samples").glob("*.png"))) as image:
        rows_shown = min(image.height, 2 + _ROWS * ((image.width - 2) // _COLUMNS))
        scale = 2 if image.width < 400 else 1
        part = image.crop((0, 0, image.width, rows_shown))
        size = (part.width * scale, part.height * scale)
        part.resize(size, Image.Resampling.NEAREST).save(path, optimize=True)


_HEAD = """# What the recipes give

Every preset that follows a text and every variant's own settings, trained on real data for the number of images that
stands beside it, on two CPU cores. That is a small part of what the texts ask for: it shows how a recipe begins, not
where it ends. The CelebA recipes ran on 9,000 drawn faces in CelebA's layout, and the camel's on MNIST. Samples are
not chosen; they are the first latents of seed 0. Made by `docs/recipes.py`.
"""


def _table() -> str:
    lines = ["| recipe | images | distance to the data | what one sees |", "|---|---|---|---|"]
    for trial in TRIALS:
        rows = read_rows(RUNS / trial.name)
        distances = [row["sliced_wasserstein"] for row in rows if "sliced_wasserstein" in row]
        lines.append(
            f"| [{trial.name}](#{trial.name.replace('.', '')}) | {rows[-1]['images']:,} | {distances[-1]:.2f} "
            f"| {trial.seen} |"
        )
    return (
        "\n".join(lines) + "\n\nThe distance is the sliced Wasserstein distance at the last measurement, comparable "
        "between runs on the same data and size only; two halves of the data are about 0.02 apart.\n"
    )


def _curves(rows: list[Row], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    panels = [
        ("loss", ["loss_d", "loss_g"]),
        ("score", ["score_real", "score_fake"]),
        ("accuracy of D", ["accuracy_real", "accuracy_fake"]),
        ("gradient norm", ["gradient_norm_g", "gradient_norm_d"]),
        ("distance to the data", ["sliced_wasserstein"]),
    ]
    panels = [panel for panel in panels if any(panel[1][0] in row for row in rows)]
    figure, axes = plt.subplots(1, len(panels), figsize=(2.6 * len(panels), 1.9), layout="constrained")
    for axis, (title, names) in zip(axes, panels, strict=True):
        for name in names:
            points = [(row["images"] / 1000, row[name]) for row in rows if name in row]
            axis.plot(
                *zip(*points, strict=True),
                label=name.split("_")[-1],
                linewidth=1,
                marker="." if len(points) < 3 else "",
            )
        axis.set_title(title, fontsize=8)
        axis.tick_params(labelsize=7)
        axis.set_xlabel("thousand images", fontsize=7)
        if len(names) > 1:
            axis.legend(fontsize=6, frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    train(Path(sys.argv[2])) if sys.argv[1] == "train" else page()
