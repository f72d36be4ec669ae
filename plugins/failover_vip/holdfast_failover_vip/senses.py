"""What a node's monitor hears and says on its links: heartbeats, echoes, pings, and who claims an address."""

from __future__ import annotations

import asyncio
import logging
import secrets
from abc import ABC, abstractmethod
from dataclasses import replace

from holdfast.hooks.base import Host
from holdfast.hooks.failover import Decision, GroupState, MonitorHost, MonitorPlan
from holdfast.hooks.links import LinkStatus
from holdfast.hooks.witness import Witness
from holdfast_failover_vip import wire
from holdfast_failover_vip.claims import ClaimProbe
from holdfast_failover_vip.evidence import Evidence
from holdfast_failover_vip.facts import FenceSay, NodeFacts
from holdfast_failover_vip.group import Group
from holdfast_failover_vip.icmp import Echo
from holdfast_failover_vip.journal import Journal
from holdfast_failover_vip.links import LinkSockets
from holdfast_failover_vip.refusals import Refusals
from holdfast_failover_vip.settings import Settings
from holdfast_failover_vip.turns import Turns
from holdfast_failover_vip.wire import Beat, Envelope, Freshness

log = logging.getLogger(__name__)

S = GroupState


class Senses(ABC):
    """Evidence, and the sockets it comes from. `Talk` adds what messages mean, `Monitor` the loop."""

    def __init__(self, settings: Settings, machine: Host, host: MonitorHost, journal: Journal) -> None:
        self._settings = settings
        self._timers = settings.timers
        self._machine = machine
        self._host = host
        self._journal = journal
        self._plan: MonitorPlan = host.plan()
        self._turns = Turns()
        self._witness: Witness | None = None
        self._witnessing: asyncio.Task[None] | None = None
        self._told: tuple[Beat, bool, tuple[Group, ...]] | None = None
        """The newest heartbeat, and what it was taken in with."""
        self._boot = secrets.token_hex(8)
        self._freshness = Freshness(self._boot)
        self._sequences: dict[str, int] = {}
        self._news = asyncio.Event()
        self._decided: asyncio.Queue[Decision] = asyncio.Queue()
        self._groups: dict[str, Group] = {}
        self._followers: dict[str, asyncio.Task[None]] = {}
        self._probes: dict[str, list[ClaimProbe]] = {}
        self._asked: dict[str, str] = {}
        self._lone_says: dict[str, FenceSay] = {}
        self._lone_granted: dict[str, float] = {}
        self._outdating: dict[str, asyncio.Task[None]] = {}
        self._echo_links: dict[str, str] = {}
        self._sent_s = self._probed_s = self._pinged_s = self._looked_s = -1e9
        self._ping_sequence = 0
        self._turned_s = self._now_s()
        self._evidence = self._new_evidence()
        self._refusals = Refusals()
        self._links = LinkSockets((), self._on_datagram, self._refuse)
        self._echo = Echo(self._on_echo)

    def _new_evidence(self) -> Evidence:
        names = [link.name for link in self._plan.links]
        return Evidence(self._timers, names, ping_nodes=self._plan.ping_nodes, now_s=self._now_s())

    def _open_network(self) -> None:
        self._links = LinkSockets(self._plan.links, self._on_datagram, self._refuse)
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

    def _probe(self, now_s: float) -> None:
        """Ask the partner's kernel, the ping nodes, and whoever holds an address: in bursts while suspecting."""
        is_suspecting = self._evidence.suspects(now_s)
        is_long_gone = is_suspecting and self._net().silent_ms > 10 * self._timers.dead_ms
        burst_s = (self._timers.calm_probe_ms if is_long_gone else self._timers.burst_ms) / 1000
        ping_s = burst_s if is_suspecting else self._timers.calm_probe_ms / 1000
        if now_s - self._pinged_s >= ping_s:
            self._pinged_s = now_s
            self._ping_sequence += 1
            for address in self._plan.ping_nodes:
                self._evidence.pinged(address, self._ping_sequence, now_s)
                self._echo.send(address, interface=None, source=None, number=self._ping_sequence)
        if is_suspecting and now_s - self._probed_s >= burst_s:
            self._probed_s = now_s
            for link in self._plan.links:
                # What could not be sent counts as asked: our own fault shows in the ping nodes' silence.
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
        if address in self._plan.ping_nodes:
            self._evidence.ping_answered(address, sequence, now_s)
        elif address in self._echo_links:
            self._evidence.echo(self._echo_links[address], now_s)
        self._news.set()

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

    def _refuse(self, link: str, why: str) -> None:
        if sentence := self._refusals.note(link, why, self._now_s()):
            log.warning("%s", sentence)

    def _link_statuses(self) -> tuple[LinkStatus, ...]:
        seen = self._evidence.link_statuses(self._now_s())
        refused = [self._refusals.of(link.name) for link in seen]
        return tuple(replace(s, refused=n, last_refusal=why) for s, (n, why) in zip(seen, refused, strict=True))

    @abstractmethod
    def _on_datagram(self, link: str, data: bytes) -> None:
        """A datagram came in on a link."""
