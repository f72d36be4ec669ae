"""Bench 6: heartbeats with both processors full and disks busy, beside keepalived at the same interval.

.venv/bin/python -m benchmarks.hb_detect [KILLS [STRESS_S]]

First, idle, what the monitor takes of the machine. Then all four nodes are stressed for a time, and nobody may take
over. Then the active nodes lose their power, stressed, and the partner announces the address: when, less the time that
our side says it needed from its decision, is when it was found out. keepalived announces it as soon as it finds out.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from benchmarks.failover_gap import each_gap, lose_power, make_pairs
from benchmarks.frame import Promise, facts, keep, take_turns
from benchmarks.pairs import Pairs
from benchmarks.stacks import Ours, Stack
from benchmarks.stock import Keepalived
from demo.bed import MONITOR
from holdfast_failover_vip.timers import Timers
from lab import Node

IDLE_S = 30.0
HOGS = 2
SPIN = "while :; do :; done"
WRITE = "while :; do dd if=/dev/zero of=/var/lib/holdfast/stress bs=64k count=400 oflag=direct 2>/dev/null; done"
STRESS = {**{f"stress-{n}": SPIN for n in range(HOGS)}, "stress-disk": WRITE}
INTERVAL_MS = Timers().heartbeat_ms
PROMISES = [
    Promise("5.3 intervals over when a lost node is found out, stressed", "allowed_ms", "ours_detect_ms", 1.0),
    Promise("keepalived's time over ours", "keepalived_detect_ms", "ours_detect_ms", None),
    Promise("2 % of a core over what the idle monitor takes", "two_percent", "monitor_cpu_percent", 1.0),
    Promise("60 MB over what the monitor has in memory", "most_mb", "monitor_mb", 1.0),
]


class EqualInterval(Keepalived):
    """keepalived that says as often as we do that it lives."""

    ADVERT_S = INTERVAL_MS / 1000


@contextmanager
def stressed(stack: Stack) -> Iterator[None]:
    """Processes that spin, and one that writes, on each node of a stack."""
    for node in stack.nodes:
        for name, script in STRESS.items():
            node.start_service(name, ["sh", "-c", script], restart=False)
    try:
        yield
    finally:
        for node in stack.nodes:
            for name in STRESS if node.is_running else ():
                node.stop_service(name)


def takeovers(stack: Stack) -> int:
    """How often a node of a stack has begun to serve, by the stack's own word."""
    if isinstance(stack, Ours):
        groups = [stack.storage(node).api.get("/v1/groups/bench") for node in stack.nodes]
        return max(int(group["this_node"]["epoch"]) for group in groups)
    logs = [node.service_log("keepalived").read_text(errors="replace") for node in stack.nodes]
    return sum(log.count("Entering MASTER STATE") for log in logs)


def usage(node: Node) -> tuple[float, float]:
    """Seconds of processor that the monitor has had so far, and its megabytes in memory."""
    process = node.service_pid(MONITOR)
    script = f"cat /proc/{process}/task/*/schedstat; sed -n 's/^VmRSS: *//p' /proc/{process}/status"
    *times, memory = node.run(["sh", "-ec", script]).stdout.decode().splitlines()
    return sum(int(line.split()[0]) for line in times) / 1e9, int(memory.split()[0]) * 1024 / 1e6


def idle(stack: Stack) -> dict[str, list[float]]:
    """What the monitor of each node takes when nothing happens."""
    before = [usage(node)[0] for node in stack.nodes]
    time.sleep(IDLE_S)
    after = [usage(node) for node in stack.nodes]
    percents = [(now[0] - then) / IDLE_S * 100 for now, then in zip(after, before, strict=True)]
    return {"monitor_cpu_percent": percents, "monitor_mb": [now[1] for now in after]}


async def lose_stressed(pairs: Pairs, stack: Stack) -> Mapping[str, float]:
    """A power cut while both nodes of the stack are stressed."""
    pairs.make_whole(stack)
    with stressed(stack):
        told = await lose_power(pairs, stack)
    # keepalived announces at once.
    return {"detect_ms": told.get("detect_ms", told["address_ms"]), "gap_ms": told["gap_ms"]}


def main() -> None:
    """Measure, print and keep."""
    kills, stress_s = [*map(int, sys.argv[1:3]), *(5, 120)[len(sys.argv[1:3]) :]]
    with make_pairs([Ours, EqualInterval]) as pairs:
        about = facts(pairs.client.node)
        figures = idle(pairs.stacks[0])
        before = [takeovers(stack) for stack in pairs.stacks]
        with stressed(pairs.stacks[0]), stressed(pairs.stacks[1]):
            time.sleep(stress_s)
        after = [takeovers(stack) for stack in pairs.stacks]
        about["stressed_s"] = str(stress_s)
        for stack, now, then in zip(pairs.stacks, after, before, strict=True):
            about[f"false_takeovers_{stack.name}"] = str(now - then)
            stack.wait_well()
        print(about, flush=True)
        ways = {stack.name: partial(lose_stressed, pairs, stack) for stack in pairs.stacks}
        figures |= asyncio.run(take_turns(kills, ways))
    figures |= {"allowed_ms": [5.3 * INTERVAL_MS], "two_percent": [2.0], "most_mb": [60.0]}
    keep("hb_detect", about | each_gap(figures), figures, PROMISES)


if __name__ == "__main__":
    main()
