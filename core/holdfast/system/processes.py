"""Processes of a plugin, told by their command lines: also those that an earlier, killed daemon left behind.

A process is a plugin's only if its command line names a file in the plugin's own run directory; a process number
from a file would prove nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from holdfast.system.kernelfs import KernelFs

# Of a process that has ended Linux 6.1 says EINVAL while others are still in its session or group.
_GONE = (errno.ESRCH, errno.EINVAL)


@dataclass(frozen=True)
class Process:
    """A running process and its command line."""

    pid: int
    argv: tuple[str, ...]
    is_leader: bool
    """Whether it leads its process group, as what listens does. The others serve one connection each."""


def find(kernel: KernelFs, is_ours: Callable[[tuple[str, ...]], bool]) -> tuple[Process, ...]:
    """Every living process whose command line `is_ours`. Blocks for some milliseconds."""
    found = []
    for name in kernel.names("/proc"):
        if name.isdecimal() and (process := _read(kernel, int(name))) is not None and is_ours(process.argv):
            found.append(process)
    return tuple(sorted(found, key=lambda process: process.pid))


def _read(kernel: KernelFs, pid: int) -> Process | None:
    # It may end at any moment. A zombie has an empty command line: it holds nothing and is nobody's.
    with contextlib.suppress(OSError):
        line = kernel.read(f"/proc/{pid}/cmdline")
        # proc(5), /proc/pid/stat: the name in parentheses may hold anything; after it: state, parent, group.
        group = int(kernel.read(f"/proc/{pid}/stat").rpartition(")")[2].split()[2])
        if line:
            return Process(pid, tuple(line.removesuffix("\0").split("\0")), group == pid)
    return None


def _settle(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)


async def ended(pid: int) -> None:
    """Return when process `pid`, which need not be a child, has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError as reason:
        if reason.errno not in _GONE:
            raise
        return
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()
    loop.add_reader(descriptor, _settle, over)
    try:
        await over
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def end(kernel: KernelFs, processes: Iterable[Process], *, patience_s: float) -> None:
    """End processes: a request first, after `patience_s` by force (with 0 at once); return when they are gone."""
    left = tuple(processes)
    for number in (signal.SIGTERM, signal.SIGKILL) if patience_s > 0 else (signal.SIGKILL,):
        for process in left:
            send(kernel, process, number)
        with contextlib.suppress(TimeoutError):
            # A process in uninterruptible sleep outlives SIGKILL; its caller must not hang with it.
            async with asyncio.timeout(patience_s or 2.0):
                for process in left:
                    await ended(process.pid)


@contextlib.contextmanager
def _tolerating_the_end() -> Iterator[None]:
    try:
        yield
    except OSError as reason:
        if reason.errno not in _GONE:
            raise


def send(kernel: KernelFs, process: Process, number: signal.Signals) -> None:
    """Send a signal to this very process; one that has ended gets none."""
    # The descriptor holds on to this very process while the command line is compared again:
    # were the number given to another meanwhile, the signal would not reach that one.
    with _tolerating_the_end():
        descriptor = os.pidfd_open(process.pid)
        try:
            now = _read(kernel, process.pid)
            if now is not None and now.argv == process.argv:
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)
