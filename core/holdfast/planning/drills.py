"""When a drill is due, and how long a group was served by nobody meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from holdfast.hooks.failover import ADDRESS_DOWN, PARTNER_SERVES, Decision
from holdfast.planning.schedules import Schedule, next_due

LATE_AT_MOST_S = 3600.0


def is_due(schedule: Schedule, after: datetime, now: datetime) -> bool:
    """Whether one is due at `now`; `after` is when the last one began, or when the schedule was made.

    A time of day was chosen because little is done then: a drill that was missed by more than an hour waits for the
    next one. One of every so many hours is due as soon as those are over.
    """
    if schedule.every_hours is None:
        after = max(after, now - timedelta(seconds=LATE_AT_MOST_S))
    return next_due(schedule, after) <= now


def gap_ms(decisions: Sequence[Decision]) -> int | None:
    """From the address going down to the partner's word that it serves, by the clock of the node that let go.

    None where no decision has both.
    """
    for decision in reversed(decisions):
        timeline = decision.timeline_ms
        if ADDRESS_DOWN in timeline and PARTNER_SERVES in timeline:
            return timeline[PARTNER_SERVES] - timeline[ADDRESS_DOWN]
    return None
