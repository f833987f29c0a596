"""What a command line asks of every suite."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gankit._environment import available_cores

RESULTS = Path(__file__).parent / "results"
QUICK_RESULTS = Path("build/benchmarks")
"""Quick runs show that everything works: their figures must not replace those that the documents quote."""


@dataclass(frozen=True)
class Options:
    """The same for all suites of a run."""

    device: str = "cpu"
    """`cpu` or `cuda`."""
    quick: bool = False
    peers: bool = True
    """Whether others are measured beside gankit."""
    peer_dirs: tuple[Path, ...] = ()
    """Checkouts of other trainers."""
    rounds: int | None = None
    """None takes each suite's own number."""
    model: Path | None = None
    """An ONNX file to sample from; None makes the 64×64 DCGAN that the documents speak of."""
    results: Path = RESULTS

    @property
    def threads(self) -> int:
        """For every way alike: the cores that this process may use."""
        return available_cores()

    def rounds_of(self, usual: int) -> int:
        """How often everything is measured, where a suite takes `usual` rounds by itself."""
        return self.rounds or (1 if self.quick else usual)

    def pick(self, full: float, quick: float) -> float:
        """The one or the other."""
        return quick if self.quick else full
