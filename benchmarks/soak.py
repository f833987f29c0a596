"""A soak: mixed requests for an hour, or one long stream. Every answer is checked, and the memory may not grow.

python -m benchmarks.soak --minutes 60
python -m benchmarks.soak --stream 1000000 --model 64x64.onnx
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import pickle
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

import gankit
from benchmarks.options import RESULTS, Options
from benchmarks.results import Metric, Row, document, write
from benchmarks.rounds import Taken
from gankit._console import run
from gankit._errors import GankitError, UsageError
from gankit._options import Device

Images = NDArray[np.uint8]
Names = tuple[str, ...]
Made = tuple[int, list[Images]]
"""How many images a request made, and those of them that must be the probe's."""

_LARGEST = 500  # images of a request
_WARM = 0.25  # of the samples; only what grows after them counts
_STREAM_WARM = 10_000  # images
_MEMORY = "memory that is held"
_MANY = 10  # wrong answers, after which it ends

FORMS: dict[str, Callable[[Names, int, int], Any]] = {
    "none": lambda names, start, n: None,
    "name": lambda names, start, n: names[0],
    "opposite": lambda names, start, n: f"not-{names[-1]}",
    "weights": lambda names, start, n: {names[0]: 0.7},
    "text": lambda names, start, n: f"{names[-1]}=0.4",
    "one for each": lambda names, start, n: [names[i % len(names)] for i in range(start, start + n)],
    "vector": lambda names, start, n: np.full(len(names), 1 / len(names), np.float32),
    "vectors": lambda names, start, n: np.eye(len(names), dtype=np.float32)[np.arange(start, start + n) % len(names)],
}
"""How labels may be asked for of the images start … start + n - 1, so that each image always has the same ones."""


@dataclass(frozen=True)
class Probe:
    """An image that was made alone at the beginning, as which it must come out of every request."""

    seed: int
    number: int
    form: str
    psi: float
    names: Names
    image: Images

    def asked(self, start: int, n: int) -> dict[str, Any]:
        """The arguments of `sample`, but for n, of any images of this seed."""
        return {
            "seed": self.seed,
            "label": FORMS[self.form](self.names, start, n),
            "start": start,
            "truncation": self.psi,
        }

    @property
    def alone(self) -> dict[str, Any]:
        """The arguments of the image itself."""
        return self.asked(self.number, 1)


@dataclass(frozen=True)
class Ask:
    """A request to come: n images of which the one at `at` is the probe's."""

    faces: gankit.Generator
    probe: Probe
    n: int
    at: int
    load: Callable[[], gankit.Generator]

    @property
    def asked(self) -> dict[str, Any]:
        """The arguments of `sample`, but for n."""
        return self.probe.asked(self.probe.number - self.at, self.n)


def _sample(ask: Ask) -> Made:
    return ask.n, [ask.faces.sample(ask.n, **ask.asked)[ask.at]]


def _out(ask: Ask) -> Made:
    card = ask.faces.card
    room = np.empty((ask.n, card.height, card.width, card.channels), np.uint8)
    ask.faces.sample(ask.n, **ask.asked, out=room)
    return ask.n, [room[ask.at]]


def _latents(ask: Ask) -> Made:
    return ask.n, [ask.faces(*ask.faces.inputs(ask.n, **ask.asked))[ask.at]]


def _on_device(ask: Ask) -> Made:
    images = ask.faces.on_device(*ask.faces.inputs(ask.n, **ask.asked))
    return ask.n, [(images if isinstance(images, np.ndarray) else images.numpy())[ask.at]]


def _submit(ask: Ask) -> Made:
    futures = [ask.faces.submit(n, **asked) for n, asked in [(1, ask.probe.alone), (ask.n, ask.asked)] * 2]
    one, many, other, more = (future.result() for future in futures)
    return 2 * ask.n + 2, [one[0], many[ask.at], other[0], more[ask.at]]


def _awaited(ask: Ask) -> Made:
    async def eight() -> list[Images]:
        return await asyncio.gather(*(ask.faces.sample_async(1, **ask.probe.alone) for _ in range(8)))

    return 8, [images[0] for images in asyncio.run(eight())]


def _stream(ask: Ask) -> Made:
    size, made = 1 + ask.n // 3, 0
    for batch in ask.faces.stream(ask.n, batch=size, **ask.asked):
        made += len(batch)
        if made > ask.at:  # the rest is given up, as a user may
            break
    return made, [batch[ask.at - made]]


def _interpolate(ask: Ask) -> Made:
    probe, loop = ask.probe, ask.n % 2 == 0
    if probe.number == 0:  # the image of a seed that a walk passes
        label = FORMS[probe.form](probe.names, 0, 2)
        frames = ask.faces.interpolate(
            [probe.seed, ask.n], frames=1 + ask.n, loop=loop, label=label, truncation=probe.psi
        )
    else:
        z, vectors = ask.faces.inputs(2, **probe.asked(probe.number, 2))
        frames = ask.faces.interpolate(z, frames=1 + ask.n, loop=loop, label=vectors, mode="lerp")
    return 1 + ask.n, [frames[0]]


def _grid(ask: Ask) -> Made:
    columns, card = 1 + ask.n // 7, ask.faces.card
    y, x = (2 + at * (edge + 2) for at, edge in zip(divmod(ask.at, columns), (card.height, card.width), strict=True))
    sheet = ask.faces.grid(ask.n, columns=columns, **ask.asked)
    return ask.n, [sheet[y : y + card.height, x : x + card.width]]


def _compare(ask: Ask) -> Made:
    asked = ask.asked
    label = asked.pop("label")
    images = ask.faces.compare_labels(ask.n, labels=[label, None, label], **asked)
    return 3 * ask.n, [images[0, ask.at], images[2, ask.at]]


def _load(ask: Ask) -> Made:
    with ask.load() as faces, pickle.loads(pickle.dumps(faces)) as copy:
        future = copy.submit(1, **ask.probe.alone)  # closing waits for it
        images = faces.sample(ask.n, **ask.asked)
    return ask.n + 1, [images[ask.at], future.result()[0]]


def _refused(ask: Ask) -> Made:
    z = np.full((ask.n, ask.faces.card.z_dim), np.nan)
    for call in (lambda: ask.faces.sample(0), lambda: ask.faces.submit(1, label="nobody"), lambda: ask.faces(z)):
        try:
            call()
        except GankitError:
            continue
        raise GankitError("a request that cannot be was not refused")
    return 0, []


KINDS: dict[str, tuple[Callable[[Ask], Made], float]] = {
    "sample": (_sample, 4),
    "out=": (_out, 2),
    "latents": (_latents, 2),
    "on_device": (_on_device, 1),
    "submit": (_submit, 3),
    "sample_async": (_awaited, 1),
    "stream": (_stream, 2),
    "interpolate": (_interpolate, 2),
    "grid": (_grid, 1),
    "compare_labels": (_compare, 0.5),
    "load and close": (_load, 0.2),
    "refused": (_refused, 0.5),
}
"""The requests, and how often each comes beside the others."""


@dataclass
class Soak:
    """What happened."""

    device: str
    counts: Counter[str] = field(default_factory=Counter)
    images: int = 0
    wrong: list[str] = field(default_factory=list)
    """What should not have happened, a line each."""
    done: list[int] = field(default_factory=list)
    """Requests, or images of a stream, before each sample of the memory."""
    memory: dict[str, list[float]] = field(default_factory=dict)
    """MB in each sample, by each gauge."""
    began: float = field(default_factory=time.monotonic)

    def take(self, done: int) -> None:
        """Takes a sample of the memory."""
        self.done.append(done)
        for gauge, read in _gauges(self.device).items():
            self.memory.setdefault(gauge, []).append(read())
        found = "  ".join(f"{gauge} {values[-1]:7.1f} MB" for gauge, values in self.memory.items())
        print(f"{self.seconds:7.0f} s  {done:9,} done  {self.images:11,} images  {found}")

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.began

    def check(self, what: str, image: Images, expected: Images) -> None:
        """Notes an image that is not what it must be, to 1/255."""
        if image.shape != expected.shape or np.abs(image.astype(int) - expected).max() > 1:
            self.wrong.append(f"{what}: another image than when it was made alone")


def mixed(
    model: Path | None,
    device: Device = "auto",
    minutes: float = 60,
    requests: int = 0,
    threads: int = 4,
    every: float = 5,
) -> Soak:
    """Mixed requests from several threads for so many minutes, or until so many are done."""

    def load() -> gankit.Generator:
        return gankit.load(model, device=device)

    with load() as faces:
        probes = _probes(faces)
        kinds = [kind for kind in KINDS if faces.labels or kind != "compare_labels"]
        chances = np.array([KINDS[kind][1] for kind in kinds])
        soak, numbers, lock = Soak(faces.device, Counter(dict.fromkeys(kinds, 0))), count(), threading.Lock()
        deadline, over = soak.began + 60 * minutes, threading.Event()

        def work() -> None:
            for number in numbers:
                enough = time.monotonic() > deadline or 0 < requests <= number or len(soak.wrong) >= _MANY
                if enough or over.is_set():
                    return
                rng = np.random.default_rng(number)
                kind, probe = rng.choice(kinds, p=chances / chances.sum()), probes[rng.integers(len(probes))]
                n = round(_LARGEST ** rng.random())  # small ones are more frequent, as they are in life
                ask = Ask(faces, probe, n, int(rng.integers(min(n, probe.number + 1))), load)
                try:
                    made, found = KINDS[kind][0](ask)
                except Exception as error:
                    made, found = 0, []
                    soak.wrong.append(f"request {number}, {kind} of {n}: {type(error).__name__}: {error}")
                for image in found:
                    soak.check(f"request {number}, {kind} of {n}", image, probe.image)
                with lock:
                    soak.counts[kind] += 1
                    soak.images += made

        with ThreadPoolExecutor(threads) as pool:
            workers = [pool.submit(work) for _ in range(threads)]
            try:
                soak.take(0)
                while wait(workers, every).not_done:
                    soak.take(soak.counts.total())
                soak.take(soak.counts.total())
            finally:
                over.set()  # after Ctrl-C, or they would go on to the deadline
        for worker in workers:
            worker.result()
    return soak


def stream(model: Path | None, device: Device = "auto", n: int = 1_000_000) -> Soak:
    """One stream of n images; a sample every hundredth of it, with a look at an image."""
    with gankit.load(model, device=device) as faces:
        soak, step = Soak(faces.device), max(1, min(n // 100, _STREAM_WARM))
        soak.take(0)
        for batch in faces.stream(n, seed=1):
            soak.images += len(batch)
            soak.counts["batches"] += 1
            if soak.images - soak.done[-1] >= step or soak.images == n:
                last = faces.sample(1, seed=1, start=soak.images - 1)[0]
                soak.check(f"image {soak.images - 1} of the stream", batch[-1], last)
                soak.take(soak.images)
    return soak


def growth(megabytes: list[float]) -> float:
    """What the last fifth has more than the first; medians, as the memory goes up and down with what is under way."""
    part = -(-len(megabytes) // 5)
    return median(megabytes[-part:]) - median(megabytes[:part])


def report(soak: Soak, warm: int) -> dict[str, dict[str, float]]:
    """The figures of each gauge, in MB, where so many samples are warm-up; "a thousand" requests or images."""
    thousands = np.array(soak.done[warm:]) / 1000
    figures = {}
    for gauge, values in soak.memory.items():
        later = values[warm:]
        slope = float(np.polyfit(thousands, later, 1)[0]) if thousands[-1] > thousands[0] else 0.0
        figures[gauge] = {"after warm-up": later[0], "end": later[-1], "peak": max(values), "growth": growth(later)}
        figures[gauge]["a thousand"] = slope
    return figures


def _probes(faces: gankit.Generator) -> list[Probe]:
    rng, names = np.random.default_rng(0), faces.labels
    probes = []
    for form in FORMS if names else ["none"]:
        for number in (0, int(rng.integers(_LARGEST, 10**6))):
            for psi in (1.0, 0.7):
                seed = int(rng.integers(1000))
                label = FORMS[form](names, number, 1)
                image = faces.sample(1, seed=seed, label=label, start=number, truncation=psi)[0]
                probes.append(Probe(seed, number, form, psi, names, image))
    return probes


def _gauges(device: str) -> dict[str, Callable[[], float]]:
    """What can be read here of the memory, in MB.

    `resident` is what the process holds, `allocated` what it uses of that: glibc keeps what was freed, by arenas for
    the threads, and cannot use every piece of it again. So a leak is where both grow. `GPU` is in use by everybody.
    """
    gauges: dict[str, Callable[[], float]] = {"resident": _resident}
    if hasattr(ctypes.CDLL(None), "mallinfo2"):
        gauges["allocated"] = _allocated
    if device == "cuda":
        gauges["GPU"] = _on_gpu
    return gauges


def _resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


class _Mallinfo(ctypes.Structure):
    _fields_ = (("values", ctypes.c_size_t * 10),)


def _allocated() -> float:
    read = ctypes.CDLL(None).mallinfo2
    read.restype = _Mallinfo
    values = read().values
    return float(values[7] + values[4]) / 1e6  # uordblks and hblkhd: out of arenas, and by mmap


def _on_gpu() -> float:
    line = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    said = subprocess.run(line, capture_output=True, text=True, check=True).stdout
    return sum(map(float, said.split())) * 2**20 / 1e6


def main(
    minutes: Annotated[float, typer.Option(min=0.01, help="How long mixed requests come.")] = 60,
    model: Annotated[Path | None, typer.Option("-m", "--model", help="[default: the bundled faces]")] = None,
    device: Annotated[str, typer.Option(help="auto, cuda, cpu or openvino.")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="Threads that ask.")] = 4,
    requests: Annotated[int, typer.Option(min=0, help="End after so many; 0: when the time is over.")] = 0,
    images: Annotated[int, typer.Option("--stream", min=0, help="One stream of so many images instead.")] = 0,
    bound: Annotated[float, typer.Option(help="MB by which the memory may grow after the warm-up.")] = 16,
) -> None:
    """Watches the memory over mixed requests or a stream; fails if it grows, or if an image is not what it was."""
    if not Path("/proc/self/statm").exists():
        raise UsageError("the memory of a process is read from /proc, which this system lacks: soak on Linux")
    where: Any = device
    if images:
        soak = stream(model, where, images)
        name, what = "soak-stream", f"a stream of {images:,} images"
        warm = next((i for i, done in enumerate(soak.done) if done >= _STREAM_WARM), 1)
    else:
        soak = mixed(model, where, minutes, requests, threads)
        name, what = "soak", f"{soak.seconds / 60:.0f} min of {soak.counts.total():,} mixed requests"
        warm = int(_WARM * len(soak.done))
    figures = report(soak, warm)
    print()
    for kind, times in soak.counts.most_common():
        print(f"{kind:16} {times:9,}")
    print(f"{'images':16} {soak.images:9,}\n\n{'MB':10}" + "".join(f"{key:>15}" for key in figures["resident"]))
    for gauge, values in figures.items():
        print(f"{gauge:10}" + "".join(f"{value:15.3f}" for value in values.values()))
    print(*soak.wrong, sep="\n")
    taken, metrics = Taken({_MEMORY: {g: soak.memory[g][warm:] for g in figures}}), {_MEMORY: Metric("MB", False)}
    made = document(name, f"Memory over {what}", Options(soak.device), taken, metrics, dict.fromkeys(figures, Row()))
    made |= {
        "memory": figures,
        "bound": bound,
        "requests": dict(soak.counts),
        "images": soak.images,
        "seconds": soak.seconds,
        "wrong": soak.wrong,
    }
    print(f"wrote {write(made, RESULTS)}")
    if soak.wrong:
        raise GankitError(f"{len(soak.wrong)} answers were wrong; the first: {soak.wrong[0]}")
    for gauge, values in figures.items():
        if values["growth"] > bound:
            raise GankitError(f"the {gauge} memory grew by {values['growth']:.1f} MB, more than {bound:g} MB")


if __name__ == "__main__":
    run("python -m benchmarks.soak", main)
