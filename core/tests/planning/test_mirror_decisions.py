"""What is told of a mirror, and what about it needs a person."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from holdfast.hooks.replication import (
    ConnectionState,
    DiskState,
    MirrorStatus,
    MirrorVolumeStatus,
    ReplicationState,
    Role,
    Suspension,
)
from holdfast.planning.mirror_alerts import MirrorFacts, alerts, has_lost_a_disk
from holdfast.planning.mirror_changes import changes
from holdfast.planning.mirror_link import LinkMeasurement

U, I, D = DiskState.UP_TO_DATE, DiskState.INCONSISTENT, DiskState.DISKLESS  # noqa: E741 - as in a table
VOLUME = MirrorVolumeStatus(0, "/dev/m0", U, U, ReplicationState.ESTABLISHED, 0, 0, 0, None)
WELL = MirrorStatus("m", True, Role.PRIMARY, Role.SECONDARY, ConnectionState.CONNECTED, Suspension.NO, (VOLUME,))
ABSENT = MirrorStatus("m", False, Role.UNKNOWN, Role.UNKNOWN, ConnectionState.UNKNOWN, Suspension.NO, ())


def look(**volume: Any) -> MirrorStatus:
    return replace(WELL, volumes=(replace(VOLUME, **volume),))


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (None, WELL, []),
        (WELL, WELL, []),
        (WELL, replace(WELL, connection=ConnectionState.CONNECTING), ["connection"]),
        (WELL, replace(WELL, connection=ConnectionState.UNKNOWN), []),
        (WELL, replace(WELL, role=Role.SECONDARY), ["role"]),
        (WELL, replace(WELL, peer_role=Role.PRIMARY), ["peer-role"]),
        (WELL, replace(WELL, peer_role=Role.UNKNOWN), []),
        (WELL, replace(WELL, suspended=Suspension.FENCING), ["suspended"]),
        (WELL, look(disk=DiskState.FAILED), ["disk-lost"]),
        (look(disk=DiskState.FAILED), look(disk=D), ["disk"]),
        (WELL, look(peer_disk=DiskState.OUTDATED), ["peer-disk"]),
        (WELL, look(peer_disk=DiskState.UNKNOWN), []),
        (WELL, look(replication=ReplicationState.VERIFY), ["replication"]),
        (WELL, look(sent_bytes=9, out_of_sync_bytes=4096), []),
        (WELL, ABSENT, ["down"]),
        (ABSENT, replace(WELL, connection=ConnectionState.UNKNOWN, volumes=()), ["up", "role", "peer-role"]),
        (replace(WELL, volumes=()), WELL, ["volume-added"]),
    ],
)
def test_what_is_different_is_told_once(before: MirrorStatus | None, now: MirrorStatus, expected: list[str]) -> None:
    assert [change.kind for change in changes(before, now)] == expected


@pytest.mark.parametrize(
    ("peer_disk", "by"),
    [
        (DiskState.UP_TO_DATE, "the partner"),
        (DiskState.UNKNOWN, "nobody"),
        (DiskState.OUTDATED, "nobody, for the partner's is Outdated"),
        (I, "nobody, for the partner's is Inconsistent"),
    ],
)
def test_who_serves_what_lost_its_disk_is_said_as_it_is(peer_disk: DiskState, by: str) -> None:
    [alert] = alerts(MirrorFacts(look(disk=D, peer_disk=peer_disk), True, False, 0))
    assert alert.text == f"volume 0 has lost its disk here and is served by {by}"


@pytest.mark.parametrize(
    ("status", "more", "expected"),
    [
        (WELL, {}, []),
        (WELL, {"unrepaired_bytes": 4096}, ["out-of-sync"]),
        (look(out_of_sync_bytes=4096), {}, ["out-of-sync"]),
        (look(out_of_sync_bytes=4096), {"unrepaired_bytes": 4096}, ["out-of-sync"]),
        (look(out_of_sync_bytes=4096, replication=ReplicationState.VERIFY), {}, []),
        (look(out_of_sync_bytes=4096, replication=ReplicationState.SYNC_SOURCE), {}, []),
        (replace(look(out_of_sync_bytes=4096), connection=ConnectionState.CONNECTING), {}, ["not-connected"]),
        (ABSENT, {}, ["not-up"]),
        (ABSENT, {"is_started": False}, []),
        (look(disk=D), {}, ["disk-lost"]),
        (look(disk=DiskState.FAILED, peer_disk=D), {}, ["no-disk-left"]),
        (look(peer_disk=D), {}, []),
        (replace(WELL, suspended=Suspension.NO_DATA), {}, ["no-data"]),
        (look(disk=I, replication=ReplicationState.SYNC_TARGET), {}, []),
        (look(disk=I), {}, ["inconsistent"]),
        (replace(WELL, connection=ConnectionState.CONNECTING), {}, ["not-connected"]),
        (replace(WELL, connection=ConnectionState.STANDALONE), {}, ["standalone"]),
        (replace(WELL, connection=ConnectionState.STANDALONE), {"is_started": False}, []),
        (replace(WELL, connection=ConnectionState.STANDALONE), {"has_split_brain": True}, ["split-brain"]),
        (WELL, {"link": LinkMeasurement("2026-01-01T00:00:00+00:00", "a", 1, 9, "slow", None)}, ["slow-link"]),
        (WELL, {"link": LinkMeasurement("2026-01-01T00:00:00+00:00", "a", 9, 9, None, None)}, []),
        (
            replace(WELL, connection=ConnectionState.CONNECTING, suspended=Suspension.FENCING),
            {},
            ["frozen", "not-connected"],
        ),
    ],
)
def test_what_needs_a_person_is_said_with_its_remedy(
    status: MirrorStatus, more: dict[str, Any], expected: list[str]
) -> None:
    facts = MirrorFacts(status, **{"is_started": True, "has_split_brain": False, "unrepaired_bytes": 0, **more})
    found = alerts(facts)
    assert [alert.code for alert in found] == expected
    assert all(alert.remedy for alert in found)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (WELL, False),
        (ABSENT, False),
        (look(disk=D), True),
        (look(disk=DiskState.FAILED), True),
        (look(peer_disk=D), False),
        (replace(look(disk=D), role=Role.SECONDARY), True),
        (replace(look(disk=D), connection=ConnectionState.CONNECTING), True),  # in use, it had one
        (replace(look(disk=D), role=Role.SECONDARY, connection=ConnectionState.CONNECTING), False),  # half made
        (replace(WELL, volumes=(VOLUME, replace(VOLUME, number=1, disk=D))), True),
    ],
)
def test_a_disk_is_lost_where_a_volume_runs_without_one(status: MirrorStatus, expected: bool) -> None:
    assert has_lost_a_disk(status) is expected
