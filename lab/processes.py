"""Processes the lab started, found again by recorded identity and by nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process; the start time tells it from another that got the same id later."""

    pid: int
    start_ticks: int

    @classmethod
    def of(cls, pid: int) -> Process:
        """The identity of a live process. Raises ProcessLookupError if there is none."""
        stat = _stat(pid)
        if stat is None:
            raise ProcessLookupError(pid)
        return cls(pid, stat[1])

    @classmethod
    def load(cls, record: Path) -> Process | None:
        """What `save` wrote; None if nothing, or nothing whole, is there."""
        try:
            return cls(**json.loads(record.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def save(self, record: Path) -> None:
        """Write the identity where other processes of the lab find it."""
        draft = record.with_suffix(".new")
        draft.write_text(json.dumps(asdict(self)))
        draft.replace(record)

    @property
    def is_alive(self) -> bool:
        """Whether it runs. One that waits for its parent to collect it is dead."""
        stat = _stat(self.pid)
        return stat is not None and stat[1] == self.start_ticks and stat[0] not in "ZX"

    def kill(self, timeout_s: float = 10.0) -> None:
        """SIGKILL to the process and all below it; return when they are gone."""
        targets = [self, *self.descendants()] if self.is_alive else []
        # Its direct child is the first process of a namespace: when that is dead, everything in
        # the namespace is (pid_namespaces(7)). Children first, so that the parent collects them.
        for target in reversed(targets):
            with contextlib.suppress(ProcessLookupError):
                os.kill(target.pid, signal.SIGKILL)
        wait_until(lambda: not any(target.is_alive for target in targets), timeout_s)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)

    def signal_machine(self, number: signal.Signals) -> None:
        """Signal every process below this one that no other process traces.

        The traced ones are the node's user processes: linux.uml takes a stop of theirs for a fault
        and panics. They stand still anyway once their kernel does.
        """
        for process in self.descendants():
            if process.status().get("TracerPid") == "0":
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, number)

    def status(self) -> dict[str, str]:
        """What proc(5) tells in /proc/pid/status; nothing if it is gone."""
        try:
            lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            return {}
        return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}

    def descendants(self) -> list[Process]:
        """All descendants, parents before their children."""
        children: dict[int, list[Process]] = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit() and (stat := _stat(int(entry))):
                children.setdefault(stat[2], []).append(Process(int(entry), stat[1]))
        found = list(children.get(self.pid, []))
        for process in found:
            found += children.get(process.pid, [])
        return found


def wait_until(condition: Callable[[], bool], timeout_s: float, every_s: float = 0.01) -> bool:
    """Poll a condition; False when the time is over first."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True


def _stat(pid: int) -> tuple[str, int, int] | None:
    """State, start time in ticks, parent (proc(5), /proc/pid/stat)."""
    try:
        # The second field is a name in parentheses, and may hold blanks and parentheses itself.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return fields[0], int(fields[19]), int(fields[1])
