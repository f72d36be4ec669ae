"""From what LVM says to what the contract speaks of. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from holdfast.errors import ConflictError, NotFoundError, Reason
from holdfast.hooks.pools import FoundPool, Pool, PoolDisk, Reserves, ThinPool
from holdfast.hooks.volume import Snapshot, Volume
from holdfast_volume_lvm.naming import (
    READY,
    THIN,
    Role,
    device_path,
    file_system_of,
    heir_of,
    io_type_of,
    kind_of,
    snapshot_parts,
)
from holdfast_volume_lvm.report import Group, LogicalVolume, PhysicalVolume, Report

_SPARE = "[lvol0_pmspare]"
"""Where LVM mends the metadata of a thin pool (lvmthin(7), Metadata space exhaustion)."""


def pool_of(group: Group) -> Pool:
    """A pool; what others made in its group is counted as used, by nobody we know."""
    size_bytes = sum(disk.size_bytes for disk in group.disks)
    thin, spare = group.find(THIN), group.find(_SPARE)
    return Pool(
        name=group.name,
        size_bytes=size_bytes,
        free_bytes=group.open_bytes,
        extent_bytes=group.extent_bytes,
        disks=tuple(sorted(disk.path for disk in group.disks if not disk.is_missing)),
        reserves=Reserves(
            snapshots_bytes=_sum(group, Role.SNAPSHOT),
            replication_metadata_bytes=_sum(group, Role.METADATA),
            system_bytes=size_bytes - group.size_bytes + group.free_bytes - group.open_bytes,
            thin_metadata_bytes=(thin.metadata_bytes if thin else 0) + (spare.size_bytes if spare else 0),
        ),
        members=tuple(_member(disk) for disk in sorted(group.disks, key=lambda d: (d.is_missing, d.path))),
        thin=_thin_pool(group, thin) if thin is not None and thin.role is Role.THIN_POOL else None,
    )


def _member(disk: PhysicalVolume) -> PoolDisk:
    path = None if disk.is_missing else disk.path
    sizes = disk.size_bytes, disk.free_bytes, disk.used_bytes
    return PoolDisk(disk.uuid, path, *sizes, disk.is_missing, is_leaving=not disk.is_allocatable)


def _thin_pool(group: Group, thin: LogicalVolume) -> ThinPool:
    promised = sum(_promised_bytes(v) for v in group.volumes if v.thin_pool == THIN)
    percents = thin.used_percent, thin.metadata_percent
    return ThinPool(thin.size_bytes, percents[0], thin.metadata_bytes, percents[1], promised)


def _promised_bytes(volume: LogicalVolume) -> int:
    """What it could take of the thin pool: all of it, or of a snapshot, which nobody writes, what it holds now."""
    used_bytes = _used_bytes(volume) if volume.role is Role.SNAPSHOT else None
    return volume.size_bytes if used_bytes is None else used_bytes


def found_pool(group: Group) -> FoundPool:
    """A group as something that could be imported."""
    return FoundPool(
        id=group.uuid,
        name=group.name,
        size_bytes=sum(disk.size_bytes for disk in group.disks),
        disks=tuple(sorted(disk.path for disk in group.disks if not disk.is_missing)),
        missing_disks=sum(disk.is_missing for disk in group.disks),
        is_ours=group.is_ours and not group.is_exported,
        contents=tuple(sorted(volume.name for volume in group.volumes if not volume.is_hidden)),
    )


def _sum(group: Group, role: Role) -> int:
    """What a role takes of the group itself; what is thin takes nothing but from the thin pool."""
    return sum(v.size_bytes for v in group.volumes if v.role is role and v.thin_pool is None)


def volume_of(volume: LogicalVolume) -> Volume:
    """A volume of ours. One whose making was interrupted is not active: it is not to be used."""
    kind = kind_of(volume.tags)
    assert kind is not None
    return Volume(
        pool=volume.group,
        name=volume.name,
        size_bytes=volume.size_bytes,
        kind=kind,
        device=device_path(volume.group, volume.name),
        uuid=volume.uuid,
        is_active=volume.is_active and READY in volume.tags,
        is_thin=volume.thin_pool is not None,
        used_bytes=_used_bytes(volume),
        io_type=io_type_of(volume.tags),
        file_system=file_system_of(volume.tags),
    )


def _used_bytes(volume: LogicalVolume) -> int | None:
    """What it takes of its pool; of a thin one, what was written to it, as long as it is active."""
    if volume.thin_pool is None:
        return volume.size_bytes
    return None if volume.used_percent is None else round(volume.size_bytes * volume.used_percent / 100)


def snapshot_of(volume: LogicalVolume) -> Snapshot:
    """A snapshot of ours."""
    origin, name = snapshot_parts(volume.name)
    is_thin, percent = volume.thin_pool is not None, volume.used_percent
    return Snapshot(
        pool=volume.group,
        volume=origin,
        name=name,
        reserve_bytes=0 if is_thin else volume.size_bytes,
        used_percent=None if is_thin else percent,
        is_overflown=volume.is_void and not is_thin,
        device=device_path(volume.group, volume.name),
        is_thin=is_thin,
        used_bytes=None if percent is None else round(volume.size_bytes * percent / 100),
    )


def pools(report: Report) -> Iterator[Group]:
    """The groups that are ours, by name."""
    return (group for group in report.groups if group.is_ours and not group.is_exported)


def volumes(group: Group) -> Iterator[LogicalVolume]:
    """Our volumes of a pool, by name. What is to take the place of one is that one as soon as that is gone."""
    found = {v.name: v for v in group.volumes if v.role is Role.VOLUME and kind_of(v.tags) is not None}
    for heir in [name for name in found if heir_of(name) is not None]:
        volume, name = found.pop(heir), heir_of(heir) or heir
        found.setdefault(name, replace(volume, name=name, is_active=False))
    return iter(sorted(found.values(), key=lambda volume: volume.name))


def snapshots(group: Group) -> Iterator[LogicalVolume]:
    """Our snapshots of a pool, by volume and name. A thick one without an origin was never finished, and is none.

    Nor is one that LVM hides: it is being merged into its volume. Of thin ones LVM forgets the origin when another one
    takes its place (a rollback): the name tells whose they are.
    """
    found = (v for v in group.volumes if v.role is Role.SNAPSHOT and (v.origin or v.thin_pool) and not v.is_hidden)
    return iter(sorted(found, key=lambda volume: snapshot_parts(volume.name)))


def find_pool(report: Report, name: str) -> Group:
    """The pool of this name. Raises NotFoundError."""
    group = report.find(name)
    if group is None or not group.is_ours or group.is_exported:
        raise NotFoundError(f"there is no pool {name}")
    if sum(other.name == name for other in report.groups) > 1:
        # LVM takes one of them, and says so in a warning only.
        text = f"there are two volume groups named {name} on this node's disks"
        remedy = "import the other one under another name, or take its disks out"
        raise ConflictError(text, reasons=[Reason("two-of-a-name", text, remedy, "name")])
    return group


def find_volume(group: Group, name: str) -> LogicalVolume:
    """The volume of this name. Raises NotFoundError."""
    for volume in volumes(group):
        if volume.name == name:
            return volume
    raise NotFoundError(f"there is no volume {name} in the pool {group.name}")
