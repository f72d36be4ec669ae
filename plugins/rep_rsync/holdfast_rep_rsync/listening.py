"""Whether a process of ours is the one that listens: what the kernel says of its sockets."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from holdfast.system.kernelfs import KernelFs


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
