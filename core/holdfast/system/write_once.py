"""Files that nobody may change: a note beside each, and the flag `immutable` of its file system (chattr(1))."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import struct

NOTE = "trusted.holdfast.worm"
"""The attribute that holds the note of a file. Only root sees or sets those that begin with `trusted.`."""
_GET_FLAGS, _SET_FLAGS = 0x80086601, 0x40086602  # linux/fs.h, FS_IOC_GETFLAGS and FS_IOC_SETFLAGS
_IMMUTABLE = 0x10
_F_SETSIG = 10


def read_note(descriptor: int, name: str = NOTE) -> bytes | None:
    """The note of what is open; None where there is none. Raises OSError."""
    try:
        return os.getxattr(descriptor, name)
    except OSError as reason:
        if reason.errno in (errno.ENODATA, errno.EOPNOTSUPP):
            return None
        raise


def is_immutable(descriptor: int) -> bool:
    """Whether a file cannot be changed, renamed or removed."""
    return bool(_flags(descriptor) & _IMMUTABLE)


def freeze(descriptor: int, note: bytes | None) -> bool:
    """Write a note, if any, and make a file immutable; False, and nothing done, if somebody has it open for writing.

    Who has it open could go on writing. What is open for reading can have a lease only while there is no such one, and
    who comes while there is a lease waits for its end. Raises OSError.
    """
    if not _lease(descriptor):
        return False
    try:
        if note is not None:
            os.setxattr(descriptor, NOTE, note)
        _set_immutable(descriptor, True)
    finally:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    # Who was let in just before it became immutable, and waited for the lease, has it open now.
    if not _lease(descriptor):
        _set_immutable(descriptor, False)
        return False
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return True


def thaw(descriptor: int, note: bytes | None) -> None:
    """Let a file be changed again, and give it another note, or with None none. Raises OSError."""
    _set_immutable(descriptor, False)
    if note is not None:
        os.setxattr(descriptor, NOTE, note)
        return
    with contextlib.suppress(OSError):
        os.removexattr(descriptor, NOTE)


def _lease(descriptor: int) -> bool:
    try:
        # By default SIGIO tells of who waits for its end, which would end this process.
        fcntl.fcntl(descriptor, _F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return False
    return True


def _flags(descriptor: int) -> int:
    data = fcntl.ioctl(descriptor, _GET_FLAGS, bytes(8))
    return int(struct.unpack("@i", data[:4])[0])


def _set_immutable(descriptor: int, wanted: bool) -> None:
    flags = _flags(descriptor)
    changed = flags | _IMMUTABLE if wanted else flags & ~_IMMUTABLE
    if changed != flags:
        fcntl.ioctl(descriptor, _SET_FLAGS, struct.pack("@i4x", changed))
