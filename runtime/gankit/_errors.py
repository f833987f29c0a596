"""Every error that a user can cause: one sentence on what is wrong, with which value, and what to do.

Each class also inherits from the built-in that one would catch. The commands print the message and leave with
`exit_code`: 2 for wrong use, 1 for work that failed.
"""


class GankitError(Exception):
    """The base of all errors of this project; raised itself where work failed for a reason told in the message."""

    exit_code = 1


class UsageError(GankitError, ValueError):
    """An argument that cannot be used: its name, its value, and what would do instead."""

    exit_code = 2


class LabelError(UsageError):
    """A label that the model does not have, or a part of a name that fits several."""


class ModelNotFoundError(GankitError, FileNotFoundError):
    """No file at the path given as a model."""

    exit_code = 2


class ModelError(GankitError, ValueError):
    """A file that is no model, is cut off, or does not fit the generator's contract."""


class DeviceError(GankitError, RuntimeError):
    """A device was demanded and cannot be had. Never raised for `auto`, which falls back and says so."""


class BusyError(GankitError, TimeoutError):
    """As many requests are waiting as may: a server answers that one is to come again."""


class MissingExtraError(GankitError, ImportError):
    """A part of gankit was used whose optional dependencies are not installed."""


def one_line(error: BaseException) -> str:
    """The message of somebody else's exception, without line breaks and cut to what fits into one of ours."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def missing_extra(what: str, *extras: str) -> MissingExtraError:
    """The error for a part of gankit that needs one of these extras."""
    commands = " or ".join(f"pip install 'gankit[{extra}]'" for extra in extras)
    return MissingExtraError(f"{what} needs packages that are not installed: {commands}")
