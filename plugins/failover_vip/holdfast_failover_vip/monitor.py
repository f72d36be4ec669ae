"""The acting loop of a node's monitor: heartbeats, evidence, and a step of every group when something is new.

Everything in it is short: what can wait (commands, the disk) runs in tasks of the groups, and a late heartbeat is a
takeover. Nothing is shared with the daemon but the plan on disk and the control socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Any

from holdfast.errors import HoldfastError, NotFoundError, Reason, RefusedError
from holdfast.hooks.failover import Decision, GroupPlan, GroupState, MonitorStatus
from holdfast.hooks.links import WitnessStatus
from holdfast_failover_vip import control
from holdfast_failover_vip.address import VirtualAddresses
from holdfast_failover_vip.answers import refuse_switch
from holdfast_failover_vip.claims import ClaimProbe
from holdfast_failover_vip.epoch import EpochFile
from holdfast_failover_vip.facts import GroupView
from holdfast_failover_vip.group import Group
from holdfast_failover_vip.lone import is_dead
from holdfast_failover_vip.realtime import become_realtime
from holdfast_failover_vip.surroundings import Surroundings
from holdfast_failover_vip.talk import Talk
from holdfast_failover_vip.wire import Offer, OfferRefused

log = logging.getLogger(__name__)

S = GroupState

_KEPT_AGAIN_AFTER_S = 5.0


class Monitor(Talk):
    """One node's monitor. Made for one `run`."""

    async def run(self) -> None:
        """Be the monitor until cancelled; what is served stays served."""
        if self._settings.is_realtime:
            become_realtime()
        commands = {
            "status": self._on_status,
            "view": self._on_view,
            "reload": self._on_reload,
            "switch-over": self._on_switch_over,
            "grant": self._on_grant,
        }
        self._open_network()
        self._ask_witness()
        try:
            async with asyncio.TaskGroup() as tasks:
                # The question of a frozen mirror can be waiting already: be there before anything else.
                tasks.create_task(self._host.serve_fence_requests(self))
                tasks.create_task(self._watch_mirrors())
                tasks.create_task(control.serve(control.socket_path(self._machine.run_dir), commands))
                tasks.create_task(self._send_clients())
                tasks.create_task(self._follow_plan())
                tasks.create_task(self._keep_decisions())
                await self._apply_plan()
                tasks.create_task(self._loop())
        finally:
            for follower in self._followers.values():
                follower.cancel()
            if self._witnessing is not None:
                self._witnessing.cancel()
            for group in self._groups.values():
                await group.close()
            self._close_network()

    async def _loop(self) -> None:
        """Send, look, decide; at once when something is new, else at each heartbeat or probe that is due."""
        timers, last_s = self._timers, self._now_s()
        while True:
            now_s = self._now_s()
            if (now_s - last_s) * 1000 > timers.stall_ms:
                log.warning(
                    "the monitor slept for %.0f ms: what silence seemed to say is void", (now_s - last_s) * 1000
                )
                self._links.discard()
                self._evidence.stalled(now_s)
            last_s = now_s
            if (now_s - self._sent_s) * 1000 >= timers.heartbeat_ms:
                self._sent_s = now_s
                self._send_beat()
            # Before the steps: what a step changes is to be seen at once, and not at the next tick.
            self._news.clear()
            self._turned_s = now_s
            self._evidence.tick(now_s)
            self._probe(now_s)
            net = self._net()
            for group in self._groups.values():
                group.step(net)
            wait_ms = min(timers.heartbeat_ms - (self._now_s() - self._sent_s) * 1000, timers.burst_ms)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(wait_ms, 1.0) / 1000):
                    await self._news.wait()

    async def _watch_mirrors(self) -> None:
        async for name in self._host.mirror_changes():
            if group := self._group_of(name):
                group.mirror_changed()

    async def _follow_plan(self) -> None:
        async for _ in self._host.plan_changes():
            await self._apply_plan()

    async def _apply_plan(self) -> None:
        plan = self._host.plan()
        before = self._plan
        if (plan.links, plan.ping_nodes, plan.key) != (before.links, before.ping_nodes, before.key):
            self._plan = plan
            self._links.close()
            self._evidence = self._new_evidence()
            self._open_network()
        if plan.witness != before.witness:
            self._ask_witness()
        self._plan = plan
        for group in plan.groups:
            await self._apply_group(group)
            if group.name in self._groups:
                await self._groups[group.name].take_up()
        for name in set(self._groups) - {group.name for group in plan.groups}:
            await self._drop_group(name)
        self._news.set()

    def _ask_witness(self) -> None:
        """From here on a plan with a witness never looks like one without, whether that answers or not."""
        if self._witnessing is not None:
            self._witnessing.cancel()
            self._witnessing = None
        self._witness = self._host.witness(lambda: tuple(self._groups), self._news.set)
        if self._witness is not None:
            self._witnessing = asyncio.create_task(self._witness.run(), name="witness")

    async def _apply_group(self, wanted: GroupPlan) -> None:
        known = self._groups.get(wanted.name)
        if known is not None and known.plan == wanted:
            return  # a new probe would cost a socket, and closing one of these blocks the loop
        try:
            stack = self._host.stack(wanted)
        except NotFoundError as reason:
            log.warning("the group %s cannot be built yet: %s", wanted.name, reason)
            return
        addresses = VirtualAddresses(wanted.addresses)
        group = self._groups.get(wanted.name)
        if group is not None:
            group.rebuild(stack, addresses)
        else:
            epoch = EpochFile(self._machine.state_dir / "groups" / f"{wanted.name}.epoch")
            group = Group(stack, addresses, epoch, self._surroundings())
            self._groups[wanted.name] = group
            try:
                await group.look()
            except HoldfastError as reason:
                log.warning("the group %s cannot be read yet: %s", wanted.name, reason)
                group.look_again()
            self._followers[wanted.name] = asyncio.create_task(group.follow_mirror())
        for probe in self._probes.pop(wanted.name, []):
            probe.close()
        self._probes[wanted.name] = self._claim_probes(group)

    def _claim_probes(self, group: Group) -> list[ClaimProbe]:
        def claimed(mac: bytes) -> None:
            group.claimed_s = self._now_s()
            self._news.set()

        made = []
        for address in group.plan.addresses:
            with contextlib.suppress(OSError):
                made.append(ClaimProbe(address.interface, address.address, claimed))
        return made

    async def _drop_group(self, name: str) -> None:
        group = self._groups.pop(name)
        self._followers.pop(name).cancel()
        for probe in self._probes.pop(name, []):
            probe.close()
        await group.close()

    def _surroundings(self) -> Surroundings:
        return Surroundings(
            node=self._plan.node,
            partner=self._plan.partner,
            timers=self._timers,
            boot_s=self._now_s,
            wall=lambda: self._machine.clock.now().isoformat(),
            net=self._net,
            in_maintenance=lambda: self._plan.in_maintenance,
            link_silent_ms=lambda link: self._evidence.link_silent_ms(link, self._now_s()),
            is_punctual=self._is_punctual,
            wake=self._news.set,
            tell=self._decided.put_nowait,
            reboot=self._reboot,
            ask_fence=self._ask_fence,
            offer=lambda group, epoch, revision: self._send(Offer(group, epoch, revision)),
            refuse_offer=lambda group, epoch, reason: self._send(OfferRefused(group, epoch, reason)),
            witness=lambda: self._witness,
            turns=self._turns,
        )

    async def _keep_decisions(self) -> None:
        """Write down what was decided, in that order and apart from the loop: the disk may be slow, or full."""
        while True:
            await self._keep(await self._decided.get())

    async def _keep(self, decision: Decision) -> None:
        while True:
            try:
                await asyncio.to_thread(self._journal.append, decision)
            except OSError as reason:
                log.error("a decision cannot be kept yet, tried again in %.0f s: %s", _KEPT_AGAIN_AFTER_S, reason)
                await asyncio.sleep(_KEPT_AGAIN_AFTER_S)
            else:
                return

    async def _reboot(self) -> None:
        log.critical("node %s restarts itself now", self._plan.node)
        await asyncio.to_thread(self._machine.kernel.write, "/proc/sysrq-trigger", "b")

    async def _on_status(self, asked: Mapping[str, Any]) -> MonitorStatus:
        return MonitorStatus(
            is_running=True,
            links=self._link_statuses(),
            ping_nodes=self._evidence.ping_statuses(self._now_s()),
            peer_heard=self._net().is_heard,
            groups=tuple(group.status() for group in self._groups.values()),
            witness=self._witness_status(),
        )

    def _witness_status(self) -> WitnessStatus | None:
        named, witness = self._plan.witness, self._witness
        return None if named is None or witness is None else WitnessStatus(named.address, witness.answers)

    async def _on_view(self, asked: Mapping[str, Any]) -> GroupView:
        """All that a decision about a group rests on now: what may come of it is played in the daemon, not here."""
        return self._known(str(asked["group"])).view()

    def _known(self, name: str) -> Group:
        if (group := self._groups.get(name)) is None:
            raise NotFoundError(f"the monitor has no group {name}")
        return group

    async def _on_reload(self, asked: Mapping[str, Any]) -> None:
        await self._apply_plan()

    async def _on_switch_over(self, asked: Mapping[str, Any]) -> None:
        name, to = str(asked["group"]), str(asked["to"])
        group = self._known(name)
        if reasons := refuse_switch(group.view(), to):
            raise RefusedError(f"the group {name} cannot move to {to}", reasons=reasons)
        if to == self._plan.node:
            return
        group.switch_to = to
        self._news.set()
        deadline_s = self._now_s() + float(asked["deadline_s"])
        while self._now_s() < deadline_s:
            await asyncio.sleep(0.02)
            if group.peer is not None and group.peer.state.is_active and not group.state.is_active:
                return
            if group.switch_to is None and group.state.is_active:
                raise RefusedError(
                    f"the group {name} stays on {self._plan.node}: {group.trouble or 'it was taken back'}"
                )
        group.switch_to = None
        text = f"{to} did not serve the group {name} in time; see its reasons and the decisions of both nodes"
        raise RefusedError(text, reasons=[Reason("deadline", text, f"see GET /v1/groups/{name}/decisions")])

    async def _on_grant(self, asked: Mapping[str, Any]) -> None:
        name = str(asked["name"])
        group = self._groups.get(name)
        if group is None:
            if name not in self._plan.lone_mirrors:
                raise NotFoundError(f"the monitor has no group and no lone mirror {name}")
            if not is_dead(self._net(), self._timers):
                text = f"{self._plan.partner} answers, so nobody's word is needed: use it, or ask it"
                raise RefusedError(text, reasons=[Reason("partner-alive", text, "promote while it is silent only")])
            self._lone_granted[name] = self._now_s()
            return
        if group.state not in (S.MANUAL, S.SUSPECT):
            text = f"the group {name} is {group.state} on {self._plan.node} and waits for nobody's word"
            raise RefusedError(text, reasons=[Reason("not-manual", text, "see the reasons in the group's status")])
        group.grant()
        self._news.set()
