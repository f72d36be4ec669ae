"""The model's roles: the gates of a promotion, verdicts of the fence handler, and reads and writes."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Sequence

from holdfast.errors import BusyError, Reason
from holdfast.hooks.replication import ConnectionState, DiskState, FenceAnswer, Role
from holdfast.testing.memory_drbd import BLOCK_BYTES, Node, Side, Volume, refused
from holdfast.testing.memory_drbd_link import finish_resync, go_on_alone, is_peer_out, lose_peer


def apply_verdict(side: Side, verdict: FenceAnswer) -> None:
    """What the kernel makes of the handler's exit code (drbd_nl.c:conn_try_outdate_peer)."""
    is_current = any(volume.disk is DiskState.UP_TO_DATE for volume in side.volumes.values())
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
        go_on_alone(side)
    side.tell()


def set_disks(side: Side, disk: DiskState) -> None:
    """Change the state of all local data, and tell the peer if it is connected."""
    for number, volume in side.volumes.items():
        volume.media.disk = disk
        if side.peer is not None and number in side.peer.volumes:
            side.peer.volumes[number].set_peer_disk(disk)
    side.tell()


async def promote(side: Side, volumes: Sequence[Volume]) -> None:
    """`drbdsetup primary` of these volumes: never forced. Raises RefusedError."""
    numbers = {volume.number for volume in volumes}
    if side.role is Role.PRIMARY:
        side.held_back -= numbers
        return
    if side.is_changing:
        raise BusyError("another change of this mirror is under way in the kernel")
    side.is_changing = True
    try:
        await _promote(side, volumes)
    finally:
        side.is_changing = False
    side.held_back = set(side.volumes) - numbers
    side.tell()


async def _promote(side: Side, volumes: Sequence[Volume]) -> None:
    peer = side.peer
    disks = {volume.disk for volume in volumes}
    if side.connection is ConnectionState.CONNECTED:
        if peer is not None and peer.role is Role.PRIMARY:
            raise refused("Multiple primaries not allowed by config")
        if disks != {DiskState.UP_TO_DATE} and {v.peer_disk for v in volumes} != {DiskState.UP_TO_DATE}:
            raise refused("Need access to UpToDate data")
    else:
        if disks - {DiskState.UP_TO_DATE, DiskState.CONSISTENT}:
            raise refused("Need access to UpToDate data")
        is_settled = disks == {DiskState.UP_TO_DATE} and is_peer_out(side)
        if not is_settled and side.node.world.is_fencing:
            if side.node.arbiter is None:
                raise refused("Refusing to be Primary while peer is not outdated")
            apply_verdict(side, await side.node.arbiter.fence_peer(side.name))
            if not is_peer_out(side):
                raise refused("Refusing to be Primary while peer is not outdated")
            for volume in volumes:
                volume.media.disk = DiskState.UP_TO_DATE
            side.tell()
        for volume in volumes:
            if volume.media.bitmap == 0:
                volume.media.new_generation()
    side.role = Role.PRIMARY


def demote(side: Side) -> None:
    """`drbdsetup secondary`. Raises BusyError while held open."""
    if side.openers:
        raise BusyError("the mirrored device is held open", reasons=[Reason("held-open", "it is open", "close it")])
    side.role = Role.SECONDARY
    side.held_back.clear()
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
    peer = side.peer if side.node.world.is_wire_up else None
    side.ends = None
    if peer is not None and not force:
        for each, other in ((side, peer), (peer, side)):
            if other.role is Role.PRIMARY:
                set_disks(each, DiskState.OUTDATED)
    if side.connection is not ConnectionState.STANDALONE:
        lose_peer(side, ConnectionState.STANDALONE)
    if peer is not None:
        lose_peer(peer, ConnectionState.CONNECTING)


def hold(side: Side, *, is_held: bool) -> None:
    """`drbdsetup pause-sync` and `resume-sync`: either side may hold a resync."""
    side.is_sync_held = is_held
    for number in side.volumes if not is_held and not side.node.world.is_resync_held else ():
        finish_resync(side, number)
    side.tell()


def grow(volume: Volume, there: Volume, *, new_part_is_zero: bool) -> None:
    """`drbdsetup resize`: as large as the smaller lower device; what is new is sent."""
    size_bytes = min(len(volume.media.data), len(there.media.data))
    if not new_part_is_zero:
        new = slice(volume.size_bytes, size_bytes)
        there.media.data[new] = volume.media.data[new]
        volume.sent_bytes += max(0, size_bytes - volume.size_bytes)
    for each in (volume, there):
        each.size_bytes = each.media.agreed_bytes = max(volume.size_bytes, size_bytes)


async def write(node: Node, name: str, number: int, offset: int, data: bytes) -> None:
    """Write to the mirrored device; returning is the acknowledgement. Raises OSError."""
    side = node.side(name)
    if side.role is not Role.PRIMARY or number in side.held_back:
        raise OSError(errno.EROFS, "the mirror is Secondary here")
    await _until(side, lambda: not side.is_frozen)
    volume = side.volumes[number]
    blocks = range(offset // BLOCK_BYTES, (offset + len(data) - 1) // BLOCK_BYTES + 1)
    has_disk = volume.disk is not DiskState.DISKLESS
    if has_disk:
        volume.media.hot.update(blocks)
        volume.media.data[offset : offset + len(data)] = data
    is_sent = False
    while not is_sent:
        if side.is_frozen:
            await _until(side, lambda: not side.is_frozen)
        elif (peer := side.peer) is not None and node.world.is_wire_up:
            there = peer.volumes[number]
            there.media.data[offset : offset + len(data)] = data
            volume.sent_bytes += len(data)
            there.received_bytes += len(data)
            if not has_disk:
                there.media.dirty.update(blocks)
            # An inconsistent peer still lacks what its resync has not sent.
            elif there.disk is DiskState.UP_TO_DATE:
                volume.media.dirty.difference_update(blocks)
            is_sent = True
        elif side.connection is ConnectionState.CONNECTED:
            # The peer is gone and this kernel has not noticed: the write waits for its answer.
            await _until(side, lambda: side.connection is not ConnectionState.CONNECTED or node.world.is_wire_up)
        elif not has_disk:
            raise OSError(errno.EIO, "no disk here, and no peer")
        else:
            volume.media.dirty.update(blocks)
            is_sent = True
    await asyncio.sleep(0)


async def read(node: Node, name: str, number: int, offset: int, length: int) -> bytes:
    """Read the mirrored device; frozen, reads wait too. Raises OSError on a Secondary."""
    side = node.side(name)
    if side.role is not Role.PRIMARY or number in side.held_back:
        raise OSError(errno.EMEDIUMTYPE, "the mirror is Secondary here")
    await _until(side, lambda: not side.is_frozen)
    volume = side.volumes[number]
    if volume.disk is DiskState.DISKLESS:
        if side.peer is None:
            raise OSError(errno.EIO, "no disk here, and no peer")
        volume = side.peer.volumes[number]
    return bytes(volume.media.data[offset : offset + length])


async def _until(side: Side, is_so: Callable[[], bool]) -> None:
    while not is_so():
        changed = side.changed
        await changed.wait()
        if side.node.sides.get(side.name) is not side:
            raise OSError(errno.EIO, f"node {side.node.name} lost its power")
