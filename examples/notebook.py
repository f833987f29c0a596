"""A tour of a generator, from the first image to arithmetic on latents.

Run it cell by cell in an editor that knows `# %%` (VS Code, PyCharm, Spyder; Jupyter with jupytext), or as a whole:

pip install 'gankit[cpu]'
python examples/notebook.py [FOLDER]        # pictures in FOLDER, by default in generated/notebook
"""

# %%
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import gankit

Images = NDArray[np.uint8]
NOTEBOOK = "ipykernel" in sys.modules  # whose command line is not ours
FOLDER = Path("generated/notebook" if NOTEBOOK or len(sys.argv) < 2 else sys.argv[1])
FOLDER.mkdir(parents=True, exist_ok=True)


def enlarged(images: Images, scale: int) -> list[Image.Image]:
    """Pillow images of uint8 [n, h, w, c] or [h, w, c], with each pixel repeated `scale` times in both directions."""
    return [image.resize((image.width * scale, image.height * scale), 0) for image in gankit.as_pil(images)]


def save(name: str, images: Images, columns: int) -> Images:
    """Saves images [n, h, w, c] as a grid, and returns the grid, which a notebook displays as a picture."""
    grid = gankit.grid(images, columns=columns)
    enlarged(grid, 3)[0].save(FOLDER / name)
    return grid


# %% [markdown]
# ## Loading
#
# Without a path, `load` opens the small model that is part of the package; `gankit.load("faces.onnx")` opens your own.
# It uses CUDA if that works and else the CPU, and reports which one and why. As the last line of a cell, `faces` shows
# its properties and a few images.

# %%
faces = gankit.load()
print(f"runs on {faces.device}; {faces.fallback_reason or 'as requested'}")
faces  # noqa: B018

# %% [markdown]
# ## The card
#
# The file describes itself: the size of the images, the dimension of the latents, the labels, and the training data.

# %%
card = faces.card
print(f"{card.name}: {card.width}×{card.height}×{card.channels} from {card.z_dim} numbers")
print(f"labels: {', '.join(faces.labels)}")
print(f"a {card.variant} that saw {card.images_seen:,} images of {card.data}")

# %% [markdown]
# ## Sampling
#
# `sample(n, seed=seed)` returns the first n images of a seed, uint8 [n, height, width, channels]. Image 7 of seed 0 is
# the same image alone, in this grid, tomorrow and on another machine: a seed and a number identify an image.
#
# The grid has faces of all skin colours, with four hair colours; about every third has glasses. A few have noise in
# their hair; truncation, further down, reduces it.

# %%
images = faces.sample(40, seed=0)
seventh = faces.sample(1, seed=0, start=7)
assert np.abs(images[7:8].astype(int) - seventh).max() <= 1
save("1-sample.png", images, columns=10)

# %% [markdown]
# ## Labels
#
# `compare_labels` shows the same latents under several labels. Labels that a request leaves open stay the same: each
# column is one person, with the same glasses and the same smile, and only the hair changes from row to row.

# %%
HAIR = ["blond", "black", "brown", "auburn"]
save("2-labels.png", np.concatenate(faces.compare_labels(10, seed=3, labels=HAIR)), columns=10)

# %% [markdown]
# The network receives a label as a number from 0 to 1, so labels can be blended. These interpolations stay at one seed
# and change the label: from left to right, the hair changes from blond to black. In the middle it is dark blond and
# speckled, because no training image had such hair; the face below it hardly changes.

# %%
blends = [faces.interpolate([seed, seed], frames=10, label=["blond", "black"]) for seed in (1, 4, 5)]
save("3-blends.png", np.concatenate(blends), columns=10)

# %% [markdown]
# ## Typical or varied
#
# `truncation` scales the latents towards their mean (StyleGAN's ψ). At 0, all faces with the same labels are one face,
# the most typical one. At 0.6, they are clean and similar. 1 is the distribution of the training; above it, variety
# becomes noise. The rows are 0, 0.3, 0.6, 1 and 1.5.

# %%
TYPICAL = "brown,smiling,not-eyeglasses"
rows = [faces.sample(10, seed=11, label=TYPICAL, truncation=factor) for factor in (0, 0.3, 0.6, 1, 1.5)]
save("4-truncation.png", np.concatenate(rows), columns=10)

# %% [markdown]
# ## Interpolation
#
# Between the latents of two faces there are others. The first row follows the sphere (`slerp`), the second a straight
# line (`lerp`). Latents of this many dimensions lie close to a sphere, and the line cuts through it: in its middle,
# faces look like those of a truncation of about 0.5, closer to the most typical face in skin and background than the
# faces above them. The animation loops through three seeds.

# %%
PLAIN = "auburn,not-eyeglasses,not-smiling"
first, *others = enlarged(faces.interpolate([0, 7, 42], frames=90, loop=True), 4)
first.save(FOLDER / "5-interpolation.gif", save_all=True, append_images=others, duration=50, loop=0)
paths = [
    faces.interpolate([10, 25], frames=10, label=PLAIN, mode="slerp"),
    faces.interpolate([10, 25], frames=10, label=PLAIN, mode="lerp"),
]
save("5-interpolation.png", np.concatenate(paths), columns=10)

# %% [markdown]
# ## Your own latents
#
# A generator is a function from latents z [n, z_dim] and label vectors [n, k] to images. `inputs` returns the inputs
# that `sample` uses, and `gankit.latents` the latents alone; any normal numbers work, such as NumPy's. Here ten people
# appear without and with glasses, and nothing else of their label vectors changes.

# %%
z = np.random.default_rng(5).standard_normal((10, card.z_dim), np.float32)
label = faces.inputs(10, seed=5)[1]
assert label is not None  # it is None for an unconditional model
without, with_glasses = label.copy(), label.copy()
without[:, faces.labels.index("Eyeglasses")] = 0
with_glasses[:, faces.labels.index("Eyeglasses")] = 1
print(f"lengths of the latents: {np.linalg.norm(z, axis=1).round(1)}, around √{card.z_dim} = {card.z_dim**0.5:.1f}")
save("6-own-latents.png", np.concatenate([faces(z, without), faces(z, with_glasses)]), columns=10)

# %% [markdown]
# ## Measuring
#
# Images are arrays, so NumPy answers questions about them. Where in the image does a label act? Take 200 latents with
# and without the label, and average the change of each pixel. The maps are bright where much changes: for the four hair
# colours, each against the next, then for glasses and for the smile. Nearly nothing but hair, eyes and mouth changes.


# %%
def change(a: str, b: str) -> Images:
    """The mean change of each pixel of 200 faces between two labels: uint8 [h, w, c], scaled to a maximum of 255."""
    mean = np.abs(faces.sample(200, seed=8, label=a).astype(float) - faces.sample(200, seed=8, label=b)).mean((0, 3))
    return np.asarray(255 * mean / mean.max(), np.uint8)[..., None].repeat(card.channels, axis=-1)


pairs = [*zip(HAIR, HAIR[1:] + HAIR[:1], strict=True), ("eyeglasses", "not-eyeglasses"), ("smiling", "not-smiling")]
save("7-where.png", np.stack([change(a, b) for a, b in pairs]), columns=6)

# %% [markdown]
# ## An attribute without a label
#
# Some faces have long hair, but there is no label for it. It can be measured, because beside the neck only blond hair
# is yellow. `stream` returns 2,000 faces in batches, without holding all of them in memory. The histogram has two peaks
# with little between them: short and long hair.

# %%
BLOND = "blond,not-eyeglasses"
yellow = []
for batch in faces.stream(2000, seed=1, label=BLOND):
    beside_the_neck = batch[:, 18:27, [6, 7, 24, 25]].astype(int)  # [n, rows, columns, channels]
    yellow.append((beside_the_neck[..., 0] - beside_the_neck[..., 2] > 75).mean((1, 2)))
length = np.concatenate(yellow)
for count, start in zip(*np.histogram(length, 10, (0, 1)), strict=False):
    print(f"{start:.0%} of these pixels are yellow: {count:4} {'█' * (count // 20)}")
long = length > 0.5
print(f"{long.mean():.0%} have long hair")

# %% [markdown]
# ## Arithmetic on latents
#
# The mean latent of faces with long hair minus that of the others is the direction in which hair gets longer. Latents
# moved along it show each person with short and with long hair: short in the first row and for most people in the
# second, long in the third and fourth. The direction comes from blond faces and works for black hair as well: the
# network represents length and colour separately. Other things may change too, such as the expression. Further out,
# faces become noisy, because training had no latents there.

# %%
z, _ = faces.inputs(2000, seed=1)
direction = z[long].mean(0) - z[~long].mean(0)
direction /= np.linalg.norm(direction)
person, black = faces.inputs(10, seed=7, label="black,smiling,not-eyeglasses")
neutral = person - (person @ direction)[:, None] * direction  # without the component along the direction
rows = [faces(neutral + distance * direction, black) for distance in (-2, 0, 2, 3)]
save("8-arithmetic.png", np.concatenate(rows), columns=10)

# %% [markdown]
# ## Closing
#
# Closing frees the model; a block `with gankit.load() as faces:` does so at its end.

# %%
faces.close()
print(f"the pictures are in {FOLDER}")
