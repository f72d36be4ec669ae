"""Make a device read zero, in constant memory, piece by piece, and check it; how far it came outlives a power cut."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import mmap
import os
import struct
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.errors import BusyError, NotFoundError, VerificationError
from holdfast.system.clock import Clock

# linux/fs.h: _IO(0x12, 127). The kernel hands it to the device (WRITE ZEROES), or writes zeros itself.
BLKZEROOUT = 0x127F

MIB = 1024 * 1024
# A piece cannot be interrupted. Its size follows the device, so that whoever stops, or has a time, waits for
# half a second and no minute: a device that writes zeros by itself takes the largest at once.
FIRST_PIECE_BYTES = 4 * MIB
LARGEST_PIECE_BYTES = 256 * MIB
_GRAIN_BYTES = 64 * 1024
_SHORT_PIECE_S = 0.1
_LONG_PIECE_S = 0.5
# With a limit: so many pieces in a second, so that what else uses the disk gets its turn between them.
_PIECES_A_SECOND = 8

SAMPLES = 64
SAMPLE_BYTES = 64 * 1024
# What a read past the page cache is aligned to: no device has larger blocks.
_BLOCK_BYTES = 4096

ZeroRange = Callable[[int, int, int], None]
"""Zero `length` bytes of an open device at `offset`: (descriptor, offset, length)."""


@dataclass(frozen=True)
class Pace:
    """How long it goes on at most, and how fast; None is no limit."""

    clock: Clock
    most_s: float | None = None
    limit_bytes_s: int | None = None

    @property
    def largest_piece_bytes(self) -> int:
        """So much may be zeroed at once."""
        if self.limit_bytes_s is None:
            return LARGEST_PIECE_BYTES
        grains = self.limit_bytes_s // _PIECES_A_SECOND // _GRAIN_BYTES
        return min(LARGEST_PIECE_BYTES, max(1, grains) * _GRAIN_BYTES)

    async def hold(self, done_bytes: int, began_s: float) -> None:
        """Wait until so much may have been done."""
        if self.limit_bytes_s is not None:
            early_s = done_bytes / self.limit_bytes_s - (self.clock.boot_s() - began_s)
            if early_s > 0:
                await self.clock.sleep(early_s)

    def is_over(self, began_s: float) -> bool:
        """Whether it is time to stop."""
        return self.most_s is not None and self.clock.boot_s() - began_s >= self.most_s


def zero_range(descriptor: int, offset: int, length: int) -> None:
    """Zero a range of an open block device. Raises OSError."""
    fcntl.ioctl(descriptor, BLKZEROOUT, struct.pack("QQ", offset, length))


async def zero_device(
    path: Path,
    pace: Pace,
    *,
    start_bytes: int = 0,
    end_bytes: int | None = None,
    done_bytes: int = 0,
    zero: ZeroRange = zero_range,
) -> int:
    """Zero a device from `start_bytes` to `end_bytes`, of which the first `done_bytes` are zero already.

    Returns how many are zero now, durably: all, and then samples of all of them were read back, or fewer when the time
    of `pace` was over. Cancelled, it ends after the piece under way. Raises BusyError if the device is held open,
    NotFoundError if it is not there, VerificationError if it then does not read zero.
    """
    clock, largest_bytes = pace.clock, pace.largest_piece_bytes
    descriptor = await asyncio.to_thread(open_exclusively, path)
    try:
        end = end_bytes if end_bytes is not None else os.lseek(descriptor, 0, os.SEEK_END)
        size = end - start_bytes
        first = done = min(done_bytes, size)
        piece_bytes, began_s = min(FIRST_PIECE_BYTES, largest_bytes), clock.boot_s()
        while done < size:
            length, piece_began_s = min(piece_bytes, size - done), clock.boot_s()
            await finish(asyncio.to_thread(zero, descriptor, start_bytes + done, length))
            done += length
            piece_bytes = next_piece_bytes(piece_bytes, clock.boot_s() - piece_began_s, largest_bytes)
            await pace.hold(done - first, began_s)
            if pace.is_over(began_s):
                break
        # What the device keeps in a cache of its own is gone after a power cut, and would be believed to be zero.
        await finish(asyncio.to_thread(os.fsync, descriptor))
        if done == size:
            await finish(asyncio.to_thread(_verify, path, descriptor, start_bytes, end))
        return done
    finally:
        os.close(descriptor)


def next_piece_bytes(piece_bytes: int, took_s: float, largest_bytes: int) -> int:
    """How large the next piece is, after one of `piece_bytes` took so long."""
    if took_s < _SHORT_PIECE_S:
        return min(2 * piece_bytes, largest_bytes)
    return max(piece_bytes // 2, _GRAIN_BYTES) if took_s > _LONG_PIECE_S else piece_bytes


async def finish(work: Coroutine[Any, Any, None]) -> None:
    """Await a thread; cancelled, still wait for it, since it uses a descriptor that is about to be closed."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def open_exclusively(path: Path) -> int:
    """Open a device that nobody else holds. Raises BusyError, NotFoundError."""
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
    """Read samples spread evenly, the first and the last bytes among them; from the device, past the page cache."""
    fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_DIRECT)
    span = max(0, end - start - SAMPLE_BYTES)
    places = {start + span * index // (SAMPLES - 1) // _BLOCK_BYTES * _BLOCK_BYTES for index in range(SAMPLES)}
    # Each may lie nearly a block earlier for that: a sample is as much longer, so that the last one reaches the end.
    with mmap.mmap(-1, SAMPLE_BYTES + _BLOCK_BYTES) as buffer, memoryview(buffer) as room:
        for offset in sorted(places):
            length = min(len(room), end - offset)
            with room[:length] as sample:
                found = os.preadv(descriptor, [sample], offset)
            if found < length or buffer[:length] != bytes(length):
                raise VerificationError(f"{path} does not read zero near byte {offset} after it was zeroed")
