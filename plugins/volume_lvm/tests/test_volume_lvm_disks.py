"""Which disks there are, out of what lsblk and wipefs printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import VerificationError
from holdfast.hooks.volume import Disk
from holdfast.system.kernelfs import KernelFs
from holdfast_volume_lvm.disks import BlockDevice, faults, holder, list_disks, parse_devices, parse_signatures
from holdfast_volume_lvm.report import Group, PhysicalVolume, Report

NOTHING = Report((), ())
TANK = Report((Group("tank", "u", 0, 0, 1, frozenset(), (PhysicalVolume("/dev/sda", "u", 1, False),), ()),), ())


def row(path: str, kind: str = "disk", **more: Any) -> dict[str, Any]:
    name = path.removeprefix("/dev/")
    return {"path": path, "kname": name, "type": kind, "size": 1 << 30, "ro": False, "mountpoints": [None], **more}


def parse(*rows: dict[str, Any]) -> tuple[BlockDevice, ...]:
    return parse_devices(json.dumps({"blockdevices": rows}))


def part(path: str, *mount_points: str) -> dict[str, Any]:
    return row(path, "part", mountpoints=list(mount_points))


@pytest.mark.parametrize(
    ("given", "report", "wanted"),
    [
        (row("/dev/sda"), NOTHING, None),
        (row("/dev/sda"), TANK, "tank"),
        (row("/dev/sdb"), TANK, None),
        (row("/dev/sda", mountpoints=["/srv", "/mnt"]), NOTHING, "/srv"),
        (row("/dev/sda", mountpoints=["[SWAP]"]), NOTHING, "[SWAP]"),
        (row("/dev/sda", children=[part("/dev/sda1")]), NOTHING, None),
        (row("/dev/sda", children=[part("/dev/sda1"), part("/dev/sda2", "/boot")]), NOTHING, "/boot"),
        (row("/dev/sdb", children=[part("/dev/sda")]), TANK, "tank"),
        (row("/dev/sda", children=[row("/dev/md0", "raid1")]), NOTHING, "/dev/md0"),
        (
            row("/dev/sda", children=[{**part("/dev/sda1"), "children": [row("/dev/mapper/c", "crypt")]}]),
            NOTHING,
            "/dev/mapper/c",
        ),
    ],
)
def test_who_holds_a_disk_is_told(given: dict[str, Any], report: Report, wanted: str | None) -> None:
    assert holder(parse(given)[0], report) == wanted


@pytest.mark.parametrize(
    ("given", "is_disk"),
    [
        (row("/dev/sda"), True),
        (row("/dev/nvme0n1"), True),
        (row("/dev/nbd0"), True),
        (row("/dev/mapper/mpatha", "mpath"), True),
        (row("/dev/md0", "raid1"), True),
        (row("/dev/nbd1", size=0), False),
        (row("/dev/sdb", ro=True), False),
        (row("/dev/sda1", "part"), False),
        (row("/dev/loop0", "loop"), False),
        (row("/dev/sr0", "rom"), False),
        (row("/dev/mapper/tank-v0", "lvm"), False),
        (row("/dev/drbd0"), False),
        (row("/dev/ram0"), False),
        (row("/dev/zram0"), False),
    ],
)
def test_only_whole_writable_disks_are_disks(given: dict[str, Any], is_disk: bool) -> None:
    assert parse(given)[0].is_disk is is_disk


async def test_a_disk_below_two_others_is_listed_once_and_in_order(tmp_path: Path) -> None:
    mpath = row("/dev/mapper/mpatha", "mpath")
    devices = parse(row("/dev/sdb", children=[mpath]), row("/dev/sda", children=[mpath]))

    async def carried(path: str) -> tuple[str, ...]:
        return ("mpath_member",) if path.startswith("/dev/sd") else ()

    state = tmp_path / "sys/block/sdb/device/state"
    state.parent.mkdir(parents=True)
    state.write_text("offline\n")
    assert await list_disks(devices, NOTHING, carried, KernelFs(tmp_path)) == (
        Disk("/dev/mapper/mpatha", 1 << 30, (), None),
        Disk("/dev/sda", 1 << 30, ("mpath_member",), "/dev/mapper/mpatha"),
        Disk("/dev/sdb", 1 << 30, ("mpath_member",), "/dev/mapper/mpatha", ("its driver says that it is offline",)),
    )


@pytest.mark.parametrize(
    ("state", "told"),
    [(None, 0), ("running\n", 0), ("live\n", 0), ("offline\n", 1), ("blocked\n", 1), ("deleting (no IO)\n", 1)],
)
def test_what_the_driver_of_a_disk_says_is_told(tmp_path: Path, state: str | None, told: int) -> None:
    path = tmp_path / "sys/block/sdb/device/state"
    path.parent.mkdir(parents=True)
    if state is not None:
        path.write_text(state)
    assert len(faults(KernelFs(tmp_path), "sdb")) == told


def test_each_kind_of_signature_is_named_once() -> None:
    rows = [{"type": "gpt"}, {"type": "PMBR"}, {"type": "gpt"}]
    assert parse_signatures(json.dumps({"signatures": rows})) == ("PMBR", "gpt")


@pytest.mark.parametrize("printed", ["", "\n", '{\n   "signatures": [\n\n   ]\n}\n'])
def test_a_blank_device_has_no_signatures(printed: str) -> None:
    assert parse_signatures(printed) == ()


@pytest.mark.parametrize("printed", ["nonsense", "{}", '{"signatures": [{}]}'])
def test_what_cannot_be_read_is_never_taken_for_blank(printed: str) -> None:
    with pytest.raises(VerificationError):
        parse_signatures(printed)
    with pytest.raises(VerificationError):
        parse_devices(printed)
