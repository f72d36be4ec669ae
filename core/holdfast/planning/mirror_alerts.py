"""What about a mirror needs a person, until it is over. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from holdfast.errors import Reason
from holdfast.hooks.replication import (
    ConnectionState,
    DiskState,
    MirrorStatus,
    MirrorVolumeStatus,
    ReplicationState,
    Role,
    Suspension,
)
from holdfast.planning.mirror_link import LinkMeasurement, slow_link_reason

LOST = (DiskState.DISKLESS, DiskState.FAILED)


@dataclass(frozen=True)
class MirrorFacts:
    """What a judgement of one side rests on."""

    status: MirrorStatus
    is_started: bool
    has_split_brain: bool
    unrepaired_bytes: int
    """What the last comparison found to differ and nothing has repaired since."""
    link: LinkMeasurement | None = None


def has_lost_a_disk(status: MirrorStatus) -> bool:
    """Whether a volume that runs has no disk here any more.

    Disks are attached before sides connect, and before one is promoted: what runs without one has lost it. It may fail
    again, so that only a person has it attached.
    """
    is_running = status.connection is ConnectionState.CONNECTED or status.role is Role.PRIMARY
    return status.is_up and is_running and any(volume.disk in LOST for volume in status.volumes)


def alerts(facts: MirrorFacts) -> tuple[Reason, ...]:
    """Each with what a person does about it; the worst first."""
    return tuple(_alerts(facts))


def _alerts(facts: MirrorFacts) -> Iterator[Reason]:
    status = facts.status
    if facts.has_split_brain:
        text = "both sides were changed while they did not see each other, and stay apart until a person chooses"
        yield Reason("split-brain", text, "read GET /v1/mirrors/NAME/split-brain, then choose the survivor")
    if facts.is_started and not status.is_up:
        yield Reason("not-up", "it is not in this node's kernel", "look at GET /v1/node, drift, for why")
    for volume in status.volumes:
        if volume.disk in LOST:
            yield _lost(volume)
        if volume.disk is DiskState.INCONSISTENT and volume.replication is not ReplicationState.SYNC_TARGET:
            text = f"volume {volume.number} is not complete here, and no resync is under way"
            yield Reason("inconsistent", text, "start the mirror and wait for the end of the resync")
    if status.suspended is Suspension.FENCING:
        text = "its writers wait: it lost the partner, and it is not known yet whether the partner is out"
        yield Reason("frozen", text, "bring the partner or the links back; see GET /v1/decisions")
    if status.suspended is Suspension.NO_DATA:
        text = "its writers wait: at their last write no side had its data"
        yield Reason("no-data", text, "bring a disk with the data back, and start the mirror on its node")
    if facts.is_started and status.is_up and not facts.has_split_brain:
        if status.connection is ConnectionState.STANDALONE:
            text = "it has left its partner and does not try to connect"
            yield Reason("standalone", text, "start it: POST /v1/mirrors/NAME/start")
        elif status.connection is not ConnectionState.CONNECTED:
            yield Reason("not-connected", "it does not reach its partner", "look at the partner and at the link")
    if facts.unrepaired_bytes:
        text = f"the last comparison of both sides found {facts.unrepaired_bytes} bytes that differ"
        yield Reason("out-of-sync", text, "read GET /v1/mirrors/NAME/repair, then repair")
    elif status.marked_bytes:
        text = f"{status.marked_bytes} bytes are marked as different, and no resync is under way"
        yield Reason("out-of-sync", text, "read GET /v1/mirrors/NAME/repair, then repair")
    yield from slow_link_reason(facts.link)


def _lost(volume: MirrorVolumeStatus) -> Reason:
    if volume.peer_disk in LOST:
        text = f"volume {volume.number} has lost its disks on both nodes, and nobody can read or write it"
        remedy = (
            "bring back the disk that failed last, for it alone has every write, and start the mirror on its node; the"
            " other disk after that"
        )
        return Reason("no-disk-left", text, remedy)
    if volume.peer_disk is DiskState.UP_TO_DATE:
        by, remedy = (
            "the partner",
            "start the mirror if the disk works again; else make a pool on a new disk and replace the disk with it",
        )
    elif volume.peer_disk is DiskState.UNKNOWN:
        by, remedy = "nobody", "bring the partner back: it may have all that was written"
    else:
        by = f"nobody, for the partner's is {volume.peer_disk.value}"
        remedy = "bring the disk back and start the mirror: it has what the partner lacks"
    return Reason("disk-lost", f"volume {volume.number} has lost its disk here and is served by {by}", remedy)
