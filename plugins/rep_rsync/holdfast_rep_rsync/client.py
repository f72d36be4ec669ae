"""The copier's side: rsync as a client of an agent."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from holdfast.errors import (
    BusyError,
    DeniedError,
    HoldfastError,
    NotFoundError,
    SystemCommandError,
    UnavailableError,
)
from holdfast.hooks.base import Host
from holdfast.hooks.replication import AgentSpec, CopyRun
from holdfast.system.files import write_atomically
from holdfast.values import Secret
from holdfast_rep_rsync import handshake, naming, tunnel
from holdfast_rep_rsync.errors import WRONG_CREDENTIALS, translate
from holdfast_rep_rsync.options import ATTRIBUTES
from holdfast_rep_rsync.settings import Settings

_BUSY_PAUSE_S = 0.05
_MOST_REFUSALS = 8

Keeps = Callable[[str], bool]


def _all(line: str) -> bool:
    return True


@dataclass(frozen=True)
class _Way:
    """How an agent is reached: options for rsync, and the log of the tunnel if there is one."""

    agent: AgentSpec
    options: tuple[str, ...]
    log: Path | None = None


@dataclass(frozen=True)
class Client:
    """Runs rsync against agents; passwords lie in files of mode 0600 in `directory` while a run needs them."""

    host: Host
    settings: Settings
    directory: Path

    async def list_modules(self, agent: AgentSpec) -> list[str]:
        """Ask an agent for its module list; return the lines. Raises UnavailableError, DeniedError."""
        seconds = self.settings.connect_timeout_s
        with self._way(agent, connect_s=seconds) as way:
            argv = (self.settings.program, f"--timeout={seconds}", *way.options, naming.url(agent))
            return await self._follow(argv, way, lambda line: None)

    async def push(
        self,
        run: CopyRun,
        options: tuple[str, ...],
        each_line: Callable[[str], None],
        *,
        lull_s: int = 0,
        into: str = "",
        keeps: Keeps = _all,
    ) -> list[str]:
        """Run `rsync OPTIONS SOURCE/ AGENT::REPLICA/INTO`; call back for each line; return those that `keeps` wants.

        `lull_s`: how long both sides may be silent for a good reason. Waits for a copy before it to leave the
        replica share. Raises the errors of `errors.translate`.
        """
        source = run.source.rstrip("/") + "/"
        shown = ("--no-human-readable", "--outbuf=L", "--no-motd")

        async def attempt(module: str) -> list[str]:
            with self.password_file(run.password) as password_file, self._way(run.agent) as way:
                argv = (
                    *(self.settings.program, *ATTRIBUTES, *options, "--no-inc-recursive", *shown),
                    *(f"--timeout={self.settings.io_timeout_s + lull_s}", *way.options),
                    *(f"--password-file={password_file}", source),
                    naming.url(run.agent, user=run.user, replica=module) + (f"{into}/" if into else ""),
                )
                return await self._follow_once_free(argv, way, each_line, keeps)

        return await self._by_either_password(attempt, run.replica, naming.former_module(run.replica))

    async def ask(self, run: CopyRun, module: str, former: str, name: str) -> None:
        """Ask a module of the agent for a file that is not there: it has heard the name, and nothing is copied.

        Raises the errors of `errors.translate`.
        """

        async def attempt(module: str) -> list[str]:
            with self.password_file(run.password) as password_file, self._way(run.agent) as way:
                argv = (
                    *(self.settings.program, "--dirs", "--ignore-missing-args", "--no-motd"),
                    *(f"--timeout={self.settings.io_timeout_s}", *way.options, f"--password-file={password_file}"),
                    naming.url(run.agent, user=run.user, replica=module) + name,
                )
                return await self._follow_once_free(argv, way, lambda line: None)

        await self._by_either_password(attempt, module, former)

    async def fetch(self, run: CopyRun, module: str, former: str, name: str) -> bytes:
        """Fetch a small file from a module of the agent. Raises the errors of `errors.translate`."""
        with self.temporary_file("fetched", b"") as path:

            async def attempt(module: str) -> list[str]:
                with self.password_file(run.password) as password_file, self._way(run.agent) as way:
                    argv = (
                        *(self.settings.program, "--no-motd", f"--timeout={self.settings.io_timeout_s}", *way.options),
                        f"--password-file={password_file}",
                        naming.url(run.agent, user=run.user, replica=module) + name,
                        str(path),
                    )
                    return await self._follow_once_free(argv, way, lambda line: None)

            await self._by_either_password(attempt, module, former)
            return path.read_bytes()

    async def _by_either_password(
        self, attempt: Callable[[str], Awaitable[list[str]]], module: str, former: str
    ) -> list[str]:
        """rsync knows one password of an ID. The one before it, as long as it is valid, opens a module of its own."""
        try:
            return await attempt(module)
        except DeniedError as denied:
            if not any(reason.code == WRONG_CREDENTIALS for reason in denied.reasons):
                raise
            try:
                return await attempt(former)
            except (NotFoundError, DeniedError):
                raise denied from None

    async def _follow_once_free(
        self, argv: tuple[str, ...], way: _Way, each_line: Callable[[str], None], keeps: Keeps = _all
    ) -> list[str]:
        deadline_s = self.host.clock.boot_s() + self.settings.busy_wait_s
        while True:
            try:
                return await self._follow(argv, way, each_line, keeps)
            except BusyError:
                # The agent's process of the run before ends some moments after its client did.
                if self.host.clock.boot_s() >= deadline_s:
                    raise
            await self.host.clock.sleep(_BUSY_PAUSE_S)

    async def _follow(
        self, argv: tuple[str, ...], way: _Way, each_line: Callable[[str], None], keeps: Keeps = _all
    ) -> list[str]:
        lines: list[str] = []
        refusals: list[str] = []
        async with self.host.commands.start(argv) as running:
            async for line in running.lines():
                each_line(line)
                if keeps(line):
                    lines.append(line)
                if line.startswith("@ERROR") and len(refusals) < _MOST_REFUSALS:
                    # A server's refusal comes as a line of its own on either stream.
                    refusals.append(f"{line}\n")
            done = await running.wait()
        if done.returncode != 0:
            reason = translate(argv, done.returncode, "".join(refusals) + done.stderr)
            # What the agent's rsync says comes first: then the tunnel stood.
            if type(reason) in (UnavailableError, SystemCommandError):
                reason = await self._of_the_way(way) or reason
            raise reason
        return lines

    async def _of_the_way(self, way: _Way) -> HoldfastError | None:
        """What kept a tunnel from standing; None if there is none, or nothing did."""
        if way.log is None or way.agent.tls is None:
            return None
        told = way.log.read_text(errors="replace")
        if tunnel.is_ended_unheard(told):
            alert = await handshake.refusal(way.agent, way.agent.tls, within_s=self.settings.connect_timeout_s)
            told += tunnel.alert_line(alert) if alert else ""
        return tunnel.translate(told, self.host.clock.now().isoformat())

    @contextlib.contextmanager
    def _way(self, agent: AgentSpec, *, connect_s: int | None = None) -> Iterator[_Way]:
        """How rsync reaches an agent: by itself, or through a tunnel whose files last as long as the context."""
        seconds = connect_s or self.settings.connect_timeout_s
        if agent.tls is None:
            # rsync's greeting goes back and forth in small pieces, which are not to wait for each other.
            yield _Way(agent, ("--sockopts=TCP_NODELAY", f"--contimeout={seconds}"))
            return
        tunnel.check(agent.tls)
        certificates = "".join(agent.tls.trusted).encode()
        with self.temporary_file("trusted", certificates) as trusted, self.temporary_file("tunnel-log", b"") as log:
            files = tunnel.TunnelFiles(trusted, log)
            dead_peer_s = self.settings.dead_peer_s
            text = tunnel.render_client(agent, agent.tls, files, connect_s=seconds, dead_peer_s=dead_peer_s)
            with self.temporary_file("tunnel", text.encode()) as config:
                # rsync cuts this at spaces outside of quotes; no shell reads it. What it adds stunnel passes over.
                yield _Way(agent, (f"--rsh={self.settings.tls_program} '{config}'",), log)

    @contextlib.contextmanager
    def password_file(self, password: Secret) -> Iterator[Path]:
        """A file that holds the password as long as the context lasts."""
        with self.temporary_file("password", password.reveal().encode() + b"\n") as path:
            yield path

    @contextlib.contextmanager
    def temporary_file(self, what: str, data: bytes) -> Iterator[Path]:
        """A file of mode 0600 as long as the context lasts."""
        self.directory.mkdir(mode=0o700, exist_ok=True)
        path = self.directory / f"{what}.{secrets.token_hex(8)}"
        write_atomically(path, data)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)
