"""Writing files so that a final name never stands on an incomplete file."""

import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from gankit import BusyError, ModelNotFoundError
from gankit._errors import GankitError
from gankit._files import atomic_write, open_output
from gankit._writers import save_png


def test_a_final_name_never_stands_on_an_incomplete_file(tmp_path: Path) -> None:
    save_png(tmp_path / "x.png", np.zeros((4, 4, 3), np.uint8))
    old = (tmp_path / "x.png").read_bytes()
    with pytest.raises(KeyboardInterrupt), atomic_write(tmp_path / "x.png") as temporary:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt
    assert [p.name for p in tmp_path.iterdir()] == ["x.png"]
    assert (tmp_path / "x.png").read_bytes() == old


def test_a_full_disk_is_reported_and_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"old")
    with pytest.raises(GankitError, match=r"cannot write .*x\.png: No space left"), atomic_write(tmp_path / "x.png"):
        raise OSError(28, "No space left on device")
    assert (tmp_path / "x.png").read_bytes() == b"old"


def test_standard_output_that_is_full_or_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=io.BytesIO()))
    with pytest.raises(GankitError, match="cannot write to standard output: No space left"), open_output("-"):
        raise OSError(28, "No space left on device")
    with pytest.raises(BrokenPipeError), open_output("-"):  # which ends a command quietly
        raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize("error", [BusyError("try again"), ModelNotFoundError("no model"), GankitError("failed")])
def test_errors_of_gankit_pass_unchanged(tmp_path: Path, error: GankitError) -> None:
    for path in (tmp_path / "x", "-"):
        with pytest.raises(type(error)) as raised, open_output(path):
            raise error
        assert raised.value is error
    assert not list(tmp_path.iterdir())


def test_a_durable_file_is_flushed_with_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: flushed.append(os.fstat(fd).st_ino) or real(fd))  # type: ignore[func-returns-value]
    with atomic_write(tmp_path / "x", durable=True) as temporary:
        temporary.write_bytes(b"content")
    assert flushed == [(tmp_path / "x").stat().st_ino, tmp_path.stat().st_ino]
    with atomic_write(tmp_path / "y") as temporary:
        temporary.write_bytes(b"content")
    assert len(flushed) == 2
