"""Why a group is not better than it is: sentences for its status, none of them when all is well."""

from __future__ import annotations

from holdfast.hooks.failover import GroupState
from holdfast.hooks.replication import DiskState, Role
from holdfast_failover_vip.facts import GroupView
from holdfast_failover_vip.standby import blockers, is_in_maintenance, maintenance_sentence
from holdfast_failover_vip.timers import Timers
from holdfast_failover_vip.witness import lack_of_permission

S = GroupState


def explain(view: GroupView, timers: Timers, troubles: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Say what keeps the group from being active here, or in sync at both nodes. `troubles`: last errors of actions."""
    found: list[str] = []
    if view.state is S.STOPPED:
        return (f"{view.plan.name} is stopped", *troubles)
    if is_in_maintenance(view) and not view.state.is_active:
        found.append(maintenance_sentence(view.node))
    elif is_in_maintenance(view):
        found.append(f"{view.node} is in maintenance")
    if view.partner in view.in_maintenance:
        found.append(f"{view.partner} is in maintenance: it is handed nothing, and does not take over by itself")
    found.extend(_about_partner(view))
    found.extend(_about_mirror(view))
    if view.state is S.SUSPECT:
        found.extend(blockers(view, timers))
    if view.state in (S.SUSPECT, S.FROZEN) or (view.witness is not None and not view.witness.answers):
        found.extend(lack_of_permission(view))
    if view.state is S.MANUAL:
        found.append(f"{view.node} cannot know that its data are the newest")
        found.append(f"bring {view.partner} back, or confirm that it is down")
    if view.state is S.FROZEN:
        found.append(f"the kernel holds every write until {view.partner} is outdated, back, or known to be dead")
    if view.state.is_active and not view.address_is_up:
        found.append("the virtual address is down")
    found.extend(_about_ping_nodes(view, timers))
    if view.net.is_flapping:
        found.append(f"{view.partner} comes and goes")
    # What the partner announced while it served is no claim of somebody else.
    if view.state.is_active and view.address_claimed_ms is not None and view.address_claimed_ms < view.since_ms:
        found.append("somebody else answers for a virtual address")
    return (*dict.fromkeys(found), *troubles)


def _about_partner(view: GroupView) -> list[str]:
    net, peer = view.net, view.peer
    if peer is None:
        return [f"the monitor of {view.partner} has not been heard yet"]
    if not net.is_heard:
        alive = "its kernel answers" if net.silent_ms < 1000 else f"its kernel has been silent for {net.silent_ms} ms"
        return [f"the monitor of {view.partner} is silent, {alive}"]
    if peer.revision != view.plan.revision:
        return [f"the plan has revision {view.plan.revision} here and {peer.revision} on {view.partner}"]
    if view.state.is_active and peer.state is not S.STANDBY_OK and view.mirror.is_in_sync:
        return [f"{view.partner} is {peer.state}"]
    return []


def _about_ping_nodes(view: GroupView, timers: Timers) -> list[str]:
    ping, found = view.net.ping, []
    if view.net.links and not ping.nodes:
        found.append("there is no ping node: without one nobody takes over")
    for node in ping.nodes:
        if node.silent_ms is None:
            found.append(f"the ping node {node.address} has not answered yet")
        elif node.silent_ms > timers.ping_lost_ms:
            found.append(f"the ping node {node.address} has not answered for {node.silent_ms} ms")
    return found


def _about_mirror(view: GroupView) -> list[str]:
    mirror = view.mirror
    if not mirror.is_up:
        return ["the mirror is not up"]
    found = []
    if view.has_split_brain:
        found.append("the mirror's data have diverged: split brain; a person must choose a side")
    if not mirror.is_connected:
        found.append(f"the mirror is {mirror.connection.value}")
    if mirror.is_connected and not mirror.is_in_sync and mirror.disk is mirror.peer_disk is DiskState.UP_TO_DATE:
        # Found by a comparison: the kernel makes no end of them by itself.
        found.append(
            "both sides of the mirror are UpToDate but for blocks marked as different: if they stay, repair it"
        )
    elif not mirror.is_in_sync:
        found.append(f"the mirror's data are {mirror.disk.value} here and {mirror.peer_disk.value} on {view.partner}")
    if view.state.is_active and mirror.role is not Role.PRIMARY:
        found.append(f"the mirror is {mirror.role.value} here")
    return found
