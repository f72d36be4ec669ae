"""When a task may send: windows of the week, past midnight, in a time zone, through changes of the clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from holdfast.errors import InvalidError
from holdfast.planning.transfer_windows import Opening, TransferWindow, check, opening

EVERY_DAY = (0, 1, 2, 3, 4, 5, 6)
NIGHT = TransferWindow(EVERY_DAY, "22:00", "06:00")
DAY = TransferWindow((0, 1, 2, 3, 4), "08:00", "18:00", 1_000_000)
SLOW_NOON = TransferWindow((0,), "12:00", "13:00", 500_000)
WEEKEND = TransferWindow((5, 6), "00:00", "00:00")
BERLIN = "Europe/Berlin"


def at(text: str, zone: str = "UTC") -> datetime:
    """2026-03-02 is a Monday."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


# windows, time zone, now, is open, bytes a second, until
CASES: dict[str, tuple[tuple[TransferWindow, ...], str, datetime, bool, int | None, datetime | None]] = {
    "none": ((), "UTC", at("2026-03-02T10:00"), True, None, None),
    "in one": ((DAY,), "UTC", at("2026-03-02T10:00"), True, 1_000_000, at("2026-03-02T18:00")),
    "at its begin": ((DAY,), "UTC", at("2026-03-02T08:00"), True, 1_000_000, at("2026-03-02T18:00")),
    "at its end": ((DAY,), "UTC", at("2026-03-02T18:00"), False, None, at("2026-03-03T08:00")),
    "over the weekend": ((DAY,), "UTC", at("2026-03-06T18:00"), False, None, at("2026-03-09T08:00")),
    "before midnight": ((NIGHT,), "UTC", at("2026-03-02T23:00"), True, None, at("2026-03-03T06:00")),
    "after midnight": ((NIGHT,), "UTC", at("2026-03-03T05:59"), True, None, at("2026-03-03T06:00")),
    "between nights": ((NIGHT,), "UTC", at("2026-03-03T06:00"), False, None, at("2026-03-03T22:00")),
    "whole days": ((WEEKEND,), "UTC", at("2026-03-07T12:00"), True, None, at("2026-03-08T00:00")),
    "overlapping, the slower counts": (
        (DAY, SLOW_NOON),
        "UTC",
        at("2026-03-02T12:30"),
        True,
        500_000,
        at("2026-03-02T13:00"),
    ),
    "a change ahead": ((DAY, SLOW_NOON), "UTC", at("2026-03-02T11:00"), True, 1_000_000, at("2026-03-02T12:00")),
    "once a week": ((SLOW_NOON,), "UTC", at("2026-03-02T13:00"), False, None, at("2026-03-09T12:00")),
    "in a time zone": ((DAY,), BERLIN, at("2026-03-02T07:30"), True, 1_000_000, at("2026-03-02T18:00", BERLIN)),
    "the night of summer time": (
        (NIGHT,),
        BERLIN,
        at("2026-03-29T03:30", BERLIN),
        True,
        None,
        datetime(2026, 3, 29, 4, 0, tzinfo=UTC),
    ),
    "the night of winter time": (
        (NIGHT,),
        BERLIN,
        at("2026-10-25T01:00", BERLIN),
        True,
        None,
        datetime(2026, 10, 25, 5, 0, tzinfo=UTC),
    ),
}


@pytest.mark.parametrize("what", CASES)
def test_a_task_may_send_or_waits(what: str) -> None:
    windows, zone, now, is_open, bandwidth, until = CASES[what]
    assert opening(windows, zone, now) == Opening(is_open, bandwidth, until)


def test_what_is_told_holds_until_it_is_told_to_change() -> None:
    windows = (DAY, NIGHT, SLOW_NOON)
    now = at("2026-03-01T00:00").astimezone(UTC)
    end = now + timedelta(days=30)
    while now < end:
        told = opening(windows, BERLIN, now)
        assert told.until is not None
        assert told.until > now
        middle = now + (told.until - now) / 2
        last = told.until - timedelta(microseconds=1)
        assert opening(windows, BERLIN, middle) == opening(windows, BERLIN, last) == told
        now = told.until


@pytest.mark.parametrize(
    ("window", "zone", "field"),
    [
        (TransferWindow((), "08:00", "18:00"), "UTC", "windows"),
        (TransferWindow((7,), "08:00", "18:00"), "UTC", "windows"),
        (TransferWindow((0,), "8:00", "18:00"), "UTC", "windows"),
        (TransferWindow((0,), "08:00", "24:00"), "UTC", "windows"),
        (TransferWindow((0,), "08:00", "18:00\n"), "UTC", "windows"),
        (DAY, "Europe/Nowhere", "windows_time_zone"),
        (DAY, "../etc/passwd", "windows_time_zone"),
    ],
)
def test_what_is_no_window_is_refused_by_field(window: TransferWindow, zone: str, field: str) -> None:
    with pytest.raises(InvalidError) as caught:
        check((window,), zone)
    assert caught.value.reasons[0].field == field
    with pytest.raises(InvalidError):
        check((DAY,) * 33, "UTC")
