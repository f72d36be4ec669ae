"""What LVM says there is: one command, read into values. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.errors import VerificationError
from holdfast_volume_lvm.naming import OURS, Role, role_of

_VG = ("vg_name", "vg_uuid", "vg_size", "vg_free", "vg_extent_size", "vg_tags")
_PV = ("pv_name", "pv_uuid", "dev_size", "pv_size", "pv_missing")
_LV = (
    *("lv_name", "lv_uuid", "lv_size", "lv_tags", "lv_attr", "lv_active", "lv_device_open", "origin", "origin_size"),
    *("data_percent", "lv_kernel_major", "lv_kernel_minor"),
)

_PARTS = (("vg", _VG), ("pv", _PV), ("lv", _LV), ("pvseg", ("pvseg_start",)), ("seg", ("seg_start",)))

ARGV = (
    *("fullreport", "--reportformat", "json", "--units", "b", "--nosuffix", "--binary"),
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
    origin: str | None
    origin_size_bytes: int
    used_percent: float | None
    number: str | None
    """The device number as in mountinfo, `254:0`; None while it is not active."""

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
    )


def _disk(row: Mapping[str, str]) -> PhysicalVolume:
    # A missing disk has no device, and so no size of one.
    size_bytes = max(int(row["dev_size"]), int(row["pv_size"]))
    return PhysicalVolume(row["pv_name"], row["pv_uuid"], size_bytes, row["pv_missing"] == "1")


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
        origin=row["origin"] or None,
        origin_size_bytes=int(row["origin_size"] or 0),
        used_percent=float(row["data_percent"]) if row["data_percent"] else None,
        number=f"{row['lv_kernel_major']}:{row['lv_kernel_minor']}" if int(row["lv_kernel_major"]) >= 0 else None,
    )


def _tags(text: str) -> frozenset[str]:
    return frozenset(text.split(",")) if text else frozenset()
