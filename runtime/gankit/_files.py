"""Writing files so that a final name never stands on an incomplete file."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from gankit._errors import GankitError


@contextmanager
def atomic_write(path: str | Path, durable: bool = False) -> Iterator[Path]:
    """Yields a temporary path in the folder of `path`, and renames that file to `path` when the block succeeds.

    Missing parent folders are created. If the block raises, including KeyboardInterrupt, the temporary file is removed
    and an existing file at `path` is unchanged. The temporary name has the suffix of `path`, because some libraries
    choose the format by it.

    Args:
        path: the final file.
        durable: also flush the file and its folder to disk, so that the file survives a power failure.

    Raises:
        GankitError: the file cannot be written or the disk is full. A GankitError of the block passes unchanged.
    """
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}-{threading.get_ident()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if durable:
            _sync(temporary, os.O_RDWR)  # before the rename, which could otherwise survive without the content
        temporary.replace(path)
        if durable and os.name != "nt":  # Windows cannot open a folder
            _sync(path.parent, os.O_RDONLY)
    except GankitError:
        raise
    except OSError as error:
        raise GankitError(f"cannot write {path}: {error.strerror or error}; choose another place") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def open_output(path: str | Path) -> Iterator[BinaryIO]:
    """Opens a file for writing bytes, which appears only when complete; the path `-` is standard output.

    Raises:
        GankitError: the output cannot be written or the disk is full. A GankitError of the block passes unchanged.
        BrokenPipeError: the reader of standard output has closed it.
    """
    if str(path) != "-":
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            yield file
        return
    try:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    except (BrokenPipeError, GankitError):
        raise
    except OSError as error:
        raise GankitError(f"cannot write to standard output: {error.strerror or error}") from error


def _sync(path: Path, flags: int) -> None:
    """Flushes a file or a folder to disk."""
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
