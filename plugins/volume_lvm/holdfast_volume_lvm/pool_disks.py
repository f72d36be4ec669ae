"""Disks that leave a pool: what lies on them is moved to the others under its users (pvmove(8)).

The kernel copies, and LVM's own process in the background takes note of each piece that is over. Neither needs this
one: a daemon that is killed meanwhile finds the work further on, and one that died with the machine goes on with it.
"""

from __future__ import annotations

import logging

from holdfast.errors import BusyError, NoSpaceError, NotFoundError, Reason
from holdfast.hooks.pools import Told
from holdfast.system.clock import Clock
from holdfast_volume_lvm import inventory
from holdfast_volume_lvm.naming import is_marked
from holdfast_volume_lvm.report import Group, PhysicalVolume
from holdfast_volume_lvm.tools import Tools

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0
_INTERVAL_S = 1
"""How often LVM's process looks whether a piece is over."""
_LOOKS_WHEN_OVER = 5
"""All is copied, and nobody takes note of it: LVM's process is gone, and another one is started."""


class PoolDisks:
    """See PoolUpkeep."""

    def __init__(self, tools: Tools, clock: Clock) -> None:
        self._tools = tools
        self._clock = clock

    async def move_off(self, name: str, path: str, told: Told) -> None:
        """See PoolUpkeep."""
        group, disk = await self._look(name, path)
        if group.move_from(path) is None:
            others_bytes = group.open_bytes - (disk.free_bytes if disk.is_open else 0)
            if (missing := disk.used_bytes - others_bytes) > 0:
                text = f"the other disks of {name} have {others_bytes} bytes free: {missing} bytes are missing"
                raise NoSpaceError(text, reasons=[Reason("no-space", text, "extend the pool first", "disk")])
        if disk.is_allocatable:
            await self._tools.change(["pvchange", "--allocatable", "n", path], f"the disk {path}")
        is_started, looks_when_over = False, 0
        while disk.used_bytes or group.move_from(path):
            move = group.move_from(path)
            percent = move.copied_percent if move is not None else None
            looks_when_over = looks_when_over + 1 if percent == 100.0 else 0
            if not is_started or move is None or looks_when_over > _LOOKS_WHEN_OVER:
                # What was begun goes on: then LVM takes no note of anything else it is told here.
                argv = ["pvmove", "--background", "--interval", str(_INTERVAL_S), path]
                await self._tools.change(argv, f"moving what lies on {path}")
                is_started, looks_when_over = True, 0
            await told(percent or 0.0)
            await self._clock.sleep(_LOOK_EVERY_S)
            group, disk = await self._look(name, path)
        log.info("nothing lies on %s of the pool %s any more", path, name)

    async def stop(self, name: str, path: str) -> None:
        """See PoolUpkeep."""
        group = (await self._tools.report()).find(name)
        disk = group.find_disk(path) if group is not None and group.is_ours else None
        if group is None or disk is None:
            return
        if group.move_from(path) is not None:
            # The copy of the piece under way is given up, and what was copied before stays where it is.
            await self._tools.change(["pvmove", "--abort", path], f"moving what lies on {path}")
        if not disk.is_allocatable:
            await self._tools.change(["pvchange", "--allocatable", "y", path], f"the disk {path}")

    async def remove(self, name: str, path: str) -> None:
        """See PoolUpkeep. What an interruption left prepared for LVM is known by its identifier, and blanked."""
        report = await self._tools.report()
        group = inventory.find_pool(report, name)
        disk = group.find_disk(path)
        if disk is not None:
            if disk.used_bytes:
                text = f"{disk.used_bytes} bytes of the pool {name} lie on {path}"
                raise BusyError(text, reasons=[Reason("disk-not-empty", text, "move them off first", "disk")])
            if sum(not other.is_missing for other in group.disks) == 1:
                text = f"{path} is the last disk of the pool {name}"
                raise BusyError(text, reasons=[Reason("last-disk", text, "delete the pool instead", "disk")])
            await self._tools.change(["vgreduce", name, path], f"the disk {path}")
            await self._tools.change(["pvremove", path], f"the disk {path}")
            log.info("took %s out of the pool %s", path, name)
        elif any(orphan.path == path and is_marked(orphan.uuid) for orphan in report.orphans):
            await self._tools.change(["pvremove", path], f"the disk {path}")

    async def forget_missing(self, name: str) -> None:
        """See PoolUpkeep."""
        group = inventory.find_pool(await self._tools.report(), name)
        missing = [disk for disk in group.disks if disk.is_missing]
        if not missing:
            return
        if lost := sorted(v.name for v in group.volumes if v.is_partial and not v.is_hidden):
            text = f"on missing disks of the pool {name} lies a part of {', '.join(lost)}"
            remedy = "bring the disks back; or delete what lies there, which is lost with them"
            raise BusyError(text, reasons=[Reason("disk-not-empty", text, remedy)])
        # Without --force: LVM itself refuses where anything would be lost.
        await self._tools.change(["vgreduce", "--removemissing", name], f"the pool {name}")
        log.warning("the pool %s goes on without %d missing disks", name, len(missing))

    async def _look(self, name: str, path: str) -> tuple[Group, PhysicalVolume]:
        group = inventory.find_pool(await self._tools.report(), name)
        disk = group.find_disk(path)
        if disk is None:
            text = f"{path} is no disk of the pool {name}"
            raise NotFoundError(text, reasons=[Reason("no-such-disk", text, "look at the pool's disks", "disk")])
        return group, disk
