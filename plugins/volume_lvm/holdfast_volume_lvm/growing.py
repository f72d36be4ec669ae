"""Volumes that become larger under their users."""

from __future__ import annotations

import logging

from holdfast.errors import BusyError, ConflictError, Reason, VerificationError
from holdfast_volume_lvm import inventory
from holdfast_volume_lvm.naming import snapshot_parts
from holdfast_volume_lvm.report import Group, LogicalVolume
from holdfast_volume_lvm.room import refuse_without_room
from holdfast_volume_lvm.tools import Tools

log = logging.getLogger(__name__)


async def grow_volume(tools: Tools, pool: str, name: str, size_bytes: int) -> None:
    """See VolumeDriver."""
    group = inventory.find_pool(await tools.report(), pool)
    volume = inventory.find_volume(group, name)
    wanted = group.round_up(size_bytes)
    if volume.size_bytes == wanted:
        return
    if volume.size_bytes > wanted:
        text = f"{pool}/{name} has {volume.size_bytes} bytes, and is never made smaller"
        raise ConflictError(text, reasons=[Reason("smaller", text, "ask for more", "size_bytes")])
    _refuse_with_snapshots(group, volume)
    if volume.thin_pool is None:
        refuse_without_room(group, wanted - volume.size_bytes, f"the growth of {name}", "size_bytes")
    extents = str(wanted // group.extent_bytes)
    await tools.change(["lvextend", "--extents", extents, f"{pool}/{name}"], f"the volume {pool}/{name}")
    found = inventory.find_volume(inventory.find_pool(await tools.report(), pool), name)
    if found.size_bytes != wanted:
        raise VerificationError(f"{pool}/{name} has {found.size_bytes} bytes after it was made {wanted}")
    log.info("made the volume %s/%s larger: %d bytes", pool, name, wanted)


def _refuse_with_snapshots(group: Group, volume: LogicalVolume) -> None:
    """Of thick ones lvresize(8) refuses them. A rollback to a thin one would make the volume smaller again."""
    names = [snapshot_parts(v.name)[1] for v in inventory.snapshots(group) if snapshot_parts(v.name)[0] == volume.name]
    if names:
        text = f"{volume.name} has the snapshots {', '.join(names)}, and no volume is made larger that has any"
        raise BusyError(text, reasons=[Reason("has-snapshot", text, "delete the snapshots first")])
