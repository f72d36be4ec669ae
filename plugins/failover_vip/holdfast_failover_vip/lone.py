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
        # A destination that is Primary is no answer: a frozen source that is told so never asks again.
        return None
    if not is_dead(net, timers):
        return None
    if is_granted:
        return FenceAnswer.PEER_FENCED
    return FenceAnswer.PEER_UNREACHABLE if net.ping.is_continuous else None


def is_dead(net: NodeFacts, timers: Timers) -> bool:
    """Whether the partner, its kernel included, is silent on every link for T_dead. Nobody's word replaces this."""
    dead_ms = timers.unsteady_dead_ms if net.is_flapping else timers.dead_ms
    return not net.is_heard and net.links > 0 and net.silent_ms >= dead_ms and net.is_probed
