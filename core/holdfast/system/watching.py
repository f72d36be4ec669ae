"""What somebody has changed in directories, told by the kernel (inotify(7)).

The calls are made here and not by a package: those there are start a process to find the C library, which a monitor
that is about to take over must not.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import NamedTuple

_EVENT = struct.Struct("iIII")
_MODIFY, _MOVED, _CREATE, _DELETE, _DELETE_SELF = 0x2, 0xC0, 0x100, 0x200, 0x400
_MOVED_TO = 0x80
_CHANGES = _MODIFY | _MOVED | _CREATE | _DELETE | _DELETE_SELF
_OVERFLOW, _IGNORED, _ONLY_DIRECTORIES = 0x4000, 0x8000, 0x01000000
_AT_ONCE_BYTES = 1 << 20
_SPENT = (errno.ENOSPC, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


class How(StrEnum):
    """What was done."""

    MADE = "made"
    REMOVED = "removed"
    WRITTEN = "written"


class Change(NamedTuple):
    """What was done to what."""

    path: str
    how: How


class Watch:
    """Tells what processes make, remove and write in directories; what the kernel does by itself goes untold.

    `place` says where a path really lies.
    """

    def __init__(self, place: Callable[[str], str]) -> None:
        """Raises OSError when the kernel gives no more of them."""
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._place = place
        self._descriptor = self._libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        self._paths: dict[int, str] = {}
        self._found: set[Change] = set()
        self._has_lost_some = False
        self.is_whole = True
        """Whether the kernel watches all that it was asked to."""

    def cover(self, directories: Iterable[str]) -> None:
        """Watch these, too; one that is not there is left out."""
        # First what is told already: a directory that was made afresh since is not watched any more.
        self._take()
        for path in set(directories).difference(self._paths.values()):
            place = os.fsencode(self._place(path))
            number = self._libc.inotify_add_watch(self._descriptor, place, _CHANGES | _ONLY_DIRECTORIES)
            if number >= 0:
                self._paths[number] = path
            elif ctypes.get_errno() in _SPENT:
                self.is_whole = False
                return

    def changes(self) -> frozenset[Change] | None:
        """What was changed since the last call; None if it was more than the kernel keeps."""
        self._take()
        found = None if self._has_lost_some else frozenset(self._found)
        self._found.clear()
        self._has_lost_some = False
        return found

    def _take(self) -> None:
        """Take in what the kernel has to tell."""
        while data := self._read():
            offset = 0
            while offset < len(data):
                number, what, _, length = _EVENT.unpack_from(data, offset)
                offset += _EVENT.size
                name = os.fsdecode(data[offset : offset + length].rstrip(b"\0"))
                offset += length
                self._has_lost_some |= bool(what & _OVERFLOW)
                if (directory := self._paths.get(number)) is not None:
                    self._found.add(Change(f"{directory}/{name}" if name else directory, _how(what)))
                    if what & _IGNORED:
                        del self._paths[number]

    def _read(self) -> bytes:
        try:
            return os.read(self._descriptor, _AT_ONCE_BYTES)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        """Watch no more."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        self.close()


def _how(what: int) -> How:
    if what & _MODIFY:
        return How.WRITTEN
    return How.MADE if what & (_CREATE | _MOVED_TO) else How.REMOVED
