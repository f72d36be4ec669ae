"""The model's link: who connects to whom, who has the newer data, resyncs, and the freeze of one that lost its peer."""

from __future__ import annotations

from holdfast.hooks.replication import ConnectionState, DiskState, ReplicationState, Role
from holdfast.testing.memory_drbd import (
    BLOCK_BYTES,
    DISK_ORDER,
    JUST_CREATED,
    Media,
    Side,
    Volume,
    is_outdated_or_worse,
)


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
        if side.role is Role.PRIMARY and side.node.world.is_fencing and not is_peer_out(side):
            side.is_frozen = True
            side.node.asking.put_nowait((side.name, "fence-peer"))
        elif side.role is Role.PRIMARY:
            go_on_alone(side)
    side.tell()


def is_peer_out(side: Side) -> bool:
    """Whether the peer is known not to be up to date, on every volume."""
    return all(is_outdated_or_worse(volume.peer_disk) for volume in side.volumes.values())


def go_on_alone(side: Side) -> None:
    """Thaw; what is written from here is a generation of its own."""
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
        or not side.node.world.is_wire_up
        or side.connection is not wanted
        or other.connection is not wanted
    ):
        return
    if side.ends is None or other.ends is None or side.ends != other.ends[::-1]:
        return
    if side.secret != other.secret:
        for each in (side, other):
            each.connection, each.ends = ConnectionState.STANDALONE, None
            each.tell()
        return
    verdicts = {
        number: compare(volume.media, other.volumes[number].media, side.role, other.role)
        for number, volume in side.volumes.items()
        if number in other.volumes
    }
    if None in verdicts.values() and side.gives_way is not other.gives_way:
        winner = other if side.gives_way else side
        for number, volume in winner.volumes.items():
            volume.media.dirty |= (other if winner is side else side).volumes[number].media.dirty
            verdicts[number] = 1 if winner is side else -1
    side.gives_way = other.gives_way = False
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
    order = (DISK_ORDER.index(mine.disk), DISK_ORDER.index(theirs.disk))
    inconsistent = DISK_ORDER.index(DiskState.INCONSISTENT)
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
    _take_up_what_grew(mine, theirs)
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
    if direction and not (side.node.world.is_resync_held or side.is_sync_held or other.is_sync_held):
        finish_resync(side, number)


def _take_up_what_grew(mine: Volume, theirs: Volume) -> None:
    """Lower devices that grew while the sides were apart: the new part is marked, and that begins no resync."""
    size_bytes = min(len(mine.media.data), len(theirs.media.data))
    for volume in (mine, theirs):
        if volume.media.agreed_bytes is not None and volume.size_bytes < size_bytes:
            volume.media.dirty |= set(range(volume.size_bytes // BLOCK_BYTES, size_bytes // BLOCK_BYTES))
            volume.size_bytes = volume.media.agreed_bytes = size_bytes


def lose_disk(side: Side, number: int) -> None:
    """A volume has no disk here any more; the peer learns of it, and remembers what is written from then on."""
    other = side.peer
    side.volumes[number].media = Media(bytearray(), disk=DiskState.DISKLESS)
    if other is not None:
        if other.volumes[number].media.bitmap == 0:
            other.volumes[number].media.new_generation()
        for volume in (side.volumes[number], other.volumes[number]):
            volume.replication = ReplicationState.ESTABLISHED
        other.volumes[number].set_peer_disk(DiskState.DISKLESS)
        other.tell()
    side.tell()


def meet_again(side: Side, number: int) -> None:
    """A volume got a disk while the sides are connected: who has the newer data sends it."""
    other = side.peer
    if other is not None and number in other.volumes:
        # Also one in use here: it was read from the other side all along.
        direction = compare(side.volumes[number].media, other.volumes[number].media, Role.SECONDARY, Role.SECONDARY)
        _start_volume(side, other, number, direction or 0)
        other.tell()


def _send_dirty(source: Volume, target: Volume) -> None:
    for block in sorted(source.media.dirty | target.media.dirty):
        span = slice(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES)
        target.media.data[span] = source.media.data[span]
        source.sent_bytes += BLOCK_BYTES
        target.received_bytes += BLOCK_BYTES
    source.media.dirty.clear()
    target.media.dirty.clear()


def finish_resync(side: Side, number: int) -> None:
    """Send what is left of a resync under way, and make both sides equal."""
    other = side.peer
    if other is None or side.volumes[number].replication is ReplicationState.ESTABLISHED:
        return
    if side.is_sync_held or other.is_sync_held:
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
