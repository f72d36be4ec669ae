"""Which snapshots of a schedule are kept and which go, and why: the last N, and grandfather, father and son. Pure.

Several rules hold at once, and one that keeps a snapshot is enough. Every rule counts snapshots and the periods in
which some were taken, never how long ago that was: a clock that is set, or a node that was off, removes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from holdfast.errors import InvalidError, Reason

MOST_KEPT = 1000


@dataclass(frozen=True)
class RetentionRules:
    """How many are kept by each rule. Of a period it is the newest snapshot; periods without one do not count."""

    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    """Weeks begin on Monday (ISO 8601)."""
    monthly: int = 0
    yearly: int = 0
    time_zone: str = "UTC"
    """Where days begin and end."""


@dataclass(frozen=True)
class HeldSnapshot:
    """A snapshot as retention looks at it."""

    name: str
    taken_at: datetime
    locked_until: datetime | None = None
    is_void: bool = False
    """It overflowed, and holds nothing any more."""
    used_by: tuple[str, ...] = ()
    """What uses it now, in words: it stays as long as that does."""


@dataclass(frozen=True)
class Verdict:
    """What becomes of a snapshot, and each reason for it."""

    name: str
    taken_at: datetime
    is_kept: bool
    reasons: tuple[str, ...]


_Period = Callable[[datetime], str]
_PERIODS: tuple[tuple[str, str, _Period], ...] = (
    # By the instant, and only shown by the clock: where clocks are set back an hour comes twice, and is two.
    ("hourly", "hour", lambda at: f"{at:%Y-%m-%d %H}:00 {at:%z}"),
    ("daily", "day", lambda at: f"{at:%Y-%m-%d}"),
    ("weekly", "week", lambda at: "{}-W{:02}".format(*at.isocalendar())),
    ("monthly", "month", lambda at: f"{at:%Y-%m}"),
    ("yearly", "year", lambda at: f"{at:%Y}"),
)


def check(rules: RetentionRules) -> None:
    """Raise InvalidError unless the rules keep something and can be understood."""
    counts = {"last": rules.last, **{field: getattr(rules, field) for field, _, _ in _PERIODS}}
    for field, count in counts.items():
        if not 0 <= count <= MOST_KEPT:
            raise _invalid(f"{field} is from 0 to {MOST_KEPT}", field)
    if not any(counts.values()):
        raise _invalid("the rules keep nothing: at least one of them is 1 or more", "last")
    try:
        ZoneInfo(rules.time_zone)
    except (KeyError, ValueError, OSError) as reason:  # a folder of the data base is an OSError
        text = f"there is no time zone {rules.time_zone[:40]!r}; one is named as in Europe/Berlin"
        raise _invalid(text, "time_zone") from reason


def _invalid(text: str, field: str) -> InvalidError:
    return InvalidError(text, reasons=[Reason("bad-retention", text, "correct the rules", f"retention.{field}")])


def judge(held: Iterable[HeldSnapshot], rules: RetentionRules, now: datetime) -> tuple[Verdict, ...]:
    """Say of each snapshot why it is kept or goes, the newest first.

    One that is void counts for no rule, and goes unless it is locked or used. `now` only tells which locks are over.
    """
    newest_first = sorted(held, key=lambda each: (each.taken_at, each.name), reverse=True)
    kept_by = _kept_by([each for each in newest_first if not each.is_void], rules)
    return tuple(_verdict(each, kept_by.get(each.name, []), now) for each in newest_first)


def _kept_by(newest_first: list[HeldSnapshot], rules: RetentionRules) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for number, each in enumerate(newest_first[: rules.last], start=1):
        reasons.setdefault(each.name, []).append(f"last: number {number} of the newest {rules.last}")
    zone = ZoneInfo(rules.time_zone)
    for field, noun, period in _PERIODS:
        most, seen = getattr(rules, field), set[str]()
        for each in newest_first:
            label = period(each.taken_at.astimezone(zone))
            if label in seen:
                continue
            if len(seen) == most:
                break
            seen.add(label)
            text = f"{field}: the newest of the {noun} {label}, number {len(seen)} of {most}"
            reasons.setdefault(each.name, []).append(text)
    return reasons


def _verdict(each: HeldSnapshot, by_rules: list[str], now: datetime) -> Verdict:
    reasons = list(by_rules)
    if each.locked_until is not None and each.locked_until > now:
        reasons.append(f"locked until {each.locked_until.isoformat()}")
    reasons += [f"in use: {user}" for user in each.used_by]
    if reasons:
        return Verdict(each.name, each.taken_at, is_kept=True, reasons=tuple(reasons))
    why = "it overflowed and holds nothing any more" if each.is_void else "no rule keeps it"
    return Verdict(each.name, each.taken_at, is_kept=False, reasons=(why,))
