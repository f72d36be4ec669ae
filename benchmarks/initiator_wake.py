"""Bench 2: from the announcement of the address after a power cut to the first write, with and without the tickle.

.venv/bin/python -m benchmarks.initiator_wake [ROUNDS]

Twice in one run: an initiator set to our profile, and one as Debian has it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from functools import partial

from benchmarks.failover_gap import each_gap, make_pairs
from benchmarks.frame import Promise, facts, keep, take_turns
from benchmarks.monitor_that_may_not_wake import ASLEEP
from benchmarks.pairs import Pairs
from benchmarks.stacks import Ours, Stack
from demo.bed import CONFIG, ENVIRONMENT, MONITOR, PYTHON
from lab.layout import CHECKOUT

PROMISES = [
    Promise("tuned: 0.1 s over what it takes with the tickle", "tenth_ms", "tuned_wake_ms", 1.0),
    Promise("as Debian has it: 2.1 s over what it takes with the tickle", "two_seconds_ms", "default_wake_ms", 1.0),
    Promise("tuned: without the tickle over with it", "tuned_asleep_wake_ms", "tuned_wake_ms", None),
    Promise("as Debian has it: without the tickle over with it", "default_asleep_wake_ms", "default_wake_ms", None),
    Promise("tuned: the limit, 40 ms, over what it takes with the tickle", "limit_ms", "tuned_wake_ms", None),
]


async def lose_power(pairs: Pairs, stack: Stack, *, is_tuned: bool, wakes: bool) -> Mapping[str, float]:
    """Cut the active node, with an initiator that logged in anew, set so."""
    pairs.make_whole(stack)
    if pairs.client.is_tuned != is_tuned:
        pairs.client.log_out(stack)
        pairs.client.is_tuned = is_tuned
        pairs.client.log_in(stack)
    for node in stack.nodes:
        node.run(["rm", "-f", str(ASLEEP)] if wakes else ["touch", str(ASLEEP)])
    writing = pairs.client.writing(stack)
    stack.cut(stack.active())
    told = pairs.client.end(stack, writing).figures()
    print(f"tuned {is_tuned}, woken {wakes}: {told}", flush=True)
    assert "wake_ms" in told, "no node announced the address"
    return told


def replace_monitor(stack: Stack) -> None:
    """Run the monitor whose tickle can be turned off, now and at every boot."""
    environment = {**ENVIRONMENT, "PYTHONPATH": str(CHECKOUT)}
    argv = [PYTHON, "-s", "-m", "benchmarks.monitor_that_may_not_wake", "--config", CONFIG]
    for node in reversed(stack.nodes):
        node.start_service(MONITOR, argv, environment, at_boot=True)
    stack.wait_well()


def main() -> None:
    """Measure, print and keep."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with make_pairs([Ours]) as pairs:
        about = facts(pairs.client.node)
        [stack] = pairs.stacks
        replace_monitor(stack)
        # The two of one kind beside each other: each change is a login.
        ways = {
            f"{'tuned' if is_tuned else 'default'}{'' if wakes else '_asleep'}": partial(
                lose_power, pairs, stack, is_tuned=is_tuned, wakes=wakes
            )
            for is_tuned in (True, False)
            for wakes in (True, False)
        }
        figures = asyncio.run(take_turns(rounds, ways))
    figures |= {"tenth_ms": [100.0], "two_seconds_ms": [2100.0], "limit_ms": [40.0]}
    keep("initiator_wake", about | each_gap(figures), figures, PROMISES)


if __name__ == "__main__":
    main()
