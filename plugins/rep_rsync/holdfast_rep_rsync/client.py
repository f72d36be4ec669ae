"""The copier's side: rsync as a client of an agent."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from holdfast.errors import BusyError
from holdfast.hooks.base import Host
from holdfast.hooks.replication import AgentSpec, CopyRun
from holdfast.system.files import write_atomically
from holdfast.values import Secret
from holdfast_rep_rsync import naming
from holdfast_rep_rsync.errors import translate
from holdfast_rep_rsync.settings import Settings

_BUSY_PAUSE_S = 0.05

# Everything of a tree, and nothing else:
#   -XX                also the attributes named user.rsync.*, which one X takes for rsync's own;
#   --modify-window=-1 compares nanoseconds: by default a change within the same second at the same size is not seen.
# No --partial, no --inplace: what is on the destination is the old file or the new one, and the temporary file of a
# killed agent is deleted by the next run as what it is, a file that the source lacks.
ATTRIBUTES = ("-aHAXXS", "--numeric-ids", "--modify-window=-1")
# Deletes before it copies: source and destination may be of the same capacity (S21), where
# what is new fits only when what is gone has left. rsync deletes nothing if the source could not be listed whole.
DELETING = ("--delete-before",)


@dataclass(frozen=True)
class Client:
    """Runs rsync against agents; passwords lie in files of mode 0600 in `directory` while a run needs them."""

    host: Host
    settings: Settings
    directory: Path

    def _timeouts(self, lull_s: int = 0) -> tuple[str, ...]:
        return (
            f"--timeout={self.settings.io_timeout_s + lull_s}",
            f"--contimeout={self.settings.connect_timeout_s}",
        )

    async def list_modules(self, agent: AgentSpec) -> list[str]:
        """Ask an agent for its module list; return the lines. Raises UnavailableError."""
        seconds = self.settings.connect_timeout_s
        argv = (self.settings.program, f"--timeout={seconds}", f"--contimeout={seconds}", naming.url(agent))
        return await self._follow(argv, lambda line: None)

    async def push(
        self, run: CopyRun, options: tuple[str, ...], each_line: Callable[[str], None], *, lull_s: int = 0
    ) -> list[str]:
        """Run `rsync OPTIONS SOURCE/ AGENT::REPLICA/`; call back for each line and return all of them.

        `lull_s`: how long both sides may be silent for a good reason. Waits for a copy before it to leave the
        replica share. Raises the errors of `errors.translate`.
        """
        source = run.source.rstrip("/") + "/"
        deadline_s = self.host.clock.boot_s() + self.settings.busy_wait_s
        with self.password_file(run.password) as password_file:
            argv = (
                *(self.settings.program, *ATTRIBUTES, *options, "--no-inc-recursive"),
                *("--no-human-readable", "--outbuf=L", "--no-motd", "--sockopts=TCP_NODELAY", *self._timeouts(lull_s)),
                *(
                    f"--password-file={password_file}",
                    source,
                    naming.url(run.agent, user=run.user, replica=run.replica),
                ),
            )
            while True:
                try:
                    return await self._follow(argv, each_line)
                except BusyError:
                    # The agent's process of the run before ends some moments after its client did.
                    if self.host.clock.boot_s() >= deadline_s:
                        raise
                await self.host.clock.sleep(_BUSY_PAUSE_S)

    async def _follow(self, argv: tuple[str, ...], each_line: Callable[[str], None]) -> list[str]:
        lines: list[str] = []
        async with self.host.commands.start(argv) as running:
            async for line in running.lines():
                lines.append(line)
                each_line(line)
            done = await running.wait()
        if done.returncode != 0:
            # A server's refusal comes as a line of its own on either stream.
            refusals = "".join(f"{line}\n" for line in lines if line.startswith("@ERROR"))
            raise translate(argv, done.returncode, refusals + done.stderr)
        return lines

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
