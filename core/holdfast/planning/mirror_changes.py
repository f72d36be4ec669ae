"""What happened to a mirror, from two looks at it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from holdfast.hooks.replication import (
    ConnectionState,
    DiskState,
    MirrorStatus,
    MirrorVolumeStatus,
    Role,
)

_LOST = (DiskState.FAILED, DiskState.DISKLESS)


@dataclass(frozen=True)
class MirrorChange:
    """One thing that is different now. `kind` is the event's word behind `mirror.`."""

    kind: str
    facts: dict[str, Any]


def changes(before: MirrorStatus | None, now: MirrorStatus) -> tuple[MirrorChange, ...]:
    """What is worth telling, in the order in which a reader wants it. Nothing is known of before the first look."""
    return () if before is None else tuple(_changes(before, now))


def _changes(before: MirrorStatus, now: MirrorStatus) -> Iterator[MirrorChange]:
    if before.is_up is not now.is_up:
        yield MirrorChange("up" if now.is_up else "down", {})
    if not now.is_up:
        return
    # On its way from one state to the next a link is unknown for an instant: that is no news.
    if now.connection is not ConnectionState.UNKNOWN:
        yield from _if_other("connection", before.connection, now.connection)
    yield from _if_other("suspended", before.suspended, now.suspended)
    yield from _if_other("role", before.role, now.role)
    if now.peer_role is not Role.UNKNOWN:
        yield from _if_other("peer-role", before.peer_role, now.peer_role)
    old = {volume.number: volume for volume in before.volumes}
    for volume in now.volumes:
        if volume.number in old:
            yield from _of_volume(old[volume.number], volume)
        else:
            yield MirrorChange("volume-added", {"volume": volume.number})


def _of_volume(before: MirrorVolumeStatus, now: MirrorVolumeStatus) -> Iterator[MirrorChange]:
    where = {"volume": now.number}
    if now.disk in _LOST and before.disk not in _LOST:
        yield MirrorChange("disk-lost", {**where, "was": before.disk.value})
    else:
        yield from _if_other("disk", before.disk, now.disk, **where)
    if now.peer_disk is not DiskState.UNKNOWN:
        yield from _if_other("peer-disk", before.peer_disk, now.peer_disk, **where)
    facts = {**where, "out_of_sync_bytes": now.out_of_sync_bytes}
    yield from _if_other("replication", before.replication, now.replication, **facts)


def _if_other(kind: str, before: StrEnum, now: StrEnum, **facts: Any) -> Iterator[MirrorChange]:
    if before is not now:
        yield MirrorChange(kind, {**facts, "was": before.value, "is": now.value})
