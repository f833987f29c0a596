"""The errors that gankit raises for anything a user can cause.

Each message is one sentence: what is wrong, with which value, and what to do. Each class also inherits from the
built-in exception that callers would expect. The commands print the message and exit with `exit_code`: 2 for wrong use,
1 for work that failed.
"""


class GankitError(Exception):
    """Base class of all gankit errors; raised directly when work fails, for example on a full disk."""

    exit_code = 1


class UsageError(GankitError, ValueError):
    """An argument has an unusable value; the message names the argument, the value and what is allowed."""

    exit_code = 2


class LabelError(UsageError):
    """A label is unknown to the model, ambiguous or contradictory; the message lists the model's labels."""


class ModelNotFoundError(GankitError, FileNotFoundError):
    """There is no file at the path given for a model."""

    exit_code = 2


class ModelError(GankitError, ValueError):
    """A file is not a model, is truncated, or does not fit the generator's contract."""


class DeviceError(GankitError, RuntimeError):
    """An explicitly requested device is not available. `device="auto"` never raises it: it falls back to the CPU."""


class BusyError(GankitError, TimeoutError):
    """The request queue is full; a server should answer 503 and let the client retry."""


class MissingExtraError(GankitError, ImportError):
    """An optional dependency is not installed; the message has the `pip install` command."""


def one_line(error: BaseException) -> str:
    """The message of another library's exception on one line, cut to 200 characters."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def missing_extra(what: str, *extras: str) -> MissingExtraError:
    """The error for a feature, named `what`, that needs one of these optional dependency groups."""
    commands = " or ".join(f"pip install 'gankit[{extra}]'" for extra in extras)
    return MissingExtraError(f"{what} needs packages that are not installed: {commands}")
