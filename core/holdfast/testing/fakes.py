"""Fakes for the only two seams: commands with kernel files, and the clock."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from holdfast.errors import SystemCommandError
from holdfast.hooks.base import Host
from holdfast.system.command import Commands, Completed, RunningCommand
from holdfast.system.kernelfs import KernelFs


@dataclass(frozen=True)
class Answer:
    """What a scripted command prints and how it ends."""

    stdout: str = ""
    stderr: str = ""
    returncode: int = 0


Script = Callable[[tuple[str, ...], bytes | None], Answer | None]


@dataclass
class ScriptedCommands:
    """Answers commands from `script`; a command it has no answer for fails the test, by name.

    `calls` records every argv in order. Every program is there but those that are `lacking`.
    """

    script: Script
    calls: list[tuple[str, ...]] = field(default_factory=list)
    lacking: frozenset[str] = frozenset()

    def finds(self, program: str) -> bool:
        """See Commands."""
        return program not in self.lacking

    def _answer(self, argv: Sequence[str], secret_input: bytes | None) -> Answer:
        self.calls.append(tuple(argv))
        answer = self.script(tuple(argv), secret_input)
        if answer is None:
            raise AssertionError(f"no scripted answer for {list(argv)}")
        return answer

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
        answer = self._answer(argv, secret_input)
        if answer.returncode not in ok_codes:
            raise SystemCommandError(argv, answer.returncode, answer.stderr)
        return Completed(tuple(argv), answer.returncode, answer.stdout, answer.stderr)

    @contextlib.asynccontextmanager
    async def start(
        self, argv: Sequence[str], *, environment: Mapping[str, str] | None = None
    ) -> AsyncIterator[RunningCommand]:
        """See Commands."""
        yield _ScriptedRunning(tuple(argv), self._answer(argv, None))


@dataclass
class _ScriptedRunning:
    argv: tuple[str, ...]
    answer: Answer

    async def lines(self) -> AsyncIterator[str]:
        for line in self.answer.stdout.replace("\r", "\n").splitlines():
            yield line

    async def wait(self) -> Completed:
        return Completed(self.argv, self.answer.returncode, "", self.answer.stderr)


class ManualClock:
    """A clock that moves only when told: `advance` wakes the sleepers that are due, in order."""

    def __init__(self, boot_s: float = 1000.0) -> None:
        self._boot_s = boot_s
        self._wall = datetime(2026, 1, 1, tzinfo=UTC)
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def boot_s(self) -> float:
        """See Clock."""
        return self._boot_s

    def now(self) -> datetime:
        """See Clock."""
        return self._wall

    def step_wall(self, delta_s: float) -> None:
        """Set the wall clock alone, as a person or NTP would."""
        self._wall += timedelta(seconds=delta_s)

    async def sleep(self, delay_s: float) -> None:
        """See Clock."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._boot_s + delay_s, next(self._order), future))
        await future

    async def advance(self, delta_s: float) -> None:
        """Let time pass, letting each due sleeper run before the next one."""
        end_s = self._boot_s + delta_s
        while self._sleepers and self._sleepers[0][0] <= end_s:
            due_s, _, future = heapq.heappop(self._sleepers)
            self._wall += timedelta(seconds=max(0.0, due_s - self._boot_s))
            self._boot_s = max(self._boot_s, due_s)
            if not future.done():
                future.set_result(None)
            for _ in range(10):
                await asyncio.sleep(0)
        self._wall += timedelta(seconds=end_s - self._boot_s)
        self._boot_s = end_s


def make_host(directory: Path, *, commands: Commands, node: str = "a", clock: ManualClock | None = None) -> Host:
    """Build a Host whose kernel trees and directories all lie below `directory`."""
    for name in ("kernel", "state", "run"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    return Host(
        node=node,
        commands=commands,
        kernel=KernelFs(directory / "kernel"),
        clock=clock or ManualClock(),
        state_dir=directory / "state",
        run_dir=directory / "run",
    )
