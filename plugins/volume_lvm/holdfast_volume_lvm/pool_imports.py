"""Pools that come from elsewhere, and pools that are called otherwise."""

from __future__ import annotations

import logging

from holdfast.errors import BusyError, ConflictError, NotFoundError, Reason
from holdfast.hooks.pools import FoundPool
from holdfast_volume_lvm import inventory
from holdfast_volume_lvm.naming import OURS, check_length, check_name
from holdfast_volume_lvm.report import Group, Report
from holdfast_volume_lvm.tools import Tools

log = logging.getLogger(__name__)


async def list_found(tools: Tools) -> tuple[FoundPool, ...]:
    """See PoolUpkeep.list_found_pools."""
    found = (inventory.found_pool(group) for group in (await tools.report()).groups)
    return tuple(sorted(found, key=lambda pool: (pool.name, pool.id)))


async def take(tools: Tools, uuid: str, name: str) -> None:
    """See PoolUpkeep.import_pool. By the group's identifier: of one name there may be two."""
    check_name(name, "name")
    report = await tools.report()
    group = next((group for group in report.groups if group.uuid == uuid), None)
    if group is None:
        text = f"there is no volume group {uuid} on this node's disks"
        raise NotFoundError(text, reasons=[Reason("no-such-pool", text, "look at what is found", "id")])
    if any(disk.is_missing for disk in group.disks):
        text = f"some disks of {group.name} are missing"
        raise BusyError(text, reasons=[Reason("disks-missing", text, "plug all its disks in", "id")])
    _refuse_taken(report, group, name)
    subject = f"the volume group {group.name}"
    if group.is_exported:
        await tools.change(["vgimport", "--select", f"vg_uuid={uuid}"], subject)
    if group.name != name:
        await tools.change(["vgrename", uuid, name], subject)
    if not group.is_ours:
        await tools.change(["vgchange", "--addtag", OURS, name], f"the pool {name}")
    log.info("the volume group %s is the pool %s", uuid, name)


async def rename(tools: Tools, name: str, new_name: str) -> None:
    """See PoolUpkeep.rename_pool."""
    check_name(new_name, "new_name")
    report = await tools.report()
    if report.find(name) is None and (renamed := report.find(new_name)) is not None and renamed.is_ours:
        return
    group = inventory.find_pool(report, name)
    _refuse_taken(report, group, new_name)
    if group.name != new_name:
        await tools.change(["vgrename", group.uuid, new_name], f"the pool {name}")
        log.info("the pool %s is called %s now", name, new_name)


def _refuse_taken(report: Report, group: Group, name: str) -> None:
    if any(other.name == name and other.uuid != group.uuid for other in report.groups):
        text = f"there is a volume group {name} already"
        raise ConflictError(text, reasons=[Reason("exists", text, "choose another name", "name")])
    for volume in group.volumes:
        check_length(name, volume.name.strip("[]"))
