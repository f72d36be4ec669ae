"""When a partner may be given up as lost, and when another machine may be given what the lost one had: pure rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from holdfast.errors import Reason


@dataclass(frozen=True)
class Signs:
    """What is known of a partner that is said to be lost."""

    partner: str
    answers: bool
    """Its daemon answers calls."""
    is_monitor_running: bool
    is_heard: bool
    """Its monitor is heard by ours."""


def refuse_give_up(signs: Signs) -> tuple[Reason, ...]:
    """Why the partner cannot be given up; empty if it may be.

    One that lives serves, or may serve at any moment: who gives it up then takes the pair's protection away.
    """
    found = []
    off = f"switch {signs.partner} off for good first"
    if signs.answers:
        found.append(Reason("partner-answers", f"{signs.partner} answers, so it is not lost", off))
    if signs.is_heard:
        found.append(Reason("partner-heard", f"the monitor of {signs.partner} is heard, so it is not lost", off))
    if not signs.is_monitor_running:
        text = "the monitor of this node does not answer, so nobody can say whether the partner is heard"
        found.append(Reason("no-monitor", text, "start holdfast-monitor, and look at its log"))
    return tuple(found)


@dataclass(frozen=True)
class Copy:
    """A mirror of which the new partner is to get its side."""

    mirror: str
    address: str
    """Where the side of the partner is to be."""
    port: int
    minors: tuple[int, ...]
    needed_bytes: Mapping[str, int]
    """In each pool of the partner: its volumes and their metadata."""
    has_all_data: bool
    """This node's side is up, and whole in each of its volumes."""


@dataclass(frozen=True)
class Newcomer:
    """What the new partner says of itself."""

    node: str
    address: str
    free_bytes: Mapping[str, int]
    """By pool."""
    ports: frozenset[int]
    minors: frozenset[int]


def refuse_rebuild(copies: Sequence[Copy], newcomer: Newcomer) -> tuple[Reason, ...]:
    """Every reason why the new partner cannot be given these sides; empty if it can."""
    found = []
    needed: dict[str, int] = {}
    for copy in copies:
        name = copy.mirror
        if not copy.has_all_data:
            text = f"the mirror {name} is not up with all of its data here, so there is nothing to copy from"
            found.append(Reason("no-source", text, "see its alerts: GET /v1/mirrors/NAME"))
        if copy.address != newcomer.address:
            text = f"the mirror {name} expects its partner at {copy.address}, and {newcomer.node} is {newcomer.address}"
            remedy = "give it the replication address that the lost one had"
            found.append(Reason("other-address", text, remedy))
        if copy.port in newcomer.ports or newcomer.minors & set(copy.minors):
            text = f"a mirror of {newcomer.node} has the port or a device number of the mirror {name}"
            found.append(Reason("numbers-taken", text, "take apart there what the lost node did not have"))
        for pool, bytes_ in copy.needed_bytes.items():
            needed[pool] = needed.get(pool, 0) + bytes_
    for pool, bytes_ in sorted(needed.items()):
        if pool not in newcomer.free_bytes:
            text = f"{newcomer.node} has no pool {pool}"
            found.append(Reason("no-pool", text, f"make a pool {pool} there, with {bytes_} bytes or more"))
        elif (free_bytes := newcomer.free_bytes[pool]) < bytes_:
            text = f"the pool {pool} of {newcomer.node} has {free_bytes} bytes free, and {bytes_} are needed"
            found.append(Reason("no-space", text, "extend it, or make room"))
    return tuple(found)
