"""Make a device read zero, in constant memory, stoppable, and checked afterwards."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import struct
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from holdfast.errors import BusyError, NotFoundError, VerificationError

# linux/fs.h: _IO(0x12, 127). The kernel hands it to the device (WRITE ZEROES), or writes zeros itself.
BLKZEROOUT = 0x127F

CHUNK_BYTES = 256 * 1024 * 1024
SAMPLES = 64
SAMPLE_BYTES = 64 * 1024

ZeroRange = Callable[[int, int, int], None]
"""Zero `length` bytes of an open device at `offset`: (descriptor, offset, length)."""


def zero_range(descriptor: int, offset: int, length: int) -> None:
    """Zero a range of an open block device. Raises OSError."""
    fcntl.ioctl(descriptor, BLKZEROOUT, struct.pack("QQ", offset, length))


async def zero_device(
    path: Path,
    progress: Callable[[int, int], None] = lambda _done, _size: None,
    *,
    start_bytes: int = 0,
    end_bytes: int | None = None,
    zero: ZeroRange = zero_range,
) -> None:
    """Zero a device from `start_bytes` to `end_bytes`, telling `progress(done_bytes, size_bytes)`.

    Cancelled, it ends after the chunk under way. Raises BusyError if the device is held open, NotFoundError if it is
    not there, VerificationError if it then does not read zero.
    """
    descriptor = await asyncio.to_thread(_open, path)
    try:
        end = end_bytes if end_bytes is not None else os.lseek(descriptor, 0, os.SEEK_END)
        size, done = end - start_bytes, 0
        while done < size:
            length = min(CHUNK_BYTES, size - done)
            await _finish(asyncio.to_thread(zero, descriptor, start_bytes + done, length))
            done += length
            progress(done, size)
        await _finish(asyncio.to_thread(_verify, path, descriptor, start_bytes, end))
    finally:
        os.close(descriptor)


async def _finish(work: Coroutine[Any, Any, None]) -> None:
    """Await a thread; cancelled, still wait for it, since it uses a descriptor that is about to be closed."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _open(path: Path) -> int:
    try:
        # On a block device O_EXCL without O_CREAT means: nobody else holds it (open(2)).
        return os.open(path, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC)
    except FileNotFoundError as reason:
        raise NotFoundError(f"there is no device {path}") from reason
    except OSError as reason:
        if reason.errno != errno.EBUSY:
            raise
        raise BusyError(f"{path} is held open: a mirror, a mount or another user has it") from reason


def _verify(path: Path, descriptor: int, start: int, end: int) -> None:
    """Read samples spread evenly, the first and the last bytes among them."""
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    span = max(0, end - start - SAMPLE_BYTES)
    for offset in sorted({start + span * index // (SAMPLES - 1) for index in range(SAMPLES)}):
        found = os.pread(descriptor, min(SAMPLE_BYTES, end - offset), offset)
        if found.strip(b"\0"):
            raise VerificationError(f"{path} does not read zero near byte {offset} after it was zeroed")
