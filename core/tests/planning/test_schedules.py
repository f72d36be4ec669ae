"""When something is due, by rows of a table."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from holdfast.errors import InvalidError
from holdfast.planning.schedules import Due, Schedule, anchored, check, counted_from, due_now, next_due, upcoming

WEEKDAYS = Schedule(weekdays=(0, 1, 2, 3, 4), time_of_day="18:00")
BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        (Schedule(every_hours=1), "2026-03-02 10:30", "2026-03-02 11:30"),
        (Schedule(every_hours=48), "2026-03-02 10:30", "2026-03-04 10:30"),
        # 2026-03-02 is a Monday.
        (WEEKDAYS, "2026-03-02 17:59", "2026-03-02 18:00"),
        (WEEKDAYS, "2026-03-02 18:00", "2026-03-03 18:00"),
        (WEEKDAYS, "2026-03-06 18:01", "2026-03-09 18:00"),
        (WEEKDAYS, "2026-03-07 00:00", "2026-03-09 18:00"),
        (Schedule(weekdays=(6,), time_of_day="00:00"), "2026-03-08 00:00", "2026-03-15 00:00"),
        (Schedule(weekdays=(6, 2), time_of_day="23:59"), "2026-03-02 10:00", "2026-03-04 23:59"),
        (Schedule(weekdays=(0,), time_of_day="03:30"), "2026-12-28 03:30", "2027-01-04 03:30"),
        # Counted from a start: that is the first one, and the others keep to its minute however late one was.
        (Schedule(every_hours=6, starts_at=at("2026-03-02 10:30")), "2026-03-01 00:00", "2026-03-02 10:30"),
        (Schedule(every_hours=6, starts_at=at("2026-03-02 10:30")), "2026-03-02 10:30", "2026-03-02 16:30"),
        (Schedule(every_hours=6, starts_at=at("2026-03-02 10:30")), "2026-03-02 16:31", "2026-03-02 22:30"),
        (Schedule(every_hours=6, starts_at=at("2026-03-02 10:30")), "2027-03-02 10:29", "2027-03-02 10:30"),
        (Schedule(cron="*/15 8-17 * * 1-5"), "2026-03-02 17:45", "2026-03-03 08:00"),
        (Schedule(cron="0 3 1 * *"), "2026-03-02 00:00", "2026-04-01 03:00"),
        (Schedule(cron="0 0 29 2 *"), "2026-03-02 00:00", "2028-02-29 00:00"),
        (Schedule(cron="0 18 * * 5", time_zone=BERLIN), "2026-01-01 00:00", "2026-01-02 17:00"),
        (Schedule(weekdays=(4,), time_of_day="18:00", time_zone=BERLIN), "2026-07-01 00:00", "2026-07-03 16:00"),
        # The weekday is that of the zone, and not of UTC.
        (Schedule(weekdays=(0,), time_of_day="00:30", time_zone=BERLIN), "2026-01-01 00:00", "2026-01-04 23:30"),
    ],
)
def test_the_next_run_is_the_first_one_after_the_last(schedule: Schedule, after: str, expected: str) -> None:
    check(schedule)
    assert next_due(schedule, at(after)) == at(expected)


# Berlin: 02:00 becomes 03:00 on 2026-03-29 and 03:00 becomes 02:00 on 2026-10-25, both at 01:00 UTC. New York: 02:00
# becomes 03:00 on 2026-03-08, 07:00 UTC, and 02:00 becomes 01:00 on 2026-11-01, 06:00 UTC. Lord Howe: half an hour,
# 02:00 becomes 02:30 on 2026-10-04 and 02:00 becomes 01:30 on 2026-04-05, both at 15:30 or 15:00 UTC the day before.
ALL_DAYS = (0, 1, 2, 3, 4, 5, 6)
CHANGES: list[tuple[str, Schedule, str, list[str]]] = [
    (
        "a time that is left out is due once, after the gap",
        Schedule(cron="30 2 * * *", time_zone=BERLIN),
        "2026-03-28 00:00",
        ["2026-03-28 01:30", "2026-03-29 01:00", "2026-03-30 00:30"],
    ),
    (
        "a time that comes twice is due the first time",
        Schedule(cron="30 2 * * *", time_zone=BERLIN),
        "2026-10-24 00:00",
        ["2026-10-24 00:30", "2026-10-25 00:30", "2026-10-26 01:30"],
    ),
    (
        "weekdays with a time of day, in spring",
        Schedule(weekdays=ALL_DAYS, time_of_day="02:30", time_zone=BERLIN),
        "2026-03-28 00:00",
        ["2026-03-28 01:30", "2026-03-29 01:00", "2026-03-30 00:30"],
    ),
    (
        "weekdays with a time of day, in autumn",
        Schedule(weekdays=ALL_DAYS, time_of_day="02:30", time_zone=BERLIN),
        "2026-10-24 00:00",
        ["2026-10-24 00:30", "2026-10-25 00:30", "2026-10-26 01:30"],
    ),
    (
        "asked within the hour that comes again",
        Schedule(cron="30 2 * * *", time_zone=BERLIN),
        "2026-10-25 01:15",
        ["2026-10-26 01:30", "2026-10-27 01:30"],
    ),
    (
        "hourly by cron, in spring",
        Schedule(cron="0 * * * *", time_zone=BERLIN),
        "2026-03-28 23:30",
        ["2026-03-29 00:00", "2026-03-29 01:00", "2026-03-29 02:00"],
    ),
    (
        "hourly by cron, in autumn",
        Schedule(cron="0 * * * *", time_zone=BERLIN),
        "2026-10-24 23:30",
        ["2026-10-25 00:00", "2026-10-25 01:00", "2026-10-25 02:00"],
    ),
    (
        "every two hours, in autumn",
        Schedule(every_hours=2, time_zone=BERLIN, starts_at=at("2026-10-24 22:00")),
        "2026-10-24 21:00",
        ["2026-10-24 22:00", "2026-10-25 00:00", "2026-10-25 02:00"],
    ),
    (
        "the evening before and after keep their time of day",
        Schedule(weekdays=ALL_DAYS, time_of_day="18:00", time_zone=BERLIN),
        "2026-03-28 00:00",
        ["2026-03-28 17:00", "2026-03-29 16:00"],
    ),
    (
        "New York, in spring",
        Schedule(cron="30 2 * * *", time_zone=NEW_YORK),
        "2026-03-07 06:00",
        ["2026-03-07 07:30", "2026-03-08 07:00", "2026-03-09 06:30"],
    ),
    (
        "New York, in autumn",
        Schedule(cron="30 1 * * *", time_zone=NEW_YORK),
        "2026-10-31 04:00",
        ["2026-10-31 05:30", "2026-11-01 05:30", "2026-11-02 06:30"],
    ),
    (
        "Lord Howe, half an hour left out",
        Schedule(cron="15 2 * * *", time_zone=LORD_HOWE),
        "2026-10-02 20:00",
        ["2026-10-03 15:30", "2026-10-04 15:15"],
    ),
    (
        "Lord Howe, half an hour that comes twice",
        Schedule(cron="45 1 * * *", time_zone=LORD_HOWE),
        "2026-04-03 16:00",
        ["2026-04-04 14:45", "2026-04-05 15:15"],
    ),
]


@pytest.mark.parametrize(("schedule", "after", "expected"), [row[1:] for row in CHANGES], ids=[r[0] for r in CHANGES])
def test_a_change_of_the_clocks_neither_loses_nor_doubles_a_run(
    schedule: Schedule, after: str, expected: list[str]
) -> None:
    check(schedule)
    assert list(upcoming(schedule, at(after), len(expected))) == [at(text) for text in expected]


@pytest.mark.parametrize("zone", [BERLIN, NEW_YORK, LORD_HOWE, "UTC"])
def test_whenever_it_is_asked_a_daily_run_comes_once_a_day(zone: str) -> None:
    daily = Schedule(weekdays=ALL_DAYS, time_of_day="02:15", time_zone=zone)
    days = [due.astimezone(ZoneInfo(zone)).date() for due in upcoming(daily, at("2026-01-01 12:00"), 370)]
    assert [later - earlier for earlier, later in pairwise(days)] == [timedelta(days=1)] * 369


@pytest.mark.parametrize(
    "schedule",
    [WEEKDAYS, Schedule(every_hours=5), Schedule(every_hours=5, starts_at=at("2026-03-05 00:00")), CHANGES[0][1]],
)
def test_whatever_the_instant_the_next_run_lies_after_it_and_within_the_period(schedule: Schedule) -> None:
    for minutes in range(0, 14 * 24 * 60, 37):
        after = at("2026-03-01 00:00") + timedelta(minutes=minutes)
        assert after < next_due(schedule, after) <= after + timedelta(days=7)


@pytest.mark.parametrize(
    ("schedule", "field"),
    [
        (Schedule(), "every_hours"),
        (Schedule(every_hours=1, weekdays=(1,), time_of_day="01:00"), "every_hours"),
        (Schedule(every_hours=1, cron="0 1 * * *"), "every_hours"),
        (Schedule(every_hours=0), "every_hours"),
        (Schedule(weekdays=(1,)), "time_of_day"),
        (Schedule(time_of_day="10:00"), "weekdays"),
        (Schedule(weekdays=(7,), time_of_day="10:00"), "weekdays"),
        (Schedule(weekdays=(1,), time_of_day="24:00"), "time_of_day"),
        (Schedule(weekdays=(1,), time_of_day="9:00"), "time_of_day"),
        (Schedule(weekdays=(1,), time_of_day="10:00\n"), "time_of_day"),
        (Schedule(cron=""), "cron"),
        (Schedule(cron="@daily"), "cron"),
        (Schedule(cron="* * * * * *"), "cron"),
        (Schedule(cron="61 * * * *"), "cron"),
        (Schedule(cron="0 0 30 2 *"), "cron"),
        (Schedule(cron="0\n0 1 1 *"), "cron"),
        (Schedule(cron=f"{','.join(['0'] * 100)} * * * *"), "cron"),
        (Schedule(every_hours=1, time_zone="Europe/Atlantis"), "time_zone"),
        (Schedule(every_hours=1, time_zone="Europe"), "time_zone"),
        (Schedule(every_hours=1, time_zone="../../etc/passwd"), "time_zone"),
        (Schedule(every_hours=1, time_zone=""), "time_zone"),
        (Schedule(cron="0 1 * * *", starts_at=at("2026-03-01 00:00")), "starts_at"),
        (Schedule(every_hours=1, starts_at=datetime(2026, 3, 1)), "starts_at"),
        (Schedule(every_hours=1, starts_at=at("9999-03-01 00:00")), "starts_at"),
    ],
)
def test_a_schedule_that_says_nothing_or_two_things_is_refused(schedule: Schedule, field: str) -> None:
    with pytest.raises(InvalidError) as refused:
        check(schedule)
    assert refused.value.reasons[0].field == field


HOURLY = Schedule(cron="0 * * * *")
GRACE = timedelta(minutes=15)


@pytest.mark.parametrize(
    ("handled_until", "now", "expected"),
    [
        ("2026-03-02 10:00", "2026-03-02 10:59:59", None),
        ("2026-03-02 10:00", "2026-03-02 11:00", Due(at("2026-03-02 11:00"), False, None)),
        ("2026-03-02 10:00", "2026-03-02 11:15", Due(at("2026-03-02 11:00"), False, None)),
        ("2026-03-02 10:00", "2026-03-02 11:16", Due(at("2026-03-02 11:00"), True, at("2026-03-02 11:00"))),
        # However many were missed, and however far the clock was set forth, it is told once.
        ("2026-03-02 10:00", "2027-03-02 10:30", Due(at("2026-03-02 11:00"), True, at("2026-03-02 11:00"))),
        # One that is not missed yet is what is due; that others were is told beside it.
        ("2026-03-02 10:00", "2026-03-02 15:05", Due(at("2026-03-02 15:00"), False, at("2026-03-02 11:00"))),
        # Set back by seconds: what was due before is not due again.
        ("2026-03-02 11:00:01", "2026-03-02 10:59:58", None),
        ("2026-03-02 11:00:01", "2026-03-02 11:00:00", None),
    ],
)
def test_what_is_due_is_told_once_and_whether_it_is_missed(handled_until: str, now: str, expected: Due | None) -> None:
    assert due_now(HOURLY, at(handled_until), at(now), GRACE) == expected


def test_a_clock_that_was_a_year_ahead_keeps_no_run_from_its_time() -> None:
    assert counted_from(at("2027-03-02 11:00"), at("2026-03-02 10:59")) == at("2026-03-02 10:59")
    assert counted_from(at("2026-03-02 11:05"), at("2026-03-02 10:59")) == at("2026-03-02 11:05")


@pytest.mark.parametrize("seed", range(20))
def test_however_the_clock_is_set_runs_are_at_most_one_for_each_change_beside_those_of_the_hours(seed: int) -> None:
    """A look each minute; now and again somebody sets the clock anywhere."""
    chance = random.Random(seed)
    now = handled = at("2026-03-02 10:30")
    runs = changes = 0
    for _ in range(24 * 60):
        now += timedelta(minutes=1)
        if chance.random() < 0.002:
            changes += 1
            now += timedelta(minutes=chance.randint(-600_000, 600_000))
        handled = counted_from(handled, now)
        if due_now(HOURLY, handled, now, GRACE):
            runs += 1
            handled = now
    assert runs <= 24 + changes
    assert runs >= 24 - 2 * changes


@pytest.mark.parametrize(
    ("wanted", "before", "expected"),
    [
        (Schedule(every_hours=6), None, at("2026-03-02 10:30")),
        # Told once, and kept.
        (Schedule(every_hours=6), Schedule(every_hours=6, starts_at=at("2026-03-01 09:00")), at("2026-03-01 09:00")),
        (Schedule(every_hours=4), Schedule(every_hours=6, starts_at=at("2026-03-01 09:00")), at("2026-03-02 10:30")),
        (
            Schedule(every_hours=6, starts_at=at("2026-03-03 00:00")),
            Schedule(every_hours=6, starts_at=at("2026-03-01 09:00")),
            at("2026-03-03 00:00"),
        ),
        (WEEKDAYS, Schedule(every_hours=6, starts_at=at("2026-03-01 09:00")), None),
    ],
)
def test_hours_are_counted_from_a_beginning_that_stays(
    wanted: Schedule, before: Schedule | None, expected: datetime | None
) -> None:
    now = at("2026-03-02 10:30") + timedelta(microseconds=5)
    assert anchored(wanted, before, now).starts_at == expected
