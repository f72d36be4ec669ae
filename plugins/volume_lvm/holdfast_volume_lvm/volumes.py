"""Volumes and the volumes beside them that hold replication metadata."""

from __future__ import annotations

import logging
from dataclasses import replace

from holdfast.errors import BusyError, ConflictError, InvalidError, Reason
from holdfast.hooks.volume import FileSystem, IoType, Volume, VolumeSpec
from holdfast_volume_lvm import file_systems, inventory, thin
from holdfast_volume_lvm.mounts import Mounts
from holdfast_volume_lvm.naming import (
    READY,
    Role,
    check_length,
    check_name,
    device_path,
    file_system_of,
    heir_name,
    kind_of,
    metadata_name,
    snapshot_parts,
    tags_of,
)
from holdfast_volume_lvm.report import Group, LogicalVolume
from holdfast_volume_lvm.room import refuse_without_room
from holdfast_volume_lvm.settings import MIB, Settings
from holdfast_volume_lvm.tools import Tools

log = logging.getLogger(__name__)

# mkfs.xfs 6.1 makes nothing smaller (mkfs/xfs_mkfs.c, validate_supported).
SMALLEST_FILE_SYSTEM_BYTES = 300 * MIB


class Volumes:
    """Makes and destroys volumes. See VolumeDriver.

    A volume gets the tag READY when it is all that was asked for. One without it was interrupted,
    nobody was ever told of it, and a repeated creation finishes it.
    """

    def __init__(self, tools: Tools, mounts: Mounts, settings: Settings) -> None:
        self._tools = tools
        self._mounts = mounts
        self._settings = settings

    async def create(self, spec: VolumeSpec) -> Volume:
        """See VolumeDriver."""
        _check(spec)
        group = inventory.find_pool(await self._tools.report(), spec.pool)
        size_bytes = group.round_up(spec.size_bytes)
        found = group.find(spec.name)
        if found is None and spec.is_thin:
            await thin.make_volume(self._tools, group, spec, size_bytes)
        elif found is None:
            refuse_without_room(group, size_bytes, f"the volume {spec.name}", "size_bytes")
            await self._allocate(group, spec.name, size_bytes, tags_of(Role.VOLUME, spec))
        else:
            _refuse_another(found, spec, size_bytes)
        if found is None or READY not in found.tags:
            await self._finish(spec, found)
            log.info("made the volume %s/%s, %s, %d bytes", spec.pool, spec.name, spec.kind, size_bytes)
        elif not found.is_active:
            await self._activate(found)
        return await self.get(spec.pool, spec.name)

    async def _allocate(self, group: Group, name: str, size_bytes: int, tags: tuple[str, ...]) -> None:
        argv = ["lvcreate", "--yes", "--wipesignatures", "y", "--zero", "y", "--name", name]
        argv += ["--extents", str(size_bytes // group.extent_bytes)]
        argv += [word for tag in tags for word in ("--addtag", tag)]
        # --yes answers only the question about signatures in the new volume, where nothing can be but what a
        # deleted one left.
        await self._tools.change([*argv, group.name], f"the volume {group.name}/{name}")

    async def _finish(self, spec: VolumeSpec, found: LogicalVolume | None) -> None:
        """Bring a fresh or an interrupted volume to what was asked, and mark it so."""
        if found is not None and not found.is_active:
            await self._activate(found)
        device = device_path(spec.pool, spec.name)
        if spec.has_file_system:
            await file_systems.make(self._tools, spec, device)
        elif carried := await self._tools.signatures(device):
            raise file_systems.unfinished(device, carried)
        elif self._settings.zero_new_volumes and not spec.is_thin:  # a thin one reads zeros where nothing was written
            await self._tools.zero(device, spec.size_bytes)
        await self._mark_ready(spec.pool, spec.name)

    async def _mark_ready(self, pool: str, name: str) -> None:
        await self._tools.change(["lvchange", "--addtag", READY, f"{pool}/{name}"], f"the volume {pool}/{name}")

    async def _activate(self, volume: LogicalVolume) -> None:
        full_name = f"{volume.group}/{volume.name}"
        await self._tools.change(["lvchange", "--activate", "y", full_name], f"the volume {full_name}")

    async def list(self, pool: str | None) -> tuple[Volume, ...]:
        """See VolumeDriver."""
        report = await self._tools.report()
        groups = inventory.pools(report) if pool is None else iter([inventory.find_pool(report, pool)])
        return tuple(inventory.volume_of(volume) for group in groups for volume in inventory.volumes(group))

    async def get(self, pool: str, name: str) -> Volume:
        """See VolumeDriver."""
        group = inventory.find_pool(await self._tools.report(), pool)
        return inventory.volume_of(inventory.find_volume(group, name))

    async def delete(self, pool: str, name: str) -> None:
        """See VolumeDriver."""
        group = (await self._tools.report()).find(pool)
        heir = group.find(heir_name(name)) if group is not None and group.is_ours else None
        volume = group.find(name) or heir if group is not None and group.is_ours else None
        if group is None or volume is None or volume.role is not Role.VOLUME:
            return
        refuse_with_dependents(group, replace(volume, name=name))
        await self._mounts.refuse_open(volume)
        # What is left of the making of a snapshot that never became one, and would stay for ever.
        stumps = [v for v in group.volumes if v.role is Role.SNAPSHOT and snapshot_parts(v.name)[0] == name]
        # And of a rollback that was given up.
        stumps += [heir] if heir is not None and heir is not volume else []
        names = [f"{pool}/{v.name}" for v in [*stumps, volume]]
        # --yes answers the question whether an active volume may go: its device is not open, and was asked for.
        await self._tools.change(["lvremove", "--yes", *names], f"the volume {pool}/{name}")
        log.info("destroyed the volume %s/%s", pool, name)

    async def create_metadata(self, pool: str, volume: str, size_bytes: int) -> str:
        """See VolumeDriver."""
        group = inventory.find_pool(await self._tools.report(), pool)
        inventory.find_volume(group, volume)
        _check_size(size_bytes)
        name, size_bytes = metadata_name(volume), group.round_up(size_bytes)
        check_length(pool, name)
        device = device_path(pool, name)
        found = group.find(name)
        if found is None:
            refuse_without_room(group, size_bytes, f"the replication metadata of {volume}", "size_bytes")
            await self._allocate(group, name, size_bytes, tags_of(Role.METADATA))
        elif found.role is not Role.METADATA or found.size_bytes != size_bytes:
            raise _taken(found)
        elif not found.is_active:
            await self._activate(found)
        if found is None or READY not in found.tags:
            await self._tools.zero(device, size_bytes)
            await self._mark_ready(pool, name)
        return device

    async def delete_metadata(self, pool: str, volume: str) -> None:
        """See VolumeDriver."""
        group = (await self._tools.report()).find(pool)
        found = group.find(metadata_name(volume)) if group is not None and group.is_ours else None
        if found is None or found.role is not Role.METADATA:
            return
        await self._mounts.refuse_open(found)
        await self._tools.change(["lvremove", "--yes", f"{pool}/{found.name}"], f"the metadata of {pool}/{volume}")


def _check(spec: VolumeSpec) -> None:
    check_name(spec.pool, "pool")
    check_name(spec.name, "name")
    check_length(spec.pool, spec.name)
    _check_size(spec.size_bytes)
    _check_file_system(spec)
    if spec.has_file_system and spec.size_bytes < SMALLEST_FILE_SYSTEM_BYTES:
        text = f"a volume with a file system has at least {SMALLEST_FILE_SYSTEM_BYTES} bytes: XFS makes none smaller"
        raise InvalidError(text, reasons=[Reason("too-small", text, "ask for more", "size_bytes")])


def _check_file_system(spec: VolumeSpec) -> None:
    if spec.io_type is IoType.FILE and spec.file_system is not FileSystem.XFS:
        text = "the file of a logical unit lies on XFS, which allocates all its room at once"
        raise InvalidError(text, reasons=[Reason("bad-file-system", text, "leave it out", "file_system")])


def _check_size(size_bytes: int) -> None:
    if size_bytes <= 0:
        text = "a size is at least one byte"
        raise InvalidError(text, reasons=[Reason("bad-size", text, "ask for more", "size_bytes")])


def _refuse_another(found: LogicalVolume, spec: VolumeSpec, size_bytes: int) -> None:
    is_as_asked = found.size_bytes == size_bytes and (found.thin_pool is not None) == spec.is_thin
    if spec.has_file_system:
        is_as_asked = is_as_asked and file_system_of(found.tags) is spec.file_system
    if found.role is not Role.VOLUME or kind_of(found.tags) is not spec.kind or not is_as_asked:
        raise _taken(found)


def _taken(found: LogicalVolume) -> ConflictError:
    what = kind_of(found.tags) or found.role or "foreign"
    text = f"there is {found.group}/{found.name} already, {what}, of {found.size_bytes} bytes"
    return ConflictError(text, reasons=[Reason("exists", text, "choose another name", "name")])


def _is_of(snapshot: LogicalVolume, volume: LogicalVolume) -> bool:
    return snapshot_parts(snapshot.name)[0] == volume.name


def refuse_with_dependents(group: Group, volume: LogicalVolume) -> None:
    """Raise BusyError, naming what hangs on the volume."""
    reasons = [
        Reason(
            "has-snapshot", f"{volume.name} has the snapshot {snapshot_parts(v.name)[1] or v.name}", "delete it first"
        )
        for v in group.volumes
        if v.origin == volume.name or (v.thin_pool and v.role is Role.SNAPSHOT and _is_of(v, volume))
    ]
    if group.find(metadata_name(volume.name)):
        text = f"{volume.name} has replication metadata"
        reasons.append(Reason("has-metadata", text, "delete its mirror first"))
    if reasons:
        raise BusyError("; ".join(reason.text for reason in reasons), reasons=reasons)
