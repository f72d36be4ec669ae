"""A thin volume is emptied, not filled: it reads zero wherever its pool has given it no room.

Zeros would be written to it in full, for it has no command for them, and would take all that room from the pool. That
nothing is mapped any more is also the better proof: the kernel's own count, for every byte.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import struct
from collections.abc import Callable
from pathlib import Path

from holdfast.system.command import Commands
from holdfast.system.kernelfs import KernelFs
from holdfast_rep_block.zeroing import finish, open_exclusively

# linux/fs.h: _IO(0x12, 119).
BLKDISCARD = 0x1277

_COMMAND_S = 20.0

DiscardRange = Callable[[int, int, int], None]
"""Give back `length` bytes of an open device at `offset`: (descriptor, offset, length)."""


def discard_range(descriptor: int, offset: int, length: int) -> None:
    """Give back what a device has of a range. Raises OSError."""
    fcntl.ioctl(descriptor, BLKDISCARD, struct.pack("QQ", offset, length))


def mapped_sectors(status: str) -> int | None:
    """What a thin volume has of its pool, by `dmsetup status`; None for any other device, or one that failed.

    `0 SIZE thin MAPPED HIGHEST` (Documentation/admin-guide/device-mapper/thin-provisioning.rst).
    """
    lines = status.splitlines()
    words = lines[0].split() if len(lines) == 1 else []
    return int(words[3]) if words[2:3] == ["thin"] and words[3].isdecimal() else None


def lies_on_no_pool(path: Path, kernel: KernelFs) -> bool:
    """Whether a block device surely is not thin, by what it lies on; asking dmsetup costs a process in each turn.

    A thin volume lies on its pool, a device of the device mapper as it is itself (dm-thin.c, thin_ctr; what lies below
    is in `slaves`: block/holder.c, bd_link_disk_holder). False: it may be thin, or is not there.
    """
    number = path.stat().st_rdev if path.exists() else 0
    device = f"/sys/dev/block/{os.major(number)}:{os.minor(number)}"
    if not kernel.exists(device):
        return False
    return not any(kernel.exists(f"{device}/slaves/{name}/dm") for name in kernel.names(f"{device}/slaves"))


async def empty(path: Path, commands: Commands, *, discard: DiscardRange = discard_range) -> int | None:
    """Make a thin volume give back all that it has, and return its size in bytes.

    None: it is not thin, or something stayed mapped, as where the pool ignores discards or a piece of it ends beyond
    the volume's end; zeros must be written then. Raises BusyError if it is held open, NotFoundError if it is not there.
    """
    if await _mapped(path, commands) is None:
        return None
    descriptor = await asyncio.to_thread(open_exclusively, path)
    try:
        size_bytes = os.lseek(descriptor, 0, os.SEEK_END)
        await finish(asyncio.to_thread(discard, descriptor, 0, size_bytes))
        # Until the pool has committed it, a power cut brings back what was there.
        await finish(asyncio.to_thread(os.fsync, descriptor))
    except OSError as reason:
        if reason.errno != errno.EOPNOTSUPP:
            raise
        return None
    finally:
        os.close(descriptor)
    return size_bytes if await _mapped(path, commands) == 0 else None


async def _mapped(path: Path, commands: Commands) -> int | None:
    """See mapped_sectors. What is no device of the device mapper ends dmsetup with 1."""
    if not commands.finds("dmsetup"):
        return None
    done = await commands.run(["dmsetup", "status", str(path)], timeout_s=_COMMAND_S, ok_codes=(0, 1))
    return mapped_sectors(done.stdout) if done.returncode == 0 else None
