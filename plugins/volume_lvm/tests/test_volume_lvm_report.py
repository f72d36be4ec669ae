"""What LVM printed on a real kernel (lvm 2.03.16), read into values of the contract."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.errors import NotFoundError, VerificationError
from holdfast.hooks.volume import FileSystem, Pool, PoolDisk, Reserves, Snapshot, Volume, VolumeKind
from holdfast_volume_lvm import inventory
from holdfast_volume_lvm.disks import parse_devices, parse_signatures
from holdfast_volume_lvm.naming import Role
from holdfast_volume_lvm.report import ARGV, Group, Report, parse

CAPTURED = Path(__file__).parent / "captured"
MIB = 1024 * 1024
EXTENT = 4 * MIB


def read(name: str) -> Report:
    return parse((CAPTURED / f"{name}.json").read_text())


def tank(name: str) -> Group:
    return inventory.find_pool(read(name), "tank")


def snapshots(name: str) -> dict[str, Snapshot]:
    return {snapshot.name: snapshot for snapshot in map(inventory.snapshot_of, inventory.snapshots(tank(name)))}


def test_a_machine_without_lvm_has_nothing() -> None:
    assert read("nothing") == Report((), ())


def test_disks_of_no_group_are_orphans() -> None:
    report = read("orphans")
    assert report.groups == ()
    assert [(disk.path, disk.size_bytes) for disk in report.orphans] == [
        ("/dev/ubdb", 1024 * MIB),
        ("/dev/ubdc", 512 * MIB),
    ]


def test_only_groups_with_our_tag_are_pools() -> None:
    report = read("full")
    assert [group.name for group in report.groups] == ["tank", "theirs"]
    assert [group.name for group in inventory.pools(report)] == ["tank"]
    assert report.group_of_disk("/dev/ubdc") == "theirs"
    with pytest.raises(NotFoundError):
        inventory.find_pool(report, "theirs")


def test_a_pool_is_told_with_its_reserves() -> None:
    assert inventory.pool_of(tank("full")) == Pool(
        name="tank",
        size_bytes=1024 * MIB,
        free_bytes=145 * EXTENT,
        extent_bytes=EXTENT,
        disks=("/dev/ubdb",),
        reserves=Reserves(
            snapshots_bytes=12 * EXTENT,
            replication_metadata_bytes=EXTENT,
            system_bytes=1024 * MIB - 251 * EXTENT,
        ),
        members=(
            PoolDisk("ncrgqu-f4or-k0fP-5fEB-4PCr-19rG-gJ62Oo", "/dev/ubdb", 1024 * MIB, 145 * EXTENT, 106 * EXTENT),
        ),
    )


def test_what_a_pool_has_adds_up_with_what_others_put_there() -> None:
    group = tank("full")
    pool, own = inventory.pool_of(group), inventory.pool_of(group).reserves
    volumes = sum(volume.size_bytes for volume in inventory.volumes(group))
    foreign = sum(volume.size_bytes for volume in group.volumes if volume.role is None)
    reserved = own.snapshots_bytes + own.replication_metadata_bytes + own.system_bytes
    assert foreign == 3 * EXTENT
    assert pool.free_bytes + volumes + reserved + foreign == pool.size_bytes


def test_volumes_are_ours_only_and_without_snapshots_and_metadata() -> None:
    made = [inventory.volume_of(volume) for volume in inventory.volumes(tank("full"))]
    assert [(volume.name, volume.kind, volume.size_bytes // EXTENT, volume.is_active) for volume in made] == [
        ("v0", VolumeKind.NAS, 80, True),
        ("v1", VolumeKind.ISCSI, 8, True),
        # Its making was interrupted: it has no tag that says it is ready.
        ("v2", VolumeKind.FC, 2, False),
    ]
    uuid = "H1q3h7-k3KI-iy32-yZWP-IUFo-dGZ2-ew0WYo"
    size_bytes = 320 * MIB
    nas = Volume("tank", "v0", size_bytes, VolumeKind.NAS, "/dev/tank/v0", uuid, is_active=True, used_bytes=size_bytes)
    assert made[0] == replace(nas, file_system=FileSystem.XFS)
    assert [volume.file_system for volume in made[1:]] == [None, None]


def test_roles_are_told_by_tags() -> None:
    assert {volume.name: volume.role for volume in tank("full").volumes} == {
        "foreign": None,
        "v0": Role.VOLUME,
        "v0.snap.friday": Role.SNAPSHOT,
        "v0.snap.monday": Role.SNAPSHOT,
        "v1": Role.VOLUME,
        "v1.meta": Role.METADATA,
        "v2": Role.VOLUME,
    }


def test_a_snapshot_is_told_with_its_use() -> None:
    device = "/dev/tank/v0.snap.friday"
    assert snapshots("full")["friday"] == Snapshot(
        "tank", "v0", "friday", 10 * EXTENT, 5.62, is_overflown=False, device=device, used_bytes=2357199
    )
    assert list(snapshots("full")) == ["friday", "monday"]


def test_an_overflown_snapshot_is_void_and_another_is_not() -> None:
    seen = snapshots("overflown")
    assert (seen["monday"].is_overflown, seen["monday"].used_percent) == (True, 100.0)
    assert (seen["friday"].is_overflown, seen["friday"].used_percent) == (False, 55.78)


def test_what_is_open_mounted_or_suspended_is_told() -> None:
    group = tank("full")
    assert {volume.name for volume in group.volumes if volume.is_open} == {"v0", "v0.snap.friday"}
    found = group.find("v0")
    assert found is not None
    assert (found.number, found.origin_size_bytes) == ("254:0", 320 * MIB)
    assert [volume.name for volume in tank("suspended").volumes if volume.is_suspended] == ["v1"]


def test_after_a_boot_nothing_is_active_and_use_is_unknown() -> None:
    group = tank("inactive")
    assert not any(volume.is_active or volume.is_open or volume.number for volume in group.volumes)
    assert not any(inventory.volume_of(volume).is_active for volume in inventory.volumes(group))
    assert {snapshot.used_percent for snapshot in snapshots("inactive").values()} == {None}


def test_a_snapshot_whose_device_was_removed_is_there_and_not_active() -> None:
    found = tank("broken").find("v0.snap.monday")
    assert found is not None
    assert (found.is_active, found.is_void, found.origin) == (False, False, "v0")


def test_a_missing_disk_keeps_its_size_and_makes_nothing_negative() -> None:
    group = tank("missing")
    assert [disk.is_missing for disk in group.disks] == [False, True]
    assert inventory.pool_of(group).reserves.system_bytes >= 0
    here, gone = inventory.pool_of(group).members
    assert (here.path, here.is_missing, gone.path, gone.is_missing) == ("/dev/ubdb", False, None, True)
    assert inventory.pool_of(group).free_bytes == here.free_bytes < group.free_bytes
    assert inventory.pool_of(group).disks == ("/dev/ubdb",)


def test_a_group_rounds_up_to_its_extents() -> None:
    group = tank("full")
    assert [group.round_up(size) // EXTENT for size in (1, EXTENT, EXTENT + 1)] == [1, 1, 2]


@pytest.mark.parametrize("printed", ["", "{}", '{"report": [{"vg": [{}]}]}', '{"report": 1}'])
def test_what_lvm_never_printed_is_no_empty_machine(printed: str) -> None:
    with pytest.raises(VerificationError):
        parse(printed)


def test_the_report_asks_for_sizes_in_bytes_and_every_part() -> None:
    assert ARGV[ARGV.index("--units") + 1] == "b"
    assert [ARGV[i + 1] for i, word in enumerate(ARGV) if word == "--configreport"] == [
        "vg",
        "pv",
        "lv",
        "pvseg",
        "seg",
    ]


def test_devices_of_a_node_are_read() -> None:
    devices = parse_devices((CAPTURED / "lsblk-used.json").read_text())
    assert [device.path for device in devices if device.is_disk] == ["/dev/ubda", "/dev/ubdb", "/dev/ubdc", "/dev/ubdd"]
    assert devices[0].mount_points == ("/var/lib/holdfast", "/usr/lib/modules")


@pytest.mark.parametrize(
    ("name", "wanted"), [("wipefs-blank", ()), ("wipefs-member", ("LVM2_member",)), ("wipefs-swap", ("swap",))]
)
def test_signatures_of_a_node_are_read(name: str, wanted: tuple[str, ...]) -> None:
    assert parse_signatures((CAPTURED / f"{name}.json").read_text()) == wanted
