"""The reference driver of the failover role: two nodes whose monitors agree at once, for tests of core."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from holdfast.errors import ConfirmationError, Reason, RefusedError, UnavailableError
from holdfast.hooks.base import Can
from holdfast.hooks.failover import (
    ADDRESS_DOWN,
    PARTNER_SERVES,
    Decision,
    FailoverDriver,
    GroupPlan,
    GroupState,
    GroupStatus,
    MonitorHost,
    MonitorPlan,
    MonitorStatus,
    Unmet,
)
from holdfast.hooks.forecast import Fault, Forecast
from holdfast.hooks.links import LinkStatus, PingNodeStatus, WitnessStatus

S = GroupState
MOVING = (
    Fault.ACTIVE_POWER,
    Fault.ACTIVE_FROZEN,
    Fault.ACTIVE_LINKS,
    Fault.ACTIVE_CLIENTS,
    Fault.ACTIVE_DISK,
    Fault.SWITCHOVER,
)
"""Faults after which the other node serves, if it is ready."""


@dataclass
class Served:
    """A group as both nodes know it."""

    active: str | None = None
    epoch: int = 0
    states: dict[str, GroupState] = field(default_factory=dict)


class FailoverPair:
    """What both monitors know, in a test's hands. `plans` holds what each of them has read."""

    def __init__(self) -> None:
        self.plans: dict[str, MonitorPlan] = {}
        self.groups: dict[str, Served] = {}
        self.dead_monitors: set[str] = set()
        self.unmet: dict[str, list[Unmet]] = {}
        """What a node's preflight complains about beside its own findings."""
        self.kept: dict[str, list[Decision]] = {}
        self.stuck: set[str] = set()
        """Groups that nobody lets go of."""

    def adopt(self, node: str, plan: MonitorPlan) -> None:
        """The monitor of `node` read a plan."""
        self.plans[node] = plan
        self.settle()

    def plan_of(self, node: str, group: str) -> GroupPlan | None:
        """The group in the plan that `node` has read."""
        plan = self.plans.get(node)
        return next((each for each in plan.groups if each.name == group), None) if plan else None

    def settle(self) -> None:
        """Bring every group to where its plans want it."""
        for name in {group.name for plan in self.plans.values() for group in plan.groups} | set(self.groups):
            self._settle(name, self.groups.setdefault(name, Served()))

    def _settle(self, name: str, served: Served) -> None:
        known = {node: plan for node in self.plans if (plan := self.plan_of(node, name))}
        running = {node: plan for node, plan in known.items() if plan.is_started}
        served.states = {node: S.STANDBY_NOT if node in running else S.STOPPED for node in known}
        agreed = len(running) == 2 and len({plan.revision for plan in running.values()}) == 1
        if served.active is not None and served.active not in running:
            self.tell(served.active, name, f"{name} is to stop: {served.active} stops serving it")
            served.active = None
        if served.active is None and agreed:
            preferred = next(iter(running.values())).preferred
            marked = self.in_maintenance()
            fit = [node for node in sorted(running, key=lambda node: node != preferred) if node not in marked]
            if fit:
                self.serve(name, fit[0])
        elif served.active is not None:
            served.states[served.active] = S.ACTIVE_SYNC if agreed else S.ACTIVE_ALONE
            for node in running:
                if node != served.active and agreed:
                    served.states[node] = S.STANDBY_OK

    def in_maintenance(self) -> set[str]:
        """The nodes that are marked in any plan."""
        return {node for plan in self.plans.values() for node in plan.in_maintenance}

    def serve(self, name: str, node: str) -> None:
        """`node` takes the group, in sync with its partner."""
        served = self.groups[name]
        if served.active is not None:
            took = {ADDRESS_DOWN: 10, "mirror demoted": 30, PARTNER_SERVES: 130}
            self.tell(served.active, name, f"{node} serves {name} now", took)
        served.active, served.epoch = node, served.epoch + 1
        served.states = {each: S.ACTIVE_SYNC if each == node else S.STANDBY_OK for each in served.states}
        self.tell(node, name, f"{node} serves {name} under epoch {served.epoch}", {"address up": 90})

    def lose(self, node: str, *, leaves_manual: bool = False) -> None:
        """Take the power of `node`: its partner takes over, or, where it cannot know, waits for a person."""
        self.dead_monitors.add(node)
        for name, served in self.groups.items():
            for other in [each for each in served.states if each != node and each not in self.dead_monitors]:
                if served.states[other] is S.STOPPED:
                    continue
                if other in self.in_maintenance() and served.active != other:
                    served.active, served.states[other] = None, S.SUSPECT
                elif leaves_manual and served.active != other:
                    served.active, served.states[other] = None, S.MANUAL
                else:
                    self.go_alone(name, other)

    def go_alone(self, name: str, node: str) -> None:
        """`node` serves the group without its partner."""
        served = self.groups[name]
        if served.active != node:
            served.epoch += 1
        served.active, served.states[node] = node, S.ACTIVE_ALONE
        self.tell(node, name, f"{node} serves {name} alone under epoch {served.epoch}")

    def tell(self, node: str, group: str, sentence: str, timeline_ms: Mapping[str, int] | None = None) -> None:
        """Keep a decision."""
        decision = Decision("2026-01-01T00:00:00Z", node, group, sentence, {}, timeline_ms or {})
        self.kept.setdefault(node, []).append(decision)


class MemoryFailover(FailoverDriver):
    """See FailoverDriver. `read_plan` reads the plan of this node, as its monitor would from its file."""

    can = frozenset({Can.FAILOVER_TAKEOVER})

    def __init__(self, pair: FailoverPair, node: str, read_plan: Callable[[], MonitorPlan]) -> None:
        self.pair = pair
        self.node = node
        self.read_plan = read_plan

    def _need_monitor(self) -> None:
        if self.node in self.pair.dead_monitors:
            raise UnavailableError("the failover monitor of this node does not answer")

    async def preflight(self, plan: MonitorPlan, group: GroupPlan) -> tuple[Unmet, ...]:
        """See FailoverDriver."""
        found = list(self.pair.unmet.get(self.node, ()))
        if self.node in self.pair.dead_monitors:
            found.append(Unmet("monitor", "the failover monitor does not answer", "start it on this node"))
        if not plan.ping_nodes:
            found.append(Unmet("no-ping-node", "no ping node is set", "set one"))
        if len(plan.links) < 2:
            found.append(Unmet("links", f"{len(plan.links)} links carry heartbeats, two are needed", "set two"))
        return tuple(found)

    async def plan_written(self) -> None:
        """See FailoverDriver."""
        self._need_monitor()
        self.pair.adopt(self.node, self.read_plan())

    async def status(self) -> MonitorStatus:
        """See FailoverDriver."""
        if self.node in self.pair.dead_monitors:
            return MonitorStatus(is_running=False)
        plan = self.pair.plans.get(self.node)
        is_heard = plan is not None and plan.partner in self.pair.plans and plan.partner not in self.pair.dead_monitors
        return MonitorStatus(
            is_running=True,
            links=tuple(LinkStatus(link.name, is_heard, 0 if is_heard else None, None) for link in plan.links)
            if plan
            else (),
            ping_nodes=tuple(PingNodeStatus(address, answers=True, since_ms=0) for address in plan.ping_nodes)
            if plan
            else (),
            peer_heard=is_heard,
            groups=tuple(self._group(group, is_heard=is_heard) for group in plan.groups) if plan else (),
            witness=WitnessStatus(plan.witness.address, answers=True) if plan and plan.witness else None,
        )

    def _group(self, plan: GroupPlan, *, is_heard: bool) -> GroupStatus:
        served = self.pair.groups[plan.name]
        state = served.states[self.node]
        other = [each for node, each in served.states.items() if node != self.node and is_heard]
        is_well = state in (S.ACTIVE_SYNC, S.STANDBY_OK)
        marked = [f"{node} is in maintenance" for node in sorted(self.pair.in_maintenance())]
        reasons = (*marked, *(() if is_well else (f"{plan.name} is {state} on {self.node}",)))
        active = served.active if served.active == self.node or is_heard else None
        return GroupStatus(plan.name, state, active, served.epoch, plan.revision, reasons, other[0] if other else None)

    async def switch_over(self, group: str, *, to: str, deadline_s: float) -> None:
        """See FailoverDriver."""
        self._need_monitor()
        served = self.pair.groups.get(group)
        if served is None:
            raise RefusedError(f"there is no group {group}", reasons=[Reason("unknown-group", group, "name another")])
        reasons = []
        if to not in served.states:
            reasons.append(Reason("unknown-node", f"{to} is neither node", "name one of the two nodes"))
        if served.active is None:
            reasons.append(Reason("not-started", f"nobody serves {group}", "start the group"))
        elif served.states[served.active] is not S.ACTIVE_SYNC or self.pair.dead_monitors:
            reasons.append(Reason("not-in-sync", f"{group} is not in sync", "wait until both nodes are in sync"))
        if to in self.pair.in_maintenance():
            reasons.append(Reason("in-maintenance", f"{to} is in maintenance", "end it"))
        if group in self.pair.stuck:
            reasons.append(Reason("stuck", f"{served.active} could not let go of {group}", "see its log"))
        if reasons:
            raise RefusedError(f"{group} cannot move to {to}", reasons=reasons)
        if served.active != to:
            self.pair.serve(group, to)

    async def grant_promotion(self, name: str, *, confirm: str) -> None:
        """See FailoverDriver."""
        if confirm != name:
            text = f"this may serve older data of {name} than its partner holds"
            reason = Reason("confirm", text, f"repeat it with confirm={name}", "confirm")
            raise ConfirmationError(text, reasons=[reason])
        self._need_monitor()
        plan = self.pair.plans.get(self.node)
        if plan and name in plan.lone_mirrors and plan.partner in self.pair.dead_monitors:
            self.pair.tell(self.node, name, f"{self.node} may go on with {name} on a person's word")
            return
        served = self.pair.groups.get(name)
        if served is None or served.states.get(self.node) not in (S.MANUAL, S.SUSPECT):
            text = f"{name} does not wait for a person's word on {self.node}"
            raise RefusedError(text, reasons=[Reason("not-manual", text, "see its status")])
        self.pair.go_alone(name, self.node)

    async def forecast(self, group: str) -> tuple[Forecast, ...]:
        """See Forecaster: as `FailoverPair.lose` and `switch_over` do it."""
        self._need_monitor()
        served = self.pair.groups.get(group)
        if served is None or self.node not in served.states:
            raise RefusedError(f"there is no group {group}", reasons=[Reason("unknown-group", group, "name another")])
        active = served.active
        faults = tuple(Fault) if active is not None else (Fault.NONE,)
        return tuple(self._foresee(group, served, fault) for fault in faults)

    def _foresee(self, group: str, served: Served, fault: Fault) -> Forecast:
        active = served.active
        others = [node for node in served.states if node != active and node not in self.pair.dead_monitors]
        ready = next((node for node in others if served.states[node] is S.STANDBY_OK), None)
        serves = ready or (active if fault is Fault.SWITCHOVER else None) if fault in MOVING else active
        gone = {Fault.ACTIVE_POWER: active, Fault.ACTIVE_FROZEN: active}.get(fault)
        sentence = f"{serves} serves {group}" if serves else f"nobody serves {group}"
        return Forecast(
            fault=fault,
            text=f"{fault} of {active or group}",
            deciders=tuple(node for node in served.states if node not in (gone, *self.pair.dead_monitors)),
            serves=serves,
            holds_writes=serves != active or serves is None,
            held_at_least_ms=0 if serves else None,
            person="" if serves else "bring back what is lost",
            sentence=sentence,
            decisions=(sentence,),
            blockers=() if serves else (Reason("not-ready", f"no other node stands by for {group}", "wait"),),
        )

    async def decisions(self, *, after: int = 0) -> tuple[tuple[int, Decision], ...]:
        """See FailoverDriver."""
        kept = enumerate(self.pair.kept.get(self.node, ()), start=1)
        return tuple((number, decision) for number, decision in kept if number > after)

    async def run_monitor(self, host: MonitorHost) -> None:
        """See FailoverDriver."""
        self.pair.adopt(self.node, host.plan())
        async for plan in host.plan_changes():
            self.pair.adopt(self.node, plan)
