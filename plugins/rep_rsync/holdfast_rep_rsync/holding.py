"""The one place that a copy takes at a replica share, taken by ourselves: so nobody writes there meanwhile.

rsync takes a lock on four bytes of the module's lock file for each connection (connection.c, claim_connection). Ours is
one of the open file description, which conflicts with those, and is let go by the kernel when this process dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from holdfast.errors import BusyError, Reason
from holdfast.system.clock import Clock

_PLACE_BYTES = 4
# The agent's process of a copy ends some moments after its client did.
_PATIENCE_S = 1.0
_PAUSE_S = 0.02


@contextlib.asynccontextmanager
async def held(lock_file: Path, replica: str, clock: Clock) -> AsyncIterator[None]:
    """Hold a replica share's place, as soon as it is free. Raises BusyError when it is taken for longer."""
    deadline_s = clock.boot_s() + _PATIENCE_S
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(hold(lock_file, replica))
                break
            except BusyError:
                if clock.boot_s() >= deadline_s:
                    raise
            await clock.sleep(_PAUSE_S)
        yield


@contextlib.contextmanager
def hold(lock_file: Path, replica: str) -> Iterator[None]:
    """Hold a replica share's place. Raises BusyError when it is taken."""
    descriptor = os.open(lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            # struct flock on Linux: type, whence, start, length, process.
            wanted = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, _PLACE_BYTES, 0)
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, wanted)
        except (BlockingIOError, PermissionError) as reason:
            text = f"a copy is coming into the replica share {replica}, or it is held for a snapshot"
            raise BusyError(text, reasons=[Reason("replica-in-use", text, "wait for the end of that")]) from reason
        yield
    finally:
        os.close(descriptor)
