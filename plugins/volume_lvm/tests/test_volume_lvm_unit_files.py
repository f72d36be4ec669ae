"""The file of a logical unit: its size, and that none is ever made twice."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from holdfast.errors import ConflictError, HoldfastError, NoSpaceError, NotFoundError
from holdfast.hooks.volume import UNIT_FILE
from holdfast_volume_lvm import unit_files

MIB, GIB = 1 << 20, 1 << 30


@pytest.mark.parametrize(
    ("volume_bytes", "file_bytes"),
    [
        (112 * MIB, 0),
        (300 * MIB, 186 * MIB),
        (320 * MIB, 206 * MIB),
        (GIB, (1024 - 112 - 4) * MIB),
        (GIB + 4 * MIB, (1024 - 112 - 4 + 3) * MIB),
        (1024 * GIB, (1024 * 1024 - 112 - 4096) * MIB),
    ],
)
def test_the_size_is_a_function_of_the_volumes_alone(volume_bytes: int, file_bytes: int) -> None:
    assert unit_files.size_on(volume_bytes) == file_bytes


def test_a_file_is_made_whole_and_kept_as_it_is(tmp_path: Path) -> None:
    unit_files.make(tmp_path, 4 * MIB)
    [path] = tmp_path.iterdir()
    found = path.stat()
    assert (path.name, found.st_size, found.st_mode & 0o777) == (UNIT_FILE, 4 * MIB, 0o600)
    assert found.st_blocks * 512 >= 4 * MIB
    assert path.read_bytes() == bytes(4 * MIB)
    path.write_bytes(b"data".ljust(4 * MIB, b"\0"))
    unit_files.make(tmp_path, 4 * MIB)
    with pytest.raises(ConflictError):
        unit_files.make(tmp_path, 2 * MIB)
    assert path.read_bytes()[:4] == b"data"


def test_what_an_interruption_left_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "unit.new").write_bytes(b"\1" * MIB)
    unit_files.make(tmp_path, 4 * MIB)
    [path] = tmp_path.iterdir()
    assert path.read_bytes() == bytes(4 * MIB)


@pytest.mark.parametrize(("number", "error"), [(errno.ENOSPC, NoSpaceError), (errno.EIO, HoldfastError)])
def test_a_file_that_cannot_be_made_whole_gets_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[HoldfastError]
) -> None:
    def refuse(*_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(error):
        unit_files.make(tmp_path, 4 * MIB)
    assert not (tmp_path / UNIT_FILE).exists()


def test_a_file_grows_under_its_users_and_never_shrinks(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        unit_files.grow(tmp_path, MIB)
    assert list(tmp_path.iterdir()) == []
    unit_files.make(tmp_path, MIB)
    path = tmp_path / UNIT_FILE
    path.write_bytes(b"data" * (MIB // 4))
    for asked in (3 * MIB, 3 * MIB, MIB):
        unit_files.grow(tmp_path, asked)
        assert path.read_bytes() == b"data" * (MIB // 4) + bytes(2 * MIB)
        assert path.stat().st_blocks * 512 >= 3 * MIB


@pytest.mark.parametrize(("number", "error"), [(errno.ENOSPC, NoSpaceError), (errno.EIO, HoldfastError)])
def test_a_file_that_cannot_grow_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[HoldfastError]
) -> None:
    unit_files.make(tmp_path, MIB)

    def refuse(*_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(error):
        unit_files.grow(tmp_path, 4 * MIB)
    assert (tmp_path / UNIT_FILE).stat().st_size == MIB


def test_what_an_interruption_left_behind_the_end_is_not_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XFS wants it free once more; here the first attempt is told so, whatever the file system is."""
    unit_files.make(tmp_path, MIB)
    allocate, seen = os.posix_fallocate, []

    def refuse_once(descriptor: int, offset: int, length: int) -> None:
        seen.append((offset, length))
        if len(seen) == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        allocate(descriptor, offset, length)

    monkeypatch.setattr(os, "posix_fallocate", refuse_once)
    unit_files.grow(tmp_path, 4 * MIB)
    assert seen == [(MIB, 3 * MIB)] * 2
    assert (tmp_path / UNIT_FILE).stat().st_size == 4 * MIB
