"""What a decision rests on: frozen values with ages instead of instants, so that no clock is needed to judge them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from holdfast.hooks.failover import GroupPlan, GroupState
from holdfast.hooks.replication import ConnectionState, DiskState, MirrorStatus, Role, Suspension
from holdfast.hooks.witness import WitnessFacts
from holdfast_failover_vip.timers import Timers

# From the best data to none. A mirror is as good as its worst volume.
_QUALITY = (
    DiskState.UP_TO_DATE,
    DiskState.CONSISTENT,
    DiskState.OUTDATED,
    DiskState.INCONSISTENT,
    DiskState.NEGOTIATING,
    DiskState.ATTACHING,
    DiskState.DETACHING,
    DiskState.UNKNOWN,
    DiskState.FAILED,
    DiskState.DISKLESS,
)


def worst(states: tuple[DiskState, ...]) -> DiskState:
    """The worst of several disks; of none, it is unknown."""
    return max(states, key=_QUALITY.index, default=DiskState.UNKNOWN)


@dataclass(frozen=True)
class MirrorFacts:
    """The mirror as this node's kernel has it, all volumes taken together."""

    is_up: bool = False
    role: Role = Role.UNKNOWN
    peer_role: Role = Role.UNKNOWN
    connection: ConnectionState = ConnectionState.UNKNOWN
    disk: DiskState = DiskState.UNKNOWN
    peer_disk: DiskState = DiskState.UNKNOWN
    is_suspended: bool = False
    is_in_sync: bool = False
    is_fresh: bool = True
    """False: the kernel said that something changed, and it was not read again yet."""

    @property
    def is_connected(self) -> bool:
        """Whether both sides talk now, whatever they do."""
        return self.connection is ConnectionState.CONNECTED

    @classmethod
    def of(cls, status: MirrorStatus, *, is_fresh: bool = True) -> MirrorFacts:
        """Fold what the kernel says."""
        if not status.is_up:
            return cls(is_fresh=is_fresh)
        return cls(
            is_up=True,
            role=status.role,
            peer_role=status.peer_role,
            connection=status.connection,
            disk=worst(tuple(v.disk for v in status.volumes)),
            peer_disk=worst(tuple(v.peer_disk for v in status.volumes)),
            is_suspended=status.suspended is not Suspension.NO,
            is_in_sync=status.is_in_sync,
            is_fresh=is_fresh,
        )


@dataclass(frozen=True)
class PingNodeFacts:
    """What one ping node's answers say."""

    address: str
    is_continuous: bool = False
    has_gap: bool = True
    silent_ms: int | None = None
    run_ms: int = 0


@dataclass(frozen=True)
class PingFacts:
    """The tie-breaker: what the ping nodes' answers say about this node's own place in the network.

    Of several, each figure is what a strict majority of the fixed set reaches: see `of`.
    """

    is_continuous: bool = False
    """Answered without a gap from before the partner's last sign of life until now, bursts included."""
    has_gap: bool = False
    """Several lost in a row since then, or our own loop slept, or there is no ping node."""
    silent_ms: int | None = None
    """Since its last answer; None before the first."""
    run_ms: int = 0
    """How long it has answered without a gap."""
    nodes: tuple[PingNodeFacts, ...] = ()

    @classmethod
    def of(cls, nodes: tuple[PingNodeFacts, ...]) -> PingFacts:
        """Fold what each says. Two majorities of one set have a node in common.

        So of two nodes that both find the pings continuous, both have reached that one all the while.
        """
        needed = len(nodes) // 2 + 1
        if len(nodes) < needed:
            return cls(has_gap=True)
        silences = sorted(node.silent_ms for node in nodes if node.silent_ms is not None)
        return cls(
            is_continuous=sum(node.is_continuous for node in nodes) >= needed,
            has_gap=sum(not node.has_gap for node in nodes) < needed,
            silent_ms=silences[needed - 1] if len(silences) >= needed else None,
            run_ms=sorted((node.run_ms for node in nodes), reverse=True)[needed - 1],
            nodes=nodes,
        )

    @property
    def voice(self) -> str:
        """Who it is that answers, for sentences."""
        return f"a majority of the {len(self.nodes)} ping nodes" if len(self.nodes) > 1 else "the ping node"


@dataclass(frozen=True)
class NodeFacts:
    """Evidence about the partner as a machine, the same for every group."""

    is_heard: bool = False
    """A fresh, authenticated heartbeat of its monitor on at least one link."""
    heartbeat_ms: int | None = None
    """Age of the newest heartbeat; None if never heard."""
    silent_ms: int = 0
    """Since any sign of life: heartbeat or kernel echo, on any link."""
    was_silent: bool = False
    """A silence long enough for it to go on alone was ended by an echo only: what it did meanwhile nobody told us."""
    is_probed: bool = False
    """On every link several echoes sent after that sign went unanswered."""
    links_up_before: int = 0
    """Links that worked both ways right before the silence."""
    links: int = 0
    is_flapping: bool = False
    ping: PingFacts = PingFacts()

    def lost_monitor_first(self, timers: Timers) -> bool:
        """Whether its monitor had fallen silent while its kernel still echoed: it starts again, and the node is busy.

        What lets a kernel miss a few echoes then is likelier the start than a second fault.
        """
        return self.heartbeat_ms is not None and self.heartbeat_ms - self.silent_ms >= timers.dead_ms


@dataclass(frozen=True)
class PeerFacts:
    """The partner's last word about one group."""

    state: GroupState
    epoch: int
    held_epoch: int
    """The newest epoch under which it served; 0 for none."""
    last_active: str | None
    revision: int
    ping_answers: bool
    """Its ping nodes have answered it for `client_lost_ms` on end: a network that comes back is back for one first."""
    hears_us: bool = True
    disk: DiskState = DiskState.UNKNOWN


@dataclass(frozen=True)
class Record:
    """What a node keeps of a group through a power cut."""

    epoch: int = 0
    """The highest ever seen or used."""
    held_epoch: int = 0
    """The newest under which this node served or may have; 0 for none."""
    last_active: str | None = None
    refuses_outdate: bool = False
    """From the decision to promote on: whoever asks to be outdated hears no."""


class Verdict(StrEnum):
    """What a node says when it is asked to declare its data stale."""

    OUTDATED = "outdated"
    INCONSISTENT = "inconsistent"
    PROMOTING = "promoting"
    PRIMARY = "primary"
    NEWER = "newer"
    """It served under a higher epoch than the one who asks."""


@dataclass(frozen=True)
class FenceSay:
    """The partner's answer to our question."""

    verdict: Verdict
    epoch: int


@dataclass(frozen=True)
class GroupView:
    """All that is known when one group's next step on one node is decided."""

    node: str
    partner: str
    plan: GroupPlan
    state: GroupState
    record: Record
    mirror: MirrorFacts
    peer: PeerFacts | None
    """None: never heard since this monitor started."""
    net: NodeFacts
    mirror_link_silent_ms: int | None = None
    """How long the link of the mirror's connection has not carried both directions; None: not known."""
    since_ms: int = 0
    """How long the group has been in this state."""
    address_is_up: bool = False
    address_claimed_ms: int | None = None
    """Age of the last ARP answer of somebody else for an address of the group."""
    is_serving: bool = False
    """Mirror Primary, every resource active and every address up, as read when the monitor started."""
    is_current: bool = False
    """No write can have been acknowledged that is not on this node's disk."""
    fence_pending: bool = False
    """The kernel asks whether the mirror may go on alone."""
    fence_say: FenceSay | None = None
    may_connect: bool = True
    """The hold-down after earlier losses of the mirror's connection is over."""
    has_split_brain: bool = False
    switch_to: str | None = None
    """A person's wish."""
    handed_epoch: int = 0
    """The epoch handed to the partner, while we wait for it."""
    handover_refusal: str | None = None
    is_granted: bool = False
    """A person said that the partner is down."""
    failures: int = 0
    """Promotions in a row that failed and were undone."""
    may_retry: bool = True
    witness: WitnessFacts | None = None
    """None: the pair has no witness."""
    in_maintenance: tuple[str, ...] = ()
    """Nodes that a person works on.

    None of them begins to serve by itself. One that serves goes on; one that a person grants the promotion serves.
    """
