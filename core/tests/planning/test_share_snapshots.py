"""Which snapshots clients see and which are mounted for that: one row for each case."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from holdfast.planning.share_snapshots import MOST_SHOWN, Candidate, Decision, MountStep, decide, seen, to_the_second

AT = datetime(2026, 3, 2, 17, 0, 0, 250_000, tzinfo=UTC)
PLAIN = Candidate("s", AT)
ON, OFF, STAY = MountStep.MOUNT, MountStep.UNMOUNT, MountStep.NOTHING


@pytest.mark.parametrize(
    ("candidate", "is_asked", "step", "why_not"),
    [
        (PLAIN, True, ON, None),
        (replace(PLAIN, is_mounted=True), True, STAY, None),
        (replace(PLAIN, is_mounted=True, is_persons=True), True, STAY, None),
        # A person's that a reboot took away is brought back by who keeps that on record, or by this.
        (replace(PLAIN, is_persons=True), True, ON, None),
        (PLAIN, False, STAY, "no share"),
        (replace(PLAIN, is_mounted=True), False, OFF, "no share"),
        (replace(PLAIN, is_mounted=True, is_persons=True), False, STAY, "no share"),
        (replace(PLAIN, is_leaving=True), True, STAY, "being removed"),
        (replace(PLAIN, is_leaving=True, is_mounted=True), True, OFF, "being removed"),
        (replace(PLAIN, is_leaving=True, is_mounted=True, is_persons=True), True, STAY, "being removed"),
        (replace(PLAIN, is_overflown=True), True, STAY, "overflowed"),
        (replace(PLAIN, is_overflown=True, is_mounted=True), True, OFF, "overflowed"),
        (replace(PLAIN, taken_at=None), True, STAY, "not on record"),
        (replace(PLAIN, taken_at=None, is_mounted=True, is_persons=True), True, STAY, "not on record"),
    ],
)
def test_what_becomes_of_one(candidate: Candidate, is_asked: bool, step: MountStep, why_not: str | None) -> None:
    [found] = decide([candidate], is_asked=is_asked)
    assert (found.name, found.taken_at, found.step) == (candidate.name, candidate.taken_at, step)
    assert found.why_not == why_not if why_not is None else why_not in (found.why_not or "")


def test_the_newest_come_first_and_those_of_unknown_age_last() -> None:
    ages = {"old": timedelta(days=2), "new": timedelta(0), "middle": timedelta(hours=1)}
    candidates = [Candidate("unknown", None), *(Candidate(name, AT - age) for name, age in ages.items())]
    assert [each.name for each in decide(candidates, is_asked=True)] == ["new", "middle", "old", "unknown"]


def test_of_two_of_the_same_second_one_is_seen_and_the_other_says_so() -> None:
    earlier, later = Candidate("a", AT), Candidate("b", AT + timedelta(milliseconds=500))
    found = {each.name: each.why_not for each in decide([earlier, later], is_asked=True)}
    assert found == {"b": None, "a": "it was taken in the same second as b"}
    # One that is seen for another reason by nobody takes no second from the other.
    found = {each.name: each.why_not for each in decide([earlier, replace(later, is_overflown=True)], is_asked=True)}
    assert found["a"] is None


def test_no_more_than_so_many_are_mounted_and_these_are_the_newest() -> None:
    candidates = [Candidate(f"s{number}", AT - timedelta(hours=number)) for number in range(MOST_SHOWN + 2)]
    found = decide([*candidates, Candidate("void", AT + timedelta(hours=1), is_overflown=True)], is_asked=True)
    assert [each.name for each in found if each.why_not is None] == [each.name for each in candidates[:MOST_SHOWN]]
    assert "newer ones" in (found[-1].why_not or "")


def test_deciding_again_after_it_was_done_changes_nothing() -> None:
    candidates = [replace(PLAIN, name="a"), replace(PLAIN, name="b", taken_at=None, is_mounted=True)]
    steps = {each.name: each.step for each in decide(candidates, is_asked=True)}
    assert steps == {"a": ON, "b": OFF}
    done = [replace(candidates[0], is_mounted=True), replace(candidates[1], is_mounted=False)]
    assert {each.step for each in decide(done, is_asked=True)} == {STAY}


@pytest.mark.parametrize(
    ("why_not", "why_none", "mounted", "with_folder", "reason"),
    [
        (None, None, {"s"}, {"s"}, None),
        ("it overflowed", "a replica", {"s"}, {"s"}, "it overflowed"),
        (None, "a replica", {"s"}, {"s"}, "a replica"),
        (None, None, set(), set(), "it is not mounted yet"),
        (None, None, {"s"}, set(), "the folder of the share was not there when it was taken"),
    ],
)
def test_what_a_share_shows(
    why_not: str | None, why_none: str | None, mounted: set[str], with_folder: set[str], reason: str | None
) -> None:
    decisions = (Decision("s", AT, STAY, why_not),)
    [found] = seen(decisions, mounted=frozenset(mounted), with_folder=frozenset(with_folder), why_none=why_none)
    assert (found.is_visible, found.reason) == (reason is None, reason)


def test_times_are_told_to_the_second() -> None:
    assert to_the_second(AT) == datetime(2026, 3, 2, 17, tzinfo=UTC)
