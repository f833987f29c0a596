"""From a checkpoint to files that compute what the network computed, and the proof of it.

>>> import gankit_export
>>> gankit_export.export(Path("runs/cgan-avatars-32"))
"""

from typing import Any

__all__ = ["Exported", "export"]


def __getattr__(name: str) -> Any:
    # Late, so that `gan-export --help` need not wait for torch.
    if name in __all__:
        from gankit_export import exporter

        return getattr(exporter, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
