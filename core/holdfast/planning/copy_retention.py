"""Which kept copies stay, and what about them needs a person. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from holdfast.errors import Reason
from holdfast.planning.snapshot_retention import HeldSnapshot, RetentionRules, judge

FULL_PERCENT = 80.0
"""From here on a reserve may not be enough for another run like those before."""


@dataclass(frozen=True)
class RetentionRule:
    """What is kept; a copy stays if any of these wants it. All of them 0: nothing is kept, and nothing removed."""

    last: int = 0
    daily: int = 0
    """The newest one of each of so many days that have one, by UTC."""
    weekly: int = 0
    monthly: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing is kept by it."""
        return self.most == 0

    @property
    def most(self) -> int:
        """How many copies there can be at once."""
        return self.last + self.daily + self.weekly + self.monthly


def staying(rule: RetentionRule, moments: Iterable[datetime]) -> frozenset[datetime]:
    """Which of the copies, told by the moments that they are of, stay. The newest one always does."""
    held = [HeldSnapshot(moment.isoformat(), moment) for moment in sorted(set(moments))]
    if rule.is_empty or not held:
        return frozenset(each.taken_at for each in held)
    rules = RetentionRules(max(rule.last, 1), daily=rule.daily, weekly=rule.weekly, monthly=rule.monthly)
    return frozenset(each.taken_at for each in judge(held, rules, held[-1].taken_at) if each.is_kept)


@dataclass(frozen=True)
class KeptState:
    """One kept copy as it is."""

    snapshot: str
    reserve_bytes: int
    used_percent: float | None
    is_void: bool


def kept_alerts(replica: str, states: Iterable[KeptState], failure: str | None) -> tuple[Reason, ...]:
    """What about the copies that are kept of a replica share needs a person."""
    enlarge = f"give the copies more with PUT /v1/replica-shares/{replica}/retention (reserve_percent)"
    found = []
    if failure is not None:
        found.append(Reason("copy-not-kept", f"the newest verified copy could not be kept: {failure}", enlarge))
    for state in states:
        if state.is_void:
            text = f"the kept copy {state.snapshot} is void: its reserve of {state.reserve_bytes} bytes was not enough"
            found.append(Reason("kept-copy-void", text, f"{enlarge}; the void one goes when the next copy is kept"))
        elif state.used_percent is not None and state.used_percent >= FULL_PERCENT:
            left = round(state.reserve_bytes * (100 - state.used_percent) / 100)
            used = f"{state.used_percent:.0f}% of its reserve"
            text = f"the kept copy {state.snapshot} has used {used}: {left} bytes are left"
            found.append(Reason("reserve-nearly-full", text, enlarge))
    return tuple(found)


def room_warnings(rule: RetentionRule, reserve_bytes: int, room_bytes: int) -> tuple[Reason, ...]:
    """Whether a pool has room for all that a rule may keep; `room_bytes` is free, or taken by copies kept already."""
    needed_bytes = rule.most * reserve_bytes
    if needed_bytes <= room_bytes:
        return ()
    text = (
        f"{rule.most} copies with a reserve of {reserve_bytes} bytes need {needed_bytes} bytes;"
        f" the pool has {needed_bytes - room_bytes} too few"
    )
    return (Reason("little-room", text, "keep fewer, give them less, or make room in the pool", "last"),)
