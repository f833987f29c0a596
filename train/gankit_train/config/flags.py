"""How settings are written on the command line: parsing of values, names of flags, and flags as text."""

import re
from shlex import quote
from typing import Any

from gankit._console import parse_int_list
from gankit._errors import UsageError


def parse_count(text: str | int) -> int:
    """Parses a number of images: `"2M"` → 2,000,000, `"50k"` → 50,000, `"64"` → 64."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmM]?)", str(text))
    if not match:
        raise UsageError(f"a number of images is written like 50000, 50k or 2M, not {text!r}")
    return round(float(match[1]) * {"": 1, "k": 1_000, "m": 1_000_000}[match[2].lower()])


def parse_size(text: str | tuple[int, int]) -> tuple[int, int]:
    """Parses an image size into height and width: `"64"` → (64, 64), `"48x64"` (WIDTHxHEIGHT) → (64, 48)."""
    if isinstance(text, tuple):
        return text
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if not match:
        raise UsageError(f"a size is written like 64, or 48x64 for width x height, not {text!r}")
    return int(match[2] or match[1]), int(match[1])


def parse_ints(text: str | tuple[int, ...]) -> tuple[int, ...]:
    """Parses integers separated by commas: `"256,512"` → (256, 512)."""
    return text if isinstance(text, tuple) else tuple(parse_int_list(text, "lists", "256,512"))


def parse_names(text: str | tuple[str, ...]) -> tuple[str, ...]:
    """Parses names separated by commas: `"color,cutout"` → ("color", "cutout")."""
    return text if isinstance(text, tuple) else tuple(filter(None, (part.strip() for part in text.split(","))))


def flag(name: str) -> str:
    """Returns the flag of a setting: `batch_size` → `--batch-size`. The variant has none and stays as it is."""
    return name if name == "variant" else "--" + name.replace("_", "-")


def format_value(name: str, value: Any) -> str:
    """Formats the value of a setting as it is typed: ("d_widths", (64, 128)) → `64,128`."""
    if name == "size" and value is not None:
        return f"{value[1]}x{value[0]}"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, float) and float(short := f"{value:g}") == value:
        return short
    return str(value)


def format_flag(name: str, value: Any) -> str:
    """Formats a setting as it is typed: ("d_widths", (64, 128)) → `--d-widths 64,128`, quoted for a shell."""
    if isinstance(value, bool):
        return flag(name) if value else flag(f"no_{name}")
    if name == "attribute":
        return " ".join(f"{flag(name)} {quote(each)}" for each in value)
    return f"{flag(name)} {quote(format_value(name, value))}"
