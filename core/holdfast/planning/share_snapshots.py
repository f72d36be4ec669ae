"""Which snapshots of a volume the clients of its shares see, and which are mounted for that. Pure.

A mount that was made for this yields to whoever removes the snapshot; one that a person asked for does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

MOST_SHOWN = 64
"""Of one volume: each is a file system that is mounted."""


class MountStep(StrEnum):
    """What is done now."""

    NOTHING = "nothing"
    MOUNT = "mount"
    UNMOUNT = "unmount"


@dataclass(frozen=True)
class Candidate:
    """A snapshot as it is now."""

    name: str
    taken_at: datetime | None
    """None: nobody noted it, as for what a run of replication took for itself."""
    is_overflown: bool = False
    is_mounted: bool = False
    """Beside its volume, for whatever reason."""
    is_persons: bool = False
    """A person asked for that mount."""
    is_leaving: bool = False
    """It is being removed."""


@dataclass(frozen=True)
class Decision:
    """What becomes of a snapshot."""

    name: str
    taken_at: datetime | None
    step: MountStep
    why_not: str | None
    """Why clients do not see it; None for one that they are to see."""


@dataclass(frozen=True)
class Seen:
    """A snapshot, from the side of one share."""

    name: str
    taken_at: datetime | None
    is_visible: bool
    reason: str | None
    """Why it is not."""


def decide(candidates: Iterable[Candidate], *, is_asked: bool) -> tuple[Decision, ...]:
    """Say of each snapshot of a volume what becomes of it, the newest first; those of unknown age come last.

    `is_asked`: a share of the volume, which is mounted, shows snapshots to its clients.
    """
    everything = tuple(candidates)
    dated = [(each.taken_at, each.name, each) for each in everything if each.taken_at is not None]
    known = [each for _, _, each in sorted(dated, key=lambda one: one[:2], reverse=True)]
    unknown = sorted((each for each in everything if each.taken_at is None), key=lambda each: each.name)
    seconds: dict[datetime, str] = {}
    found = []
    for each in (*known, *unknown):
        why_not = _why_not(each, seconds, is_asked=is_asked)
        if why_not is None and each.taken_at is not None:
            seconds[to_the_second(each.taken_at)] = each.name
        found.append(Decision(each.name, each.taken_at, _step(each, is_shown=why_not is None), why_not))
    return tuple(found)


def to_the_second(at: datetime) -> datetime:
    """The time by which clients tell snapshots apart."""
    return at.replace(microsecond=0)


def _why_not(each: Candidate, seconds: dict[datetime, str], *, is_asked: bool) -> str | None:
    if not is_asked:
        return "no share of its volume that is mounted shows snapshots"
    if each.is_leaving:
        return "it is being removed"
    if each.is_overflown:
        return "it overflowed and holds nothing any more"
    if each.taken_at is None:
        return "when it was taken is not on record"
    if (other := seconds.get(to_the_second(each.taken_at))) is not None:
        return f"it was taken in the same second as {other}"
    if len(seconds) >= MOST_SHOWN:
        return f"{MOST_SHOWN} newer ones are shown, as many as there may be"
    return None


def _step(each: Candidate, *, is_shown: bool) -> MountStep:
    if is_shown and not each.is_mounted:
        return MountStep.MOUNT
    if not is_shown and each.is_mounted and not each.is_persons:
        return MountStep.UNMOUNT
    return MountStep.NOTHING


def seen(
    decisions: Sequence[Decision], *, mounted: frozenset[str], with_folder: frozenset[str], why_none: str | None
) -> tuple[Seen, ...]:
    """What the clients of one share see of them.

    `mounted`: those that are; `with_folder`: those of these in which the folder of the share is. `why_none`: why this
    share shows none of them.
    """
    found = []
    for each in decisions:
        reason = each.why_not or why_none
        if reason is None and each.name not in mounted:
            reason = "it is not mounted yet"
        if reason is None and each.name not in with_folder:
            reason = "the folder of the share was not there when it was taken"
        found.append(Seen(each.name, each.taken_at, reason is None, reason))
    return tuple(found)
