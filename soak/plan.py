"""Which faults a soak goes through: drawn from its seed and nothing else, so that the same seed is the same soak.

Each fault is drawn from the seed and its own number: one of them can be done again without those before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from random import Random
from typing import Any

LINKS = ("client", "replication", "management")


class Kind(StrEnum):
    """What can befall a pair."""

    POWER_CUT = "power-cut"
    POWER_CUT_TWICE = "power-cut-twice"
    BOTH_OFF = "both-off"
    RESTART_IN_RESYNC = "restart-in-resync"
    REBOOT = "reboot"
    SWITCHOVER = "switchover"
    KERNEL_FROZEN = "kernel-frozen"
    DAEMON_KILLED = "daemon-killed"
    MONITOR_KILLED = "monitor-killed"
    MONITOR_HUNG = "monitor-hung"
    AGENT_KILLED = "agent-killed"
    FENCE_HELPER_KILLED = "fence-helper-killed"
    REPLICATION_LINK_CUT = "replication-link-cut"
    ALL_LINKS_CUT = "all-links-cut"
    CLIENT_LINK_CUT = "client-link-cut"
    LINK_FLAPS = "link-flaps"
    ONE_WAY_LOSS = "one-way-loss"
    PACKETS_LOST = "packets-lost"
    PING_NODE_LOST = "ping-node-lost"
    CLOCK_STEPPED = "clock-stepped"


class Role(StrEnum):
    """Which node it befalls, by what that node does when it begins."""

    ACTIVE = "active"
    PASSIVE = "passive"
    BOTH = "both"


@dataclass(frozen=True)
class Fault:
    """One fault; what a kind has no use for is empty or 0."""

    number: int
    kind: Kind
    role: Role
    durations_s: tuple[float, ...] = ()
    """How long it lasts; of several, in turns: there and not there."""
    link: str = ""
    percent: float = 0.0
    step_s: int = 0

    def __str__(self) -> str:
        """As a person is told it."""
        told = [f"{self.kind} of {self.role}"]
        told += [f"on {self.link}"] if self.link else []
        told += [f"{self.percent:g} %"] if self.percent else []
        told += [f"by {self.step_s:+d} s"] if self.step_s else []
        told += ["for " + ", ".join(f"{each:g}" for each in self.durations_s) + " s"] if self.durations_s else []
        return " ".join(told)

    def as_document(self) -> dict[str, Any]:
        """As it is kept; without what the kind has no use for."""
        return {key: value for key, value in asdict(self).items() if value}


@dataclass(frozen=True)
class Expected:
    """What the failure matrix says of a kind (`docs/failover.md`)."""

    moves: bool | None
    """Whether the other node serves afterwards; None where that depends on how long it lasts."""
    waits_at_most_ms: float
    """For the initiator. Partners that come and go are waited for longer, `unsteady_dead_ms`: it is in here."""
    may_restart: bool = False
    """Whether a node may restart itself: it held writes that must never be acknowledged."""
    is_node_loss: bool = False
    """Whether it is the loss of one node, or of all its links."""


UNTOUCHED_MS = 1_500.0
ALONE_MS = 5_000.0
MOVED_MS = 5_000.0
LONG_MS = 20_000.0
BOOTED_MS = 90_000.0

_EXPECTED: dict[tuple[Kind, Role], Expected] = {
    (Kind.POWER_CUT, Role.ACTIVE): Expected(True, MOVED_MS, is_node_loss=True),
    (Kind.POWER_CUT, Role.PASSIVE): Expected(False, ALONE_MS, is_node_loss=True),
    (Kind.POWER_CUT_TWICE, Role.ACTIVE): Expected(False, MOVED_MS, is_node_loss=True),
    (Kind.BOTH_OFF, Role.BOTH): Expected(False, BOOTED_MS),
    (Kind.RESTART_IN_RESYNC, Role.PASSIVE): Expected(False, ALONE_MS),
    (Kind.REBOOT, Role.ACTIVE): Expected(True, MOVED_MS),
    (Kind.REBOOT, Role.PASSIVE): Expected(False, ALONE_MS),
    (Kind.SWITCHOVER, Role.ACTIVE): Expected(True, MOVED_MS),
    # As long as the partner needs for a takeover: either may come of it.
    (Kind.KERNEL_FROZEN, Role.ACTIVE): Expected(None, LONG_MS, may_restart=True, is_node_loss=True),
    (Kind.KERNEL_FROZEN, Role.PASSIVE): Expected(False, ALONE_MS, is_node_loss=True),
    (Kind.FENCE_HELPER_KILLED, Role.ACTIVE): Expected(False, LONG_MS),
    (Kind.ALL_LINKS_CUT, Role.ACTIVE): Expected(None, LONG_MS, may_restart=True, is_node_loss=True),
    (Kind.ALL_LINKS_CUT, Role.PASSIVE): Expected(False, ALONE_MS, is_node_loss=True),
    (Kind.REPLICATION_LINK_CUT, Role.ACTIVE): Expected(False, ALONE_MS),
    (Kind.REPLICATION_LINK_CUT, Role.PASSIVE): Expected(False, ALONE_MS),
    (Kind.ONE_WAY_LOSS, Role.ACTIVE): Expected(False, ALONE_MS),
    (Kind.ONE_WAY_LOSS, Role.PASSIVE): Expected(False, ALONE_MS),
    (Kind.CLIENT_LINK_CUT, Role.ACTIVE): Expected(None, LONG_MS),
    (Kind.LINK_FLAPS, Role.ACTIVE): Expected(False, LONG_MS),
    (Kind.LINK_FLAPS, Role.PASSIVE): Expected(False, LONG_MS),
    (Kind.PACKETS_LOST, Role.ACTIVE): Expected(False, LONG_MS),
    (Kind.PACKETS_LOST, Role.PASSIVE): Expected(False, LONG_MS),
}
_NOTHING = Expected(False, UNTOUCHED_MS)


def expected(fault: Fault) -> Expected:
    """What is to come of a fault. What the table does not name disturbs nothing."""
    return _EXPECTED.get((fault.kind, fault.role), _NOTHING)


# How many of each kind a round has; losses of power, which the claim is about first, most often.
_WEIGHTS = {Kind.POWER_CUT: 5, Kind.KERNEL_FROZEN: 3, Kind.ALL_LINKS_CUT: 2, Kind.REPLICATION_LINK_CUT: 2}
_ROUND = [kind for kind in Kind for _ in range(_WEIGHTS.get(kind, 1))]
ROUND_FAULTS = len(_ROUND)
"""Of so many faults that follow each other from a multiple of this on, every kind is one."""


def draw(seed: int, number: int) -> Fault:
    """The fault of a number, from 0, in the soak of a seed."""
    order = list(_ROUND)
    _random(seed, "round", number // ROUND_FAULTS).shuffle(order)
    kind = order[number % ROUND_FAULTS]
    return _DRAWN[kind](number, kind, _random(seed, "fault", number))


def _random(seed: int, what: str, number: int) -> Random:
    # Seeded with text, which Random hashes itself: the same in every process.
    return Random(f"{seed} {what} {number}")  # noqa: S311 - nobody's secret


def _lasting(low_s: float, high_s: float, *roles: Role, link: str = "") -> Callable[[int, Kind, Random], Fault]:
    def drawn(number: int, kind: Kind, random: Random) -> Fault:
        role = random.choice(roles)
        return Fault(number, kind, role, (_duration(random, low_s, high_s),), link=link)

    return drawn


def _at_once(*roles: Role) -> Callable[[int, Kind, Random], Fault]:
    return lambda number, kind, random: Fault(number, kind, random.choice(roles))


def _duration(random: Random, low_s: float, high_s: float) -> float:
    """Short ones as often as long ones: what is near the timers matters most."""
    return float(f"{low_s * (high_s / low_s) ** random.random():.2g}")


def _frozen(number: int, kind: Kind, random: Random) -> Fault:
    # From what a busy machine does anyway to well beyond a takeover.
    return Fault(number, kind, random.choice(_EITHER), (_duration(random, 0.05, 4.0),))


def _flaps(number: int, kind: Kind, random: Random) -> Fault:
    turns = random.randint(2, 5)
    durations = [_duration(random, *limits) for _ in range(turns) for limits in ((0.05, 1.5), (0.1, 1.0))]
    return Fault(number, kind, random.choice(_EITHER), tuple(durations), link=random.choice(LINKS[1:]))


def _lossy(number: int, kind: Kind, random: Random) -> Fault:
    role, link = random.choice(_EITHER), random.choice(LINKS[1:])
    return Fault(number, kind, role, (_duration(random, 1.0, 4.0),), link, percent=random.choice((1, 3, 5, 10)))


def _stepped(number: int, kind: Kind, random: Random) -> Fault:
    return Fault(number, kind, random.choice(_EITHER), step_s=random.choice((-1, 1)) * random.choice((2, 90, 7200)))


_EITHER = (Role.ACTIVE, Role.PASSIVE)
_DRAWN: dict[Kind, Callable[[int, Kind, Random], Fault]] = {
    Kind.POWER_CUT: _lasting(0.01, 4.0, Role.ACTIVE, Role.ACTIVE, Role.PASSIVE),
    Kind.POWER_CUT_TWICE: _lasting(0.01, 0.5, Role.ACTIVE),
    Kind.BOTH_OFF: _lasting(0.01, 2.0, Role.BOTH),
    Kind.RESTART_IN_RESYNC: _lasting(1.0, 3.0, Role.PASSIVE),
    Kind.REBOOT: _at_once(*_EITHER),
    Kind.SWITCHOVER: _at_once(Role.ACTIVE),
    Kind.KERNEL_FROZEN: _frozen,
    Kind.DAEMON_KILLED: _at_once(*_EITHER, Role.BOTH),
    Kind.MONITOR_KILLED: _at_once(*_EITHER),
    Kind.MONITOR_HUNG: _lasting(0.1, 5.0, *_EITHER),
    Kind.AGENT_KILLED: _at_once(*_EITHER),
    Kind.FENCE_HELPER_KILLED: _at_once(Role.ACTIVE),
    Kind.REPLICATION_LINK_CUT: _lasting(0.1, 4.0, *_EITHER, link="replication"),
    Kind.ALL_LINKS_CUT: _lasting(0.1, 4.0, *_EITHER),
    Kind.CLIENT_LINK_CUT: _lasting(0.2, 6.0, *_EITHER, link="client"),
    Kind.LINK_FLAPS: _flaps,
    Kind.ONE_WAY_LOSS: _lasting(0.3, 3.0, *_EITHER, link="replication"),
    Kind.PACKETS_LOST: _lossy,
    Kind.PING_NODE_LOST: _lasting(0.2, 5.0, Role.BOTH),
    Kind.CLOCK_STEPPED: _stepped,
}
