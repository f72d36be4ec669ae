"""The two sides of a group as one node knows them, to be played forward: its own as it is, the partner's as it said.

A small model of what the kernel does to the mirror stands here; what the nodes decide is not modelled, but decided.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from holdfast.hooks.failover import GroupState
from holdfast.hooks.replication import ConnectionState, DiskState, Role
from holdfast.hooks.witness import WitnessFacts
from holdfast_failover_vip.facts import GroupView, MirrorFacts, PingFacts, Record
from holdfast_failover_vip.timers import Timers

S, C, D = GroupState, ConnectionState, DiskState


@dataclass
class Side:
    """One node. Changed while it is played; its view is a value as everywhere."""

    view: GroupView
    has_power: bool = True
    has_monitor: bool = True
    reaches_ping: bool = True
    reaches_clients: bool = True
    hears_other: bool = True
    """What the other one sends arrives, where any link carries anything."""

    @property
    def decides(self) -> bool:
        """Whether anything is decided on this node."""
        return self.has_power and self.has_monitor

    @property
    def mirror(self) -> MirrorFacts:
        """Its side of the mirror."""
        return self.view.mirror

    def know(self, **changes: Any) -> None:
        """Change what is known on it."""
        self.view = replace(self.view, **changes)

    def turn_mirror(self, **changes: Any) -> None:
        """Change its side of the mirror."""
        self.know(mirror=replace(self.mirror, **changes))

    def enter(self, state: GroupState) -> None:
        """Enter a state, as `Known` does."""
        view = self.view
        if state is view.state:
            return
        self.know(
            state=state,
            since_ms=0,
            fence_say=None if state is S.FROZEN else view.fence_say,
            failures=0 if state.is_active or state is S.STANDBY_OK else view.failures,
            is_granted=view.is_granted and not state.is_active,
        )

    def lose_peer(self, to: ConnectionState) -> None:
        """The kernel ends the connection: a Primary whose peer may hold the same data holds every write and asks."""
        mirror = self.mirror
        if mirror.is_connected:
            asks = mirror.role is Role.PRIMARY and mirror.peer_disk is D.UP_TO_DATE
            self.turn_mirror(
                is_in_sync=False,
                peer_role=Role.UNKNOWN,
                peer_disk=mirror.peer_disk if mirror.peer_disk in (D.OUTDATED, D.INCONSISTENT) else D.UNKNOWN,
                is_suspended=mirror.is_suspended or asks,
            )
            self.know(fence_pending=self.view.fence_pending or asks)
        self.turn_mirror(connection=to)

    @property
    def serves(self) -> bool:
        """Whether its clients are served from current data."""
        mirror = self.mirror
        has_data = mirror.disk is D.UP_TO_DATE or (mirror.is_connected and mirror.peer_disk is D.UP_TO_DATE)
        is_open = mirror.role is Role.PRIMARY and not mirror.is_suspended and self.view.address_is_up
        return self.has_power and self.reaches_clients and is_open and has_data


def connect(one: Side, other: Side) -> None:
    """The kernels find each other: whichever side is not UpToDate is brought up to date, which takes its time."""
    is_in_sync = one.mirror.disk is other.mirror.disk is D.UP_TO_DATE and D.OUTDATED not in (
        one.mirror.peer_disk,
        other.mirror.peer_disk,
    )
    for side in (one, other):
        if not is_in_sync and side.mirror.role is not Role.PRIMARY and side.mirror.disk is D.OUTDATED:
            side.turn_mirror(disk=D.INCONSISTENT)
    for side, peer in ((one, other), (other, one)):
        side.turn_mirror(
            connection=C.CONNECTED,
            is_suspended=False,
            is_in_sync=is_in_sync,
            peer_disk=peer.mirror.disk,
            peer_role=peer.mirror.role,
        )
        side.know(fence_pending=False)


def own(view: GroupView, timers: Timers) -> Side:
    """The side that this node knows. What is heard now is as old as it ever gets, so that times are the least."""
    net = view.net
    if net.is_heard:
        net = replace(net, heartbeat_ms=timers.heartbeat_ms, silent_ms=timers.heartbeat_ms)
    reaches_ping = net.ping.silent_ms is not None and net.ping.silent_ms < 4 * timers.calm_probe_ms
    if reaches_ping:
        net = replace(net, ping=replace(net.ping, silent_ms=timers.calm_probe_ms))
    link_ms = view.mirror_link_silent_ms
    known = replace(
        view,
        net=net,
        mirror=replace(view.mirror, is_fresh=True),
        mirror_link_silent_ms=None if link_ms is None else max(link_ms, timers.heartbeat_ms),
        address_claimed_ms=None,
    )
    return Side(known, reaches_ping=reaches_ping)


def partners(view: GroupView, timers: Timers) -> Side:
    """The other side, by what its monitor said last and by what both share: links and mirror."""
    peer, mirror, net = view.peer, view.mirror, view.net
    state = peer.state if peer is not None else S.STANDBY_NOT
    is_there, pings = net.is_heard and peer is not None, peer is not None and peer.ping_answers
    steady = PingFacts(
        has_gap=not pings, silent_ms=timers.calm_probe_ms if pings else None, run_ms=2 * timers.handover_ms
    )
    disk = peer.disk if peer is not None and peer.disk is not D.UNKNOWN else mirror.peer_disk
    if disk is D.UNKNOWN and state.is_active:
        disk = D.UP_TO_DATE  # from others nobody serves
    role = Role.PRIMARY if state.is_active else Role.SECONDARY
    link_ms = view.mirror_link_silent_ms
    goes_alone = D.OUTDATED if state is S.ACTIVE_ALONE else D.UNKNOWN
    said = replace(
        view,
        node=view.partner,
        partner=view.node,
        plan=view.plan if peer is None else replace(view.plan, revision=peer.revision),
        state=state,
        record=Record() if peer is None else Record(peer.epoch, peer.held_epoch, peer.last_active),
        mirror=replace(
            mirror,
            role=mirror.peer_role if mirror.is_connected else role,
            peer_role=mirror.role if mirror.is_connected else Role.UNKNOWN,
            disk=disk,
            peer_disk=mirror.disk if mirror.is_connected else goes_alone,
            is_suspended=state is S.FROZEN,
            is_fresh=True,
        ),
        peer=None,
        net=replace(net, ping=steady),
        mirror_link_silent_ms=None if link_ms is None else max(link_ms, timers.heartbeat_ms),
        since_ms=timers.handover_ms,
        address_is_up=state.is_active,
        is_serving=state.is_active,
        is_current=state.is_active or state in (S.STANDBY_OK, S.SUSPECT, S.DEMOTING),
        fence_pending=state is S.FROZEN,
        address_claimed_ms=None,
        fence_say=None,
        may_connect=True,
        switch_to=None,
        handed_epoch=0,
        handover_refusal=None,
        is_granted=False,
        failures=0,
        may_retry=True,
    )
    has_sign = is_there or net.silent_ms < timers.suspect_ms
    hears_us = peer is None or peer.hears_us
    if (own_word := view.witness) is not None:
        # It is asked by both; what the partner holds of it nobody told us, and to hold nothing is the worst.
        its_word = WitnessFacts(own_word.answers, has_released=own_word.is_open, is_open=own_word.has_released)
        said = replace(said, witness=its_word)
    return Side(said, has_power=has_sign, has_monitor=is_there, reaches_ping=pings, hears_other=hears_us)
