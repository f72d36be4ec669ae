"""The driver: each operation of the contract, and the part that does it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from holdfast.hooks.base import Can, Host
from holdfast.hooks.volume import Disk, Pool, Snapshot, SnapshotSpec, Volume, VolumeDriver, VolumeSpec
from holdfast_volume_lvm import growing, unit_files
from holdfast_volume_lvm.mounts import Mounts
from holdfast_volume_lvm.pools import Pools
from holdfast_volume_lvm.settings import Settings
from holdfast_volume_lvm.snapshots import Snapshots
from holdfast_volume_lvm.tools import Tools
from holdfast_volume_lvm.volumes import Volumes


class LvmVolumes(VolumeDriver):
    """Volumes by LVM, file systems by XFS. What is ours in LVM carries our tags (naming.py).

    It remembers nothing: each operation reads what is, changes, and reads again.
    """

    can: ClassVar[frozenset[Can]] = frozenset({Can.VOLUME_NAS, Can.VOLUME_SNAPSHOT, Can.VOLUME_GROW, Can.VOLUME_FILE})

    def __init__(self, settings: Settings, host: Host) -> None:
        self._tools = tools = Tools(host, settings)
        self._mounts = Mounts(host, tools, settings)
        self._pools = Pools(tools, settings)
        self._volumes = Volumes(tools, self._mounts, settings)
        self._snapshots = Snapshots(tools, self._mounts, settings)

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
        await growing.grow_file_system(self._tools, directory)

    def unit_file_bytes(self, volume_bytes: int) -> int:
        """See VolumeDriver."""
        return unit_files.size_on(volume_bytes)

    async def make_unit_file(self, directory: str, size_bytes: int) -> str:
        """See VolumeDriver."""
        return await self._mounts.make_unit_file(directory, size_bytes)

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


async def open_driver(settings: Settings, host: Host) -> VolumeDriver:
    """See Offer.open."""
    return LvmVolumes(settings, host)
