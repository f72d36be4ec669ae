"""When something is to run next: every so many hours, on weekdays at a time of day, or as cron(8) says (S25). Pure.

What is due is told as instants in UTC. Times of day are those of the schedule's time zone: one that a change of the
clocks leaves out is due once, right after the gap, and one that comes twice is due the first time only (as Debian's
cron has it). Hours keep their distance through both changes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from holdfast.errors import InvalidError, Reason

DAYS_OF_WEEK = 7
MOST_HOURS = 24 * 366
LONGEST_CRON = 100
CRON_FIELDS = 5
# What lies further off is a mistake, and arithmetic on it would end at the calendar's end.
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
# A clock may be set back by so much, as time servers do, and nothing that was due before is due again. By more, and it
# was wrong before: waiting until it is as late again could take years.
SET_BACK_AT_MOST = timedelta(minutes=10)
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)\Z")


SHORTEST_GRACE_S, DEFAULT_GRACE_S, LONGEST_GRACE_S = 60, 600, 7 * 24 * 3600


class MissedRuns(StrEnum):
    """What becomes of what was due for longer than its grace: holdfastd was off, or the clock was set forth."""

    SKIP = "skip"
    RUN_ONCE = "run_once"
    """Once for all that were missed."""


@dataclass(frozen=True)
class Schedule:
    """`every_hours`, or `weekdays` with `time_of_day`, or `cron`."""

    every_hours: int | None = None
    weekdays: tuple[int, ...] = ()
    """Monday is 0."""
    time_of_day: str | None = None
    """`HH:MM`."""
    cron: str | None = None
    """Minute, hour, day, month and day of the week, as cron(8) has them."""
    time_zone: str = "UTC"
    """A name of the IANA's data base; of no meaning to `every_hours`."""
    starts_at: datetime | None = None
    """Of `every_hours`: the first time, from which the others are counted. None: counted from the last one."""


def check(schedule: Schedule) -> None:
    """Raise InvalidError unless it says exactly one thing, and that comes to pass."""
    is_weekly = bool(schedule.weekdays) or schedule.time_of_day is not None
    kinds = (schedule.every_hours is not None, is_weekly, schedule.cron is not None)
    if sum(kinds) != 1:
        raise _invalid("give one of every_hours, weekdays with time_of_day, and cron", "every_hours")
    if schedule.every_hours is not None and not 1 <= schedule.every_hours <= MOST_HOURS:
        raise _invalid(f"every_hours is from 1 to {MOST_HOURS}", "every_hours")
    if is_weekly and not schedule.weekdays:
        raise _invalid("weekdays names at least one day", "weekdays")
    if any(not 0 <= day < DAYS_OF_WEEK for day in schedule.weekdays):
        raise _invalid("weekdays are from 0, Monday, to 6, Sunday", "weekdays")
    if is_weekly and not _TIME.match(schedule.time_of_day or ""):
        raise _invalid("time_of_day is HH:MM, from 00:00 to 23:59", "time_of_day")
    _check_start(schedule)
    try:
        zone = ZoneInfo(schedule.time_zone)
    except (KeyError, ValueError, OSError) as reason:  # a folder of the data base is an OSError
        text = f"there is no time zone {schedule.time_zone[:40]!r}; one is named as in Europe/Berlin"
        raise _invalid(text, "time_zone") from reason
    if schedule.cron is not None:
        _check_cron(schedule.cron, zone)


def _check_start(schedule: Schedule) -> None:
    start = schedule.starts_at
    if start is None:
        return
    if schedule.every_hours is None:
        raise _invalid("starts_at goes with every_hours only", "starts_at")
    if start.tzinfo is None or not EARLIEST <= start <= LATEST:
        text = f"starts_at is an instant with its offset from UTC, from {EARLIEST.year} to {LATEST.year}"
        raise _invalid(text, "starts_at")


def _check_cron(text: str, zone: ZoneInfo) -> None:
    if len(text) > LONGEST_CRON or len(text.split()) != CRON_FIELDS or not text.isprintable():
        what = f"cron has {CRON_FIELDS} fields, minute, hour, day, month and day of the week: `30 2 * * *`"
        raise _invalid(what, "cron")
    try:
        next(CronSim(text, EARLIEST.astimezone(zone)))
    except (CronSimError, StopIteration) as reason:
        what = f"cron cannot be understood, or is never due: {str(reason) or 'there is no such day'}"
        raise _invalid(what, "cron") from reason


def _invalid(text: str, field: str) -> InvalidError:
    return InvalidError(text, reasons=[Reason("bad-schedule", text, "correct the schedule", field)])


def next_due(schedule: Schedule, after: datetime) -> datetime:
    """The first time that is due after an instant: that of the last run, or of the schedule's making.

    What was missed while the node was off is due once, and not as often as it was missed: the answer may lie in the
    past, and the run that follows is the new `after`.
    """
    if schedule.every_hours is not None:
        period = timedelta(hours=schedule.every_hours)
        if schedule.starts_at is None:
            return after + period
        start = schedule.starts_at.astimezone(UTC)
        return start if after < start else start + ((after - start) // period + 1) * period
    runs = CronSim(_cron_of(schedule), after.astimezone(ZoneInfo(schedule.time_zone)))
    # Within an hour that comes a second time it names the first one again, which is over.
    return next(due for due in (each.astimezone(UTC) for each in runs) if due > after)


def _cron_of(schedule: Schedule) -> str:
    if schedule.cron is not None:
        return schedule.cron
    hour, minute = (schedule.time_of_day or "").split(":")
    # To cron(8) 0 is Sunday.
    days = ",".join(str((day + 1) % DAYS_OF_WEEK) for day in schedule.weekdays)
    return f"{int(minute)} {int(hour)} * * {days}"


def upcoming(schedule: Schedule, after: datetime, count: int) -> tuple[datetime, ...]:
    """The next times that are due."""
    found: list[datetime] = []
    while len(found) < count:
        found.append(after := next_due(schedule, after))
    return tuple(found)


def counted_from(handled_until: datetime, now: datetime) -> datetime:
    """From when on something may be due, if all until `handled_until` was seen to, and the clock says `now`.

    Where that is another instant it has to be kept instead, or nothing would be due until the clock is as late again.
    """
    return now if handled_until - now > SET_BACK_AT_MOST else handled_until


@dataclass(frozen=True)
class Due:
    """Something is due. However often it was due since it was last seen to, it is told once."""

    at: datetime
    """When it is due: the newest time that is not missed, or else the oldest that is."""
    is_missed: bool
    """It has been due for longer than its grace."""
    missed_since: datetime | None
    """The oldest time that is missed, None if none is."""


def due_now(schedule: Schedule, handled_until: datetime, now: datetime, grace: timedelta) -> Due | None:
    """What is due now, if anything, where all until `handled_until` was seen to; see `counted_from`."""
    first = next_due(schedule, handled_until)
    if first > now:
        return None
    if first >= now - grace:
        return Due(first, is_missed=False, missed_since=None)
    recent = next_due(schedule, max(handled_until, now - grace))
    if recent > now:
        return Due(first, is_missed=True, missed_since=first)
    return Due(recent, is_missed=False, missed_since=first)


def anchored(wanted: Schedule, before: Schedule | None, now: datetime) -> Schedule:
    """A schedule of so many hours with a beginning: told once, and kept however late one of its times was."""
    if wanted.every_hours is None or wanted.starts_at is not None:
        return wanted
    start = now.replace(microsecond=0)
    if before is not None and before.every_hours == wanted.every_hours:
        start = before.starts_at or start
    return replace(wanted, starts_at=start)
