"""What can be missing for a takeover, how a person mends it, and how a play goes on with it mended.

Whether a lack stands in the way of anything is not said here: that is tried, by playing with all but it mended.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from holdfast.errors import Reason
from holdfast.hooks.failover import GroupState
from holdfast.hooks.replication import ConnectionState, DiskState, Role
from holdfast.hooks.witness import WitnessFacts
from holdfast_failover_vip.facts import PingFacts
from holdfast_failover_vip.play import Play
from holdfast_failover_vip.sides import Side
from holdfast_failover_vip.standby import MAX_FAILURES

S, D = GroupState, DiskState


@dataclass(frozen=True)
class Lack:
    """`find` looks at active and passive side; None: it is not lacking."""

    find: Callable[[Side, Side], Reason | None]
    mend: Callable[[Play, Side, Side], None]


def _stopped(active: Side, passive: Side) -> Reason | None:
    plan = passive.view.plan
    if plan.is_started:
        return None
    return Reason("stopped", f"{plan.name} is stopped", f"start it: POST /v1/groups/{plan.name}/start")


def _start(play: Play, active: Side, passive: Side) -> None:
    for side in (active, passive):
        side.know(plan=replace(side.view.plan, is_started=True), state=S.BOOT)


def _silent(active: Side, passive: Side) -> Reason | None:
    for side in (active, passive):
        name = side.view.node
        if not side.has_power:
            return Reason("partner-silent", f"{name} is silent", f"bring {name} and its links back")
        if not side.has_monitor:
            remedy = f"start holdfast-monitor on {name}"
            return Reason("partner-monitor", f"the monitor of {name} is silent, its kernel answers", remedy)
        if not side.hears_other:
            remedy = "mend the links: they carry one direction only"
            return Reason("partner-deaf", f"{name} does not hear its partner", remedy)
    return None


def _bring_back(play: Play, active: Side, passive: Side) -> None:
    play.links_carry = True
    for side in (active, passive):
        side.has_power = side.has_monitor = side.hears_other = True


def _stale(active: Side, passive: Side) -> Reason | None:
    view, mirror = passive.view, passive.mirror
    if view.state is S.STANDBY_OK and mirror.is_in_sync and view.is_current:
        return None
    name, other = view.node, active.view.node
    if view.has_split_brain or active.view.has_split_brain:
        remedy = f"choose a side: POST /v1/mirrors/{view.plan.mirror}/resolve-split-brain"
        return Reason("split-brain", "the data have diverged", remedy)
    if mirror.disk in (D.DISKLESS, D.FAILED):
        return Reason("disk", f"the disk of {name} is {mirror.disk}", f"replace the disk of {name}")
    if view.plan.revision != active.view.plan.revision:
        text = f"{name} has revision {view.plan.revision} of the plan, {other} has {active.view.plan.revision}"
        return Reason("other-revision", text, "wait until both have the same plan, or change the group once more")
    text = f"{name} is {view.state}, its data are {mirror.disk}: nobody knows that they are the newest"
    if not passive.decides:
        text = f"nobody knows whether the data of {name} are the newest"
    if not (active.decides and passive.decides):
        return Reason("not-in-sync", text, f"bring back what is silent, then wait until {name} stands by")
    if not mirror.is_connected:
        return Reason("not-in-sync", text, "mend the link of the mirror, then wait for the resync to end")
    return Reason("not-in-sync", text, f"wait for the resync to end: then {name} stands by")


def _bring_up_to_date(play: Play, active: Side, passive: Side) -> None:
    play.mirror_carries = True
    epoch = max(active.view.record.epoch, passive.view.record.epoch, 1)
    for side, role in ((active, Role.PRIMARY), (passive, Role.SECONDARY)):
        serves = role is Role.PRIMARY
        side.know(
            state=S.ACTIVE_SYNC if serves else S.STANDBY_OK,
            mirror=replace(
                side.mirror,
                is_up=True,
                role=role,
                peer_role=Role.SECONDARY if serves else Role.PRIMARY,
                connection=ConnectionState.CONNECTED,
                disk=D.UP_TO_DATE,
                peer_disk=D.UP_TO_DATE,
                is_suspended=False,
                is_in_sync=True,
            ),
            plan=replace(side.view.plan, revision=passive.view.plan.revision),
            record=replace(side.view.record, epoch=epoch, last_active=active.view.node, refuses_outdate=False),
            address_is_up=serves,
            is_serving=serves,
            is_current=True,
            fence_pending=False,
            fence_say=None,
            has_split_brain=False,
        )
    active.know(record=replace(active.view.record, held_epoch=epoch))
    play.hear()


def _no_ping(active: Side, passive: Side) -> Reason | None:
    without = [side.view.node for side in (active, passive) if not side.reaches_ping]
    if not without:
        return None
    text = f"{' and '.join(without)} cannot reach the ping node, or none is set"
    return Reason("ping-node", text, "bring the ping node back, or name another: PUT /v1/failover")


def _bring_ping(play: Play, active: Side, passive: Side) -> None:
    for side in (active, passive):
        side.reaches_ping = True
        ping = PingFacts(silent_ms=play.timers.calm_probe_ms, run_ms=2 * play.timers.handover_ms)
        side.know(net=replace(side.view.net, ping=ping))


def _no_witness(active: Side, passive: Side) -> Reason | None:
    witness, name = passive.view.witness, passive.view.node
    if witness is None or witness.holds or (witness.answers and witness.is_open):
        return None
    if not witness.answers:
        return Reason(
            "witness", "the witness does not answer", "bring the witness back, or do without: PUT /v1/failover"
        )
    text = f"the witness does not let {name} go on without its partner"
    return Reason("witness", text, "wait until both nodes are in sync: then they tell it so")


def _bring_witness(play: Play, active: Side, passive: Side) -> None:
    for side in (active, passive):
        if side.view.witness is not None:
            side.know(witness=WitnessFacts(answers=True, has_released=True, is_open=True))


def _few_links(active: Side, passive: Side) -> Reason | None:
    net = passive.view.net
    if net.links_up_before >= 2:
        return None
    text = (
        f"{net.links_up_before} of {net.links} links carried both ways: two are needed, the loss of one proves nothing"
    )
    return Reason("links", text, "mend the links, or set more: PUT /v1/failover")


def _mend_links(play: Play, active: Side, passive: Side) -> None:
    for side in (active, passive):
        net = side.view.net
        side.know(net=replace(net, links=max(net.links, 2), links_up_before=2))


def _failed(active: Side, passive: Side) -> Reason | None:
    view = passive.view
    if view.failures < MAX_FAILURES:
        return None
    text = f"{view.node} failed {view.failures} times to serve {view.plan.name}"
    remedy = f"see its decisions, mend the cause, then POST /v1/groups/{view.plan.name}/promote on {view.node}"
    return Reason("failed-before", text, remedy)


def _forget_failures(play: Play, active: Side, passive: Side) -> None:
    for side in (active, passive):
        side.know(failures=0, may_retry=True)


LACKS = (
    Lack(_stopped, _start),
    Lack(_silent, _bring_back),
    Lack(_stale, _bring_up_to_date),
    Lack(_no_ping, _bring_ping),
    Lack(_no_witness, _bring_witness),
    Lack(_few_links, _mend_links),
    Lack(_failed, _forget_failures),
)
