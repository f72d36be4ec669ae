"""What was seen of the partner and of the ping node, folded into facts with ages.

No I/O and no clock: instants come in as seconds of `CLOCK_BOOTTIME`, so that a pause of this machine counts
as the silence it was.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from holdfast.hooks.failover import LinkStatus
from holdfast_failover_vip.facts import NodeFacts, PingFacts
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

    def __init__(self, timers: Timers, links: Iterable[str], *, has_ping_node: bool, now_s: float) -> None:
        self._timers = timers
        self._links = {name: _Link() for name in links}
        self._has_ping_node = has_ping_node
        self._was_silent = False
        self._sign_s = now_s
        """The last sign of life, or the moment from which silence counts."""
        self._stalled_s = now_s
        self._heartbeat_s: float | None = None
        self._heard_since_s = now_s
        """When its monitor was first heard after it had been silent."""
        self._returns: deque[float] = deque()
        """When the partner, its kernel included, came back from a silence that nearly made it dead."""
        self._pings: dict[int, float] = {}
        self._ping_run_s: float | None = None
        self._ping_answer_s: float | None = None
        self._answers_since_sign = 0

    # --- the partner ---

    def heartbeat(self, link: str, sequence: int, *, hears_this_link: bool, now_s: float) -> None:
        """An authenticated heartbeat came in on `link`."""
        entry = self._links.get(link)
        if entry is None:
            return
        if entry.sequence is not None and sequence > entry.sequence:
            entry.arrivals.extend([False] * min(sequence - entry.sequence - 1, LOSS_WINDOW))
        entry.arrivals.append(True)
        entry.sequence = sequence
        if hears_this_link:
            entry.both_ways_s = now_s
        self._was_silent = False
        if self.suspects(now_s):
            self._heard_since_s = now_s
        self._sign(now_s)
        entry.heard_s = self._heartbeat_s = now_s

    def echo(self, link: str, now_s: float) -> None:
        """The partner's kernel answered an echo on `link`."""
        entry = self._links.get(link)
        if entry is not None:
            if _ms(now_s - self._sign_s) >= self._timers.isolated_ms:
                self._was_silent = True
            entry.both_ways_s = now_s
            self._sign(now_s)

    def new_session(self) -> None:
        """The partner's monitor started anew: its counters begin again."""
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
        self._answers_since_sign = 0
        for entry in self._links.values():
            entry.probes.clear()

    # --- the ping node ---

    def pinged(self, sequence: int, now_s: float) -> None:
        """A ping was sent."""
        self._pings[sequence] = now_s

    def ping_answered(self, sequence: int, now_s: float) -> None:
        """The ping node answered."""
        sent_s = self._pings.pop(sequence, None)
        if sent_s is None:
            return
        # Whatever was sent before this one and is still open is lost or late: neither counts in a row any more.
        for earlier in [number for number in self._pings if number < sequence]:
            del self._pings[earlier]
        if self._ping_run_s is None:
            # The run begins when the ping was sent: that much earlier its answer proves nothing.
            self._ping_run_s = sent_s
        self._ping_answer_s = now_s
        if sent_s >= self._sign_s:
            self._answers_since_sign += 1

    # --- time ---

    def stalled(self, now_s: float) -> None:
        """Our own loop slept too long: what silence and pings seemed to say in the meantime is void."""
        self._sign_s = max(self._sign_s, now_s)
        self._stalled_s = now_s
        self._ping_answer_s = None
        self._ping_run_s = None
        self._answers_since_sign = 0
        self._pings.clear()
        for entry in self._links.values():
            entry.probes.clear()

    def tick(self, now_s: float) -> None:
        """Notice what did not happen, a gap in the pings, and forget what is long ago."""
        overdue = [sent_s for sent_s in self._pings.values() if now_s - sent_s >= self._timers.burst_ms / 1000]
        # An answer that a busy machine reads late is no gap: a standby that saw one may never take over.
        patience_s = self._timers.gap_ms / 1000
        if len(overdue) >= self._timers.gap_probes and now_s - min(overdue) >= patience_s:
            self._ping_run_s = None
        if len(self._pings) > 50:
            del self._pings[min(self._pings)]
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
            ping=self._ping_facts(now_s),
        )

    def _is_probed(self, entry: _Link, now_s: float) -> bool:
        due = self._timers.gap_probes
        return len(entry.probes) >= due and _ms(now_s - entry.probes[-due]) >= self._timers.jitter_ms

    def _ping_facts(self, now_s: float) -> PingFacts:
        if not self._has_ping_node:
            return PingFacts(has_gap=True)
        run_s = self._ping_run_s
        silent_ms = None if self._ping_answer_s is None else _ms(now_s - self._ping_answer_s)
        covers_silence = run_s is not None and run_s <= self._sign_s
        is_fresh = silent_ms is not None and silent_ms <= self._timers.gap_probes * self._timers.burst_ms
        return PingFacts(
            is_continuous=covers_silence and is_fresh and self._answers_since_sign >= self._timers.gap_probes,
            has_gap=not covers_silence,
            silent_ms=silent_ms,
            run_ms=0 if run_s is None else _ms(now_s - run_s),
        )

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
