"""When something is due, by rows of a table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from holdfast.errors import InvalidError
from holdfast.planning.schedules import Schedule, check, next_due

WEEKDAYS = Schedule(weekdays=(0, 1, 2, 3, 4), time_of_day="18:00")


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
    ],
)
def test_the_next_run_is_the_first_one_after_the_last(schedule: Schedule, after: str, expected: str) -> None:
    check(schedule)
    assert next_due(schedule, at(after)) == at(expected)


@pytest.mark.parametrize("schedule", [WEEKDAYS, Schedule(every_hours=5)])
def test_whatever_the_instant_the_next_run_lies_after_it_and_within_the_period(schedule: Schedule) -> None:
    for minutes in range(0, 14 * 24 * 60, 37):
        after = at("2026-03-01 00:00") + timedelta(minutes=minutes)
        assert after < next_due(schedule, after) <= after + timedelta(days=7)


@pytest.mark.parametrize(
    ("schedule", "field"),
    [
        (Schedule(), "every_hours"),
        (Schedule(every_hours=1, weekdays=(1,), time_of_day="01:00"), "every_hours"),
        (Schedule(every_hours=0), "every_hours"),
        (Schedule(weekdays=(1,)), "time_of_day"),
        (Schedule(time_of_day="10:00"), "weekdays"),
        (Schedule(weekdays=(7,), time_of_day="10:00"), "weekdays"),
        (Schedule(weekdays=(1,), time_of_day="24:00"), "time_of_day"),
        (Schedule(weekdays=(1,), time_of_day="9:00"), "time_of_day"),
        (Schedule(weekdays=(1,), time_of_day="10:00\n"), "time_of_day"),
    ],
)
def test_a_schedule_that_says_nothing_or_two_things_is_refused(schedule: Schedule, field: str) -> None:
    with pytest.raises(InvalidError) as refused:
        check(schedule)
    assert refused.value.reasons[0].field == field
