"""What is kept and what goes, and that the reason is told."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from holdfast.errors import InvalidError
from holdfast.planning.snapshot_retention import HeldSnapshot, RetentionRules, Verdict, check, judge

NOW = datetime(2026, 3, 15, 12, tzinfo=UTC)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def held(*times: str) -> list[HeldSnapshot]:
    """One taken at each time, called after it."""
    return [HeldSnapshot(text, at(text)) for text in times]


def kept(snapshots: list[HeldSnapshot], rules: RetentionRules) -> list[str]:
    return [verdict.name for verdict in judge(snapshots, rules, NOW) if verdict.is_kept]


DAYS = held("2026-03-09 01:00", "2026-03-10 01:00", "2026-03-10 23:00", "2026-03-12 01:00", "2026-03-12 02:00")


@pytest.mark.parametrize(
    ("snapshots", "rules", "expected"),
    [
        ([], RetentionRules(last=1), []),
        (DAYS, RetentionRules(last=2), ["2026-03-12 02:00", "2026-03-12 01:00"]),
        (DAYS, RetentionRules(last=9), [each.name for each in reversed(DAYS)]),
        (DAYS, RetentionRules(daily=1), ["2026-03-12 02:00"]),
        # A day without one does not count.
        (DAYS, RetentionRules(daily=2), ["2026-03-12 02:00", "2026-03-10 23:00"]),
        (DAYS, RetentionRules(daily=3), ["2026-03-12 02:00", "2026-03-10 23:00", "2026-03-09 01:00"]),
        (DAYS, RetentionRules(last=2, daily=2), ["2026-03-12 02:00", "2026-03-12 01:00", "2026-03-10 23:00"]),
        (held("2026-03-12 01:10", "2026-03-12 01:50"), RetentionRules(hourly=5), ["2026-03-12 01:50"]),
        # Monday begins a week, and the first days of a year may belong to the last week of the one before.
        (held("2026-03-01 00:00", "2026-03-02 00:00"), RetentionRules(weekly=2),
         ["2026-03-02 00:00", "2026-03-01 00:00"]),
        (held("2025-12-29 00:00", "2026-01-01 00:00"), RetentionRules(weekly=2), ["2026-01-01 00:00"]),
        (held("2026-01-31 00:00", "2026-02-01 00:00"), RetentionRules(monthly=1), ["2026-02-01 00:00"]),
        (held("2024-06-01 00:00", "2025-01-01 00:00", "2025-12-31 00:00"), RetentionRules(yearly=2),
         ["2025-12-31 00:00", "2024-06-01 00:00"]),
    ],
)  # fmt: skip
def test_rules_keep_what_they_say(snapshots: list[HeldSnapshot], rules: RetentionRules, expected: list[str]) -> None:
    assert kept(snapshots, rules) == expected


def test_each_reason_is_told() -> None:
    verdicts = judge(DAYS, RetentionRules(last=1, daily=2), NOW)
    assert verdicts[0] == Verdict(
        "2026-03-12 02:00",
        at("2026-03-12 02:00"),
        is_kept=True,
        reasons=("last: number 1 of the newest 1", "daily: the newest of the day 2026-03-12, number 1 of 2"),
    )
    assert verdicts[1] == Verdict(
        "2026-03-12 01:00", at("2026-03-12 01:00"), is_kept=False, reasons=("no rule keeps it",)
    )
    assert verdicts[2].reasons == ("daily: the newest of the day 2026-03-10, number 2 of 2",)


def test_days_are_those_of_the_time_zone() -> None:
    late = held("2026-03-10 22:30", "2026-03-10 23:30")
    assert kept(late, RetentionRules(daily=2)) == ["2026-03-10 23:30"]
    assert kept(late, RetentionRules(daily=2, time_zone="Europe/Berlin")) == ["2026-03-10 23:30", "2026-03-10 22:30"]


def test_the_hour_that_comes_twice_is_two() -> None:
    twice = held("2026-10-25 00:30", "2026-10-25 01:30")
    assert len(kept(twice, RetentionRules(hourly=2, time_zone="Europe/Berlin"))) == 2


def test_a_lock_or_a_use_keeps_what_no_rule_keeps() -> None:
    locked = HeldSnapshot("locked", at("2026-01-01 00:00"), locked_until=NOW + timedelta(seconds=1))
    was_locked = HeldSnapshot("was-locked", at("2026-01-02 00:00"), locked_until=NOW)
    used = HeldSnapshot("used", at("2026-01-03 00:00"), used_by=("mounted at /x",))
    verdicts = {
        verdict.name: verdict for verdict in judge([locked, was_locked, used, *DAYS], RetentionRules(last=1), NOW)
    }
    assert verdicts["locked"].reasons == ("locked until 2026-03-15T12:00:01+00:00",)
    assert not verdicts["was-locked"].is_kept
    assert (verdicts["used"].is_kept, verdicts["used"].reasons) == (True, ("in use: mounted at /x",))


def test_a_void_one_takes_no_place_and_goes_unless_locked() -> None:
    void = HeldSnapshot("void", NOW, is_void=True)
    locked = HeldSnapshot("locked", NOW, is_void=True, locked_until=NOW + timedelta(days=1))
    verdicts = {verdict.name: verdict for verdict in judge([void, locked, *DAYS], RetentionRules(last=1), NOW)}
    assert verdicts["void"].reasons == ("it overflowed and holds nothing any more",)
    assert verdicts["locked"].is_kept
    assert verdicts["2026-03-12 02:00"].is_kept


@pytest.mark.parametrize(
    "rules", [RetentionRules(last=3, daily=2, monthly=3), RetentionRules(hourly=7, weekly=2, yearly=2)]
)
def test_what_is_kept_is_kept_again_and_the_newest_never_goes(rules: RetentionRules) -> None:
    start = at("2025-11-01 00:00")
    snapshots = [HeldSnapshot(f"s{number}", start + timedelta(hours=7 * number)) for number in range(400)]
    left: list[HeldSnapshot] = []
    # Thinned out after each, as a schedule does, or once in the end: the same are left of the newest periods.
    for each in snapshots:
        names = set(kept([*left, each], rules))
        assert each.name in names
        left = [one for one in [*left, each] if one.name in names]
    assert kept(left, rules) == [each.name for each in reversed(left)]
    assert kept(snapshots, rules)[0] == left[-1].name
    assert set(kept(snapshots, rules)) == {each.name for each in left}


def test_clocks_that_jump_remove_nothing_more() -> None:
    rules = RetentionRules(last=1, daily=2)
    for jump in (timedelta(days=-4000), timedelta(days=4000)):
        assert [v.is_kept for v in judge(DAYS, rules, NOW + jump)] == [v.is_kept for v in judge(DAYS, rules, NOW)]


@pytest.mark.parametrize(
    ("rules", "field"),
    [
        (RetentionRules(), "retention.last"),
        (RetentionRules(daily=-1), "retention.daily"),
        (RetentionRules(yearly=1001), "retention.yearly"),
        (RetentionRules(last=1, time_zone="Europe/Nowhere"), "retention.time_zone"),
        (RetentionRules(last=1, time_zone="../etc"), "retention.time_zone"),
    ],
)
def test_rules_that_say_nothing_are_refused(rules: RetentionRules, field: str) -> None:
    with pytest.raises(InvalidError) as caught:
        check(rules)
    assert [reason.field for reason in caught.value.reasons] == [field]


def test_every_rule_alone_is_enough() -> None:
    fields = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
    for field, count in itertools.product(fields, (1, 1000)):
        rules = replace(RetentionRules(), **{field: count})  # type: ignore[arg-type]
        check(rules)
        assert kept(DAYS, rules)[0] == "2026-03-12 02:00"
