"""What is on record of snapshots: each one that was asked for, the schedules that take them, and what keeps them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from holdfast.planning.schedules import DEFAULT_GRACE_S, MissedRuns, Schedule
from holdfast.planning.snapshot_fill import OverflowPolicy
from holdfast.planning.snapshot_retention import RetentionRules
from holdfast.services.documents import VolumeDocument


class SnapshotCause(StrEnum):
    """Why a snapshot was taken."""

    PERSON = "person"
    SCHEDULE = "schedule"
    ROLLBACK = "rollback"
    """To keep what a rollback would have lost."""


@dataclass(frozen=True)
class SnapshotDocument:
    """A snapshot that was asked for. What it is now is what the driver says."""

    volume: str
    name: str
    taken_at: datetime | None
    cause: SnapshotCause = SnapshotCause.PERSON
    schedule: str | None = None
    locked_until: datetime | None = None
    policy: OverflowPolicy | None = None
    """Of its own; None: that of its volume."""
    is_mounted: bool = False
    """It is to be readable beside its volume."""

    @property
    def key(self) -> str:
        """Under what it is kept: neither name has a slash in it."""
        return f"{self.volume}/{self.name}"


@dataclass(frozen=True)
class SnapshotScheduleDocument:
    """When snapshots of a volume are taken by themselves, and which of these are kept."""

    volume: str
    name: str
    schedule: Schedule
    retention: RetentionRules
    volume_uuid: str = ""
    """One of the same name that is made later has schedules of its own."""
    reserve_bytes: int | None = None
    missed: MissedRuns = MissedRuns.RUN_ONCE
    grace_s: int = DEFAULT_GRACE_S
    is_enabled: bool = True

    @property
    def key(self) -> str:
        """Under what it is kept."""
        return f"{self.volume}/{self.name}"

    @property
    def counted_as(self) -> str:
        """Under what the times that it was seen to are kept: no task has a colon in its name."""
        return f"volume:{self.volume}"


@dataclass(frozen=True)
class SnapshotPolicyDocument:
    """What is done when the reserve of a volume's snapshots is about to be full."""

    volume: str
    policy: OverflowPolicy
    volume_uuid: str = ""


@dataclass(frozen=True)
class SnapshotAlert:
    """It was told that a snapshot fills or has overflowed. `subject` is `snapshot:volume/name`."""

    subject: str
    since: datetime
    is_overflown: bool = False


def snapshot_lock(volume: str, name: str) -> str:
    """The lock of a snapshot, and the target of its jobs."""
    return f"snapshot:{volume}/{name}"


def place_of(mount_dir: Path, volume: VolumeDocument, name: str) -> Path:
    """Where a snapshot is mounted: beside its volume, under a name that no volume has."""
    return mount_dir / (volume.directory_pool or volume.pool) / f"{volume.name}.snapshots" / name


def remove_place(place: Path) -> None:
    """The mount point of a snapshot, and the directory of all of them when it is the last."""
    for directory in (place, place.parent):
        with contextlib.suppress(OSError):  # not empty: others are mounted there
            directory.rmdir()
