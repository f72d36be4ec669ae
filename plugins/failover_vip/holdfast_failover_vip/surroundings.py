"""What a group needs of the monitor it lives in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from holdfast.hooks.failover import Decision
from holdfast.hooks.witness import Witness
from holdfast_failover_vip.facts import NodeFacts
from holdfast_failover_vip.timers import Timers
from holdfast_failover_vip.turns import Turns


@dataclass(frozen=True)
class Surroundings:
    """Its clock and evidence, its ways to speak to partner and people, and how to end this node's kernel."""

    node: str
    partner: str
    timers: Timers
    boot_s: Callable[[], float]
    wall: Callable[[], str]
    net: Callable[[], NodeFacts]
    in_maintenance: Callable[[], tuple[str, ...]]
    link_silent_ms: Callable[[str], int | None]
    is_punctual: Callable[[], bool]
    wake: Callable[[], None]
    tell: Callable[[Decision], None]
    reboot: Callable[[], Awaitable[None]]
    ask_fence: Callable[[str, int], None]
    offer: Callable[[str, int, int], None]
    refuse_offer: Callable[[str, int, str], None]
    witness: Callable[[], Witness | None] = lambda: None
    turns: Turns = field(default_factory=Turns)
