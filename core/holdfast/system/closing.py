"""Which files of a file system somebody has closed after he could write to them, told by the kernel (fanotify(7))."""

from __future__ import annotations

import ctypes
import os
import re
import struct
from pathlib import Path

_EVENT = struct.Struct("IBBHQii")
_AT_ONCE = 64
"""Files in one reading: each of them is open until it was looked at."""
# linux/fanotify.h
_INIT_CLOEXEC, _INIT_NONBLOCK = 0x1, 0x2
_MARK_ADD, _MARK_REMOVE, _MARK_FILESYSTEM = 0x1, 0x2, 0x100
_CLOSE_WRITE, _Q_OVERFLOW = 0x8, 0x4000
_O_LARGEFILE = 0o100000
_COVERED = re.compile(r"^fanotify sdev:([0-9a-f]+) ", re.MULTILINE)


class ClosedFiles:
    """Tells of files that were closed, whoever closed them: programs of this machine, its SMB and its NFS server."""

    def __init__(self) -> None:
        """Raises OSError where the kernel does not tell, or not this process."""
        self._libc = ctypes.CDLL(None, use_errno=True)
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOATIME | _O_LARGEFILE
        self._descriptor: int = self._libc.fanotify_init(_INIT_CLOEXEC | _INIT_NONBLOCK, flags)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "fanotify_init")

    def fileno(self) -> int:
        """To wait at: it is readable when there is something to take."""
        return self._descriptor

    def cover(self, directory: Path) -> bool:
        """Tell of the file system that this directory lies in; whether it was not covered before. Raises OSError."""
        if self._is_covered(directory):
            return False
        self._mark(_MARK_ADD, directory)
        return True

    def uncover(self, directory: Path) -> None:
        """Tell of it no more."""
        if self._is_covered(directory):
            self._mark(_MARK_REMOVE, directory)

    def _is_covered(self, directory: Path) -> bool:
        # One that was unmounted and mounted again is not: then nobody knows what was closed meanwhile.
        device = directory.stat().st_dev
        number = os.major(device) << 20 | os.minor(device)  # as the kernel counts (linux/kdev_t.h)
        text = Path(f"/proc/self/fdinfo/{self._descriptor}").read_text()
        return any(int(found, 16) == number for found in _COVERED.findall(text))

    def _mark(self, what: int, directory: Path) -> None:
        mask, at = ctypes.c_uint64(_CLOSE_WRITE), os.fsencode(directory)
        flags = ctypes.c_uint(what | _MARK_FILESYSTEM)
        if self._libc.fanotify_mark(self._descriptor, flags, mask, -1, at) < 0:
            raise OSError(ctypes.get_errno(), "fanotify_mark", str(directory))

    def take(self) -> tuple[list[int], bool]:
        """The next of them, each open for reading and the caller's to close; and whether some were lost."""
        try:
            data = os.read(self._descriptor, _EVENT.size * _AT_ONCE)
        except BlockingIOError:
            return [], False
        files, has_lost_some, offset = [], False, 0
        while offset < len(data):
            length, _, _, _, what, descriptor, _ = _EVENT.unpack_from(data, offset)
            offset += length
            has_lost_some |= bool(what & _Q_OVERFLOW)
            if descriptor >= 0:
                files.append(descriptor)
        return files, has_lost_some

    def close(self) -> None:
        """Tell nothing more."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
