"""Mounting and unmounting, against a scripted mount(8) and a mountinfo of our own."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from holdfast.errors import BusyError, ConflictError, NotFoundError, SystemCommandError
from holdfast.testing.fakes import Answer, ScriptedCommands, make_host
from holdfast_volume_lvm.file_systems import on_device
from holdfast_volume_lvm.holders import of_device, of_directory
from holdfast_volume_lvm.mounts import Mounted, Mounts, parse_mounts
from holdfast_volume_lvm.settings import Settings
from holdfast_volume_lvm.tools import Tools

# Captured in a node.
MOUNTINFO = """\
46 29 254:0 / /tmp/m rw,nosuid,nodev,relatime - xfs /dev/mapper/tank-v0 rw,nouuid,attr2,inode64,noquota
47 29 254:3 / /tmp/s ro,nosuid,relatime - xfs /dev/mapper/tank-v0.snap.s1 ro,nouuid,attr2,inode64,noquota
48 29 0:42 / /tmp/with\\040space\\134 rw,relatime shared:1 - tmpfs tmpfs rw
"""


def test_mountinfo_is_read() -> None:
    assert parse_mounts(MOUNTINFO) == (
        Mounted("254:0", "/tmp/m", False, "xfs", "/dev/mapper/tank-v0", False),
        Mounted("254:3", "/tmp/s", True, "xfs", "/dev/mapper/tank-v0.snap.s1", False),
        Mounted("0:42", "/tmp/with space\\", False, "tmpfs", "tmpfs", False),
    )


def test_what_ext4_does_after_an_error_is_read() -> None:
    line = "46 29 254:0 / /tmp/m rw,nosuid,relatime - ext4 /dev/mapper/tank-v0 ro,errors=remount-ro\n"
    assert [found.became_read_only for found in parse_mounts(line + line.replace(" ro,", " rw,"))] == [True, False]
    assert not parse_mounts(line.replace(" rw,", " ro,"))[0].became_read_only


@pytest.mark.parametrize(
    ("head", "kind"),
    [(b"XFSB" + bytes(2044), "xfs"), (bytes(1080) + b"\x53\xef" + bytes(966), "ext4"), (b"short", "xfs"), (b"", "xfs")],
)
def test_a_file_system_is_known_by_its_superblock(tmp_path: Path, head: bytes, kind: str) -> None:
    (tmp_path / "device").write_bytes(head)
    assert on_device(tmp_path / "device") == kind
    assert on_device(tmp_path / "absent") == "xfs"


async def test_ext4_is_mounted_as_such(machine: Machine) -> None:
    (machine.kernel / "dev/kit/v0").write_bytes(bytes(1080) + b"\x53\xef")
    await machine.mounts.mount("/dev/kit/v0", "/srv", read_only=False)
    assert machine.ran == [("mount", "-t", "ext4", "-o", "rw,errors=remount-ro,nosuid,nodev", "/dev/kit/v0", "/srv")]


@dataclass
class Machine:
    """A mount table, and devices that are plain files: their number is 0:0."""

    root: Path
    table: list[str] = field(default_factory=list)
    busy: bool = False
    void: bool = False
    """Whether LVM says that the device is a snapshot that overflowed."""

    def __post_init__(self) -> None:
        self.commands = ScriptedCommands(self.answer)
        self.host = make_host(self.root, commands=self.commands)
        (self.kernel / "dev/kit").mkdir(parents=True)
        (self.kernel / "dev/kit/v0").touch()
        (self.kernel / "sys/dev/block/0:0").mkdir(parents=True)
        (self.kernel / "proc/self").mkdir(parents=True)
        self.show()
        settings = Settings()
        self.mounts = Mounts(self.host, Tools(self.host, settings), settings)

    @property
    def kernel(self) -> Path:
        return self.root / "kernel"

    def show(self) -> None:
        (self.kernel / "proc/self/mountinfo").write_text("".join(self.table))

    def mounted(self, directory: str, options: str = "rw") -> None:
        self.table.append(f"46 29 0:0 / {directory} {options} - xfs /dev/kit/v0 {options}\n")
        self.show()

    def answer(self, argv: tuple[str, ...], _: bytes | None) -> Answer | None:
        match argv:
            case ("mount", *_, directory):
                self.mounted(directory, argv[4].split(",")[0])
            case ("umount", directory) if self.busy:
                return Answer(returncode=32, stderr=f"umount: {directory}: target is busy.\n")
            case ("umount", *_):
                self.table.pop()
                self.show()
            case ("lvm", "fullreport", *_):
                return Answer(json.dumps({"report": [self.group()]}))
            case _:
                return None
        return Answer()

    def group(self) -> dict[str, object]:
        empty = ("lv_tags", "origin", "origin_size", "data_percent", "metadata_percent", "lv_metadata_size", "pool_lv")
        volume = dict.fromkeys((*empty, "move_pv", "copy_percent"), "") | {
            **{"lv_name": "v0", "lv_uuid": "u", "lv_size": "1", "lv_active": "active", "lv_device_open": "1"},
            **{"lv_kernel_major": "0", "lv_kernel_minor": "0", "lv_attr": "swi-Ios---" if self.void else "-wi-ao----"},
        }
        group = {"vg_name": "kit", "vg_uuid": "u", "vg_size": "9", "vg_free": "8", "vg_extent_size": "1", "vg_tags": ""}
        return {"vg": [group | {"vg_exported": "0"}], "pv": [], "lv": [volume]}

    @property
    def ran(self) -> list[tuple[str, ...]]:
        return [argv for argv in self.commands.calls if argv[0] != "lvm"]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


async def test_a_device_is_mounted_by_its_kind_and_without_comparing_identifiers(machine: Machine) -> None:
    await machine.mounts.mount("/dev/kit/v0", "/srv/a/b", read_only=True)
    assert machine.ran == [("mount", "-t", "xfs", "-o", "ro,nouuid,nosuid,nodev", "/dev/kit/v0", "/srv/a/b")]
    assert (machine.kernel / "srv/a/b").is_dir()


async def test_mounting_again_runs_nothing(machine: Machine) -> None:
    machine.mounted("/srv")
    await machine.mounts.mount("/dev/kit/v0", "/srv", read_only=False)
    assert machine.ran == []


@pytest.mark.parametrize(("options", "read_only"), [("ro", False), ("rw", True)])
async def test_mounted_the_other_way_is_a_conflict(machine: Machine, options: str, read_only: bool) -> None:
    machine.mounted("/srv", options)
    with pytest.raises(ConflictError):
        await machine.mounts.mount("/dev/kit/v0", "/srv", read_only=read_only)


@pytest.mark.parametrize("device", ["/dev/kit/absent", "-rf"])
async def test_a_device_that_is_not_there_is_not_found(machine: Machine, device: str) -> None:
    with pytest.raises(NotFoundError):
        await machine.mounts.mount(device, "/srv", read_only=False)
    assert machine.ran == []


@pytest.mark.parametrize("directory", ["srv", "-l", "", "/", "/srv/.."])
async def test_a_directory_must_be_absolute_and_below_the_root(machine: Machine, directory: str) -> None:
    with pytest.raises(ConflictError):
        await machine.mounts.mount("/dev/kit/v0", directory, read_only=False)
    with pytest.raises(ConflictError):
        await machine.mounts.unmount(directory)
    assert machine.ran == []


async def test_a_file_in_the_way_is_a_conflict(machine: Machine) -> None:
    (machine.kernel / "srv").touch()
    with pytest.raises(ConflictError):
        await machine.mounts.mount("/dev/kit/v0", "/srv", read_only=False)


async def test_what_is_not_mounted_is_not_unmounted(machine: Machine) -> None:
    await machine.mounts.unmount("/srv")
    assert machine.ran == []


async def test_whatever_is_stacked_on_a_directory_goes(machine: Machine) -> None:
    machine.mounted("/srv")
    machine.mounted("/srv")
    await machine.mounts.unmount("/srv")
    assert machine.ran == [("umount", "/srv")] * 2


async def test_a_living_file_system_in_use_is_never_taken_away(machine: Machine) -> None:
    machine.mounted("/srv")
    machine.busy = True
    process = machine.kernel / "proc/4711"
    (process / "fd").mkdir(parents=True)
    (process / "comm").write_text("rsync\n")
    (process / "fd/3").symlink_to("/srv/tree/file")
    with pytest.raises(BusyError, match=r"rsync \(process 4711\)"):
        await machine.mounts.unmount("/srv")
    assert machine.ran == [("umount", "/srv")]


@pytest.mark.parametrize("how", ["void", "gone"])
async def test_a_dead_file_system_in_use_is_taken_away(machine: Machine, how: str) -> None:
    machine.mounted("/srv")
    machine.busy, machine.void = True, how == "void"
    if how == "gone":
        (machine.kernel / "sys/dev/block/0:0").rmdir()
    await machine.mounts.unmount("/srv")
    assert machine.ran == [("umount", "/srv"), ("umount", "--lazy", "/srv")]


async def test_an_unmount_that_hangs_is_given_up(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.mounted("/srv")

    def hang(argv: tuple[str, ...], _: bytes | None) -> Answer | None:
        raise SystemCommandError(argv, None, "no end after 600 s")

    machine.commands.script = hang
    with pytest.raises(SystemCommandError):
        await machine.mounts.unmount("/srv")


def test_users_of_a_device_are_named(machine: Machine) -> None:
    kernel = machine.kernel
    block = kernel / "sys/dev/block/254:7"
    (block / "dm").mkdir(parents=True)
    (block / "dm/name").write_text("kit-v0\n")
    (block / "uevent").write_text("MAJOR=254\nMINOR=7\nDEVNAME=dm-7\n")
    (block / "holders/dm-9").mkdir(parents=True)
    for pid, target in ((11, "/dev/dm-7"), (12, "/dev/mapper/kit-v0"), (13, "/dev/dm-77")):
        (kernel / f"proc/{pid}/fd").mkdir(parents=True)
        (kernel / f"proc/{pid}/comm").write_text(f"p{pid}\n")
        (kernel / f"proc/{pid}/fd/0").symlink_to(target)
    assert of_device(machine.host.kernel, "254:7", ("/srv",)) == (
        "the file system mounted at /srv",
        "the device dm-9",
        "the program p11 (process 11)",
        "the program p12 (process 12)",
    )


def test_a_program_beside_a_directory_is_no_user_of_it(machine: Machine) -> None:
    (machine.kernel / "proc/11").mkdir()
    (machine.kernel / "proc/11/cwd").symlink_to("/srvice")
    assert of_directory(machine.host.kernel, "/srv") == ()
    (machine.kernel / "proc/12").mkdir()
    (machine.kernel / "proc/12/cwd").symlink_to("/srv")
    assert of_directory(machine.host.kernel, "/srv") == ("the program unknown (process 12)",)
