"""What is done with snapshots: more room, a volume made what it was, a copy of one. See SnapshotUpkeep."""

from __future__ import annotations

import logging

from holdfast.errors import ConflictError, InvalidError, NotFoundError, Reason, UnavailableError
from holdfast.hooks.volume import SnapshotSpec
from holdfast_volume_lvm import inventory, thin
from holdfast_volume_lvm.mounts import Mounts
from holdfast_volume_lvm.naming import (
    Role,
    check_length,
    check_name,
    device_path,
    heir_name,
    snapshot_name,
    snapshot_parts,
)
from holdfast_volume_lvm.report import Group, LogicalVolume
from holdfast_volume_lvm.room import refuse_without_room
from holdfast_volume_lvm.snapshots import Snapshots
from holdfast_volume_lvm.tools import Tools

log = logging.getLogger(__name__)

ROLLING_BACK = "holdfast.rolling-back="
"""Marks a volume from before its snapshot is merged into it until that was taken anew: LVM uses up what it merges."""
_LOOKS = 3


class SnapshotWork:
    """Grows, merges and copies snapshots."""

    def __init__(self, tools: Tools, mounts: Mounts, snapshots: Snapshots) -> None:
        self._tools = tools
        self._mounts = mounts
        self._snapshots = snapshots

    async def grow(self, pool: str, volume: str, name: str, reserve_bytes: int) -> None:
        """See SnapshotUpkeep. LVM gives no more than the whole volume and its bookkeeping can ever need."""
        group = inventory.find_pool(await self._tools.report(), pool)
        found = _readable(group, volume, name)
        if found.thin_pool is not None:
            text = f"the snapshot {name} of {pool}/{volume} is thin: it has no reserve"
            raise InvalidError(text, reasons=[Reason("no-reserve", text, "extend the thin pool", "reserve_bytes")])
        wanted = group.round_up(reserve_bytes)
        if found.size_bytes >= wanted:
            if found.size_bytes > wanted:
                text = f"the snapshot {name} of {pool}/{volume} has {found.size_bytes} bytes, and is never made smaller"
                raise ConflictError(text, reasons=[Reason("smaller", text, "ask for more", "reserve_bytes")])
            return
        # More than the volume and a hundredth is never given, and must not be missed.
        most = group.round_up(found.origin_size_bytes + found.origin_size_bytes // 100) + group.extent_bytes
        more = min(wanted, most) - found.size_bytes
        refuse_without_room(group, more, f"the reserve of the snapshot {name}", "reserve_bytes")
        if more > 0:
            extents = str(min(wanted, most) // group.extent_bytes)
            subject = f"the snapshot {name} of {pool}/{volume}"
            await self._tools.change(["lvextend", "--extents", extents, f"{pool}/{found.name}"], subject)
            log.info("made the reserve of %s larger: %s extents", subject, extents)

    async def roll_back(self, pool: str, volume: str, name: str) -> None:
        """See SnapshotUpkeep.

        The mark tells, after an interruption, that a snapshot which is not there is to be taken anew: of a volume
        that nobody could use meanwhile. While it is merged LVM hides it (lvs(8), `--all`).
        """
        group = inventory.find_pool(await self._tools.report(), pool)
        found = inventory.find_volume(group, volume)
        heir = group.find(heir_name(volume)) or group.find(snapshot_name(volume, name))
        if heir is not None and heir.thin_pool is not None:
            await self._replace(group, found, name)
            return
        mark = _mark_of(found)
        if mark is not None and not found.is_merging and group.find(snapshot_name(volume, mark.partition(".")[0])):
            await self._tag(pool, volume, "--deltag", mark)  # nothing of it was done, or all of it
            mark = None
        if mark is None:
            snapshot = _readable(group, volume, name)
            await self._mounts.refuse_open(found)
            await self._mounts.refuse_open(snapshot)
            mark = f"{name}.{snapshot.size_bytes // group.extent_bytes}"
            await self._tag(pool, volume, "--addtag", mark)
        elif mark.partition(".")[0] != name:
            text = f"the volume {pool}/{volume} is being rolled back to the snapshot {mark.partition('.')[0]}"
            raise ConflictError(text, reasons=[Reason("rolling-back", text, "let that end first", "snapshot")])
        if not found.is_merging and group.find(snapshot_name(volume, name)) is not None:
            await self._mounts.refuse_open(found)
            argv = ["lvconvert", "--yes", "--merge", "--interval", "1", f"{pool}/{snapshot_name(volume, name)}"]
            await self._tools.merge(argv, found.size_bytes, f"rolling back {pool}/{volume}")
        await self._finish_merge(pool, volume)
        reserve_bytes = int(mark.partition(".")[2]) * group.extent_bytes
        await self._snapshots.create(SnapshotSpec(pool, volume, name, reserve_bytes))
        await self._tag(pool, volume, "--deltag", mark)
        log.info("rolled the volume %s/%s back to its snapshot %s", pool, volume, name)

    async def _replace(self, group: Group, volume: LogicalVolume, name: str) -> None:
        """Put a thin volume that shares all with a thin snapshot in the place of its volume.

        Not by LVM's own merge, after which it merges no other snapshot of the volume any more: it forgets whose they
        are. What is made first has all tags of the volume, and is told as the volume from when that is gone
        (`inventory.volumes`). Its mark says of which snapshot it is.
        """
        pool, heir = group.name, heir_name(volume.name)
        subject = f"the volume {pool}/{volume.name}"
        found, present = group.find(heir), group.find(volume.name)
        if found is not None and (mark := _mark_of(found)) != name:
            text = f"{subject} is being rolled back to the snapshot {mark}"
            if present is None:
                raise ConflictError(text, reasons=[Reason("rolling-back", text, "let that end first", "snapshot")])
            await self._tools.change(["lvremove", "--yes", f"{pool}/{heir}"], subject)  # nothing else of it was done
            found = None
        if present is not None:
            source = _readable(group, volume.name, name)
            self._refuse_thick(group, present)
            await self._mounts.refuse_open(present)
            await self._mounts.refuse_open(source)
            if found is None:
                tags = (*sorted(present.tags), f"{ROLLING_BACK}{name}")
                await thin.branch(self._tools, source, heir, tags, subject)
            await self._tools.change(["lvremove", "--yes", f"{pool}/{volume.name}"], subject)
        await self._tools.change(["lvrename", pool, heir, volume.name], subject)
        await self._tag(pool, volume.name, "--deltag", name)
        log.info("rolled %s back to its snapshot %s", subject, name)

    @staticmethod
    def _refuse_thick(group: Group, volume: LogicalVolume) -> None:
        """LVM would remove them together with the volume."""
        if names := [snapshot_parts(v.name)[1] or v.name for v in group.volumes if v.comes_with == volume.name]:
            text = f"{volume.name} has thick snapshots: {', '.join(names)}"
            raise ConflictError(text, reasons=[Reason("has-snapshot", text, "delete them first", "snapshot")])

    async def _finish_merge(self, pool: str, volume: str) -> None:
        """Go on with a merge that was interrupted, or put off because somebody opened the volume for a moment."""
        for _ in range(_LOOKS):
            found = inventory.find_volume(inventory.find_pool(await self._tools.report(), pool), volume)
            if not found.is_merging:
                return
            full_name = f"{pool}/{volume}"
            await self._mounts.refuse_open(found)
            await self._tools.change(["lvchange", "--refresh", full_name], f"the volume {full_name}")
            argv = ["lvpoll", "--polloperation", "merge", "--interval", "1", full_name]
            await self._tools.merge(argv, found.size_bytes, f"rolling back {full_name}")
        raise UnavailableError(f"the snapshot that {pool}/{volume} is rolled back to is still being merged")

    async def _tag(self, pool: str, volume: str, option: str, mark: str) -> None:
        argv = ["lvchange", option, f"{ROLLING_BACK}{mark}", f"{pool}/{volume}"]
        await self._tools.change(argv, f"the volume {pool}/{volume}")

    async def copy(self, pool: str, volume: str, name: str, into: str, offset_bytes: int, size_bytes: int) -> None:
        """See SnapshotUpkeep. Past the page cache, which a copy of a whole volume would empty of everything else."""
        group = inventory.find_pool(await self._tools.report(), pool)
        source, target = _readable(group, volume, name), inventory.find_volume(group, into)
        whole = min(source.shown_bytes, target.size_bytes)
        if offset_bytes < 0 or size_bytes <= 0 or offset_bytes + size_bytes > whole:
            text = f"{pool}/{into} and the snapshot {name} of {volume} have no {size_bytes} bytes at {offset_bytes}"
            raise InvalidError(text, reasons=[Reason("no-such-part", text, "ask for a part of it", "offset_bytes")])
        await self._mounts.refuse_open(target)
        argv = ["dd", f"if={device_path(pool, source.name)}", f"of={device_path(pool, into)}", "bs=4M"]
        argv += [f"skip={offset_bytes}", f"seek={offset_bytes}", f"count={size_bytes}"]
        argv += ["iflag=direct,skip_bytes,count_bytes,fullblock", "oflag=direct,seek_bytes", "conv=notrunc,fsync"]
        await self._tools.copy([*argv, "status=none"], size_bytes, f"copying the snapshot {name} of {pool}/{volume}")
        # One that overflows while it is read gives an error; asked all the same, for nothing else may be believed.
        _readable(inventory.find_pool(await self._tools.report(), pool), volume, name)

    async def branch(self, pool: str, volume: str, name: str, into: str) -> None:
        """See SnapshotUpkeep.branch_snapshot. In one command of LVM, tags and all: there is no half of it."""
        check_name(into, "name")
        check_length(pool, into)
        group = inventory.find_pool(await self._tools.report(), pool)
        origin, source = inventory.find_volume(group, volume), _readable(group, volume, name)
        if source.thin_pool is None:
            text = f"the snapshot {name} of {pool}/{volume} is thick: what it holds can only be copied"
            raise InvalidError(text, reasons=[Reason("not-thin", text, "copy it", "snapshot")])
        found = group.find(into)
        if found is None:
            tags = tuple(sorted(tag for tag in origin.tags if not tag.startswith(ROLLING_BACK)))
            await thin.branch(self._tools, source, into, tags, f"the volume {pool}/{into}")
            log.info("made the volume %s/%s of the snapshot %s of %s", pool, into, name, volume)
        elif found.role is not Role.VOLUME or not found.thin_pool or found.size_bytes != source.size_bytes:
            text = f"there is {pool}/{into} already"
            raise ConflictError(text, reasons=[Reason("exists", text, "choose another name", "name")])


def _readable(group: Group, volume: str, name: str) -> LogicalVolume:
    """The snapshot, which can be read. Raises NotFoundError, ConflictError."""
    inventory.find_volume(group, volume)
    found = group.find(snapshot_name(volume, name))
    if found is None or found.role is not Role.SNAPSHOT or (found.origin is None and found.thin_pool is None):
        raise NotFoundError(f"there is no snapshot {name} of the volume {group.name}/{volume}")
    if found.is_void:
        text = f"the snapshot {snapshot_parts(found.name)[1]} of {group.name}/{volume} overflowed: it holds nothing"
        raise ConflictError(text, reasons=[Reason("overflown", text, "delete it, and take another", "snapshot")])
    return found


def _mark_of(volume: LogicalVolume) -> str | None:
    marks = [tag.removeprefix(ROLLING_BACK) for tag in volume.tags if tag.startswith(ROLLING_BACK)]
    return marks[0] if marks else None
