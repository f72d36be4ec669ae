"""What a witness changes in the decision: what it is asked, what waits for its word, and what never does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast.hooks.failover import GroupState
from holdfast.hooks.forecast import Fault, Forecast
from holdfast.hooks.replication import DiskState, FenceAnswer, Role
from holdfast.hooks.witness import WitnessFacts
from holdfast_failover_vip.actions import Answer, Claim, DropAddress, Release, TakeOver
from holdfast_failover_vip.answers import answer_own_promotion
from holdfast_failover_vip.decide import decide
from holdfast_failover_vip.facts import FenceSay, GroupView, Verdict
from holdfast_failover_vip.forecast import forecast
from holdfast_failover_vip.reasons import explain
from holdfast_failover_vip.timers import Timers
from plugins.failover_vip.tests.test_decide import (
    ACTIVE,
    ALONE,
    CUT_OFF,
    DEAD,
    IN_SYNC,
    LONG_DEAD,
    LOST,
    PEER_ACTIVE,
    STANDBY,
    SUSPECT,
    SUSPENDED,
)

S = GroupState
T = Timers()
FROZEN = replace(ACTIVE, state=S.FROZEN, mirror=SUSPENDED, net=DEAD, fence_pending=True, since_ms=300)
AWAY = WitnessFacts()
OPEN = WitnessFacts(answers=True, has_released=True, is_open=True)
REFUSES = replace(OPEN, is_open=False)
BEHIND = replace(STANDBY, state=S.STANDBY_NOT, peer=replace(PEER_ACTIVE, revision=4))
HOLDS = replace(OPEN, has_released=False, holds=True)


@pytest.mark.parametrize("view", [SUSPECT, FROZEN], ids=["takes over", "goes on alone"])
@pytest.mark.parametrize("witness", [AWAY, OPEN, REFUSES], ids=["away", "not asked yet", "refuses"])
def test_whoever_would_go_on_without_its_partner_asks_first_and_waits(view: GroupView, witness: WitnessFacts) -> None:
    step = decide(replace(view, witness=witness), T)
    # Refused, it is its partner that may serve: a frozen node is in its way with its address only.
    drops = (DropAddress(),) if (view, witness) == (FROZEN, REFUSES) else ()
    assert (step.state, step.actions, step.sentence) == (view.state, (*drops, Claim()), "")


@pytest.mark.parametrize("view", [SUSPECT, FROZEN], ids=["takes over", "goes on alone"])
def test_with_the_right_in_hand_it_does_what_it_would_have_done_without_a_witness(view: GroupView) -> None:
    for witness in (HOLDS, replace(AWAY, holds=True)):
        with_it, without = decide(replace(view, witness=witness), T), decide(view, T)
        assert (with_it.state, with_it.actions, with_it.is_current) == (
            without.state,
            without.actions,
            without.is_current,
        )
        assert "the witness granted it" in with_it.sentence
        assert "witness" not in without.sentence


@pytest.mark.parametrize("witness", [AWAY, OPEN, REFUSES, HOLDS])
def test_the_witness_grants_nothing_that_the_evidence_does_not(witness: WitnessFacts) -> None:
    for view in (
        replace(SUSPECT, net=CUT_OFF),
        replace(SUSPECT, net=replace(DEAD, silent_ms=399)),
        replace(SUSPECT, net=replace(DEAD, links_up_before=1)),
        replace(SUSPECT, is_current=False),
        replace(SUSPECT, in_maintenance=("b",)),
        replace(FROZEN, net=CUT_OFF),
        replace(FROZEN, since_ms=90_000),
        replace(FROZEN, address_claimed_ms=0),
    ):
        step, without = decide(replace(view, witness=witness), T), decide(view, T)
        if witness is REFUSES and view.state is S.FROZEN:
            # It gives up more than without a witness: its address.
            assert (step.state, {*step.actions, DropAddress()}) == (S.FROZEN, {*without.actions, DropAddress()})
        else:
            assert step == without


def test_what_the_partner_or_its_data_allow_waits_for_no_witness() -> None:
    outdated = replace(FROZEN, fence_say=FenceSay(Verdict.OUTDATED, 5))
    recorded = replace(
        ALONE, mirror=replace(LOST, peer_disk=DiskState.OUTDATED), net=LONG_DEAD, since_ms=9000, witness=AWAY
    )
    granted = replace(SUSPECT, is_granted=True)
    handed = replace(ACTIVE, switch_to="b")
    for view in (outdated, recorded, granted, handed):
        assert decide(replace(view, witness=AWAY), T) == decide(replace(view, witness=None), T)
    assert Answer(FenceAnswer.PEER_OUTDATED) in decide(replace(outdated, witness=AWAY), T).actions
    assert any(isinstance(one, TakeOver) for one in decide(recorded, T).actions)


@pytest.mark.parametrize("witness", [AWAY, OPEN, REFUSES])
def test_the_last_gate_looks_for_the_right_again(witness: WitnessFacts) -> None:
    promoting = replace(SUSPECT, state=S.PROMOTING)
    assert answer_own_promotion(replace(promoting, witness=witness), T, is_granted=False) is None
    for permitted in (None, HOLDS):
        answer = answer_own_promotion(replace(promoting, witness=permitted), T, is_granted=False)
        assert answer is FenceAnswer.PEER_UNREACHABLE
    # A person's word is above it.
    answer = answer_own_promotion(replace(promoting, witness=witness), T, is_granted=True)
    assert answer is FenceAnswer.PEER_FENCED


@pytest.mark.parametrize("view", [ACTIVE, STANDBY, BEHIND])
def test_in_sync_the_right_is_given_back_once(view: GroupView) -> None:
    for witness in (HOLDS, replace(REFUSES, has_released=False)):
        assert Release() in decide(replace(view, witness=witness), T).actions
    for other in (OPEN, AWAY, replace(AWAY, holds=True), None):
        assert Release() not in decide(replace(view, witness=other), T).actions


def test_it_is_not_given_back_while_the_partner_may_lack_anything() -> None:
    alone = replace(ACTIVE, state=S.ACTIVE_ALONE, mirror=replace(LOST, role=Role.PRIMARY))
    for view in (
        alone,
        replace(ACTIVE, mirror=replace(ACTIVE.mirror, is_in_sync=False)),
        replace(ACTIVE, mirror=replace(ACTIVE.mirror, is_fresh=False)),
        replace(ACTIVE, fence_pending=True),
        replace(ACTIVE, net=DEAD),
        FROZEN,
        SUSPECT,
        replace(SUSPECT, mirror=IN_SYNC, net=STANDBY.net),
        replace(STANDBY, mirror=replace(IN_SYNC, is_in_sync=False)),
        replace(STANDBY, mirror=replace(IN_SYNC, role=Role.PRIMARY)),
        replace(STANDBY, state=S.PROMOTING),
    ):
        assert Release() not in decide(replace(view, witness=HOLDS), T).actions


def test_a_witness_that_is_away_is_told_and_moves_nothing() -> None:
    for view in (ACTIVE, STANDBY):
        away = replace(view, witness=AWAY)
        assert decide(away, T) == decide(view, T)
        assert any("the witness does not answer" in reason for reason in explain(away, T))
        assert explain(replace(view, witness=OPEN), T) == explain(view, T)


def test_a_node_that_waits_for_the_witness_says_so() -> None:
    for view, name in ((SUSPECT, "b"), (FROZEN, "a")):
        assert any("the witness does not answer" in reason for reason in explain(replace(view, witness=AWAY), T))
        refused = explain(replace(view, witness=REFUSES), T)
        assert any(f"the witness does not let {name} go on" in reason for reason in refused)
        assert not any("witness" in reason for reason in explain(replace(view, witness=HOLDS), T))


def foreseen(view: GroupView, fault: Fault) -> Forecast:
    return next(one for one in forecast(view, T) if one.fault is fault)


@pytest.mark.parametrize("view", [ACTIVE, STANDBY], ids=["on a", "on b"])
def test_a_forecast_knows_the_witness(view: GroupView) -> None:
    for fault, survivor in ((Fault.ACTIVE_POWER, "b"), (Fault.PASSIVE_POWER, "a")):
        assert foreseen(replace(view, witness=OPEN), fault).serves == survivor
        assert foreseen(view, fault).serves == survivor
        away = foreseen(replace(view, witness=AWAY), fault)
        assert away.serves is None
        assert [reason.code for reason in away.blockers] == ["witness"]
    for fault in (Fault.NONE, Fault.REPLICATION_LINK, Fault.SWITCHOVER):
        assert foreseen(replace(view, witness=AWAY), fault).serves == foreseen(view, fault).serves
