"""THE decision: what one node does about one group, as a pure function of what it knows.

It is level-triggered: called again with the same facts it says the same, so that a lost event or a
monitor killed between two actions costs time and never safety. The order in which actions are carried
out is the order given; nothing of a later action begins before the former one is read back.

What must hold at every moment: at most one node acknowledges writes; whoever is promoted holds every
acknowledged write. Why it holds: DRBD's own gates, and the order in which `group.py` acts
(docs/decisions/0007-one-decision-two-gates.md).
"""

from __future__ import annotations

from dataclasses import replace

from holdfast.hooks.failover import GroupState
from holdfast_failover_vip.actions import Adopt, Clear, Reboot, Release, Step, StopServing
from holdfast_failover_vip.active import (
    decide_active,
    decide_demoting,
    decide_frozen,
    higher_epoch_elsewhere,
    self_fence,
)
from holdfast_failover_vip.facts import GroupView
from holdfast_failover_vip.standby import data_is_current, decide_manual, decide_standby, decide_suspect
from holdfast_failover_vip.timers import Timers
from holdfast_failover_vip.witness import releases

S = GroupState


def decide(view: GroupView, timers: Timers) -> Step:
    """Say the group's next step on this node."""
    step = _decide(view, timers)
    return replace(step, actions=(*step.actions, Release())) if releases(view, step) else step


def _decide(view: GroupView, timers: Timers) -> Step:
    if view.peer is None:
        # A partner that is heard but says nothing of this group is, for this group, not heard.
        view = replace(view, net=replace(view.net, is_heard=False))
    view = replace(view, is_current=data_is_current(view))
    if not view.plan.is_started and view.state not in (S.STOPPED, S.SELF_FENCE):
        return _stop(view)
    match view.state:
        case S.STOPPED:
            if view.plan.is_started:
                return Step(S.BOOT, sentence=f"{view.plan.name} is to run: {view.node} gets ready")
            return Step(S.STOPPED)
        case S.BOOT:
            return _boot(view, timers)
        case S.SELF_FENCE:
            return Step(S.SELF_FENCE, (Reboot(),))
        case S.PROMOTING:
            # Carried out by TakeOver to its end, which sets the next state; seen here only when it was interrupted.
            return Step(S.BOOT, is_current=view.is_current)
        case S.STANDBY_OK | S.STANDBY_NOT:
            return decide_standby(view, timers)
        case S.SUSPECT:
            return decide_suspect(view, timers)
        case S.MANUAL:
            return decide_manual(view, timers)
        case S.DEMOTING:
            return decide_demoting(view, timers)
        case S.ACTIVE_SYNC | S.ACTIVE_ALONE | S.FROZEN:
            if higher_epoch_elsewhere(view):
                return self_fence(view)
            return decide_frozen(view, timers) if view.state is S.FROZEN else decide_active(view, timers)


def _stop(view: GroupView) -> Step:
    if view.state.is_active or view.state in (S.DEMOTING, S.PROMOTING):
        sentence = f"{view.plan.name} is to stop: {view.node} stops serving it"
        return Step(S.STOPPED, (StopServing(),), sentence)
    return Step(S.STOPPED, sentence=f"{view.plan.name} is to stop: {view.node} no longer stands by")


def _boot(view: GroupView, timers: Timers) -> Step:
    served = view.record.held_epoch and view.record.held_epoch == view.record.epoch
    if view.mirror.role == "Primary" and served and view.record.last_active == view.node:
        if view.is_serving:
            state = (
                S.FROZEN if view.mirror.is_suspended else S.ACTIVE_SYNC if view.mirror.is_in_sync else S.ACTIVE_ALONE
            )
            return Step(state, (Adopt(),), f"{view.node} goes on serving {view.plan.name}, which it found running")
        # Not everything runs: before anything comes back, the partner has time to say that it took over.
        if view.since_ms < timers.promote_ms:
            return Step(S.BOOT)
        if higher_epoch_elsewhere(view):
            return self_fence(view)
        if view.mirror.is_suspended:
            return Step(
                S.FROZEN, sentence=f"{view.node} finds {view.plan.name} frozen and waits for its partner's word"
            )
        state = S.ACTIVE_SYNC if view.mirror.is_in_sync else S.ACTIVE_ALONE
        return Step(state, (Adopt(),), f"{view.node} finds {view.plan.name} promoted and completes it")
    return Step(S.STANDBY_NOT, (Clear(),), f"{view.node} is ready to stand by for {view.plan.name}")
