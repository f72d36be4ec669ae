"""From what LVM says to what the contract speaks of. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.errors import NotFoundError
from holdfast.hooks.volume import Pool, Reserves, Snapshot, Volume
from holdfast_volume_lvm.naming import READY, Role, device_path, kind_of, snapshot_parts
from holdfast_volume_lvm.report import Group, LogicalVolume, Report


def pool_of(group: Group) -> Pool:
    """A pool; what others made in its group is counted as used, by nobody we know."""
    size_bytes = sum(disk.size_bytes for disk in group.disks)
    return Pool(
        name=group.name,
        size_bytes=size_bytes,
        free_bytes=group.free_bytes,
        extent_bytes=group.extent_bytes,
        disks=tuple(sorted(disk.path for disk in group.disks)),
        reserves=Reserves(
            snapshots_bytes=_sum(group, Role.SNAPSHOT),
            replication_metadata_bytes=_sum(group, Role.METADATA),
            system_bytes=size_bytes - group.size_bytes,
        ),
    )


def _sum(group: Group, role: Role) -> int:
    return sum(volume.size_bytes for volume in group.volumes if volume.role is role)


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
    )


def snapshot_of(volume: LogicalVolume) -> Snapshot:
    """A snapshot of ours."""
    origin, name = snapshot_parts(volume.name)
    return Snapshot(
        pool=volume.group,
        volume=origin,
        name=name,
        reserve_bytes=volume.size_bytes,
        used_percent=volume.used_percent,
        is_overflown=volume.is_void,
        device=device_path(volume.group, volume.name),
    )


def pools(report: Report) -> Iterator[Group]:
    """The groups that are ours, by name."""
    return (group for group in report.groups if group.is_ours)


def volumes(group: Group) -> Iterator[LogicalVolume]:
    """Our volumes of a pool, by name."""
    found = (v for v in group.volumes if v.role is Role.VOLUME and kind_of(v.tags) is not None)
    return iter(sorted(found, key=lambda volume: volume.name))


def snapshots(group: Group) -> Iterator[LogicalVolume]:
    """Our snapshots of a pool, by volume and name. One without an origin was never finished, and is none."""
    found = (v for v in group.volumes if v.role is Role.SNAPSHOT and v.origin)
    return iter(sorted(found, key=lambda volume: snapshot_parts(volume.name)))


def find_pool(report: Report, name: str) -> Group:
    """The pool of this name. Raises NotFoundError."""
    group = report.find(name)
    if group is None or not group.is_ours:
        raise NotFoundError(f"there is no pool {name}")
    return group


def find_volume(group: Group, name: str) -> LogicalVolume:
    """The volume of this name. Raises NotFoundError."""
    for volume in volumes(group):
        if volume.name == name:
            return volume
    raise NotFoundError(f"there is no volume {name} in the pool {group.name}")
