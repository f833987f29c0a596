"""Writing files so that a final name only ever stands on a whole file."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from gankit._errors import GankitError


@contextmanager
def written_whole(path: str | Path, durable: bool = False) -> Iterator[Path]:
    """Gives a temporary path beside `path`; what was written there takes the final name when the block ends well.

    Missing parent folders are made. On any exception, Ctrl-C included, nothing is left and an older file at `path`
    stays as it was. With `durable` the file also survives a power cut right after. The temporary name ends like the
    final one, for libraries that choose a format by it.

    Raises:
        GankitError: the place cannot be written or is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}-{threading.get_ident()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if durable:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())  # else the rename might survive and the content not
        temporary.replace(path)
    except OSError as error:
        raise GankitError(f"cannot write {path}: {error.strerror or error}; choose another place") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def opened(path: str | Path) -> Iterator[BinaryIO]:
    """A file to write bytes into, which appears only whole, see `written_whole`; for `-` it is standard output.

    Raises:
        GankitError: the place cannot be written or is full.
        BrokenPipeError: whoever reads standard output has read enough.
    """
    if str(path) != "-":
        with written_whole(path) as temporary, temporary.open("wb") as file:
            yield file
        return
    try:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise GankitError(f"cannot write to standard output: {error.strerror or error}") from error
