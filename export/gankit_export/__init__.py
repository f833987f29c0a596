"""From a checkpoint or anybody's generator to files that compute what the network computed, and the proof of it.

>>> import gankit_export
>>> list(gankit_export.export_run(Path("runs/cgan-avatars-32")))
>>> gankit_export.export(generator, gankit.Card("faces", 64, 64, 3, z_dim=100), "faces.onnx")
"""

from typing import Any

__all__ = ["Exported", "Recipe", "export", "export_run"]


def __getattr__(name: str) -> Any:
    # Late, so that `gan-export --help` need not wait for torch.
    if name in __all__:
        from gankit_export import exporter

        return getattr(exporter, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
