"""What events2 printed on real kernels, and the picture that must follow. Captured from drbdsetup-84 9.22 on 8.4.11."""

from __future__ import annotations

import pytest

from holdfast.hooks.replication import ConnectionState, DiskState, ReplicationState, Role, Suspension
from holdfast_rep_block import events
from holdfast_rep_block.events import Picture, parse
from holdfast_rep_block.progress import Progress

FROZEN = """\
exists resource name:r0 role:Primary suspended:fencing write-ordering:flush
exists connection name:r0 peer-node-id:0 conn-name:peer connection:Connecting role:Unknown congested:no
exists device name:r0 volume:0 minor:0 disk:UpToDate size:131072 read:0 written:0 al-writes:8 bm-writes:0 blocked:no
exists peer-device name:r0 peer-node-id:0 conn-name:peer volume:0 replication:Off peer-disk:DUnknown \
resync-suspended:no received:0 sent:132120 out-of-sync:240 pending:0 unacked:0
exists -
"""
STANDALONE = """\
exists resource name:r0 role:Secondary suspended:no write-ordering:flush
exists connection name:r0 peer-node-id:0 connection:StandAlone role:Unknown congested:no
exists device name:r0 volume:0 minor:0 disk:Inconsistent size:131072 read:0 written:0 blocked:no
exists device name:r0 volume:1 minor:5 disk:Inconsistent size:65536 read:0 written:0 blocked:no
exists peer-device name:r0 peer-node-id:0 volume:0 replication:Off peer-disk:DUnknown out-of-sync:130816
exists peer-device name:r0 peer-node-id:0 volume:1 replication:Off peer-disk:DUnknown out-of-sync:65280
exists -
"""
LIVE = """\
exists resource name:r0 role:Secondary suspended:no
exists connection name:r0 peer-node-id:0 connection:StandAlone role:Unknown
exists device name:r0 volume:0 minor:0 disk:Inconsistent
exists peer-device name:r0 peer-node-id:0 volume:0 replication:Off peer-disk:DUnknown resync-suspended:no
exists -
create connection name:r0 peer-node-id:0 conn-name:peer connection:StandAlone role:Unknown congested:no
create peer-device name:r0 peer-node-id:0 conn-name:peer volume:0 replication:Off peer-disk:DUnknown
change connection name:r0 peer-node-id:0 conn-name:peer connection:Unconnected
change connection name:r0 peer-node-id:0 conn-name:peer connection:Connecting
change connection name:r0 peer-node-id:0 conn-name:peer connection:Connected
change connection name:r0 peer-node-id:0 conn-name:peer role:Secondary
change peer-device name:r0 peer-node-id:0 conn-name:peer volume:0 replication:Established peer-disk:Inconsistent
change device name:r0 volume:0 minor:0 disk:UpToDate
change peer-device name:r0 peer-node-id:0 conn-name:peer volume:0 replication:StartingSyncS
call helper name:r0 peer-node-id:0 conn-name:peer volume:0 minor:0 helper:before-resync-source
response helper name:r0 peer-node-id:0 conn-name:peer volume:0 minor:0 helper:before-resync-source status:0
""".splitlines()
LEAVING = """\
change peer-device name:r0 peer-node-id:0 conn-name:peer volume:0 replication:Off
change connection name:r0 peer-node-id:0 conn-name:peer connection:Disconnecting role:Unknown
change connection name:r0 peer-node-id:0 conn-name:peer connection:StandAlone
destroy peer-device name:r0 peer-node-id:0 conn-name:peer volume:0
destroy connection name:r0 peer-node-id:0 conn-name:peer
""".splitlines()


def test_a_frozen_primary_is_seen_as_such() -> None:
    status = Picture(FROZEN.splitlines()).resources["r0"].status()
    assert (status.role, status.peer_role) == (Role.PRIMARY, Role.UNKNOWN)
    assert (status.connection, status.suspended) == (ConnectionState.CONNECTING, Suspension.FENCING)
    volume = status.volumes[0]
    assert (volume.disk, volume.peer_disk) == (DiskState.UP_TO_DATE, DiskState.UNKNOWN)
    assert (volume.sent_bytes, volume.out_of_sync_bytes) == (132120 * 1024, 240 * 1024)
    assert not status.is_in_sync


def test_volumes_are_in_order_with_their_devices() -> None:
    resource = Picture(STANDALONE.splitlines()).resources["r0"]
    assert [volume.device for volume in resource.status().volumes] == ["/dev/drbd0", "/dev/drbd5"]
    assert resource.minors == (0, 5)
    assert not resource.is_connection_configured


def test_changes_are_laid_over_what_was() -> None:
    picture = Picture(LIVE)
    status = picture.resources["r0"].status()
    assert (status.connection, status.peer_role) == (ConnectionState.CONNECTED, Role.SECONDARY)
    volume = status.volumes[0]
    assert (volume.disk, volume.peer_disk) == (DiskState.UP_TO_DATE, DiskState.INCONSISTENT)
    assert volume.replication is ReplicationState.SYNC_SOURCE
    assert picture.resources["r0"].is_connection_configured


def test_a_connection_that_is_gone_is_standalone_and_keeps_what_is_known_of_the_peer() -> None:
    resource = Picture([*LIVE, *LEAVING]).resources["r0"]
    status = resource.status()
    assert (status.connection, status.peer_role) == (ConnectionState.STANDALONE, Role.UNKNOWN)
    assert status.volumes[0].replication is ReplicationState.OFF
    assert status.volumes[0].peer_disk is DiskState.INCONSISTENT
    assert not resource.is_connection_configured


def test_what_was_taken_down_is_gone() -> None:
    gone = ["destroy device name:r0 volume:0 minor:0", "destroy resource name:r0"]
    assert Picture([*LIVE, *gone]).resources == {}


def test_the_end_of_the_dump_is_told_apart() -> None:
    ends = [line for line in LIVE if (event := parse(line)) and event.is_end_of_dump]
    assert ends == ["exists -"]


@pytest.mark.parametrize("line", ["", "exists", "   "])
def test_what_is_no_event_is_passed_over(line: str) -> None:
    assert parse(line) is None


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("no", Suspension.NO),
        ("user", Suspension.USER),
        ("no-data", Suspension.NO_DATA),
        ("fencing", Suspension.FENCING),
        ("user,no-data", Suspension.NO_DATA),
        ("user,fencing", Suspension.FENCING),
    ],
)
def test_the_suspension_that_says_most_wins(word: str, expected: Suspension) -> None:
    picture = Picture([f"exists resource name:r0 role:Primary suspended:{word}"])
    assert picture.resources["r0"].status().suspended is expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("StandAlone", ConnectionState.STANDALONE),
        ("Disconnecting", ConnectionState.UNKNOWN),
        ("NetworkFailure", ConnectionState.CONNECTING),
        ("Connecting", ConnectionState.CONNECTING),
        ("Connected", ConnectionState.CONNECTED),
        ("NewWordOfALaterVersion", ConnectionState.UNKNOWN),
    ],
)
def test_every_connection_word_has_a_meaning(word: str, expected: ConnectionState) -> None:
    picture = Picture([f"exists connection name:r0 conn-name:peer connection:{word} role:Unknown"])
    assert picture.resources["r0"].connection_state is expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("WFBitMapT", ReplicationState.SYNC_TARGET),
        ("SyncTarget", ReplicationState.SYNC_TARGET),
        ("VerifyT", ReplicationState.VERIFY),
        ("PausedSyncS", ReplicationState.PAUSED),
        ("Ahead", ReplicationState.OTHER),
    ],
)
def test_every_replication_word_has_a_meaning(word: str, expected: ReplicationState) -> None:
    lines = ["exists device name:r0 volume:0 minor:0 disk:UpToDate"]
    lines.append(f"exists peer-device name:r0 volume:0 replication:{word} peer-disk:UpToDate")
    assert Picture(lines).resources["r0"].status().volumes[0].replication is expected


def test_progress_is_shown_only_of_work_under_way() -> None:
    status = Picture(LIVE).resources["r0"].status({0: Progress(51.6, 1 << 20, 4096)})
    assert status.volumes[0].done_percent == 51.6
    assert (
        Picture(FROZEN.splitlines()).resources["r0"].status({0: Progress(51.6, 1 << 20, 4096)}).volumes[0].done_percent
        is None
    )


def test_the_absent_is_not_up() -> None:
    assert not events.absent("r0").is_up
