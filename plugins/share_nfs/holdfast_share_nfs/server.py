"""The kernel's server and the daemon that answers its questions: started when a share is offered, ended after the last.

Only version 4 is spoken: it needs one port, and the server knows who holds what.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from holdfast.errors import UnavailableError
from holdfast.hooks.base import Host
from holdfast.system import processes
from holdfast.system.files import write_atomically
from holdfast_share_nfs.settings import Settings

log = logging.getLogger(__name__)

NFSD = "/proc/fs/nfsd"
TABLE = "/var/lib/nfs/etab"
_TIMEOUT_S = 30.0


class Server:
    """What is the same for all shares."""

    def __init__(self, settings: Settings, host: Host) -> None:
        self._settings = settings
        self._host = host
        self._mark = host.run_dir / "started"
        """There while the server is one that was started here, and not by the system."""
        self._promise = host.state_dir / "served"
        """There from a start to an orderly end: clients may hold what they must be given time to claim."""

    def threads(self) -> int:
        """How many threads the kernel's server has; none while it does not run."""
        path = f"{NFSD}/threads"
        return int(self._host.kernel.read(path)) if self._host.kernel.exists(path) else 0

    async def ensure(self) -> None:
        """Have both run. Raises UnavailableError when the kernel's server does not start."""
        if not self._host.kernel.exists(f"{NFSD}/threads"):
            await self.run("modprobe", "nfsd")
            if not self._host.kernel.exists(f"{NFSD}/threads"):
                await self.run("mount", "-t", "nfsd", "nfsd", NFSD)
        if not await self._answerers():
            # Without version 3 it asks nobody to tell its port.
            await self.run("rpc.mountd", "--no-nfs-version", "3", "--no-udp")
        if self.threads() == 0:
            self._mark.touch()
            times = ("--grace-time", str(self._settings.grace_s), "--lease-time", str(self._settings.lease_s))
            await self.run("rpc.nfsd", "--no-nfs-version", "3", "--no-udp", *times, str(self._settings.threads))
            if self.threads() == 0:
                raise UnavailableError("the kernel's NFS server does not start: see the kernel's log")
            if not self._promise.exists():
                self._host.kernel.write(f"{NFSD}/v4_end_grace", "Y")
            write_atomically(self._promise, b"")
            log.info("the kernel's NFS server runs with %d threads", self.threads())

    async def stop(self) -> None:
        """End what was started here."""
        if not self._mark.exists():
            return
        await self.run("rpc.nfsd", "0")
        await processes.end(self._host.kernel, await self._answerers(), patience_s=2)
        self._mark.unlink()
        self._promise.unlink(missing_ok=True)
        log.info("the kernel's NFS server was stopped: no share is offered by NFS any more")

    async def _answerers(self) -> tuple[processes.Process, ...]:
        def is_mountd(argv: tuple[str, ...]) -> bool:
            return Path(argv[0]).name == "rpc.mountd"

        return await asyncio.to_thread(processes.find, self._host.kernel, is_mountd)

    async def run(self, *argv: str) -> None:
        """Run a command."""
        await self._host.commands.run(argv, timeout_s=_TIMEOUT_S)
