"""When something is to run next: every so many hours, or on weekdays at a time of day (S25). Pure, in UTC."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from holdfast.errors import InvalidError, Reason

DAYS_OF_WEEK = 7
MOST_HOURS = 24 * 366
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)\Z")


@dataclass(frozen=True)
class Schedule:
    """Either `every_hours`, or `weekdays` with `time_of_day`."""

    every_hours: int | None = None
    weekdays: tuple[int, ...] = ()
    """Monday is 0."""
    time_of_day: str | None = None
    """`HH:MM` in UTC: it has no hour that comes twice or never."""


def check(schedule: Schedule) -> None:
    """Raise InvalidError unless it says exactly one thing."""
    is_periodic = schedule.every_hours is not None
    is_weekly = bool(schedule.weekdays) or schedule.time_of_day is not None
    if is_periodic is is_weekly:
        raise _invalid("give either every_hours, or weekdays and time_of_day", "every_hours")
    if schedule.every_hours is not None and not 1 <= schedule.every_hours <= MOST_HOURS:
        raise _invalid(f"every_hours is from 1 to {MOST_HOURS}", "every_hours")
    if is_weekly and not schedule.weekdays:
        raise _invalid("weekdays names at least one day", "weekdays")
    if any(not 0 <= day < DAYS_OF_WEEK for day in schedule.weekdays):
        raise _invalid("weekdays are from 0, Monday, to 6, Sunday", "weekdays")
    if is_weekly and not _TIME.match(schedule.time_of_day or ""):
        raise _invalid("time_of_day is HH:MM, from 00:00 to 23:59", "time_of_day")


def _invalid(text: str, field: str) -> InvalidError:
    return InvalidError(text, reasons=[Reason("bad-schedule", text, "correct the schedule", field)])


def next_due(schedule: Schedule, after: datetime) -> datetime:
    """The first time that is due after an instant: that of the last run, or of the schedule's making.

    What was missed while the node was off is due once, and not as often as it was missed: the answer may lie in the
    past, and the run that follows is the new `after`.
    """
    if schedule.every_hours is not None:
        return after + timedelta(hours=schedule.every_hours)
    return min(_days(schedule, after))


def _days(schedule: Schedule, after: datetime) -> Iterable[datetime]:
    found = _TIME.match(schedule.time_of_day or "")
    assert found is not None, "checked when it was made"
    for days in range(DAYS_OF_WEEK + 1):
        at = (after + timedelta(days=days)).replace(hour=int(found[1]), minute=int(found[2]), second=0, microsecond=0)
        if at > after and at.weekday() in schedule.weekdays:
            yield at
