"""The volume role: pools, volumes and snapshots."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from holdfast.hooks.base import Offer, hookspec
from holdfast.hooks.file_systems import FileSystem as FileSystem
from holdfast.hooks.file_systems import FileSystemUse as FileSystemUse
from holdfast.hooks.pools import Disk as Disk
from holdfast.hooks.pools import FoundPool as FoundPool
from holdfast.hooks.pools import Pool as Pool
from holdfast.hooks.pools import PoolDisk as PoolDisk
from holdfast.hooks.pools import PoolUpkeep
from holdfast.hooks.pools import Reserves as Reserves
from holdfast.hooks.pools import ThinPool as ThinPool
from holdfast.hooks.snapshots import Snapshot as Snapshot
from holdfast.hooks.snapshots import SnapshotSpec as SnapshotSpec
from holdfast.hooks.snapshots import SnapshotUpkeep


class VolumeKind(StrEnum):
    """What a volume is for."""

    NAS = "nas"
    ISCSI = "iscsi"
    FC = "fc"


UNIT_FILE = "unit"
"""The name of a file that is a logical unit, in a file system that has no other."""


class IoType(StrEnum):
    """What a logical unit is made of (S15)."""

    BLOCK = "block"
    """The volume itself."""
    FILE = "file"
    """A file in a file system on the volume."""


@dataclass(frozen=True)
class VolumeSpec:
    """A volume as asked for. `size_bytes` is rounded up to the pool's extent."""

    pool: str
    name: str
    size_bytes: int
    kind: VolumeKind
    io_type: IoType = IoType.BLOCK
    """File only with `Can.VOLUME_FILE`, and never of kind nas."""
    is_thin: bool = False
    """It takes room from the pool's thin pool as it is written (`Can.VOLUME_THIN`)."""
    file_system: FileSystem = FileSystem.XFS
    """Of a volume that has one."""

    @property
    def has_file_system(self) -> bool:
        """Whether the volume is made with a file system on it."""
        return self.kind is VolumeKind.NAS or self.io_type is IoType.FILE


@dataclass(frozen=True)
class Volume:
    """A volume as it is."""

    pool: str
    name: str
    size_bytes: int
    kind: VolumeKind
    device: str
    """The block device to open, such as `/dev/tank/v0`."""
    uuid: str
    is_active: bool
    is_thin: bool = False
    used_bytes: int | None = None
    """What it really takes of its pool; None while that is not known."""
    io_type: IoType = IoType.BLOCK
    """What it was made for."""
    file_system: FileSystem | None = None
    """None: it was made without."""


class VolumeDriver(PoolUpkeep, SnapshotUpkeep):
    """Makes pools, volumes and snapshots by one mechanism."""

    @abstractmethod
    async def list_disks(self) -> tuple[Disk, ...]:
        """Every whole disk of this node that a pool could ever use, in the order of their paths."""

    @abstractmethod
    async def create_pool(self, name: str, disks: tuple[str, ...], *, overwrite: Mapping[str, tuple[str, ...]]) -> Pool:
        """Make a pool of whole disks.

        A disk that carries any signature is refused (ConflictError, naming what it carries) unless
        `overwrite[disk]` names exactly the signatures that are found there now. Raises BusyError for a disk that
        is in use, whatever `overwrite` says, and NotFoundError for one that does not exist. The name taken by a
        pool of other disks is ConflictError.
        """

    @abstractmethod
    async def list_pools(self) -> tuple[Pool, ...]:
        """All pools of this mechanism, by name."""

    @abstractmethod
    async def get_pool(self, name: str) -> Pool:
        """Raises NotFoundError."""

    @abstractmethod
    async def delete_pool(self, name: str) -> None:
        """Give the disks back, blank. Raises BusyError, naming them, while volumes exist. The absent is success."""

    @abstractmethod
    async def activate_pool(self, name: str) -> None:
        """Make every volume, metadata volume and snapshot of the pool available, as is needed after a boot.

        Raises NotFoundError; UnavailableError, naming them, when some stay unavailable. The others are available then.
        """

    @abstractmethod
    async def create_volume(self, spec: VolumeSpec) -> Volume:
        """Make a volume; of kind nas or for file I/O with a file system on it.

        Wipes signatures in the *new* device only. Raises NoSpaceError saying how many bytes are missing, NotFoundError
        for the pool, ConflictError if the name is taken by a volume of another size or kind, or with another file
        system.
        """

    @abstractmethod
    async def list_volumes(self, pool: str | None = None) -> tuple[Volume, ...]:
        """Volumes of one pool or of all, by pool and name. Snapshots and metadata are not volumes."""

    @abstractmethod
    async def get_volume(self, pool: str, name: str) -> Volume:
        """Raises NotFoundError."""

    @abstractmethod
    async def delete_volume(self, pool: str, name: str) -> None:
        """Destroy it. Raises BusyError while snapshots or replication metadata exist or its device is held open.

        The error names what is in the way. The absent is success.
        """

    @abstractmethod
    async def create_metadata(self, pool: str, volume: str, size_bytes: int) -> str:
        """Make (or find) the volume beside `volume` for its replication metadata, zeroed; return its device."""

    @abstractmethod
    async def delete_metadata(self, pool: str, volume: str) -> None:
        """Remove the replication metadata volume of `volume`. The absent is success."""

    @abstractmethod
    async def mount(self, device: str, directory: str, *, read_only: bool = False) -> None:
        """Mount the file system on `device` (a NAS volume, its mirror or a snapshot) at `directory`, made if absent.

        A snapshot of a mounted file system is readable beside it. Mounted there already is success;
        another file system mounted there, or the same one writable when `read_only` is asked or the other
        way round, is ConflictError. Raises NotFoundError when there is no such device.
        """

    @abstractmethod
    async def unmount(self, directory: str) -> None:
        """Unmount; not mounted is success. Raises BusyError, naming what is known of the users, when it is in use.

        A file system whose device is gone or void is taken away even while it is in use: nobody can use it.
        """

    @abstractmethod
    async def is_mounted(self, device: str, directory: str) -> bool:
        """Whether the file system on `device` is what lies at `directory` now. A device that is not there is not."""

    @abstractmethod
    async def is_shut_down(self, directory: str) -> bool:
        """Whether the kernel has shut down the file system mounted at `directory`, as it does after some errors.

        Such a one gives errors to whoever uses it until it is unmounted. Where nothing is mounted, none is shut down.
        """

    @abstractmethod
    async def file_system_use(self, directory: str) -> FileSystemUse:
        """How full the file system mounted at `directory` is. Raises NotFoundError when nothing is mounted there."""

    async def grow_volume(self, pool: str, name: str, size_bytes: int) -> Volume:
        """Make a volume larger under its users (`Can.VOLUME_GROW`); `size_bytes` is rounded up to the pool's extent.

        What it holds stays; the file system on it is not told. Raises ConflictError for a smaller size, NoSpaceError
        saying how many bytes are missing, BusyError, naming them, where snapshots are in the way.
        """
        raise self.unsupported("growing")

    async def grow_file_system(self, directory: str) -> None:
        """Let the file system mounted at `directory` take up all that its device has; nothing to take is success."""
        raise self.unsupported("growing")

    def unit_file_bytes(self, volume_bytes: int) -> int:
        """The size that `make_unit_file` is to be asked for on a volume of this size (`Can.VOLUME_FILE`).

        A whole number of MiB that depends on nothing else, so that two nodes come to the same.
        """
        raise self.unsupported("file I/O")

    async def make_unit_file(self, directory: str, size_bytes: int) -> str:
        """Make `UNIT_FILE` in the file system mounted at `directory`, all of a logical unit; return its path.

        All its room is allocated, it reads as zeros, and it survives a power cut from then on. One that is there in
        this size is left as it is, with what it holds. Raises ConflictError for one of another size, NoSpaceError
        when the file system has no room for it, NotFoundError when nothing is mounted at `directory`.
        """
        raise self.unsupported("file I/O")

    async def grow_unit_file(self, directory: str, size_bytes: int) -> None:
        """Make `UNIT_FILE` at `directory` as large as this under its users (`Can.VOLUME_FILE` and `Can.VOLUME_GROW`).

        It is never smaller than it was at any moment, holds what it held, and reads as zeros behind that; all its room
        is allocated, and its size survives a power cut from then on. As large or larger already is success. Raises
        NoSpaceError when the file system has no room for it, NotFoundError when nothing is mounted at `directory` or
        there is no such file.
        """
        raise self.unsupported("growing files")


@dataclass(frozen=True)
class VolumeChange:
    """What `volume_changed` tells."""

    pool: str
    volume: str
    what: str
    """`created`, `deleted` …"""
    facts: Mapping[str, str] = field(default_factory=dict)


class VolumeHooks:
    """Hook specs of the volume role."""

    @hookspec
    def volume_driver(self) -> Offer[VolumeDriver]:
        """Asked once at start: return your offer. Each plugin is asked; the configuration chooses."""
        raise AssertionError("a specification is never called")

    @hookspec
    async def volume_changed(self, change: VolumeChange) -> None:
        """Told after a volume or pool changed. Awaited one observer at a time; an error harms nobody else."""
