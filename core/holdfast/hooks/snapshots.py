"""The volume role's snapshots: a point in time of a volume, and what is done with it."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.hooks.base import Driver


@dataclass(frozen=True)
class SnapshotSpec:
    """A point-in-time copy as asked for; `reserve_bytes` is the room for what changes meanwhile.

    None of a thin volume, whose snapshots are thin: they have no reserve, and take room from the thin pool.
    """

    pool: str
    volume: str
    name: str
    reserve_bytes: int | None


@dataclass(frozen=True)
class Snapshot:
    """A snapshot as it is."""

    pool: str
    volume: str
    name: str
    reserve_bytes: int
    """0 of a thin one."""
    used_percent: float | None
    """Of its reserve; None while it is not known, as the snapshot is not active, and of a thin one."""
    is_overflown: bool
    """True when the reserve ran full: the copy is then void and never to be read."""
    device: str
    is_thin: bool = False
    """It has no reserve that could run full, and shares with its volume what neither has written since."""
    used_bytes: int | None = None
    """Of its reserve. Of a thin one all that it holds, shared or not; None while it is not known."""


class SnapshotUpkeep(Driver):
    """The operations of a volume driver on snapshots, all of them optional (`Can`)."""

    async def create_snapshot(self, spec: SnapshotSpec) -> Snapshot:
        """Freeze a point in time of a volume (`Can.VOLUME_SNAPSHOT`).

        Raises NoSpaceError saying how many bytes are missing, NotFoundError for the volume, ConflictError
        if the name is taken by a snapshot of another reserve, InvalidError for a reserve where the volume is thin and
        for none where it is not.
        """
        raise self.unsupported("snapshots")

    async def list_snapshots(self, pool: str | None = None) -> tuple[Snapshot, ...]:
        """Snapshots by pool, volume and name."""
        return ()

    async def delete_snapshot(self, pool: str, volume: str, name: str) -> None:
        """Destroy a snapshot; the absent is success. Raises BusyError while it is mounted or held open."""
        raise self.unsupported("snapshots")

    async def grow_snapshot(self, pool: str, volume: str, name: str, reserve_bytes: int) -> Snapshot:
        """Give a snapshot more room, also while it is mounted (`Can.SNAPSHOT_GROW`); what it has is success.

        It is rounded up to the pool's extent, and never more than the snapshot can ever use. Raises NotFoundError,
        ConflictError for less than it has or for one that overflowed, NoSpaceError saying how many bytes are missing,
        InvalidError for a thin one.
        """
        raise self.unsupported("growing snapshots")

    async def roll_back(self, pool: str, volume: str, name: str) -> None:
        """Make a volume what it was when a snapshot was taken (`Can.SNAPSHOT_ROLL_BACK`).

        That snapshot stays and shows the same, and so do the others, in whose reserves what is overwritten must find
        room. Nobody may use the volume or the snapshot until it returns; interrupted, it is done by a repetition.
        Raises BusyError, naming who, when one of them is in use, ConflictError for one that overflowed, NotFoundError.
        """
        raise self.unsupported("rolling back")

    async def copy_snapshot(
        self, pool: str, volume: str, name: str, into: str, *, offset_bytes: int, size_bytes: int
    ) -> None:
        """Copy a part of what a snapshot holds to the same place of the volume `into` of the same pool, durably.

        (`Can.SNAPSHOT_COPY`.) The parts of all of it, in any order, make `into` its equal. Raises NotFoundError,
        ConflictError for one that overflowed, also while it was read, BusyError when `into` is in use,
        InvalidError for a part that one of them does not have.
        """
        raise self.unsupported("copying snapshots")

    async def branch_snapshot(self, pool: str, volume: str, name: str, into: str) -> None:
        """Make the thin volume `into` of a thin snapshot, beside its volume and of the same kind and size.

        (`Can.SNAPSHOT_COPY` and `Can.VOLUME_THIN`.) It holds what the snapshot holds, shares it until either is
        written, and is of its own: it stays when the snapshot goes. A volume of that name and size that is thin is
        success. Raises NotFoundError, ConflictError when the name is taken by anything else, InvalidError for a
        snapshot that is not thin.
        """
        raise self.unsupported("branching snapshots")
