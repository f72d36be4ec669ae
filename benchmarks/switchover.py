"""Bench 5: a planned move under a writer; how long the initiator waits, beside stock pairs.

.venv/bin/python -m benchmarks.switchover [ROUNDS [UNITS [WAY,WAY…]]]
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from functools import partial

from benchmarks.failover_gap import STACKS, each_gap, make_pairs
from benchmarks.frame import Promise, facts, keep, take_turns
from benchmarks.pairs import Pairs
from benchmarks.stacks import Stack


async def move(pairs: Pairs, stack: Stack) -> Mapping[str, float]:
    """Have the other node of a stack serve, under the writer."""
    stack.wait_well()
    active = stack.active()
    writing = pairs.client.writing(stack)
    stack.move()
    told = pairs.client.end(stack, writing).figures() | stack.steps_ms()
    assert stack.active().name != active.name, f"{stack.name} was not moved"
    print(f"{stack.name}: {told}", flush=True)
    return told


def promises(ways: list[str]) -> list[Promise]:
    """What is promised against the ways that were gone."""
    return [
        *(Promise(f"{way}'s gap over ours", f"{way}_gap_ms", "ours_gap_ms", 2.0) for way in ways[1:]),
        Promise("0.5 s over our gap", "half_a_second_ms", "ours_gap_ms", 1.0),
        Promise("p50 of 0.25 s or less", "quarter_ms", "ours_gap_ms", 1.0),
    ]


def main() -> None:
    """Measure, print and keep."""
    rounds, units = [*map(int, sys.argv[1:3]), *(7, 1)[len(sys.argv[1:3]) :]]
    names = sys.argv[3].split(",") if len(sys.argv) > 3 else list(STACKS)
    with make_pairs([STACKS[name] for name in names], units) as pairs:
        about = {**facts(pairs.client.node), "units": str(units)}
        figures = asyncio.run(take_turns(rounds, {s.name: partial(move, pairs, s) for s in pairs.stacks}))
    figures |= {"half_a_second_ms": [500.0], "quarter_ms": [250.0]}
    keep("switchover" if units == 1 else f"switchover_{units}", about | each_gap(figures), figures, promises(names))


if __name__ == "__main__":
    main()
