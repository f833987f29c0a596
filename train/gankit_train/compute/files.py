"""Files written by `torch.save`, read without running code from them."""

import errno
import hashlib
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import torch

from gankit._errors import GankitError, ModelError, UsageError, one_line


def load_tensors(path: Path) -> Any:
    """Loads a file of `torch.save` that holds only tensors, numbers, texts and containers, onto the CPU.

    Raises UsageError if there is no such file, GankitError if it cannot be read at the moment, and ModelError if it is
    truncated, is not a file of `torch.save`, or would run code when it is unpickled.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}") from None
    except Exception as error:  # a damaged pickle can raise anything, EINVAL for a seek to before its start included
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise GankitError(f"{path} cannot be read: {error.strerror or one_line(error)}") from error
        code = isinstance(error, pickle.UnpicklingError) and re.search(r"GLOBAL ([\w.]+\w)\s", str(error))
        if not code:
            raise ModelError(f"{path} is truncated or not a file of torch.save: {one_line(error)}") from error
        raise ModelError(
            f"{path} would run code ({code[1]}) when it is loaded, as a pickled module does, which is refused; "
            "save a state dict instead: torch.save(G.state_dict(), 'weights.pt')"
        ) from error


def sha256(path: Path) -> str:
    """Returns the SHA-256 of a file in hexadecimal digits, as `sha256sum` prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
