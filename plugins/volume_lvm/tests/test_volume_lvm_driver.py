"""What the driver decides and runs, on a machine that prints what a real one printed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from holdfast.errors import (
    BusyError,
    ConflictError,
    HoldfastError,
    InvalidError,
    NoSpaceError,
    NotFoundError,
    RefusedError,
    SystemCommandError,
)
from holdfast.hooks.volume import SnapshotSpec, VolumeKind, VolumeSpec
from holdfast.system.command import Completed, RunningCommand
from holdfast.testing.fakes import Answer, ManualClock, ScriptedCommands, make_host
from holdfast_volume_lvm.driver import LvmVolumes
from holdfast_volume_lvm.naming import new_disk_uuid
from holdfast_volume_lvm.settings import Settings
from holdfast_volume_lvm.tools import Tools

CAPTURED = Path(__file__).parent / "captured"
MIB = 1024 * 1024
FREE_BYTES = 145 * 4 * MIB


@dataclass
class Machine:
    """Prints reports in the order of `reports`, the last one for ever; every change succeeds."""

    root: Path
    reports: list[str] = field(default_factory=lambda: [captured("full")])
    devices: str = ""
    carried: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unreadable: str = ""

    def __post_init__(self) -> None:
        self.commands = ScriptedCommands(self.answer)
        self.clock = ManualClock()
        self.devices = self.devices or captured("lsblk-used")
        (self.root / "kernel/proc/self").mkdir(parents=True)
        (self.root / "kernel/proc/self/mountinfo").touch()
        self.driver = LvmVolumes(Settings(), make_host(self.root, commands=self.commands, clock=self.clock))

    def answer(self, argv: tuple[str, ...], _: bytes | None) -> Answer | None:
        match argv:
            case ("lvm", "fullreport", *_):
                return Answer(self.reports.pop(0) if len(self.reports) > 1 else self.reports[0])
            case ("lsblk", *_):
                return Answer(self.devices)
            case ("wipefs", "--json", *_, device) if device == self.unreadable:
                return Answer(returncode=1, stderr=f"wipefs: error: {device}: read failed: Input/output error\n")
            case ("wipefs", "--json", *_, device):
                return Answer(json.dumps({"signatures": [{"type": kind} for kind in self.carried.get(device, ())]}))
        return Answer()

    @property
    def changes(self) -> list[tuple[str, ...]]:
        """The commands that change something, without what every command of LVM is told."""
        return [
            argv[1:2] + argv[4:] if argv[0] == "lvm" else argv
            for argv in self.commands.calls
            if argv[1] != "fullreport" and argv[0] != "lsblk" and argv[:2] != ("wipefs", "--json")
        ]


def captured(name: str) -> str:
    return (CAPTURED / f"{name}.json").read_text()


def with_orphan(uuid: str, path: str = "/dev/ubdd") -> str:
    disk = {"pv_name": path, "pv_uuid": uuid, "dev_size": "1", "pv_size": "1", "pv_missing": "0"}
    disk |= {"pv_used": "0", "pv_free": "1", "pv_allocatable": "0"}
    return json.dumps({"report": [{"pv": [disk]}]})


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


SIGNED: dict[str, tuple[str, ...]] = {"/dev/ubdd": ("PMBR", "gpt")}


@pytest.mark.parametrize(
    ("disks", "carried", "overwrite", "meant"),
    [
        (("/dev/ubdd",), SIGNED, {}, RefusedError),
        (("/dev/ubdd",), SIGNED, {"/dev/ubdd": ("gpt",)}, RefusedError),
        (("/dev/ubdd",), SIGNED, {"/dev/ubdd": ("PMBR", "gpt", "xfs")}, RefusedError),
        (("/dev/ubdd",), SIGNED, {"/dev/ubda": ("PMBR", "gpt")}, RefusedError),
        (("/dev/ubda",), {}, {}, BusyError),
        (("/dev/ubdb",), {"/dev/ubdb": ("LVM2_member",)}, {"/dev/ubdb": ("LVM2_member",)}, BusyError),
        (("/dev/ubdd", "/dev/ubda"), SIGNED, {"/dev/ubdd": ("gpt", "PMBR")}, BusyError),
        (("/dev/ubdz",), {}, {}, NotFoundError),
        (("/dev/mapper/tank-v0",), {}, {}, NotFoundError),
        (("-rf",), {}, {}, NotFoundError),
        (("/dev/ubdd", "/dev/ubdd"), {}, {}, InvalidError),
        ((), {}, {}, InvalidError),
    ],
)
async def test_a_pool_is_refused_before_anything_is_changed(
    tmp_path: Path,
    disks: tuple[str, ...],
    carried: dict[str, tuple[str, ...]],
    overwrite: Mapping[str, tuple[str, ...]],
    meant: type[HoldfastError],
) -> None:
    machine = Machine(tmp_path, carried=carried)
    with pytest.raises(HoldfastError) as caught:
        await machine.driver.create_pool("fresh", disks, overwrite=overwrite)
    assert type(caught.value) is meant
    assert machine.changes == []


async def test_every_disk_that_stands_in_the_way_is_named_with_its_remedy(tmp_path: Path) -> None:
    machine = Machine(tmp_path, carried=SIGNED)
    with pytest.raises(BusyError) as caught:
        await machine.driver.create_pool("fresh", ("/dev/ubdd", "/dev/ubda"), overwrite={})
    assert [reason.code for reason in caught.value.reasons] == ["disk-carries-data", "disk-in-use"]
    assert "PMBR, gpt" in caught.value.reasons[0].remedy


@pytest.mark.parametrize("named", [("gpt", "PMBR"), ("PMBR", "gpt")])
async def test_a_disk_is_wiped_and_prepared_without_force(tmp_path: Path, named: tuple[str, ...]) -> None:
    fresh = captured("full").replace("tank", "fresh").replace("/dev/ubdb", "/dev/ubdd")
    machine = Machine(tmp_path, reports=[captured("nothing"), fresh], carried=SIGNED)
    await machine.driver.create_pool("fresh", ("/dev/ubdd",), overwrite={"/dev/ubdd": named})
    wipe, prepare, group = machine.changes
    assert wipe == ("wipefs", "--all", "/dev/ubdd")
    assert (prepare[0], prepare[-3:]) == ("pvcreate", ("--metadatasize", "16777216b", "/dev/ubdd"))
    assert group == ("vgcreate", "--addtag", "holdfast", "fresh", "/dev/ubdd")
    assert not {"--yes", "-y", "--force", "-f", "-ff"} & set(prepare + group)


async def test_a_disk_that_this_pool_s_making_left_behind_is_used(tmp_path: Path) -> None:
    fresh = captured("full").replace("tank", "fresh").replace("/dev/ubdb", "/dev/ubdd")
    left = with_orphan(new_disk_uuid("fresh"))
    machine = Machine(tmp_path, reports=[left, fresh], carried={"/dev/ubdd": ("LVM2_member",)})
    await machine.driver.create_pool("fresh", ("/dev/ubdd",), overwrite={})
    assert [change[0] for change in machine.changes] == ["vgcreate"]


async def test_a_disk_that_was_left_behind_and_used_since_is_refused(tmp_path: Path) -> None:
    carried: dict[str, tuple[str, ...]] = {"/dev/ubdd": ("LVM2_member", "ext4")}
    machine = Machine(tmp_path, [with_orphan(new_disk_uuid("fresh"))], carried=carried)
    with pytest.raises(RefusedError, match="ext4"):
        await machine.driver.create_pool("fresh", ("/dev/ubdd",), overwrite={})
    assert machine.changes == []


async def test_a_disk_that_another_pool_s_making_left_behind_is_refused(tmp_path: Path) -> None:
    machine = Machine(tmp_path, [with_orphan(new_disk_uuid("other"))], carried={"/dev/ubdd": ("LVM2_member",)})
    with pytest.raises(RefusedError):
        await machine.driver.create_pool("fresh", ("/dev/ubdd",), overwrite={})


async def test_deleting_an_absent_pool_clears_what_its_making_left_behind(tmp_path: Path) -> None:
    machine = Machine(tmp_path, reports=[with_orphan(new_disk_uuid("fresh"))])
    await machine.driver.delete_pool("other")
    assert machine.changes == []
    await machine.driver.delete_pool("fresh")
    assert machine.changes == [("pvremove", "/dev/ubdd")]


async def test_a_disk_that_cannot_be_read_hides_no_other_and_is_not_blank(tmp_path: Path) -> None:
    machine = Machine(tmp_path, unreadable="/dev/ubdd")
    listed = {disk.path: disk.signatures for disk in await machine.driver.list_disks()}
    assert listed == {"/dev/ubda": (), "/dev/ubdb": (), "/dev/ubdc": (), "/dev/ubdd": ("unreadable",)}
    with pytest.raises(RefusedError):
        await machine.driver.create_pool("fresh", ("/dev/ubdd",), overwrite={})


@pytest.mark.parametrize(
    ("spec", "meant"),
    [
        (VolumeSpec("tank", "v9", FREE_BYTES + 1, VolumeKind.ISCSI), NoSpaceError),
        (VolumeSpec("tank", "v9", 0, VolumeKind.ISCSI), InvalidError),
        (VolumeSpec("tank", "v9", 299 * MIB, VolumeKind.NAS), InvalidError),
        (VolumeSpec("tank", "-rf", MIB, VolumeKind.ISCSI), InvalidError),
        (VolumeSpec("tank", "snapshot1", MIB, VolumeKind.ISCSI), InvalidError),
        (VolumeSpec("theirs", "v9", MIB, VolumeKind.ISCSI), NotFoundError),
        (VolumeSpec("tank", "foreign", 12 * MIB, VolumeKind.ISCSI), ConflictError),
        (VolumeSpec("tank", "v1", 8 * MIB, VolumeKind.ISCSI), ConflictError),
        (VolumeSpec("tank", "v1", 32 * MIB, VolumeKind.FC), ConflictError),
    ],
)
async def test_a_volume_is_refused_before_anything_is_changed(
    machine: Machine, spec: VolumeSpec, meant: type[HoldfastError]
) -> None:
    with pytest.raises(meant):
        await machine.driver.create_volume(spec)
    assert machine.changes == []


async def test_what_is_missing_is_counted_in_whole_extents(machine: Machine) -> None:
    with pytest.raises(NoSpaceError, match=f"{4 * MIB} bytes are missing"):
        await machine.driver.create_volume(VolumeSpec("tank", "v9", FREE_BYTES + 1, VolumeKind.ISCSI))


async def test_a_volume_that_is_there_is_left_alone(machine: Machine) -> None:
    made = await machine.driver.create_volume(VolumeSpec("tank", "v1", 32 * MIB, VolumeKind.ISCSI))
    assert made.name == "v1"
    assert machine.changes == []


async def test_an_unfinished_volume_is_only_marked_where_it_is_blank(machine: Machine) -> None:
    spec = VolumeSpec("tank", "v2", 8 * MIB, VolumeKind.FC)
    await machine.driver.create_volume(spec)
    assert machine.changes == [("lvchange", "--addtag", "holdfast.ready", "tank/v2")]
    machine.carried["/dev/tank/v2"] = ("ext4",)
    with pytest.raises(ConflictError, match="ext4"):
        await machine.driver.create_volume(spec)


async def test_a_volume_with_snapshots_or_metadata_is_kept_and_they_are_named(machine: Machine) -> None:
    with pytest.raises(BusyError) as caught:
        await machine.driver.delete_volume("tank", "v0")
    assert [reason.text for reason in caught.value.reasons] == [
        "v0 has the snapshot friday",
        "v0 has the snapshot monday",
    ]
    with pytest.raises(BusyError, match="replication metadata"):
        await machine.driver.delete_volume("tank", "v1")
    assert machine.changes == []


@pytest.mark.parametrize(("pool", "name"), [("tank", "foreign"), ("theirs", "data"), ("tank", "v1.meta"), ("x", "-rf")])
async def test_what_is_no_volume_of_ours_is_never_deleted(machine: Machine, pool: str, name: str) -> None:
    await machine.driver.delete_volume(pool, name)
    await machine.driver.delete_snapshot(pool, name, "x")
    await machine.driver.delete_metadata(pool, name)
    assert machine.changes == []


async def test_a_device_that_is_let_go_of_soon_is_waited_for(tmp_path: Path) -> None:
    machine = Machine(tmp_path, reports=[captured("full"), captured("full"), captured("broken")])
    deleting = asyncio.create_task(machine.driver.delete_snapshot("tank", "v0", "friday"))
    await _pass_time(machine.clock, deleting)
    await deleting
    assert machine.changes == [("lvremove", "--yes", "tank/v0.snap.friday")]


async def test_a_device_that_stays_open_is_busy_in_the_end(machine: Machine) -> None:
    deleting = asyncio.create_task(machine.driver.delete_snapshot("tank", "v0", "friday"))
    await _pass_time(machine.clock, deleting)
    with pytest.raises(BusyError, match="kernel"):
        await deleting
    assert machine.changes == []


async def _pass_time(clock: ManualClock, task: asyncio.Task[None]) -> None:
    while not task.done():
        await asyncio.sleep(0.001)
        await clock.advance(0.25)


@pytest.mark.parametrize("reserve_bytes", [0, -1])
async def test_a_reserve_of_nothing_is_refused(machine: Machine, reserve_bytes: int) -> None:
    with pytest.raises(InvalidError):
        await machine.driver.create_snapshot(SnapshotSpec("tank", "v1", "s", reserve_bytes))


async def test_a_snapshot_is_asked_in_extents_and_chunks(tmp_path: Path) -> None:
    after = captured("full").replace("v0.snap.friday", "v0.snap.sunday")
    machine = Machine(tmp_path, reports=[captured("full"), after])
    made = await machine.driver.create_snapshot(SnapshotSpec("tank", "v0", "sunday", 39 * MIB))
    assert made.name == "sunday"
    sizes = ("--extents", "10", "--chunksize", "65536b")
    tags = ("--addtag", "holdfast", "--addtag", "holdfast.role=snapshot")
    assert machine.changes == [("lvcreate", "--snapshot", "--name", "v0.snap.sunday", *sizes, *tags, "tank/v0")]


async def test_activation_asks_for_volumes_and_leaves_their_snapshots_to_them(tmp_path: Path) -> None:
    machine = Machine(tmp_path, reports=[captured("inactive"), captured("full")])
    await machine.driver.activate_pool("tank")
    names = ("tank/v0", "tank/v1", "tank/v1.meta", "tank/v2")
    assert machine.changes == [("lvchange", "--activate", "y", "--ignoreactivationskip", *names)]


@pytest.mark.parametrize(("seen", "names"), [("suspended", ("tank/v1",)), ("broken", ("tank/v0",))])
async def test_activation_resumes_what_something_left_half_done(
    tmp_path: Path, seen: str, names: tuple[str, ...]
) -> None:
    machine = Machine(tmp_path, reports=[captured(seen), captured("full")])
    await machine.driver.activate_pool("tank")
    assert machine.changes == [("lvchange", "--refresh", *names)]


async def test_every_command_of_lvm_is_told_where_not_to_look(machine: Machine) -> None:
    await machine.driver.delete_pool("fresh")
    await machine.driver.create_volume(VolumeSpec("tank", "v2", 8 * MIB, VolumeKind.FC))
    told = [argv[2:4] for argv in machine.commands.calls if argv[0] == "lvm"]
    assert told
    assert all(option == "--config" and "r|^/dev/drbd|" in value for option, value in told)


@dataclass
class SlowCommands:
    """One command that takes its time."""

    started: asyncio.Event = field(default_factory=asyncio.Event)
    proceed: asyncio.Event = field(default_factory=asyncio.Event)
    ended: bool = False
    fails: bool = False

    def finds(self, program: str) -> bool:
        raise AssertionError(f"nobody looks for {program}")

    async def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        secret_input: bytes | None = None,
        environment: Mapping[str, str] | None = None,
        ok_codes: Sequence[int] = (0,),
    ) -> Completed:
        self.started.set()
        await self.proceed.wait()
        self.ended = True
        if self.fails:
            raise SystemCommandError(argv, 5, "no")
        return Completed(tuple(argv), 0, "", "")

    def start(
        self, argv: Sequence[str], *, environment: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[RunningCommand]:
        raise AssertionError("nothing is read line by line")


@pytest.mark.parametrize("fails", [False, True])
async def test_a_change_of_lvm_is_not_killed_when_its_caller_is_cancelled(tmp_path: Path, *, fails: bool) -> None:
    commands = SlowCommands(fails=fails)
    tools = Tools(make_host(tmp_path, commands=commands), Settings())
    changing = asyncio.create_task(tools.change(["lvcreate"], "it"))
    await commands.started.wait()
    changing.cancel()
    await asyncio.sleep(0)
    assert not changing.done()
    commands.proceed.set()
    with pytest.raises(asyncio.CancelledError):
        await changing
    assert commands.ended
