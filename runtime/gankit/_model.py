"""Finding and reading model files."""

from __future__ import annotations

from pathlib import Path

from gankit._errors import ModelError, ModelNotFoundError


def bundled_model() -> Path:
    """The path of the small conditional face generator that is part of the package."""
    return Path(__file__).parent / "models" / "avatars.onnx"


def newest_export(runs: Path) -> Path | None:
    """The most recently written ONNX file in any run folder below `runs`; None if there is none."""
    return max(runs.glob("*/*.onnx"), key=lambda path: path.stat().st_mtime, default=None)


def read_model(model: str | Path | bytes) -> bytes:
    """The content of a model file; bytes are returned unchanged.

    Raises:
        ModelNotFoundError: there is no such file.
        ModelError: the file cannot be read.
    """
    # Opening bytes leaves ONNX Runtime no folder to search for external data, which the contract forbids anyway.
    if isinstance(model, bytes):
        return model
    try:
        return Path(model).read_bytes()
    except FileNotFoundError:
        raise ModelNotFoundError(
            f"there is no model at {model}; check the path, or export a model with gan-export"
        ) from None
    except OSError as error:
        raise ModelError(f"cannot read the model {model}: {error.strerror}") from None
