"""When a task may send, and how fast: windows of the week in a time zone. Pure.

Without windows a task may send always. With some it sends within them only, and pauses outside.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from holdfast.errors import InvalidError, Reason

DAYS_OF_WEEK = 7
MOST_WINDOWS = 32
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)\Z")


@dataclass(frozen=True)
class TransferWindow:
    """From a time of day until another one, on some weekdays; Monday is 0.

    Until one that is not later it goes on past midnight: of the weekday on which it began. From and until the same
    time it is a whole day.
    """

    weekdays: tuple[int, ...]
    begins_at: str
    """`HH:MM`."""
    ends_at: str
    bandwidth_bytes_s: int | None = None
    """The most that is sent in a second in this window; None: as the task says."""


@dataclass(frozen=True)
class Opening:
    """Whether a task may send now, how fast, and until when that is so; `until` is None if it is so for good."""

    is_open: bool
    bandwidth_bytes_s: int | None
    until: datetime | None


def check(windows: Sequence[TransferWindow], time_zone: str) -> None:
    """Raise InvalidError, naming the field, for what is no window or no time zone."""
    if len(windows) > MOST_WINDOWS:
        raise _invalid(f"there may be {MOST_WINDOWS} windows", "windows")
    for window in windows:
        if not window.weekdays or any(not 0 <= day < DAYS_OF_WEEK for day in window.weekdays):
            raise _invalid("a window has weekdays from 0, Monday, to 6, Sunday", "windows")
        if not _TIME.match(window.begins_at) or not _TIME.match(window.ends_at):
            raise _invalid("a window begins and ends at HH:MM, from 00:00 to 23:59", "windows")
    try:
        ZoneInfo(time_zone)
    except (KeyError, ValueError, OSError) as reason:  # a folder of the data base is an OSError
        text = f"there is no time zone {time_zone[:40]!r}; one is named as in Europe/Berlin"
        raise _invalid(text, "windows_time_zone") from reason


def opening(windows: Sequence[TransferWindow], time_zone: str, now: datetime) -> Opening:
    """What holds now. Of windows that overlap the slowest counts; `now` is aware, and `until` is in UTC."""
    if not windows:
        return Opening(is_open=True, bandwidth_bytes_s=None, until=None)
    spans = [span for window in windows for span in _spans(window, ZoneInfo(time_zone), now)]
    around = [(start, end, window) for start, end, window in spans if start <= now < end]
    changes = [instant for start, end, _ in spans for instant in (start, end) if instant > now]
    if not around:
        # Each window comes once a week: the next one is among the spans.
        return Opening(is_open=False, bandwidth_bytes_s=None, until=min(changes))
    limits = [window.bandwidth_bytes_s for _, _, window in around if window.bandwidth_bytes_s is not None]
    return Opening(is_open=True, bandwidth_bytes_s=min(limits, default=None), until=min(changes))


def _spans(window: TransferWindow, zone: ZoneInfo, now: datetime) -> list[tuple[datetime, datetime, TransferWindow]]:
    begins, ends = time.fromisoformat(window.begins_at), time.fromisoformat(window.ends_at)
    today = now.astimezone(zone).date()
    spans = []
    # From yesterday's, which may go on past midnight, to those of a week from now.
    for offset in range(-1, DAYS_OF_WEEK + 2):
        day = today + timedelta(days=offset)
        if day.weekday() in window.weekdays:
            last = day if ends > begins else day + timedelta(days=1)
            # A time that the clocks leave out is that of the gap's length later, as zoneinfo reckons it.
            start = datetime.combine(day, begins, zone).astimezone(UTC)
            end = datetime.combine(last, ends, zone).astimezone(UTC)
            spans.append((start, end, window))
    return spans


def _invalid(text: str, field: str) -> InvalidError:
    return InvalidError(text, reasons=[Reason("bad-value", text, "correct it", field)])
