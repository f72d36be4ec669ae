"""What a node says when it is asked: to declare itself stale, to take a group over, to move one."""

from __future__ import annotations

from holdfast.errors import Reason
from holdfast.hooks.failover import GroupState
from holdfast.hooks.replication import DiskState, FenceAnswer, Role
from holdfast_failover_vip.facts import FenceSay, GroupView, MirrorFacts, Record, Verdict
from holdfast_failover_vip.timers import Timers
from holdfast_failover_vip.witness import is_permitted

S = GroupState


def answer_fence(state: GroupState, record: Record, mirror: MirrorFacts, asked_epoch: int) -> FenceSay | None:
    """The answer to a partner that asks us to be outdated; None: outdate, read back, then say so.

    From the moment the refusal was persisted the answer is no, whatever becomes of the promotion.
    """
    if state is S.PROMOTING or (record.refuses_outdate and not state.is_active):
        return FenceSay(Verdict.PROMOTING, record.epoch)
    if state.is_active or mirror.role is Role.PRIMARY:
        return FenceSay(Verdict.PRIMARY, record.held_epoch)
    if record.held_epoch > asked_epoch:
        return FenceSay(Verdict.NEWER, record.held_epoch)
    if (
        mirror.disk is DiskState.UP_TO_DATE
        and mirror.peer_disk in (DiskState.OUTDATED, DiskState.INCONSISTENT)
        and not mirror.is_connected
    ):
        # The kernel knows the asker's data to be stale: it promoted this side, whose monitor did not get as far as to
        # keep that it serves. A new generation has begun here; one more over there would be a split brain.
        return FenceSay(Verdict.NEWER, record.epoch)
    return None


def answer_own_promotion(view: GroupView, timers: Timers, *, is_granted: bool) -> FenceAnswer | None:
    """The answer to the kernel when it promotes this side on our word; None: the evidence does not hold now.

    Without an answer the kernel's helper gives up, up to four times, the promotion fails, and it is decided anew.
    A partner that turns out to serve ends it at once: this side is declared stale, as it would have to be anyway.
    """
    net = view.net
    if net.is_heard:
        return FenceAnswer.PEER_PRIMARY if view.peer is not None and view.peer.state.is_active else None
    if net.silent_ms < timers.promote_ms:
        return None
    if is_granted:
        return FenceAnswer.PEER_FENCED
    return FenceAnswer.PEER_UNREACHABLE if net.ping.is_continuous and is_permitted(view) else None


def refuse_handover(view: GroupView, epoch: int, revision: int) -> str | None:
    """Why an offered group is not taken; None: take it."""
    if not view.plan.is_started:
        return f"{view.plan.name} is stopped on {view.node}"
    if revision != view.plan.revision:
        return f"{view.node} has revision {view.plan.revision} of the plan, not {revision}"
    if view.state not in (S.STANDBY_OK, S.STANDBY_NOT):
        return f"{view.plan.name} is {view.state} on {view.node}"
    if view.node in view.in_maintenance:
        return f"{view.node} is in maintenance"
    if epoch <= view.record.epoch:
        return f"epoch {epoch} is not above {view.record.epoch}"
    if not view.mirror.is_connected or view.mirror.disk is not DiskState.UP_TO_DATE:
        return f"the mirror is {view.mirror.connection.value} and {view.mirror.disk.value} on {view.node}"
    return None


def refuse_switch(view: GroupView, to: str) -> tuple[Reason, ...]:
    """Every reason why the active group cannot move to `to` now."""
    found: list[Reason] = []
    peer, mirror = view.peer, view.mirror

    def add(code: str, text: str, remedy: str) -> None:
        found.append(Reason(code, text, remedy))

    if to not in (view.node, view.partner):
        add("unknown-node", f"{to} is neither {view.node} nor {view.partner}", "name one of the two nodes")
    if to in view.in_maintenance:
        add("in-maintenance", f"{to} is in maintenance", f"end it on {to}: POST /v1/node/maintenance/end")
    if not view.plan.is_started:
        add("not-started", f"{view.plan.name} is stopped", "start the group")
    if view.state is not S.ACTIVE_SYNC:
        add("not-in-sync", f"{view.plan.name} is {view.state} on {view.node}", "wait until both nodes are in sync")
    if peer is None or not view.net.is_heard:
        add("partner-silent", f"the monitor of {view.partner} is not heard", f"bring {view.partner} and its links back")
    else:
        if peer.state is not S.STANDBY_OK:
            text = f"{view.plan.name} is {peer.state} on {view.partner}"
            add("partner-not-ready", text, "see the reasons in the status of the partner")
        if peer.revision != view.plan.revision:
            text = f"{view.partner} has revision {peer.revision} of the plan, not {view.plan.revision}"
            add("other-revision", text, "wait until it has adopted the plan")
    if not mirror.is_in_sync:
        text = f"the mirror is {mirror.connection.value}, {mirror.disk.value} here and {mirror.peer_disk.value} there"
        add("mirror-not-in-sync", text, "wait for the resync to end")
    return tuple(found)
