"""What two nodes say of one group, put together: forecasts by fault, decisions in the order they were taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from holdfast.hooks.failover import Decision
from holdfast.hooks.forecast import Fault, Forecast


@dataclass(frozen=True)
class Said:
    """A forecast, and the nodes that say so."""

    by: tuple[str, ...]
    forecast: Forecast


def joined(told: Mapping[str, Sequence[Forecast]]) -> tuple[Said, ...]:
    """For each fault what those nodes say that would decide something then; what they say alike is there once.

    Of a fault of which no such node could be asked, what the others say.
    """
    found: list[Said] = []
    for fault in Fault:
        says = {node: one for node, forecasts in told.items() for one in forecasts if one.fault is fault}
        with_a_say = {node: one for node, one in says.items() if node in one.deciders} or says
        alike: dict[tuple[object, ...], list[str]] = {}
        for node, one in sorted(with_a_say.items()):
            outcome = (one.text, one.serves, one.holds_writes, one.held_at_least_ms)
            alike.setdefault(outcome, []).append(node)
        for nodes in alike.values():
            # Who would serve knows best why.
            speaker = next((node for node in nodes if with_a_say[node].serves == node), nodes[0])
            found.append(Said(tuple(nodes), with_a_say[speaker]))
    return tuple(found)


def in_order(kept: Mapping[str, Sequence[tuple[int, Decision]]], most: int) -> tuple[tuple[int, Decision], ...]:
    """The first `most` decisions of all nodes, by their clocks; those of one node in its own order, come what may.

    `kept`: by node, numbered by that node.
    """
    left = {node: list(decisions) for node, decisions in sorted(kept.items()) if decisions}
    found: list[tuple[int, Decision]] = []
    while left and len(found) < most:
        node = min(left, key=lambda name: datetime.fromisoformat(left[name][0][1].at))
        found.append(left[node].pop(0))
        if not left[node]:
            del left[node]
    return tuple(found)
