"""A tour of a generator, from the first image to arithmetic on latents.

Run it cell by cell where `# %%` begins one (VS Code, PyCharm, Spyder; Jupyter through jupytext), or from top to bottom:

pip install 'gankit[cpu]'
python examples/notebook.py [FOLDER]        # its pictures go there, else to generated/notebook
"""

# %%
import sys
from pathlib import Path

import numpy as np
from PIL.Image import Image

import gankit
from gankit._images import Images, enlarge, save_gif, save_png

NOTEBOOK = "ipykernel" in sys.modules  # whose arguments are not ours
FOLDER = Path("generated/notebook" if NOTEBOOK or len(sys.argv) < 2 else sys.argv[1])


def keep(name: str, images: Images, columns: int) -> Image:
    """Saves images [n, h, w, c] as a sheet, and returns it, so that a notebook shows it under the cell."""
    sheet = gankit.grid(images, columns)
    save_png(FOLDER / name, sheet, scale=3)
    return gankit.as_pil(enlarge(sheet, 3))[0]


# %% [markdown]
# ## Loading
#
# Without a path, `load` opens the small model that comes with the package; `gankit.load("faces.onnx")` opens one of
# yours. It takes CUDA where it can and else the CPU, and says which it was and why.

# %%
faces = gankit.load()
print(f"runs on {faces.device}; {faces.fallback_reason or 'as was asked'}")

# %% [markdown]
# ## The card
#
# The file says itself what it makes: images of which size, from how many random numbers, under which labels, and what
# it was trained on. A network without its card is a riddle.

# %%
card = faces.card
print(f"{card.name}: {card.width}×{card.height}×{card.channels} from {card.z_dim} numbers")
print(f"labels: {', '.join(faces.labels)}")
print(f"a {card.variant} that saw {card.images_seen:,} images of {card.data}")

# %% [markdown]
# ## Sampling
#
# `sample(n, seed)` gives the first n images of a seed, uint8 [n, height, width, channels]. Image 7 of seed 0 is the
# same image alone, in this sheet, tomorrow and on another machine, so a seed and a number are all one has to note down.
#
# What one sees: faces of all skins, with four hair colours, and glasses on about every third. A few have noise in
# their hair; psi, further down, helps.

# %%
images = faces.sample(40, seed=0)
seventh = faces.sample(1, seed=0, start=7)
assert np.abs(images[7:8].astype(int) - seventh).max() <= 1
keep("1-sample.png", images, columns=10)

# %% [markdown]
# ## Labels
#
# `compare_labels` puts the same latents under several labels. What a label leaves open stays as it was: each column is
# one person, with the same glasses and the same smile, and only the hair changes from row to row.

# %%
HAIR = ["blond", "black", "brown", "auburn"]
keep("2-labels.png", np.concatenate(faces.compare_labels(10, seed=3, labels=HAIR)), columns=10)

# %% [markdown]
# The network knows a label as a number from 0 to 1, so there is something between two of them. Here is a walk that
# stays at one seed and goes from label to label: from left to right the hair goes from blond to black. Half way it is
# dark blond and speckled, as such hair was in no training image; the face below it hardly moves.

# %%
blends = [faces.interpolate([seed, seed], frames=10, label=["blond", "black"]) for seed in (1, 4, 5)]
keep("3-blends.png", np.concatenate(blends), columns=10)

# %% [markdown]
# ## Typical or varied
#
# `psi` shrinks the latents towards their mean. At 0 all faces with the same labels are one face, the most typical; at
# 0.6 they are clean and a little alike; 1 is what training was about; beyond it, variety turns into noise. Below, the
# rows are 0, 0.3, 0.6, 1 and 1.5.

# %%
rows = [faces.sample(10, seed=11, label="brown,smiling,not-eyeglasses", psi=psi) for psi in (0, 0.3, 0.6, 1, 1.5)]
keep("4-psi.png", np.concatenate(rows), columns=10)

# %% [markdown]
# ## A walk
#
# Between the latents of two faces there are others. The first row goes along the sphere (`slerp`), the second in a
# straight line (`lerp`). Latents of this many dimensions lie close to a sphere, and the line cuts through it: half way
# its faces are like those of a psi of about a half, nearer to the most typical one in skin and background than those
# above them. The film goes round through three seeds.

# %%
PLAIN = "auburn,not-eyeglasses,not-smiling"
walks = [faces.interpolate([10, 25], frames=10, label=PLAIN, mode=mode) for mode in ("slerp", "lerp")]
save_gif(FOLDER / "5-walk.gif", faces.interpolate([0, 7, 42], frames=90, loop=True), scale=4)
keep("5-walk.png", np.concatenate(walks), columns=10)

# %% [markdown]
# ## Latents of one's own
#
# A generator is a function: latents z [n, z_dim] and label vectors [n, k] go in, images come out. `inputs` tells what
# `sample` would put in, `gankit.latents` makes the numbers, and any others will do too, such as NumPy's. Labels can be
# given as the vectors themselves: here four people get glasses and lose them again, and nothing else was touched.

# %%
z = np.random.default_rng(5).standard_normal((10, card.z_dim), np.float32)
label = faces.inputs(10, seed=5)[1]
assert label is not None  # as it is for a model without labels
without, with_glasses = label.copy(), label.copy()
without[:, faces.labels.index("Eyeglasses")] = 0
with_glasses[:, faces.labels.index("Eyeglasses")] = 1
print(f"the latents' lengths: {np.linalg.norm(z, axis=1).round(1)}, around √{card.z_dim} = {card.z_dim**0.5:.1f}")
keep("6-own-latents.png", np.concatenate([faces(z, without), faces(z, with_glasses)]), columns=10)

# %% [markdown]
# ## Measuring
#
# Images are arrays, so questions about them are NumPy. Where in the picture does a label act? Take 200 latents with and
# without it, and average how far each pixel moves. The maps, bright where much changes, are for the four hair colours,
# each against the next, then for glasses and for the smile: the hair, the eyes, the mouth, and nearly nothing else.


# %%
def moved(a: str, b: str) -> Images:
    """How far the pixels of 200 faces move between two labels, on average: uint8 [h, w, c], brightest where most."""
    far = np.abs(faces.sample(200, seed=8, label=a).astype(float) - faces.sample(200, seed=8, label=b)).mean((0, 3))
    return np.asarray(255 * far / far.max(), np.uint8)[..., None].repeat(card.channels, axis=-1)


pairs = [*zip(HAIR, HAIR[1:] + HAIR[:1], strict=True), ("eyeglasses", "not-eyeglasses"), ("smiling", "not-smiling")]
keep("7-where.png", np.stack([moved(a, b) for a, b in pairs]), columns=6)

# %% [markdown]
# ## What no label names
#
# Some faces have long hair, and no label asks for it. Yet it can be measured: beside the neck, blond hair is yellow and
# everything else is not. `stream` gives 2,000 faces in batches, without holding all of them in memory. The histogram
# has two heaps and little between them: short and long.

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
# The mean latent of the long-haired less that of the others is a direction: the one in which hair grows. Moving other
# latents along it gives each person short hair and long: short in the first row and for most in the second, long in the
# third and the last. It was found on blonds, and it works on black hair as well: the network keeps the length apart
# from the colour. Something else may change along with it, such as an expression; and further out the faces get noisy,
# as nothing in training was there.

# %%
z, _ = faces.inputs(2000, seed=1)
direction = z[long].mean(0) - z[~long].mean(0)
direction /= np.linalg.norm(direction)
person, black = faces.inputs(10, seed=7, label="black,smiling,not-eyeglasses")
still = person - (person @ direction)[:, None] * direction  # what of each person has nothing to do with length
keep("8-arithmetic.png", np.concatenate([faces(still + far * direction, black) for far in (-2, 0, 2, 3)]), columns=10)

# %% [markdown]
# ## The end
#
# Closing frees the model; `with gankit.load() as faces:` does it by itself.

# %%
faces.close()
print(f"the pictures are in {FOLDER}")
