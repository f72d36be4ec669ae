"""What would happen now, case by case: what is known, which fault, who serves then."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.hooks.forecast import Fault, Forecast
from holdfast.hooks.replication import ConnectionState, DiskState, Role
from holdfast.values import from_plain, to_plain
from holdfast_failover_vip.decide import decide
from holdfast_failover_vip.facts import GroupView, MirrorFacts, NodeFacts, PeerFacts, PingFacts, Record
from holdfast_failover_vip.forecast import forecast, play_out
from plugins.failover_vip.tests import test_decide as cases
from plugins.failover_vip.tests.test_decide import LOST, PEER_ACTIVE, PEER_STANDBY, SERVED, S, T

F, C, D = Fault, ConnectionState, DiskState
PLAN = replace(cases.PLAN, mirror_link="one")
ACTIVE = replace(cases.ACTIVE, plan=PLAN, mirror_link_silent_ms=20)
STANDBY = replace(cases.STANDBY, plan=PLAN, mirror_link_silent_ms=20)
BOTH = [ACTIVE, STANDBY]
UNSYNCED = replace(SERVED, connection=C.CONNECTING, peer_disk=D.OUTDATED, is_in_sync=False, peer_role=Role.UNKNOWN)
ALONE = replace(
    ACTIVE, state=S.ACTIVE_ALONE, mirror=UNSYNCED, peer=replace(PEER_STANDBY, state=S.STANDBY_NOT, disk=D.OUTDATED)
)
STALE = replace(
    STANDBY,
    state=S.STANDBY_NOT,
    is_current=False,
    mirror=replace(LOST, disk=D.OUTDATED),
    peer=replace(PEER_ACTIVE, state=S.ACTIVE_ALONE, disk=D.UP_TO_DATE),
)
NOT_IN_SYNC = [ALONE, STALE]


@cache
def told(view: GroupView) -> dict[Fault, Forecast]:
    return {each.fault: each for each in forecast(view, T)}


WELL = [
    (F.NONE, "a", None),
    (F.ACTIVE_POWER, "b", T.promote_ms - T.heartbeat_ms),
    (F.ACTIVE_FROZEN, "b", T.promote_ms - T.heartbeat_ms),
    (F.ACTIVE_DAEMON, "a", None),
    (F.ACTIVE_MONITOR, "a", None),
    (F.REPLICATION_LINK, "a", T.dead_ms - T.heartbeat_ms),
    (F.ACTIVE_LINKS, "b", T.promote_ms - T.heartbeat_ms),
    (F.PASSIVE_LINKS, "a", T.dead_ms - T.heartbeat_ms),
    (F.PASSIVE_POWER, "a", T.dead_ms - T.heartbeat_ms),
    (F.ACTIVE_CLIENTS, "b", T.client_lost_ms - T.calm_probe_ms),
    (F.PING_NODE, "a", None),
    (F.ACTIVE_DISK, "b", 0),
    (F.PASSIVE_DISK, "a", None),
    (F.SWITCHOVER, "b", 0),
]


@pytest.mark.parametrize("view", BOTH, ids=lambda view: view.node)
@pytest.mark.parametrize(("fault", "serves", "held_ms"), WELL)
def test_of_a_pair_that_is_well(view: GroupView, fault: Fault, serves: str, held_ms: int | None) -> None:
    """`held_ms` None: writes go on."""
    found = told(view)[fault]
    assert (found.serves, found.holds_writes) == (serves, held_ms is not None)
    assert found.held_at_least_ms == (held_ms or 0)
    assert found.blockers == ()


def test_every_fault_has_its_case() -> None:
    assert [fault for fault, _, _ in WELL] == list(Fault)


STAYS = (F.NONE, F.ACTIVE_DAEMON, F.ACTIVE_MONITOR, F.REPLICATION_LINK, F.PASSIVE_LINKS, F.PASSIVE_POWER)


@pytest.mark.parametrize("view", NOT_IN_SYNC, ids=lambda view: view.node)
def test_while_the_passive_side_is_not_in_sync_it_takes_over_from_nothing(view: GroupView) -> None:
    found = told(view)
    stays = {*STAYS, F.PING_NODE, F.PASSIVE_DISK, F.SWITCHOVER}
    assert {fault for fault, each in found.items() if each.serves == "a"} == stays
    assert {each.serves for fault, each in found.items() if fault not in stays} == {None}
    cut = found[F.ACTIVE_POWER]
    assert cut.held_at_least_ms is None
    assert cut.person.startswith("bring a back")
    assert "promote on b" in cut.person
    assert "a person must decide" in cut.sentence
    assert [reason.code for reason in cut.blockers] == ["not-in-sync"]


@pytest.mark.parametrize("view", NOT_IN_SYNC, ids=lambda view: view.node)
def test_a_move_that_would_be_refused_says_every_reason(view: GroupView) -> None:
    found = told(view)[F.SWITCHOVER]
    assert (found.serves, found.holds_writes) == ("a", False)
    assert found.sentence.startswith("it is refused")
    assert found.person.startswith("mend what stands in the way")
    assert {reason.code for reason in found.blockers} >= {"not-in-sync", "partner-not-ready"}
    assert all(reason.remedy for reason in found.blockers)


def test_the_sentence_of_a_takeover_is_that_of_the_decision() -> None:
    assert "b takes over g from a" in told(STANDBY)[F.ACTIVE_POWER].sentence
    alone = replace(STANDBY, state=S.SUSPECT, mirror=LOST, net=cases.DEAD, since_ms=250)
    (found,) = forecast(alone, T)
    assert found.sentence == decide(alone, T).sentence
    assert found.serves == "b"


NO_PING = PingFacts(has_gap=True)


@pytest.mark.parametrize(
    ("view", "fault", "codes"),
    [
        (replace(STANDBY, net=replace(STANDBY.net, ping=NO_PING)), F.ACTIVE_POWER, ["ping-node"]),
        (replace(STANDBY, net=replace(STANDBY.net, links_up_before=1)), F.ACTIVE_POWER, ["links"]),
        (replace(STANDBY, failures=3), F.ACTIVE_POWER, ["failed-before"]),
        (
            replace(STANDBY, failures=3, net=replace(STANDBY.net, ping=NO_PING, links_up_before=1)),
            F.ACTIVE_POWER,
            ["ping-node", "links", "failed-before"],
        ),
        # A frozen side without a ping node cannot know that its partner is dead; one link tells it enough.
        (replace(ACTIVE, net=replace(ACTIVE.net, ping=NO_PING, links_up_before=1)), F.PASSIVE_POWER, ["ping-node"]),
        (replace(STALE, mirror=replace(LOST, disk=D.DISKLESS)), F.ACTIVE_POWER, ["disk"]),
        (replace(STALE, has_split_brain=True), F.ACTIVE_POWER, ["split-brain"]),
    ],
)
def test_where_it_ends_in_an_outage_exactly_what_stands_in_the_way_is_said(
    view: GroupView, fault: Fault, codes: list[str]
) -> None:
    found = told(view)[fault]
    assert (found.serves, found.held_at_least_ms) == (None, None)
    assert [reason.code for reason in found.blockers] == codes
    assert all(reason.text and reason.remedy for reason in found.blockers)


def test_without_a_ping_node_all_goes_on_until_the_next_fault() -> None:
    for view in BOTH:
        found = told(view)[F.PING_NODE]
        assert found.serves == "a"
        assert "nobody would take over" in found.sentence


def test_an_active_node_that_does_not_hear_its_standby_goes_on_alone() -> None:
    deaf = replace(STANDBY, peer=replace(PEER_ACTIVE, hears_us=False))
    found = told(deaf)[F.NONE]
    assert (found.serves, found.holds_writes) == ("a", True)
    assert "a goes on with g alone" in found.sentence


def test_an_unsteady_partner_is_taken_over_from_later() -> None:
    view = replace(STANDBY, net=replace(STANDBY.net, is_flapping=True))
    assert told(view)[F.ACTIVE_POWER].held_at_least_ms == T.unsteady_dead_ms - T.heartbeat_ms


def test_with_a_single_link_the_loss_of_the_replication_link_is_the_loss_of_all() -> None:
    net = replace(STANDBY.net, links=1, links_up_before=1)
    for view in BOTH:
        found = told(replace(view, net=net))[F.REPLICATION_LINK]
        assert (found.serves, found.held_at_least_ms) == ("a", T.dead_ms - T.heartbeat_ms)


def test_a_mirror_without_a_watched_link_is_held_as_long_as_its_kernel_takes() -> None:
    for view in BOTH:
        unwatched = replace(view, plan=cases.PLAN, mirror_link_silent_ms=None)
        found = told(unwatched)[F.REPLICATION_LINK]
        assert (found.serves, found.holds_writes, found.held_at_least_ms) == ("a", True, 0)


def test_a_frozen_node_whose_partner_is_gone_goes_on_and_then_nothing_may_befall_it() -> None:
    frozen = replace(cases.FROZEN, plan=PLAN)
    found = told(frozen)
    assert found[F.NONE].serves == "a"
    assert found[F.ACTIVE_POWER].serves is None
    assert {reason.code for reason in found[F.ACTIVE_POWER].blockers} == {"partner-silent", "not-in-sync"}


@pytest.mark.parametrize(
    "view",
    [
        replace(STANDBY, state=S.MANUAL, is_current=False, mirror=LOST, net=cases.LONG_DEAD),
        replace(STANDBY, state=S.BOOT, is_current=False, mirror=LOST, net=cases.LONG_DEAD, peer=None, since_ms=0),
    ],
)
def test_a_lone_node_that_cannot_know_says_what_a_person_can_do(view: GroupView) -> None:
    (found,) = forecast(view, T)
    assert (found.fault, found.serves, found.deciders) == (F.NONE, None, ("b",))
    assert "bring a and its links back" in found.person
    assert "promote on b" in found.person


def test_a_stopped_group_is_said_to_be_stopped() -> None:
    stopped = replace(PLAN, is_started=False)
    idle = replace(cases.BOTH_IDLE, peer_role=Role.SECONDARY)
    peer = replace(cases.PEER_IDLE, state=S.STOPPED)
    (found,) = forecast(replace(STANDBY, state=S.STOPPED, plan=stopped, mirror=idle, peer=peer), T)
    assert found.serves is None
    assert "stopped" in [reason.code for reason in found.blockers]


def test_two_idle_nodes_are_forecast_to_agree() -> None:
    idle = replace(cases.BOTH_IDLE, peer_role=Role.SECONDARY)
    view = replace(STANDBY, state=S.STANDBY_NOT, mirror=idle, peer=cases.PEER_IDLE, record=Record(5, 0, "a"))
    (found,) = forecast(view, T)
    assert found.serves == "a"


def test_a_monitor_that_starts_again_takes_nothing_over_and_nothing_down() -> None:
    for view in BOTH:
        play = play_out(view, T, F.ACTIVE_MONITOR)
        assert [side.view.state for side in (play.of("a"), play.of("b"))] == [S.ACTIVE_SYNC, S.STANDBY_OK]
        assert not play.holds_writes


def test_a_view_goes_whole_over_the_control_socket() -> None:
    for view in (*BOTH, *NOT_IN_SYNC, cases.FROZEN, cases.SUSPECT):
        assert from_plain(GroupView, to_plain(view)) == view


def views() -> st.SearchStrategy[GroupView]:
    """Whatever a monitor may know, likely or not."""
    disks, flags = st.sampled_from(D), st.booleans()
    mirrors = st.builds(
        MirrorFacts,
        is_up=flags,
        role=st.sampled_from(Role),
        peer_role=st.sampled_from(Role),
        connection=st.sampled_from(C),
        disk=disks,
        peer_disk=disks,
        is_suspended=flags,
    ).map(
        lambda m: replace(m, is_in_sync=m.is_up and m.is_connected and m.disk is m.peer_disk is D.UP_TO_DATE),
    )
    ages = st.sampled_from((0, 20, 200, 340, 1000, 20_000))
    pings = st.builds(PingFacts, is_continuous=flags, has_gap=flags, silent_ms=st.none() | ages, run_ms=ages)
    nets = st.builds(
        NodeFacts,
        is_heard=flags,
        heartbeat_ms=st.none() | ages,
        silent_ms=ages,
        was_silent=flags,
        is_probed=flags,
        links_up_before=st.integers(0, 2),
        links=st.integers(0, 2),
        is_flapping=flags,
        ping=pings,
    )
    epochs, names = st.integers(0, 3), st.sampled_from((None, "a", "b"))
    peers = st.builds(
        PeerFacts, st.sampled_from(S), epochs, epochs, names, st.integers(3, 4), ping_answers=flags, hears_us=flags
    )
    return st.builds(
        GroupView,
        node=st.just("b"),
        partner=st.just("a"),
        plan=st.sampled_from((PLAN, replace(PLAN, is_started=False), cases.PLAN)),
        state=st.sampled_from(S),
        record=st.builds(Record, epochs, epochs, names, flags),
        mirror=mirrors,
        peer=st.none() | peers,
        net=nets,
        mirror_link_silent_ms=st.none() | ages,
        since_ms=ages,
        address_is_up=flags,
        is_serving=flags,
        is_current=flags,
        fence_pending=flags,
        may_connect=flags,
        has_split_brain=flags,
        is_granted=flags,
        failures=st.integers(0, 3),
        may_retry=flags,
    )


@settings(max_examples=20, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(view=views())
def test_whatever_is_known_every_forecast_comes_to_rest_and_says_something(view: GroupView) -> None:
    for found in forecast(view, T):
        assert found.sentence
        assert (found.serves is None) is (found.held_at_least_ms is None)
        assert found.serves is not None or (found.person or found.blockers)
