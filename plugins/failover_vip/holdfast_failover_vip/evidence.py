"""What was seen of the partner and of the ping nodes, folded into facts with ages.

No I/O and no clock: instants come in as seconds of `CLOCK_BOOTTIME`, so that a pause of this machine counts
as the silence it was.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from holdfast.hooks.links import LinkStatus, PingNodeStatus
from holdfast_failover_vip.facts import NodeFacts, PingFacts
from holdfast_failover_vip.pings import PingNode
from holdfast_failover_vip.timers import Timers

LOSS_WINDOW = 200


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


@dataclass
class _Link:
    heard_s: float | None = None
    both_ways_s: float | None = None
    """Last proof that it carries both directions: a heartbeat that says so, or an echo."""
    sequence: int | None = None
    arrivals: deque[bool] = field(default_factory=lambda: deque(maxlen=LOSS_WINDOW))
    probes: list[float] = field(default_factory=list)
    """When echoes were sent since the partner's last sign of life on any link."""


class Evidence:
    """The one collector of a node."""

    def __init__(self, timers: Timers, links: Iterable[str], *, ping_nodes: Iterable[str], now_s: float) -> None:
        self._timers = timers
        self._links = {name: _Link() for name in links}
        self._ping_nodes = {address: PingNode(address, timers) for address in ping_nodes}
        self._was_silent = False
        self._sign_s = now_s
        """The last sign of life, or the moment from which silence counts."""
        self._stalled_s = now_s
        self._heartbeat_s: float | None = None
        self._partner_pings_s: float | None = None
        """Since when the partner's ping nodes answer it."""
        self._heard_since_s = now_s
        """When its monitor was first heard after it had been silent."""
        self._returns: deque[float] = deque()
        """When the partner, its kernel included, came back from a silence that nearly made it dead."""

    # --- the partner ---

    def heartbeat(self, link: str, sequence: int, *, hears_this_link: bool, now_s: float) -> None:
        """An authenticated heartbeat came in on `link`."""
        entry = self._links.get(link)
        if entry is None:
            return
        self.arrived(link, sequence)
        if hears_this_link:
            entry.both_ways_s = now_s
        self._was_silent = False
        if self.suspects(now_s):
            self._heard_since_s = now_s
        self._sign(now_s)
        entry.heard_s = self._heartbeat_s = now_s

    def arrived(self, link: str, sequence: int) -> None:
        """Count a message of any kind: they share their numbers, and what is missing between two was lost."""
        if (entry := self._links.get(link)) is not None:
            if entry.sequence is not None and sequence > entry.sequence:
                entry.arrivals.extend([False] * min(sequence - entry.sequence - 1, LOSS_WINDOW))
            entry.arrivals.append(True)
            entry.sequence = sequence

    def echo(self, link: str, now_s: float) -> None:
        """The partner's kernel answered an echo on `link`."""
        entry = self._links.get(link)
        if entry is not None:
            if _ms(now_s - self._sign_s) >= self._timers.isolated_ms:
                self._was_silent = True
            entry.both_ways_s = now_s
            self._sign(now_s)

    def partner_pings(self, now_s: float, *, is_answered: bool) -> bool:
        """The partner says whether its ping nodes answer; return whether they have for `client_lost_ms` on end."""
        if not is_answered:
            self._partner_pings_s = None
        elif self._partner_pings_s is None:
            self._partner_pings_s = now_s
        return self._partner_pings_s is not None and _ms(now_s - self._partner_pings_s) >= self._timers.client_lost_ms

    def new_session(self) -> None:
        """The partner's monitor started anew: its counters begin again."""
        self._partner_pings_s = None
        for entry in self._links.values():
            entry.sequence = None

    def probed(self, link: str, now_s: float) -> None:
        """An echo was sent on `link`."""
        entry = self._links.get(link)
        if entry is not None:
            entry.probes = [*entry.probes[-9:], now_s]

    def _sign(self, now_s: float) -> None:
        # A monitor that is late on a busy machine, while its kernel echoes, comes and goes nowhere.
        if self._heartbeat_s is not None and _ms(now_s - self._sign_s) >= self._timers.isolated_ms:
            self._returns.append(now_s)
        self._sign_s = now_s
        for node in self._ping_nodes.values():
            node.signed()
        for entry in self._links.values():
            entry.probes.clear()

    # --- the ping nodes ---

    def pinged(self, address: str, sequence: int, now_s: float) -> None:
        """A ping was sent to a ping node."""
        self._ping_nodes[address].pinged(sequence, now_s)

    def ping_answered(self, address: str, sequence: int, now_s: float) -> None:
        """A ping node answered."""
        if (node := self._ping_nodes.get(address)) is not None:
            node.answered(sequence, now_s, sign_s=self._sign_s)

    # --- time ---

    def stalled(self, now_s: float) -> None:
        """Our own loop slept too long: what silence and pings seemed to say in the meantime is void."""
        self._sign_s = max(self._sign_s, now_s)
        self._stalled_s = now_s
        for node in self._ping_nodes.values():
            node.stalled()
        for entry in self._links.values():
            entry.probes.clear()

    def tick(self, now_s: float) -> None:
        """Notice what did not happen, a gap in the pings, and forget what is long ago."""
        for node in self._ping_nodes.values():
            node.tick(now_s)
        while self._returns and now_s - self._returns[0] > self._timers.flapping_window_ms / 1000:
            self._returns.popleft()

    def suspects(self, now_s: float) -> bool:
        """Whether the partner's monitor has been silent for so long that bursts are due."""
        return self._heartbeat_s is None or _ms(now_s - self._heartbeat_s) >= self._timers.suspect_ms

    def _count_links_up(self) -> int:
        """Links that worked both ways shortly before the last sign of life."""
        window_s = (self._timers.suspect_ms + self._timers.jitter_ms) / 1000
        return sum(
            1
            for entry in self._links.values()
            if entry.both_ways_s is not None and self._sign_s - entry.both_ways_s <= window_s
        )

    # --- what it amounts to ---

    def facts(self, now_s: float) -> NodeFacts:
        """The facts of this instant."""
        heartbeat_ms = None if self._heartbeat_s is None else _ms(now_s - self._heartbeat_s)
        return NodeFacts(
            is_heard=heartbeat_ms is not None and heartbeat_ms < self._timers.suspect_ms,
            heartbeat_ms=heartbeat_ms,
            silent_ms=_ms(now_s - self._sign_s),
            is_probed=bool(self._links) and all(self._is_probed(entry, now_s) for entry in self._links.values()),
            was_silent=self._was_silent,
            links_up_before=self._count_links_up(),
            links=len(self._links),
            is_flapping=len(self._returns) > self._timers.flapping_count,
            ping=PingFacts.of(tuple(n.facts(now_s, sign_s=self._sign_s) for n in self._ping_nodes.values())),
        )

    def _is_probed(self, entry: _Link, now_s: float) -> bool:
        due = self._timers.gap_probes
        return len(entry.probes) >= due and _ms(now_s - entry.probes[-due]) >= self._timers.jitter_ms

    def link_silent_ms(self, link: str, now_s: float) -> int | None:
        """How long a link has not been seen to carry both directions; None if it never was.

        While nobody spoke it need not have carried anything: a monitor that starts again is heard on one link first.
        """
        entry = self._links.get(link)
        if entry is None or entry.heard_s is None or entry.both_ways_s is None:
            return None
        return _ms(now_s - max(min(entry.heard_s, entry.both_ways_s), self._stalled_s, self._heard_since_s))

    def fresh_links(self, now_s: float) -> tuple[str, ...]:
        """Links on which the partner was heard just now: what our heartbeats tell it."""
        limit_s = self._timers.suspect_ms / 1000
        return tuple(n for n, e in self._links.items() if e.heard_s is not None and now_s - e.heard_s < limit_s)

    def link_statuses(self, now_s: float) -> tuple[LinkStatus, ...]:
        """For people: each link, up only if both directions are confirmed."""
        limit_s = self._timers.dead_ms / 1000
        return tuple(
            LinkStatus(
                name=name,
                is_up=entry.heard_s is not None
                and entry.both_ways_s is not None
                and now_s - min(entry.heard_s, entry.both_ways_s) < limit_s,
                heard_ms_ago=None if entry.heard_s is None else _ms(now_s - entry.heard_s),
                loss_percent=None
                if not entry.arrivals
                else round(100 * entry.arrivals.count(False) / len(entry.arrivals), 1),
            )
            for name, entry in self._links.items()
        )

    def ping_statuses(self, now_s: float) -> tuple[PingNodeStatus, ...]:
        """For people: each ping node."""
        return tuple(node.status(now_s) for node in self._ping_nodes.values())
