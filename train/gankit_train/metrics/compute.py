"""Computes metrics by their names."""

from collections.abc import Callable, Sequence

from gankit._errors import UsageError
from gankit_train.metrics import functions
from gankit_train.metrics.comparison import Comparison
from gankit_train.metrics.table import find_metrics

FUNCTIONS: dict[str, Callable[[Comparison], float]] = {
    "sliced_wasserstein": functions.sliced_wasserstein, "diversity": functions.diversity,
    "nearest_l1": functions.nearest_l1, "authenticity": functions.authenticity, "ndb": functions.ndb,
    "density": functions.density, "coverage": functions.coverage, "frechet": functions.frechet,
    "label_fidelity": functions.label_fidelity, "label_modes": functions.label_modes, "label_kl": functions.label_kl,
    "confidence": functions.confidence, "fid": functions.fid, "kid": functions.kid,
}  # fmt: skip
"""The function of each metric in `METRICS`."""


def compute_metrics(names: Sequence[str], comparison: Comparison) -> dict[str, float]:
    """Computes metrics by name. Raises UsageError as `check_available`, and ModelError if features are not finite."""
    check_available(names, comparison)
    return {name: FUNCTIONS[name](comparison) for name in names}


def check_available(names: Sequence[str], comparison: Comparison) -> None:
    """Raises UsageError if a metric is unknown, or not available for these images; the message says why."""
    for name, metric in find_metrics(names).items():
        if reason := comparison.why_unavailable(name, metric):
            raise UsageError(reason)
