"""The driver: each operation of the contract, and the part that does it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from holdfast.hooks.base import Can, Host
from holdfast.hooks.pools import FoundPool, Told
from holdfast.hooks.volume import Disk, FileSystemUse, Pool, Snapshot, SnapshotSpec, Volume, VolumeDriver, VolumeSpec
from holdfast_volume_lvm import growing, pool_imports, thin, unit_files
from holdfast_volume_lvm.mounts import Mounts
from holdfast_volume_lvm.pool_disks import PoolDisks
from holdfast_volume_lvm.pools import Pools
from holdfast_volume_lvm.settings import Settings
from holdfast_volume_lvm.snapshot_work import SnapshotWork
from holdfast_volume_lvm.snapshots import Snapshots
from holdfast_volume_lvm.tools import Tools
from holdfast_volume_lvm.volumes import Volumes


class LvmVolumes(VolumeDriver):
    """Volumes by LVM, file systems by XFS or ext4. What is ours in LVM carries our tags (naming.py).

    It remembers nothing: each operation reads what is, changes, and reads again.
    """

    can: ClassVar[frozenset[Can]] = frozenset(
        {
            *(Can.VOLUME_NAS, Can.VOLUME_SNAPSHOT, Can.VOLUME_GROW, Can.VOLUME_FILE, Can.VOLUME_THIN, Can.VOLUME_EXT4),
            *(Can.SNAPSHOT_GROW, Can.SNAPSHOT_ROLL_BACK, Can.SNAPSHOT_COPY),
            *(Can.POOL_DISKS, Can.POOL_RENAME, Can.POOL_IMPORT, Can.DISK_HEALTH),
        }
    )

    def __init__(self, settings: Settings, host: Host) -> None:
        self._tools = tools = Tools(host, settings)
        self._mounts = Mounts(host, tools, settings)
        self._pools = Pools(tools, settings)
        self._pool_disks = PoolDisks(tools, host.clock)
        self._volumes = Volumes(tools, self._mounts, settings)
        self._snapshots = Snapshots(tools, self._mounts, settings)
        self._work = SnapshotWork(tools, self._mounts, self._snapshots)

    async def list_disks(self) -> tuple[Disk, ...]:
        """See VolumeDriver."""
        return await self._pools.list_disks()

    async def create_pool(self, name: str, disks: tuple[str, ...], *, overwrite: Mapping[str, tuple[str, ...]]) -> Pool:
        """See VolumeDriver."""
        return await self._pools.create(name, disks, overwrite)

    async def list_pools(self) -> tuple[Pool, ...]:
        """See VolumeDriver."""
        return await self._pools.list()

    async def get_pool(self, name: str) -> Pool:
        """See VolumeDriver."""
        return await self._pools.get(name)

    async def delete_pool(self, name: str) -> None:
        """See VolumeDriver."""
        await self._pools.delete(name)

    async def activate_pool(self, name: str) -> None:
        """See VolumeDriver."""
        await self._pools.activate(name)

    async def extend_pool(self, name: str, disks: tuple[str, ...], *, overwrite: Mapping[str, tuple[str, ...]]) -> Pool:
        """See PoolUpkeep."""
        return await self._pools.extend(name, disks, overwrite)

    async def move_off(self, name: str, disk: str, told: Told) -> None:
        """See PoolUpkeep."""
        await self._pool_disks.move_off(name, disk, told)

    async def stop_moving_off(self, name: str, disk: str) -> None:
        """See PoolUpkeep."""
        await self._pool_disks.stop(name, disk)

    async def remove_disk(self, name: str, disk: str) -> Pool:
        """See PoolUpkeep."""
        await self._pool_disks.remove(name, disk)
        return await self._pools.get(name)

    async def forget_missing(self, name: str) -> Pool:
        """See PoolUpkeep."""
        await self._pool_disks.forget_missing(name)
        return await self._pools.get(name)

    async def ask_disk(self, disk: str) -> str:
        """See PoolUpkeep."""
        return await self._tools.ask_disk(disk)

    async def rename_pool(self, name: str, new_name: str) -> Pool:
        """See PoolUpkeep."""
        await pool_imports.rename(self._tools, name, new_name)
        return await self._pools.get(new_name)

    async def list_found_pools(self) -> tuple[FoundPool, ...]:
        """See PoolUpkeep."""
        return await pool_imports.list_found(self._tools)

    async def import_pool(self, found: str, name: str) -> Pool:
        """See PoolUpkeep."""
        await pool_imports.take(self._tools, found, name)
        await self._pools.activate(name)
        return await self._pools.get(name)

    async def create_thin_pool(self, pool: str, size_bytes: int) -> Pool:
        """See PoolUpkeep."""
        await thin.create_pool(self._tools, pool, size_bytes)
        return await self._pools.get(pool)

    async def grow_thin_pool(self, pool: str, *, size_bytes: int | None, metadata_bytes: int | None) -> Pool:
        """See PoolUpkeep."""
        await thin.grow_pool(self._tools, pool, size_bytes, metadata_bytes)
        return await self._pools.get(pool)

    async def delete_thin_pool(self, pool: str) -> None:
        """See PoolUpkeep."""
        await thin.delete_pool(self._tools, pool)

    async def create_volume(self, spec: VolumeSpec) -> Volume:
        """See VolumeDriver."""
        return await self._volumes.create(spec)

    async def list_volumes(self, pool: str | None = None) -> tuple[Volume, ...]:
        """See VolumeDriver."""
        return await self._volumes.list(pool)

    async def get_volume(self, pool: str, name: str) -> Volume:
        """See VolumeDriver."""
        return await self._volumes.get(pool, name)

    async def delete_volume(self, pool: str, name: str) -> None:
        """See VolumeDriver."""
        await self._volumes.delete(pool, name)

    async def grow_volume(self, pool: str, name: str, size_bytes: int) -> Volume:
        """See VolumeDriver."""
        await growing.grow_volume(self._tools, pool, name, size_bytes)
        return await self._volumes.get(pool, name)

    async def grow_file_system(self, directory: str) -> None:
        """See VolumeDriver."""
        await self._mounts.grow(directory)

    def unit_file_bytes(self, volume_bytes: int) -> int:
        """See VolumeDriver."""
        return unit_files.size_on(volume_bytes)

    async def make_unit_file(self, directory: str, size_bytes: int) -> str:
        """See VolumeDriver."""
        return await self._mounts.make_unit_file(directory, size_bytes)

    async def grow_unit_file(self, directory: str, size_bytes: int) -> None:
        """See VolumeDriver."""
        await self._mounts.grow_unit_file(directory, size_bytes)

    async def create_metadata(self, pool: str, volume: str, size_bytes: int) -> str:
        """See VolumeDriver."""
        return await self._volumes.create_metadata(pool, volume, size_bytes)

    async def delete_metadata(self, pool: str, volume: str) -> None:
        """See VolumeDriver."""
        await self._volumes.delete_metadata(pool, volume)

    async def mount(self, device: str, directory: str, *, read_only: bool = False) -> None:
        """See VolumeDriver."""
        await self._mounts.mount(device, directory, read_only=read_only)

    async def is_mounted(self, device: str, directory: str) -> bool:
        """See VolumeDriver."""
        return self._mounts.is_mounted(device, directory)

    async def is_shut_down(self, directory: str) -> bool:
        """See VolumeDriver."""
        return await self._mounts.is_shut_down(directory)

    async def file_system_use(self, directory: str) -> FileSystemUse:
        """See VolumeDriver."""
        return await self._mounts.use_of(directory)

    async def unmount(self, directory: str) -> None:
        """See VolumeDriver."""
        await self._mounts.unmount(directory)

    async def create_snapshot(self, spec: SnapshotSpec) -> Snapshot:
        """See VolumeDriver."""
        return await self._snapshots.create(spec)

    async def list_snapshots(self, pool: str | None = None) -> tuple[Snapshot, ...]:
        """See VolumeDriver."""
        return await self._snapshots.list(pool)

    async def delete_snapshot(self, pool: str, volume: str, name: str) -> None:
        """See VolumeDriver."""
        await self._snapshots.delete(pool, volume, name)

    async def grow_snapshot(self, pool: str, volume: str, name: str, reserve_bytes: int) -> Snapshot:
        """See SnapshotUpkeep."""
        await self._work.grow(pool, volume, name, reserve_bytes)
        return await self._snapshots.get(pool, volume, name)

    async def roll_back(self, pool: str, volume: str, name: str) -> None:
        """See SnapshotUpkeep."""
        await self._work.roll_back(pool, volume, name)

    async def copy_snapshot(
        self, pool: str, volume: str, name: str, into: str, *, offset_bytes: int, size_bytes: int
    ) -> None:
        """See SnapshotUpkeep."""
        await self._work.copy(pool, volume, name, into, offset_bytes, size_bytes)

    async def branch_snapshot(self, pool: str, volume: str, name: str, into: str) -> None:
        """See SnapshotUpkeep."""
        await self._work.branch(pool, volume, name, into)


async def open_driver(settings: Settings, host: Host) -> VolumeDriver:
    """See Offer.open."""
    return LvmVolumes(settings, host)
