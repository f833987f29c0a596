"""Files of the repository that tests read."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "models" / "tiny.onnx"
"""A small conditional generator, made by `tests/make_tiny_model.py`."""
