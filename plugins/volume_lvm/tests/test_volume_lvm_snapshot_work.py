"""What is run for snapshots that grow, are merged and copied, by what LVM says there is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import BusyError, ConflictError, InvalidError, NoSpaceError, NotFoundError
from plugins.volume_lvm.tests.test_volume_lvm_driver import MIB, Machine, captured

Row = dict[str, Any]


def changed(change: Callable[[dict[str, Row]], None]) -> str:
    """The full report after a change to the volumes of the pool tank, by name; those that are gone are None."""
    report = json.loads(captured("full"))
    for part in report["report"]:
        if part.get("vg") and part["vg"][0]["vg_name"] == "tank":
            rows = {row["lv_name"]: row for row in part["lv"]}
            change(rows)
            part["lv"] = list(rows.values())
    return json.dumps(report)


def unused(rows: dict[str, Row]) -> None:
    for name in ("v0", "v0.snap.friday"):
        rows[name] = {**rows[name], "lv_device_open": "0"}


def marked(rows: dict[str, Row]) -> None:
    unused(rows)
    rows["v0"]["lv_tags"] += ",holdfast.rolling-back=friday.10"


def hidden(rows: dict[str, Row]) -> None:
    """As while it is merged: what LVM hides has its name in brackets."""
    marked(rows)
    rows["v0"]["lv_attr"] = "Owi-a-s---"
    row = rows.pop("v0.snap.friday")
    rows["hidden"] = {**row, "lv_name": "[v0.snap.friday]", "lv_attr": "Swi-a-s---"}


def merged(rows: dict[str, Row]) -> None:
    marked(rows)
    del rows["v0.snap.friday"]


def void(rows: dict[str, Row]) -> None:
    unused(rows)
    rows["v0.snap.friday"]["lv_attr"] = "swi-I-s---"


MARK = ("lvchange", "--addtag", "holdfast.rolling-back=friday.10", "tank/v0")
UNMARK = ("lvchange", "--deltag", "holdfast.rolling-back=friday.10", "tank/v0")
MERGE = ("lvconvert", "--yes", "--merge", "--interval", "1", "tank/v0.snap.friday")
POLL = ("lvpoll", "--polloperation", "merge", "--interval", "1", "tank/v0")
REFRESH = ("lvchange", "--refresh", "tank/v0")


def verbs(machine: Machine) -> list[tuple[str, ...]]:
    """The commands, the taking anew shortened."""
    return [argv if argv[0] != "lvcreate" else (*argv[:4], argv[-1]) for argv in machine.changes]


TAKE = ("lvcreate", "--snapshot", "--name", "v0.snap.friday", "tank/v0")


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        # From the beginning, and after each command that may have been the last one.
        ([unused, merged, merged, marked], [MARK, MERGE, TAKE, UNMARK]),
        ([marked, merged, merged, marked], [UNMARK, MARK, MERGE, TAKE, UNMARK]),
        ([hidden, hidden, merged, merged, marked], [REFRESH, POLL, TAKE, UNMARK]),
        ([merged, merged, merged, marked], [TAKE, UNMARK]),
    ],
)
async def test_a_rollback_goes_on_from_wherever_it_was(
    tmp_path: Path, reports: list[Callable[[dict[str, Row]], None]], expected: list[tuple[str, ...]]
) -> None:
    machine = Machine(tmp_path, reports=[changed(each) for each in reports])
    await machine.driver.roll_back("tank", "v0", "friday")
    assert verbs(machine) == expected


async def test_what_is_being_merged_is_no_snapshot_meanwhile(tmp_path: Path) -> None:
    machine = Machine(tmp_path, reports=[changed(hidden)])
    assert [snapshot.name for snapshot in await machine.driver.list_snapshots()] == ["monday"]


async def test_what_is_in_use_void_or_another_is_not_rolled_back(tmp_path: Path) -> None:
    for number, (report, name, kind) in enumerate(
        [
            (captured("full"), "friday", BusyError),
            (changed(void), "friday", ConflictError),
            (changed(unused), "sunday", NotFoundError),
            (changed(hidden), "monday", ConflictError),
            (changed(merged), "monday", ConflictError),
        ]
    ):
        machine = Machine(tmp_path / str(number), reports=[report])
        mounts = tmp_path / str(number) / "kernel/proc/self/mountinfo"
        mounts.write_text("1 1 254:0 / /srv/x rw - xfs /dev/x rw\n")
        with pytest.raises(kind):
            await machine.driver.roll_back("tank", "v0", name)
        assert machine.changes == []


async def test_a_reserve_is_asked_in_extents_and_capped(tmp_path: Path) -> None:
    def grown(rows: dict[str, Row]) -> None:
        rows["v0.snap.friday"]["lv_size"] = str(80 * MIB)

    machine = Machine(tmp_path, reports=[captured("full"), changed(grown)])
    assert (await machine.driver.grow_snapshot("tank", "v0", "friday", 79 * MIB)).reserve_bytes == 80 * MIB
    assert machine.changes == [("lvextend", "--extents", "20", "tank/v0.snap.friday")]
    machine = Machine(tmp_path / "capped")
    await machine.driver.grow_snapshot("tank", "v0", "friday", 4000 * MIB)
    # The 320 MiB of its volume, a hundredth, and an extent.
    assert machine.changes == [("lvextend", "--extents", "82", "tank/v0.snap.friday")]
    machine = Machine(tmp_path / "same")
    await machine.driver.grow_snapshot("tank", "v0", "friday", 40 * MIB)
    assert machine.changes == []


async def test_a_reserve_without_room_or_smaller_is_refused(tmp_path: Path) -> None:
    report = json.loads(captured("full"))
    for part in report["report"]:
        if part.get("vg"):
            part["vg"][0]["vg_free"] = str(8 * MIB)
        for disk in part.get("pv", ()):
            disk["pv_free"] = str(8 * MIB)
    machine = Machine(tmp_path, reports=[json.dumps(report)])
    for reserve_bytes, kind in ((100 * MIB, NoSpaceError), (36 * MIB, ConflictError)):
        with pytest.raises(kind):
            await machine.driver.grow_snapshot("tank", "v0", "friday", reserve_bytes)
    assert machine.changes == []


async def test_a_part_is_copied_past_the_page_cache_and_durably(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    await machine.driver.copy_snapshot("tank", "v0", "friday", "v1", offset_bytes=4 * MIB, size_bytes=8 * MIB)
    [argv] = machine.changes
    assert argv[:3] == ("dd", "if=/dev/tank/v0.snap.friday", "of=/dev/tank/v1")
    assert {f"skip={4 * MIB}", f"seek={4 * MIB}", f"count={8 * MIB}"} < set(argv)
    assert {"iflag=direct,skip_bytes,count_bytes,fullblock", "oflag=direct,seek_bytes", "conv=notrunc,fsync"} < set(
        argv
    )
    with pytest.raises(InvalidError):
        await machine.driver.copy_snapshot("tank", "v0", "friday", "v1", offset_bytes=28 * MIB, size_bytes=8 * MIB)


async def test_a_copy_of_what_overflowed_meanwhile_is_none(tmp_path: Path) -> None:
    machine = Machine(tmp_path, reports=[captured("full"), changed(void)])
    with pytest.raises(ConflictError, match="overflowed"):
        await machine.driver.copy_snapshot("tank", "v0", "friday", "v1", offset_bytes=0, size_bytes=MIB)
