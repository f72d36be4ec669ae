"""Which snapshot goes when a thin pool fills, in short notation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from holdfast.hooks.pools import ThinPool
from holdfast.planning.snapshot_fill import OverflowAction, OverflowPolicy, Wait
from holdfast.planning.thin_pools import may_grow
from holdfast.planning.thin_snapshots import DropOf, ThinCandidate, decide

MIB = 1 << 20
START = datetime(2026, 3, 1, tzinfo=UTC)
ACTIONS = {"d": OverflowAction.DROP_OLDEST, "e": OverflowAction.EXTEND, "s": OverflowAction.STOP}


def thin(data: float | None, metadata: float | None = 0.0) -> ThinPool:
    return ThinPool(100 * MIB, data, 8 * MIB, metadata, 0)


def candidates(notation: str) -> list[ThinCandidate]:
    """`v1/a:d v2/b!:d90`: volume and name, ! where it is needed, the action and at how many percent; older first."""
    found = []
    for hours, word in enumerate(notation.split()):
        name, _, policy = word.partition(":")
        volume, _, snapshot = name.rstrip("!").partition("/")
        rules = OverflowPolicy(ACTIONS[policy[0]], alert_percent=int(policy[1:] or 80))
        at = START + timedelta(hours=hours)
        found.append(ThinCandidate(volume, snapshot, at, is_needed=name.endswith("!"), policy=rules))
    return found


@pytest.mark.parametrize(
    ("pool", "notation", "grows", "expected"),
    [
        (thin(79.9, 79.9), "v1/a:d", False, None),
        (thin(None, None), "v1/a:d", False, None),
        (thin(80.0), "v1/a:d", False, "v1/a"),
        # Without room for its metadata the whole thin pool fails, not only what is written.
        (thin(0.0, 80.0), "v1/a:d", False, "v1/a"),
        (thin(99.0), "v1/a:s v1/b:e", False, None),
        (thin(99.0), "", False, None),
        (thin(85.0), "v1/a:d90", False, None),
        (thin(85.0), "v1/a:d90 v2/b:d80", False, "v2/b"),
        # The oldest of all volumes whose policies say so, and never what is needed.
        (thin(85.0), "v1/a:s v2/b:d v1/c:d", False, "v2/b"),
        (thin(85.0), "v1/a!:d v2/b:d", False, "v2/b"),
        (thin(85.0), "v1/a!:d", False, "needed"),
        (thin(85.0), "v1/a:d", True, "grows"),
    ],
)
def test_the_oldest_that_nothing_needs_goes_only_where_its_policy_says_so(
    pool: ThinPool, notation: str, grows: bool, expected: str | None
) -> None:
    found = decide(pool, candidates(notation), grows_itself=grows)
    if expected is None:
        assert found is None
    elif isinstance(found, Wait):
        assert expected in found.why
    else:
        assert found == DropOf(*expected.split("/"))


@pytest.mark.parametrize(
    ("free_mib", "asked", "expected"),
    # A fifth of 100 MiB, and twice that of 8 MiB in extents of 4 MiB.
    [(28, True, True), (27, True, False), (1000, False, False)],
)
def test_it_may_grow_while_its_pool_has_room_for_a_step_of_both(free_mib: int, asked: bool, expected: bool) -> None:
    assert may_grow(thin(85.0), free_mib * MIB, 4 * MIB, grows_itself=asked) is expected
