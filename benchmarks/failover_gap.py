"""Bench 1: the active node loses its power under a writer; how long the initiator waits, beside stock pairs.

.venv/bin/python -m benchmarks.failover_gap [ROUNDS [UNITS [WAY,WAY…]]]
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from benchmarks.frame import Promise, facts, keep, take_turns
from benchmarks.pacemaker import Pacemaker
from benchmarks.pairs import Client, Pairs
from benchmarks.stacks import Ours, Stack, start_lab
from benchmarks.stock import Keepalived, ShutPort

STACKS: dict[str, type[Stack]] = {kind.name: kind for kind in (Ours, Keepalived, ShutPort, Pacemaker)}
DATA_MIB = 1280
LARGEST_UNIT_MIB = 128


async def lose_power(pairs: Pairs, stack: Stack) -> Mapping[str, float]:
    """Cut the active node of a stack under the writer."""
    pairs.make_whole(stack)
    active = stack.active()
    writing = pairs.client.writing(stack)
    stack.cut(active)
    told = pairs.client.end(stack, writing).figures() | stack.steps_ms()
    if {"address_ms", "steps_ms"} <= told.keys():
        told["detect_ms"] = told["address_ms"] - told["steps_ms"]
    print(f"{stack.name}: {told}", flush=True)
    return told


def promises(ways: list[str], units: int) -> list[Promise]:
    """What is promised of so many units, against the ways that were gone."""
    found = []
    for way in ways[1:]:
        least = 3.0 if way.startswith("keepalived") and units >= 100 else None
        found.append(Promise(f"{units} units: {way}'s gap over ours", f"{way}_gap_ms", "ours_gap_ms", least))
    if units == 1:
        found.append(Promise("1 unit: detection and 0.3 s, over our gap", "allowed_ms", "ours_gap_ms", 1.0))
        found.append(Promise("1 unit: detection and 40 ms, the limit, over our gap", "limit_ms", "ours_gap_ms", None))
        found.append(Promise("1 unit: p50 of 0.5 s or less", "p50_ms", "ours_gap_ms", 1.0))
    return found


@contextmanager
def make_pairs(kinds: Sequence[type[Stack]], units: int = 1) -> Iterator[Pairs]:
    """Boot the nodes of some stacks with so many units each, build them, and log in."""
    with start_lab([node for kind in kinds for node in kind.names]) as lab:
        unit_mib = min(LARGEST_UNIT_MIB, DATA_MIB // units)
        pairs = Pairs(lab, [kind(lab, units, unit_mib) for kind in kinds], Client(lab))
        pairs.build()
        yield pairs


def each_gap(figures: Mapping[str, Sequence[float]]) -> dict[str, str]:
    """Every gap of every round in its order: a middle hides the one that took a second more."""
    return {name: " ".join(f"{ms:.0f}" for ms in values) for name, values in figures.items() if name.endswith("gap_ms")}


def main() -> None:
    """Measure, print and keep."""
    rounds, units = [*map(int, sys.argv[1:3]), *(5, 1)[len(sys.argv[1:3]) :]]
    names = sys.argv[3].split(",") if len(sys.argv) > 3 else list(STACKS)
    with make_pairs([STACKS[name] for name in names], units) as pairs:
        about = {**facts(pairs.client.node), "units": str(units)}
        figures = asyncio.run(take_turns(rounds, {s.name: partial(lose_power, pairs, s) for s in pairs.stacks}))
    figures |= {"allowed_ms": [ms + 300.0 for ms in figures["ours_detect_ms"]], "p50_ms": [500.0]}
    figures["limit_ms"] = [ms + 40.0 for ms in figures["ours_detect_ms"]]
    name = "failover_gap" if units == 1 else f"failover_gap_{units}"
    keep(name, about | each_gap(figures), figures, promises(names, units))


if __name__ == "__main__":
    main()
