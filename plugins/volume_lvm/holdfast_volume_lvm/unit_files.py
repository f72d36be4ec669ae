"""Files that are logical units: one in an XFS of its own, which takes up nearly all of it.

The room is allocated once, by fallocate(2): XFS notes extents that are not written yet, which read as zeros. No zero
passes through memory, and the work is that of some extents whatever the size. The file is made under another name and
gets its own once all of it is durable, so that a repeated making never touches one that may hold data.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from holdfast.errors import ConflictError, HoldfastError, NoSpaceError, NotFoundError, Reason
from holdfast.hooks.volume import UNIT_FILE

MIB = 1 << 20
_UNFINISHED = f"{UNIT_FILE}.new"

LOG_BYTES = 64 * MIB
MKFS_OPTIONS = ("-m", "reflink=0", "-l", f"size={LOG_BYTES}")
"""A log of one size, for a large volume would get up to 2 GiB of it; no room kept back for copies that share blocks."""
_FIXED_BYTES = LOG_BYTES + 48 * MIB
_PART = 256
"""XFS keeps up to 32 MiB back for itself (xfs_mount.c, xfs_default_resblks) and about a thousandth for the tree of free
inodes (xfs_ialloc_btree.c, xfs_finobt_calc_reserves), and needs the heads of its groups and the map of the file. With
64 + 32 MiB and a 256th, 2 MiB of a volume of 1 GiB were left, the least seen from 300 MiB to 8 TiB."""


def size_on(volume_bytes: int) -> int:
    """The size of the file on a volume of this size, in whole MiB."""
    return max(0, volume_bytes - _FIXED_BYTES - volume_bytes // _PART) // MIB * MIB


def make(directory: Path, size_bytes: int) -> None:
    """See VolumeDriver.make_unit_file."""
    path, unfinished = directory / UNIT_FILE, directory / _UNFINISHED
    try:
        found = path.stat().st_size
    except FileNotFoundError:
        pass
    else:
        if found != size_bytes:
            text = f"{path} has {found} bytes, not {size_bytes}"
            raise ConflictError(text, reasons=[Reason("exists", text, "make another volume")])
        return
    try:
        _allocate(unfinished, size_bytes)
        unfinished.rename(path)
        _sync(directory)
    except OSError as reason:
        raise _failed(directory, size_bytes, reason) from reason


def grow(directory: Path, size_bytes: int) -> None:
    """See VolumeDriver.grow_unit_file."""
    path = directory / UNIT_FILE
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            _extend(descriptor, size_bytes)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except FileNotFoundError as reason:
        text = f"there is no file {path}"
        raise NotFoundError(text, reasons=[Reason("no-file", text, "look at what removed it")]) from reason
    except OSError as reason:
        raise _failed(directory, size_bytes, reason) from reason


def _extend(descriptor: int, size_bytes: int) -> None:
    """XFS sets the size once all is allocated, so that the file has the old one until then."""
    found = os.fstat(descriptor).st_size
    if size_bytes <= found:
        return
    try:
        # The new part alone: XFS wants as much free as it is asked for, also where it is allocated already.
        os.posix_fallocate(descriptor, found, size_bytes - found)
    except OSError as reason:
        if reason.errno != errno.ENOSPC:
            raise
        # What an interruption left behind the end is in the way of the same again. To truncate to the size that is
        # there frees just that (xfs_iops.c, xfs_setattr_size).
        os.ftruncate(descriptor, found)
        os.posix_fallocate(descriptor, found, size_bytes - found)


def _failed(directory: Path, size_bytes: int, reason: OSError) -> HoldfastError:
    if reason.errno == errno.ENOSPC:
        text = f"the file system at {directory} has no room for a file of {size_bytes} bytes"
        return NoSpaceError(text, reasons=[Reason("no-space", text, "make the volume larger", "size_bytes")])
    return HoldfastError(f"no file of {size_bytes} bytes could be made at {directory}: {reason.strerror}")


def _allocate(path: Path, size_bytes: int) -> None:
    # Truncated: what an interrupted making left is given back, and every byte of the file is of an extent not written.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size_bytes)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
