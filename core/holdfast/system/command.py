"""The one way to run a command: argv only, bounded in time, nothing left running."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from holdfast.errors import SystemCommandError, UnavailableError

log = logging.getLogger(__name__)

STDERR_TAIL_CHARS = 2000


@dataclass(frozen=True)
class Completed:
    """A command that ended by itself."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str


class RunningCommand(Protocol):
    """A command under way whose output is read as it comes."""

    def lines(self) -> AsyncIterator[str]:
        """Yield each piece of stdout up to a newline or carriage return, without it."""
        ...

    async def wait(self) -> Completed:
        """Return when it ended; `stdout` is empty, for it was read by `lines`."""
        ...


class Commands(Protocol):
    """What plugins may do with commands. Tests give a scripted one."""

    def finds(self, program: str) -> bool:
        """Whether there is such a program, by name or path, that may be run. Runs nothing."""
        ...

    async def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        secret_input: bytes | None = None,
        environment: Mapping[str, str] | None = None,
        ok_codes: Sequence[int] = (0,),
    ) -> Completed:
        """Run `argv` to its end and return what it printed.

        `secret_input` goes to its standard input, which is closed otherwise, and is never
        logged. Raises SystemCommandError when the code is not in `ok_codes`, or, with
        `returncode` None, when it was killed at its time limit; UnavailableError when there is no
        such program. The whole process group is killed on a timeout and on cancellation.
        """
        ...

    def start(
        self, argv: Sequence[str], *, environment: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[RunningCommand]:
        """Start `argv` for reading line by line; leaving the context kills its group."""
        ...


def _environment(extra: Mapping[str, str] | None) -> dict[str, str]:
    # Only what programs need: a secret in the daemon's environment reaches no child.
    kept = {name: os.environ[name] for name in ("PATH", "DM_DISABLE_UDEV", "HOME") if name in os.environ}
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **kept, "LC_ALL": "C.UTF-8", **(extra or {})}


async def _spawn(
    argv: Sequence[str], stdin: int, environment: Mapping[str, str] | None, niceness: int | None
) -> asyncio.subprocess.Process:
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=_environment(environment),
            start_new_session=True,
            cwd="/",
        )
    except FileNotFoundError as reason:
        raise UnavailableError(f"the program {argv[0]} is not installed") from reason
    if niceness is not None:
        # It may be over already; and where this is not permitted, it is slower and right all the same.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.setpriority(os.PRIO_PROCESS, process.pid, niceness)
    return process


async def _kill_group(process: asyncio.subprocess.Process) -> None:
    """End the command and its children; wait only as long as a killed process may take."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    # A process in uninterruptible sleep outlives SIGKILL; its caller must not hang with it.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(2):
            await process.wait()


class _Running:
    """See RunningCommand."""

    def __init__(self, argv: Sequence[str], process: asyncio.subprocess.Process) -> None:
        self._argv = tuple(argv)
        self._process = process
        assert process.stderr is not None
        # Read from the start, so that a chatty command never blocks on a full pipe.
        self._stderr = asyncio.create_task(process.stderr.read())

    async def lines(self) -> AsyncIterator[str]:
        assert self._process.stdout is not None
        pending = b""
        while chunk := await self._process.stdout.read(65536):
            *whole, pending = (pending + chunk).replace(b"\r", b"\n").split(b"\n")
            for line in whole:
                yield line.decode(errors="replace")
        if pending:
            yield pending.decode(errors="replace")

    async def wait(self) -> Completed:
        stderr = (await self._stderr).decode(errors="replace")
        code = await self._process.wait()
        return Completed(self._argv, code, "", stderr)

    async def close(self) -> None:
        await _kill_group(self._process)
        self._stderr.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._stderr


class SystemCommands:
    """Runs commands on this machine. See Commands.

    `niceness` is what each of them gets (setpriority(2)); None leaves them that of this process.
    """

    def __init__(self, *, niceness: int | None = None) -> None:
        self._niceness = niceness

    def finds(self, program: str) -> bool:
        """See Commands."""
        return shutil.which(program, path=_environment(None)["PATH"]) is not None

    async def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        secret_input: bytes | None = None,
        environment: Mapping[str, str] | None = None,
        ok_codes: Sequence[int] = (0,),
    ) -> Completed:
        """See Commands."""
        started_s = time.monotonic()
        stdin = asyncio.subprocess.DEVNULL if secret_input is None else asyncio.subprocess.PIPE
        process = await _spawn(argv, stdin, environment, self._niceness)
        try:
            async with asyncio.timeout(timeout_s):
                out, err = await process.communicate(secret_input)
        except TimeoutError as reason:
            raise SystemCommandError(argv, None, f"no end after {timeout_s} s; its effect is unknown") from reason
        finally:
            if process.returncode is None:
                await _kill_group(process)
        assert process.returncode is not None
        log.debug("%s exited with %d after %.3f s", list(argv), process.returncode, time.monotonic() - started_s)
        done = Completed(tuple(argv), process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))
        if done.returncode not in ok_codes:
            raise SystemCommandError(argv, done.returncode, done.stderr[-STDERR_TAIL_CHARS:])
        return done

    @contextlib.asynccontextmanager
    async def start(
        self, argv: Sequence[str], *, environment: Mapping[str, str] | None = None
    ) -> AsyncIterator[RunningCommand]:
        """See Commands."""
        running = _Running(argv, await _spawn(argv, asyncio.subprocess.DEVNULL, environment, self._niceness))
        try:
            yield running
        finally:
            await running.close()
