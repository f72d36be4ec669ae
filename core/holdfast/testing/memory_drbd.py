"""DRBD 8.4's rules as a small model: two kernels in memory, joined by a wire that can be cut.

Roles, disk states, generations, the fencing freeze, the gates of a promotion and the handshake behave as the real
kernel was seen to behave (docs/decisions/0004-drbd-facts-seen.md). What a power cut takes away is in `Side`, what
it leaves is in `Media`. Times are left out: a cut wire is noticed at once, or when the test says so.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from holdfast.errors import BusyError, ConflictError, NotFoundError, Reason, RefusedError
from holdfast.hooks.replication import (
    ConnectionState,
    DiskState,
    FenceAnswer,
    FenceArbiter,
    MirrorSpec,
    ReplicationState,
    Role,
)

BLOCK_BYTES = 4096
JUST_CREATED = 4

_generations = itertools.count(100)

_ORDER = (DiskState.DISKLESS, DiskState.INCONSISTENT, DiskState.OUTDATED, DiskState.CONSISTENT, DiskState.UP_TO_DATE)


def is_outdated_or_worse(disk: DiskState) -> bool:
    """Whether a known state is at most Outdated."""
    return disk in _ORDER[:3]


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
    dirty: set[int] = field(default_factory=set)
    """Blocks known to differ from the peer's."""
    hot: set[int] = field(default_factory=set)
    """The activity log: blocks that were being written; dirty after a crash."""

    def create_metadata(self) -> None:
        """Make it fresh: all of it differs, nothing was ever current."""
        blocks = range(len(self.data) // BLOCK_BYTES)
        fresh = Media(self.data, has_metadata=True, dirty=set(blocks))
        self.__dict__.update(fresh.__dict__)

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
        self.volumes: dict[int, Volume] = {}
        self.is_frozen = False
        self.openers = 0
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

    def __init__(self, pair: Pair, name: str) -> None:
        self.pair = pair
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
        return self.pair.nodes["b" if self.name == "a" else "a"]

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


class Pair:
    """Two kernels and the replication wire between them."""

    def __init__(self) -> None:
        self.nodes = {name: Node(self, name) for name in ("a", "b")}
        self.is_wire_up = True
        self.is_fencing = True
        """False models `fencing dont-care`: a control that must lose writes."""
        self.is_resync_held = False
        """True: a resync stays under way until `finish_resyncs`."""

    # --- what a test does to it ---

    def cut_wire(self, *, noticed_by: tuple[str, ...] = ("a", "b")) -> None:
        """Cut the wire; only those named notice it now."""
        self.is_wire_up = False
        for name in noticed_by:
            self.notice(name)

    def notice(self, node: str) -> None:
        """The kernel of `node` finds its peer gone."""
        for side in list(self.nodes[node].sides.values()):
            if side.connection is ConnectionState.CONNECTED:
                lose_peer(side, ConnectionState.CONNECTING)

    def mend_wire(self) -> None:
        """Join the wire, and let whoever wants to connect."""
        self.is_wire_up = True
        for side in list(self.nodes["a"].sides.values()):
            other = self.nodes["b"].sides.get(side.name)
            # One that noticed and one that did not: the second learns it now.
            if other and side.connection is not other.connection:
                for each in (side, other):
                    if each.connection is ConnectionState.CONNECTED:
                        lose_peer(each, ConnectionState.CONNECTING)
            side.tell()
            try_to_connect(side)

    def power_off(self, node: str, *, noticed: bool = True) -> None:
        """Cut the power: the kernel's state is gone, the media stay."""
        gone = self.nodes[node]
        for side in gone.sides.values():
            for volume in side.volumes.values():
                if side.role is Role.PRIMARY:
                    volume.media.is_crashed_primary = True
                    volume.media.dirty |= volume.media.hot
        sides, gone.sides, gone.is_on = list(gone.sides.values()), {}, False
        for side in sides:
            side.tell()
        if noticed:
            self.notice(gone.other.name)

    def power_on(self, node: str) -> None:
        """Boot: no mirror is up."""
        self.nodes[node].is_on = True
        self.notice(self.nodes[node].other.name)

    def finish_resyncs(self) -> None:
        """Let resyncs under way end."""
        for side in self.nodes["a"].sides.values():
            for number in side.volumes:
                _finish_resync(side, number)


# --- connection and handshake -----------------------------------------------------------------------


def lose_peer(side: Side, into: ConnectionState) -> None:
    """Leave Connected. A Primary freezes in the same step, and its kernel asks."""
    was_connected = side.connection is ConnectionState.CONNECTED
    side.connection = into
    for volume in side.volumes.values():
        volume.replication = ReplicationState.OFF
        if not is_outdated_or_worse(volume.peer_disk):
            volume.peer_disk = DiskState.UNKNOWN
    if was_connected:
        side.losses += 1
        if side.role is Role.PRIMARY and side.node.pair.is_fencing and not _is_peer_out(side):
            side.is_frozen = True
            side.node.asking.put_nowait((side.name, "fence-peer"))
        elif side.role is Role.PRIMARY:
            _go_on_alone(side)
    side.tell()


def _is_peer_out(side: Side) -> bool:
    return all(is_outdated_or_worse(volume.peer_disk) for volume in side.volumes.values())


def _go_on_alone(side: Side) -> None:
    for volume in side.volumes.values():
        if volume.media.bitmap == 0:
            volume.media.new_generation()
    side.is_frozen = False


def try_to_connect(side: Side) -> None:
    """Connect if both sides want to and the wire carries it."""
    other = side.node.other.sides.get(side.name)
    wanted = ConnectionState.CONNECTING
    if (
        other is None
        or not side.node.pair.is_wire_up
        or side.connection is not wanted
        or other.connection is not wanted
    ):
        return
    if side.ends is None or other.ends is None or side.ends != other.ends[::-1]:
        return
    verdicts = {
        number: compare(volume.media, other.volumes[number].media, side.role, other.role)
        for number, volume in side.volumes.items()
        if number in other.volumes
    }
    if None in verdicts.values():
        for each in (side, other):
            each.connection = ConnectionState.STANDALONE
            each.ends = None
            each.node.asking.put_nowait((each.name, "split-brain"))
            each.tell()
        return
    for each in (side, other):
        each.connection = ConnectionState.CONNECTED
    for number, direction in verdicts.items():
        _start_volume(side, other, number, direction or 0)
    for each in (side, other):
        # Whatever waited is sent again over the new connection; no new generation is needed.
        each.is_frozen = False
        each.tell()


def compare(mine: Media, theirs: Media, my_role: Role, their_role: Role) -> int | None:
    """Who has the newer data: 1 this side, -1 the other, 0 both, None a person must look (drbd_uuid_compare)."""
    direction = _by_generation(mine, theirs)
    if direction is None:
        return None
    order = (_ORDER.index(mine.disk), _ORDER.index(theirs.disk))
    inconsistent = _ORDER.index(DiskState.INCONSISTENT)
    if inconsistent in order and max(order) > inconsistent:
        direction = 1 if order[0] > inconsistent else -1
    source, target_role = (mine, their_role) if direction > 0 else (theirs, my_role)
    if direction and (source.disk is DiskState.INCONSISTENT or target_role is Role.PRIMARY):
        return None
    return direction


def _by_generation(mine: Media, theirs: Media) -> int | None:
    if mine.current == theirs.current:
        return int(mine.is_crashed_primary) - int(theirs.is_crashed_primary)
    if JUST_CREATED in (mine.current, theirs.current):
        fresh = mine if mine.current == JUST_CREATED else theirs
        fresh.dirty |= set(range(len(fresh.data) // BLOCK_BYTES))
        return -1 if fresh is mine else 1
    if mine.current == theirs.bitmap:
        return -1
    if mine.bitmap == theirs.current:
        return 1
    for newer, older, direction in ((mine, theirs, 1), (theirs, mine, -1)):
        if older.current in newer.history:
            newer.dirty |= set(range(len(newer.data) // BLOCK_BYTES))
            return direction
    return None


def _start_volume(side: Side, other: Side, number: int, direction: int) -> None:
    mine, theirs = side.volumes[number], other.volumes[number]
    for volume in (mine, theirs):
        volume.sent_bytes = volume.received_bytes = 0
        volume.replication = ReplicationState.ESTABLISHED
    if direction == 0:
        if DiskState.INCONSISTENT not in (mine.disk, theirs.disk):
            mine.media.disk = theirs.media.disk = DiskState.UP_TO_DATE
    else:
        source, target = (mine, theirs) if direction > 0 else (theirs, mine)
        source.media.disk, target.media.disk = DiskState.UP_TO_DATE, DiskState.INCONSISTENT
        source.replication, target.replication = ReplicationState.SYNC_SOURCE, ReplicationState.SYNC_TARGET
        source.media.dirty |= target.media.dirty
    mine.set_peer_disk(theirs.disk)
    theirs.set_peer_disk(mine.disk)
    if direction and not side.node.pair.is_resync_held:
        _finish_resync(side, number)


def _send_dirty(source: Volume, target: Volume) -> None:
    for block in sorted(source.media.dirty | target.media.dirty):
        span = slice(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES)
        target.media.data[span] = source.media.data[span]
        source.sent_bytes += BLOCK_BYTES
        target.received_bytes += BLOCK_BYTES
    source.media.dirty.clear()
    target.media.dirty.clear()


def _finish_resync(side: Side, number: int) -> None:
    other = side.peer
    if other is None or side.volumes[number].replication is ReplicationState.ESTABLISHED:
        return
    mine, theirs = side.volumes[number], other.volumes[number]
    is_source = mine.replication is ReplicationState.SYNC_SOURCE
    source, target = (mine, theirs) if is_source else (theirs, mine)
    _send_dirty(source, target)
    target.media.adopt(source.media)
    source.media.bitmap = 0
    source.media.is_crashed_primary = False
    target.media.disk = DiskState.UP_TO_DATE
    for volume in (mine, theirs):
        volume.replication = ReplicationState.ESTABLISHED
        volume.set_peer_disk(DiskState.UP_TO_DATE)
    for each in (side, other):
        each.tell()


# --- fencing and roles ------------------------------------------------------------------------------


def apply_verdict(side: Side, verdict: FenceAnswer) -> None:
    """What the kernel makes of the handler's exit code (drbd_nl.c:conn_try_outdate_peer)."""
    is_current = all(volume.disk is DiskState.UP_TO_DATE for volume in side.volumes.values())
    if verdict is FenceAnswer.PEER_PRIMARY:
        # A Primary cannot be outdated: it stays frozen.
        if side.role is not Role.PRIMARY:
            set_disks(side, DiskState.OUTDATED)
        return
    if verdict is FenceAnswer.PEER_UNREACHABLE and not is_current:
        return
    out = DiskState.INCONSISTENT if verdict is FenceAnswer.PEER_INCONSISTENT else DiskState.OUTDATED
    for volume in side.volumes.values():
        volume.set_peer_disk(out)
    if side.is_frozen:
        _go_on_alone(side)
    side.tell()


def set_disks(side: Side, disk: DiskState) -> None:
    """Change the state of all local data, and tell the peer if it is connected."""
    for number, volume in side.volumes.items():
        volume.media.disk = disk
        if side.peer is not None:
            side.peer.volumes[number].set_peer_disk(disk)
    side.tell()


async def promote(side: Side) -> None:
    """`drbdsetup primary`: never forced. Raises RefusedError."""
    if side.role is Role.PRIMARY:
        return
    if side.is_changing:
        raise BusyError("another change of this mirror is under way in the kernel")
    side.is_changing = True
    try:
        await _promote(side)
    finally:
        side.is_changing = False
    side.tell()


async def _promote(side: Side) -> None:
    peer = side.peer
    disks = {volume.disk for volume in side.volumes.values()}
    if side.connection is ConnectionState.CONNECTED:
        if peer is not None and peer.role is Role.PRIMARY:
            raise refused("Multiple primaries not allowed by config")
        if disks != {DiskState.UP_TO_DATE} and {v.peer_disk for v in side.volumes.values()} != {DiskState.UP_TO_DATE}:
            raise refused("Need access to UpToDate data")
    else:
        if disks - {DiskState.UP_TO_DATE, DiskState.CONSISTENT}:
            raise refused("Need access to UpToDate data")
        is_settled = disks == {DiskState.UP_TO_DATE} and _is_peer_out(side)
        if not is_settled and side.node.pair.is_fencing:
            if side.node.arbiter is None:
                raise refused("Refusing to be Primary while peer is not outdated")
            apply_verdict(side, await side.node.arbiter.fence_peer(side.name))
            if not _is_peer_out(side):
                raise refused("Refusing to be Primary while peer is not outdated")
            set_disks(side, DiskState.UP_TO_DATE)
        for volume in side.volumes.values():
            if volume.media.bitmap == 0:
                volume.media.new_generation()
    side.role = Role.PRIMARY


def refused(text: str) -> RefusedError:
    """The kernel said no."""
    return RefusedError(f"the kernel refuses: {text}", reasons=[Reason("kernel", text, "see the other node")])


def demote(side: Side) -> None:
    """`drbdsetup secondary`. Raises BusyError while held open."""
    if side.openers:
        raise BusyError("the mirrored device is held open", reasons=[Reason("held-open", "it is open", "close it")])
    side.role = Role.SECONDARY
    for volume in side.volumes.values():
        volume.media.hot.clear()
    side.tell()


def outdate(side: Side) -> None:
    """`drbdsetup outdate`: while Connected it ends well and does nothing."""
    if side.connection is ConnectionState.CONNECTED:
        return
    if side.role is Role.PRIMARY:
        raise refused("Need access to UpToDate data")
    if any(v.disk in (DiskState.DISKLESS, DiskState.INCONSISTENT) for v in side.volumes.values()):
        return
    set_disks(side, DiskState.OUTDATED)


def disconnect(side: Side, *, force: bool) -> None:
    """`drbdsetup disconnect`: orderly, a Secondary leaving a Primary is outdated by agreement."""
    peer = side.peer if side.node.pair.is_wire_up else None
    side.ends = None
    if peer is not None and not force:
        for each, other in ((side, peer), (peer, side)):
            if other.role is Role.PRIMARY:
                set_disks(each, DiskState.OUTDATED)
    if side.connection is not ConnectionState.STANDALONE:
        lose_peer(side, ConnectionState.STANDALONE)
    if peer is not None:
        lose_peer(peer, ConnectionState.CONNECTING)


# --- I/O --------------------------------------------------------------------------------------------


async def write(node: Node, name: str, number: int, offset: int, data: bytes) -> None:
    """Write to the mirrored device; returning is the acknowledgement. Raises OSError."""
    side = node.side(name)
    if side.role is not Role.PRIMARY:
        raise OSError(errno.EROFS, "the mirror is Secondary here")
    await _until(side, lambda: not side.is_frozen)
    volume = side.volumes[number]
    blocks = range(offset // BLOCK_BYTES, (offset + len(data) - 1) // BLOCK_BYTES + 1)
    volume.media.hot.update(blocks)
    volume.media.data[offset : offset + len(data)] = data
    is_sent = False
    while not is_sent:
        if side.is_frozen:
            await _until(side, lambda: not side.is_frozen)
        elif (peer := side.peer) is not None and node.pair.is_wire_up:
            there = peer.volumes[number]
            there.media.data[offset : offset + len(data)] = data
            volume.sent_bytes += len(data)
            there.received_bytes += len(data)
            # An inconsistent peer still lacks what its resync has not sent.
            if there.disk is DiskState.UP_TO_DATE:
                volume.media.dirty.difference_update(blocks)
            is_sent = True
        elif side.connection is ConnectionState.CONNECTED:
            # The peer is gone and this kernel has not noticed: the write waits for its answer.
            await _until(side, lambda: side.connection is not ConnectionState.CONNECTED or node.pair.is_wire_up)
        else:
            volume.media.dirty.update(blocks)
            is_sent = True
    await asyncio.sleep(0)


async def read(node: Node, name: str, number: int, offset: int, length: int) -> bytes:
    """Read the mirrored device; frozen, reads wait too. Raises OSError on a Secondary."""
    side = node.side(name)
    if side.role is not Role.PRIMARY:
        raise OSError(errno.EMEDIUMTYPE, "the mirror is Secondary here")
    await _until(side, lambda: not side.is_frozen)
    return bytes(side.volumes[number].media.data[offset : offset + length])


async def _until(side: Side, is_so: Callable[[], bool]) -> None:
    while not is_so():
        changed = side.changed
        await changed.wait()
        if side.node.sides.get(side.name) is not side:
            raise OSError(errno.EIO, f"node {side.node.name} lost its power")


def require(is_met: bool, text: str) -> None:
    """Raise ConflictError unless the state is exactly what is needed."""
    if not is_met:
        raise ConflictError(text)
