"""Writing files so that a final name only ever stands on a whole file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gankit.errors import GankitError


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
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
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
