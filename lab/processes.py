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
    """A process that leads its own group; the start time tells it from a reused id."""

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

    def kill_group(self, timeout_s: float = 10.0) -> None:
        """SIGKILL to the whole group, and wait until the leader and its members are gone."""
        if self.is_alive:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        wait_until(lambda: not self.is_alive and not members(self.pid), timeout_s)

    def signal_machine(self, number: signal.Signals) -> None:
        """Signal every process of the group that no other process traces.

        The traced ones are the node's user processes: linux.uml takes a stop of theirs for a fault
        and panics. They stand still anyway once their kernel does.
        """
        for pid in members(self.pid):
            if _tracer(pid) == 0:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)


def members(group: int) -> list[int]:
    """The live processes of a process group."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            stat = _stat(int(entry))
            if stat is not None and stat[2] == group and stat[0] not in "ZX":
                found.append(int(entry))
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
    """State, start time in ticks, process group (proc(5), /proc/pid/stat)."""
    try:
        # The second field is a name in parentheses, and may hold blanks and parentheses itself.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return fields[0], int(fields[19]), int(fields[2])


def _tracer(pid: int) -> int:
    """The process that traces this one, 0 for none."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return -1
    return next((int(line.split()[1]) for line in lines if line.startswith("TracerPid:")), 0)
