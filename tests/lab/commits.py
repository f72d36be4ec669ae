"""Commits of a database in the initiator's node: recorded on the host when acknowledged, judged by what is there."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from demo.bed import wait_for
from lab import Node, RemoteProcess

ENDS_WITHIN_S = 60.0


@dataclass(frozen=True)
class Judgement:
    """What became of the commits. Transactions are numbered from 1, and no two are under way at a time."""

    acknowledged: int
    lost: tuple[int, ...]
    """Acknowledged, and not there."""
    invented: tuple[int, ...]
    """There, and never begun."""
    failed: tuple[str, ...]
    """What the database was told of errors."""
    longest_gap_ms: float

    @property
    def is_clean(self) -> bool:
        """None lost, none invented, none failed."""
        return self.acknowledged > 0 and not (self.lost or self.invented or self.failed)


def judge(said: Iterable[str], held: Iterable[int]) -> Judgement:
    """Compare the lines `commit NUMBER [TIME]` and `fail …` with the numbers that the database holds."""
    acknowledged: set[int] = set()
    times_s: list[float] = []
    failed: list[str] = []
    for line in said:
        match line.split():
            case ["commit", number, *time_s]:
                acknowledged.add(int(number))
                times_s += [float(item) for item in time_s]
            case [] | ["end"]:
                pass
            case _:
                failed.append(line)
    there = set(held)
    # The one that was under way at the end may have been committed without an answer.
    most = max(acknowledged, default=0) + 1
    return Judgement(
        len(acknowledged),
        tuple(sorted(acknowledged - there)),
        tuple(sorted(there - set(range(1, most + 1)))),
        tuple(failed),
        round(max((after - before for before, after in pairwise(times_s)), default=0.0) * 1000, 1),
    )


class Committing:
    """A program in the node that commits, and its words, each kept in a file of the host as it comes.

    Of a commit that it says no time of, the time is when the word came.
    """

    def __init__(self, node: Node, argv: list[str], log: Path, *, cwd: str = "/") -> None:
        """Start it."""
        self.said: list[str] = []
        self.acknowledged = 0
        self._process: RemoteProcess = node.popen(argv, cwd=cwd)
        self._listener = threading.Thread(target=self._listen, args=(log,), daemon=True)
        self._listener.start()

    def _listen(self, log: Path) -> None:
        with log.open("a") as file:
            for line in self._process.lines():
                is_commit = line.startswith("commit")
                said = f"{line} {time.monotonic():.6f}" if is_commit and len(line.split()) == 2 else line
                self.said.append(said)
                self.acknowledged += is_commit
                file.write(f"{said}\n")

    def wait_acknowledged(self, more: int, within_s: float) -> None:
        """Return when so many more commits were acknowledged. Raises TimeoutError."""
        goal = self.acknowledged + more
        wait_for(lambda: self.acknowledged >= goal, within_s, f"{more} more commits are acknowledged")

    def stop(self) -> None:
        """End it when what is under way has ended."""
        self._process.terminate()
        self._process.wait(ENDS_WITHIN_S)
        self._listener.join(ENDS_WITHIN_S)
