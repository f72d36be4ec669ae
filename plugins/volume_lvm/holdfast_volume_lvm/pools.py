"""Pools: volume groups that carry our tag."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from holdfast.errors import (
    BusyError,
    ConflictError,
    HoldfastError,
    InvalidError,
    NotFoundError,
    Reason,
    RefusedError,
    UnavailableError,
    VerificationError,
)
from holdfast.hooks.volume import Disk, Pool
from holdfast_volume_lvm import disks, inventory
from holdfast_volume_lvm.naming import OURS, check_name, disk_mark, new_disk_uuid
from holdfast_volume_lvm.report import Group, PhysicalVolume, Report
from holdfast_volume_lvm.settings import Settings
from holdfast_volume_lvm.tools import IGNORE_SKIP, Tools

log = logging.getLogger(__name__)

_PREPARED = ("LVM2_member",)


class Pools:
    """Makes and removes pools. See VolumeDriver."""

    def __init__(self, tools: Tools, settings: Settings) -> None:
        self._tools = tools
        self._settings = settings

    async def list_disks(self) -> tuple[Disk, ...]:
        """See VolumeDriver."""
        return await self._disks(await self._tools.report())

    async def _disks(self, report: Report) -> tuple[Disk, ...]:
        listing = await self._tools.look(disks.ARGV, "the block devices")
        return await disks.list_disks(
            disks.parse_devices(listing.stdout), report, self._tools.carried, self._tools.kernel
        )

    async def create(self, name: str, paths: tuple[str, ...], overwrite: Mapping[str, tuple[str, ...]]) -> Pool:
        """See VolumeDriver.

        Each disk is prepared by a command of its own, with an identifier that tells which pool it was
        meant for: what an interruption leaves behind is known again, and used.
        """
        check_name(name, "name")
        if not paths or len(set(paths)) != len(paths):
            text = "a pool needs at least one disk, and each only once"
            raise InvalidError(text, reasons=[Reason("bad-disks", text, "name each disk once", "disks")])
        report = await self._tools.report()
        if group := report.find(name):
            return _as_asked(group, paths)
        await self._prepare_all(report, name, paths, overwrite)
        await self._tools.change(["vgcreate", "--addtag", OURS, name, *paths], f"the pool {name}")
        group = (await self._tools.report()).find(name)
        if group is None:
            raise VerificationError(f"the pool {name} was made and is not there")
        log.info("made the pool %s of %s", name, ", ".join(paths))
        return _as_asked(group, paths)

    async def extend(self, name: str, paths: tuple[str, ...], overwrite: Mapping[str, tuple[str, ...]]) -> Pool:
        """See PoolUpkeep. What an interruption leaves prepared is known again, as in `create`."""
        report = await self._tools.report()
        group = inventory.find_pool(report, name)
        if not paths or len(set(paths)) != len(paths):
            text = "name at least one disk, and each only once"
            raise InvalidError(text, reasons=[Reason("bad-disks", text, "name each disk once", "disks")])
        new = tuple(path for path in paths if group.find_disk(path) is None)
        if new:
            await self._prepare_all(report, name, new, overwrite)
            await self._tools.change(["vgextend", name, *new], f"the pool {name}")
            log.info("extended the pool %s by %s", name, ", ".join(new))
        return await self.get(name)

    async def _prepare_all(
        self, report: Report, name: str, paths: tuple[str, ...], overwrite: Mapping[str, tuple[str, ...]]
    ) -> None:
        """Make disks ready for a pool, or refuse them all before any is touched."""
        known = {disk.path: disk for disk in await self._disks(report)}
        left = {disk.path for disk in _left_behind(report, name)}
        # Whatever else it carries came later, and is not ours to destroy.
        prepared = {path for path in left if path in known and known[path].signatures == _PREPARED}
        if reasons := [reason for path in paths for reason in _objections(path, known, prepared, overwrite)]:
            raise _refusal(reasons)
        for path in paths:
            if path not in prepared:
                await self._prepare(name, known[path])

    async def _prepare(self, pool: str, disk: Disk) -> None:
        if disk.signatures:
            log.info("erasing %s from %s, as asked", ", ".join(disk.signatures), disk.path)
            await self._tools.wipe(disk.path)
        # Without --yes: whatever appeared on the disk since we looked, LVM itself then refuses.
        await self._tools.change(
            [
                *("pvcreate", "--norestorefile", "--uuid", new_disk_uuid(pool)),
                *("--metadatasize", f"{self._settings.pv_metadata_bytes}b", disk.path),
            ],
            f"the disk {disk.path}",
        )

    async def list(self) -> tuple[Pool, ...]:
        """See VolumeDriver."""
        return tuple(inventory.pool_of(group) for group in inventory.pools(await self._tools.report()))

    async def get(self, name: str) -> Pool:
        """See VolumeDriver."""
        return inventory.pool_of(inventory.find_pool(await self._tools.report(), name))

    async def delete(self, name: str) -> None:
        """See VolumeDriver."""
        report = await self._tools.report()
        group = report.find(name)
        if group is not None and group.is_ours:
            if group.volumes:
                left = sorted(volume.name for volume in group.volumes if not volume.is_hidden)
                text = f"the pool {name} still has {', '.join(left)}"
                raise BusyError(text, reasons=[Reason("pool-not-empty", text, "delete its volumes first")])
            await self._tools.change(["vgremove", name], f"the pool {name}")
            report = await self._tools.report()
        # Also those that an interrupted making or deletion left prepared.
        for disk in _left_behind(report, name):
            await self._tools.change(["pvremove", disk.path], f"the disk {disk.path}")
        log.info("the pool %s is gone", name)

    async def activate(self, name: str) -> None:
        """See VolumeDriver. Resumes what a killed LVM left suspended, too."""
        group = inventory.find_pool(await self._tools.report(), name)
        ours = [volume for volume in group.volumes if volume.role is not None]
        active = {volume.name for volume in group.volumes if volume.is_active}
        # A thick snapshot comes with its volume, and LVM asks before it takes the one's name for the other.
        stuck = {v.comes_with or v.name for v in ours if v.is_suspended or (v.comes_with in active and not v.is_active)}
        waiting = {volume.name for volume in ours if not volume.is_active and volume.comes_with is None}
        failures = [
            await self._try_all(["lvchange", "--refresh"], name, stuck),
            await self._try_all(["lvchange", "--activate", "y", *IGNORE_SKIP], name, waiting),
        ]
        if not stuck and not waiting:
            return
        group = inventory.find_pool(await self._tools.report(), name)
        ours = [volume for volume in group.volumes if volume.role is not None]
        if still := [volume.name for volume in ours if volume.is_suspended or not volume.is_active]:
            text = f"in the pool {name} stay unavailable: {', '.join(still)}"
            reasons = [Reason("not-active", text, "look whether a disk of the pool is missing")]
            raise UnavailableError(text, reasons=reasons) from next((f for f in failures if f), None)

    async def _try_all(self, argv: Sequence[str], pool: str, names: set[str]) -> HoldfastError | None:
        """Change each of `names`: LVM goes on with the others when one fails. Return what it said then."""
        if not names:
            return None
        log.info("%s of %s: %s", " ".join(argv), pool, ", ".join(sorted(names)))
        try:
            await self._tools.change([*argv, *(f"{pool}/{name}" for name in sorted(names))], f"the pool {pool}")
        except HoldfastError as reason:
            return reason
        return None


def _as_asked(group: Group, paths: tuple[str, ...]) -> Pool:
    pool = inventory.pool_of(group)
    if not group.is_ours:
        text = f"there is a volume group {group.name} that is not of this product"
        raise ConflictError(text, reasons=[Reason("foreign-group", text, "choose another name", "name")])
    if set(pool.disks) != set(paths):
        text = f"there is a pool {group.name} of {', '.join(pool.disks)}"
        raise ConflictError(text, reasons=[Reason("pool-exists", text, "choose another name", "name")])
    return pool


def _left_behind(report: Report, name: str) -> list[PhysicalVolume]:
    return [disk for disk in report.orphans if disk.uuid.startswith(disk_mark(name))]


def _refusal(reasons: list[Reason]) -> HoldfastError:
    codes = {reason.code for reason in reasons}
    kind = NotFoundError if "no-such-disk" in codes else BusyError if "disk-in-use" in codes else RefusedError
    return kind("; ".join(reason.text for reason in reasons), reasons=reasons)


def _objections(
    path: str, known: Mapping[str, Disk], prepared: set[str], overwrite: Mapping[str, tuple[str, ...]]
) -> list[Reason]:
    """Why a disk must not become part of a pool."""
    disk = known.get(path)
    if disk is None:
        return [Reason("no-such-disk", f"{path} is no disk of this node", "look at the list of disks", "disks")]
    if disk.used_by is not None:
        return [Reason("disk-in-use", f"{path} is used by {disk.used_by}", "choose a disk that is free", "disks")]
    if path in prepared or not disk.signatures or set(overwrite.get(path, ())) == set(disk.signatures):
        return []
    carried = ", ".join(disk.signatures)
    named = ", ".join(overwrite.get(path, ()))
    text = f"{path} carries {carried}" + (f", not {named}" if named else "")
    remedy = f"to destroy what it holds, say that {path} may be overwritten and carries exactly {carried}"
    return [Reason("disk-carries-data", text, remedy, "overwrite")]
