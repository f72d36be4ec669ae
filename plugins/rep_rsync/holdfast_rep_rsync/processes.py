"""Processes of ours, told by their command lines: also those that an earlier, killed daemon left behind.

A process is ours only if its command line names a file in our own run directory; a process number
from a file would prove nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from holdfast.system.kernelfs import KernelFs


@dataclass(frozen=True)
class Process:
    """A running process and its command line."""

    pid: int
    argv: tuple[str, ...]
    is_leader: bool
    """Whether it leads its process group; of an agent, the one that listens. The others serve one connection each."""


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


def listens(kernel: KernelFs, pid: int, port: int) -> bool:
    """Whether process `pid` itself holds a socket that listens on TCP `port`."""
    sockets = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            sockets |= set(listening_sockets(kernel.read(f"/proc/{pid}/net/{table}"), port))
    with contextlib.suppress(OSError):
        for descriptor in kernel.names(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if kernel.link_target(f"/proc/{pid}/fd/{descriptor}").rpartition("/")[2] in sockets:
                    return True
    return False


def listening_sockets(table: str, port: int) -> Iterable[str]:
    """Read `/proc/net/tcp` (proc_net_tcp.txt): what `/proc/pid/fd` shows for each socket listening on `port`."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
            yield f"socket:[{fields[9]}]"


def _settle(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)


async def ended(pid: int) -> None:
    """Return when process `pid`, which need not be a child, has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
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
            _send(kernel, process, number)
        with contextlib.suppress(TimeoutError):
            # A process in uninterruptible sleep outlives SIGKILL; its caller must not hang with it.
            async with asyncio.timeout(patience_s or 2.0):
                for process in left:
                    await ended(process.pid)


def _send(kernel: KernelFs, process: Process, number: signal.Signals) -> None:
    # The descriptor holds on to this very process while the command line is compared again:
    # were the number given to another meanwhile, the signal would not reach that one.
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(process.pid)
        try:
            now = _read(kernel, process.pid)
            if now is not None and now.argv == process.argv:
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)
