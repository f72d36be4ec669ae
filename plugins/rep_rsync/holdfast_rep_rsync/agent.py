"""The agent: a daemon that outlives holdfastd, and a supervisor that starts it again when it dies.

In clear it is rsync itself; encrypted it is stunnel, which starts an rsync for each connection. Both detach themselves.
So one way serves an agent of this daemon and one left by a killed or
replaced daemon: it is found by its command line, watched by a process descriptor, adopted if it was started
as it would be now, and replaced otherwise. A copy under way survives the end of holdfastd, and the change or the
death of the listening process, because every connection is served by a process of its own
that read the configuration when it began (rsyncd.conf(5): "The file is re-read on each client connection"). But what
crosses encrypted crosses stunnel: with that dies what it carried, and nothing less than its death does it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from holdfast.errors import HoldfastError, NotFoundError, SystemCommandError, UnavailableError
from holdfast.hooks.base import Host
from holdfast.hooks.replication import AgentSpec, CopyNote, ReplicaShare
from holdfast.system import processes
from holdfast.system.processes import Process
from holdfast_rep_rsync import holding, tunnel
from holdfast_rep_rsync.agent_files import AgentFiles, since, size
from holdfast_rep_rsync.client import Client
from holdfast_rep_rsync.listening import listens
from holdfast_rep_rsync.settings import Settings

log = logging.getLogger(__name__)

_POLL_S = 0.02
_PARTING_S = 0.05
_STOP_PATIENCE_S = 2.0
_START_TIMEOUT_S = 10.0
_RELOAD_WITHIN_S = 3.0
_LOG_LIMIT_BYTES = 1 << 20
_LOG_CHECK_S = 3600.0
# An agent that lived so long was well: the next restart does not wait for the failures of last week.
_WELL_AFTER_S = 60.0


class Agent:
    """The one agent of this node. Its files lie in `directory`, which also is what makes a process ours."""

    def __init__(self, settings: Settings, host: Host, client: Client) -> None:
        self._settings = settings
        self._host = host
        self._client = client
        self._files = AgentFiles(host.run_dir / "agent", host.state_dir, settings)
        self._supervisor: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    async def start(self, spec: AgentSpec, replicas: tuple[ReplicaShare, ...]) -> None:
        """See CopyDriver.start_agent. The values must have passed `naming`."""
        async with self._lock:
            self._files.write(replicas)
            is_changed = self._files.write_tunnel(spec)
            running = await self._listener()
            if running is not None and running.argv == self._argv(spec) and is_changed:
                await self._reload(running)
            is_kept = running is not None and running.argv == self._argv(spec) and await self._answers(spec)
            if is_kept and self._supervisor is not None and not self._supervisor.done():
                return
            await self._stop_supervising()
            if running is None or not is_kept:
                running = await self._run(spec)
            else:
                log.info("the agent on %s port %d still runs and was adopted", spec.address, spec.port)
            self._supervisor = asyncio.create_task(self._supervise(spec, running), name="rsync agent")

    async def stop(self) -> None:
        """End the listening process and the copies it accepted; not running is success."""
        async with self._lock:
            await self._stop_supervising()
            if await self._find():
                await self._end_listeners()
                # What is about to end by itself is not hurried: a request would cost it half a second.
                await self._host.clock.sleep(_PARTING_S)
                # A copy that is asked to end removes its temporary file.
                await processes.end(self._host.kernel, await self._find(), patience_s=_STOP_PATIENCE_S)
                log.info("the agent was stopped")
            self._files.remove()

    async def leave(self) -> None:
        """Stop supervising; the agent itself goes on."""
        async with self._lock:
            await self._stop_supervising()

    async def is_running(self) -> bool:
        """Whether our own process listens and answers, as it was started."""
        listener = await self._listener()
        return listener is not None and await self._answers(self._spec_of(listener))

    async def read_notes(self) -> dict[str, CopyNote]:
        """See CopyDriver."""
        return await asyncio.to_thread(self._files.read_notes)

    async def distrust(self) -> None:
        """See CopyDriver."""
        await asyncio.to_thread(self._files.forget_untouched)

    @contextlib.asynccontextmanager
    async def hold(self, replica: str) -> AsyncIterator[CopyNote | None]:
        """See CopyDriver."""
        if not self._files.offers(replica):
            raise NotFoundError(f"this node's agent has no replica share {replica}")
        async with holding.held(self._files.lock_of(replica), replica, self._host.clock):
            yield (await self.read_notes()).get(replica) if self._files.is_untouched(replica) else None

    # --- processes ---

    def _argv(self, spec: AgentSpec) -> tuple[str, ...]:
        if spec.tls is not None:
            return (self._settings.tls_program, str(self._files.tunnel_config(spec)))
        ours = (self._settings.program, "--daemon", f"--config={self._files.config}")
        return (*ours, f"--address={spec.address}", f"--port={spec.port}")

    def _spec_of(self, listener: Process) -> AgentSpec:
        if not self._is_tunnel(listener.argv):
            values = dict(word.removeprefix("--").split("=", 1) for word in listener.argv[3:] if "=" in word)
            return AgentSpec(address=values["address"], port=int(values["port"]))
        path = Path(listener.argv[1])
        _, address, port = path.name.split("@")
        # It trusts this node itself, too: so one that goes on after its daemon can be asked by the next.
        return AgentSpec(
            address, int(port), tunnel.read_identity(path.read_text(), self._files.tunnel.trusted.read_text())
        )

    def _is_tunnel(self, argv: tuple[str, ...]) -> bool:
        return len(argv) == 2 and argv[1].startswith(f"{self._files.directory}/tunnel@")

    def _is_ours(self, argv: tuple[str, ...]) -> bool:
        config = f"--config={self._files.config}"
        return (
            argv[1:3] == ("--daemon", config) or argv[1:4] == ("--server", "--daemon", config) or self._is_tunnel(argv)
        )

    async def _find(self) -> tuple[Process, ...]:
        return await asyncio.to_thread(processes.find, self._host.kernel, self._is_ours)

    async def _listener(self) -> Process | None:
        return next((process for process in await self._find() if _listens(process)), None)

    async def _reload(self, running: Process) -> None:
        """Have stunnel read its files anew; connections that stand are not cut (stunnel(8), SIGNALS)."""
        start = size(self._files.tunnel.log)
        processes.send(self._host.kernel, running, signal.SIGHUP)
        deadline_s = self._host.clock.boot_s() + _RELOAD_WITHIN_S
        while "Configuration successful" not in (told := since(self._files.tunnel.log, start)):
            if self._host.clock.boot_s() > deadline_s:
                reasons = "; ".join(tunnel.messages(told)[:3]) or "it gave no reason"
                raise UnavailableError(f"the agent does not take up its new certificates: {reasons}")
            await self._host.clock.sleep(_POLL_S)

    async def _answers(self, spec: AgentSpec) -> bool:
        try:
            await self._client.list_modules(_local(spec))
        except HoldfastError as reason:
            log.debug("the agent on %s port %d does not answer: %s", spec.address, spec.port, reason)
            return False
        return True

    async def _run(self, spec: AgentSpec) -> Process:
        """End listeners of ours and start one; return when it listens. Raises UnavailableError with its own reason."""
        await self._end_listeners()
        log_start = size(self._files.log)
        # Connections that earlier listeners accepted.
        older = {process.pid for process in await self._find()}
        for path in self._files.tunnel_configs():
            if path != self._files.tunnel_config(spec):
                path.unlink(missing_ok=True)
        try:
            await self._host.commands.run(self._argv(spec), timeout_s=_START_TIMEOUT_S)
        except SystemCommandError as reason:
            if spec.tls is None:
                raise
            told = tunnel.start_reasons(reason.stderr_tail)
            raise UnavailableError(f"the agent does not start on {spec.address} port {spec.port}: {told}") from reason
        deadline_s = self._host.clock.boot_s() + self._settings.agent_start_timeout_s
        seen: Process | None = None
        while self._host.clock.boot_s() < deadline_s:
            started = [process for process in await self._find() if process.pid not in older]
            listener = next((process for process in started if _listens(process)), None)
            # What rsync detached was there before the command came to its end: if it is not there now, it has ended.
            if listener is None and (seen is not None or not started):
                break
            seen = listener
            # Its own socket, not just an answer: another program may hold the port.
            if listener is not None and listens(self._host.kernel, listener.pid, spec.port):
                log.info("the agent listens on %s port %d", spec.address, spec.port)
                return listener
            await self._host.clock.sleep(_POLL_S)
        if seen is not None:
            await processes.end(self._host.kernel, [seen], patience_s=0)
        told = log_reasons(since(self._files.log, log_start))
        raise UnavailableError(f"the agent does not start on {spec.address} port {spec.port}: {told}")

    async def _end_listeners(self) -> None:
        # By force: a listener asked to end takes a second over it, and has nothing to tidy.
        listeners = [process for process in await self._find() if _listens(process)]
        await processes.end(self._host.kernel, listeners, patience_s=0)

    async def _supervise(self, spec: AgentSpec, process: Process) -> None:
        delay_s = self._settings.restart_delay_s
        while True:
            started_s = self._host.clock.boot_s()
            await self._ended(process)
            if self._host.clock.boot_s() - started_s > _WELL_AFTER_S:
                delay_s = self._settings.restart_delay_s
            log.warning("the agent on %s port %d ended; it is started again", spec.address, spec.port)
            while True:
                await self._host.clock.sleep(delay_s)
                delay_s = min(delay_s * 2, self._settings.restart_delay_limit_s)
                try:
                    process = await self._run(spec)
                except (HoldfastError, OSError) as reason:
                    log.warning("%s; next attempt in %.1f s", reason, delay_s)
                else:
                    break

    async def _ended(self, process: Process) -> None:
        while True:
            for path in (self._files.log, self._files.tunnel.log):
                if size(path) > _LOG_LIMIT_BYTES:
                    # Both append, so they go on at the new end.
                    os.truncate(path, 0)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOG_CHECK_S):
                    await processes.ended(process.pid)
                    return

    async def _stop_supervising(self) -> None:
        if self._supervisor is not None:
            self._supervisor.cancel()
            # Not awaited itself: its cancellation would look like our own.
            await asyncio.wait([self._supervisor])
            self._supervisor = None


def _listens(process: Process) -> bool:
    # Each connection's rsync that stunnel started has `--server` first.
    return process.is_leader and process.argv[1] != "--server"


_NOISE = ("rsyncd version", "rsync error: ", "connect from ", "module-list request ")


def log_reasons(text: str) -> str:
    """Pick from the agent's log, lines of `DATE TIME [PID] MESSAGE`, what says why it ended."""
    messages = [re.sub(r"^\S+ \S+ \[\d+\] ", "", line) for line in text.splitlines()]
    reasons = [message for message in messages if message and not message.startswith(_NOISE)]
    return "; ".join(reasons[:3]) or "it gave no reason"


def _local(spec: AgentSpec) -> AgentSpec:
    """Where an agent is reached from this node: one that listens on all addresses, on loopback."""
    loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
    return replace(spec, address=loopback.get(spec.address, spec.address))
