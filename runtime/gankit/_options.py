"""The options for opening a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal, get_args

from gankit._errors import UsageError

Device = Literal["auto", "cuda", "cpu", "openvino"]
Precision = Literal["auto", "float32", "tf32", "bfloat16", "float16"]
Provider = str | tuple[str, dict[str, Any]]
"""An ONNX Runtime execution provider: its name, or its name and its options."""

DEVICES: tuple[str, ...] = get_args(Device)
PRECISIONS: tuple[str, ...] = get_args(Precision)


@dataclass(frozen=True)
class LoadOptions:
    """How to open a model; the fields are the arguments of `gankit.load`.

    Raises:
        UsageError: a field has an unusable value, or two fields exclude each other.
    """

    device: Device = "auto"
    precision: Precision = "auto"
    batch: int = 0
    threads: int = 0
    gpu_mem_limit: int = 0
    providers: Sequence[Provider] | None = None

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("device", self.device, DEVICES),
            ("precision", self.precision, PRECISIONS),
        ):
            if value not in choices:
                raise UsageError(f"{name} must be {', '.join(choices[:-1])} or {choices[-1]}, not {value!r}")
        for name, number, zero in (
            ("batch", self.batch, "the device's default"),
            ("threads", self.threads, "all cores"),
            ("gpu_mem_limit", self.gpu_mem_limit, "no limit"),
        ):
            if not isinstance(number, Integral) or number < 0:
                raise UsageError(f"{name} must be a whole number of at least 1, or 0 for {zero}, not {number!r}")
        if self.providers is not None:
            self._check_providers(self.providers)

    def _check_providers(self, providers: Sequence[Provider]) -> None:
        if isinstance(providers, str):
            raise UsageError(f"providers must be a list, not {providers!r}")
        if self.device != "auto":
            raise UsageError(f"device={self.device!r} and providers exclude each other; leave out one of them")
        if self.gpu_mem_limit:
            raise UsageError("gpu_mem_limit and providers exclude each other; set the limit in the provider's options")
        for each in providers or (None,):
            match each:
                case str() | tuple((str(), dict())):
                    pass
                case _:
                    raise UsageError(
                        "providers must be names of ONNX Runtime execution providers, or pairs of a name and a dict of "
                        f"options, not {list(providers)!r}"
                    )
