"""What each fault would lead to now: the decision itself, played forward from what is known, and told in words."""

from __future__ import annotations

from holdfast.errors import Reason
from holdfast.hooks.failover import GroupState
from holdfast.hooks.forecast import Fault, Forecast
from holdfast.hooks.replication import DiskState
from holdfast_failover_vip.answers import refuse_switch
from holdfast_failover_vip.facts import GroupView
from holdfast_failover_vip.lacks import LACKS, Lack
from holdfast_failover_vip.play import Play
from holdfast_failover_vip.sides import Side
from holdfast_failover_vip.standby import blockers
from holdfast_failover_vip.timers import Timers
from holdfast_failover_vip.witness import lack_of_permission

S, D = GroupState, DiskState

_TEXTS = {
    Fault.NONE: "nothing more happens",
    Fault.ACTIVE_POWER: "the power of {active} is cut",
    Fault.ACTIVE_FROZEN: "the kernel of {active} hangs",
    Fault.ACTIVE_DAEMON: "holdfastd is killed on {active}",
    Fault.ACTIVE_MONITOR: "holdfast-monitor is killed on {active}",
    Fault.REPLICATION_LINK: "the link of the mirror is cut",
    Fault.ACTIVE_LINKS: "all links of {active} are cut",
    Fault.PASSIVE_LINKS: "all links of {passive} are cut",
    Fault.PASSIVE_POWER: "the power of {passive} is cut",
    Fault.ACTIVE_CLIENTS: "{active} loses the clients' network",
    Fault.PING_NODE: "the ping node is lost",
    Fault.ACTIVE_DISK: "the disk of {active} is lost",
    Fault.PASSIVE_DISK: "the disk of {passive} is lost",
    Fault.SWITCHOVER: "a person moves it to {passive}",
}
_MENDS = {
    Fault.NONE: "",
    Fault.ACTIVE_POWER: "bring {active} back",
    Fault.ACTIVE_FROZEN: "restart {active}",
    Fault.ACTIVE_DAEMON: "",
    Fault.ACTIVE_MONITOR: "",
    Fault.REPLICATION_LINK: "mend the link",
    Fault.ACTIVE_LINKS: "mend the links of {active}",
    Fault.PASSIVE_LINKS: "mend the links of {passive}",
    Fault.PASSIVE_POWER: "bring {passive} back",
    Fault.ACTIVE_CLIENTS: "mend the network of {active}",
    Fault.PING_NODE: "bring the ping node back, or name another",
    Fault.ACTIVE_DISK: "replace the disk of {active}",
    Fault.PASSIVE_DISK: "replace the disk of {passive}",
    Fault.SWITCHOVER: "",
}


def forecast(view: GroupView, timers: Timers) -> tuple[Forecast, ...]:
    """See Forecaster. `view`: the group on one node, while no takeover is under way there."""
    active = active_node(view)
    faults = tuple(Fault) if active is not None else (Fault.NONE,)
    return tuple(_Telling(view, timers, fault).tell() for fault in faults)


def active_node(view: GroupView) -> str | None:
    """Who serves the group as far as is known now: this node, or its partner that is heard to."""
    if view.state.is_active or view.state is S.DEMOTING:
        return view.node
    return view.partner if view.net.is_heard and view.peer is not None and view.peer.state.is_active else None


def play_out(view: GroupView, timers: Timers, fault: Fault, mended: tuple[Lack, ...] = ()) -> Play:
    """Both nodes at rest after the fault; `mended` was mended before it."""
    play = Play(view, timers)
    active = play.of(active_node(view) or view.partner)
    passive = play.there if active is play.here else play.here
    for lack in mended:
        lack.mend(play, active, passive)
    strike(play, fault, active, passive)
    play.run()
    if fault is Fault.ACTIVE_MONITOR:
        _start_again(active)
        play.run()
    return play


def strike(play: Play, fault: Fault, active: Side, passive: Side) -> None:
    """Let a fault happen."""
    match fault:
        case Fault.ACTIVE_POWER | Fault.ACTIVE_FROZEN:
            active.has_power = False
        case Fault.PASSIVE_POWER:
            passive.has_power = False
        case Fault.ACTIVE_MONITOR:
            active.has_monitor = False
        case Fault.REPLICATION_LINK:
            play.mirror_carries = False
            play.mirror_link_is_cut = play.here.view.plan.mirror_link is not None
            if play.mirror_link_is_cut and play.here.view.net.links < 2:
                play.links_carry = False
        case Fault.ACTIVE_LINKS | Fault.PASSIVE_LINKS:
            play.links_carry = play.mirror_carries = False
            side = active if fault is Fault.ACTIVE_LINKS else passive
            side.reaches_ping = side.reaches_clients = False
        case Fault.ACTIVE_CLIENTS:
            active.reaches_ping = active.reaches_clients = False
        case Fault.PING_NODE:
            active.reaches_ping = passive.reaches_ping = False
        case Fault.ACTIVE_DISK | Fault.PASSIVE_DISK:
            lost, other = (active, passive) if fault is Fault.ACTIVE_DISK else (passive, active)
            lost.turn_mirror(disk=D.DISKLESS, is_in_sync=False)
            if other.mirror.is_connected:
                other.turn_mirror(peer_disk=D.DISKLESS, is_in_sync=False)
        case Fault.SWITCHOVER:
            if not refuse_switch(active.view, passive.view.node):
                active.know(switch_to=passive.view.node)
        case Fault.NONE | Fault.ACTIVE_DAEMON:
            pass  # monitors need no daemon


def _start_again(side: Side) -> None:
    """A new monitor knows what it reads of the machine, and hears the rest."""
    is_serving = side.serves
    side.has_monitor = True
    side.know(state=S.BOOT, since_ms=0, is_serving=is_serving, is_current=False, peer=None)


def _texts(reasons: tuple[Reason, ...]) -> str:
    return "; ".join(reason.text for reason in reasons)


class _Telling:
    """One fault, in words."""

    def __init__(self, view: GroupView, timers: Timers, fault: Fault) -> None:
        self._view, self._timers, self._fault = view, timers, fault
        self._play = play_out(view, timers, fault)
        active = active_node(view) or view.partner
        self._active = self._play.of(active)
        self._passive = self._play.there if self._active is self._play.here else self._play.here
        self._names = {"active": active, "passive": self._passive.view.node}

    def tell(self) -> Forecast:
        play, serving = self._play, self._play.serving()
        lacks = self._refusals() if self._fault is Fault.SWITCHOVER else () if serving else self._blockers()
        sentence = f"it is refused: {_texts(lacks)}" if serving and lacks else self._sentence(serving, lacks)
        return Forecast(
            fault=self._fault,
            text=_TEXTS[self._fault].format_map(self._names),
            deciders=tuple(side.view.node for side in (self._active, self._passive) if side.decides),
            serves=serving.view.node if serving else None,
            holds_writes=play.holds_writes,
            held_at_least_ms=play.held_ms if serving else None,
            person=self._person(serving, lacks),
            sentence=sentence + self._then(serving),
            decisions=tuple(told.sentence for told in play.told),
            blockers=lacks,
        )

    def _sentence(self, serving: Side | None, lacks: tuple[Reason, ...]) -> str:
        name, told = self._view.plan.name, self._play.told
        if serving is not None:
            settled = [item.sentence for item in told if item.settles]
            by_it = [item.sentence for item in told if item.node == serving.view.node]
            return (settled or by_it or [f"nothing is decided: {serving.view.node} serves {name} on"])[-1]
        for side in self._waiting():
            if side.view.state is S.SUSPECT:
                why = (*blockers(side.view, self._timers), *lack_of_permission(side.view))
                return f"{side.view.node} does not take over {name}: {'; '.join(why)}"
            if said := [item.sentence for item in told if item.node == side.view.node]:
                return said[-1]
        return f"nobody serves {name}: {_texts(lacks)}" if lacks else f"nobody serves {name}"

    def _waiting(self) -> list[Side]:
        """Sides in the states in which a monitor takes a person's word."""
        waiting = (S.MANUAL, S.SUSPECT)
        return [side for side in (self._passive, self._active) if side.decides and side.view.state in waiting]

    def _then(self, serving: Side | None) -> str:
        """Without a ping node all goes on, but for the next fault."""
        if self._fault is not Fault.PING_NODE or serving is not self._active:
            return ""
        play = play_out(self._view, self._timers, Fault.PING_NODE)
        active = play.of(self._names["active"])
        strike(play, Fault.ACTIVE_POWER, active, play.of(self._names["passive"]))
        play.run()
        worse = "nobody would take over" if play.serving() is None else "the other node would take over"
        return f"; were the power of {active.view.node} cut before it is back, {worse}"

    def _person(self, serving: Side | None, lacks: tuple[Reason, ...]) -> str:
        mend = _MENDS[self._fault].format_map(self._names)
        if serving is not None:
            return "mend what stands in the way, then ask again" if lacks else mend
        found = [mend] if mend else [reason.remedy for reason in lacks]
        for side in self._waiting():
            promote = f"POST /v1/groups/{side.view.plan.name}/promote on {side.view.node}"
            found.append(f"only if that cannot be: {promote}, which may lose the newest writes")
        return "; ".join(found)

    def _refusals(self) -> tuple[Reason, ...]:
        before = Play(self._view, self._timers)
        return refuse_switch(before.of(self._names["active"]).view, self._names["passive"])

    def _blockers(self) -> tuple[Reason, ...]:
        """Each lack that has to be mended: with all others mended, but not this one, nobody would serve either.

        Where mending any one of several is enough, all of them.
        """
        before = Play(self._view, self._timers)
        active, passive = before.of(self._names["active"]), before.of(self._names["passive"])
        found = [(lack, reason) for lack in LACKS if (reason := lack.find(active, passive))]
        needed = tuple(reason for lack, reason in found if not self._is_served_without(lack, found))
        return needed or tuple(reason for _, reason in found)

    def _is_served_without(self, lack: Lack, found: list[tuple[Lack, Reason]]) -> bool:
        others = tuple(other for other, _ in found if other is not lack)
        return play_out(self._view, self._timers, self._fault, others).serving() is not None
