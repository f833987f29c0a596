"""The two soak tests: mixed requests from several threads, and one long stream."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

import gankit
from benchmarks.soak.memory import gauges
from benchmarks.soak.requests import KINDS, LARGEST, Images, Probe, Request, make_probes

MAX_ERRORS = 10
"""The number of errors after which a test ends."""
STREAM_WARMUP = 10_000
"""Images of a stream before memory counts."""
WARMUP_SHARE = 0.25
"""Share of the samples of mixed requests before memory counts."""


@dataclass
class Record:
    """What happened in a soak test."""

    name: str
    """The name of its results: `soak` or `soak-stream`."""
    device: str
    counts: Counter[str] = field(default_factory=Counter)
    """Kind of request → number of requests."""
    images: int = 0
    errors: list[str] = field(default_factory=list)
    """Wrong images and unexpected exceptions, a line each."""
    progress: list[int] = field(default_factory=list)
    """Requests, or images of a stream, that were done at each sample of the memory."""
    memory: dict[str, list[float]] = field(default_factory=dict)
    """Gauge → MB at each sample."""
    start: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.start

    @property
    def warmup(self) -> int:
        """The number of samples of the memory that are warm-up."""
        if self.name == "soak-stream":
            return next((i for i, done in enumerate(self.progress) if done >= STREAM_WARMUP), 1)
        return int(WARMUP_SHARE * len(self.progress))

    def sample_memory(self, done: int) -> None:
        """Reads the gauges and prints a line."""
        self.progress.append(done)
        for gauge, read in gauges(self.device).items():
            self.memory.setdefault(gauge, []).append(read())
        memory = "  ".join(f"{gauge} {values[-1]:7.1f} MB" for gauge, values in self.memory.items())
        print(f"{self.seconds:7.0f} s  {done:9,} done  {self.images:11,} images  {memory}")

    def check(self, source: str, image: Images, expected: Images) -> None:
        """Records an error where an image differs from the expected one by more than a grey level."""
        if image.shape != expected.shape or np.abs(image.astype(int) - expected).max() > 1:
            self.errors.append(f"{source}: not the image that was generated alone")


def mixed_requests(
    model: Path | None,
    device: Any = "auto",
    minutes: float = 60,
    requests: int = 0,
    threads: int = 4,
    sample_every: float = 5,
) -> Record:
    """Sends random requests from several threads.

    Args:
        model: Model file; None takes the bundled faces.
        device: As for `gankit.load`.
        minutes: Time after which no more requests are sent.
        requests: Number of requests after which no more are sent; 0 is no limit.
        threads: Number of threads that send requests.
        sample_every: Seconds between samples of the memory.
    """

    def load() -> gankit.Generator:
        return gankit.load(model, device=device)

    with load() as faces:
        probes = make_probes(faces)
        kinds = [kind for kind in KINDS if faces.labels or kind != "compare_labels"]
        record, numbers = Record("soak", faces.device, Counter(dict.fromkeys(kinds, 0))), count()
        lock, stop = threading.Lock(), threading.Event()
        deadline = record.start + 60 * minutes

        def send_requests() -> None:
            for number in numbers:
                enough = time.monotonic() > deadline or 0 < requests <= number or len(record.errors) >= MAX_ERRORS
                if enough or stop.is_set():
                    return
                kind, request = _random_request(number, kinds, probes, faces, load)
                made = _send(record, number, kind, request)
                with lock:
                    record.counts[kind] += 1
                    record.images += made

        with ThreadPoolExecutor(threads) as pool:
            workers = [pool.submit(send_requests) for _ in range(threads)]
            try:
                record.sample_memory(0)
                while wait(workers, sample_every).not_done:
                    record.sample_memory(record.counts.total())
                record.sample_memory(record.counts.total())
            finally:
                stop.set()  # after Ctrl-C, the threads would continue until the deadline
        for worker in workers:
            worker.result()
    return record


def _random_request(
    number: int, kinds: list[str], probes: list[Probe], faces: gankit.Generator, load: Any
) -> tuple[str, Request]:
    """The kind and the request that follow from a request's number."""
    rng = np.random.default_rng(number)
    frequencies = np.array([KINDS[kind][1] for kind in kinds])
    kind = str(rng.choice(kinds, p=frequencies / frequencies.sum()))
    probe = probes[rng.integers(len(probes))]
    n = round(LARGEST ** rng.random())  # small requests are the most frequent
    return kind, Request(faces, probe, n, int(rng.integers(min(n, probe.number + 1))), load)


def _send(record: Record, number: int, kind: str, request: Request) -> int:
    """Sends a request, checks the images, and returns how many were generated."""
    source = f"request {number}, {kind} of {request.n}"
    try:
        made, images = KINDS[kind][0](request)
    except Exception as error:  # any exception is an error of gankit's
        record.errors.append(f"{source}: {type(error).__name__}: {error}")
        return 0
    for image in images:
        record.check(source, image, request.probe.image)
    return made


def one_stream(model: Path | None, device: Any = "auto", n: int = 1_000_000) -> Record:
    """Reads one stream of n images; samples the memory and checks an image a hundred times.

    `model` and `device` are as for `mixed_requests`.
    """
    with gankit.load(model, device=device) as faces:
        record, step = Record("soak-stream", faces.device), max(1, min(n // 100, STREAM_WARMUP))
        record.sample_memory(0)
        for batch in faces.stream(n, seed=1):
            record.images += len(batch)
            record.counts["batches"] += 1
            if record.images - record.progress[-1] >= step or record.images == n:
                last = faces.sample(1, seed=1, start=record.images - 1)[0]
                record.check(f"image {record.images - 1} of the stream", batch[-1], last)
                record.sample_memory(record.images)
    return record
