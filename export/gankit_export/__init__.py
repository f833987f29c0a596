"""Export a generator to ONNX, TorchScript or .pt2, and verify that the file computes what the network computes.

>>> import gankit, gankit_export
>>> gankit_export.export_run("runs/cgan-avatars-32", formats=["onnx"])
>>> gankit_export.export(generator, gankit.Card("faces", 64, 64, 3, z_dim=100), "faces.onnx")

The names in `__all__` are public. Every module of this package is internal and may change without notice.
"""

from typing import TYPE_CHECKING

__all__ = ["ExportOptions", "ExportedFile", "VerificationResult", "export", "export_run"]

if TYPE_CHECKING:
    from gankit_export.exporter import ExportedFile, export, export_run
    from gankit_export.options import ExportOptions
    from gankit_export.verify import VerificationResult
else:  # imported on first use, as PyTorch takes seconds to import

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from gankit_export.exporter import ExportedFile, export, export_run
        from gankit_export.options import ExportOptions
        from gankit_export.verify import VerificationResult

        return {
            "ExportOptions": ExportOptions,
            "ExportedFile": ExportedFile,
            "VerificationResult": VerificationResult,
            "export": export,
            "export_run": export_run,
        }[name]

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
