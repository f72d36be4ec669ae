"""When a group goes back to its preferred node by itself: in sync, quiet, and nobody wants it otherwise."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import StrEnum

from holdfast.hooks.failover import GroupState

LEAST_AFTER_S = 60
MOST_AFTER_S = 24 * 3600
DEFAULT_AFTER_S = 300


class Failback(StrEnum):
    """Who moves a group back to its preferred node."""

    MANUAL = "manual"
    AUTOMATIC = "automatic"


@dataclass(frozen=True)
class Quiet:
    """Since when nothing has changed, as far as somebody has looked."""

    picture: Hashable
    since_s: float
    looked_s: float


def look(before: Quiet | None, picture: Hashable, now_s: float, *, at_least_every_s: float) -> Quiet:
    """What a further look says. Instants are of one monotonic clock.

    Whatever happened while nobody looked for longer than `at_least_every_s` is not known, and so it was not quiet.
    """
    if before is None or before.picture != picture or now_s - before.looked_s > at_least_every_s:
        return Quiet(picture, now_s, now_s)
    return Quiet(picture, before.since_s, now_s)


@dataclass(frozen=True)
class FailbackFacts:
    """A group that this node serves, and that another one is preferred for."""

    here: GroupState
    there: GroupState | None
    """On the preferred node; None if it could not be asked."""
    troubles: tuple[str, ...]
    """What either monitor says against the group."""
    in_maintenance: tuple[str, ...]
    is_held: bool
    """A person moved it here."""
    quiet_s: float
    after_s: int
    failures: int
    """Tries in a row that failed."""


def wait_s(after_s: int, failures: int) -> int:
    """How long it has to be quiet: twice as long after each further try that failed, up to a day."""
    return max(after_s, min(after_s << min(failures, 16), MOST_AFTER_S))


def why_not(facts: FailbackFacts) -> tuple[str, ...]:
    """Everything that keeps the group from going back now, in sentences; empty: it goes."""
    found = [f"{node} is in maintenance" for node in facts.in_maintenance]
    if facts.is_held:
        found.append("a person moved it here, and it stays until a person fails it back")
    if facts.there is None:
        found.append("the preferred node cannot be asked")
    elif (facts.here, facts.there) != (GroupState.ACTIVE_SYNC, GroupState.STANDBY_OK):
        found.append(f"it is {facts.here} here and {facts.there} on the preferred node")
    found.extend(facts.troubles)
    needed_s = wait_s(facts.after_s, facts.failures)
    if facts.quiet_s < needed_s:
        tried = f" after {facts.failures} tries that failed" if facts.failures else ""
        found.append(f"it has been quiet for {facts.quiet_s:.0f} s, not yet for {needed_s} s{tried}")
    return tuple(found)
