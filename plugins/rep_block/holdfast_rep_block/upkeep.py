"""What is done to a mirror while it is used: resyncs held and bounded, both sides made larger."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from holdfast.errors import NoSpaceError, Reason, RefusedError
from holdfast.hooks.replication import ConnectionState, DiskState, MirrorStatus, Role, Suspension, SyncLimits
from holdfast_rep_block import events, options
from holdfast_rep_block.drbdsetup import Drbdsetup, KernelRefusedError, refuse
from holdfast_rep_block.settings import Settings

log = logging.getLogger(__name__)

# drbd.h, enum drbd_ret_code.
_PAUSED_ALREADY = 134
_NOT_PAUSED = 135
_NO_ROOM_FOR_METADATA = 112

_RESIZE_S = 60.0


async def pause(minors: Iterable[int], drbd: Drbdsetup) -> None:
    """See MirrorDriver.pause_sync."""
    for minor in minors:
        await _unless(_PAUSED_ALREADY, drbd, "pause-sync", str(minor))


async def resume(minors: Iterable[int], drbd: Drbdsetup) -> None:
    """See MirrorDriver.resume_sync."""
    for minor in minors:
        await _unless(_NOT_PAUSED, drbd, "resume-sync", str(minor))


async def limit(minors: Iterable[int], limits: SyncLimits, drbd: Drbdsetup, settings: Settings) -> None:
    """See MirrorDriver.limit_sync."""
    for minor in minors:
        await drbd.run("disk-options", str(minor), *options.rates(settings, limits))


async def end_wait_for_data(status: MirrorStatus, drbd: Drbdsetup) -> None:
    """Let writers go on who wait for data (on-no-data-accessible) that is there again.

    The kernel ends the wait only if a disk is attached under the waiting Primary itself: one that was demoted
    meanwhile, or whose peer's disk came back, waits for ever, in sync and promoted.
    """
    is_there = all(DiskState.UP_TO_DATE in (volume.disk, volume.peer_disk) for volume in status.volumes)
    # It ends a wait for the fence's answer, too, which is never ours to end; that one is told before this one.
    if status.suspended is not Suspension.NO_DATA or not is_there:
        return
    for volume in status.volumes:
        await drbd.run("resume-io", volume.device.removeprefix(events.DEVICE_PREFIX))
    log.info("mirror %s has its data again, and whoever waited for it goes on", status.name)


async def _unless(number: int, drbd: Drbdsetup, *words: str) -> None:
    try:
        await drbd.run(*words)
    except KernelRefusedError as reason:
        if reason.number != number:
            raise


async def detach(status: MirrorStatus, number: int, drbd: Drbdsetup) -> None:
    """See MirrorDriver.detach. The kernel would refuse the last complete disk only where it is in use."""
    volume = next(volume for volume in status.volumes if volume.number == number)
    if volume.disk is DiskState.DISKLESS:
        return
    if status.connection is not ConnectionState.CONNECTED or volume.peer_disk is not DiskState.UP_TO_DATE:
        text = f"the peer is not connected with all data of volume {number}: it is {volume.peer_disk.value} there"
        raise RefusedError(text, reasons=[Reason("no-other-copy", text, "bring the peer back first")])
    await drbd.run("detach", volume.device.removeprefix(events.DEVICE_PREFIX), timeout_s=_RESIZE_S)
    log.info("volume %d of mirror %s was detached from its disk", number, status.name)


async def grow(status: MirrorStatus, drbd: Drbdsetup, *, new_part_is_zero: bool) -> None:
    """See MirrorDriver.grow."""
    refuse(status.name, _why_not_grow(status), "it cannot grow")
    more = ("--assume-clean",) if new_part_is_zero else ()
    for volume in status.volumes:
        minor = volume.device.removeprefix(events.DEVICE_PREFIX)
        try:
            await drbd.run("resize", minor, *more, timeout_s=_RESIZE_S)
        except KernelRefusedError as reason:
            if reason.number != _NO_ROOM_FOR_METADATA:
                raise
            text = f"the metadata of volume {volume.number} has no room for so much"
            remedy = "take the mirror apart, grow the volume, and mirror it again"
            raise NoSpaceError(text, reasons=[Reason("metadata-full", text, remedy)]) from reason
    log.info("mirror %s was told to take up what its lower devices have gained", status.name)


def _why_not_grow(status: MirrorStatus) -> list[Reason]:
    found = []
    if Role.PRIMARY not in (status.role, status.peer_role):
        found.append(Reason("no-primary", "neither side is Primary", "promote one side"))
    for volume in status.volumes:
        if (volume.disk, volume.peer_disk) != (DiskState.UP_TO_DATE, DiskState.UP_TO_DATE):
            text = f"volume {volume.number} is {volume.disk.value} here and {volume.peer_disk.value} there"
            found.append(Reason("not-up-to-date", text, "connect both sides and wait for the end of the resync"))
    return found
