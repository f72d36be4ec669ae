"""The plan of a soak comes from its seed only, and holds every kind of fault."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lab.layout import CHECKOUT
from soak.plan import LINKS, ROUND_FAULTS, Fault, Kind, Role, draw, expected

SEEDS = range(20)


def drawn(seed: int, count: int = ROUND_FAULTS, first: int = 0) -> list[Fault]:
    return [draw(seed, number) for number in range(first, first + count)]


def test_the_same_seed_is_the_same_plan_in_another_process_too() -> None:
    argv = [sys.executable, "-m", "soak", "--plan", "--seed", "7", "--faults", "40"]
    told = subprocess.run(argv, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, timeout=50, check=True).stdout
    assert told.splitlines() == [f"{fault.number:4d}  {fault}" for fault in drawn(7, 40)]


def test_another_seed_is_another_plan() -> None:
    assert len({str(drawn(seed)) for seed in SEEDS}) == len(SEEDS)


def test_a_fault_is_the_same_whether_or_not_those_before_it_are_drawn() -> None:
    assert drawn(3, 5, first=40) == drawn(3, 45)[40:]


@pytest.mark.parametrize("seed", SEEDS)
def test_every_kind_is_in_every_round(seed: int) -> None:
    for first in (0, ROUND_FAULTS, 9 * ROUND_FAULTS):
        assert {fault.kind for fault in drawn(seed, first=first)} == set(Kind)


def test_a_round_is_in_another_order_than_the_one_before() -> None:
    one, other = drawn(1), drawn(1, first=ROUND_FAULTS)
    assert [fault.kind for fault in one] != [fault.kind for fault in other]


def test_a_fault_of_either_node_befalls_the_one_as_well_as_the_other() -> None:
    seen = {(fault.kind, fault.role) for seed in SEEDS for fault in drawn(seed)}
    both = {kind for kind, role in seen if role is Role.ACTIVE} & {kind for kind, role in seen if role is Role.PASSIVE}
    assert both >= {
        Kind.POWER_CUT,
        Kind.KERNEL_FROZEN,
        Kind.DAEMON_KILLED,
        Kind.MONITOR_KILLED,
        Kind.ALL_LINKS_CUT,
        Kind.REPLICATION_LINK_CUT,
    }


def test_pauses_are_drawn_below_and_above_what_a_takeover_needs() -> None:
    faults = [fault for seed in SEEDS for fault in drawn(seed) if fault.kind is Kind.KERNEL_FROZEN]
    assert min(fault.durations_s[0] for fault in faults) < 0.15
    assert max(fault.durations_s[0] for fault in faults) > 2.0


def test_what_a_fault_says_of_itself_can_be_done() -> None:
    for fault in (fault for seed in SEEDS for fault in drawn(seed)):
        assert all(0 < duration_s < 10 for duration_s in fault.durations_s), fault
        assert fault.link in ("", *LINKS), fault
        assert (fault.percent > 0) is (fault.kind is Kind.PACKETS_LOST), fault
        assert (fault.step_s != 0) is (fault.kind is Kind.CLOCK_STEPPED), fault


def test_only_what_may_hold_writes_that_must_not_be_acknowledged_may_restart_a_node() -> None:
    faults = [fault for seed in SEEDS for fault in drawn(seed)]
    assert {(fault.kind, fault.role) for fault in faults if expected(fault).may_restart} == {
        (Kind.KERNEL_FROZEN, Role.ACTIVE),
        (Kind.ALL_LINKS_CUT, Role.ACTIVE),
    }
