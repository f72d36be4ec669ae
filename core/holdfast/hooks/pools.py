"""Pools: what they are, and what may be done to one that is there. A part of the volume role (`hooks/volume.py`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from holdfast.hooks.base import Driver

Told = Callable[[float], Awaitable[None]]
"""Called now and again with how far something is, in percent."""


@dataclass(frozen=True)
class Disk:
    """A whole block device of this node, as a pool could use it."""

    path: str
    size_bytes: int
    signatures: tuple[str, ...]
    """What it carries: `ext4`, `LVM2_member`, `gpt` …; empty if blank."""
    used_by: str | None
    """Who holds it (a pool, a mount point), or None."""
    faults: tuple[str, ...] = ()
    """What its kernel driver tells of it that a person should look at, in sentences."""


@dataclass(frozen=True)
class PoolDisk:
    """A disk as a part of a pool, also while it is missing."""

    id: str
    """What it is known by wherever it is plugged in."""
    path: str | None
    """None while it is missing."""
    size_bytes: int
    free_bytes: int
    used_bytes: int
    """What lies on it of all that is in the pool."""
    is_missing: bool = False
    is_leaving: bool = False
    """Nothing new is put on it: its data is moved off, or was."""


@dataclass(frozen=True)
class ThinPool:
    """A part of a pool that thin volumes share: each takes room from it when it is written.

    Its metadata is counted with the pool's reserves, not in `size_bytes`.
    """

    size_bytes: int
    used_percent: float | None
    """None while it is not known: it is not active."""
    metadata_bytes: int
    metadata_used_percent: float | None
    promised_bytes: int
    """So much its thin volumes could take together, and their snapshots: each of these as much as it holds."""

    @property
    def used_bytes(self) -> int | None:
        """What of it has been written, as far as is known."""
        return None if self.used_percent is None else round(self.size_bytes * self.used_percent / 100)


@dataclass(frozen=True)
class Reserves:
    """What of a pool is set aside, in bytes (S10)."""

    snapshots_bytes: int
    replication_metadata_bytes: int
    system_bytes: int
    """Lost to the pool's own metadata, to rounding, and the room left on disks that leave it or are missing."""
    thin_metadata_bytes: int = 0
    """What a thin pool keeps its maps in, and the room to repair them."""


@dataclass(frozen=True)
class Pool:
    """Where volumes are cut from.

    What is free, the thick volumes, the thin pool, the reserves and what others put there add up to `size_bytes`.
    """

    name: str
    size_bytes: int
    """All its disks together."""
    free_bytes: int
    extent_bytes: int
    disks: tuple[str, ...]
    """The paths of those that are there."""
    reserves: Reserves
    members: tuple[PoolDisk, ...] = ()
    """All of them in the order of their paths, the missing ones last."""
    thin: ThinPool | None = None


@dataclass(frozen=True)
class FoundPool:
    """Something on this node's disks that is or could become a pool: from another machine, or made by hand."""

    id: str
    name: str
    size_bytes: int
    disks: tuple[str, ...]
    missing_disks: int
    is_ours: bool
    """This product made it, here or elsewhere, and `list_pools` lists it too."""
    contents: tuple[str, ...]
    """The names of all that lies in it."""


class PoolUpkeep(Driver):
    """What may be done to a pool that is there. Every operation may be repeated, as everywhere."""

    async def extend_pool(self, name: str, disks: tuple[str, ...], *, overwrite: Mapping[str, tuple[str, ...]]) -> Pool:
        """Add whole disks to a pool (`Can.POOL_DISKS`); `overwrite` and refusals as for `create_pool`.

        Those that are in it already are left alone.
        """
        raise self.unsupported("extending pools")

    async def move_off(self, name: str, disk: str, told: Told) -> None:
        """Move all that lies on a disk to the pool's others, under its users (`Can.POOL_DISKS`).

        Nothing new is put on the disk from then on, until `stop_moving_off`. Interrupted in any way all data stays
        usable, and the next call goes on where it was. Raises NoSpaceError, saying how many bytes are missing, when
        the others have no room, before anything is changed; NotFoundError for a disk that is not in the pool.
        """
        raise self.unsupported("shrinking pools")

    async def stop_moving_off(self, name: str, disk: str) -> None:
        """Move no more, and let the disk take new data again. What was moved stays there. Not moving is success."""
        raise self.unsupported("shrinking pools")

    async def remove_disk(self, name: str, disk: str) -> Pool:
        """Give an empty disk of a pool back, blank (`Can.POOL_DISKS`). A disk that is in no pool is success.

        Raises BusyError while anything lies on it, or when it is the pool's last.
        """
        raise self.unsupported("shrinking pools")

    async def forget_missing(self, name: str) -> Pool:
        """Let a pool go on without its missing disks (`Can.POOL_DISKS`). None missing is success.

        Raises BusyError, naming them, while anything lies on those: it would be lost.
        """
        raise self.unsupported("forgetting disks")

    async def ask_disk(self, disk: str) -> str:
        """What a disk tells of its health (`Can.DISK_HEALTH`), in the form of `smartctl --json` (smartctl(8)).

        A JSON object, whatever the disk answered: that it tells nothing is an answer. One that sleeps is not woken:
        `smartctl.exit_status` is 3 then. Nothing is changed, and nobody else waits for a disk that does not answer.
        Raises UnavailableError, saying why, when it does not answer in time or the node has nothing to ask it with;
        NotFoundError for a disk that is not there.
        """
        raise self.unsupported("asking disks")

    async def rename_pool(self, name: str, new_name: str) -> Pool:
        """Call a pool otherwise, under its users (`Can.POOL_RENAME`): only the paths of its devices change.

        Success when there is no pool `name` and one `new_name`. Raises ConflictError for a name that is taken.
        """
        raise self.unsupported("renaming pools")

    async def list_found_pools(self) -> tuple[FoundPool, ...]:
        """All that is or could become a pool, by name and id."""
        return ()

    async def import_pool(self, found: str, name: str) -> Pool:
        """Make what `list_found_pools` shows under this id a pool of this name (`Can.POOL_IMPORT`), and available.

        What lies in it stays as it is. Raises NotFoundError for an unknown id, ConflictError for a name that
        is taken, BusyError while some of its disks are missing.
        """
        raise self.unsupported("importing pools")

    async def create_thin_pool(self, pool: str, size_bytes: int) -> Pool:
        """Set a part of a pool aside for thin volumes (`Can.VOLUME_THIN`); a pool has one at most.

        Raises NoSpaceError saying how many bytes are missing, its metadata included; ConflictError for one of
        another size.
        """
        raise self.unsupported("thin volumes")

    async def grow_thin_pool(self, pool: str, *, size_bytes: int | None, metadata_bytes: int | None) -> Pool:
        """Give a thin pool more room, for data, for its metadata or for both; None leaves as it is.

        As large or larger already is success. Raises NoSpaceError, NotFoundError when there is no thin pool.
        """
        raise self.unsupported("thin volumes")

    async def delete_thin_pool(self, pool: str) -> None:
        """Give its room back. Raises BusyError, naming them, while it has volumes. The absent is success."""
        raise self.unsupported("thin volumes")
