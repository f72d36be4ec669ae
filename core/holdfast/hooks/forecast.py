"""What a fault would lead to now: the failover role's answer before anything happens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum

from holdfast.errors import Reason


class Fault(StrEnum):
    """What may befall a group: one fault at a time, and nothing else changes. Active and passive: as of now."""

    NONE = "none"
    """Nothing more happens than has happened already."""
    ACTIVE_POWER = "active-power-cut"
    ACTIVE_FROZEN = "active-kernel-frozen"
    ACTIVE_DAEMON = "active-daemon-killed"
    ACTIVE_MONITOR = "active-monitor-killed"
    """Killed, and started again by its supervisor."""
    REPLICATION_LINK = "replication-link-cut"
    ACTIVE_LINKS = "active-links-cut"
    """All links of the active node, with its clients behind them."""
    PASSIVE_LINKS = "passive-links-cut"
    PASSIVE_POWER = "passive-power-cut"
    ACTIVE_CLIENTS = "active-client-network-lost"
    """The active node reaches neither clients nor ping node; the passive node does, and they hear each other."""
    PING_NODE = "ping-node-lost"
    ACTIVE_DISK = "active-disk-lost"
    PASSIVE_DISK = "passive-disk-lost"
    SWITCHOVER = "switchover"
    """No fault: a person asks for it."""


@dataclass(frozen=True)
class Forecast:
    """What one fault would lead to now, as one node knows it."""

    fault: Fault
    text: str
    """The fault in words, with the nodes' names."""
    deciders: tuple[str, ...]
    """The nodes that would decide something then: each knows best about itself. Others are without power, or hung."""
    serves: str | None
    """Who serves the clients once all has come to rest; None: nobody."""
    holds_writes: bool
    """Whether clients wait for writes meanwhile, be it for a moment."""
    held_at_least_ms: int | None
    """How long at least, of the timers alone: commands, and clients that connect again, come on top.

    None where nobody serves afterwards: until a person did something.
    """
    person: str
    """What a person would have to do; empty: nothing."""
    sentence: str
    """Why, with the facts."""
    decisions: tuple[str, ...]
    """Every sentence that the nodes would tell, in order."""
    blockers: tuple[Reason, ...]
    """Where it ends in an outage: each thing that has to be mended first, and how. Mended all, it ends in none."""


class Forecaster(ABC):
    """The part of a failover driver that looks ahead."""

    @abstractmethod
    async def forecast(self, group: str) -> tuple[Forecast, ...]:
        """What each fault would lead to now, as this node's monitor knows it; nothing is changed by asking.

        Each fault is there once, `NONE` first; it is there alone while no node serves the group as far as is known.
        Raises UnavailableError if the monitor does not answer, RefusedError if it has no such group, BusyError while
        it is being taken over or moved.
        """
