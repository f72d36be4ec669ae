"""A bench for real rsync on this machine: everything lies in one directory and listens on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from holdfast.hooks.base import Host
from holdfast.hooks.replication import AgentSpec, CopyResult, CopyRun, ReplicaShare
from holdfast.system.clock import SystemClock
from holdfast.system.command import SystemCommands
from holdfast.system.kernelfs import KernelFs
from holdfast.system.processes import Process, find
from holdfast.testing.ports import free_port
from holdfast.values import Secret
from holdfast_rep_rsync.driver import RsyncDriver, open_driver
from holdfast_rep_rsync.settings import Settings

STAND_IN = Path(__file__).with_name("stand_in.py")


async def wait_until(claim: Callable[[], bool], *, within_s: float) -> None:
    """Return as soon as `claim` holds; fail when it does not in time."""
    deadline_s = time.monotonic() + within_s
    while not claim():
        if time.monotonic() > deadline_s:
            pytest.fail(f"it did not come true within {within_s} s")
        await asyncio.sleep(0.005)


async def wait_until_running(driver: RsyncDriver, *, within_s: float) -> None:
    """Return as soon as the agent answers; fail when it does not in time."""
    deadline_s = time.monotonic() + within_s
    while not await driver.is_agent_running():
        if time.monotonic() > deadline_s:
            pytest.fail(f"the agent did not answer within {within_s} s")
        await asyncio.sleep(0.02)


@contextlib.contextmanager
def unreadable(path: Path) -> Iterator[None]:
    """Even root can't read a write-only file of sysfs: let `path` be one as long as the context lasts."""
    subprocess.run(["mount", "--bind", "/sys/bus/cpu/drivers_probe", str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


FROZEN_BYTES_S = 24 << 20


@dataclass
class Machine:
    """One node's driver and directories, and a look at its processes."""

    directory: Path
    spec: AgentSpec = field(default_factory=lambda: AgentSpec("127.0.0.1", free_port()))
    settings: Settings = field(default_factory=Settings)
    drivers: list[RsyncDriver] = field(default_factory=list)

    @property
    def source(self) -> Path:
        return self.directory / "source"

    @property
    def replica(self) -> Path:
        return self.directory / "replica"

    @property
    def run_dir(self) -> Path:
        return self.directory / "run"

    @property
    def share(self) -> ReplicaShare:
        return ReplicaShare("docs", str(self.replica), "copier", Secret("right"), ("127.0.0.1",))

    @property
    def run(self) -> CopyRun:
        return CopyRun(str(self.source), self.spec, "docs", "copier", Secret("right"))

    async def open(self, **settings: float) -> RsyncDriver:
        clock, kernel = SystemClock(), KernelFs()
        host = Host("a", SystemCommands(), kernel, clock, self.directory / "state", self.run_dir)
        driver = await open_driver(replace(self.settings, **settings), host)  # type: ignore[arg-type]
        self.drivers.append(driver)
        return driver

    async def copy(self, driver: RsyncDriver) -> CopyResult:
        return await driver.copy(self.run, lambda progress: None)

    def processes(self) -> tuple[Process, ...]:
        """Every process that names our run directory, agent and copies."""
        return find(KernelFs(), lambda argv: any(str(self.run_dir) in word for word in argv) and "rsync" in argv[0])

    def listener(self) -> Process:
        (found,) = [p for p in self.processes() if p.is_leader and "--daemon" in p.argv]
        return found

    def connections(self) -> list[int]:
        return [p.pid for p in self.processes() if not p.is_leader and "--daemon" in p.argv]

    def processes_with(self, text: str) -> list[int]:
        """Every process that names our run directory and has this in its command line."""
        ours = str(self.run_dir)
        return [p.pid for p in find(KernelFs(), lambda argv: ours in " ".join(argv) and text in " ".join(argv))]

    def connections_of_any_kind(self) -> list[int]:
        """Those of an encrypted agent, too: stunnel starts them in its own process group or not."""
        return [p.pid for p in self.processes() if p.argv[1] == "--server" or p.pid in self.connections()]

    def clients(self) -> list[int]:
        return [p.pid for p in self.processes() if "--daemon" not in p.argv]

    async def run_rsync(self, *arguments: str) -> int:
        """Run rsync as anybody who knows the password could; return its exit code."""
        return (await self.try_rsync(*arguments))[0]

    async def try_rsync(self, *arguments: str) -> tuple[int, str]:
        """The same, with what it said."""
        password = self.directory / "password"
        password.touch(mode=0o600)
        password.write_text("right\n")
        argv = ["rsync", f"--password-file={password}", *arguments]
        process = await asyncio.create_subprocess_exec(*argv, stderr=asyncio.subprocess.PIPE)
        _, told = await process.communicate()
        return process.returncode or 0, told.decode(errors="replace")

    @contextlib.asynccontextmanager
    async def stand_in(self, what: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """A holdfastd of its own that started the agent or a copy; killed with -9 at the end of the context."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(STAND_IN), str(self.run_dir), what, str(self.spec.port)),
            *(str(self.replica), str(self.source)),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(20):
                assert await process.stdout.readline() == b"ready\n"
            yield process
        finally:
            process.kill()
            await process.wait()

    @contextlib.asynccontextmanager
    async def frozen_copy(
        self, driver: RsyncDriver, *, is_sender_frozen: bool = False
    ) -> AsyncIterator[asyncio.Task[CopyResult]]:
        """A copy of the file `a large`, one side of it frozen in the middle as long as the context lasts."""
        replica = self.replica
        # Not as fast as it can be: on a busy machine it would be over before anybody looks.
        slow = replace(self.run, options=replace(self.run.options, bandwidth_bytes_s=FROZEN_BYTES_S))
        copying = asyncio.create_task(driver.copy(slow, lambda progress: None))
        # A temporary file: the lists were exchanged, and content flows.
        await wait_until(lambda: any(p.name.startswith(".a large.") for p in replica.iterdir()), within_s=10)
        frozen = self.clients() if is_sender_frozen else self.connections()
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield copying
        finally:
            for pid in frozen:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
            await asyncio.wait([copying])
