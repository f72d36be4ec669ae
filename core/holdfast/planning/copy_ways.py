"""How a run of a task finds what to copy: by a walk of everything on both sides, or by a list of what changed. Pure.

After a good run the source keeps a listing of what it copied. A run by changes compares the source with that, without
the destination, and names to the copier what differs and nothing else. It is right only if the replica still is what
that run left. Wherever that is not known, everything is walked.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

MOST_RUNS_BY_CHANGES = 24
"""Between two walks: what was changed in the replica behind the agent's back is found by a walk only."""
MOST_DAYS_BY_CHANGES = 7
LEAST_NAMES = 10_000
"""Of fewer a walk takes long by the line alone, and a list has to cross it, too."""
LEAST_WALK_S = 1.0
"""A walk that is through so soon is not worth avoiding."""
COMPARING_S = 15e-6
"""For each name, where it was not measured yet: a directory entry, its inode, and the line of the listing."""
PASSES = 2
"""A run by a walk goes over everything at least twice: to copy, and to verify."""
MOST_LISTED_PERCENT = 25
"""Of all names. rsync takes several times longer for a name of a list than for one that it finds itself."""


class Way(StrEnum):
    """How a run finds what to copy."""

    WALK = "walk"
    CHANGES = "changes"


class WayWanted(StrEnum):
    """What a task asks for."""

    AUTO = "auto"
    """By changes where that is safe and quicker."""
    WALK = "walk"
    """Always everything; no listing is kept."""
    CHANGES = "changes"
    """By changes wherever that is safe."""


@dataclass(frozen=True)
class LastCopy:
    """What a source has kept of the last good run of a task."""

    frozen_at: datetime
    rules: str
    """What was copied, where to, and what of it: a run by other rules has nothing to compare with."""
    names: int
    walked_at: datetime
    """When everything was last walked."""
    runs_by_changes: int = 0
    """Since then."""
    walk_s: float | None = None
    """How long one pass over everything on both sides took then, line included."""
    comparing_s: float | None = None
    """How long the last comparison with a listing took."""


@dataclass(frozen=True)
class Told:
    """What an agent tells of a replica."""

    frozen_at: datetime | None
    """Of when the copy in it is, if it is one of this task and nobody wrote to the replica since; else None."""


@dataclass(frozen=True)
class Known:
    """What is known before a run."""

    wanted: WayWanted
    now: datetime
    rules: str
    last: LastCopy | None
    told: Told | None
    """None: the agent could not be asked, or is of a version that does not tell."""
    can_list: bool = True
    """Whether the copier takes a list."""
    compares_all: bool = False
    """Whether this run compares every file, as it does when it is asked to and after it found differences."""


@dataclass(frozen=True)
class Plan:
    """How a run goes, and why, as one sentence for people."""

    way: Way
    why: str

    @property
    def is_by_changes(self) -> bool:
        """Whether a list is to be made."""
        return self.way is Way.CHANGES


def plan(known: Known) -> Plan:
    """Decide on a run. Whatever is in doubt is walked."""
    last = known.last
    if (reason := _need_of_walk(known)) is not None or last is None:
        return Plan(Way.WALK, f"everything is walked: {reason}")
    measured = "" if last.walk_s is None else f", and a pass over all {last.names} names took {last.walk_s:.1f} s"
    if known.wanted is WayWanted.AUTO and (reason := _lack_of_gain(last)) is not None:
        return Plan(Way.WALK, f"everything is walked: {reason}")
    since = f"nobody wrote to the replica since the copy of {_instant(last.frozen_at)}{measured}"
    return Plan(Way.CHANGES, f"only what changed is looked at: {since}")


def _need_of_walk(known: Known) -> str | None:
    last, told = known.last, known.told
    if known.wanted is WayWanted.WALK:
        return "the task asks for it"
    if not known.can_list:
        return "the copier takes no list of changes"
    if known.compares_all:
        return "this run compares every file"
    if last is None:
        return "no good run has left a listing to compare with"
    if last.rules != known.rules:
        return "the task was changed since its last good run"
    return _distrust(last, told) or _age(last, known.now)


def _distrust(last: LastCopy, told: Told | None) -> str | None:
    if told is None:
        return "the destination does not tell whether the replica is still as the last good run left it"
    if told.frozen_at is None:
        return "the replica may have been written to since the last good run, or its agent does not tell"
    if told.frozen_at != last.frozen_at:
        return f"the replica holds the copy of {_instant(told.frozen_at)}, and the listing is of another one"
    return None


def _age(last: LastCopy, now: datetime) -> str | None:
    if last.runs_by_changes >= MOST_RUNS_BY_CHANGES:
        return f"{last.runs_by_changes} runs by changes have been made since the last walk"
    # A clock that was set back tells nothing of how long it is.
    if not timedelta(0) <= now - last.walked_at < timedelta(days=MOST_DAYS_BY_CHANGES):
        return f"the last walk was at {_instant(last.walked_at)}, and one is due every {MOST_DAYS_BY_CHANGES} days"
    return None


def _lack_of_gain(last: LastCopy) -> str | None:
    if last.names < LEAST_NAMES:
        return f"the source has {last.names} names only"
    if last.walk_s is None:
        return "it is not known how long that takes"
    if last.walk_s < LEAST_WALK_S:
        return f"a pass over all {last.names} names took {last.walk_s:.1f} s only"
    comparing_s = last.comparing_s if last.comparing_s is not None else last.names * COMPARING_S
    if comparing_s >= PASSES * last.walk_s:
        return f"to find the changes takes {comparing_s:.1f} s, and a pass over everything {last.walk_s:.1f} s"
    return None


@dataclass(frozen=True)
class Compared:
    """What a comparison of the source with a listing found."""

    names: int
    """Of the source now, its top included."""
    changed: int
    """Names of the source that are new or differ."""
    created: int
    """How many of those are new."""
    removed: int
    """Names that are gone, with all that lay below them."""
    looked_at: int = 1
    """Names of the source that the copier has to look at: what changed, the folders on the way to it, and the top."""


def after_comparing(planned: Plan, found: Compared) -> Plan:
    """Whether it stays with the list, now that it is known what is in it."""
    if found.names == 1:
        return Plan(Way.WALK, "everything is walked: the source is empty")
    listed = found.changed + found.removed
    if listed * 100 > found.names * MOST_LISTED_PERCENT:
        more = f"{listed} of {found.names} names changed, more than {MOST_LISTED_PERCENT} %"
        return Plan(Way.WALK, f"everything is walked: {more}")
    return Plan(planned.way, f"{planned.why}; {found.changed} names changed or are new, {found.removed} are gone")


def instead(reason: str) -> Plan:
    """What becomes of a run whose list could not be made, or not be copied."""
    return Plan(Way.WALK, f"everything is walked, for the list of changes was of no use: {reason}")


def _instant(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
