"""Bench 3: the passive node, or the replication link, is lost under a writer; how long the initiator waits.

.venv/bin/python -m benchmarks.secondary_loss_gap [ROUNDS]
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from functools import partial

from benchmarks.failover_gap import each_gap, make_pairs
from benchmarks.frame import Promise, facts, keep, take_turns
from benchmarks.pairs import Pairs
from benchmarks.stacks import Ours, Stack
from benchmarks.stock import Keepalived

# The mirror of the pair that keepalived watches is DRBD as it is by default.
KINDS = (Ours, Keepalived)
PROMISES = [
    Promise("passive node lost: DRBD's defaults over ours", "keepalived_gap_ms", "ours_gap_ms", 20.0),
    Promise("passive node lost: 0.5 s over ours", "half_a_second_ms", "ours_gap_ms", 1.0),
    Promise("replication link lost: DRBD's defaults over ours", "keepalived_link_gap_ms", "ours_link_gap_ms", 20.0),
    Promise("replication link lost: 0.5 s over ours", "half_a_second_ms", "ours_link_gap_ms", 1.0),
]


async def lose_passive(pairs: Pairs, stack: Stack) -> Mapping[str, float]:
    """Cut the node that does not serve."""
    pairs.make_whole(stack)
    active = stack.active()
    writing = pairs.client.writing(stack)
    stack.cut(stack.other(active))
    return _told(stack, active.name, {"gap_ms": pairs.client.end(stack, writing).gap_ms})


async def lose_link(pairs: Pairs, stack: Stack) -> Mapping[str, float]:
    """Pull the cable of the mirror's link at the node that does not serve, and plug it in again."""
    pairs.make_whole(stack)
    active = stack.active()
    passive = stack.other(active)
    writing = pairs.client.writing(stack)
    passive.link("replication", up=False)
    try:
        told = {"gap_ms": pairs.client.end(stack, writing).gap_ms}
        assert not stack.is_well(), f"{stack.name}: the link was not lost"
    finally:
        passive.link("replication", up=True)
    _told(stack, active.name, told)
    stack.wait_well()
    return told


def _told(stack: Stack, name: str, told: Mapping[str, float]) -> Mapping[str, float]:
    assert stack.active().name == name, f"{stack.name} was taken over"
    print(f"{stack.name}: {told}", flush=True)
    return told


def main() -> None:
    """Measure, print and keep."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with make_pairs(KINDS) as pairs:
        about = facts(pairs.client.node)
        ways = {s.name: partial(lose_passive, pairs, s) for s in pairs.stacks}
        ways |= {f"{s.name}_link": partial(lose_link, pairs, s) for s in pairs.stacks}
        figures = asyncio.run(take_turns(rounds, ways))
    figures["half_a_second_ms"] = [500.0]
    keep("secondary_loss_gap", about | each_gap(figures), figures, PROMISES)


if __name__ == "__main__":
    main()
