"""smbd: started when a share is offered, kept running, adopted by the next daemon, stopped when nothing is offered.

smbd detaches itself. Its processes end when the one that listens does (seen with 4.17.12, killed): to start it
anew is to drop every client, and is done only when it has died by itself.
"""

from __future__ import annotations

import asyncio
import logging

from holdfast.errors import HoldfastError, UnavailableError
from holdfast.hooks.base import Host
from holdfast.system import processes
from holdfast.system.processes import Process
from holdfast_share_smb.samba import Samba, process_log
from holdfast_share_smb.settings import Settings

log = logging.getLogger(__name__)

_DAEMONS = ("smbd", "samba-dcerpcd", "rpcd_")
_POLL_S = 0.05
_START_TIMEOUT_S = 15.0
_STOP_PATIENCE_S = 3.0
_WELL_AFTER_S = 60.0


class Server:
    """The one smbd of ours on this node."""

    def __init__(self, settings: Settings, host: Host, samba: Samba) -> None:
        self._settings = settings
        self._host = host
        self._samba = samba
        self._supervisor: asyncio.Task[None] | None = None

    async def is_running(self) -> bool:
        """Whether our own smbd runs."""
        return await self._listener() is not None

    async def ensure(self) -> None:
        """Have it run, and started again should it die. Raises UnavailableError with its own reason."""
        listener = await self._listener()
        if listener is not None and self._supervisor is not None and not self._supervisor.done():
            return
        await self.leave()
        if listener is None:
            listener = await self._start()
        else:
            log.info("smbd still runs as process %d and was adopted", listener.pid)
        self._supervisor = asyncio.create_task(self._supervise(listener), name="smbd")

    async def stop(self) -> None:
        """End it; not running is success."""
        await self.leave()
        if found := await self.find():
            await processes.end(self._host.kernel, found, patience_s=_STOP_PATIENCE_S)
            log.info("smbd was stopped: no share is offered by SMB any more")

    async def leave(self) -> None:
        """Supervise it no more; it goes on."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            # Not awaited itself: its cancellation would look like our own.
            await asyncio.wait([self._supervisor])
            self._supervisor = None

    async def find(self) -> tuple[Process, ...]:
        """smbd, and the daemons that it starts when a client browses; they outlive it."""
        ours = f"--configfile={self._samba.config_file}"

        def is_ours(argv: tuple[str, ...]) -> bool:
            return ours in argv[1:] and _name(argv).startswith(_DAEMONS)

        return await asyncio.to_thread(processes.find, self._host.kernel, is_ours)

    async def _listener(self) -> Process | None:
        return next((p for p in await self.find() if p.is_leader and _name(p.argv) == "smbd"), None)

    async def _start(self) -> Process:
        await processes.end(self._host.kernel, await self.find(), patience_s=0)  # the rest of one that died
        await self._samba.prepare()
        argv = ["smbd", "--daemon", f"--configfile={self._samba.config_file}"]
        await self._host.commands.run(argv, timeout_s=_START_TIMEOUT_S)
        deadline_s = self._host.clock.boot_s() + self._settings.start_timeout_s
        while self._host.clock.boot_s() < deadline_s:
            listener = await self._listener()
            if listener is None:
                break
            if await self._samba.is_answering():
                # It answers before it listens, and ends when it cannot.
                await self._host.clock.sleep(_POLL_S)
                if await self._listener() is not None:
                    log.info("smbd runs as process %d", listener.pid)
                    return listener
            await self._host.clock.sleep(_POLL_S)
        await processes.end(self._host.kernel, await self.find(), patience_s=0)
        told = await asyncio.to_thread(process_log, self._samba.directory)
        raise UnavailableError(f"smbd does not start: {start_reasons(told)}")

    async def _supervise(self, process: Process) -> None:
        delay_s = self._settings.restart_delay_s
        while True:
            started_s = self._host.clock.boot_s()
            await processes.ended(process.pid)
            if self._host.clock.boot_s() - started_s > _WELL_AFTER_S:
                delay_s = self._settings.restart_delay_s
            log.warning("smbd ended; it is started again")
            while True:
                await self._host.clock.sleep(delay_s)
                delay_s = min(delay_s * 2, self._settings.restart_delay_limit_s)
                try:
                    process = await self._start()
                except (HoldfastError, OSError) as reason:
                    log.warning("%s; next attempt in %.1f s", reason, delay_s)
                else:
                    break


def _name(argv: tuple[str, ...]) -> str:
    return argv[0].rpartition("/")[2]


def start_reasons(text: str) -> str:
    """Pick from the end of smbd's log what says why it ended; its lines of place and time are left out."""
    lines = [line.strip() for line in text.splitlines() if line.startswith("  ")]
    return "; ".join(lines[-3:]) or "it gave no reason"
