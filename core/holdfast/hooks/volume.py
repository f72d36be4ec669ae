"""The volume role: pools, volumes and snapshots."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from holdfast.hooks.base import Driver, Offer, hookspec


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
class Disk:
    """A whole block device of this node, as a pool could use it."""

    path: str
    size_bytes: int
    signatures: tuple[str, ...]
    """What it carries: `ext4`, `LVM2_member`, `gpt` …; empty if blank."""
    used_by: str | None
    """Who holds it (a pool, a mount point), or None."""


@dataclass(frozen=True)
class Reserves:
    """What of a pool is set aside, in bytes (S10)."""

    snapshots_bytes: int
    replication_metadata_bytes: int
    system_bytes: int
    """Lost to the pool's own metadata and to rounding."""


@dataclass(frozen=True)
class Pool:
    """Where volumes are cut from.

    What is free, the volumes, the three reserves and what others put there add up to `size_bytes`.
    """

    name: str
    size_bytes: int
    """All its disks together."""
    free_bytes: int
    extent_bytes: int
    disks: tuple[str, ...]
    reserves: Reserves


@dataclass(frozen=True)
class VolumeSpec:
    """A volume as asked for. `size_bytes` is rounded up to the pool's extent."""

    pool: str
    name: str
    size_bytes: int
    kind: VolumeKind
    io_type: IoType = IoType.BLOCK
    """File only with `Can.VOLUME_FILE`, and never of kind nas."""

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


@dataclass(frozen=True)
class SnapshotSpec:
    """A point-in-time copy as asked for; `reserve_bytes` is the room for what changes meanwhile."""

    pool: str
    volume: str
    name: str
    reserve_bytes: int


@dataclass(frozen=True)
class Snapshot:
    """A snapshot as it is."""

    pool: str
    volume: str
    name: str
    reserve_bytes: int
    used_percent: float | None
    """None while it is not known: the snapshot is not active."""
    is_overflown: bool
    """True when the reserve ran full: the copy is then void and never to be read."""
    device: str


class VolumeDriver(Driver):
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
        for the pool, ConflictError if the name is taken by a volume of another size or kind.
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

    async def create_snapshot(self, spec: SnapshotSpec) -> Snapshot:
        """Freeze a point in time of a volume (`Can.VOLUME_SNAPSHOT`).

        Raises NoSpaceError saying how many bytes are missing, NotFoundError for the volume, ConflictError
        if the name is taken by a snapshot of another reserve.
        """
        raise self.unsupported("snapshots")

    async def list_snapshots(self, pool: str | None = None) -> tuple[Snapshot, ...]:
        """Snapshots by pool, volume and name."""
        return ()

    async def delete_snapshot(self, pool: str, volume: str, name: str) -> None:
        """Destroy a snapshot; the absent is success. Raises BusyError while it is mounted or held open."""
        raise self.unsupported("snapshots")


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
