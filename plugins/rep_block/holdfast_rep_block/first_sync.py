"""How the first sync of a mirror is skipped or done: once, with metadata just created, and never forced."""

from __future__ import annotations

from collections.abc import Callable

from holdfast.errors import NotFoundError, Reason, VerificationError
from holdfast.hooks.replication import ConnectionState, DiskState, MirrorSpec, MirrorStatus, MirrorVolumeStatus, Role
from holdfast.system.clock import Clock
from holdfast_rep_block import events, options
from holdfast_rep_block.connecting import Connector
from holdfast_rep_block.drbdsetup import Drbdsetup, refuse
from holdfast_rep_block.metadata import JUST_CREATED

_SETTLE_S = 10.0
_LOOK_EVERY_S = 0.1


async def skip(name: str, drbd: Drbdsetup, clock: Clock) -> None:
    """See MirrorDriver.skip_first_sync."""
    status = (await _up(name, drbd)).status()
    if status.is_in_sync:
        return
    refuse(name, _not_both_idle(status), "the first sync cannot be skipped")
    todo = [v for v in status.volumes if not _is_equal(v)]
    refuse(name, await _not_fresh(todo, drbd), "the first sync cannot be skipped")
    for volume in todo:
        await drbd.run("new-current-uuid", str(_minor(volume)), "--clear-bitmap")
    if not await _wait(name, drbd, clock, lambda found: found.is_in_sync):
        raise VerificationError(f"mirror {name}: the first sync was skipped, and the sides are not in sync")


async def start_full(spec: MirrorSpec, drbd: Drbdsetup, connector: Connector) -> None:
    """See MirrorDriver.start_full_sync.

    `invalidate-remote` makes this side UpToDate without force, but leaves the generation at just-created: the next
    reconnection would sync all of it again, and the metadata would still pass for fresh. A new
    generation can only be had while disconnected. Killed between any two steps, it goes on when repeated:
    an UpToDate side of the just-created generation is one that has not come to the end.
    """
    name = spec.name
    status = (await _up(name, drbd)).status()
    started = [v for v in status.volumes if v.disk is DiskState.UP_TO_DATE]
    unfinished = [v for v in started if await drbd.generation(_minor(v)) == JUST_CREATED]
    fresh = [v for v in status.volumes if v not in started]
    if fresh:
        refuse(name, _not_both_idle(status), "a full sync cannot be started")
        refuse(name, await _not_fresh(fresh, drbd), "a full sync cannot be started")
        for volume in fresh:
            await drbd.run("invalidate-remote", str(_minor(volume)))
    if not fresh and not unfinished:
        return
    ends = await drbd.configuration(name)
    if ends.local is not None and ends.remote is not None:
        await drbd.run("disconnect", options.address(ends.local), options.address(ends.remote))
    for volume in fresh + unfinished:
        await drbd.run("new-current-uuid", str(_minor(volume)))
    await connector.connect(spec)


def _minor(volume: MirrorVolumeStatus) -> int:
    return int(volume.device.removeprefix(events.DEVICE_PREFIX))


def _is_equal(volume: MirrorVolumeStatus) -> bool:
    return volume.disk is DiskState.UP_TO_DATE and volume.peer_disk is DiskState.UP_TO_DATE


def _not_both_idle(status: MirrorStatus) -> list[Reason]:
    """What is missing to a connected pair of Secondaries."""
    found = []
    if status.connection is not ConnectionState.CONNECTED:
        found.append(Reason("not-connected", f"it is {status.connection.value}", "connect both sides first"))
    if Role.PRIMARY in (status.role, status.peer_role):
        found.append(Reason("in-use", "one side is Primary", "demote it first"))
    return found


async def _not_fresh(volumes: list[MirrorVolumeStatus], drbd: Drbdsetup) -> list[Reason]:
    """Which volumes have, or had, data on either side by their metadata."""
    found = []
    for volume in volumes:
        disks = (volume.disk, volume.peer_disk)
        if disks != (DiskState.INCONSISTENT, DiskState.INCONSISTENT):
            text = f"volume {volume.number} is {volume.disk.value} here and {volume.peer_disk.value} there"
        elif await drbd.generation(_minor(volume)) != JUST_CREATED:
            text = f"the metadata of volume {volume.number} is not fresh"
        else:
            continue
        found.append(Reason("not-fresh", text, "wipe and create the metadata on both sides if no data is to be kept"))
    return found


async def _up(name: str, drbd: Drbdsetup) -> events.Resource:
    resource = (await drbd.picture(name)).resources.get(name)
    if resource is None:
        raise NotFoundError(f"mirror {name} is not up on this node")
    return resource


async def _wait(name: str, drbd: Drbdsetup, clock: Clock, is_so: Callable[[MirrorStatus], bool]) -> bool:
    deadline_s = clock.boot_s() + _SETTLE_S
    while True:
        if is_so((await _up(name, drbd)).status()):
            return True
        if clock.boot_s() > deadline_s:
            return False
        await clock.sleep(_LOOK_EVERY_S)
