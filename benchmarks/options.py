"""The options that all suites share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gankit._environment import available_cores

RESULTS = Path(__file__).parent / "results"
QUICK_RESULTS = Path("build/benchmarks")
"""Where quick runs are written: they are too short to replace the published results."""


@dataclass(frozen=True)
class Options:
    """Options of one run of the benchmarks."""

    device: str = "cpu"
    """`cpu` or `cuda`."""
    quick: bool = False
    """Whether to measure so briefly that the values only show that everything works."""
    baselines: bool = True
    """Whether to measure the baselines too, not only gankit."""
    baseline_dirs: tuple[Path, ...] = ()
    """Checkouts of the trainers that are baselines of the suite training."""
    rounds: int | None = None
    """Number of rounds; None takes the suite's own."""
    model: Path | None = None
    """ONNX file to sample from; None takes the 64×64 DCGAN of `benchmarks.model`."""
    results: Path = RESULTS
    """Folder that results are written to."""

    @property
    def threads(self) -> int:
        """Number of threads of every implementation: the cores that this process may use."""
        return available_cores()

    def rounds_or(self, default: int) -> int:
        """The number of rounds: `--rounds`, or 1 for a quick run, or the suite's own `default`."""
        return self.rounds or (1 if self.quick else default)

    def pick(self, full: float, quick: float) -> float:
        """`quick` for a quick run, else `full`."""
        return quick if self.quick else full
