"""The agent: an rsync daemon that outlives holdfastd, and a supervisor that starts it again when it dies.

rsync detaches itself. So one way serves an agent of this daemon and one left by a killed or
replaced daemon: it is found by its command line, watched by a process descriptor, adopted if it was started
as it would be now, and replaced otherwise. A copy under way survives the end of holdfastd, and the change or the
death of the listening process, because every connection is served by a process of its own
that read the configuration when it began (rsyncd.conf(5): "The file is re-read on each client connection").
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
from pathlib import Path

from holdfast.errors import HoldfastError, UnavailableError
from holdfast.hooks.base import Host
from holdfast.hooks.replication import AgentSpec, ReplicaShare
from holdfast.system.files import write_atomically
from holdfast_rep_rsync import configuration, processes
from holdfast_rep_rsync.client import Client
from holdfast_rep_rsync.processes import Process
from holdfast_rep_rsync.settings import Settings

log = logging.getLogger(__name__)

_POLL_S = 0.02
_PARTING_S = 0.05
_STOP_PATIENCE_S = 2.0
_START_TIMEOUT_S = 10.0
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
        self._directory = host.run_dir / "agent"
        self._config_file = self._directory / "rsyncd.conf"
        self._log_file = self._directory / "log"
        self._supervisor: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    async def start(self, spec: AgentSpec, replicas: tuple[ReplicaShare, ...]) -> None:
        """See CopyDriver.start_agent. The values must have passed `naming`."""
        async with self._lock:
            self._write_files(replicas)
            running = await self._listener()
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
            for path in (self._config_file, *self._secrets()):
                path.unlink(missing_ok=True)

    async def leave(self) -> None:
        """Stop supervising; the agent itself goes on."""
        async with self._lock:
            await self._stop_supervising()

    async def is_running(self) -> bool:
        """Whether our own process listens and answers, as it was started."""
        listener = await self._listener()
        return listener is not None and await self._answers(_spec_of(listener))

    # --- files ---

    def _write_files(self, replicas: tuple[ReplicaShare, ...]) -> None:
        for directory in (self._directory, self._directory / "secrets", self._directory / "locks"):
            directory.mkdir(mode=0o700, exist_ok=True)
        # Secrets before the configuration that names them, and the old ones away after it:
        # each connection in between finds a whole one.
        for share in replicas:
            _write_if_other(self._directory / "secrets" / share.name, configuration.render_secrets(share))
        text = configuration.render(
            replicas,
            log_file=self._log_file,
            secrets_directory=self._directory / "secrets",
            lock_directory=self._directory / "locks",
            agent_io_timeout_s=self._settings.agent_io_timeout_s,
        )
        _write_if_other(self._config_file, text.encode())
        wanted = {share.name for share in replicas}
        for path in self._secrets():
            if path.name not in wanted:
                path.unlink(missing_ok=True)

    def _secrets(self) -> tuple[Path, ...]:
        with contextlib.suppress(FileNotFoundError):
            return tuple((self._directory / "secrets").iterdir())
        return ()

    # --- processes ---

    def _argv(self, spec: AgentSpec) -> tuple[str, ...]:
        ours = (self._settings.program, "--daemon", f"--config={self._config_file}")
        return (*ours, f"--address={spec.address}", f"--port={spec.port}")

    async def _find(self) -> tuple[Process, ...]:
        ours = ("--daemon", f"--config={self._config_file}")
        return await asyncio.to_thread(processes.find, self._host.kernel, lambda argv: argv[1:3] == ours)

    async def _listener(self) -> Process | None:
        return next((process for process in await self._find() if process.is_leader), None)

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
        log_start = self._log_size()
        # Connections that earlier listeners accepted.
        older = {process.pid for process in await self._find()}
        await self._host.commands.run(self._argv(spec), timeout_s=_START_TIMEOUT_S)
        deadline_s = self._host.clock.boot_s() + self._settings.agent_start_timeout_s
        seen: Process | None = None
        while self._host.clock.boot_s() < deadline_s:
            started = [process for process in await self._find() if process.pid not in older]
            listener = next((process for process in started if process.is_leader), None)
            # What rsync detached was there before the command came to its end: if it is not there now, it has ended.
            if listener is None and (seen is not None or not started):
                break
            seen = listener
            # Its own socket, not just an answer: another program may hold the port.
            if listener is not None and processes.listens(self._host.kernel, listener.pid, spec.port):
                log.info("the agent listens on %s port %d", spec.address, spec.port)
                return listener
            await self._host.clock.sleep(_POLL_S)
        if seen is not None:
            await processes.end(self._host.kernel, [seen], patience_s=0)
        raise UnavailableError(
            f"the agent does not start on {spec.address} port {spec.port}: {log_reasons(self._log_since(log_start))}"
        )

    async def _end_listeners(self) -> None:
        # By force: a listener asked to end takes a second over it, and has nothing to tidy.
        listeners = [process for process in await self._find() if process.is_leader]
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
            if self._log_size() > _LOG_LIMIT_BYTES:
                # rsync appends, so it goes on at the new end.
                os.truncate(self._log_file, 0)
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

    # --- its log ---

    def _log_size(self) -> int:
        with contextlib.suppress(FileNotFoundError):
            return self._log_file.stat().st_size
        return 0

    def _log_since(self, start: int) -> str:
        with contextlib.suppress(FileNotFoundError), self._log_file.open("rb") as stream:
            stream.seek(start)
            return stream.read(65536).decode(errors="replace")
        return ""


_NOISE = ("rsyncd version", "rsync error: ", "connect from ", "module-list request ")


def log_reasons(text: str) -> str:
    """Pick from the agent's log, lines of `DATE TIME [PID] MESSAGE`, what says why it ended."""
    messages = [re.sub(r"^\S+ \S+ \[\d+\] ", "", line) for line in text.splitlines()]
    reasons = [message for message in messages if message and not message.startswith(_NOISE)]
    return "; ".join(reasons[:3]) or "it gave no reason"


def _write_if_other(path: Path, data: bytes) -> None:
    with contextlib.suppress(FileNotFoundError):
        if path.read_bytes() == data:
            return
    write_atomically(path, data)


def _spec_of(listener: Process) -> AgentSpec:
    values = dict(word.removeprefix("--").split("=", 1) for word in listener.argv[3:] if "=" in word)
    return AgentSpec(address=values["address"], port=int(values["port"]))


def _local(spec: AgentSpec) -> AgentSpec:
    """Where an agent is reached from this node: one that listens on all addresses, on loopback."""
    loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
    return AgentSpec(loopback.get(spec.address, spec.address), spec.port)
