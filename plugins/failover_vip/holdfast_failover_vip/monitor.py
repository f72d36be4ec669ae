"""The acting loop of a node's monitor: heartbeats, evidence, and a step of every group when something is new.

Everything in it is short: what can wait (commands, the disk) runs in tasks of the groups, and a late heartbeat is a
takeover. Nothing is shared with the daemon but the plan on disk and the control socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Mapping
from typing import Any

from holdfast.errors import HoldfastError, NotFoundError, Reason, RefusedError
from holdfast.hooks.base import Host
from holdfast.hooks.failover import (
    Decision,
    GroupPlan,
    GroupState,
    MonitorHost,
    MonitorPlan,
    MonitorStatus,
)
from holdfast.hooks.replication import FenceAnswer, FenceArbiter, Role
from holdfast_failover_vip import control, wire
from holdfast_failover_vip.address import VirtualAddresses
from holdfast_failover_vip.answers import answer_fence, refuse_handover, refuse_switch
from holdfast_failover_vip.arp import ArpProbe
from holdfast_failover_vip.epoch import EpochFile
from holdfast_failover_vip.evidence import Evidence
from holdfast_failover_vip.facts import FenceSay, NodeFacts, PeerFacts, Verdict
from holdfast_failover_vip.group import Group, Surroundings
from holdfast_failover_vip.icmp import Echo
from holdfast_failover_vip.journal import Journal
from holdfast_failover_vip.links import LinkSockets
from holdfast_failover_vip.lone import answer_lone, is_dead
from holdfast_failover_vip.realtime import become_realtime
from holdfast_failover_vip.settings import Settings
from holdfast_failover_vip.wire import Beat, Clients, Envelope, FenceAsk, FenceReply, Freshness, Offer, OfferRefused

log = logging.getLogger(__name__)

S = GroupState
CLIENTS_EVERY_S = 0.5
ASK_EVERY_S = 0.06
GRANT_S = 60.0


class Monitor(FenceArbiter):
    """One node's monitor. Made for one `run`."""

    def __init__(self, settings: Settings, machine: Host, host: MonitorHost, journal: Journal) -> None:
        self._settings = settings
        self._timers = settings.timers
        self._machine = machine
        self._host = host
        self._journal = journal
        self._plan: MonitorPlan = host.plan()
        self._boot = secrets.token_hex(8)
        self._freshness = Freshness(self._boot)
        self._sequences: dict[str, int] = {}
        self._news = asyncio.Event()
        self._groups: dict[str, Group] = {}
        self._followers: dict[str, asyncio.Task[None]] = {}
        self._probes: dict[str, list[ArpProbe]] = {}
        self._asked: dict[str, str] = {}
        self._lone_says: dict[str, FenceSay] = {}
        self._lone_granted: dict[str, float] = {}
        self._outdating: dict[str, asyncio.Task[None]] = {}
        self._echo_links: dict[str, str] = {}
        self._peer_ping_answers = False
        self._sent_s = self._probed_s = self._pinged_s = self._looked_s = -1e9
        self._ping_sequence = 0
        self._turned_s = self._now_s()
        self._evidence = self._new_evidence()
        self._links = LinkSockets((), self._on_datagram)
        self._echo = Echo(self._on_echo)

    # --- life ---

    async def run(self) -> None:
        """Be the monitor until cancelled; what is served stays served."""
        if self._settings.is_realtime:
            become_realtime()
        commands = {
            "status": self._on_status,
            "reload": self._on_reload,
            "switch-over": self._on_switch_over,
            "grant": self._on_grant,
        }
        self._open_network()
        try:
            async with asyncio.TaskGroup() as tasks:
                # The question of a frozen mirror can be waiting already: be there before anything else.
                tasks.create_task(self._host.serve_fence_requests(self))
                tasks.create_task(self._watch_mirrors())
                tasks.create_task(control.serve(control.socket_path(self._machine.run_dir), commands))
                tasks.create_task(self._send_clients())
                tasks.create_task(self._follow_plan())
                await self._apply_plan()
                tasks.create_task(self._loop())
        finally:
            for follower in self._followers.values():
                follower.cancel()
            for group in self._groups.values():
                await group.close()
            self._close_network()

    def _new_evidence(self) -> Evidence:
        names = [link.name for link in self._plan.links]
        has_ping_node = self._plan.ping_node is not None
        return Evidence(self._timers, names, has_ping_node=has_ping_node, now_s=self._now_s())

    def _open_network(self) -> None:
        self._links = LinkSockets(self._plan.links, self._on_datagram)
        self._echo_links = {link.peer_address: link.name for link in self._plan.links}

    def _close_network(self) -> None:
        self._links.close()
        self._echo.close()
        for probes in self._probes.values():
            for probe in probes:
                probe.close()

    def _now_s(self) -> float:
        return self._machine.clock.boot_s()

    def _is_punctual(self) -> bool:
        """Whether the loop turned just now: if not, this machine may have slept, and its evidence is not to be used."""
        return (self._now_s() - self._turned_s) * 1000 < self._timers.stall_ms

    def _net(self) -> NodeFacts:
        return self._evidence.facts(self._now_s())

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
            for group in self._groups.values():
                group.step()
            wait_ms = min(timers.heartbeat_ms - (self._now_s() - self._sent_s) * 1000, timers.burst_ms)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(wait_ms, 1.0) / 1000):
                    await self._news.wait()

    def _probe(self, now_s: float) -> None:
        """Ask the partner's kernel, the ping node, and whoever holds an address: in bursts while suspecting."""
        is_suspecting = self._evidence.suspects(now_s)
        is_long_gone = is_suspecting and self._net().silent_ms > 10 * self._timers.dead_ms
        burst_s = (self._timers.calm_probe_ms if is_long_gone else self._timers.burst_ms) / 1000
        ping_s = burst_s if is_suspecting else self._timers.calm_probe_ms / 1000
        if self._plan.ping_node is not None and now_s - self._pinged_s >= ping_s:
            self._pinged_s = now_s
            self._ping_sequence += 1
            self._evidence.pinged(self._ping_sequence, now_s)
            self._echo.send(self._plan.ping_node, interface=None, source=None, number=self._ping_sequence)
        if is_suspecting and now_s - self._probed_s >= burst_s:
            self._probed_s = now_s
            for link in self._plan.links:
                # What could not be sent counts as asked: our own fault shows in the ping node's silence.
                self._echo.send(link.peer_address, interface=link.interface, source=link.local_address, number=0)
                self._evidence.probed(link.name, now_s)
            for group in self._groups.values():
                if group.state is S.SUSPECT:
                    for probe in self._probes.get(group.plan.name, ()):
                        probe.send()

    def _on_echo(self, address: str, sequence: int) -> None:
        if not self._is_punctual():
            return
        now_s = self._now_s()
        if address == self._plan.ping_node:
            self._evidence.ping_answered(sequence, now_s)
        elif address in self._echo_links:
            self._evidence.echo(self._echo_links[address], now_s)
        self._news.set()

    # --- messages ---

    def _send(self, message: wire.Message, only: str | None = None) -> None:
        for link in self._plan.links:
            if only in (None, link.name):
                self._sequences[link.name] = sequence = self._sequences.get(link.name, 0) + 1
                heard = self._freshness.candidate or self._freshness.boot
                envelope = Envelope(self._plan.node, self._boot, heard, link.name, sequence, message)
                self._links.send(link.name, wire.encode(envelope, self._plan.key))

    def _send_beat(self) -> None:
        now_s = self._now_s()
        net = self._evidence.facts(now_s)
        answers = net.ping.silent_ms is not None and net.ping.silent_ms < 3 * self._timers.calm_probe_ms
        has_sign = net.heartbeat_ms is not None and net.silent_ms < self._timers.suspect_ms
        groups = tuple(group.beat() for group in self._groups.values())
        self._send(Beat(self._evidence.fresh_links(now_s), has_sign, answers, groups))

    def _on_datagram(self, link: str, data: bytes) -> None:
        if not self._is_punctual():
            return  # after a pause the loop looks first how long it was, and what waited meanwhile is old
        try:
            envelope = wire.decode(data, self._plan.key)
        except (HoldfastError, ValueError) as reason:
            log.debug("a datagram on %s was refused: %s", link, reason)
            return
        if envelope.sender != self._plan.partner:
            return
        before = self._freshness.boot
        if not self._freshness.admits(envelope, link, is_live=self._net().is_heard):
            return
        if before not in ("", self._freshness.boot):
            self._evidence.new_session()
        match envelope.message:
            case Beat():
                self._on_beat(link, envelope.sequence, envelope.message)
            case FenceAsk():
                self._on_fence_ask(envelope.message)
            case FenceReply():
                self._on_fence_reply(envelope.message)
            case Offer():
                self._on_offer(envelope.message)
            case OfferRefused():
                if group := self._groups.get(envelope.message.group):
                    group.handover_refusal = envelope.message.reason
            case Clients():
                if group := self._groups.get(envelope.message.group):
                    group.clients = envelope.message.connections
            case _:
                log.debug("the partner sent a message that asks nothing of this version")
        self._news.set()

    def _on_beat(self, link: str, sequence: int, beat: Beat) -> None:
        self._evidence.heartbeat(link, sequence, hears_this_link=link in beat.hears, now_s=self._now_s())
        named = {item.name for item in beat.groups}
        for group in self._groups.values():
            if group.plan.name not in named:
                group.peer = None  # it does not have the group (any more): what it said of it once is void
        for item in beat.groups:
            if known := self._groups.get(item.name):
                known.peer = PeerFacts(
                    state=item.state,
                    epoch=item.epoch,
                    held_epoch=item.held_epoch,
                    last_active=item.last_active,
                    revision=item.revision,
                    ping_answers=beat.ping_answers,
                    hears_us=beat.has_sign,
                    disk=item.disk,
                )

    def _group_of(self, mirror: str) -> Group | None:
        return next((group for group in self._groups.values() if group.plan.mirror == mirror), None)

    def _on_fence_ask(self, asked: FenceAsk) -> None:
        group = self._group_of(asked.mirror)
        if group is not None:
            say = answer_fence(group.state, group.record, group.mirror, asked.epoch)
            if say is not None:
                self._send(FenceReply(asked.mirror, asked.nonce, say.verdict, say.epoch))
                return
        elif asked.mirror not in self._plan.lone_mirrors:
            return
        running = self._outdating.get(asked.mirror)
        if running is None or running.done():
            # One at a time for each mirror, and its answer goes to the newest question.
            self._outdating[asked.mirror] = asyncio.create_task(self._outdate(asked, group))

    async def _outdate(self, asked: FenceAsk, group: Group | None) -> None:
        """Declare our side stale, and say so only once that was read back."""
        try:
            if group is not None:
                is_done, epoch = await group.outdate_for_partner(), group.record.held_epoch
            else:
                mirror = self._host.lone_mirror(asked.mirror)
                if (await mirror.status()).role is Role.PRIMARY:
                    self._send(FenceReply(asked.mirror, asked.nonce, Verdict.PRIMARY, 0))
                    return
                is_done, epoch = await mirror.outdate(), 0
        except HoldfastError as reason:
            log.warning("the mirror %s could not be outdated for the partner: %s", asked.mirror, reason)
            return
        if is_done:
            log.info("node %s declared its data of %s stale, as its partner asked", self._plan.node, asked.mirror)
            self._send(FenceReply(asked.mirror, asked.nonce, Verdict.OUTDATED, epoch))

    def _on_fence_reply(self, reply: FenceReply) -> None:
        if self._asked.get(reply.mirror) != reply.nonce:
            return
        say = FenceSay(reply.verdict, reply.epoch)
        group = self._group_of(reply.mirror)
        if group is not None:
            group.fence_say = say
        else:
            self._lone_says[reply.mirror] = say

    def _ask_fence(self, mirror: str, epoch: int) -> None:
        nonce = self._asked.setdefault(mirror, secrets.token_hex(8))
        self._send(FenceAsk(mirror, epoch, nonce))

    def _on_offer(self, offer: Offer) -> None:
        group = self._groups.get(offer.group)
        if group is None or group.state in (S.PROMOTING, S.ACTIVE_SYNC, S.ACTIVE_ALONE):
            return  # taken already: the heartbeat says so
        reason = refuse_handover(group.view(), offer.epoch, offer.revision)
        if reason is not None:
            self._send(OfferRefused(offer.group, offer.epoch, reason))
        else:
            group.take_offer(offer.epoch)

    async def _send_clients(self) -> None:
        """Tell the partner who is connected, so that it can wake them after a takeover."""
        while True:
            await asyncio.sleep(CLIENTS_EVERY_S)
            for group in tuple(self._groups.values()):
                if group.state.is_active:
                    try:
                        found = await group.refresh_clients()
                    except HoldfastError as reason:
                        log.debug("the clients of %s cannot be read: %s", group.plan.name, reason)
                        continue
                    self._send(Clients(group.plan.name, found[:500]))

    # --- fencing ---

    async def fence_peer(self, mirror: str) -> FenceAnswer:
        """See FenceArbiter."""
        self._asked.pop(mirror, None)
        group = self._group_of(mirror)
        if group is not None:
            return await group.fence_peer()
        self._lone_says.pop(mirror, None)
        try:
            is_source = (await self._host.lone_mirror(mirror).status()).role is Role.PRIMARY
        except HoldfastError:
            is_source = True
        if not is_source and not self._is_granted(mirror):
            # A promotion that nobody allowed. Any answer would mark this side stale; without one the helper gives up.
            await asyncio.get_running_loop().create_future()
        while True:
            granted = self._is_granted(mirror)
            answer = answer_lone(self._lone_says.get(mirror), self._net(), self._timers, is_granted=granted)
            if answer is not None and self._is_punctual():
                self._lone_granted.pop(mirror, None)
                return answer
            if is_source:
                self._ask_fence(mirror, 0)
            await asyncio.sleep(ASK_EVERY_S)

    def _is_granted(self, mirror: str) -> bool:
        """Whether a person's word for a lone mirror is given and still fresh."""
        return self._now_s() - self._lone_granted.get(mirror, -1e9) < GRANT_S

    async def mirror_event(self, mirror: str, event: str) -> None:
        """See FenceArbiter."""
        if "split-brain" in event and (group := self._group_of(mirror)):
            group.has_split_brain = True
            log.error("the mirror %s has a split brain: nothing is done until a person chooses a side", mirror)

    async def _watch_mirrors(self) -> None:
        async for name in self._host.mirror_changes():
            if group := self._group_of(name):
                group.mirror_changed()

    # --- the plan ---

    async def _follow_plan(self) -> None:
        async for _ in self._host.plan_changes():
            await self._apply_plan()

    async def _apply_plan(self) -> None:
        plan = self._host.plan()
        if (plan.links, plan.ping_node) != (self._plan.links, self._plan.ping_node):
            self._plan = plan
            self._links.close()
            self._evidence = self._new_evidence()
            self._open_network()
        self._plan = plan
        for group in plan.groups:
            await self._apply_group(group)
        for name in set(self._groups) - {group.name for group in plan.groups}:
            await self._drop_group(name)
        self._news.set()

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
        self._probes[wanted.name] = self._arp_probes(group)

    def _arp_probes(self, group: Group) -> list[ArpProbe]:
        def claimed(mac: bytes) -> None:
            group.claimed_s = self._now_s()
            self._news.set()

        made = []
        for address in group.plan.addresses:
            if ":" not in address.address:
                with contextlib.suppress(OSError):
                    made.append(ArpProbe(address.interface, address.address, claimed))
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
            link_silent_ms=lambda link: self._evidence.link_silent_ms(link, self._now_s()),
            is_punctual=self._is_punctual,
            wake=self._news.set,
            tell=self._tell,
            reboot=self._reboot,
            ask_fence=self._ask_fence,
            offer=lambda group, epoch, revision: self._send(Offer(group, epoch, revision)),
            refuse_offer=lambda group, epoch, reason: self._send(OfferRefused(group, epoch, reason)),
        )

    def _tell(self, decision: Decision, is_durable: bool) -> None:
        try:
            self._journal.append(decision, is_durable=is_durable)
        except OSError as reason:
            log.error("a decision could not be kept: %s", reason)

    async def _reboot(self) -> None:
        log.critical("node %s restarts itself now", self._plan.node)
        await asyncio.to_thread(self._machine.kernel.write, "/proc/sysrq-trigger", "b")

    # --- what the daemon asks ---

    async def _on_status(self, asked: Mapping[str, Any]) -> MonitorStatus:
        net = self._net()
        silent_ms = net.ping.silent_ms
        return MonitorStatus(
            is_running=True,
            links=self._evidence.link_statuses(self._now_s()),
            ping_node_answers=silent_ms is not None and silent_ms < 5 * self._timers.calm_probe_ms,
            peer_heard=net.is_heard,
            groups=tuple(group.status() for group in self._groups.values()),
        )

    async def _on_reload(self, asked: Mapping[str, Any]) -> None:
        await self._apply_plan()

    async def _on_switch_over(self, asked: Mapping[str, Any]) -> None:
        name, to = str(asked["group"]), str(asked["to"])
        group = self._groups.get(name)
        if group is None:
            raise NotFoundError(f"the monitor has no group {name}")
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
        raise RefusedError(text, reasons=[Reason("deadline", text, "see GET /v1/groups and GET /v1/decisions")])

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
