"""On this machine's own kernel: as root, on a file system that has the flag immutable."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.system import write_once
from holdfast.system.closing import ClosedFiles


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """A file with a text; it can be removed afterwards."""
    path = tmp_path / "file"
    path.write_text("text")
    yield path
    with reading(path) as descriptor:
        write_once.thaw(descriptor, None)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def test_what_is_frozen_is_not_changed_removed_or_renamed_until_it_is_thawed(file: Path) -> None:
    with reading(file) as descriptor:
        assert write_once.read_note(descriptor) is None
        assert write_once.freeze(descriptor, b"note")
        assert write_once.read_note(descriptor) == b"note"
        for attempt in (lambda: file.write_text("other"), file.unlink, lambda: file.rename(f"{file}-moved")):
            with pytest.raises(PermissionError):
                attempt()
        assert file.read_text() == "text"
        write_once.thaw(descriptor, b"another")
        assert write_once.read_note(descriptor) == b"another"
    file.write_text("other")


def test_what_somebody_has_open_for_writing_is_not_frozen_and_bears_no_note(file: Path) -> None:
    with reading(file) as descriptor:
        with file.open("a"):
            assert not write_once.freeze(descriptor, b"note")
            assert not write_once.is_immutable(descriptor)
            assert write_once.read_note(descriptor) is None
        with reading(file):  # who only reads is in nobody's way
            assert write_once.freeze(descriptor, b"note")


def closed(told: ClosedFiles, path: Path, within_s: float = 5.0) -> bool:
    """Whether it is told that a file was closed; others of the same file system may be told of, too."""
    wanted, deadline, is_found = path.stat().st_ino, time.monotonic() + within_s, False
    while not is_found and time.monotonic() < deadline:
        files, _ = told.take()
        for descriptor in files:
            is_found |= os.fstat(descriptor).st_ino == wanted
            os.close(descriptor)
        time.sleep(0 if files else 0.01)
    return is_found


def test_it_is_told_what_was_closed_after_writing_and_not_what_was_read(file: Path) -> None:
    told = ClosedFiles()
    try:
        assert told.cover(file.parent)
        assert not told.cover(file.parent)
        file.read_text()
        assert not closed(told, file, within_s=0.3)
        with file.open("a") as stream:
            stream.write("more")
            stream.flush()
            assert not closed(told, file, within_s=0.3)
        assert closed(told, file)
        told.uncover(file.parent)
        file.write_text("unheard")
        assert not closed(told, file, within_s=0.3)
    finally:
        told.close()
