"""When a group goes back by itself: case by case."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast.hooks.failover import GroupState
from holdfast.planning.failback import MOST_AFTER_S, FailbackFacts, Quiet, look, wait_s, why_not

S = GroupState
DUE = FailbackFacts(
    here=S.ACTIVE_SYNC,
    there=S.STANDBY_OK,
    troubles=(),
    in_maintenance=(),
    is_held=False,
    quiet_s=300.0,
    after_s=300,
    failures=0,
)


def test_a_group_in_sync_and_quiet_for_long_enough_goes_back() -> None:
    assert why_not(DUE) == ()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"here": S.ACTIVE_ALONE}, "active-alone here"),
        ({"here": S.FROZEN}, "frozen here"),
        ({"there": S.STANDBY_NOT}, "standby-not on the preferred node"),
        ({"there": S.MANUAL}, "manual on the preferred node"),
        ({"there": None}, "cannot be asked"),
        ({"troubles": ("a comes and goes",)}, "comes and goes"),
        ({"in_maintenance": ("a",)}, "a is in maintenance"),
        ({"in_maintenance": ("b",)}, "b is in maintenance"),
        ({"is_held": True}, "a person moved it here"),
        ({"quiet_s": 299.4}, "quiet for 299 s, not yet for 300 s"),
        ({"quiet_s": 599.0, "failures": 1}, "not yet for 600 s after 1 tries"),
    ],
)
def test_each_thing_alone_keeps_it_and_is_said(change: dict[str, object], word: str) -> None:
    [reason] = why_not(replace(DUE, **change))  # type: ignore[arg-type]
    assert word in reason


def test_everything_against_it_is_said_at_once() -> None:
    assert len(why_not(replace(DUE, there=None, in_maintenance=("a", "b"), is_held=True, quiet_s=0.0))) == 5


@pytest.mark.parametrize(
    ("after_s", "failures", "expected_s"),
    [(300, 0, 300), (300, 1, 600), (300, 3, 2400), (60, 10, 61_440), (60, 11, MOST_AFTER_S), (60, 999, MOST_AFTER_S)],
)
def test_each_further_failure_doubles_the_wait_up_to_a_day(after_s: int, failures: int, expected_s: int) -> None:
    assert wait_s(after_s, failures) == expected_s
    assert wait_s(MOST_AFTER_S, failures) == MOST_AFTER_S


def test_quiet_is_what_was_looked_at_often_enough_and_never_changed() -> None:
    first = look(None, "x", 100.0, at_least_every_s=30.0)
    same = look(first, "x", 120.0, at_least_every_s=30.0)
    assert same == Quiet("x", since_s=100.0, looked_s=120.0)
    assert look(same, "y", 130.0, at_least_every_s=30.0).since_s == 130.0
    assert look(same, "x", 150.0, at_least_every_s=30.0).since_s == 100.0
    # The node slept, or its daemon was down: what happened meanwhile is not known.
    assert look(same, "x", 150.1, at_least_every_s=30.0).since_s == 150.1
