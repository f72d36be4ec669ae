"""What a pool's room is used for (S10): what is reserved, what is free, and what each volume really uses."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from holdfast.hooks.pools import PoolDisk, Reserves, ThinPool
from holdfast.hooks.volume import FileSystemUse, Volume, VolumeKind
from holdfast.services.documents import VolumeDocument
from holdfast.services.drivers import Drivers
from holdfast.services.volumes.volumes import Volumes
from holdfast.store.intent import Intents


@dataclass(frozen=True)
class VolumeUse:
    """What one volume uses."""

    name: str
    label: str
    kind: VolumeKind
    is_thin: bool
    size_bytes: int
    used_bytes: int | None
    """Of the pool, or of its thin pool; None while that is not known."""
    snapshots_bytes: int
    """Reserved for its snapshots."""
    files: FileSystemUse | None
    """What its file system says, while it is mounted."""
    is_on_record: bool
    """False: nobody asked this node for it."""


@dataclass(frozen=True)
class PoolReport:
    """All of a pool: what is free, `volumes_bytes`, the thin pool, the reserves and `others_bytes` are its size."""

    name: str
    size_bytes: int
    free_bytes: int
    reserves: Reserves
    thin: ThinPool | None
    volumes_bytes: int
    """Of all thick volumes."""
    others_bytes: int
    """Taken by what this product did not make."""
    disks: tuple[PoolDisk, ...]
    volumes: tuple[VolumeUse, ...]


class PoolReports:
    """Reads what is; nothing of it is kept."""

    def __init__(self, documents: Intents[VolumeDocument], volumes: Volumes, drivers: Drivers) -> None:
        self._documents = documents
        self._volumes = volumes
        self._drivers = drivers

    async def get(self, name: str) -> PoolReport:
        """The report of one pool. Raises NotFoundError."""
        driver = self._drivers.volume()
        pool = await driver.get_pool(name)
        found = await driver.list_volumes(name)
        snapshots: defaultdict[str, int] = defaultdict(int)
        for snapshot in await driver.list_snapshots(name):
            snapshots[snapshot.volume] += snapshot.reserve_bytes
        kept = await self._documents.all()
        uses = [await self._use(volume, kept.get(volume.name), snapshots[volume.name]) for volume in found]
        volumes_bytes = sum(volume.size_bytes for volume in found if not volume.is_thin)
        own = pool.reserves
        reserved = own.snapshots_bytes + own.replication_metadata_bytes + own.system_bytes + own.thin_metadata_bytes
        known_bytes = pool.free_bytes + reserved + volumes_bytes + (pool.thin.size_bytes if pool.thin else 0)
        return PoolReport(
            name=name,
            size_bytes=pool.size_bytes,
            free_bytes=pool.free_bytes,
            reserves=pool.reserves,
            thin=pool.thin,
            volumes_bytes=volumes_bytes,
            others_bytes=pool.size_bytes - known_bytes,
            disks=pool.members,
            volumes=tuple(uses),
        )

    async def _use(self, volume: Volume, document: VolumeDocument | None, snapshots_bytes: int) -> VolumeUse:
        files = None
        if document is not None and document.pool == volume.pool and document.has_file_system:
            driver, directory = self._drivers.volume(), str(self._volumes.directory(document))
            if await driver.is_mounted(document.mirrored_as or volume.device, directory):
                files = await driver.file_system_use(directory)
        return VolumeUse(
            name=volume.name,
            label=document.label if document is not None else "",
            kind=volume.kind,
            is_thin=volume.is_thin,
            size_bytes=volume.size_bytes,
            used_bytes=volume.used_bytes,
            snapshots_bytes=snapshots_bytes,
            files=files,
            is_on_record=document is not None and document.pool == volume.pool,
        )
