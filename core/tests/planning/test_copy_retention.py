"""Which kept copies stay, by tables, and that thinning again and again loses nothing that a rule wants."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from holdfast.planning.copy_retention import KeptState, RetentionRule, kept_alerts, room_warnings, staying

START = datetime(2026, 3, 31, 22, 0, tzinfo=UTC)  # a Tuesday


def back(*hours: float) -> list[datetime]:
    """Moments so many hours before START."""
    return [START - timedelta(hours=h) for h in hours]


@pytest.mark.parametrize(
    ("rule", "moments", "kept"),
    [
        (RetentionRule(), back(0, 1, 2), back(0, 1, 2)),
        (RetentionRule(last=2), back(0, 1, 2, 3), back(0, 1)),
        (RetentionRule(last=5), back(0, 1), back(0, 1)),
        (RetentionRule(last=5), [], []),
        (RetentionRule(daily=2), back(0, 1, 23, 24, 25, 47), back(0, 23)),
        (RetentionRule(last=2, daily=2), back(0, 1, 23, 24), back(0, 1, 23)),
        (RetentionRule(daily=3), back(0, 24 * 5, 24 * 9, 24 * 10), back(0, 24 * 5, 24 * 9)),
        (RetentionRule(weekly=2), back(0, 24, 48, 72), back(0, 48)),
        (RetentionRule(monthly=2), back(0, 24 * 20, 24 * 31, 24 * 40), back(0, 24 * 31)),
        (RetentionRule(weekly=1), back(3, 5), back(3)),
    ],
)
def test_a_copy_stays_if_any_rule_wants_it(rule: RetentionRule, moments: list[datetime], kept: list[datetime]) -> None:
    assert sorted(staying(rule, moments)) == sorted(kept)
    assert staying(rule, reversed(moments)) == staying(rule, moments)


def test_thinned_after_each_of_a_year_of_copies_there_is_what_each_rule_wants() -> None:
    rule = RetentionRule(last=3, daily=7, weekly=4, monthly=6)
    kept: set[datetime] = set()
    for number in range(365 * 4):
        newest = START + timedelta(hours=6 * number)
        kept = set(staying(rule, {*kept, newest}))
        assert newest in kept
        assert len(kept) <= rule.most
    assert len({moment.date() for moment in kept if newest - moment < timedelta(days=6, hours=18)}) == 7
    assert len({moment.isocalendar()[:2] for moment in kept}) >= 4
    assert len({(moment.year, moment.month) for moment in kept}) == 6
    assert staying(rule, kept) == kept


def test_alerts_say_which_copy_and_by_how_much() -> None:
    states = (
        KeptState("fine", 1000, 79.9, is_void=False),
        KeptState("unknown", 1000, None, is_void=False),
        KeptState("full", 1000, 90.0, is_void=False),
        KeptState("void", 1000, 100.0, is_void=True),
    )
    told = kept_alerts("r", states, "3 bytes are missing")
    assert [alert.code for alert in told] == ["copy-not-kept", "reserve-nearly-full", "kept-copy-void"]
    assert "3 bytes are missing" in told[0].text
    assert "100 bytes are left" in told[1].text
    assert all("/v1/replica-shares/r/retention" in alert.remedy for alert in told)
    assert kept_alerts("r", states[:2], None) == ()


def test_a_rule_that_needs_more_than_there_is_is_told_by_how_much() -> None:
    rule = RetentionRule(last=3, daily=2)
    assert room_warnings(rule, 100, 500) == ()
    (warned,) = room_warnings(rule, 100, 420)
    assert "the pool has 80 too few" in warned.text
