"""Which volumes of a mirror count: those on record, whatever else its kernel has for a moment. Pure.

A volume is added in this order: equal on both nodes, in the kernel of both, on record of the node that stands by, on
record of the one that serves. It is taken out the other way round. So at every moment, and after a kill at every
moment, a node that counts a volume finds it in its kernel, or must not be promoted.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from holdfast.hooks.replication import DiskState, MirrorStatus, MirrorVolumeStatus, ReplicationState


def on_record(status: MirrorStatus, numbers: Collection[int]) -> MirrorStatus:
    """The status without what the kernel has besides: that is being added, or taken out, and nobody can use it."""
    return replace(status, volumes=tuple(volume for volume in status.volumes if volume.number in numbers))


def as_wanted(status: MirrorStatus, numbers: Collection[int]) -> MirrorStatus:
    """The status by which a node decides whether it may serve the volumes of these numbers.

    What the kernel has besides does not count. What the kernel lacks counts as a volume without a disk, so that no node
    is promoted that would serve only some of them.
    """
    if not status.is_up:
        return status
    found = {volume.number: volume for volume in on_record(status, numbers).volumes}
    return replace(status, volumes=tuple(found.get(number) or _lacking(number) for number in sorted(numbers)))


def _lacking(number: int) -> MirrorVolumeStatus:
    return MirrorVolumeStatus(
        number=number,
        device="",
        disk=DiskState.DISKLESS,
        peer_disk=DiskState.UNKNOWN,
        replication=ReplicationState.OFF,
        out_of_sync_bytes=0,
        sent_bytes=0,
        received_bytes=0,
        done_percent=None,
    )


def free_number(taken: Collection[int]) -> int:
    """The number that a further volume of a mirror gets."""
    return next(number for number in range(len(taken) + 1) if number not in taken)
