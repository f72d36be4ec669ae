"""How fast a snapshot's reserve fills, when it will be full, and what is done about it in time. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from holdfast.errors import InvalidError, Reason
from holdfast.planning.copy_age import duration

WINDOWS_S = (60.0, 600.0, 3600.0)
"""Over each a rate is measured, and the worst one counts: a burst shows in the first, a slow flow in the last."""
MEASURED_AT_LEAST_S = 10.0
ACT_WITHIN_S = 120.0
"""So long before it is full something is done. More than a few looks and the command that makes it larger take."""
ROOM_FOR_S = 600.0
"""What is given lasts so long at the rate that was measured, at least."""
LEAST_ALERT_PERCENT, MOST_ALERT_PERCENT, DEFAULT_ALERT_PERCENT = 10, 99, 80
LONGEST_AHEAD_S, DEFAULT_AHEAD_S = 7 * 24 * 3600, 3600
MOST_EXTEND_PERCENT, DEFAULT_EXTEND_PERCENT = 1000, 50


class OverflowAction(StrEnum):
    """What is done for a snapshot whose reserve is about to be full. Its volume goes on in any case."""

    EXTEND = "extend"
    """Give it more room from the pool, as long as there is some."""
    DROP_OLDEST = "drop_oldest"
    """The same, and where the pool has no room drop the oldest snapshot of the volume that nothing needs."""
    STOP = "stop"
    """Give nothing: the snapshot ends when its reserve is full."""


@dataclass(frozen=True)
class OverflowPolicy:
    """When to raise an alert, and what to do."""

    action: OverflowAction = OverflowAction.STOP
    alert_percent: int = DEFAULT_ALERT_PERCENT
    alert_ahead_s: int = DEFAULT_AHEAD_S
    extend_percent: int = DEFAULT_EXTEND_PERCENT
    """How much is given at a time, of the reserve that it has."""
    keep_free_bytes: int = 0
    """What is left free in the pool by that."""


def check(policy: OverflowPolicy) -> None:
    """Raise InvalidError, naming the field, for limits that make no sense."""
    bounds = (
        ("alert_percent", LEAST_ALERT_PERCENT, MOST_ALERT_PERCENT),
        ("alert_ahead_s", 0, LONGEST_AHEAD_S),
        ("extend_percent", 1, MOST_EXTEND_PERCENT),
        ("keep_free_bytes", 0, 1 << 62),
    )
    for field, least, most in bounds:
        if not least <= getattr(policy, field) <= most:
            text = f"{field} is from {least} to {most}"
            raise InvalidError(text, reasons=[Reason("bad-policy", text, "correct the policy", field)])


@dataclass(frozen=True)
class Sample:
    """What of a reserve was used at an instant of a clock that is never set."""

    at_s: float
    used_bytes: int


@dataclass(frozen=True)
class Forecast:
    """None where nothing can be said: too little was measured, or at this rate it never is full."""

    fill_bytes_s: float | None
    full_in_s: float | None


def keep(samples: Sequence[Sample], new: Sample) -> tuple[Sample, ...]:
    """The samples that a forecast needs, with a new one. One that is lower than the last begins a new series."""
    if samples and new.used_bytes < samples[-1].used_bytes:
        return (new,)
    oldest_s = new.at_s - WINDOWS_S[-1]
    return (*(sample for sample in samples if sample.at_s >= oldest_s), new)


def forecast(samples: Sequence[Sample], reserve_bytes: int) -> Forecast:
    """When a reserve is full if it goes on filling as fast as in the worst of the windows. Samples are in order."""
    if not samples:
        return Forecast(None, None)
    newest = samples[-1]
    rates = []
    for window_s in WINDOWS_S:
        first = next(sample for sample in samples if sample.at_s >= newest.at_s - window_s)
        if newest.at_s - first.at_s >= MEASURED_AT_LEAST_S:
            rates.append((newest.used_bytes - first.used_bytes) / (newest.at_s - first.at_s))
    if not rates:
        return Forecast(None, None)
    worst = max(rates)
    left_bytes = max(0, reserve_bytes - newest.used_bytes)
    return Forecast(worst, left_bytes / worst if worst > 0 else None)


@dataclass(frozen=True)
class Filling:
    """A snapshot that has a reserve, as it is now."""

    name: str
    reserve_bytes: int
    used_percent: float
    forecast: Forecast


@dataclass(frozen=True)
class Candidate:
    """A snapshot of the same volume: whether anything needs it is said by its locks, mounts and jobs."""

    name: str
    taken_at: datetime
    is_needed: bool


@dataclass(frozen=True)
class Extend:
    """Make the reserve as large as this."""

    to_bytes: int


@dataclass(frozen=True)
class Drop:
    """Remove this snapshot."""

    name: str


@dataclass(frozen=True)
class Wait:
    """Do nothing, and why."""

    why: str


Decision = Extend | Drop | Wait


def alert(filling: Filling, policy: OverflowPolicy) -> Reason | None:
    """What a person is to be told, ahead of time, of a reserve that will be full; None while there is nothing."""
    full_in_s = filling.forecast.full_in_s
    is_soon = full_in_s is not None and full_in_s <= policy.alert_ahead_s
    if not is_soon and filling.used_percent < policy.alert_percent:
        return None
    text = f"{filling.used_percent:.0f}% of the reserve of the snapshot {filling.name} are used"
    if full_in_s is not None:
        text += f"; at the rate that was measured it is full in {duration(max(1, round(full_in_s)))}"
    remedy = "make its reserve larger, or give its volume a policy that does"
    return Reason("snapshot-filling", text, remedy)


def decide(
    filling: Filling, policy: OverflowPolicy, *, free_bytes: int, most_bytes: int, others: Sequence[Candidate]
) -> Decision:
    """What to do for a snapshot now.

    `free_bytes` is what its pool has, `most_bytes` what a reserve can use at most, `others` are all snapshots of the
    volume, itself among them. Said again after half of it was done, it says what is left to do.
    """
    full_in_s = filling.forecast.full_in_s
    is_near = full_in_s is not None and full_in_s <= ACT_WITHIN_S
    if not is_near and filling.used_percent < policy.alert_percent:
        return Wait("there is room")
    if policy.action is OverflowAction.STOP:
        return Wait("its policy is to give it nothing")
    if filling.reserve_bytes >= most_bytes:
        return Wait("it has all the room that it can ever use")
    lasting = round((filling.forecast.fill_bytes_s or 0.0) * ROOM_FOR_S)
    wanted = max(filling.reserve_bytes * policy.extend_percent // 100, lasting, 1)
    to_give = min(wanted, most_bytes - filling.reserve_bytes, free_bytes - policy.keep_free_bytes)
    # Less than a quarter of a step is gone before the next look: rather drop one, or say that there is no room.
    if to_give > 0 and to_give * 4 >= min(wanted, most_bytes - filling.reserve_bytes):
        return Extend(filling.reserve_bytes + to_give)
    if policy.action is OverflowAction.DROP_OLDEST:
        unneeded = [other for other in others if not other.is_needed]
        if unneeded:
            return Drop(min(unneeded, key=lambda other: (other.taken_at, other.name)).name)
        return Wait("the pool has no room, and every snapshot of the volume is needed")
    return Wait("the pool has no room")
