"""The pools of the volume role in memory: see `memory_volume.py`, which puts volumes into them."""

from __future__ import annotations

import asyncio
import re
import uuid
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace

from holdfast.errors import BusyError, ConflictError, InvalidError, NoSpaceError, NotFoundError
from holdfast.hooks.base import Can
from holdfast.hooks.pools import Disk, FoundPool, Pool, PoolDisk, Reserves, ThinPool, Told
from holdfast.hooks.volume import VolumeDriver

MIB = 1024 * 1024
EXTENT_BYTES = 4 * MIB
MEMBER = "memory_member"
_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}\Z")

POOL_ABILITIES = (Can.POOL_DISKS, Can.POOL_RENAME, Can.POOL_IMPORT, Can.VOLUME_THIN, Can.DISK_HEALTH)
THIN_METADATA_BYTES = EXTENT_BYTES


@dataclass(frozen=True)
class Taken:
    """What lies in a pool."""

    volumes_bytes: int
    snapshots_bytes: int
    metadata_bytes: int
    promised_bytes: int
    names: tuple[str, ...]
    thin_names: tuple[str, ...]

    @property
    def thick_bytes(self) -> int:
        """What the disks hold of it, besides a thin pool."""
        return self.volumes_bytes + self.snapshots_bytes + self.metadata_bytes


class MemoryPools(VolumeDriver):
    """See PoolUpkeep. Data fills a pool's disks in their order, but for those that it was moved off."""

    def __init__(self, disks: Mapping[str, int]) -> None:
        """`disks` gives the size in bytes of each blank disk."""
        self.disks = dict(disks)
        self.pools: dict[str, tuple[str, ...]] = {}
        self.ids: dict[str, str] = {}
        self.foreign: dict[str, FoundPool] = {}
        """What others made, by its id."""
        self.missing: set[str] = set()
        self.leaving: set[str] = set()
        """Disks that get nothing new."""
        self.emptied: set[str] = set()
        """Disks that all was moved off."""
        self.moves_wait = False
        """While true nothing is moved, however long it is asked for."""
        self.thin: dict[str, ThinPool] = {}
        self.told: dict[str, str] = {}
        """What disks tell of themselves, as smartctl would print it; the others tell nothing."""
        self.hung: set[str] = set()
        """Disks that never answer."""
        self.asked: list[str] = []
        self.carried: dict[str, tuple[str, ...]] = {}
        """The signatures of each disk and device that has any."""

    @abstractmethod
    def _taken_bytes(self, pool: str) -> Taken:
        """What lies in a pool."""

    @abstractmethod
    def _rename(self, name: str, new_name: str) -> None:
        """Let all that lies in a pool follow its name."""

    async def list_disks(self) -> tuple[Disk, ...]:
        """See VolumeDriver."""
        return tuple(
            Disk(path, size_bytes, self.carried.get(path, ()), self._pool_of_disk(path))
            for path, size_bytes in sorted(self.disks.items())
            if path not in self.missing
        )

    def _pool_of_disk(self, path: str) -> str | None:
        others = {pool.name: pool.disks for pool in self.foreign.values()}
        return next((name for name, disks in (others | self.pools).items() if path in disks), None)

    async def create_pool(self, name: str, disks: tuple[str, ...], *, overwrite: Mapping[str, tuple[str, ...]]) -> Pool:
        """See VolumeDriver."""
        check_name(name)
        if name in self.pools:
            if set(self.pools[name]) != set(disks):
                raise ConflictError(f"there is a pool {name} of {', '.join(self.pools[name])}")
            return self._pool(name)
        self._judge(disks, overwrite)
        self.pools[name] = disks
        self.ids[name] = str(uuid.uuid4())
        self.carried |= dict.fromkeys(disks, (MEMBER,))
        return self._pool(name)

    def _judge(self, disks: tuple[str, ...], overwrite: Mapping[str, tuple[str, ...]]) -> None:
        for path in disks:
            if path not in self.disks:
                raise NotFoundError(f"there is no disk {path}")
            if user := self._pool_of_disk(path):
                raise BusyError(f"{path} is used by {user}")
            found = self.carried.get(path, ())
            if found and set(overwrite.get(path, ())) != set(found):
                raise ConflictError(f"{path} carries {', '.join(found)}")

    def _pool(self, name: str) -> Pool:
        disks, taken, thin = self.pools[name], self._taken_bytes(name), self.thin.get(name)
        size_bytes = sum(self.disks[path] for path in disks)
        members = tuple(self._member(name, path) for path in sorted(disks, key=lambda p: (p in self.missing, p)))
        thin_bytes = thin.size_bytes if thin else 0
        thin_metadata_bytes = thin.metadata_bytes if thin else 0
        free_bytes = sum(m.free_bytes for m in members if not m.is_missing and not m.is_leaving)
        rest_bytes = size_bytes - free_bytes - taken.thick_bytes - thin_bytes - thin_metadata_bytes
        reserves = Reserves(taken.snapshots_bytes, taken.metadata_bytes, rest_bytes, thin_metadata_bytes)
        there = tuple(sorted(set(disks) - self.missing))
        if thin is not None:
            thin = replace(thin, promised_bytes=taken.promised_bytes)
        return Pool(name, size_bytes, free_bytes, EXTENT_BYTES, there, reserves, members, thin)

    def _member(self, pool: str, path: str) -> PoolDisk:
        room_bytes = self.disks[path] - EXTENT_BYTES
        is_missing = path in self.missing
        used_bytes = self._used_bytes(pool, path)
        shown = None if is_missing else path
        sizes = self.disks[path], room_bytes - used_bytes, used_bytes
        return PoolDisk(path, shown, *sizes, is_missing, path in self.leaving)

    def _used_bytes(self, pool: str, path: str) -> int:
        """How much of what lies in a pool lies on one of its disks."""
        thin = self.thin.get(pool)
        left_bytes = self._taken_bytes(pool).thick_bytes + (thin.size_bytes + thin.metadata_bytes if thin else 0)
        for disk in (disk for disk in self.pools[pool] if disk not in self.emptied):
            here_bytes = min(left_bytes, self.disks[disk] - EXTENT_BYTES)
            if disk == path:
                return here_bytes
            left_bytes -= here_bytes
        return 0

    def _need_pool(self, name: str) -> None:
        if name not in self.pools:
            raise NotFoundError(f"there is no pool {name}")

    def _need_room(self, pool: str, size_bytes: int) -> None:
        missing = size_bytes - self._pool(pool).free_bytes
        if missing > 0:
            raise NoSpaceError(f"{missing} bytes are missing in the pool {pool}")

    def _need_thin(self, pool: str) -> ThinPool:
        self._need_pool(pool)
        if pool not in self.thin:
            raise NotFoundError(f"the pool {pool} has no thin pool")
        return self.thin[pool]

    async def list_pools(self) -> tuple[Pool, ...]:
        """See VolumeDriver."""
        return tuple(self._pool(name) for name in sorted(self.pools))

    async def get_pool(self, name: str) -> Pool:
        """See VolumeDriver."""
        self._need_pool(name)
        return self._pool(name)

    async def delete_pool(self, name: str) -> None:
        """See VolumeDriver."""
        if left := self._taken_bytes(name).names:
            raise BusyError(f"the pool {name} still has {', '.join(left)}")
        if name in self.thin:
            raise BusyError(f"the pool {name} still has a thin pool")
        for path in self.pools.pop(name, ()):
            self._give_back(path)

    def _give_back(self, path: str) -> None:
        self.carried.pop(path, None)
        self.leaving.discard(path)
        self.emptied.discard(path)

    # --- disks that come and go ---

    async def extend_pool(self, name: str, disks: tuple[str, ...], *, overwrite: Mapping[str, tuple[str, ...]]) -> Pool:
        """See PoolUpkeep."""
        self._need_pool(name)
        new = tuple(path for path in disks if path not in self.pools[name])
        self._judge(new, overwrite)
        self.pools[name] += new
        self.carried |= dict.fromkeys(new, (MEMBER,))
        return self._pool(name)

    async def move_off(self, name: str, disk: str, told: Told) -> None:
        """See PoolUpkeep."""
        self._need_disk(name, disk)
        others = (m for m in self._pool(name).members if not m.is_missing and not m.is_leaving and m.path != disk)
        missing = self._used_bytes(name, disk) - sum(m.free_bytes for m in others)
        if missing > 0:
            raise NoSpaceError(f"{missing} bytes are missing on the other disks of {name}")
        self.leaving.add(disk)
        await told(0.0)
        while self.moves_wait:
            await asyncio.sleep(0.01)
            await told(50.0)
        self.emptied.add(disk)

    def _need_disk(self, name: str, disk: str) -> None:
        self._need_pool(name)
        if disk not in self.pools[name]:
            raise NotFoundError(f"{disk} is no disk of the pool {name}")

    async def stop_moving_off(self, name: str, disk: str) -> None:
        """See PoolUpkeep."""
        if disk in self.pools.get(name, ()):
            self.leaving.discard(disk)
            self.emptied.discard(disk)

    async def remove_disk(self, name: str, disk: str) -> Pool:
        """See PoolUpkeep."""
        self._need_pool(name)
        if disk in self.pools[name]:
            if used_bytes := self._used_bytes(name, disk):
                raise BusyError(f"{used_bytes} bytes lie on {disk}")
            if len(self.pools[name]) == 1:
                raise BusyError(f"{disk} is the last disk of the pool {name}")
            self.pools[name] = tuple(path for path in self.pools[name] if path != disk)
            self._give_back(disk)
        return self._pool(name)

    async def forget_missing(self, name: str) -> Pool:
        """See PoolUpkeep."""
        self._need_pool(name)
        gone = [path for path in self.pools[name] if path in self.missing]
        if any(self._used_bytes(name, path) for path in gone):
            raise BusyError(f"on missing disks lies a part of {', '.join(self._taken_bytes(name).names)}")
        self.pools[name] = tuple(path for path in self.pools[name] if path not in gone)
        return self._pool(name)

    # --- names, and pools of others ---

    async def rename_pool(self, name: str, new_name: str) -> Pool:
        """See PoolUpkeep."""
        check_name(new_name)
        if name not in self.pools and new_name in self.pools:
            return self._pool(new_name)
        self._need_pool(name)
        if name != new_name:
            if new_name in self.pools or any(pool.name == new_name for pool in self.foreign.values()):
                raise ConflictError(f"there is a pool {new_name}")
            self.pools[new_name] = self.pools.pop(name)
            self.ids[new_name] = self.ids.pop(name)
            if name in self.thin:
                self.thin[new_name] = self.thin.pop(name)
            self._rename(name, new_name)
        return self._pool(new_name)

    async def list_found_pools(self) -> tuple[FoundPool, ...]:
        """See PoolUpkeep."""
        own = [self._found(name) for name in self.pools]
        return tuple(sorted((*own, *self.foreign.values()), key=lambda pool: (pool.name, pool.id)))

    def _found(self, name: str) -> FoundPool:
        pool, names = self._pool(name), tuple(sorted(self._taken_bytes(name).names))
        gone = sum(member.is_missing for member in pool.members)
        return FoundPool(self.ids[name], name, pool.size_bytes, pool.disks, gone, is_ours=True, contents=names)

    async def import_pool(self, found: str, name: str) -> Pool:
        """See PoolUpkeep."""
        check_name(name)
        pool = next((pool for pool in await self.list_found_pools() if pool.id == found), None)
        if pool is None:
            raise NotFoundError(f"there is no pool {found}")
        if pool.missing_disks:
            raise BusyError(f"some disks of {pool.name} are missing")
        if pool.is_ours:
            await self.rename_pool(pool.name, name)
        elif name in self.pools:
            raise ConflictError(f"there is a pool {name}")
        else:
            self.pools[name], self.ids[name] = pool.disks, found
            self.carried |= dict.fromkeys(pool.disks, (MEMBER,))
            del self.foreign[found]
        await self.activate_pool(name)
        return self._pool(name)

    async def ask_disk(self, disk: str) -> str:
        """See PoolUpkeep."""
        if disk not in self.disks:
            raise NotFoundError(f"there is no disk {disk}")
        self.asked.append(disk)
        if disk in self.hung:
            await asyncio.Event().wait()
        return self.told.get(disk, '{"smartctl": {"exit_status": 1, "messages": [{"string": "memory has no SMART"}]}}')

    # --- thin pools ---

    async def create_thin_pool(self, pool: str, size_bytes: int) -> Pool:
        """See PoolUpkeep."""
        self._need_pool(pool)
        size_bytes = round_up(size_bytes)
        if pool not in self.thin:
            self._need_room(pool, size_bytes + THIN_METADATA_BYTES)
            self.thin[pool] = ThinPool(size_bytes, 0.0, THIN_METADATA_BYTES, 0.0, 0)
        elif self.thin[pool].size_bytes != size_bytes:
            raise ConflictError(f"the pool {pool} has a thin pool of {self.thin[pool].size_bytes} bytes")
        return self._pool(pool)

    async def grow_thin_pool(self, pool: str, *, size_bytes: int | None, metadata_bytes: int | None) -> Pool:
        """See PoolUpkeep."""
        thin = self._need_thin(pool)
        wanted = max(thin.size_bytes, round_up(size_bytes or 1))
        metadata = max(thin.metadata_bytes, round_up(metadata_bytes or 1))
        self._need_room(pool, wanted - thin.size_bytes + metadata - thin.metadata_bytes)
        self.thin[pool] = replace(thin, size_bytes=wanted, metadata_bytes=metadata)
        return self._pool(pool)

    async def delete_thin_pool(self, pool: str) -> None:
        """See PoolUpkeep."""
        if names := self._taken_bytes(pool).thin_names:
            raise BusyError(f"the thin pool of {pool} still has {', '.join(names)}")
        self.thin.pop(pool, None)


def check_name(name: str) -> None:
    """Raise InvalidError for what cannot be a name."""
    if not _NAME.match(name):
        raise InvalidError(f"{name!r} cannot be a name")


def round_up(size_bytes: int) -> int:
    """A size as a pool can give it."""
    if size_bytes <= 0:
        raise InvalidError("a size is at least one byte")
    return -(-size_bytes // EXTENT_BYTES) * EXTENT_BYTES
