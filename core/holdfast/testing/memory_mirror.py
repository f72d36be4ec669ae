"""A mirror driver without a kernel: the whole contract over the model in `memory_drbd`.

`MemoryMirrors.pair()` gives the drivers of two nodes. What a test does to the world (cutting wires, taking power) it
does to `driver.pair`; what a user of the mirrored device does is in `write` and `read`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from typing import ClassVar, Self

from holdfast.errors import BusyError, ConflictError, NotFoundError, Reason, RefusedError, VerificationError
from holdfast.hooks.base import Can
from holdfast.hooks.replication import (
    ConnectionState,
    DiskState,
    FenceArbiter,
    Lineage,
    MirrorDriver,
    MirrorSpec,
    MirrorStatus,
    MirrorVolumeStatus,
    ReplicationState,
    Role,
    Suspension,
    SyncLimits,
)
from holdfast.testing import memory_drbd_link as link
from holdfast.testing import memory_drbd_roles as roles
from holdfast.testing.memory_drbd import (
    BLOCK_BYTES,
    JUST_CREATED,
    Media,
    Node,
    Side,
    Volume,
    compare_generations,
    refused,
)
from holdfast.testing.memory_pair import Pair

ZERO_PIECE_BYTES = 1024 * 1024


class MemoryMirrors(MirrorDriver):
    """See MirrorDriver."""

    can: ClassVar[frozenset[Can]] = frozenset(
        {Can.MIRROR_VERIFY, Can.MIRROR_SYNC_CONTROL, Can.MIRROR_GROW, Can.MIRROR_DETACH, Can.MIRROR_VOLUMES}
    )

    def __init__(self, node: Node) -> None:
        self.node = node

    @classmethod
    def make_pair(cls) -> tuple[Self, Self]:
        """Drivers of two nodes that share nothing but a wire."""
        pair = Pair()
        return cls(pair.nodes["a"]), cls(pair.nodes["b"])

    @property
    def pair(self) -> Pair:
        """The world of both nodes."""
        world = self.node.world
        assert isinstance(world, Pair)
        return world

    # --- what uses the mirrored device ---

    async def write(self, name: str, offset: int, data: bytes, *, number: int = 0) -> None:
        """Write to the mirrored device; returning is the acknowledgement."""
        await roles.write(self.node, name, number, offset, data)

    async def read(self, name: str, offset: int, length: int, *, number: int = 0) -> bytes:
        """Read the mirrored device."""
        return await roles.read(self.node, name, number, offset, length)

    def add_device(self, device: str, size_bytes: int) -> None:
        """Make a lower device, full of what its last user left."""
        self.node.media[device] = Media(bytearray(b"\xa5" * size_bytes))

    # --- the contract ---

    def metadata_bytes(self, size_bytes: int) -> int:
        """See MirrorDriver."""
        return BLOCK_BYTES + -(-4 * size_bytes // (8 * BLOCK_BYTES))

    def largest_bytes(self, metadata_bytes: int) -> int:
        """See MirrorDriver."""
        return (metadata_bytes - BLOCK_BYTES) * 8 * BLOCK_BYTES

    def device_path(self, minor: int) -> str:
        """See MirrorDriver."""
        return f"/dev/memory{minor}"

    async def create_metadata(self, spec: MirrorSpec) -> None:
        """See MirrorDriver."""
        for volume in spec.volumes:
            media = self._media(volume.device)
            if not media.has_metadata:
                media.create_metadata()

    async def wipe_metadata(self, spec: MirrorSpec) -> None:
        """See MirrorDriver."""
        side = self.node.sides.get(spec.name)
        in_use = set(side.volumes) if side is not None else set()
        _require(not in_use & {volume.number for volume in spec.volumes}, f"mirror {spec.name} is up")
        for volume in spec.volumes:
            self._media(volume.device).has_metadata = False

    async def zero(
        self, device: str, *, done_bytes: int = 0, most_s: float | None = None, limit_bytes_s: int | None = None
    ) -> int:
        """See MirrorDriver. Its time is over after one piece."""
        media = self._media(device)
        if any(volume.media is media for side in self.node.sides.values() for volume in side.volumes.values()):
            raise BusyError(f"{device} is held open")
        size = len(media.data)
        end = size if most_s is None else min(size, done_bytes + ZERO_PIECE_BYTES)
        await asyncio.sleep(0)
        media.data[done_bytes:end] = bytes(max(0, end - done_bytes))
        if end == size and media.data.count(0) != size:
            raise VerificationError(f"{device} does not read zero")
        return end

    async def attach(self, spec: MirrorSpec) -> MirrorStatus:
        """See MirrorDriver."""
        side = self.node.sides.get(spec.name) or Side(self.node, spec)
        for volume in spec.volumes:
            media = self._media(volume.device)
            _require(media.has_metadata, f"there is no metadata for {volume.device}")
            old = side.volumes.get(volume.number)
            _require(
                old is None or old.disk is DiskState.DISKLESS or (old.media is media and old.minor == volume.minor),
                f"volume {volume.number} is attached to another device",
            )
        self.node.sides[spec.name] = side
        for volume in spec.volumes:
            old = side.volumes.get(volume.number)
            if old is None or old.disk is DiskState.DISKLESS:
                side.volumes[volume.number] = _attached(volume.number, volume.minor, self._media(volume.device))
            if old is None and side.role is Role.PRIMARY:
                side.held_back.add(volume.number)
            if old is None or old.disk is DiskState.DISKLESS:
                link.meet_again(side, volume.number)
        side.tell()
        return await self.status(spec.name)

    def lose_disk(self, name: str, number: int = 0) -> None:
        """Detach a volume whose disk failed; the peer goes on, and is read from."""
        link.lose_disk(self.node.side(name), number)

    async def connect(self, spec: MirrorSpec, *, discard_changes: bool = False) -> MirrorStatus:
        """See MirrorDriver."""
        await self.attach(spec)
        side = self.node.side(spec.name)
        _require(not discard_changes or side.role is Role.SECONDARY, f"mirror {spec.name} is Primary here")
        ends = (spec.local, spec.remote)
        if side.connection is ConnectionState.STANDALONE:
            side.secret, side.gives_way = spec.secret, discard_changes
        _require(side.ends in (None, ends), f"mirror {spec.name} is connected between other addresses")
        if side.connection is ConnectionState.STANDALONE:
            side.ends = ends
            side.connection = ConnectionState.CONNECTING
            side.tell()
            link.try_to_connect(side)
        return await self.status(spec.name)

    async def disconnect(self, name: str, *, force: bool = False) -> None:
        """See MirrorDriver."""
        if name in self.node.sides:
            roles.disconnect(self.node.side(name), force=force)

    async def down(self, name: str) -> None:
        """See MirrorDriver."""
        side = self.node.sides.get(name)
        if side is None:
            return
        roles.demote(side)
        roles.disconnect(side, force=False)
        del self.node.sides[name]
        self.node.publish(name)

    async def skip_first_sync(self, name: str) -> None:
        """See MirrorDriver."""
        side = self.node.side(name)
        if (await self.status(name)).is_in_sync:
            return
        peer = self._fresh_peer(side)
        for number, volume in side.volumes.items():
            there = peer.volumes[number]
            volume.media.new_generation()
            volume.media.bitmap = 0
            volume.media.dirty.clear()
            there.media.adopt(volume.media)
        roles.set_disks(side, DiskState.UP_TO_DATE)
        roles.set_disks(peer, DiskState.UP_TO_DATE)

    async def start_full_sync(self, spec: MirrorSpec) -> None:
        """See MirrorDriver."""
        side = self.node.side(spec.name)
        if all(volume.disk is DiskState.UP_TO_DATE for volume in side.volumes.values()):
            return
        self._fresh_peer(side)
        ends = side.ends
        roles.disconnect(side, force=False)
        for volume in side.volumes.values():
            volume.media.new_generation()
        roles.set_disks(side, DiskState.UP_TO_DATE)
        side.ends, side.connection = ends, ConnectionState.CONNECTING
        link.try_to_connect(side)

    def _fresh_peer(self, side: Side) -> Side:
        """The connected peer of a side that never had data. Raises ConflictError."""
        peer = side.peer
        if peer is None:
            raise ConflictError(f"mirror {side.name} is not connected")
        for each in (side, peer):
            _require(each.role is Role.SECONDARY, f"mirror {side.name} is in use")
            for volume in each.volumes.values():
                is_fresh = volume.media.current == JUST_CREATED and volume.disk is DiskState.INCONSISTENT
                _require(is_fresh, f"the metadata of mirror {side.name} is not fresh")
        return peer

    async def promote(self, name: str, *, numbers: Collection[int] | None = None) -> None:
        """See MirrorDriver."""
        side = self.node.side(name)
        if missing := set(numbers or ()) - set(side.volumes):
            raise RefusedError(f"mirror {name} has no volume {min(missing)} here")
        asked = [v for number, v in side.volumes.items() if numbers is None or number in numbers]
        no_data = [v for v in asked if v.disk in (DiskState.DISKLESS, DiskState.INCONSISTENT)]
        if no_data:
            text = f"volume {no_data[0].number} is {no_data[0].disk.value} here"
            raise RefusedError(f"mirror {name}: {text}", reasons=[Reason("no-data-here", text, "wait for the resync")])
        await roles.promote(side, asked)

    async def demote(self, name: str) -> None:
        """See MirrorDriver."""
        roles.demote(self.node.side(name))

    async def outdate(self, name: str) -> DiskState:
        """See MirrorDriver."""
        side = self.node.side(name)
        _require(side.role is not Role.PRIMARY, f"mirror {name} is Primary here")
        if side.is_changing:
            raise BusyError("another change of this mirror is under way in the kernel")
        roles.disconnect(side, force=True)
        roles.outdate(side)
        disks = {volume.disk for volume in side.volumes.values()}
        worst_first = (DiskState.DISKLESS, DiskState.INCONSISTENT, DiskState.OUTDATED, DiskState.CONSISTENT)
        return next((disk for disk in worst_first if disk in disks), DiskState.UP_TO_DATE)

    async def status(self, name: str) -> MirrorStatus:
        """See MirrorDriver."""
        side = self.node.sides.get(name)
        if side is None:
            unknown = (Role.UNKNOWN, Role.UNKNOWN, ConnectionState.UNKNOWN, Suspension.NO)
            return MirrorStatus(name, False, *unknown, ())
        return MirrorStatus(
            name=name,
            is_up=True,
            role=side.role,
            peer_role=side.peer.role if side.peer is not None else Role.UNKNOWN,
            connection=side.connection,
            suspended=Suspension.FENCING if side.is_frozen else Suspension.NO,
            volumes=tuple(self._volume(side.volumes[number]) for number in sorted(side.volumes)),
        )

    def _volume(self, volume: Volume) -> MirrorVolumeStatus:
        is_syncing = volume.replication in (ReplicationState.SYNC_SOURCE, ReplicationState.SYNC_TARGET)
        return MirrorVolumeStatus(
            number=volume.number,
            device=self.device_path(volume.minor),
            disk=volume.disk,
            peer_disk=volume.peer_disk,
            replication=volume.replication,
            out_of_sync_bytes=len(volume.media.dirty) * BLOCK_BYTES,
            sent_bytes=volume.sent_bytes,
            received_bytes=volume.received_bytes,
            done_percent=0.0 if is_syncing else None,
            size_bytes=volume.size_bytes,
            to_go_bytes=len(volume.media.dirty) * BLOCK_BYTES if is_syncing else None,
        )

    async def generations(self, name: str) -> tuple[str, ...]:
        """See MirrorDriver."""
        side = self.node.side(name)
        return tuple(side.volumes[number].media.generations for number in sorted(side.volumes))

    def compare(self, mine: str, theirs: str) -> Lineage:
        """See MirrorDriver."""
        return compare_generations(mine, theirs)

    async def list_up(self) -> tuple[str, ...]:
        """See MirrorDriver."""
        return tuple(sorted(self.node.sides))

    async def watch(self) -> AsyncIterator[MirrorStatus]:
        """See MirrorDriver."""
        queue: asyncio.Queue[str] = asyncio.Queue()
        self.node.watchers.add(queue)
        try:
            while True:
                yield await self.status(await queue.get())
        finally:
            self.node.watchers.discard(queue)

    async def serve_fence_requests(self, arbiter: FenceArbiter) -> None:
        """See MirrorDriver."""
        if self.node.arbiter is not None:
            raise BusyError("another process answers the fence requests of this node")
        self.node.arbiter = arbiter
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    name, event = await self.node.asking.get()
                    if event == "fence-peer":
                        group.create_task(self._decide(arbiter, name))
                    else:
                        group.create_task(arbiter.mirror_event(name, event))
        finally:
            self.node.arbiter = None

    async def _decide(self, arbiter: FenceArbiter, name: str) -> None:
        side = self.node.sides.get(name)
        if side is None or not side.is_frozen:
            return
        losses = side.losses
        try:
            verdict = await arbiter.fence_peer(name)
        except asyncio.CancelledError:
            # Whoever serves next is asked again: the kernel's helper never gives up on a frozen Primary.
            self.node.asking.put_nowait((name, "fence-peer"))
            raise
        if side.losses == losses and side.connection is not ConnectionState.CONNECTED:
            roles.apply_verdict(side, verdict)

    async def verify(self, name: str) -> None:
        """See MirrorDriver."""
        side = self.node.side(name)
        if side.peer is None:
            raise refused("Need a connection to start verify or resync")
        for number, volume in side.volumes.items():
            there = side.peer.volumes[number]
            for block in range(len(volume.media.data) // BLOCK_BYTES):
                span = slice(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES)
                if volume.media.data[span] != there.media.data[span]:
                    volume.media.dirty.add(block)
                    there.media.dirty.add(block)
        side.tell()

    async def pause_sync(self, name: str) -> None:
        """See MirrorDriver."""
        roles.hold(self.node.side(name), is_held=True)

    async def resume_sync(self, name: str) -> None:
        """See MirrorDriver."""
        roles.hold(self.node.side(name), is_held=False)

    async def limit_sync(self, name: str, limits: SyncLimits) -> None:
        """See MirrorDriver. Nothing takes its time here."""
        self.node.side(name)

    async def grow(self, name: str, *, new_part_is_zero: bool) -> MirrorStatus:
        """See MirrorDriver."""
        side = self.node.side(name)
        peer = side.peer
        _require(peer is not None, f"mirror {name} is not connected")
        assert peer is not None
        _require(Role.PRIMARY in (side.role, peer.role), f"mirror {name} has no Primary")
        for number, volume in side.volumes.items():
            there = peer.volumes[number]
            both = {volume.disk, there.disk}
            _require(both == {DiskState.UP_TO_DATE}, f"volume {number} is not UpToDate on both sides")
            roles.grow(volume, there, new_part_is_zero=new_part_is_zero)
        side.tell()
        return await self.status(name)

    async def detach(self, name: str, number: int) -> MirrorStatus:
        """See MirrorDriver."""
        side = self.node.side(name)
        volume = side.volumes[number]
        if volume.disk is not DiskState.DISKLESS:
            if side.peer is None or volume.peer_disk is not DiskState.UP_TO_DATE:
                raise RefusedError(f"the peer of {name} is not connected with all data of volume {number}")
            self.lose_disk(name, number)
        return await self.status(name)

    async def take_out(self, name: str, number: int) -> None:
        """See MirrorDriver."""
        side = self.node.sides.get(name)
        if side is None or number not in side.volumes:
            return
        if number in side.openers:
            raise BusyError(f"volume {number} of {name} is held open")
        del side.volumes[number]
        side.held_back.discard(number)
        if side.peer is not None and number in side.peer.volumes:
            side.peer.volumes[number].peer_disk = DiskState.DISKLESS
        side.tell()

    def _media(self, device: str) -> Media:
        if device not in self.node.media:
            raise NotFoundError(f"there is no device {device}")
        return self.node.media[device]


def _attached(number: int, minor: int, media: Media) -> Volume:
    """A volume as it comes up: what was up to date is only Consistent until the peer is heard or known to be out."""
    if media.disk is DiskState.UP_TO_DATE and not media.is_peer_outdated:
        media.disk = DiskState.CONSISTENT
    peer_disk = DiskState.OUTDATED if media.is_peer_outdated else DiskState.UNKNOWN
    media.agreed_bytes = media.agreed_bytes or len(media.data)
    return Volume(number, minor, media, peer_disk, size_bytes=media.agreed_bytes)


def _require(is_met: bool, text: str) -> None:
    """Raise ConflictError unless the state is exactly what is needed."""
    if not is_met:
        raise ConflictError(text)
