"""How old a copy is, by rows of a table."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from holdfast.planning.copy_age import destination_alerts, duration, judge, source_alerts


def at(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(f"2026-03-02 {text}").replace(tzinfo=UTC)


NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("newest", "objective_s", "since", "age_s", "is_missed"),
    [
        (None, None, None, None, False),
        ("11:00", None, "10:00", 3600, False),
        ("11:00", 3600, "10:00", 3600, False),
        ("10:59:59", 3600, "10:00", 3601, True),
        # An objective that is set now is missed now, if the copy is older than it.
        ("09:00", 3600, "12:00", 10800, True),
        # None was ever made: late once the objective is over.
        (None, 3600, "11:00", None, False),
        (None, 3600, "10:59", None, True),
        (None, 3600, None, None, False),
        # Of a clock that is ahead of this one.
        ("12:30", 60, "10:00", 0, False),
    ],
)
def test_an_objective_is_missed_when_the_newest_copy_is_older(
    newest: str | None, objective_s: int | None, since: str | None, age_s: float | None, is_missed: bool
) -> None:
    age = judge(at(newest), objective_s, at(since), NOW)
    assert (age.copy_age_s, age.is_missed) == (age_s, is_missed)
    assert bool(source_alerts("t", age)) is is_missed
    assert bool(destination_alerts("t", "a", age)) is is_missed


def test_an_alert_says_how_old_and_what_to_do() -> None:
    age = judge(at("09:00"), 3600, None, NOW)
    (here,) = source_alerts("nightly", age)
    assert "3 h old, and may be 1 h old" in here.text
    assert "task=nightly" in here.remedy
    (there,) = destination_alerts("nightly", "node-a", age)
    assert "node-a" in there.remedy
    assert there.text == here.text


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3661, "1 h 1 min"), (86400, "1 d"), (90061, "1 d 1 h")],
)
def test_a_duration_is_told_in_its_two_largest_units(seconds: float, told: str) -> None:
    assert duration(seconds) == told
