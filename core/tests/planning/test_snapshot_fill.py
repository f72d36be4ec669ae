"""When a reserve is full, and what is done in time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from holdfast.errors import InvalidError
from holdfast.planning.snapshot_fill import (
    Candidate,
    Decision,
    Drop,
    Extend,
    Filling,
    Forecast,
    OverflowAction,
    OverflowPolicy,
    Sample,
    Wait,
    alert,
    check,
    decide,
    forecast,
    keep,
)

MIB = 1 << 20
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def samples(*pairs: tuple[float, float]) -> list[Sample]:
    """Seconds and used MiB."""
    return [Sample(at_s, round(used * MIB)) for at_s, used in pairs]


@pytest.mark.parametrize(
    ("seen", "rate_mib_s", "full_in_s"),
    [
        ([], None, None),
        ([(0, 5)], None, None),
        # Too little time between them to tell a rate.
        ([(0, 0), (9, 9)], None, None),
        ([(0, 0), (10, 10)], 1.0, 90.0),
        ([(0, 10), (50, 10)], 0.0, None),
        # The last minute is worse than the hour before it.
        ([(0, 0), (3000, 30), (3060, 90)], 1.0, 10.0),
        # The hour was worse than the last minute.
        ([(0, 0), (500, 50), (560, 50)], 50 / 560, 560.0),
        # It is full already.
        ([(0, 0), (100, 100)], 1.0, 0.0),
    ],
)
def test_it_is_full_when_the_worst_rate_says_so(
    seen: list[tuple[float, float]], rate_mib_s: float | None, full_in_s: float | None
) -> None:
    told = forecast(samples(*seen), 100 * MIB)
    assert told.fill_bytes_s == (None if rate_mib_s is None else pytest.approx(rate_mib_s * MIB))
    assert told.full_in_s == (None if full_in_s is None else pytest.approx(full_in_s))


def test_a_larger_reserve_lasts_longer() -> None:
    seen = samples((0, 0), (10, 50))
    assert forecast(seen, 100 * MIB).full_in_s == pytest.approx(10)
    assert forecast(seen, 150 * MIB).full_in_s == pytest.approx(20)


def test_samples_are_kept_for_an_hour_and_a_lower_one_begins_anew() -> None:
    kept: tuple[Sample, ...] = ()
    for number in range(1000):
        kept = keep(kept, Sample(number * 15.0, number))
    assert (kept[0].at_s, len(kept)) == (999 * 15.0 - 3600, 241)
    # Another snapshot of the same name, or one that was taken anew.
    assert keep(kept, Sample(20000.0, 5)) == (Sample(20000.0, 5),)


def filling(
    used_percent: float, full_in_s: float | None = None, rate_mib_s: float = 0, reserve_mib: int = 100
) -> Filling:
    return Filling("s", reserve_mib * MIB, used_percent, Forecast(rate_mib_s * MIB, full_in_s))


@pytest.mark.parametrize(
    ("seen", "policy", "is_told"),
    [
        (filling(10), OverflowPolicy(), False),
        (filling(79.9), OverflowPolicy(), False),
        (filling(80), OverflowPolicy(), True),
        (filling(10, 3601), OverflowPolicy(), False),
        (filling(10, 3600), OverflowPolicy(), True),
        (filling(10, 3600), OverflowPolicy(alert_ahead_s=60), False),
        (filling(50), OverflowPolicy(alert_percent=50), True),
    ],
)
def test_an_alert_comes_ahead(seen: Filling, policy: OverflowPolicy, is_told: bool) -> None:
    told = alert(seen, policy)
    assert (told is not None) is is_told


def test_an_alert_says_how_much_and_when() -> None:
    told = alert(filling(42, 600), OverflowPolicy())
    assert told is not None
    assert "42%" in told.text
    assert "10 min" in told.text


FULL = Wait("the pool has no room")
GROW, DROP, STOP = (OverflowPolicy(action) for action in OverflowAction)
OTHERS = (
    Candidate("s", NOW, is_needed=False),
    Candidate("older", NOW - timedelta(days=1), is_needed=False),
    Candidate("locked", NOW - timedelta(days=2), is_needed=True),
)


@pytest.mark.parametrize(
    ("seen", "policy", "free_mib", "expected"),
    [
        (filling(50, 600), GROW, 500, Wait("there is room")),
        (filling(80), GROW, 500, Extend(150 * MIB)),
        # It fills fast: it gets what lasts for a while.
        (filling(20, 100, rate_mib_s=0.5), GROW, 500, Extend(400 * MIB)),
        (filling(20, 100, rate_mib_s=5), GROW, 200, Wait("the pool has no room")),
        (filling(20, 100, rate_mib_s=5), GROW, 400, Extend(500 * MIB)),
        # Never more than it can use.
        (filling(90, reserve_mib=900), GROW, 5000, Extend(1000 * MIB)),
        (filling(90, reserve_mib=1000), GROW, 5000, Wait("it has all the room that it can ever use")),
        (filling(90), GROW, 0, Wait("the pool has no room")),
        (filling(90), GROW, 20, Extend(120 * MIB)),
        (filling(90), GROW, 5, Wait("the pool has no room")),
        (filling(90), OverflowPolicy(OverflowAction.EXTEND, keep_free_bytes=90 * MIB), 100, FULL),
        (filling(90), OverflowPolicy(OverflowAction.EXTEND, extend_percent=10), 500, Extend(110 * MIB)),
        (filling(99.9, 0), STOP, 500, Wait("its policy is to give it nothing")),
        (filling(90), DROP, 500, Extend(150 * MIB)),
        (filling(90), DROP, 0, Drop("older")),
    ],
)  # fmt: skip
def test_the_policy_is_done(seen: Filling, policy: OverflowPolicy, free_mib: int, expected: Decision) -> None:
    assert decide(seen, policy, free_bytes=free_mib * MIB, most_bytes=1000 * MIB, others=OTHERS) == expected


def test_what_is_needed_is_never_dropped() -> None:
    needed = [Candidate(other.name, other.taken_at, is_needed=True) for other in OTHERS]
    found = decide(filling(99), DROP, free_bytes=0, most_bytes=1000 * MIB, others=needed)
    assert found == Wait("the pool has no room, and every snapshot of the volume is needed")


def test_the_one_that_fills_is_dropped_when_it_is_the_oldest() -> None:
    assert decide(filling(99), DROP, free_bytes=0, most_bytes=1000 * MIB, others=OTHERS[:1]) == Drop("s")


def test_after_a_drop_its_room_is_given() -> None:
    """Said again after each half of what is to be done, until nothing is."""
    free_bytes, others, seen = 0, list(OTHERS), filling(90)
    done: list[Decision] = []
    for _ in range(5):
        found = decide(seen, DROP, free_bytes=free_bytes, most_bytes=1000 * MIB, others=others)
        if isinstance(found, Wait):
            break
        done.append(found)
        if isinstance(found, Drop):
            others = [other for other in others if other.name != found.name]
            free_bytes += 100 * MIB
        elif isinstance(found, Extend):
            free_bytes -= found.to_bytes - seen.reserve_bytes
            seen = Filling("s", found.to_bytes, 90 * seen.reserve_bytes / found.to_bytes, seen.forecast)
    assert done == [Drop("older"), Extend(150 * MIB)]


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        (OverflowPolicy(alert_percent=9), "alert_percent"),
        (OverflowPolicy(alert_percent=100), "alert_percent"),
        (OverflowPolicy(alert_ahead_s=-1), "alert_ahead_s"),
        (OverflowPolicy(extend_percent=0), "extend_percent"),
        (OverflowPolicy(keep_free_bytes=-1), "keep_free_bytes"),
    ],
)
def test_limits_that_make_no_sense_are_refused(policy: OverflowPolicy, field: str) -> None:
    with pytest.raises(InvalidError) as caught:
        check(policy)
    assert [reason.field for reason in caught.value.reasons] == [field]
