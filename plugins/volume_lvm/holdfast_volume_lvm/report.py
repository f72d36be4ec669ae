"""What LVM says there is: one command, read into values. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.errors import VerificationError
from holdfast_volume_lvm.naming import OURS, Role, role_of

_VG = ("vg_name", "vg_uuid", "vg_size", "vg_free", "vg_extent_size", "vg_tags", "vg_exported")
_PV = ("pv_name", "pv_uuid", "dev_size", "pv_size", "pv_missing", "pv_used", "pv_free", "pv_allocatable")
_LV = (
    *("lv_name", "lv_uuid", "lv_size", "lv_tags", "lv_attr", "lv_active", "lv_device_open", "origin", "origin_size"),
    *("data_percent", "lv_kernel_major", "lv_kernel_minor"),
    *("metadata_percent", "lv_metadata_size", "pool_lv", "move_pv", "copy_percent"),
)

_PARTS = (("vg", _VG), ("pv", _PV), ("lv", _LV), ("pvseg", ("pvseg_start",)), ("seg", ("seg_start",)))

ARGV = (
    # --all: also what LVM hides, such as the parts of a thin pool and what is being moved.
    *("fullreport", "--all", "--reportformat", "json", "--units", "b", "--nosuffix", "--binary"),
    # Each of the five parts must be configured: one that is not prints every field it knows.
    *(word for part, columns in _PARTS for word in ("--configreport", part, "-o", ",".join(columns))),
)


@dataclass(frozen=True)
class PhysicalVolume:
    """A disk of a group, or one that was prepared for LVM and belongs to none."""

    path: str
    uuid: str
    size_bytes: int
    is_missing: bool
    used_bytes: int = 0
    free_bytes: int = 0
    is_allocatable: bool = True
    """Whether anything new may be put on it."""

    @property
    def is_open(self) -> bool:
        """Whether its room can be had."""
        return self.is_allocatable and not self.is_missing


@dataclass(frozen=True)
class LogicalVolume:
    """One logical volume, ours or not."""

    group: str
    name: str
    uuid: str
    size_bytes: int
    tags: frozenset[str]
    is_active: bool
    is_suspended: bool
    is_open: bool
    is_void: bool
    """A snapshot that overflowed, or a device whose table is not what LVM made."""
    is_merging: bool
    """A snapshot is being merged into it, or will be when it is opened next."""
    origin: str | None
    origin_size_bytes: int
    used_percent: float | None
    number: str | None
    """The device number as in mountinfo, `254:0`; None while it is not active."""
    is_partial: bool = False
    """A part of it lies on a disk that is missing."""
    thin_pool: str | None = None
    metadata_percent: float | None = None
    metadata_bytes: int = 0
    """Of a thin pool, what its maps may take."""
    moved_from: str | None = None
    """The disk whose data it is moving to others."""
    copied_percent: float | None = None

    @property
    def is_hidden(self) -> bool:
        """Whether it is a part of another one, or of LVM's own."""
        return self.name.startswith("[")

    @property
    def comes_with(self) -> str | None:
        """The volume that LVM makes available and unavailable together with a thick snapshot."""
        return self.origin if self.thin_pool is None else None

    @property
    def shown_bytes(self) -> int:
        """Of a snapshot, the size of what it shows: its volume, as large as that was then."""
        return self.origin_size_bytes if self.thin_pool is None else self.size_bytes

    @property
    def role(self) -> Role | None:
        """What it is to us; None if it is somebody else's."""
        return role_of(self.tags)


@dataclass(frozen=True)
class Group:
    """One volume group, ours or not."""

    name: str
    uuid: str
    size_bytes: int
    free_bytes: int
    extent_bytes: int
    tags: frozenset[str]
    disks: tuple[PhysicalVolume, ...]
    volumes: tuple[LogicalVolume, ...]
    is_exported: bool = False

    @property
    def open_bytes(self) -> int:
        """What is free on disks that may get something new."""
        return sum(disk.free_bytes for disk in self.disks if disk.is_open)

    def find_disk(self, path: str) -> PhysicalVolume | None:
        """The disk at this path, if it is in the group."""
        return next((disk for disk in self.disks if disk.path == path and not disk.is_missing), None)

    def move_from(self, path: str) -> LogicalVolume | None:
        """What LVM has under way to move data off a disk."""
        return next((volume for volume in self.volumes if volume.moved_from == path), None)

    @property
    def is_ours(self) -> bool:
        """Whether it is a pool."""
        return OURS in self.tags

    def find(self, name: str) -> LogicalVolume | None:
        """The logical volume of this name, whoever made it."""
        return next((volume for volume in self.volumes if volume.name == name), None)

    def round_up(self, size_bytes: int) -> int:
        """A size as this group can give it."""
        return -(-size_bytes // self.extent_bytes) * self.extent_bytes


@dataclass(frozen=True)
class Report:
    """All of it."""

    groups: tuple[Group, ...]
    orphans: tuple[PhysicalVolume, ...]

    def find(self, name: str) -> Group | None:
        """The group of this name, whoever made it."""
        return next((group for group in self.groups if group.name == name), None)

    def group_of_disk(self, path: str) -> str | None:
        """Which group a disk belongs to."""
        return next((group.name for group in self.groups for disk in group.disks if disk.path == path), None)


def parse(text: str) -> Report:
    """Read what ARGV printed. Raises VerificationError for what LVM never printed so far."""
    try:
        parts = json.loads(text)["report"]
        groups = tuple(_group(part) for part in parts if part.get("vg"))
        orphans = tuple(_disk(row) for part in parts if not part.get("vg") for row in part.get("pv", ()))
    except (ValueError, KeyError, TypeError) as reason:
        raise VerificationError(f"the report of LVM cannot be read: {reason!r}") from reason
    return Report(tuple(sorted(groups, key=lambda group: group.name)), orphans)


def _group(part: Mapping[str, Sequence[Mapping[str, Any]]]) -> Group:
    row = part["vg"][0]
    return Group(
        name=row["vg_name"],
        uuid=row["vg_uuid"],
        size_bytes=int(row["vg_size"]),
        free_bytes=int(row["vg_free"]),
        extent_bytes=int(row["vg_extent_size"]),
        tags=_tags(row["vg_tags"]),
        disks=tuple(_disk(disk) for disk in part.get("pv", ())),
        volumes=tuple(_volume(row["vg_name"], volume) for volume in part.get("lv", ())),
        is_exported=row["vg_exported"] == "1",
    )


def _disk(row: Mapping[str, str]) -> PhysicalVolume:
    # A missing disk has no device, and so no size of one.
    size_bytes = max(int(row["dev_size"]), int(row["pv_size"]))
    return PhysicalVolume(
        row["pv_name"],
        row["pv_uuid"],
        size_bytes,
        row["pv_missing"] == "1",
        used_bytes=int(row["pv_used"]),
        free_bytes=int(row["pv_free"]),
        is_allocatable=row["pv_allocatable"] == "1",
    )


def _volume(group: str, row: Mapping[str, str]) -> LogicalVolume:
    # lvs(8), "lv_attr bits": the fifth is the state; I and S an invalid snapshot, X one that LVM cannot make out.
    state = row["lv_attr"][4]
    is_active = bool(row["lv_active"])
    return LogicalVolume(
        group=group,
        name=row["lv_name"],
        uuid=row["lv_uuid"],
        size_bytes=int(row["lv_size"]),
        tags=_tags(row["lv_tags"]),
        is_active=is_active,
        is_suspended=state in "sS",
        is_open=row["lv_device_open"] == "1",
        is_void=state in "ISX",
        is_merging=row["lv_attr"][0] == "O",
        origin=row["origin"] or None,
        origin_size_bytes=int(row["origin_size"] or 0),
        used_percent=_percent(row["data_percent"]),
        number=f"{row['lv_kernel_major']}:{row['lv_kernel_minor']}" if int(row["lv_kernel_major"]) >= 0 else None,
        # The ninth bit is its health.
        is_partial=row["lv_attr"][8] == "p",
        thin_pool=row["pool_lv"] or None,
        metadata_percent=_percent(row["metadata_percent"]),
        metadata_bytes=int(row["lv_metadata_size"] or 0),
        moved_from=row["move_pv"] or None,
        copied_percent=_percent(row["copy_percent"]),
    )


def _percent(text: str) -> float | None:
    return float(text) if text else None


def _tags(text: str) -> frozenset[str]:
    return frozenset(text.split(",")) if text else frozenset()
