"""The failover role: which node serves a group, decided and carried out by a process of its own.

The driver has two halves. In the daemon, a `FailoverDriver` checks, hands plans to the monitor and asks it. In the
monitor process, the same driver's `run_monitor` owns evidence, decision and virtual addresses, and
reaches everything else of a group through `GroupResource` and `MirrorResource` only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from holdfast.hooks.base import Driver, Offer, hookspec
from holdfast.hooks.forecast import Forecaster
from holdfast.hooks.links import Link, LinkStatus, PingNodeStatus, WitnessHost, WitnessStatus, with_ping_nodes
from holdfast.hooks.replication import FenceArbiter, MirrorStatus
from holdfast.hooks.witness import Witness
from holdfast.values import Secret

# A handover's timeline, by one clock: its last address is down here; the partner said that it serves, addresses up.
ADDRESS_DOWN, PARTNER_SERVES = "address down", "partner serves"


@dataclass(frozen=True)
class VirtualAddress:
    """An address that moves with its group."""

    address: str
    prefix_length: int
    interface: str


@dataclass(frozen=True)
class GroupPlan:
    """The group document: the same on both nodes, written by the active one.

    Start order is mirror, targets, addresses; stop order its reverse.
    """

    name: str
    revision: int
    mirror: str
    targets: tuple[str, ...]
    addresses: tuple[VirtualAddress, ...]
    preferred: str
    """The node it was made on; breaks the tie when both boot."""
    is_started: bool
    """What the user asked for. False: neither node may be active."""
    mirror_link: str | None = None
    """The link that the mirror's own connection takes; None when it takes none that carries heartbeats."""


@dataclass(frozen=True)
class MonitorPlan:
    """All that the monitor of one node needs, kept in one file, mode 0600, so that a takeover needs no daemon."""

    version: int
    node: str
    partner: str
    key: Secret
    """Authenticates heartbeats and fence messages; made when the nodes paired; hexadecimal."""
    links: tuple[Link, ...]
    ping_nodes: tuple[str, ...]
    """None, one, or an odd number, the same on both nodes. Of several, what a strict majority says counts."""
    groups: tuple[GroupPlan, ...]
    lone_mirrors: tuple[str, ...]
    """Mirrors without a group: they never promote by themselves."""
    in_maintenance: tuple[str, ...] = ()
    """Nodes that a person works on. None of them begins to serve a group by itself, nor is handed one."""
    witness: WitnessHost | None = None
    """The same on both nodes. None: there is none, and the ping nodes alone are asked."""

    @staticmethod
    def upgraded(plain: Mapping[str, Any]) -> Mapping[str, Any]:
        """A plan of version 1, which had at most one ping node, as one of version 2."""
        return with_ping_nodes(plain) | {"version": 2} if plain.get("version") == 1 else plain


class GroupState(StrEnum):
    """The states of the machine of one group on one node."""

    STOPPED = "stopped"
    BOOT = "boot"
    STANDBY_OK = "standby-ok"
    STANDBY_NOT = "standby-not"
    SUSPECT = "suspect"
    PROMOTING = "promoting"
    ACTIVE_SYNC = "active-sync"
    FROZEN = "frozen"
    ACTIVE_ALONE = "active-alone"
    DEMOTING = "demoting"
    SELF_FENCE = "self-fence"
    MANUAL = "manual"

    @property
    def is_active(self) -> bool:
        """Whether this node serves the group."""
        return self in (GroupState.ACTIVE_SYNC, GroupState.ACTIVE_ALONE, GroupState.FROZEN)


@dataclass(frozen=True)
class Decision:
    """One automatic decision, in one sentence, with the facts it rested on."""

    at: str
    """RFC 3339, for people; nothing is decided on it."""
    node: str
    group: str
    sentence: str
    facts: Mapping[str, str]
    timeline_ms: Mapping[str, int] = field(default_factory=dict)
    """Milliseconds of each step since the decision's trigger, in order; of a handover, with both words from above."""


@dataclass(frozen=True)
class GroupStatus:
    """A group as this node's monitor sees it."""

    name: str
    state: GroupState
    active_node: str | None
    epoch: int
    revision: int
    reasons: tuple[str, ...]
    """Why it is not better than it is, in sentences; empty when all is well."""
    peer_state: GroupState | None


@dataclass(frozen=True)
class MonitorStatus:
    """What the monitor answers. `is_running` False: it does not answer, all else is empty."""

    is_running: bool
    links: tuple[LinkStatus, ...] = ()
    ping_nodes: tuple[PingNodeStatus, ...] = ()
    peer_heard: bool = False
    groups: tuple[GroupStatus, ...] = ()
    witness: WitnessStatus | None = None
    """None: the plan has none."""


@dataclass(frozen=True)
class Unmet:
    """A requirement that does not hold, and its remedy."""

    code: str
    text: str
    remedy: str


class GroupResource(ABC):
    """A part of a group's stack, as the monitor sees it. Every call may be repeated."""

    name: str

    @abstractmethod
    async def prepare(self) -> None:
        """Make ready whatever may be ready on the passive node, so that `activate` is short."""

    @abstractmethod
    async def activate(self) -> None:
        """Serve."""

    @abstractmethod
    async def deactivate(self) -> None:
        """Let go. Raises when it cannot: the node is then not fit to hand over."""

    @abstractmethod
    async def is_active(self) -> bool:
        """Read whether it serves."""

    async def client_connections(self) -> tuple[tuple[str, int], ...]:
        """Addresses and TCP ports of clients connected now, to be woken after a takeover."""
        return ()


class MirrorResource(GroupResource):
    """The mirror at the bottom of a stack. `activate` promotes, `deactivate` demotes."""

    @abstractmethod
    async def connect(self) -> None:
        """Attach and let it connect to the peer."""

    async def take_up(self) -> None:
        """Where it is served already, serve also what the plan has gained since; nothing gained is success."""

    @abstractmethod
    async def leave_peer(self) -> None:
        """Disconnect by force."""

    @abstractmethod
    async def outdate(self) -> bool:
        """Leave the peer by force and mark this side stale; True only when it was **read back** so."""

    @abstractmethod
    async def status(self) -> MirrorStatus:
        """Read the kernel's state."""


@dataclass(frozen=True)
class GroupStack:
    """What a group consists of on this node, built by core from the plan, in start order."""

    plan: GroupPlan
    mirror: MirrorResource
    resources: tuple[GroupResource, ...]
    """Above the mirror; the plugin puts the virtual addresses on top itself."""


class MonitorHost(ABC):
    """What core gives to the half of the driver that runs in the monitor process."""

    @abstractmethod
    def plan(self) -> MonitorPlan:
        """The newest plan read from disk."""

    @abstractmethod
    def plan_changes(self) -> AsyncIterator[MonitorPlan]:
        """Yield each further plan once it is on disk."""

    @abstractmethod
    def stack(self, group: GroupPlan) -> GroupStack:
        """Build the resources of a group."""

    @abstractmethod
    def lone_mirror(self, name: str) -> MirrorResource:
        """The mirror of no group."""

    def witness(self, groups: Callable[[], Iterable[str]], wake: Callable[[], None]) -> Witness | None:
        """The witness that the plan names, if any, for the groups that there are; `wake` is called after each news."""
        return None

    @abstractmethod
    def mirror_changes(self) -> AsyncIterator[str]:
        """Yield a mirror's name whenever the kernel says that something of it changed."""

    @abstractmethod
    async def serve_fence_requests(self, arbiter: FenceArbiter) -> None:
        """Route the kernel's fence requests to `arbiter` until cancelled."""


class FailoverDriver(Driver, Forecaster):
    """See the module."""

    # --- in the daemon ---

    @abstractmethod
    async def preflight(self, plan: MonitorPlan, group: GroupPlan) -> tuple[Unmet, ...]:
        """Every unmet requirement on this node of what this plugin owns: NICs, addresses, links, ping node, monitor."""

    @abstractmethod
    async def plan_written(self) -> None:
        """The plan file changed: make the monitor read it now; returns when it has.

        Raises UnavailableError if the monitor does not answer.
        """

    @abstractmethod
    async def status(self) -> MonitorStatus:
        """Ask the monitor. It never raises for a dead monitor: `is_running` says so."""

    @abstractmethod
    async def switch_over(self, group: str, *, to: str, deadline_s: float) -> None:
        """Move an active group orderly.

        Raises RefusedError with every reason, or UnavailableError; then nothing moved.
        """

    @abstractmethod
    async def grant_promotion(self, name: str, *, confirm: str) -> None:
        """A person's word that a group in MANUAL, or a lone mirror whose peer is silent, may be promoted here.

        `confirm` repeats `name`. The facts that are not known are in the decision record.
        """

    @abstractmethod
    async def decisions(self, *, after: int = 0) -> tuple[tuple[int, Decision], ...]:
        """Decisions with their growing numbers, as kept by the monitor."""

    # --- in the monitor process ---

    @abstractmethod
    async def run_monitor(self, host: MonitorHost) -> None:
        """Be the monitor until cancelled; on cancellation stop heartbeats, leave what serves serving."""


class FailoverHooks:
    """Hook specs of the failover role."""

    @hookspec
    def failover_driver(self) -> Offer[FailoverDriver]:
        """Asked once at start: return your offer."""
        raise AssertionError("a specification is never called")

    @hookspec
    async def group_changed(self, group: str, what: str) -> None:
        """Told after a group was made, started, stopped or moved (`what`)."""
