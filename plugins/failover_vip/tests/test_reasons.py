"""What the status of a group says against it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from holdfast.hooks.failover import GroupPlan, GroupState
from holdfast.hooks.replication import ConnectionState, DiskState, Role
from holdfast_failover_vip.facts import GroupView, MirrorFacts, NodeFacts, PeerFacts, PingFacts, PingNodeFacts, Record
from holdfast_failover_vip.reasons import explain
from holdfast_failover_vip.timers import Timers

S, T = GroupState, Timers()
MIRROR = MirrorFacts(
    is_up=True,
    role=Role.PRIMARY,
    peer_role=Role.SECONDARY,
    connection=ConnectionState.CONNECTED,
    disk=DiskState.UP_TO_DATE,
    peer_disk=DiskState.UP_TO_DATE,
    is_in_sync=True,
)


def pings(*silences_ms: int | None) -> PingFacts:
    """Ping nodes p0, p1 and so on, each silent for so long."""
    return PingFacts.of(
        tuple(PingNodeFacts(f"p{n}", is_continuous=True, has_gap=False, silent_ms=s) for n, s in enumerate(silences_ms))
    )


WELL = GroupView(
    node="a",
    partner="b",
    plan=GroupPlan("g", 3, "m", ("t",), (), preferred="a", is_started=True),
    state=S.ACTIVE_SYNC,
    record=Record(5, 5, "a"),
    mirror=MIRROR,
    peer=PeerFacts(S.STANDBY_OK, 5, 0, "a", 3, ping_answers=True),
    net=NodeFacts(is_heard=True, heartbeat_ms=20, silent_ms=20, links_up_before=2, links=2, ping=pings(20, 20, 20)),
    since_ms=60_000,
    address_is_up=True,
    is_serving=True,
    is_current=True,
)


def test_a_group_that_is_well_has_no_reasons() -> None:
    assert explain(WELL, T) == ()


@pytest.mark.parametrize(
    ("ping", "reasons"),
    [
        (pings(20, T.ping_lost_ms + 1, 20), ("the ping node p1 has not answered for 1001 ms",)),
        (
            pings(None, 20, 5000),
            ("the ping node p0 has not answered yet", "the ping node p2 has not answered for 5000 ms"),
        ),
        (pings(T.ping_lost_ms), ()),
        (pings(), ("there is no ping node: without one nobody takes over",)),
    ],
)
def test_each_ping_node_that_is_silent_is_named(ping: PingFacts, reasons: tuple[str, ...]) -> None:
    assert explain(replace(WELL, net=replace(WELL.net, ping=ping)), T) == reasons


def test_what_the_partner_announced_while_it_served_is_no_claim_of_somebody_else() -> None:
    view = replace(WELL, since_ms=1000, address_claimed_ms=1200)
    assert explain(view, T) == ()
    assert explain(replace(view, address_claimed_ms=900), T) == ("somebody else answers for a virtual address",)
    assert explain(replace(view, state=S.STANDBY_OK, address_claimed_ms=900), T) == ()


def test_a_suspicion_names_who_did_not_answer() -> None:
    several = replace(WELL.net.ping, is_continuous=False)
    net = replace(WELL.net, is_heard=False, heartbeat_ms=500, silent_ms=500, is_probed=True, ping=several)
    view = replace(WELL, state=S.SUSPECT, net=net)
    wanted = "a majority of the 3 ping nodes has not answered without a gap since before the silence"
    assert wanted in explain(view, T)
    alone = replace(pings(20), is_continuous=False)
    wanted = "the ping node has not answered without a gap since before the silence"
    assert wanted in explain(replace(view, net=replace(net, ping=alone)), T)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "both sides of the mirror are UpToDate but for blocks marked as different: if they stay, repair it"),
        ({"peer_disk": DiskState.INCONSISTENT}, "the mirror's data are UpToDate here and Inconsistent on b"),
        ({"connection": ConnectionState.CONNECTING}, "the mirror's data are UpToDate here and UpToDate on b"),
    ],
)
def test_a_mirror_that_is_not_in_sync_says_in_what(changes: dict[str, Any], reason: str) -> None:
    mirror = replace(MIRROR, is_in_sync=False, **changes)
    assert reason in explain(replace(WELL, state=S.ACTIVE_ALONE, mirror=mirror), T)
