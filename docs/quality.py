"""Trains what `quality.md` speaks of, and makes that page: runs that fail, and the same after following the advice.

python docs/quality.py train DATA [NAME…]    # DATA: a folder with mnist.zip; all, or those that are named
python docs/quality.py page
"""

from __future__ import annotations

import gzip
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from recipes import save_sheet

from gankit_train.diagnosis import read_rows

HERE = Path(__file__).parent
RUNS = Path("runs/quality")
_OFTEN = "--filters 32 --sample-every 10k"


@dataclass(frozen=True)
class Failure:
    """A run that was made to fail, and the same command with flags that the diagnosis gave."""

    name: str
    title: str
    arguments: str
    """Of gan-train."""
    advice: str
    """The flags that were followed, as the line gave them."""
    seen: str
    """What one sees, before and after."""


_MNIST = f"dcgan --data mnist.zip {_OFTEN}"
FAILURES = [
    Failure(
        "strong",
        "A discriminator that is far too strong",
        f"{_MNIST} --lr-d 2e-3 --lr-g 1e-5 --images 60k",
        "--lr-d 0.0002 --lr-g 0.0002",
        "Before: the same noise in every place. After: digits, as far as 60,000 images go.",
    ),
    Failure(
        "collapse",
        "A generator that collapses",
        f"{_MNIST} --lr-g 5e-3 --lr-d 5e-5 --images 60k",
        "--lr-g 0.0002 --lr-d 0.0002",
        "Before: one blurred figure again and again; the sign passed at the very end, as the blur began to vary. "
        "After: digits.",
    ),
    Failure(
        "divergence",
        "A critic that diverges",
        f"wgan-gp --data mnist.zip {_OFTEN} --gradient-penalty 0.0001 --lr-d 5e-3 --images 80k",
        "--gradient-penalty 10 --lr-d 0.0002",
        "Before: rough digits all the same, as Adam minds the direction of a slope and not its size; at each "
        "measurement 1.5 to 1.8 times as far from the data as with the usual penalty. After: smoother ones.",
    ),
    Failure(
        "heart",
        "A hundred images, known by heart",
        f"dcgan --data hundred.npy {_OFTEN} --images 100k",
        "--augment color,translation,cutout --lr-d 5e-05",
        "Before: the sheet looks well, which is why this sign is needed: D takes digits that it has not seen for G's. "
        "After: it judges both alike. The images are rougher (a distance of 0.15 beside 0.09): what helps more are "
        "more images.",
    ),
]


def train(data: Path, names: list[str]) -> None:
    """Each run and its cure, one after the other; what is there already goes on, or is left as it is."""
    RUNS.mkdir(parents=True, exist_ok=True)
    _hundred(data)
    for failure in FAILURES:
        if names and failure.name not in names:
            continue
        for name, more in ((failure.name, ""), (f"{failure.name}-mended", failure.advice)):
            line = f"gan-train {failure.arguments} {more} --out {RUNS.resolve() / name}"
            line = line.replace("hundred.npy", str(RUNS.resolve() / "hundred.npy"))
            print(line, flush=True)
            subprocess.run(line.split(), cwd=data, check=False)  # one that diverges ends with an error


def _hundred(data: Path) -> None:
    """The first hundred digits of MNIST."""
    with zipfile.ZipFile(data / "mnist.zip") as archive:
        name = next(name for name in archive.namelist() if "train-images" in name)
        raw = archive.read(name)
    raw = gzip.decompress(raw) if name.endswith(".gz") else raw
    np.save(RUNS / "hundred.npy", np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 28, 28)[:100])


def page() -> None:
    """Makes the page and its pictures out of the runs."""
    sections = [_section(failure) for failure in FAILURES]
    (HERE / "quality.md").write_text("\n".join([_HEAD, *sections]))


_HEAD = """# What is wrong, and what helps

Four runs that were made to fail, what `gan-train` said while they did, and the same command with the flags that it
advised. Samples are not chosen; they are the first latents of seed 0. Made by `docs/quality.py`, on two CPU cores.
"""


def _section(failure: Failure) -> str:
    (HERE / "quality").mkdir(exist_ok=True)
    for name in (failure.name, f"{failure.name}-mended"):
        save_sheet(RUNS / name, HERE / "quality" / f"{name}.png")
    rows, mended = read_rows(RUNS / failure.name), read_rows(RUNS / f"{failure.name}-mended")
    told = {found["sign"]: found for row in rows for found in row.get("diagnosis", [])}
    lines = [_told(found) for found in told.values()]
    left = {found["sign"] for found in mended[-1].get("diagnosis", [])}
    after = f"At its end it still says: {', '.join(sorted(left))}." if left else "At its end it says nothing any more."
    return "\n\n".join(
        [
            f"## {failure.title}",
            f"`gan-train {failure.arguments}` · {rows[-1]['images']:,} images seen",
            *lines,
            f"![Samples](quality/{failure.name}.png)",
            f"With `{failure.advice}`, {mended[-1]['images']:,} images. {after}",
            f"![Samples after the advice](quality/{failure.name}-mended.png)",
            failure.seen + "\n",
        ]
    )


def _told(found: dict[str, Any]) -> str:
    flags = ", then ".join(f"`{flag}`" for flag in found["try"])
    return f"> since image {found['since']:,}: {found['what']}; try {flags}"


if __name__ == "__main__":
    train(Path(sys.argv[2]).resolve(), sys.argv[3:]) if sys.argv[1] == "train" else page()
