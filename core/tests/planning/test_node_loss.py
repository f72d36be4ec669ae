from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast.planning.node_loss import Copy, Newcomer, Signs, refuse_give_up, refuse_rebuild

GONE = Signs("b", answers=False, is_monitor_running=True, is_heard=False)
MIRROR = Copy("m", "192.0.2.2", 7790, (0, 1), {"tank": 100}, has_all_data=True)
BLANK = Newcomer("b", "192.0.2.2", {"tank": 200}, frozenset(), frozenset())


def test_a_partner_of_which_nothing_is_heard_may_be_given_up() -> None:
    assert refuse_give_up(GONE) == ()


@pytest.mark.parametrize(
    ("signs", "codes"),
    [
        (replace(GONE, answers=True), ["partner-answers"]),
        (replace(GONE, is_heard=True), ["partner-heard"]),
        (replace(GONE, is_monitor_running=False), ["no-monitor"]),
        (Signs("b", answers=True, is_monitor_running=False, is_heard=True), 3),
    ],
)
def test_one_that_may_live_is_not_given_up(signs: Signs, codes: list[str] | int) -> None:
    found = refuse_give_up(signs)
    assert [r.code for r in found] == codes if isinstance(codes, list) else len(found) == codes
    assert all(reason.remedy for reason in found)


def test_a_blank_machine_with_the_same_pools_and_address_may_take_the_place() -> None:
    assert refuse_rebuild([MIRROR], BLANK) == ()


@pytest.mark.parametrize(
    ("copies", "newcomer", "codes"),
    [
        ([replace(MIRROR, has_all_data=False)], BLANK, ["no-source"]),
        ([MIRROR], replace(BLANK, address="192.0.2.9"), ["other-address"]),
        ([MIRROR], replace(BLANK, ports=frozenset({7790})), ["numbers-taken"]),
        ([MIRROR], replace(BLANK, minors=frozenset({1})), ["numbers-taken"]),
        ([MIRROR], replace(BLANK, free_bytes={}), ["no-pool"]),
        ([MIRROR], replace(BLANK, free_bytes={"tank": 99}), ["no-space"]),
        # Two that fit each by itself and not together.
        ([MIRROR, replace(MIRROR, mirror="n", needed_bytes={"tank": 101})], BLANK, ["no-space"]),
        ([replace(MIRROR, has_all_data=False)], replace(BLANK, free_bytes={}), ["no-source", "no-pool"]),
    ],
)
def test_every_reason_against_it_is_told(copies: list[Copy], newcomer: Newcomer, codes: list[str]) -> None:
    found = refuse_rebuild(copies, newcomer)
    assert [reason.code for reason in found] == codes
    assert all(reason.remedy for reason in found)
