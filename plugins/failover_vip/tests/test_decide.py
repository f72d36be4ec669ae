"""The decision, case by case: what is known, what happens next."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from holdfast.hooks.failover import GroupPlan, GroupState
from holdfast.hooks.replication import ConnectionState, DiskState, FenceAnswer, Role
from holdfast_failover_vip.actions import (
    Action,
    Adopt,
    Answer,
    AskPeer,
    Clear,
    Connect,
    DropAddress,
    HandOver,
    LeavePeer,
    Note,
    OfferAgain,
    Outdate,
    RaiseAddress,
    Reboot,
    Step,
    StopServing,
    TakeOver,
)
from holdfast_failover_vip.answers import answer_fence, answer_own_promotion, refuse_handover, refuse_switch
from holdfast_failover_vip.decide import decide
from holdfast_failover_vip.facts import (
    FenceSay,
    GroupView,
    MirrorFacts,
    NodeFacts,
    PeerFacts,
    PingFacts,
    Record,
    Verdict,
    worst,
)
from holdfast_failover_vip.reasons import explain
from holdfast_failover_vip.standby import blockers, pick
from holdfast_failover_vip.timers import Timers

S = GroupState
T = Timers()
PLAN = GroupPlan("g", 3, "m", ("t",), (), preferred="a", is_started=True)

STEADY = PingFacts(is_continuous=True, silent_ms=20, run_ms=60_000)
GAP = PingFacts(has_gap=True, silent_ms=500)
HEARD = NodeFacts(is_heard=True, heartbeat_ms=20, silent_ms=20, links_up_before=2, links=2, ping=STEADY)
DEAD = NodeFacts(heartbeat_ms=410, silent_ms=410, is_probed=True, links_up_before=2, links=2, ping=STEADY)
CUT_OFF = replace(DEAD, ping=GAP)
LONG_DEAD = replace(DEAD, heartbeat_ms=9000, silent_ms=9000)

IN_SYNC = MirrorFacts(
    is_up=True,
    role=Role.SECONDARY,
    peer_role=Role.PRIMARY,
    connection=ConnectionState.CONNECTED,
    disk=DiskState.UP_TO_DATE,
    peer_disk=DiskState.UP_TO_DATE,
    is_in_sync=True,
)
LOST = replace(
    IN_SYNC,
    peer_role=Role.UNKNOWN,
    connection=ConnectionState.CONNECTING,
    peer_disk=DiskState.UNKNOWN,
    is_in_sync=False,
)
SERVED = replace(IN_SYNC, role=Role.PRIMARY, peer_role=Role.SECONDARY)
SUSPENDED = replace(LOST, role=Role.PRIMARY, is_suspended=True)
BOTH_IDLE = replace(IN_SYNC, peer_role=Role.SECONDARY)

PEER_ACTIVE = PeerFacts(S.ACTIVE_SYNC, 5, 5, "a", 3, ping_answers=True)
PEER_STANDBY = PeerFacts(S.STANDBY_OK, 5, 0, "a", 3, ping_answers=True)
PEER_IDLE = replace(PEER_STANDBY, state=S.STANDBY_NOT)

STANDBY = GroupView(
    node="b",
    partner="a",
    plan=PLAN,
    state=S.STANDBY_OK,
    record=Record(5, 0, "a"),
    mirror=IN_SYNC,
    peer=PEER_ACTIVE,
    net=HEARD,
    since_ms=60_000,
    is_current=True,
)
SUSPECT = replace(STANDBY, state=S.SUSPECT, mirror=LOST, net=DEAD, since_ms=250)
ALONE = replace(STANDBY, state=S.STANDBY_NOT, mirror=LOST, net=LONG_DEAD, is_current=False)
ACTIVE = GroupView(
    node="a",
    partner="b",
    plan=PLAN,
    state=S.ACTIVE_SYNC,
    record=Record(5, 5, "a"),
    mirror=SERVED,
    peer=PEER_STANDBY,
    net=HEARD,
    since_ms=60_000,
    address_is_up=True,
    is_serving=True,
    is_current=True,
)
FROZEN = replace(ACTIVE, state=S.FROZEN, mirror=SUSPENDED, net=DEAD, fence_pending=True, since_ms=100)


def promotes(step: Step) -> bool:
    return any(isinstance(action, TakeOver) for action in step.actions)


# --- the unplanned takeover ---


def test_a_standby_that_hears_its_active_partner_in_sync_stays_one() -> None:
    assert decide(STANDBY, T) == Step(S.STANDBY_OK, is_current=True)


def test_a_standby_keeps_who_is_active_under_which_epoch() -> None:
    step = decide(replace(STANDBY, record=Record(4, 0, "b")), T)
    assert step.actions == (Note(5, "a"),)


def test_a_silence_that_only_an_echo_ended_ends_the_right_to_take_over() -> None:
    """Both links failed and came back, but not the monitor: it may have gone on alone in between."""
    assert promotes(decide(SUSPECT, T))
    assert not promotes(decide(replace(SUSPECT, net=replace(DEAD, was_silent=True)), T))


def test_a_person_may_release_a_suspicion_that_proves_nothing() -> None:
    view = replace(SUSPECT, net=replace(DEAD, links_up_before=1))
    assert not promotes(decide(view, T))
    assert promotes(decide(replace(view, is_granted=True), T))
    assert not promotes(decide(replace(view, is_granted=True, net=replace(view.net, silent_ms=T.promote_ms - 1)), T))


def test_a_standby_that_hears_nobody_suspects() -> None:
    step = decide(replace(STANDBY, net=replace(DEAD, heartbeat_ms=160, silent_ms=160)), T)
    assert (step.state, step.actions, step.is_current) == (S.SUSPECT, (), True)


def test_after_a_power_cut_the_standby_takes_over_under_a_higher_epoch() -> None:
    step = decide(SUSPECT, T)
    assert step.state is S.PROMOTING
    assert step.actions == (TakeOver(6, leaves_peer=True),)


def test_a_frozen_node_that_was_cut_off_meanwhile_does_not_go_on_alone() -> None:
    """The ping node answers again, and has since the partner's last sign of life: it may have served in between."""
    late = replace(FROZEN, since_ms=900, net=replace(DEAD, ping=replace(STEADY, run_ms=899)))
    assert decide(late, T) == Step(S.FROZEN)
    in_time = replace(late, net=replace(DEAD, ping=replace(STEADY, run_ms=900)))
    assert decide(in_time, T).actions == (Answer(FenceAnswer.PEER_UNREACHABLE),)


def test_the_same_facts_give_the_same_step() -> None:
    assert decide(SUSPECT, T) == decide(SUSPECT, T)


@pytest.mark.parametrize(
    "net",
    [
        replace(DEAD, silent_ms=T.promote_ms - 1),
        replace(DEAD, is_probed=False),
        replace(DEAD, links_up_before=1),
        replace(DEAD, links_up_before=0),
        replace(DEAD, is_flapping=True),
        replace(DEAD, ping=replace(STEADY, is_continuous=False)),
        replace(DEAD, ping=PingFacts()),
    ],
)
def test_a_suspicion_that_lacks_one_proof_waits(net: NodeFacts) -> None:
    step = decide(replace(SUSPECT, net=net), T)
    assert (step.state, step.actions, step.is_current) == (S.SUSPECT, (), True)


@pytest.mark.parametrize(
    "change",
    [
        {"address_claimed_ms": 100},
        {"may_retry": False},
        {"failures": 3},
    ],
)
def test_a_takeover_waits_while_something_speaks_against_it(change: dict[str, Any]) -> None:
    view = replace(SUSPECT, **change)
    assert decide(view, T).state is S.SUSPECT


def test_an_address_claimed_before_the_last_sign_of_life_speaks_against_nothing() -> None:
    assert promotes(decide(replace(SUSPECT, address_claimed_ms=600), T))


@pytest.mark.parametrize("change", [{"is_flapping": True}, {"heartbeat_ms": 10_000}])
def test_an_unsteady_partner_is_taken_over_from_after_a_longer_silence(change: dict[str, Any]) -> None:
    """One that comes and goes, and one whose monitor was gone before its kernel fell silent."""
    for silent_ms, is_dead in ((T.unsteady_dead_ms - 1, False), (T.unsteady_dead_ms, True)):
        net = replace(DEAD, silent_ms=silent_ms, **change)
        assert promotes(decide(replace(SUSPECT, net=net), T)) is is_dead


@pytest.mark.parametrize("heartbeat_ms", [200, 1000, 60_000, 86_400_000])
@pytest.mark.parametrize("mirror", [IN_SYNC, LOST])
def test_a_dead_monitor_whose_kernel_answers_is_never_taken_over_from(heartbeat_ms: int, mirror: MirrorFacts) -> None:
    net = replace(DEAD, heartbeat_ms=heartbeat_ms, silent_ms=30, is_probed=False)
    assert decide(replace(SUSPECT, net=net, mirror=mirror), T) == Step(S.SUSPECT, is_current=True)


def test_a_standby_that_lost_the_ping_node_declares_its_data_stale() -> None:
    step = decide(replace(SUSPECT, net=CUT_OFF), T)
    assert (step.state, step.actions, step.is_current) == (S.STANDBY_NOT, (Outdate(),), False)


def test_a_suspicion_ends_when_the_partner_is_heard() -> None:
    step = decide(replace(SUSPECT, net=HEARD), T)
    assert (step.state, step.actions) == (S.STANDBY_NOT, ())


@pytest.mark.parametrize("disk", [d for d in DiskState if d is not DiskState.UP_TO_DATE])
def test_data_that_are_not_up_to_date_are_never_promoted(disk: DiskState) -> None:
    for view in (SUSPECT, ALONE, replace(STANDBY, state=S.STANDBY_NOT, peer=PEER_IDLE)):
        assert not promotes(decide(replace(view, mirror=replace(view.mirror, disk=disk)), T))


@pytest.mark.parametrize("state", [S.ACTIVE_ALONE, S.STANDBY_NOT, S.STOPPED, S.BOOT, S.MANUAL])
def test_data_are_no_longer_current_once_the_partner_may_go_on_without_us(state: S) -> None:
    view = replace(STANDBY, mirror=LOST, peer=replace(PEER_ACTIVE, state=state))
    assert not decide(view, T).is_current


@pytest.mark.parametrize("mirror", [LOST, IN_SYNC])
def test_data_are_no_longer_current_once_the_partner_does_not_hear_us(mirror: MirrorFacts) -> None:
    """However well connected the kernel still believes to be: heard once between two silences, it goes on alone."""
    view = replace(STANDBY, mirror=mirror, peer=replace(PEER_ACTIVE, hears_us=False))
    assert not decide(view, T).is_current


def test_a_frozen_partner_leaves_our_data_current() -> None:
    view = replace(STANDBY, mirror=LOST, peer=replace(PEER_ACTIVE, state=S.FROZEN))
    assert decide(view, T).is_current


def test_another_revision_of_the_plan_makes_no_standby() -> None:
    assert decide(replace(STANDBY, peer=replace(PEER_ACTIVE, revision=4)), T).state is S.STANDBY_NOT


# --- the active side ---


def test_an_active_node_in_sync_does_nothing() -> None:
    assert decide(ACTIVE, T) == Step(S.ACTIVE_SYNC)


def test_an_active_node_that_lost_its_address_raises_it() -> None:
    assert decide(replace(ACTIVE, address_is_up=False), T).actions == (RaiseAddress(),)


def test_the_kernels_question_freezes_at_once() -> None:
    assert decide(replace(ACTIVE, fence_pending=True), T).state is S.FROZEN


def test_an_active_node_freezes_by_itself_when_its_partner_is_silent() -> None:
    step = decide(replace(ACTIVE, net=DEAD), T)
    assert (step.state, step.actions) == (S.FROZEN, (LeavePeer(),))


def test_an_isolated_active_node_lets_go_of_its_address_before_the_standby_may_promote() -> None:
    net = replace(CUT_OFF, silent_ms=T.isolated_ms)
    assert decide(replace(ACTIVE, net=net), T).actions == (DropAddress(),)
    assert T.isolated_ms < T.promote_ms


def test_an_active_node_does_not_answer_on_what_was_not_read_again() -> None:
    stale = replace(SERVED, is_fresh=False, role=Role.SECONDARY)
    assert decide(replace(ACTIVE, mirror=stale), T) == Step(S.ACTIVE_SYNC)


def test_an_active_node_whose_mirror_was_demoted_stops_serving() -> None:
    step = decide(replace(ACTIVE, mirror=replace(SERVED, role=Role.SECONDARY)), T)
    assert (step.state, step.actions) == (S.STANDBY_NOT, (StopServing(),))


def test_a_partner_without_current_data_makes_the_active_node_alone() -> None:
    mirror = replace(SERVED, is_in_sync=False, peer_disk=DiskState.INCONSISTENT)
    assert decide(replace(ACTIVE, mirror=mirror), T).state is S.ACTIVE_ALONE


# --- frozen ---


@pytest.mark.parametrize(
    ("verdict", "answer"),
    [
        (Verdict.OUTDATED, FenceAnswer.PEER_OUTDATED),
        (Verdict.INCONSISTENT, FenceAnswer.PEER_INCONSISTENT),
    ],
)
def test_a_partner_that_declared_its_data_stale_ends_the_freeze(verdict: Verdict, answer: FenceAnswer) -> None:
    assert decide(replace(FROZEN, fence_say=FenceSay(verdict, 5)), T).actions == (Answer(answer),)


def test_a_partner_that_is_heard_is_asked() -> None:
    assert decide(replace(FROZEN, net=HEARD), T) == Step(S.FROZEN, (AskPeer(),))


def test_a_silent_partner_and_a_continuous_ping_end_the_freeze() -> None:
    assert decide(FROZEN, T).actions == (Answer(FenceAnswer.PEER_UNREACHABLE),)


@pytest.mark.parametrize(
    "net",
    [
        replace(DEAD, silent_ms=T.dead_ms - 1),
        replace(DEAD, is_probed=False),
        replace(DEAD, links=0),
        replace(DEAD, is_flapping=True),
        replace(DEAD, ping=replace(STEADY, is_continuous=False)),
    ],
)
def test_a_freeze_that_lacks_one_proof_goes_on(net: NodeFacts) -> None:
    assert decide(replace(FROZEN, net=net), T) == Step(S.FROZEN)


def test_a_frozen_node_whose_address_somebody_else_answers_for_stays_frozen() -> None:
    assert decide(replace(FROZEN, address_claimed_ms=50), T) == Step(S.FROZEN)


def test_a_frozen_node_that_lost_the_ping_node_drops_its_address_and_stays_frozen() -> None:
    step = decide(replace(FROZEN, net=CUT_OFF), T)
    assert (step.state, step.actions) == (S.FROZEN, (DropAddress(),))
    assert decide(replace(FROZEN, net=CUT_OFF, address_is_up=False), T) == Step(S.FROZEN)


@pytest.mark.parametrize("verdict", [Verdict.PROMOTING, Verdict.PRIMARY])
def test_a_partner_that_refuses_never_ends_the_freeze(verdict: Verdict) -> None:
    step = decide(replace(FROZEN, net=HEARD, fence_say=FenceSay(verdict, 5)), T)
    assert step == Step(S.FROZEN, (AskPeer(),))


@pytest.mark.parametrize(
    ("mirror", "state"),
    [
        (SERVED, S.ACTIVE_SYNC),
        (replace(SERVED, is_in_sync=False), S.ACTIVE_ALONE),
        (replace(SUSPENDED, is_suspended=False), S.ACTIVE_ALONE),
    ],
)
def test_a_thawed_node_goes_on_with_its_address(mirror: MirrorFacts, state: S) -> None:
    step = decide(replace(FROZEN, fence_pending=False, mirror=mirror, address_is_up=False), T)
    assert (step.state, step.actions) == (state, (RaiseAddress(),))


def test_a_freeze_without_a_question_connects_again_once_the_partner_is_heard() -> None:
    mirror = replace(SUSPENDED, connection=ConnectionState.STANDALONE)
    view = replace(FROZEN, fence_pending=False, mirror=mirror, net=HEARD, since_ms=T.reconnect_ms)
    assert decide(view, T).actions == (Connect(),)
    assert decide(replace(view, since_ms=T.reconnect_ms - 1), T).actions == ()
    assert decide(replace(view, peer=replace(PEER_STANDBY, state=S.PROMOTING)), T).actions == ()


def test_a_freeze_whose_question_was_lost_makes_the_kernel_ask_again() -> None:
    view = replace(FROZEN, fence_pending=False, net=HEARD, since_ms=T.reconnect_ms)
    assert view.mirror.connection is ConnectionState.CONNECTING
    assert decide(view, T) == Step(S.FROZEN, (LeavePeer(),))
    assert decide(replace(view, net=DEAD), T).actions == (LeavePeer(),)
    assert decide(replace(view, since_ms=T.reconnect_ms - 1), T).actions == ()
    assert decide(replace(view, mirror=replace(SUSPENDED, is_fresh=False)), T).actions == ()
    assert decide(replace(view, fence_pending=True), T).actions == (AskPeer(),)
    assert decide(replace(view, mirror=replace(SERVED, is_suspended=True)), T).actions == ()
    assert decide(replace(view, mirror=replace(SUSPENDED, disk=DiskState.DISKLESS)), T).actions == ()


# --- giving way ---


LINK_LOST = replace(
    ACTIVE, plan=replace(PLAN, mirror_link="replication"), mirror_link_silent_ms=T.dead_ms, since_ms=60_000
)


def test_an_active_node_leaves_a_partner_that_is_heard_but_not_on_the_link_of_the_mirror() -> None:
    step = decide(LINK_LOST, T)
    assert (step.state, step.actions) == (S.FROZEN, (LeavePeer(),))
    assert "replication" in step.sentence


@pytest.mark.parametrize(
    "why_not",
    [
        {"mirror_link_silent_ms": None},
        {"mirror_link_silent_ms": T.dead_ms - 1},
        # It was silent before: the mirror does without it.
        {"since_ms": T.dead_ms},
        {"net": replace(HEARD, is_heard=False, silent_ms=200)},
        {"state": S.ACTIVE_ALONE, "mirror": replace(SERVED, is_in_sync=False)},
    ],
)
def test_a_silent_link_of_the_mirror_is_no_reason_to_freeze_when(why_not: dict[str, Any]) -> None:
    assert LeavePeer() not in decide(replace(LINK_LOST, **why_not), T).actions


@pytest.mark.parametrize("state", [S.ACTIVE_SYNC, S.ACTIVE_ALONE, S.FROZEN])
@pytest.mark.parametrize("verdict", [Verdict.PRIMARY, Verdict.NEWER])
def test_whoever_learns_of_a_higher_epoch_restarts_itself(state: S, verdict: Verdict) -> None:
    step = decide(replace(FROZEN, state=state, fence_say=FenceSay(verdict, 6)), T)
    assert step.state is S.SELF_FENCE
    assert step.actions == (Answer(FenceAnswer.PEER_PRIMARY), DropAddress(), Reboot())


def test_a_higher_epoch_in_a_heartbeat_is_enough() -> None:
    peer = replace(PEER_ACTIVE, epoch=6, held_epoch=6)
    step = decide(replace(FROZEN, fence_pending=False, net=HEARD, peer=peer), T)
    assert step.actions == (DropAddress(), Reboot())


def test_a_lower_epoch_restarts_nobody() -> None:
    assert decide(replace(FROZEN, fence_say=FenceSay(Verdict.PRIMARY, 4)), T).state is S.FROZEN


def test_self_fencing_does_not_end() -> None:
    stopped = replace(PLAN, is_started=False)
    for plan in (PLAN, stopped):
        assert decide(replace(ACTIVE, plan=plan, state=S.SELF_FENCE), T) == Step(S.SELF_FENCE, (Reboot(),))


# --- both passive ---


@pytest.mark.parametrize(
    ("own", "other", "chosen"),
    [
        (Record(5, 5, "a"), (5, "a"), "a"),
        (Record(5, 5, "b"), (5, "b"), "b"),
        (Record(6, 6, "b"), (5, "a"), "b"),
        (Record(5, 5, "b"), (6, "a"), "a"),
        (Record(), (0, None), "a"),
        (Record(5, 5, "b"), (5, "a"), "a"),
        (Record(5, 5, "gone"), (5, "gone"), "a"),
    ],
)
def test_both_nodes_pick_the_same_one(own: Record, other: tuple[int, str | None], chosen: str) -> None:
    here = replace(STANDBY, record=own, peer=replace(PEER_IDLE, epoch=other[0], last_active=other[1]))
    there = replace(
        here,
        node="a",
        partner="b",
        record=Record(other[0], 0, other[1]),
        peer=replace(PEER_IDLE, epoch=own.epoch, last_active=own.last_active),
    )
    assert pick(here) == pick(there) == chosen


def test_only_the_picked_node_of_two_that_booted_promotes() -> None:
    one = replace(STANDBY, state=S.STANDBY_NOT, mirror=BOTH_IDLE, peer=PEER_IDLE)
    other = replace(one, node="a", partner="b", record=Record(5, 5, "a"))
    assert not promotes(decide(one, T))
    assert decide(other, T).actions == (TakeOver(6, leaves_peer=False),)


def test_the_only_good_data_are_served() -> None:
    mirror = replace(BOTH_IDLE, peer_disk=DiskState.OUTDATED, is_in_sync=False)
    view = replace(STANDBY, state=S.STANDBY_NOT, mirror=mirror, peer=PEER_IDLE)
    assert decide(view, T).actions == (TakeOver(6, leaves_peer=False),)


@pytest.mark.parametrize("peer", [replace(PEER_IDLE, revision=4), replace(PEER_IDLE, state=S.BOOT), PEER_ACTIVE])
def test_nobody_promotes_beside_a_partner_that_is_not_ready_or_serves(peer: PeerFacts) -> None:
    mirror = replace(BOTH_IDLE, peer_disk=DiskState.OUTDATED, is_in_sync=False)
    assert not promotes(decide(replace(STANDBY, state=S.STANDBY_NOT, mirror=mirror, peer=peer), T))


def test_three_failures_leave_it_to_a_person() -> None:
    mirror = replace(BOTH_IDLE, peer_disk=DiskState.OUTDATED, is_in_sync=False)
    view = replace(STANDBY, state=S.STANDBY_NOT, mirror=mirror, peer=PEER_IDLE, failures=3)
    assert decide(view, T).state is S.MANUAL


# --- alone ---


@pytest.mark.parametrize("state", [S.STANDBY_NOT, S.MANUAL])
@pytest.mark.parametrize("peer_disk", [DiskState.OUTDATED, DiskState.INCONSISTENT])
def test_a_lone_node_that_recorded_a_stale_partner_serves_again(state: S, peer_disk: DiskState) -> None:
    step = decide(replace(ALONE, state=state, peer=None, mirror=replace(LOST, peer_disk=peer_disk)), T)
    assert step.actions == (TakeOver(6, leaves_peer=True),)


@pytest.mark.parametrize("peer_disk", [DiskState.UNKNOWN, DiskState.UP_TO_DATE, DiskState.CONSISTENT])
def test_a_lone_node_that_cannot_know_waits_for_a_person(peer_disk: DiskState) -> None:
    assert decide(replace(ALONE, mirror=replace(LOST, peer_disk=peer_disk)), T).state is S.MANUAL


@pytest.mark.parametrize(
    ("mirror", "net"),
    [
        (replace(LOST, connection=ConnectionState.CONNECTED), LONG_DEAD),
        (LOST, replace(LONG_DEAD, is_probed=False)),
        (LOST, replace(LONG_DEAD, ping=replace(STEADY, run_ms=T.alone_ms - 1))),
        (LOST, replace(LONG_DEAD, ping=GAP)),
    ],
)
def test_a_stale_partner_is_not_enough_to_serve_alone(mirror: MirrorFacts, net: NodeFacts) -> None:
    view = replace(ALONE, mirror=replace(mirror, peer_disk=DiskState.OUTDATED), net=net)
    assert decide(view, T).state is S.MANUAL


def test_nobody_judges_itself_alone_at_once() -> None:
    assert decide(replace(ALONE, net=replace(LONG_DEAD, silent_ms=T.alone_ms - 1)), T) == Step(S.STANDBY_NOT)
    assert decide(replace(ALONE, since_ms=T.alone_ms - 1), T) == Step(S.STANDBY_NOT)


def test_a_persons_word_promotes_what_waits_for_one() -> None:
    view = replace(ALONE, state=S.MANUAL)
    assert decide(view, T) == Step(S.MANUAL)
    step = decide(replace(view, is_granted=True), T)
    assert step.actions == (TakeOver(6, leaves_peer=True, is_granted=True),)


@pytest.mark.parametrize("net", [HEARD, replace(LONG_DEAD, silent_ms=30)])
def test_a_persons_word_does_not_count_against_a_sign_of_life(net: NodeFacts) -> None:
    assert not promotes(decide(replace(ALONE, state=S.MANUAL, net=net, is_granted=True), T))


# --- start and stop ---


def test_a_stopped_group_boots_when_it_is_to_run() -> None:
    assert decide(replace(STANDBY, state=S.STOPPED), T).state is S.BOOT


def test_a_booted_node_clears_and_stands_by() -> None:
    step = decide(replace(STANDBY, state=S.BOOT), T)
    assert (step.state, step.actions) == (S.STANDBY_NOT, (Clear(),))


def test_a_monitor_that_started_anew_goes_on_serving_what_it_found() -> None:
    step = decide(replace(ACTIVE, state=S.BOOT), T)
    assert (step.state, step.actions) == (S.ACTIVE_SYNC, (Adopt(),))


def test_a_promoted_mirror_is_no_proof_of_serving_without_the_record() -> None:
    view = replace(ACTIVE, state=S.BOOT, is_serving=False)
    assert decide(replace(view, record=Record(6, 5, "a")), T).actions == (Clear(),)
    assert decide(replace(view, since_ms=0), T) == Step(S.BOOT)
    assert decide(replace(view, peer=replace(PEER_ACTIVE, epoch=6)), T).state is S.SELF_FENCE
    assert decide(view, T).actions == (Adopt(),)
    assert decide(replace(view, mirror=SUSPENDED), T).state is S.FROZEN


def test_an_interrupted_promotion_starts_over() -> None:
    assert decide(replace(STANDBY, state=S.PROMOTING), T).state is S.BOOT


@pytest.mark.parametrize("state", [s for s in S if s not in (S.STOPPED, S.SELF_FENCE)])
def test_a_group_that_is_to_stop_stops_whatever_it_is(state: S) -> None:
    step = decide(replace(FROZEN, plan=replace(PLAN, is_started=False), state=state), T)
    serves = state.is_active or state in (S.DEMOTING, S.PROMOTING)
    assert (step.state, step.actions) == (S.STOPPED, (StopServing(),) if serves else ())


# --- handing over ---


def test_a_persons_wish_hands_over_under_a_higher_epoch() -> None:
    step = decide(replace(ACTIVE, switch_to="b"), T)
    assert (step.state, step.actions) == (S.DEMOTING, (HandOver(6),))


@pytest.mark.parametrize(
    ("mirror", "net"),
    [
        (replace(SERVED, is_in_sync=False, disk=DiskState.DISKLESS), HEARD),
        (SERVED, replace(HEARD, ping=PingFacts(silent_ms=T.client_lost_ms))),
    ],
)
def test_an_active_node_that_lost_its_disk_or_its_clients_hands_over(mirror: MirrorFacts, net: NodeFacts) -> None:
    assert decide(replace(ACTIVE, mirror=mirror, net=net), T).actions == (HandOver(6),)


@pytest.mark.parametrize(
    "change",
    [
        {"ping_answers": False},
        {"state": S.MANUAL},
        {"revision": 4},
        {"state": S.STANDBY_NOT},
    ],
)
def test_a_partner_that_is_no_better_off_is_not_handed_the_group(change: dict[str, Any]) -> None:
    view = replace(ACTIVE, net=replace(HEARD, ping=PingFacts(silent_ms=T.client_lost_ms)))
    peer = replace(PEER_STANDBY, **change)
    assert HandOver(6) not in decide(replace(view, peer=peer), T).actions


DEMOTING = replace(ACTIVE, state=S.DEMOTING, mirror=BOTH_IDLE, since_ms=100, handed_epoch=6, address_is_up=False)


@pytest.mark.parametrize(
    ("change", "state", "actions"),
    [
        ({}, S.DEMOTING, (OfferAgain(),)),
        ({"peer": replace(PEER_ACTIVE, epoch=6)}, S.STANDBY_NOT, ()),
        ({"peer": replace(PEER_IDLE, state=S.PROMOTING)}, S.DEMOTING, ()),
        ({"net": DEAD}, S.SUSPECT, ()),
        ({"handover_refusal": "no"}, S.PROMOTING, (TakeOver(7, leaves_peer=False),)),
        ({"since_ms": T.handover_ms}, S.PROMOTING, (TakeOver(7, leaves_peer=False),)),
        ({"since_ms": T.handover_ms, "mirror": LOST}, S.STANDBY_NOT, ()),
        ({"since_ms": T.handover_ms, "mirror": IN_SYNC}, S.STANDBY_NOT, ()),
    ],
)
def test_a_group_that_was_handed_over_is_seen_served(
    change: dict[str, Any], state: S, actions: tuple[Action, ...]
) -> None:
    step = decide(replace(DEMOTING, **change), T)
    assert (step.state, step.actions, step.is_current) == (state, actions, True)


def test_an_offer_is_taken_by_a_ready_standby() -> None:
    assert refuse_handover(replace(STANDBY, mirror=BOTH_IDLE), 6, 3) is None


@pytest.mark.parametrize(
    ("change", "epoch", "revision", "word"),
    [
        ({"plan": replace(PLAN, is_started=False)}, 6, 3, "stopped"),
        ({}, 6, 4, "revision"),
        ({"state": S.MANUAL}, 6, 3, "manual"),
        ({"state": S.ACTIVE_SYNC}, 6, 3, "active-sync"),
        ({}, 5, 3, "not above"),
        ({"mirror": LOST}, 6, 3, "the mirror is"),
        ({"mirror": replace(IN_SYNC, disk=DiskState.OUTDATED)}, 6, 3, "the mirror is"),
    ],
)
def test_an_offer_is_refused_with_its_reason(change: dict[str, Any], epoch: int, revision: int, word: str) -> None:
    refusal = refuse_handover(replace(STANDBY, **change), epoch, revision)
    assert refusal is not None
    assert word in refusal


def test_a_switch_is_refused_with_every_reason_at_once() -> None:
    assert refuse_switch(ACTIVE, "b") == ()
    view = replace(ACTIVE, plan=replace(PLAN, is_started=False), state=S.FROZEN, mirror=SUSPENDED, net=DEAD)
    codes = [reason.code for reason in refuse_switch(view, "c")]
    assert codes == ["unknown-node", "not-started", "not-in-sync", "partner-silent", "mirror-not-in-sync"]
    busy = replace(ACTIVE, peer=replace(PEER_IDLE, revision=4))
    assert [reason.code for reason in refuse_switch(busy, "b")] == ["partner-not-ready", "other-revision"]


# --- a node in maintenance ---

WORKED_ON = ("b",)
RECORDED_STALE = replace(LOST, peer_disk=DiskState.OUTDATED)
LONE_AND_NEWEST = replace(ALONE, mirror=RECORDED_STALE, since_ms=60_000)
IDLE = replace(STANDBY, state=S.STANDBY_NOT, peer=replace(PEER_IDLE, last_active="b"), mirror=BOTH_IDLE)


def served_last_by(view: GroupView, node: str) -> GroupView:
    assert view.peer is not None
    record = replace(view.record, last_active=node)
    return replace(view, record=record, peer=replace(view.peer, last_active=node))


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(SUSPECT, id="the partner is dead"),
        pytest.param(replace(SUSPECT, since_ms=3_600_000), id="the partner has been dead for an hour"),
        pytest.param(LONE_AND_NEWEST, id="alone, the partner's data recorded stale"),
        pytest.param(replace(LONE_AND_NEWEST, state=S.MANUAL), id="alone, waiting for a person"),
        pytest.param(served_last_by(IDLE, "b"), id="nobody serves, it served last"),
        pytest.param(
            replace(served_last_by(IDLE, "a"), peer=replace(PEER_IDLE, state=S.MANUAL)), id="its partner cannot"
        ),
        pytest.param(
            replace(IDLE, mirror=replace(BOTH_IDLE, peer_disk=DiskState.OUTDATED, is_in_sync=False)),
            id="nobody serves, only its data are good",
        ),
    ],
)
def test_a_node_in_maintenance_does_not_begin_to_serve_by_itself(view: GroupView) -> None:
    assert promotes(decide(view, T))
    assert not promotes(decide(replace(view, in_maintenance=WORKED_ON), T))
    assert not promotes(decide(replace(view, in_maintenance=("a", "b")), T))


def test_a_suspicion_in_maintenance_is_kept_and_says_what_a_person_can_do() -> None:
    view = replace(SUSPECT, in_maintenance=WORKED_ON)
    assert decide(view, T) == Step(S.SUSPECT, is_current=True)
    assert blockers(view, T) == (
        "b is in maintenance and takes over on a person's word only: end the maintenance, or promote the group",
    )
    assert any("in maintenance" in reason for reason in explain(view, T))
    assert blockers(replace(SUSPECT, in_maintenance=("a",)), T) == ()


def test_a_person_may_promote_a_node_in_maintenance() -> None:
    assert promotes(decide(replace(SUSPECT, in_maintenance=WORKED_ON, is_granted=True), T))
    waiting = replace(ALONE, state=S.MANUAL, in_maintenance=WORKED_ON)
    assert not promotes(decide(waiting, T))
    assert promotes(decide(replace(waiting, is_granted=True), T))


def test_a_ping_node_that_is_lost_meanwhile_costs_the_right_to_take_over_and_not_the_data() -> None:
    step = decide(replace(SUSPECT, net=CUT_OFF), T)
    assert (step.state, step.actions, step.is_current) == (S.STANDBY_NOT, (Outdate(),), False)
    step = decide(replace(SUSPECT, net=CUT_OFF, in_maintenance=WORKED_ON), T)
    assert (step.state, step.actions, step.is_current) == (S.STANDBY_NOT, (), False)
    assert "can no longer know" in step.sentence


def test_the_partner_of_a_node_in_maintenance_serves_what_nobody_does() -> None:
    """Both compute it from the same marks: the one steps back, the other begins."""
    on_b = replace(served_last_by(IDLE, "b"), in_maintenance=WORKED_ON)
    on_a = replace(on_b, node="a", partner="b")
    assert not promotes(decide(on_b, T))
    assert promotes(decide(on_a, T))
    assert not promotes(decide(replace(on_a, in_maintenance=()), T))
    # Blocks were found to differ: only who served last has the truth, whatever becomes of it.
    differ = replace(on_a.mirror, is_in_sync=False)
    assert not promotes(decide(replace(on_a, mirror=differ), T))


NO_DISK = replace(SERVED, disk=DiskState.DISKLESS, is_in_sync=False)


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(replace(ACTIVE, mirror=NO_DISK), id="its disk is lost"),
        pytest.param(
            replace(ACTIVE, net=replace(HEARD, ping=replace(GAP, silent_ms=T.client_lost_ms))), id="no ping node"
        ),
        pytest.param(replace(ACTIVE, switch_to="b"), id="asked for before"),
    ],
)
def test_nothing_is_handed_to_a_node_in_maintenance(view: GroupView) -> None:
    assert decide(view, T).state is S.DEMOTING
    step = decide(replace(view, in_maintenance=WORKED_ON), T)
    assert not any(isinstance(action, HandOver) for action in step.actions)
    assert step.state is not S.DEMOTING


def test_a_node_in_maintenance_that_serves_goes_on_and_may_hand_over() -> None:
    here = ("a",)
    assert decide(replace(ACTIVE, in_maintenance=here), T) == decide(ACTIVE, T)
    assert decide(replace(ACTIVE, in_maintenance=here, switch_to="b"), T).state is S.DEMOTING
    assert decide(replace(FROZEN, in_maintenance=here), T) == decide(FROZEN, T)
    # What it let go of it takes back: it served it.
    refused = replace(
        ACTIVE, state=S.DEMOTING, mirror=BOTH_IDLE, peer=PEER_STANDBY, handed_epoch=6, handover_refusal="no"
    )
    assert promotes(decide(replace(refused, in_maintenance=here), T))
    assert refuse_switch(replace(ACTIVE, in_maintenance=here), "b") == ()


def test_a_switch_to_a_node_in_maintenance_is_refused_on_both_sides() -> None:
    reasons = refuse_switch(replace(ACTIVE, in_maintenance=WORKED_ON), "b")
    assert [(reason.code, "maintenance/end" in reason.remedy) for reason in reasons] == [("in-maintenance", True)]
    offered = replace(STANDBY, mirror=BOTH_IDLE)
    assert refuse_handover(offered, 6, 3) is None
    assert refuse_handover(replace(offered, in_maintenance=WORKED_ON), 6, 3) == "b is in maintenance"


# --- being asked to be stale ---


@pytest.mark.parametrize(
    ("state", "record", "mirror", "verdict"),
    [
        (S.STANDBY_OK, Record(5, 0, "a"), LOST, None),
        (S.SUSPECT, Record(5, 0, "a"), LOST, None),
        (S.PROMOTING, Record(6, 0, "a"), LOST, Verdict.PROMOTING),
        (S.STANDBY_NOT, Record(6, 0, "a", refuses_outdate=True), LOST, Verdict.PROMOTING),
        (S.ACTIVE_ALONE, Record(6, 6, "b", refuses_outdate=True), SERVED, Verdict.PRIMARY),
        (S.BOOT, Record(6, 6, "b"), SERVED, Verdict.PRIMARY),
        (S.STANDBY_NOT, Record(6, 6, "b"), LOST, Verdict.NEWER),
        # Promoted, and off or undone before it had kept that it serves: its kernel knows the asker to be stale.
        (S.STANDBY_NOT, Record(6, 0, "a"), replace(LOST, peer_disk=DiskState.OUTDATED), Verdict.NEWER),
        (S.STANDBY_NOT, Record(6, 0, "a"), replace(LOST, peer_disk=DiskState.INCONSISTENT), Verdict.NEWER),
        (S.STANDBY_NOT, Record(5, 0, "a"), replace(IN_SYNC, peer_disk=DiskState.INCONSISTENT), None),
        (S.STANDBY_NOT, Record(5, 0, "a"), replace(LOST, disk=DiskState.OUTDATED, peer_disk=DiskState.OUTDATED), None),
    ],
)
def test_a_node_that_promotes_or_served_later_is_not_outdated(
    state: S, record: Record, mirror: MirrorFacts, verdict: Verdict | None
) -> None:
    say = answer_fence(state, record, mirror, asked_epoch=5)
    assert (say.verdict if say else None) is verdict


PROMOTING = replace(SUSPECT, state=S.PROMOTING)


@pytest.mark.parametrize(
    ("view", "is_granted", "answer"),
    [
        (PROMOTING, False, FenceAnswer.PEER_UNREACHABLE),
        (PROMOTING, True, FenceAnswer.PEER_FENCED),
        (replace(PROMOTING, net=CUT_OFF), True, FenceAnswer.PEER_FENCED),
        (replace(PROMOTING, net=CUT_OFF), False, None),
        # Its kernel echoes again: it may be back at any moment.
        (replace(PROMOTING, net=replace(DEAD, silent_ms=30)), False, None),
        (replace(PROMOTING, net=replace(DEAD, silent_ms=30)), True, None),
        # It serves: what was thought of it was wrong.
        (replace(PROMOTING, net=HEARD, peer=PEER_ACTIVE), False, FenceAnswer.PEER_PRIMARY),
        (replace(PROMOTING, net=HEARD, peer=replace(PEER_ACTIVE, state=S.FROZEN)), True, FenceAnswer.PEER_PRIMARY),
        (replace(PROMOTING, net=HEARD, peer=PEER_IDLE), False, None),
        (replace(PROMOTING, net=HEARD, peer=None), False, None),
    ],
)
def test_the_kernel_is_told_to_promote_only_while_the_evidence_holds(
    view: GroupView, is_granted: bool, answer: FenceAnswer | None
) -> None:
    assert answer_own_promotion(view, T, is_granted=is_granted) is answer


def test_a_mirror_is_as_good_as_its_worst_volume() -> None:
    assert worst((DiskState.UP_TO_DATE, DiskState.OUTDATED)) is DiskState.OUTDATED
    assert worst(()) is DiskState.UNKNOWN
