"""When a drill is due, and what its gap is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from holdfast.hooks.failover import ADDRESS_DOWN, PARTNER_SERVES, Decision
from holdfast.planning.drills import gap_ms, is_due
from holdfast.planning.schedules import Schedule

SUNDAY = datetime(2026, 1, 4, 3, 0, tzinfo=UTC)
SUNDAYS = Schedule(weekdays=(6,), time_of_day="03:00")
DAILY = Schedule(every_hours=24)


def hours(number: float) -> timedelta:
    return timedelta(hours=number)


@pytest.mark.parametrize(
    ("schedule", "after", "now", "expected"),
    [
        (SUNDAYS, SUNDAY - hours(50), SUNDAY - hours(0.01), False),
        (SUNDAYS, SUNDAY - hours(50), SUNDAY, True),
        (SUNDAYS, SUNDAY - hours(50), SUNDAY + hours(0.9), True),
        # Missed by more than an hour: at that time of the day people work.
        (SUNDAYS, SUNDAY - hours(50), SUNDAY + hours(1.1), False),
        (SUNDAYS, SUNDAY - hours(50), SUNDAY + hours(7 * 24), True),
        # Held already.
        (SUNDAYS, SUNDAY + hours(0.1), SUNDAY + hours(0.5), False),
        (DAILY, SUNDAY, SUNDAY + hours(23.9), False),
        (DAILY, SUNDAY, SUNDAY + hours(24), True),
        (DAILY, SUNDAY, SUNDAY + hours(100), True),
    ],
)
def test_a_drill_is_due_once_and_not_hours_after_its_time_of_day(
    schedule: Schedule, after: datetime, now: datetime, expected: bool
) -> None:
    assert is_due(schedule, after, now) is expected


def decision(timeline_ms: dict[str, int]) -> Decision:
    return Decision("", "a", "g", "a sentence", {}, timeline_ms)


@pytest.mark.parametrize(
    ("timelines", "expected_ms"),
    [
        ([], None),
        ([{}], None),
        ([{ADDRESS_DOWN: 5}], None),
        ([{}, {ADDRESS_DOWN: 5, "mirror demoted": 40, PARTNER_SERVES: 205}, {"address up": 150}], 200),
        # Of a move that was taken back and tried again, the last one counts.
        ([{ADDRESS_DOWN: 5, PARTNER_SERVES: 900}, {ADDRESS_DOWN: 7, PARTNER_SERVES: 107}], 100),
    ],
)
def test_the_gap_is_between_two_times_of_one_node(timelines: list[dict[str, int]], expected_ms: int | None) -> None:
    assert gap_ms([decision(each) for each in timelines]) == expected_ms
