"""Gauges of the memory of this process, and whether it grows."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from statistics import median


def gauges(device: str) -> dict[str, Callable[[], float]]:
    """The gauges that can be read here, in MB.

    `resident` is what the process holds; `allocated` is the part of it that is in use. glibc keeps freed memory in an
    arena per thread and cannot reuse every piece of it, so a leak shows in both. `GPU` is the whole GPU's use.
    """
    found: dict[str, Callable[[], float]] = {"resident": _resident}
    if hasattr(ctypes.CDLL(None), "mallinfo2"):
        found["allocated"] = _allocated
    if device == "cuda":
        found["GPU"] = _gpu
    return found


def growth(megabytes: list[float]) -> float:
    """Median of the last fifth less median of the first fifth: single samples vary with the requests in progress."""
    part = -(-len(megabytes) // 5)
    return median(megabytes[-part:]) - median(megabytes[:part])


def _resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


class _Mallinfo2(ctypes.Structure):
    """glibc's struct mallinfo2: ten numbers of type size_t."""

    _fields_ = (("values", ctypes.c_size_t * 10),)


def _allocated() -> float:
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = _Mallinfo2
    values = mallinfo2().values
    in_arenas, by_mmap = values[7], values[4]  # uordblks, hblkhd
    return float(in_arenas + by_mmap) / 1e6


def _gpu() -> float:
    line = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    mebibytes = subprocess.run(line, capture_output=True, text=True, check=True).stdout.split()
    return sum(map(float, mebibytes)) * 2**20 / 1e6
