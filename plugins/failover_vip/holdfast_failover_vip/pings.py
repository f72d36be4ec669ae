"""One ping node: which pings it answered, folded into facts with ages. Pure, as `evidence.py`."""

from __future__ import annotations

from holdfast.hooks.links import PingNodeStatus
from holdfast_failover_vip.facts import PingNodeFacts
from holdfast_failover_vip.timers import Timers

MOST_OPEN = 50


class PingNode:
    """What was asked of one ping node, and what it answered. `sign_s`: the partner's last sign of life."""

    def __init__(self, address: str, timers: Timers) -> None:
        self.address = address
        self._timers = timers
        self._open: dict[int, float] = {}
        self._run_s: float | None = None
        self._answer_s: float | None = None
        self._answers_since_sign = 0

    def pinged(self, sequence: int, now_s: float) -> None:
        """A ping was sent."""
        self._open[sequence] = now_s

    def answered(self, sequence: int, now_s: float, *, sign_s: float) -> None:
        """It answered that ping."""
        sent_s = self._open.pop(sequence, None)
        if sent_s is None:
            return
        # Whatever was sent before this one and is still open is lost or late: neither counts in a row any more.
        for earlier in [number for number in self._open if number < sequence]:
            del self._open[earlier]
        if self._run_s is None:
            # The run begins when the ping was sent: that much earlier its answer proves nothing.
            self._run_s = sent_s
        self._answer_s = now_s
        if sent_s >= sign_s:
            self._answers_since_sign += 1

    def signed(self) -> None:
        """The partner gave a sign of life."""
        self._answers_since_sign = 0

    def stalled(self) -> None:
        """Our own loop slept too long."""
        self._answer_s = None
        self._run_s = None
        self._answers_since_sign = 0
        self._open.clear()

    def tick(self, now_s: float) -> None:
        """Notice a gap."""
        overdue = [sent_s for sent_s in self._open.values() if now_s - sent_s >= self._timers.burst_ms / 1000]
        # An answer that a busy machine reads late is no gap: a standby that saw one may never take over.
        patience_s = self._timers.gap_ms / 1000
        if len(overdue) >= self._timers.gap_probes and now_s - min(overdue) >= patience_s:
            self._run_s = None
        if len(self._open) > MOST_OPEN:
            del self._open[min(self._open)]

    def facts(self, now_s: float, *, sign_s: float) -> PingNodeFacts:
        """What its answers say now."""
        silent_ms = None if self._answer_s is None else round((now_s - self._answer_s) * 1000)
        covers_silence = self._run_s is not None and self._run_s <= sign_s
        is_fresh = silent_ms is not None and silent_ms <= self._timers.gap_probes * self._timers.burst_ms
        return PingNodeFacts(
            self.address,
            is_continuous=covers_silence and is_fresh and self._answers_since_sign >= self._timers.gap_probes,
            has_gap=not covers_silence,
            silent_ms=silent_ms,
            run_ms=0 if self._run_s is None else round((now_s - self._run_s) * 1000),
        )

    def status(self, now_s: float) -> PingNodeStatus:
        """For people."""
        facts = self.facts(now_s, sign_s=now_s)
        answers = facts.silent_ms is not None and facts.silent_ms < self._timers.ping_lost_ms
        return PingNodeStatus(self.address, answers, facts.run_ms if answers else facts.silent_ms)
