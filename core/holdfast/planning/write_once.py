"""Volumes that are write once, read many: what becomes of a file, how time passes, and what is refused. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from holdfast.errors import Reason

DAY_S = 86400
SHORTEST_S = 1
LONGEST_S = 100 * 366 * DAY_S


@dataclass(frozen=True)
class FileMark:
    """What is noted with a file when it is retained."""

    closed_s: float
    """When, by its volume's own clock."""
    modified_ns: int
    """Its time of modification then."""


@dataclass(frozen=True)
class FileSeen:
    """A regular file as it is."""

    size_bytes: int
    modified_ns: int
    is_immutable: bool
    mark: FileMark | None


class Settle(StrEnum):
    """What becomes of a file that nobody has open for writing."""

    LEAVE = "leave"
    """Nothing holds it, and nothing is to: it is empty, its time has passed, or others made it immutable."""
    COMMIT = "commit"
    """Its retention begins now."""
    KEEP = "keep"
    """It is retained as it should be."""
    FINISH = "finish"
    """It is marked and not immutable: that was interrupted, taken away by hand, or the retention was lengthened."""
    RELEASE = "release"
    """Its time has passed: it may be removed from now on."""

    @property
    def is_retained(self) -> bool:
        """Whether the file must stay as it is."""
        return self in (Settle.COMMIT, Settle.KEEP, Settle.FINISH)


def settle(file: FileSeen, clock_s: float, retention_s: int) -> Settle:
    """What is to be done with a file; the same whether it was just closed or found by a walk."""
    if file.mark is None:
        # Nothing was written yet: programs make a file first and open it anew to write it.
        return Settle.LEAVE if file.is_immutable or file.size_bytes == 0 else Settle.COMMIT
    is_over = left_s(file.mark, clock_s, retention_s) == 0
    if file.is_immutable:
        return Settle.RELEASE if is_over else Settle.KEEP
    if file.modified_ns != file.mark.modified_ns:
        # It was written since: after its time had passed, or before its marking was finished.
        return Settle.LEAVE if file.size_bytes == 0 else Settle.COMMIT
    return Settle.LEAVE if is_over else Settle.FINISH


def left_s(mark: FileMark, clock_s: float, retention_s: int) -> float:
    """How long a file is retained yet; 0 when that is over."""
    return max(0.0, mark.closed_s + retention_s - clock_s)


@dataclass(frozen=True)
class VolumeClock:
    """The clock of a volume, and where the machine's own stood when it was read."""

    clock_s: float = 0.0
    boot_id: str = ""
    boot_s: float = 0.0


def advanced(clock: VolumeClock, boot_id: str, boot_s: float) -> VolumeClock:
    """The clock of a volume now: it goes on by the time that is known to have passed, and by no other.

    That is the time since it was last read if the machine has not been started since. How long a machine was off, or a
    disk on its way to another, only a clock could tell that can be set.
    """
    passed_s = max(0.0, boot_s - clock.boot_s) if boot_id == clock.boot_id else 0.0
    return VolumeClock(clock.clock_s + passed_s, boot_id, boot_s)


class Act(StrEnum):
    """What somebody wants to do with a volume, as it is told."""

    DELETE = "deleted"
    ROLL_BACK = "rolled back to a snapshot"
    SWITCH_OFF = "made an ordinary one"
    SHORTEN = "given a shorter retention"
    LENGTHEN = "given a longer retention"
    RESTORE_INTO = "restored into"
    COPY_INTO = "the destination of a copy"
    MIRROR = "mirrored"
    GIVE_UP = "given up to a mirror"


_NEVER = {
    Act.RESTORE_INTO: "restore to a share of another volume, and copy from there what is to be kept here",
    Act.COPY_INTO: "name a share of another volume",
    Act.MIRROR: "copy its shares by replication tasks: the other side of a mirror could be overwritten",
    Act.GIVE_UP: "name another volume",
}
"""What writes in ways of its own, and is refused whether or not there is a file: each with the remedy."""
_WHILE_RETAINED = (Act.DELETE, Act.ROLL_BACK, Act.SWITCH_OFF, Act.SHORTEN)


@dataclass(frozen=True)
class Held:
    """A file that is retained, one of maybe many, and for how long at least."""

    path: str
    left_s: float


def asks_for_held(act: Act) -> bool:
    """Whether it has to be known if a file is retained."""
    return act in _WHILE_RETAINED


def refuse_act(volume: str, act: Act, held: Held | None, field: str | None = None) -> tuple[Reason, ...]:
    """Why this must not be done to a volume that is write once; empty if it may."""
    what = f"the volume {volume} is write once, and is not {act}"
    if (remedy := _NEVER.get(act)) is not None:
        return (Reason("write-once", what, remedy, field),)
    if act in _WHILE_RETAINED and held is not None:
        text = f"{what}: the file {held.path} is retained for another {_time(held.left_s)}"
        return (Reason("retained", text, "wait until no file of it is retained any more", field),)
    return ()


def change_of(retention_s: int, wanted_s: int | None) -> Act | None:
    """What it is to give a volume another retention, or with None no more; None where nothing changes."""
    if wanted_s is None:
        return Act.SWITCH_OFF
    if wanted_s == retention_s:
        return None
    return Act.SHORTEN if wanted_s < retention_s else Act.LENGTHEN


def _time(seconds: float) -> str:
    return f"{seconds / DAY_S:.1f} days" if seconds >= DAY_S else f"{seconds:.0f} s"
