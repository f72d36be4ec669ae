"""The volume role in memory: the contract without a mechanism.

Files of NAS volumes are real: they lie below a directory, a mount is a symbolic link to them, and a
snapshot is a copy. So a copy driver can run on it. Nothing here knows LVM.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from holdfast.errors import BusyError, ConflictError, InvalidError, NoSpaceError, NotFoundError, UnavailableError
from holdfast.hooks.base import Can
from holdfast.hooks.volume import (
    UNIT_FILE,
    FileSystemUse,
    Snapshot,
    SnapshotSpec,
    Volume,
    VolumeSpec,
)
from holdfast.testing.memory_pools import EXTENT_BYTES, MIB, POOL_ABILITIES, MemoryPools, Taken, check_name, round_up

FILE_SYSTEM = "memoryfs"
DISKS = {f"/dev/memory-{number}": 4096 * MIB for number in (1, 2, 3)}


@dataclass(frozen=True)
class Mounted:
    """What is mounted at a directory."""

    device: str
    is_read_only: bool


class MemoryVolumes(MemoryPools):
    """See VolumeDriver. Tests may read and change all its attributes: they are the reality it drives."""

    can: ClassVar[frozenset[Can]] = frozenset(
        {
            *POOL_ABILITIES,
            *(Can.VOLUME_NAS, Can.VOLUME_SNAPSHOT, Can.VOLUME_GROW, Can.VOLUME_FILE, Can.VOLUME_EXT4),
            *(Can.SNAPSHOT_GROW, Can.SNAPSHOT_ROLL_BACK, Can.SNAPSHOT_COPY),
        }
    )

    def __init__(self, content: Path, disks: Mapping[str, int] = DISKS) -> None:
        """`content` is where the files of NAS volumes lie; `disks` gives the size in bytes of each blank disk."""
        super().__init__(disks)
        self.content = content
        self.volumes: dict[tuple[str, str], Volume] = {}
        self.metadata: dict[tuple[str, str], int] = {}
        self.snapshots: dict[tuple[str, str, str], Snapshot] = {}
        self.active: set[str] = set()
        """The devices that are available."""
        self.held: set[str] = set()
        """Devices and mount points that somebody uses."""
        self.shut_down: set[str] = set()
        """Mount points whose file systems give errors until they are unmounted."""
        self.mounts: dict[str, Mounted] = {}
        self.above: dict[str, str] = {}
        """Mirrored devices: what is on each is on the device below it."""

    def reboot(self) -> None:
        """Forget what a boot forgets."""
        for directory in list(self.mounts):
            self._take_away(directory)
        self.held.clear()
        self.active.clear()

    def _taken_bytes(self, pool: str) -> Taken:
        """See MemoryPools."""
        return Taken(
            volumes_bytes=sum(v.size_bytes for v in self.volumes.values() if v.pool == pool and not v.is_thin),
            snapshots_bytes=sum(s.reserve_bytes for s in self.snapshots.values() if s.pool == pool),
            metadata_bytes=sum(size for (name, _), size in self.metadata.items() if name == pool),
            promised_bytes=sum(v.size_bytes for v in self.volumes.values() if v.pool == pool and v.is_thin)
            + sum(self._held_bytes(s.device) for s in self.snapshots.values() if s.pool == pool and s.is_thin),
            names=tuple(name for found, name in self.volumes if found == pool),
            thin_names=(
                *(v.name for v in self.volumes.values() if v.pool == pool and v.is_thin),
                *(s.name for s in self.snapshots.values() if s.pool == pool and s.is_thin),
            ),
        )

    def _rename(self, name: str, new_name: str) -> None:
        """See MemoryPools."""

        def path(device: str) -> str:
            beginning = f"/dev/{name}/"
            return f"/dev/{new_name}/{device.removeprefix(beginning)}" if device.startswith(beginning) else device

        files = self.content / name
        if files.is_dir():
            files.rename(self.content / new_name)
        volumes = {(path(f"/dev/{p}/").split("/")[2], v): found for (p, v), found in self.volumes.items()}
        self.volumes = {key: replace(v, pool=key[0], device=path(v.device)) for key, v in volumes.items()}
        self.metadata = {(path(f"/dev/{p}/").split("/")[2], v): size for (p, v), size in self.metadata.items()}
        snapshots = {(path(f"/dev/{p}/").split("/")[2], v, n): s for (p, v, n), s in self.snapshots.items()}
        self.snapshots = {key: replace(s, pool=key[0], device=path(s.device)) for key, s in snapshots.items()}
        self.active = {path(device) for device in self.active}
        self.carried = {path(device): found for device, found in self.carried.items()}
        self.above = {upper: path(lower) for upper, lower in self.above.items()}
        for directory, mounted in list(self.mounts.items()):
            self.mounts[directory] = replace(mounted, device=path(mounted.device))
            Path(directory).unlink()
            Path(directory).symlink_to(self._files(path(mounted.device)))

    async def activate_pool(self, name: str) -> None:
        """See VolumeDriver."""
        self._need_pool(name)
        self.active |= {volume.device for volume in self.volumes.values() if volume.pool == name}
        self.active |= {_metadata_device(*key) for key in self.metadata if key[0] == name}
        self.active |= {snapshot.device for snapshot in self.snapshots.values() if snapshot.pool == name}

    # --- volumes ---

    async def create_volume(self, spec: VolumeSpec) -> Volume:
        """See VolumeDriver."""
        check_name(spec.name)
        self._need_pool(spec.pool)
        size_bytes = round_up(spec.size_bytes)
        found = self.volumes.get((spec.pool, spec.name))
        if found is None:
            if spec.is_thin:
                self._need_thin(spec.pool)
            else:
                self._need_room(spec.pool, size_bytes)
            device = f"/dev/{spec.pool}/{spec.name}"
            found = Volume(spec.pool, spec.name, size_bytes, spec.kind, device, str(uuid.uuid4()), is_active=True)
            found = replace(found, is_thin=spec.is_thin, io_type=spec.io_type)
            found = replace(found, file_system=spec.file_system if spec.has_file_system else None)
            self.volumes[spec.pool, spec.name] = found
            self.carried.pop(device, None)
            if spec.has_file_system:
                self.carried[device] = (FILE_SYSTEM,)
                self._files(device).mkdir(parents=True)
        elif (found.size_bytes, found.kind, found.is_thin) != (size_bytes, spec.kind, spec.is_thin) or (
            found.file_system not in (None, spec.file_system)
        ):
            raise ConflictError(f"there is a volume {spec.name} already, {found.kind}, of {found.size_bytes} bytes")
        self.active.add(found.device)
        return await self.get_volume(spec.pool, spec.name)

    async def list_volumes(self, pool: str | None = None) -> tuple[Volume, ...]:
        """See VolumeDriver."""
        return tuple([await self.get_volume(*key) for key in sorted(self.volumes) if pool in (None, key[0])])

    async def get_volume(self, pool: str, name: str) -> Volume:
        """See VolumeDriver."""
        if (pool, name) not in self.volumes:
            raise NotFoundError(f"there is no volume {name} in the pool {pool}")
        found = self.volumes[pool, name]
        used_bytes = self._held_bytes(found.device) if found.is_thin else found.size_bytes
        return replace(found, is_active=found.device in self.active, used_bytes=used_bytes)

    async def delete_volume(self, pool: str, name: str) -> None:
        """See VolumeDriver."""
        if (pool, name) not in self.volumes:
            return
        if snapshots := [key[2] for key in self.snapshots if key[:2] == (pool, name)]:
            raise BusyError(f"the volume {name} has the snapshots {', '.join(snapshots)}")
        if (pool, name) in self.metadata:
            raise BusyError(f"the volume {name} has replication metadata")
        self._remove_device(self.volumes[pool, name].device)
        del self.volumes[pool, name]

    async def grow_volume(self, pool: str, name: str, size_bytes: int) -> Volume:
        """See VolumeDriver."""
        volume, wanted = await self.get_volume(pool, name), round_up(size_bytes)
        if wanted < volume.size_bytes:
            raise ConflictError(f"the volume {name} has {volume.size_bytes} bytes, and is never made smaller")
        if wanted > volume.size_bytes and any(key[:2] == (pool, name) for key in self.snapshots):
            raise BusyError(f"the volume {name} has snapshots")
        if not volume.is_thin:
            self._need_room(pool, wanted - volume.size_bytes)
        self.volumes[pool, name] = replace(self.volumes[pool, name], size_bytes=wanted)
        return await self.get_volume(pool, name)

    async def grow_file_system(self, directory: str) -> None:
        """See VolumeDriver. A file system here has the room of its device."""
        if directory not in self.mounts:
            raise NotFoundError(f"nothing is mounted at {directory}")

    def unit_file_bytes(self, volume_bytes: int) -> int:
        """See VolumeDriver."""
        return volume_bytes - MIB

    async def make_unit_file(self, directory: str, size_bytes: int) -> str:
        """See VolumeDriver."""
        path = self._unit_file(directory, size_bytes)
        if not path.exists():
            path.touch()
            os.truncate(path, size_bytes)
        elif path.stat().st_size != size_bytes:
            raise ConflictError(f"{path} has {path.stat().st_size} bytes")
        return str(path)

    async def grow_unit_file(self, directory: str, size_bytes: int) -> None:
        """See VolumeDriver."""
        path = self._unit_file(directory, size_bytes)
        if not path.exists():
            raise NotFoundError(f"there is no file {path}")
        os.truncate(path, max(size_bytes, path.stat().st_size))

    def _unit_file(self, directory: str, size_bytes: int) -> Path:
        if directory not in self.mounts:
            raise NotFoundError(f"nothing is mounted at {directory}")
        device = self.mounts[directory].device
        (volume,) = (v for v in self.volumes.values() if v.device == self.above.get(device, device))
        if size_bytes > volume.size_bytes:
            raise NoSpaceError(f"{directory} has no room for {size_bytes} bytes")
        return Path(directory) / UNIT_FILE

    def _remove_device(self, device: str) -> None:
        """What the device carried stays behind: whatever is put there next must clear it."""
        self._refuse_used(device)
        self.active.discard(device)
        shutil.rmtree(self._files(device), ignore_errors=True)

    async def create_metadata(self, pool: str, volume: str, size_bytes: int) -> str:
        """See VolumeDriver."""
        await self.get_volume(pool, volume)
        device, size_bytes = _metadata_device(pool, volume), round_up(size_bytes)
        if (pool, volume) not in self.metadata:
            self._need_room(pool, size_bytes)
            self.metadata[pool, volume] = size_bytes
            self.carried.pop(device, None)
        elif self.metadata[pool, volume] != size_bytes:
            raise ConflictError(f"{device} has {self.metadata[pool, volume]} bytes")
        self.active.add(device)
        return device

    async def delete_metadata(self, pool: str, volume: str) -> None:
        """See VolumeDriver."""
        if (pool, volume) in self.metadata:
            self._remove_device(_metadata_device(pool, volume))
            del self.metadata[pool, volume]

    # --- file systems ---

    def _files(self, device: str) -> Path:
        return self.content / self.above.get(device, device).removeprefix("/dev/")

    async def mount(self, device: str, directory: str, *, read_only: bool = False) -> None:
        """See VolumeDriver."""
        if self.above.get(device, device) not in self.active:
            raise NotFoundError(f"there is no device {device}")
        if directory in self.mounts:
            if self.mounts[directory] != Mounted(device, read_only):
                raise ConflictError(f"{self.mounts[directory].device} is mounted at {directory}")
            return
        if not self._files(device).is_dir():
            raise ConflictError(f"{device} carries no file system")
        if device in self._void_devices():
            raise UnavailableError(f"{device} cannot be read")
        self._put(Path(directory), self._files(device))
        self.mounts[directory] = Mounted(device, read_only)

    async def is_mounted(self, device: str, directory: str) -> bool:
        """See VolumeDriver."""
        return directory in self.mounts and self.mounts[directory].device == device

    async def is_shut_down(self, directory: str) -> bool:
        """See VolumeDriver."""
        return directory in self.shut_down

    async def file_system_use(self, directory: str) -> FileSystemUse:
        """See VolumeDriver."""
        if directory not in self.mounts:
            raise NotFoundError(f"nothing is mounted at {directory}")
        device = self.mounts[directory].device
        size_bytes = next(v.size_bytes for v in self.volumes.values() if v.device == self.above.get(device, device))
        used_bytes = sum(size for size, _ in _stamps(self._files(device)).values())
        return FileSystemUse(size_bytes, used_bytes, size_bytes - used_bytes)

    def _put(self, place: Path, files: Path) -> None:
        place.mkdir(parents=True, exist_ok=True)
        place.rmdir()
        place.symlink_to(files)

    async def unmount(self, directory: str) -> None:
        """See VolumeDriver."""
        if directory not in self.mounts:
            return
        if directory in self.held and self.mounts[directory].device not in self._void_devices():
            raise BusyError(f"{directory} is in use")
        self._take_away(directory)

    def _take_away(self, directory: str) -> None:
        del self.mounts[directory]
        self.shut_down.discard(directory)
        Path(directory).unlink()
        Path(directory).mkdir()

    def check_writable(self, path: Path) -> None:
        """Raise OSError, as the kernel would, below a read-only mount."""
        for directory, mounted in self.mounts.items():
            if mounted.is_read_only and path.is_relative_to(directory):
                raise OSError(30, "Read-only file system", str(path))

    # --- snapshots ---

    async def create_snapshot(self, spec: SnapshotSpec) -> Snapshot:
        """See VolumeDriver."""
        check_name(spec.name)
        volume = await self.get_volume(spec.pool, spec.volume)
        if volume.is_thin is not (spec.reserve_bytes is None):
            raise InvalidError(
                f"a thick snapshot has a reserve, a thin one none: {volume.name} is thin: {volume.is_thin}"
            )
        key = (spec.pool, spec.volume, spec.name)
        reserve_bytes = 0 if spec.reserve_bytes is None else round_up(spec.reserve_bytes)
        if key in self.snapshots:
            if self.snapshots[key].reserve_bytes != reserve_bytes:
                raise ConflictError(f"there is a snapshot {spec.name} of another reserve")
            return self._snapshot(key)
        self._need_room(spec.pool, reserve_bytes)
        device = f"{volume.device}.snap.{spec.name}"
        percent = None if volume.is_thin else 0.0
        self.snapshots[key] = Snapshot(*key, reserve_bytes, percent, is_overflown=False, device=device)
        self.snapshots[key] = replace(self.snapshots[key], is_thin=volume.is_thin)
        if self._files(volume.device).is_dir():
            shutil.copytree(self._files(volume.device), self._files(device), symlinks=True)
        self.active |= {volume.device, device}
        return self._snapshot(key)

    def _snapshot(self, key: tuple[str, str, str]) -> Snapshot:
        """As it is now: what changed since counts against the reserve, and overflown is for ever."""
        found = self.snapshots[key]
        if found.device not in self.active:
            return replace(found, used_percent=None)
        if found.is_thin:
            return replace(found, used_bytes=self._held_bytes(found.device))
        used = self._changed_bytes(self.volumes[key[:2]].device, found.device)
        is_overflown = found.is_overflown or used > found.reserve_bytes
        used_percent = 100.0 if is_overflown else 100.0 * used / found.reserve_bytes
        found = replace(found, used_bytes=min(used, found.reserve_bytes))
        self.snapshots[key] = replace(found, used_percent=used_percent, is_overflown=is_overflown)
        return self.snapshots[key]

    def _held_bytes(self, device: str) -> int:
        """What was written to a thin one."""
        return sum(size for size, _ in _stamps(self._files(device)).values())

    def _changed_bytes(self, present: str, past: str) -> int:
        now, then = (_stamps(self._files(device)) for device in (present, past))
        return sum(size for name, (size, mtime) in now.items() if then.get(name) != (size, mtime))

    def _void_devices(self) -> set[str]:
        return {snapshot.device for snapshot in map(self._snapshot, self.snapshots) if snapshot.is_overflown}

    async def list_snapshots(self, pool: str | None = None) -> tuple[Snapshot, ...]:
        """See VolumeDriver."""
        return tuple(self._snapshot(key) for key in sorted(self.snapshots) if pool in (None, key[0]))

    async def delete_snapshot(self, pool: str, volume: str, name: str) -> None:
        """See VolumeDriver."""
        if (pool, volume, name) in self.snapshots:
            self._remove_device(self.snapshots[pool, volume, name].device)
            del self.snapshots[pool, volume, name]

    def _need_snapshot(self, pool: str, volume: str, name: str) -> Snapshot:
        """One that can be read. Raises NotFoundError, ConflictError."""
        if (pool, volume, name) not in self.snapshots:
            raise NotFoundError(f"there is no snapshot {name} of the volume {pool}/{volume}")
        found = self._snapshot((pool, volume, name))
        if found.is_overflown:
            raise ConflictError(f"the snapshot {name} of {pool}/{volume} overflowed")
        return found

    async def grow_snapshot(self, pool: str, volume: str, name: str, reserve_bytes: int) -> Snapshot:
        """See SnapshotUpkeep."""
        found = self._need_snapshot(pool, volume, name)
        if found.is_thin:
            raise InvalidError(f"the snapshot {name} is thin: it has no reserve")
        wanted = min(round_up(reserve_bytes), self.volumes[pool, volume].size_bytes + EXTENT_BYTES)
        if round_up(reserve_bytes) < found.reserve_bytes:
            raise ConflictError(f"the snapshot {name} has {found.reserve_bytes} bytes")
        self._need_room(pool, wanted - found.reserve_bytes)
        self.snapshots[pool, volume, name] = replace(found, reserve_bytes=max(wanted, found.reserve_bytes))
        return self._snapshot((pool, volume, name))

    async def roll_back(self, pool: str, volume: str, name: str) -> None:
        """See SnapshotUpkeep."""
        found = self._need_snapshot(pool, volume, name)
        present = (await self.get_volume(pool, volume)).device
        for device in (present, found.device):
            self._refuse_used(device)
        if self._files(present).is_dir():
            shutil.rmtree(self._files(present))
            shutil.copytree(self._files(found.device), self._files(present), symlinks=True)

    async def copy_snapshot(
        self, pool: str, volume: str, name: str, into: str, *, offset_bytes: int, size_bytes: int
    ) -> None:
        """See SnapshotUpkeep. A file system is copied with its first part."""
        found, copy = self._need_snapshot(pool, volume, name), await self.get_volume(pool, into)
        whole = min(copy.size_bytes, self.volumes[pool, volume].size_bytes)
        if offset_bytes < 0 or size_bytes <= 0 or offset_bytes + size_bytes > whole:
            raise InvalidError(f"there is no such part of {into}")
        self._refuse_used(copy.device)
        if offset_bytes == 0 and self._files(found.device).is_dir():
            shutil.rmtree(self._files(copy.device), ignore_errors=True)
            shutil.copytree(self._files(found.device), self._files(copy.device), symlinks=True)

    async def branch_snapshot(self, pool: str, volume: str, name: str, into: str) -> None:
        """See SnapshotUpkeep."""
        found, origin = self._need_snapshot(pool, volume, name), self.volumes[pool, volume]
        if not found.is_thin:
            raise InvalidError(f"the snapshot {name} is not thin")
        taken = self.volumes.get((pool, into))
        if taken is not None and (taken.is_thin, taken.size_bytes) == (True, origin.size_bytes):
            return
        if taken is not None:
            raise ConflictError(f"there is a volume {into}")
        device = f"/dev/{pool}/{into}"
        self.volumes[pool, into] = replace(origin, name=into, device=device, uuid=str(uuid.uuid4()))
        self.active.add(device)
        if self._files(found.device).is_dir():
            shutil.copytree(self._files(found.device), self._files(device), symlinks=True)
            self.carried[device] = (FILE_SYSTEM,)

    def _refuse_used(self, device: str) -> None:
        if users := [directory for directory, mounted in self.mounts.items() if mounted.device == device]:
            raise BusyError(f"{device} is mounted at {', '.join(users)}")
        if device in self.held:
            raise BusyError(f"{device} is held open")


def _metadata_device(pool: str, volume: str) -> str:
    return f"/dev/{pool}/{volume}.meta"


def _stamps(directory: Path) -> dict[str, tuple[int, int]]:
    """Size and time of each file below a directory."""
    return {
        str(path.relative_to(directory)): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in directory.rglob("*")
        if not path.is_dir()
    }
