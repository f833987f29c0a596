"""The requests of a soak test: every way to get images out of a generator.

Each request includes a probe, an image that was generated alone at the start, and must return the same image.
"""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gankit
from gankit._errors import GankitError

Images = NDArray[np.uint8]
"""[n, height, width, channels], or one image without n."""
Names = tuple[str, ...]
Answer = tuple[int, list[Images]]
"""How many images a request generated, and those that must equal the probe's."""

LARGEST = 500
"""The largest number of images of a request."""

LABEL_FORMS: dict[str, Callable[[Names, int, int], Any]] = {
    "none": lambda names, start, n: None,
    "name": lambda names, start, n: names[0],
    "opposite": lambda names, start, n: f"not-{names[-1]}",
    "weights": lambda names, start, n: {names[0]: 0.7},
    "text": lambda names, start, n: f"{names[-1]}=0.4",
    "one per image": lambda names, start, n: [names[i % len(names)] for i in range(start, start + n)],
    "vector": lambda names, start, n: np.full(len(names), 1 / len(names), np.float32),
    "vectors": lambda names, start, n: np.eye(len(names), dtype=np.float32)[np.arange(start, start + n) % len(names)],
}
"""Form → label argument for the images start … start + n - 1, which depends only on each image's number."""


@dataclass(frozen=True)
class Probe:
    """An image that was generated alone, and how to request it."""

    seed: int
    number: int
    """Its number among the images of the seed."""
    form: str
    """The form of its label, in `LABEL_FORMS`."""
    truncation: float
    names: Names
    """The label names of the model."""
    image: Images

    def arguments(self, start: int, n: int) -> dict[str, Any]:
        """The arguments of `sample`, except n, for the images start … start + n - 1 of the seed."""
        return {
            "seed": self.seed,
            "label": LABEL_FORMS[self.form](self.names, start, n),
            "start": start,
            "truncation": self.truncation,
        }

    @property
    def alone(self) -> dict[str, Any]:
        """The arguments of `sample`, except n, for the image alone."""
        return self.arguments(self.number, 1)


@dataclass(frozen=True)
class Request:
    """A request for n images; the one at index `at` is the probe's."""

    faces: gankit.Generator
    probe: Probe
    n: int
    at: int
    load: Callable[[], gankit.Generator]
    """Opens the model once more."""

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of `sample`, except n."""
        return self.probe.arguments(self.probe.number - self.at, self.n)


def make_probes(faces: gankit.Generator) -> list[Probe]:
    """Generates probes of every form of label, with small and large numbers, with and without truncation."""
    rng, names = np.random.default_rng(0), faces.labels
    probes = []
    for form in LABEL_FORMS if names else ["none"]:
        for number in (0, int(rng.integers(LARGEST, 10**6))):
            for truncation in (1.0, 0.7):
                seed = int(rng.integers(1000))
                label = LABEL_FORMS[form](names, number, 1)
                image = faces.sample(1, seed=seed, label=label, start=number, truncation=truncation)[0]
                probes.append(Probe(seed, number, form, truncation, names, image))
    return probes


def _sample(request: Request) -> Answer:
    return request.n, [request.faces.sample(request.n, **request.arguments)[request.at]]


def _out(request: Request) -> Answer:
    card = request.faces.card
    buffer = np.empty((request.n, card.height, card.width, card.channels), np.uint8)
    request.faces.sample(request.n, **request.arguments, out=buffer)
    return request.n, [buffer[request.at]]


def _inputs(request: Request) -> Answer:
    return request.n, [request.faces(*request.faces.inputs(request.n, **request.arguments))[request.at]]


def _on_device(request: Request) -> Answer:
    images = request.faces.on_device(*request.faces.inputs(request.n, **request.arguments))
    return request.n, [(images if isinstance(images, np.ndarray) else images.numpy())[request.at]]


def _submit(request: Request) -> Answer:
    pairs = [(1, request.probe.alone), (request.n, request.arguments)] * 2
    futures = [request.faces.submit(n, **arguments) for n, arguments in pairs]
    one, many, another, more = (future.result() for future in futures)
    return 2 * request.n + 2, [one[0], many[request.at], another[0], more[request.at]]


def _sample_async(request: Request) -> Answer:
    async def eight() -> list[Images]:
        return await asyncio.gather(*(request.faces.sample_async(1, **request.probe.alone) for _ in range(8)))

    return 8, [images[0] for images in asyncio.run(eight())]


def _stream(request: Request) -> Answer:
    size, made = 1 + request.n // 3, 0
    for batch in request.faces.stream(request.n, batch=size, **request.arguments):
        made += len(batch)
        if made > request.at:  # leave the rest, as a user may
            break
    return made, [batch[request.at - made]]


def _interpolate(request: Request) -> Answer:
    probe, frames, loop = request.probe, 1 + request.n, request.n % 2 == 0
    if probe.number == 0:  # the image of a seed, where an interpolation starts
        label = LABEL_FORMS[probe.form](probe.names, 0, 2)
        images = request.faces.interpolate(
            [probe.seed, request.n], frames=frames, loop=loop, label=label, truncation=probe.truncation
        )
    else:
        z, vectors = request.faces.inputs(2, **probe.arguments(probe.number, 2))
        images = request.faces.interpolate(z, frames=frames, loop=loop, label=vectors, mode="lerp")
    return frames, [images[0]]


def _grid(request: Request) -> Answer:
    columns, card = 1 + request.n // 7, request.faces.card
    row, column = divmod(request.at, columns)
    gap = 2  # pixels
    y, x = gap + row * (card.height + gap), gap + column * (card.width + gap)
    grid = request.faces.grid(request.n, columns=columns, **request.arguments)
    return request.n, [np.asarray(grid)[y : y + card.height, x : x + card.width]]


def _compare_labels(request: Request) -> Answer:
    arguments = request.arguments
    label = arguments.pop("label")
    images = request.faces.compare_labels(request.n, labels=[label, None, label], **arguments)
    return 3 * request.n, [images[0, request.at], images[2, request.at]]


def _load_and_close(request: Request) -> Answer:
    with request.load() as faces, pickle.loads(pickle.dumps(faces)) as copy:
        future = copy.submit(1, **request.probe.alone)  # closing waits for it
        images = faces.sample(request.n, **request.arguments)
    return request.n + 1, [images[request.at], future.result()[0]]


def _invalid(request: Request) -> Answer:
    z = np.full((request.n, request.faces.card.z_dim), np.nan)
    calls: list[Callable[[], object]] = [
        lambda: request.faces.sample(0),
        lambda: request.faces.submit(1, label="nobody"),
        lambda: request.faces(z),
    ]
    for call in calls:
        try:
            call()
        except GankitError:
            continue
        raise GankitError("an invalid request was not refused")
    return 0, []


KINDS: dict[str, tuple[Callable[[Request], Answer], float]] = {
    "sample": (_sample, 4),
    "out=": (_out, 2),
    "inputs and call": (_inputs, 2),
    "on_device": (_on_device, 1),
    "submit": (_submit, 3),
    "sample_async": (_sample_async, 1),
    "stream": (_stream, 2),
    "interpolate": (_interpolate, 2),
    "grid": (_grid, 1),
    "compare_labels": (_compare_labels, 0.5),
    "load and close": (_load_and_close, 0.2),
    "invalid": (_invalid, 0.5),
}
"""Kind of request → the function that sends it, and its relative frequency."""
