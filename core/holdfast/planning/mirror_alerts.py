"""What about a mirror needs a person, until it is over. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from holdfast.errors import Reason
from holdfast.hooks.replication import ConnectionState, DiskState, MirrorStatus, ReplicationState, Role, Suspension

LOST = (DiskState.DISKLESS, DiskState.FAILED)


@dataclass(frozen=True)
class MirrorFacts:
    """What a judgement of one side rests on."""

    status: MirrorStatus
    is_started: bool
    has_split_brain: bool
    unrepaired_bytes: int
    """What the last comparison found to differ and nothing has repaired since."""


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
            text = f"volume {volume.number} has lost its disk here and is served by the partner"
            remedy = (
                "start the mirror if the disk works again; else make a pool on a new disk and replace the disk with it"
            )
            yield Reason("disk-lost", text, remedy)
        if volume.disk is DiskState.INCONSISTENT and volume.replication is not ReplicationState.SYNC_TARGET:
            text = f"volume {volume.number} is not complete here, and no resync is under way"
            yield Reason("inconsistent", text, "start the mirror and wait for the end of the resync")
    if status.suspended is Suspension.FENCING:
        text = "its writers wait: it lost the partner, and it is not known yet whether the partner is out"
        yield Reason("frozen", text, "bring the partner or the links back; see GET /v1/decisions")
    if facts.is_started and status.is_up and not facts.has_split_brain:
        if status.connection is ConnectionState.STANDALONE:
            text = "it has left its partner and does not try to connect"
            yield Reason("standalone", text, "start it: POST /v1/mirrors/NAME/start")
        elif status.connection is not ConnectionState.CONNECTED:
            yield Reason("not-connected", "it does not reach its partner", "look at the partner and at the link")
    if facts.unrepaired_bytes:
        text = f"the last comparison of both sides found {facts.unrepaired_bytes} bytes that differ"
        yield Reason("out-of-sync", text, "read GET /v1/mirrors/NAME/repair, then repair")
