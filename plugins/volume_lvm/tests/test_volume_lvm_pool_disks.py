"""What the driver runs while a disk leaves its pool, by reports such as LVM prints them meanwhile."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from holdfast.errors import BusyError, NoSpaceError, NotFoundError
from holdfast.testing.fakes import Answer, ManualClock, ScriptedCommands, make_host
from holdfast_volume_lvm.pool_disks import PoolDisks
from holdfast_volume_lvm.settings import Settings
from holdfast_volume_lvm.tools import Tools

MIB = 1 << 20
OLD, NEW = "/dev/ubdb", "/dev/ubdd"
START = ("pvmove", "--background", "--interval", "1", OLD)


def report(
    used_mib: int = 40, *, copied: str | None = None, takes: str = "1", free_mib: int = 100, gone: bool = False
) -> str:
    """Tank on two disks; `copied` is how far the move off the old one is, if there is any."""
    empty = dict.fromkeys(("lv_tags", "origin", "origin_size", "data_percent", "metadata_percent", "pool_lv"), "")
    move = {"lv_name": "[pvmove0]", "lv_uuid": "m", "lv_size": "1", "lv_attr": "p-C-aom---", "lv_active": "active"}
    numbers = {"lv_device_open": "1", "lv_kernel_major": "254", "lv_kernel_minor": "9", "lv_metadata_size": ""}
    group = {"vg_name": "tank", "vg_uuid": "u", "vg_size": "9", "vg_free": "8", "vg_extent_size": str(4 * MIB)}
    old = {"pv_name": OLD, "pv_uuid": "o", "pv_used": str(used_mib * MIB), "pv_free": "0", "pv_allocatable": takes}
    new = {"pv_name": NEW, "pv_uuid": "n", "pv_used": "0", "pv_free": str(free_mib * MIB), "pv_allocatable": "1"}
    sizes = {"dev_size": "1", "pv_size": "1", "pv_missing": "0"}
    part = {
        "vg": [{**group, "vg_tags": "holdfast", "vg_exported": "0"}],
        "pv": [{**disk, **sizes} for disk in ((new,) if gone else (old, new))],
        "lv": [] if copied is None else [{**empty, **move, **numbers, "move_pv": OLD, "copy_percent": copied}],
    }
    return json.dumps({"report": [part]})


@dataclass
class Machine:
    """Prints one report after the other, the last one for ever."""

    root: Path
    reports: list[str]
    told: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.commands = ScriptedCommands(self.answer)
        self.clock = ManualClock()
        host = make_host(self.root, commands=self.commands, clock=self.clock)
        self.disks = PoolDisks(Tools(host, Settings()), self.clock)

    def answer(self, argv: tuple[str, ...], _: bytes | None) -> Answer | None:
        if argv[:2] == ("lvm", "fullreport"):
            return Answer(self.reports.pop(0) if len(self.reports) > 1 else self.reports[0])
        return Answer()

    async def hear(self, percent: float) -> None:
        self.told.append(percent)

    async def move_off(self) -> None:
        moving = asyncio.create_task(self.disks.move_off("tank", OLD, self.hear))
        while not moving.done():
            await asyncio.sleep(0.001)
            await self.clock.advance(1.0)
        await moving

    @property
    def changes(self) -> list[tuple[str, ...]]:
        return [(argv[1], *argv[4:]) for argv in self.commands.calls if argv[1] != "fullreport"]


async def test_a_move_is_started_once_and_told_until_nothing_is_left(tmp_path: Path) -> None:
    leaving = [report(copied=percent, takes="0") for percent in ("10.00", "60.50", "100.00")]
    machine = Machine(tmp_path, [report(), *leaving, report(0, takes="0")])
    await machine.move_off()
    assert machine.changes == [("pvchange", "--allocatable", "n", OLD), START]
    assert machine.told == [0.0, 10.0, 60.5, 100.0]


async def test_a_move_that_was_under_way_is_taken_up_whatever_room_there_is(tmp_path: Path) -> None:
    machine = Machine(tmp_path, [report(copied="30.00", takes="0", free_mib=0), report(0, takes="0")])
    await machine.move_off()
    assert machine.changes == [START]


async def test_an_empty_disk_is_only_marked(tmp_path: Path) -> None:
    machine = Machine(tmp_path, [report(0)])
    await machine.move_off()
    assert (machine.changes, machine.told) == ([("pvchange", "--allocatable", "n", OLD)], [])


async def test_a_copy_that_nobody_takes_note_of_gets_another_watcher(tmp_path: Path) -> None:
    over = [report(copied="100.00", takes="0")] * 7
    machine = Machine(tmp_path, [report(), *over, report(0, takes="0")])
    await machine.move_off()
    assert machine.changes[1:] == [START, START]


async def test_a_move_that_vanished_is_started_again(tmp_path: Path) -> None:
    machine = Machine(tmp_path, [report(), report(takes="0"), report(copied="1.00", takes="0"), report(0, takes="0")])
    await machine.move_off()
    assert machine.changes[1:] == [START, START]


async def test_without_room_nothing_is_changed(tmp_path: Path) -> None:
    machine = Machine(tmp_path, [report(free_mib=36)])
    with pytest.raises(NoSpaceError, match=f"{4 * MIB} bytes are missing"):
        await machine.move_off()
    assert machine.changes == []


@pytest.mark.parametrize(
    ("seen", "ran"),
    [
        (report(copied="5.00", takes="0"), [("pvmove", "--abort", OLD), ("pvchange", "--allocatable", "y", OLD)]),
        (report(takes="0"), [("pvchange", "--allocatable", "y", OLD)]),
        (report(), []),
        (report(gone=True), []),
    ],
)
async def test_what_is_under_way_is_given_up(tmp_path: Path, seen: str, ran: list[tuple[str, ...]]) -> None:
    machine = Machine(tmp_path, [seen])
    await machine.disks.stop("tank", OLD)
    assert machine.changes == ran


async def test_a_disk_of_another_pool_or_with_data_is_not_taken_out(tmp_path: Path) -> None:
    machine = Machine(tmp_path, [report()])
    with pytest.raises(BusyError, match=f"{40 * MIB} bytes"):
        await machine.disks.remove("tank", OLD)
    with pytest.raises(NotFoundError):
        await machine.disks.move_off("tank", "/dev/ubdz", machine.hear)
    await machine.disks.remove("tank", "/dev/ubdz")
    assert machine.changes == []


async def test_an_empty_disk_is_taken_out_and_blanked(tmp_path: Path) -> None:
    machine = Machine(tmp_path, [report(0, takes="0")])
    await machine.disks.remove("tank", OLD)
    assert machine.changes == [("vgreduce", "tank", OLD), ("pvremove", OLD)]
