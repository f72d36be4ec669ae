"""How a run goes: every doubt leads to a walk, and nothing but the absence of all of them to a list."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from holdfast.planning.copy_ways import (
    LEAST_NAMES,
    LEAST_WALK_S,
    MOST_DAYS_BY_CHANGES,
    MOST_RUNS_BY_CHANGES,
    Compared,
    Known,
    LastCopy,
    Plan,
    Told,
    Way,
    WayWanted,
    after_comparing,
    instead,
    plan,
)

NOW = datetime(2026, 3, 8, 12, 0, tzinfo=UTC)
FROZEN = NOW - timedelta(hours=1)
LAST = LastCopy(FROZEN, "rules", names=200_000, walked_at=NOW - timedelta(days=1), runs_by_changes=3, walk_s=20.0)
SAFE = Known(WayWanted.AUTO, NOW, "rules", LAST, Told(FROZEN))


def test_nothing_in_doubt_and_much_to_gain_leads_to_a_list() -> None:
    decided = plan(SAFE)
    assert decided.is_by_changes
    assert "nobody wrote to the replica since the copy of 2026-03-08T11:00:00+00:00" in decided.why
    assert "200000 names took 20.0 s" in decided.why


DOUBTS = {
    "the task asks for it": replace(SAFE, wanted=WayWanted.WALK),
    "takes no list": replace(SAFE, can_list=False),
    "compares every file": replace(SAFE, compares_all=True),
    "no good run": replace(SAFE, last=None),
    "task was changed": replace(SAFE, rules="other rules"),
    "does not tell": replace(SAFE, told=None),
    "may have been written to": replace(SAFE, told=Told(None)),
    "holds the copy of 2026-03-08T10:59:59": replace(SAFE, told=Told(FROZEN - timedelta(seconds=1))),
    "listing is of another one": replace(SAFE, told=Told(FROZEN + timedelta(microseconds=1))),
    f"{MOST_RUNS_BY_CHANGES} runs by changes": replace(SAFE, last=replace(LAST, runs_by_changes=MOST_RUNS_BY_CHANGES)),
    "one is due every 7 days": replace(SAFE, last=replace(LAST, walked_at=NOW - timedelta(days=MOST_DAYS_BY_CHANGES))),
    "the last walk was at 2026-03-08T12:00:01": replace(SAFE, last=replace(LAST, walked_at=NOW + timedelta(seconds=1))),
}


@pytest.mark.parametrize("wanted", [WayWanted.AUTO, WayWanted.CHANGES])
@pytest.mark.parametrize("text", DOUBTS)
def test_whatever_is_in_doubt_is_walked_also_where_a_list_is_asked_for(text: str, wanted: WayWanted) -> None:
    known = DOUBTS[text]
    decided = plan(known if known.wanted is WayWanted.WALK else replace(known, wanted=wanted))
    assert decided.way is Way.WALK
    assert text in decided.why


@pytest.mark.parametrize(
    ("walk_s", "comparing_s", "names", "way"),
    [
        (None, None, 200_000, Way.WALK),
        (LEAST_WALK_S - 0.01, None, 200_000, Way.WALK),
        (LEAST_WALK_S, None, LEAST_NAMES, Way.CHANGES),
        (100.0, None, LEAST_NAMES - 1, Way.WALK),
        # Nothing measured yet: 200,000 names are taken to need 3 s, and a walk goes over all of them twice.
        (1.4, None, 200_000, Way.WALK),
        (1.6, None, 200_000, Way.CHANGES),
        (10.0, 20.0, 200_000, Way.WALK),
        (10.0, 19.9, 200_000, Way.CHANGES),
    ],
)
def test_by_itself_it_takes_a_list_only_where_that_is_quicker(
    walk_s: float | None, comparing_s: float | None, names: int, way: Way
) -> None:
    last = replace(LAST, walk_s=walk_s, comparing_s=comparing_s, names=names)
    assert plan(replace(SAFE, last=last)).way is way
    assert plan(replace(SAFE, last=last, wanted=WayWanted.CHANGES)).way is Way.CHANGES


@pytest.mark.parametrize(
    ("found", "way"),
    [
        (Compared(names=1000, changed=0, created=0, removed=0), Way.CHANGES),
        (Compared(names=1000, changed=250, created=250, removed=0), Way.CHANGES),
        (Compared(names=1000, changed=200, created=0, removed=51), Way.WALK),
        (Compared(names=1000, changed=251, created=0, removed=0), Way.WALK),
        (Compared(names=1, changed=0, created=0, removed=0), Way.WALK),
        (Compared(names=1, changed=1, created=0, removed=999), Way.WALK),
    ],
)
def test_a_list_of_much_of_the_source_and_an_empty_source_are_walked(found: Compared, way: Way) -> None:
    decided = after_comparing(plan(SAFE), found)
    assert decided.way is way
    if way is Way.CHANGES:
        assert f"{found.changed} names changed or are new, {found.removed} are gone" in decided.why


def test_a_list_that_was_of_no_use_is_told_with_its_reason() -> None:
    assert instead("the destination is full") == Plan(
        Way.WALK, "everything is walked, for the list of changes was of no use: the destination is full"
    )
