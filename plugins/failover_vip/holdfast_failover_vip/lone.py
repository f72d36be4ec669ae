"""Fence requests of mirrors without a group: they never promote by themselves, and their source may go on alone."""

from __future__ import annotations

from holdfast.hooks.replication import FenceAnswer
from holdfast_failover_vip.facts import FenceSay, NodeFacts, Verdict
from holdfast_failover_vip.timers import Timers


def answer_lone(say: FenceSay | None, net: NodeFacts, timers: Timers, *, is_granted: bool) -> FenceAnswer | None:
    """The answer to the source of a lone mirror that lost its destination; None: not decided, it stays frozen."""
    if say is not None:
        if say.verdict is Verdict.OUTDATED:
            return FenceAnswer.PEER_OUTDATED
        if say.verdict is Verdict.INCONSISTENT:
            return FenceAnswer.PEER_INCONSISTENT
        return FenceAnswer.PEER_PRIMARY
    if is_granted:
        return FenceAnswer.PEER_FENCED
    if net.is_heard or net.links == 0:
        return None
    dead_ms = timers.flapping_dead_ms if net.is_flapping else timers.dead_ms
    if net.silent_ms >= dead_ms and net.is_probed and net.ping.is_continuous:
        return FenceAnswer.PEER_UNREACHABLE
    return None
