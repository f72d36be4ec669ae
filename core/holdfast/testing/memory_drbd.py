"""The state of DRBD 8.4 as a small model: two kernels in memory, and what a power cut leaves of them.

The rules are in `memory_drbd_link` (handshake, resync, the freeze) and `memory_drbd_roles` (promotion, verdicts, I/O),
and behave as the real kernel was seen to behave (docs/decisions/0004-drbd-facts-seen.md).
"""

from __future__ import annotations

import asyncio
import errno
import itertools
from dataclasses import dataclass, field

from holdfast.errors import NotFoundError, Reason, RefusedError
from holdfast.hooks.replication import (
    ConnectionState,
    DiskState,
    FenceArbiter,
    Lineage,
    MirrorSpec,
    ReplicationState,
    Role,
)

BLOCK_BYTES = 4096
JUST_CREATED = 4

_generations = itertools.count(100)

DISK_ORDER = (
    DiskState.DISKLESS,
    DiskState.INCONSISTENT,
    DiskState.OUTDATED,
    DiskState.CONSISTENT,
    DiskState.UP_TO_DATE,
)


def is_outdated_or_worse(disk: DiskState) -> bool:
    """Whether a known state is at most Outdated."""
    return disk in DISK_ORDER[:3]


@dataclass
class Media:
    """What a power cut leaves: the blocks of a volume and its metadata."""

    data: bytearray
    has_metadata: bool = False
    current: int = JUST_CREATED
    bitmap: int = 0
    history: tuple[int, ...] = ()
    disk: DiskState = DiskState.INCONSISTENT
    is_peer_outdated: bool = False
    is_crashed_primary: bool = False
    agreed_bytes: int | None = None
    """The size that both sides have agreed upon, as the metadata keeps it; the lower device may be larger."""
    dirty: set[int] = field(default_factory=set)
    """Blocks known to differ from the peer's."""
    hot: set[int] = field(default_factory=set)
    """The activity log: blocks that were being written; dirty after a crash."""

    def create_metadata(self) -> None:
        """Make it fresh: all of it differs, nothing was ever current."""
        blocks = range(len(self.data) // BLOCK_BYTES)
        fresh = Media(self.data, has_metadata=True, dirty=set(blocks))
        self.__dict__.update(fresh.__dict__)

    @property
    def generations(self) -> str:
        """As a text that travels."""
        return ":".join(str(number) for number in (self.current, self.bitmap, *self.history))

    def new_generation(self) -> None:
        """Data goes on without the peer from here."""
        if self.bitmap:
            self.history = (self.bitmap, *self.history)[:2]
        self.bitmap, self.current = self.current, next(_generations)

    def adopt(self, source: Media) -> None:
        """A resync from `source` ended."""
        self.history = (self.current, *self.history)[:2] if self.current != source.current else self.history
        self.current, self.bitmap = source.current, 0
        self.dirty.clear()
        self.hot.clear()
        self.is_crashed_primary = False


@dataclass
class Volume:
    """One volume of a mirror in a running kernel."""

    number: int
    minor: int
    media: Media
    peer_disk: DiskState = DiskState.UNKNOWN
    replication: ReplicationState = ReplicationState.OFF
    sent_bytes: int = 0
    received_bytes: int = 0
    size_bytes: int = 0
    """As the kernel knows it: the lower device may have become larger."""

    @property
    def disk(self) -> DiskState:
        """The state of the local data."""
        return self.media.disk

    def set_peer_disk(self, disk: DiskState) -> None:
        """Learn the peer's state; that it is out is recorded in the metadata."""
        self.peer_disk = disk
        self.media.is_peer_outdated = disk in (DiskState.INCONSISTENT, DiskState.OUTDATED)


class Side:
    """One mirror in one running kernel."""

    def __init__(self, node: Node, spec: MirrorSpec) -> None:
        self.node = node
        self.name = spec.name
        self.role = Role.SECONDARY
        self.connection = ConnectionState.STANDALONE
        self.ends: tuple[object, object] | None = None
        self.secret: str | None = None
        self.gives_way = False
        self.is_sync_held = False
        self.volumes: dict[int, Volume] = {}
        self.is_frozen = False
        self.openers: list[int] = []
        """The numbers of the volumes that are held open."""
        self.held_back: set[int] = set()
        """Volumes that were added under a Primary: they stay Secondary until they are promoted, too."""
        self.losses = 0
        self.is_changing = False
        self.changed = asyncio.Event()

    @property
    def peer(self) -> Side | None:
        """The other side, if it is connected with this one."""
        other = self.node.other.sides.get(self.name)
        if other is None or self.connection is not ConnectionState.CONNECTED:
            return None
        return other if other.connection is ConnectionState.CONNECTED else None

    def tell(self) -> None:
        """Wake who waits for a change, and whoever watches, here and at a connected peer."""
        for side in (self, self.peer):
            if side is not None:
                side.changed.set()
                side.changed = asyncio.Event()
                side.node.publish(side.name)


class Node:
    """One kernel. `arbiter` answers its fence requests while somebody serves them."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.is_on = True
        self.sides: dict[str, Side] = {}
        self.media: dict[str, Media] = {}
        self.arbiter: FenceArbiter | None = None
        self.asking: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.watchers: set[asyncio.Queue[str]] = set()

    @property
    def other(self) -> Node:
        """The partner."""
        return self.world.nodes["b" if self.name == "a" else "a"]

    def publish(self, name: str) -> None:
        """Tell all watchers."""
        for watcher in self.watchers:
            watcher.put_nowait(name)

    def side(self, name: str) -> Side:
        """A mirror that is up. Raises NotFoundError."""
        if not self.is_on:
            raise OSError(errno.EIO, f"node {self.name} has no power")
        if name not in self.sides:
            raise NotFoundError(f"mirror {name} is not up on this node")
        return self.sides[name]


class World:
    """Two kernels and the replication wire between them."""

    def __init__(self) -> None:
        self.nodes = {name: Node(self, name) for name in ("a", "b")}
        self.is_wire_up = True
        self.is_fencing = True
        """False models `fencing dont-care`: a control that must lose writes."""
        self.is_resync_held = False
        """True: a resync stays under way until it is told to finish."""


def compare_generations(mine: str, theirs: str) -> Lineage:
    """How two texts of `Media.generations` stand to each other."""
    if not mine or not theirs:
        return Lineage.UNRELATED
    (current, *old), (their_current, *their_old) = ([int(n) for n in text.split(":")] for text in (mine, theirs))
    if current == their_current:
        return Lineage.EQUAL
    if current in (JUST_CREATED, *their_old):
        return Lineage.BEHIND
    if their_current in (JUST_CREATED, *old):
        return Lineage.AHEAD
    return Lineage.DIVERGED if (set(old) & set(their_old)) - {0} else Lineage.UNRELATED


def refused(text: str) -> RefusedError:
    """The kernel said no."""
    return RefusedError(f"the kernel refuses: {text}", reasons=[Reason("kernel", text, "see the other node")])
