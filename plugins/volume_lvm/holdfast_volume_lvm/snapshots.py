"""Snapshots: thick ones with a reserve of their own, and of thin volumes thin ones."""

from __future__ import annotations

import logging

from holdfast.errors import ConflictError, InvalidError, Reason, VerificationError
from holdfast.hooks.volume import Snapshot, SnapshotSpec
from holdfast_volume_lvm import inventory, thin
from holdfast_volume_lvm.mounts import Mounts
from holdfast_volume_lvm.naming import Role, check_length, check_name, snapshot_name, tags_of
from holdfast_volume_lvm.report import Group, LogicalVolume
from holdfast_volume_lvm.room import refuse_without_room
from holdfast_volume_lvm.settings import Settings
from holdfast_volume_lvm.tools import Tools

log = logging.getLogger(__name__)


class Snapshots:
    """Makes and destroys snapshots. See VolumeDriver."""

    def __init__(self, tools: Tools, mounts: Mounts, settings: Settings) -> None:
        self._tools = tools
        self._mounts = mounts
        self._settings = settings

    async def create(self, spec: SnapshotSpec) -> Snapshot:
        """See VolumeDriver. LVM itself freezes a mounted file system; frozen before, LVM would wait for ever."""
        _check(spec)
        group = inventory.find_pool(await self._tools.report(), spec.pool)
        volume = inventory.find_volume(group, spec.volume)
        _check_reserve(spec, volume)
        name = snapshot_name(spec.volume, spec.name)
        found = group.find(name)
        if found is not None and found.role is Role.SNAPSHOT and not found.origin and not found.thin_pool:
            await self._remove(found)  # a making that was interrupted before it became a snapshot
            group = inventory.find_pool(await self._tools.report(), spec.pool)
            found = group.find(name)
        if found is not None:
            _refuse_another(found, group, spec)
            return inventory.snapshot_of(found)
        size_bytes = group.round_up(spec.reserve_bytes or 0)
        refuse_without_room(group, size_bytes, f"the reserve of the snapshot {spec.name}", "reserve_bytes")
        subject = f"the snapshot {spec.name} of {spec.pool}/{spec.volume}"
        if not volume.is_active:
            await self._tools.change(["lvchange", "--activate", "y", f"{spec.pool}/{spec.volume}"], subject)
        if spec.reserve_bytes is None:
            await thin.take_snapshot(self._tools, group, volume, name, subject)
        else:
            argv = ["lvcreate", "--snapshot", "--name", name, "--extents", str(size_bytes // group.extent_bytes)]
            argv += ["--chunksize", f"{self._settings.snapshot_chunk_bytes}b"]
            argv += [word for tag in tags_of(Role.SNAPSHOT) for word in ("--addtag", tag)]
            await self._tools.change([*argv, f"{spec.pool}/{spec.volume}"], subject)
        made = await self.get(spec.pool, spec.volume, spec.name)
        log.info("made %s with a reserve of %d bytes", subject, made.reserve_bytes)
        return made

    async def get(self, pool: str, volume: str, name: str) -> Snapshot:
        """One that was made or changed just now, read back."""
        for found in await self.list(pool):
            if (found.volume, found.name) == (volume, name):
                return found
        raise VerificationError(f"the snapshot {name} of {pool}/{volume} was made and is not there")

    async def list(self, pool: str | None) -> tuple[Snapshot, ...]:
        """See VolumeDriver."""
        report = await self._tools.report()
        groups = inventory.pools(report) if pool is None else iter([inventory.find_pool(report, pool)])
        return tuple(inventory.snapshot_of(found) for group in groups for found in inventory.snapshots(group))

    async def delete(self, pool: str, volume: str, name: str) -> None:
        """See VolumeDriver."""
        group = (await self._tools.report()).find(pool)
        found = group.find(snapshot_name(volume, name)) if group is not None and group.is_ours else None
        if found is None or found.role is not Role.SNAPSHOT:
            return
        await self._mounts.refuse_open(found)
        await self._remove(found)
        log.info("destroyed the snapshot %s of %s/%s", name, pool, volume)

    async def _remove(self, found: LogicalVolume) -> None:
        # --yes answers the question whether an active one may go: its device is not open, and was asked for.
        full_name = f"{found.group}/{found.name}"
        await self._tools.change(["lvremove", "--yes", full_name], f"the snapshot {full_name}")


def _check(spec: SnapshotSpec) -> None:
    check_name(spec.name, "name")
    check_length(spec.pool, snapshot_name(spec.volume, spec.name))
    if spec.reserve_bytes is not None and spec.reserve_bytes <= 0:
        text = "a reserve is at least one byte"
        raise InvalidError(text, reasons=[Reason("bad-size", text, "ask for more", "reserve_bytes")])


def _check_reserve(spec: SnapshotSpec, volume: LogicalVolume) -> None:
    if volume.thin_pool is not None and spec.reserve_bytes is not None:
        text = f"the volume {spec.volume} is thin, and so are its snapshots: they have no reserve"
        raise InvalidError(text, reasons=[Reason("no-reserve", text, "leave it out", "reserve_bytes")])
    if volume.thin_pool is None and spec.reserve_bytes is None:
        text = f"the volume {spec.volume} is thick, and a snapshot of it needs a reserve"
        raise InvalidError(text, reasons=[Reason("no-reserve", text, "say how large it is to be", "reserve_bytes")])


def _refuse_another(found: LogicalVolume, group: Group, spec: SnapshotSpec) -> None:
    if found.role is Role.SNAPSHOT and found.thin_pool is not None and spec.reserve_bytes is None:
        return
    wanted = group.round_up(spec.reserve_bytes or 0)
    # LVM gives no more than the whole volume and its bookkeeping can ever need.
    is_capped = found.origin_size_bytes < found.size_bytes < wanted
    if found.role is Role.SNAPSHOT and found.origin == spec.volume and (found.size_bytes == wanted or is_capped):
        return
    text = f"there is {found.group}/{found.name} already, with {found.size_bytes} bytes"
    raise ConflictError(text, reasons=[Reason("exists", text, "choose another name", "name")])
