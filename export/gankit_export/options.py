"""The options of an export. This module does not import PyTorch, so that `gan-export --help` is quick."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Literal, get_args

from gankit._errors import UsageError

OLDEST_OPSET, NEWEST_OPSET = 18, 20
"""The ONNX opsets that can be written. From 22 on, older CUDA providers have no kernel for ConvTranspose and run it on
the CPU without a warning."""

Output = Literal["uint8", "float"]
Precision = Literal["float32", "float16", "compact"]
Rewrite = Literal["plain", "subpixel", "phases"]
Target = Literal["cpu", "cuda", "openvino"]
FormatName = Literal["onnx", "torchscript", "pt2"]

_PYTHON = sys.version_info[:2]

# What was measured to be fastest; CUDA has not been measured yet.
_TARGET_PRECISION: dict[Target, Precision] = {"cpu": "float32", "cuda": "float16", "openvino": "float32"}
_TARGET_REWRITE: dict[Target, Rewrite] = {"cpu": "phases", "cuda": "plain", "openvino": "subpixel"}


def supports_torchscript() -> bool:
    """Whether PyTorch supports TorchScript on this Python: not from Python 3.14 on."""
    return _PYTHON < (3, 14)


def default_formats() -> tuple[FormatName, ...]:
    """The formats to write where none is requested: ONNX and, where PyTorch supports it, TorchScript."""
    return ("onnx", "torchscript") if supports_torchscript() else ("onnx",)


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """How the exported graph is written. The images stay the same, apart from the rounding of float16.

    Raises:
        UsageError: a value that is not allowed. The message names the field, the value and the allowed values.
    """

    target: Target = "cpu"
    """The engine that the file should be fast on: ONNX Runtime on `cpu` or `cuda`, or `openvino`. It decides
    `precision` and `rewrite` where these are None."""
    precision: Precision | None = None
    """`float32`; `float16`: weights and arithmetic in float16; `compact`: float16 weights that are cast to float32 when
    the file is opened, so half the file size and float32 arithmetic. None: float16 for `cuda`, otherwise float32."""
    rewrite: Rewrite | None = None
    """How transposed convolutions are written. `plain`: as they are. `phases` and `subpixel`: as ordinary convolutions,
    which compute the same; see `gankit_export.conv_transpose`. A given rewrite applies to all formats, and it is an
    error if the generator has no layer to rewrite. None: the fastest for the target, in ONNX files only and where
    possible, as PyTorch's own transposed convolutions are faster than rewritten ones."""
    output: Output = "uint8"
    """`uint8`: images [n, height, width, channels] from 0 to 255. `float`: float32 [n, channels, height, width] in
    [-1, 1]."""
    opset: int = OLDEST_OPSET
    """The ONNX opset, 18 to 20. Most runtimes support the oldest one."""

    def __post_init__(self) -> None:
        check_choice("target", self.target, get_args(Target))
        check_choice("output", self.output, get_args(Output))
        if self.precision is not None:
            check_choice("precision", self.precision, get_args(Precision))
        if self.rewrite is not None:
            check_choice("rewrite", self.rewrite, get_args(Rewrite))
        check_opset("opset", self.opset)

    @property
    def resolved_precision(self) -> Precision:
        """The precision: the given one, else the target's."""
        return self.precision or _TARGET_PRECISION[self.target]

    @property
    def preferred_rewrite(self) -> Rewrite:
        """The rewrite to use where none is given: the target's; `plain` for float16, which was slower rewritten."""
        return "plain" if self.resolved_precision == "float16" else _TARGET_REWRITE[self.target]


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises UsageError if `value` is not one of the choices; `name` is the field or the option in the message."""
    if value not in choices:
        raise UsageError(f"{name} must be one of {', '.join(choices)}, not {value!r}")


def check_opset(name: str, value: int) -> None:
    """Raises UsageError if an ONNX opset cannot be written; `name` is the field or the option in the message."""
    if not OLDEST_OPSET <= value <= NEWEST_OPSET:
        raise UsageError(f"{name} must be from {OLDEST_OPSET} to {NEWEST_OPSET}, not {value}")
