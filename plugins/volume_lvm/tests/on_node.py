"""The driver on a real kernel: the whole kit, and what only LVM can do wrong.

This runs inside a lab node (tests/lab/test_volume_lvm.py starts it there), and destroys what is on the two
disks that HOLDFAST_TEST_DISKS names. Elsewhere it is not collected.
"""

# Each test has the loop to itself, and may block it.
# ruff: noqa: ASYNC230, ASYNC240

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import BusyError, ConflictError, HoldfastError, NoSpaceError, NotFoundError, UnavailableError
from holdfast.hooks.base import Host
from holdfast.hooks.volume import Pool, Volume, VolumeDriver, VolumeKind, VolumeSpec
from holdfast.system.clock import SystemClock
from holdfast.system.command import Commands, Completed, RunningCommand, SystemCommands
from holdfast.system.kernelfs import KernelFs
from holdfast.testing.pools import THIN_BYTES, Heard, PoolContract, thin
from holdfast.testing.thin_snapshots import ThinSnapshotContract, thin_copy_of
from holdfast.testing.volume import (
    BLOCK_BYTES,
    MIB,
    VolumeBench,
    VolumeContract,
    block,
    copy_of,
    make_pool,
    nas,
)
from holdfast_volume_lvm.disks import ASK_TIMEOUT_S
from holdfast_volume_lvm.driver import open_driver
from holdfast_volume_lvm.naming import disk_mark
from holdfast_volume_lvm.probe import probe
from holdfast_volume_lvm.settings import Settings

DISKS = tuple(os.environ.get("HOLDFAST_TEST_DISKS", "").split())


def call(*argv: str, check: bool = True) -> str:
    """Run a command around the driver."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert not check or done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout


class Interrupted(Exception):
    """The machine stopped here."""


def changes(argv: Sequence[str]) -> bool:
    """Whether a command changes anything; the driver sees no difference between dying before and after another."""
    if argv[0] == "lvm":
        return argv[1] != "fullreport"
    return argv[0] in ("mkfs.xfs", "blkdiscard", "mount", "umount") or tuple(argv[:2]) == ("wipefs", "--all")


@dataclass
class Cut(Commands):
    """Runs `left` changing commands and is then dead, as a killed daemon is."""

    left: int | None = None
    changed: int = 0
    real: SystemCommands = field(default_factory=SystemCommands)

    def finds(self, program: str) -> bool:
        return self.real.finds(program)

    async def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        secret_input: bytes | None = None,
        environment: Mapping[str, str] | None = None,
        ok_codes: Sequence[int] = (0,),
    ) -> Completed:
        if self.left == 0:
            raise Interrupted
        done = await self.real.run(argv, timeout_s=timeout_s, environment=environment, ok_codes=ok_codes)
        if changes(argv):
            self.changed += 1
            if self.left is not None:
                self.left -= 1
        return done

    def start(
        self, argv: Sequence[str], *, environment: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[RunningCommand]:
        return self.real.start(argv, environment=environment)


def make_host(directory: Path, commands: Commands) -> Host:
    return Host("a", commands, KernelFs(), SystemClock(), directory / "state", directory / "run")


class LvmBench(VolumeBench):
    """Two real disks."""

    def __init__(self, directory: Path, settings: Settings, driver: VolumeDriver, commands: Cut) -> None:
        self.driver = driver
        self.commands = commands
        self.settings = settings
        self.disks = (DISKS[0], DISKS[1])
        self.directory = directory

    @classmethod
    async def make(cls, directory: Path, settings: Settings) -> LvmBench:
        commands = Cut()
        return cls(
            directory / "mounts", settings, await open_driver(settings, make_host(directory, commands)), commands
        )

    async def sign(self, device: str) -> str:
        call("mkswap", "--force", device)
        return "swap"

    async def signatures(self, device: str) -> tuple[str, ...]:
        return tuple(sorted(set(call("wipefs", "--noheadings", "--output", "TYPE", device).split())))

    @contextlib.contextmanager
    def hold(self, path: str) -> Iterator[None]:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield
        finally:
            os.close(descriptor)

    def shut_down(self, directory: str) -> None:
        call("xfs_io", "-x", "-c", "shutdown", directory)

    async def reboot(self) -> None:
        self.take_away_mounts()
        call("vgchange", "--activate", "n", check=False)

    async def make_foreign(self, name: str, disk: str) -> str:
        call("vgcreate", name, disk)
        call("lvcreate", "--yes", "--name", "data", "--extents", "4", name)
        call("vgchange", "--activate", "n", name)
        call("vgexport", name)
        return call("vgs", "--noheadings", "-o", "vg_uuid", name).strip()

    async def lose(self, disk: str) -> None:
        call("sync")
        Path(f"/sys/block/{Path(disk).name}/device/delete").write_text("1")

    async def bring_back(self, disk: str) -> None:
        for host in Path("/sys/class/scsi_host").iterdir():
            (host / "scan").write_text("- - -")
        for _ in range(100):
            if Path(disk).exists():
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"{disk} does not come back")

    def take_away_mounts(self) -> None:
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            if line.split(" ")[4].startswith(str(self.directory)):
                call("umount", "--lazy", line.split(" ")[4])

    async def clean(self) -> None:
        self.take_away_mounts()
        call("vgimport", "--all", check=False)
        if names := call("vgs", "--noheadings", "-o", "vg_name").split():
            call("vgremove", "--force", "--force", "--yes", *names)
        call("wipefs", "--all", "--force", *self.disks)


@pytest.fixture(scope="module", autouse=True)
def clean_disks(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Each test cleans up after itself; what was there before the first is none of ours."""
    asyncio.run(_clean(tmp_path_factory.mktemp("before")))


async def _clean(directory: Path) -> None:
    await (await LvmBench.make(directory, Settings())).clean()


@pytest.fixture(params=[Settings()], ids=["defaults"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[LvmBench]:
    made = await LvmBench.make(tmp_path, request.param)
    yield made
    await made.clean()


@pytest.fixture
async def pool(bench: LvmBench) -> Pool:
    return await make_pool(bench)


class TestLvmVolumes(VolumeContract):
    """The driver keeps the contract on a real kernel."""

    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[LvmBench]:
        made = await LvmBench.make(tmp_path, Settings())
        yield made
        await made.clean()


# --- rolling back ---


def _write_block(device: str, data: bytes) -> None:
    with Path(device).open("r+b", buffering=0) as stream:
        stream.write(data)
        os.fsync(stream.fileno())


async def test_a_rollback_that_was_interrupted_is_finished_by_repeating_it(bench: LvmBench, pool: Pool) -> None:
    await bench.driver.create_volume(block())
    _write_block("/dev/kit/v0", b"then" * MIB)
    await bench.driver.create_snapshot(copy_of())
    # Each as who was killed leaves it. Marked, and to be merged when the volume is next opened; hidden until then.
    call("lvchange", "--addtag", "holdfast.rolling-back=s0.4", "kit/v0")
    _write_block("/dev/kit/v0", b"now!" * MIB)
    with bench.hold("/dev/kit/v0"):
        call("lvconvert", "--yes", "--merge", "kit/v0.snap.s0")
        with pytest.raises(BusyError):
            await bench.driver.roll_back("kit", "v0", "s0")
        with pytest.raises(ConflictError, match="s0"):
            await bench.driver.roll_back("kit", "v0", "other")
    assert await bench.driver.list_snapshots() == ()
    await _roll_back(bench)
    # Merged, and not taken anew.
    _write_block("/dev/kit/v0", b"now!" * MIB)
    call("lvchange", "--addtag", "holdfast.rolling-back=s0.4", "kit/v0")
    call("lvconvert", "--yes", "--merge", "--interval", "1", "kit/v0.snap.s0")
    await _roll_back(bench)


async def _roll_back(bench: LvmBench) -> None:
    await bench.driver.roll_back("kit", "v0", "s0")
    for device in ("/dev/kit/v0", "/dev/kit/v0.snap.s0"):
        assert Path(device).read_bytes()[:4] == b"then"
    assert [(s.name, s.reserve_bytes) for s in await bench.driver.list_snapshots()] == [("s0", 16 * MIB)]
    assert "rolling-back" not in call("lvs", "--noheadings", "-o", "lv_tags", "kit/v0")


class TestLvmPools(PoolContract):
    """So it does for pools."""

    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[LvmBench]:
        made = await LvmBench.make(tmp_path, Settings())
        yield made
        await made.clean()


async def test_a_move_whose_watcher_was_killed_is_ended_by_the_next_call(bench: LvmBench) -> None:
    made = await _data_on_the_second_disk(bench)
    with Path(made.device).open("r+b") as device:
        device.write(b"stamp" * 1000)
        os.fsync(device.fileno())
    # As slowly as the kernel can, so that it is not over before its watcher is killed.
    call("modprobe", "dm_mirror")
    throttle = Path("/sys/module/dm_mirror/parameters/raid1_resync_throttle")
    throttle.write_text("1")
    call("pvmove", "--background", "--interval", "60", bench.disks[1])
    call("pkill", "-KILL", "-x", "pvmove")
    throttle.write_text("100")
    assert "pvmove0" in call("lvs", "--all", "--noheadings", "-o", "lv_name", "kit")
    heard = Heard()
    await bench.driver.move_off("kit", bench.disks[1], heard)
    assert (await bench.driver.remove_disk("kit", bench.disks[1])).disks == bench.disks[:1]
    with Path(made.device).open("rb") as device:
        assert device.read(5000) == b"stamp" * 1000


async def test_what_is_moved_may_have_a_snapshot_and_be_thin(bench: LvmBench) -> None:
    made = await _data_on_the_second_disk(bench)
    taken = await bench.driver.create_snapshot(copy_of())
    await bench.driver.create_thin_pool("kit", THIN_BYTES)
    thin_one = await bench.driver.create_volume(thin())
    with Path(thin_one.device).open("r+b") as device:
        device.write(b"stamp" * 1000)
        os.fsync(device.fileno())
    for disk in reversed(bench.disks):
        await bench.driver.move_off("kit", disk, Heard())
        await bench.driver.remove_disk("kit", disk)
        await bench.driver.extend_pool("kit", (disk,), overwrite={})
    assert await bench.driver.get_volume("kit", "v0") == made
    assert [found.name for found in await bench.driver.list_snapshots()] == [taken.name]
    with Path(thin_one.device).open("rb") as device:
        assert device.read(5000) == b"stamp" * 1000
    used = (await bench.driver.get_volume("kit", "t0")).used_bytes
    assert used is not None
    assert 0 < used <= MIB


# --- what disks tell ---


def _outlive(program: str) -> None:
    """What hangs in a disk ends when the kernel gives up."""
    while call("pgrep", "-x", program, check=False):
        time.sleep(1)


@pytest.mark.timeout(200)
async def test_a_disk_that_hangs_is_silent_in_time_and_keeps_no_other_from_answering(bench: LvmBench) -> None:
    hung, other = bench.disks[1], bench.disks[0]
    assert '"passed":true' in await bench.driver.ask_disk(hung)
    controls = Path("/sys/bus/pseudo/drivers/scsi_debug")
    # No command is answered (drivers/scsi/scsi_debug.c, SDEBUG_OPT_TIMEOUT).
    (controls / "opts").write_text("4")
    (controls / "every_nth").write_text("-1")
    try:
        began = time.monotonic()
        asking = asyncio.create_task(bench.driver.ask_disk(hung))
        assert "Unable to detect device type" in await bench.driver.ask_disk(other)
        assert not asking.done()
        with pytest.raises(UnavailableError, match="did not answer"):
            await asking
        assert time.monotonic() - began < ASK_TIMEOUT_S + 10
    finally:
        (controls / "every_nth").write_text("0")
        (controls / "opts").write_text("0")
        _outlive("smartctl")


# --- thin snapshots ---


class TestLvmThinSnapshots(ThinSnapshotContract):
    """And for thin snapshots."""

    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[LvmBench]:
        made = await LvmBench.make(tmp_path, Settings())
        yield made
        await made.clean()


async def _thin_snapshot(bench: LvmBench) -> None:
    """A thin volume that held `then` when its snapshots were taken, and holds `now!`."""
    await bench.driver.create_thin_pool("kit", THIN_BYTES)
    await bench.driver.create_volume(thin())
    _write_block("/dev/kit/t0", b"then" * MIB)
    for name in ("s0", "s1"):
        await bench.driver.create_snapshot(thin_copy_of("t0", name))
    _write_block("/dev/kit/t0", b"now!" * MIB)


def _begins(device: str) -> bytes:
    with Path(device).open("rb") as stream:
        return stream.read(4)


def _overfill(device: str) -> None:
    with Path(device).open("r+b", buffering=0) as stream:
        for _ in range(THIN_BYTES // MIB + 8):
            stream.write(os.urandom(MIB))
            os.fsync(stream.fileno())


def _tags(name: str) -> set[str]:
    return set(call("lvs", "--noheadings", "-o", "lv_tags", f"kit/{name}").strip().split(","))


async def test_a_thin_rollback_that_was_interrupted_after_any_command_is_finished(bench: LvmBench, pool: Pool) -> None:
    await _thin_snapshot(bench)
    before, tags = await bench.driver.get_volume("kit", "t0"), _tags("t0")
    steps = 0
    while True:
        _write_block("/dev/kit/t0", b"now!" * MIB)
        bench.commands.left = steps
        with contextlib.suppress(Interrupted):
            await bench.driver.roll_back("kit", "t0", "s0")
        is_over, bench.commands.left = bench.commands.left != 0, None
        # At each moment there is one volume, what it was for, and the other snapshot is never touched.
        (volume,) = await bench.driver.list_volumes("kit")
        assert (volume.name, volume.size_bytes, volume.kind) == ("t0", before.size_bytes, before.kind)
        await bench.driver.roll_back("kit", "t0", "s0")
        made = await bench.driver.get_volume("kit", "t0")
        assert made == replace(before, used_bytes=made.used_bytes, uuid=made.uuid)
        assert [_begins(f"/dev/kit/t0{tail}") for tail in ("", ".snap.s0", ".snap.s1")] == [b"then"] * 3
        assert [(s.name, s.is_thin) for s in await bench.driver.list_snapshots()] == [("s0", True), ("s1", True)]
        assert _tags("t0") == tags
        assert _tags("t0.snap.s0") == {"holdfast", "holdfast.role=snapshot"}
        if is_over:
            break
        steps += 1
    assert steps == 4 + 1  # commands, and the first number that was more than enough


async def test_a_volume_with_a_thick_snapshot_too_is_not_replaced_by_a_thin_one(bench: LvmBench, pool: Pool) -> None:
    await _thin_snapshot(bench)
    tags = ("--addtag", "holdfast", "--addtag", "holdfast.role=snapshot")
    call("lvcreate", "--snapshot", "--extents", "4", "--name", "t0.snap.thick", *tags, "kit/t0")
    with pytest.raises(ConflictError, match="thick"):
        await bench.driver.roll_back("kit", "t0", "s0")
    assert _begins("/dev/kit/t0") == b"now!"
    assert [s.name for s in await bench.driver.list_snapshots()] == ["s0", "s1", "thick"]


async def test_a_thin_snapshot_that_lvm_would_skip_is_made_available(bench: LvmBench, pool: Pool) -> None:
    await _thin_snapshot(bench)
    assert "k" not in call("lvs", "--noheadings", "-o", "lv_attr", "kit/t0.snap.s0").strip()[9:]
    call("lvchange", "--setactivationskip", "y", "kit/t0.snap.s0")
    await bench.reboot()
    call("vgchange", "--activate", "y", "kit")
    assert not Path("/dev/kit/t0.snap.s0").exists()
    await bench.driver.activate_pool("kit")
    assert _begins("/dev/kit/t0.snap.s0") == b"then"


async def test_a_thin_pool_that_is_full_keeps_its_snapshots_and_takes_no_more(bench: LvmBench, pool: Pool) -> None:
    await _thin_snapshot(bench)
    call("lvchange", "--errorwhenfull", "y", "kit/thin.pool")
    with pytest.raises(OSError, match=r"error|space"):
        _overfill("/dev/kit/t0")
    found = await bench.driver.list_snapshots()
    assert [(s.name, s.is_overflown) for s in found] == [("s0", False), ("s1", False)]
    assert _begins("/dev/kit/t0.snap.s0") == b"then"
    with pytest.raises(NoSpaceError):
        await bench.driver.create_snapshot(thin_copy_of("t0", "s2"))
    await bench.driver.delete_snapshot("kit", "t0", "s1")
    await bench.driver.grow_thin_pool("kit", size_bytes=2 * THIN_BYTES, metadata_bytes=None)
    _write_block("/dev/kit/t0", b"more" * MIB)
    assert (_begins("/dev/kit/t0"), _begins("/dev/kit/t0.snap.s0")) == (b"more", b"then")


async def test_a_thick_snapshot_of_a_thin_volume_that_is_there_stays_usable(bench: LvmBench, pool: Pool) -> None:
    await bench.driver.create_thin_pool("kit", THIN_BYTES)
    await bench.driver.create_volume(thin())
    _write_block("/dev/kit/t0", b"then")
    tags = ("--addtag", "holdfast", "--addtag", "holdfast.role=snapshot")
    call("lvcreate", "--snapshot", "--extents", "4", "--name", "t0.snap.s0", *tags, "kit/t0")
    _write_block("/dev/kit/t0", b"now!")
    (made,) = await bench.driver.list_snapshots()
    assert (made.is_thin, made.reserve_bytes) == (False, 16 * MIB)
    assert (await bench.driver.get_pool("kit")).reserves.snapshots_bytes == made.reserve_bytes
    await bench.reboot()
    await bench.driver.activate_pool("kit")
    assert _begins(made.device) == b"then"
    with pytest.raises(BusyError, match="s0"):
        await bench.driver.delete_volume("kit", "t0")
    await bench.driver.delete_snapshot("kit", "t0", "s0")
    await bench.driver.delete_volume("kit", "t0")


async def test_of_two_groups_of_one_name_neither_is_touched_until_one_is_imported_otherwise(bench: LvmBench) -> None:
    await make_pool(bench)
    # As on another machine, which does not see the first disk.
    elsewhere = f'devices {{ global_filter=["r|{bench.disks[0]}|"] }}'
    call("vgcreate", "--config", elsewhere, "--addtag", "holdfast", "kit", bench.disks[1])
    own, other = await bench.driver.list_found_pools()
    with pytest.raises(ConflictError, match="two volume groups"):
        await bench.driver.create_volume(block())
    stranger = own if own.disks == bench.disks[1:] else other
    await bench.driver.import_pool(stranger.id, "twin")
    assert [found.name for found in await bench.driver.list_pools()] == ["kit", "twin"]
    await bench.driver.create_volume(block())


async def _data_on_the_second_disk(bench: LvmBench) -> Volume:
    await bench.driver.create_pool("kit", bench.disks[1:], overwrite={})
    made = await bench.driver.create_volume(block())
    await bench.driver.extend_pool("kit", bench.disks[:1], overwrite={})
    return made


# --- what is not ours ---


async def test_what_others_made_in_a_pool_counts_as_used_and_is_left_alone(bench: LvmBench, pool: Pool) -> None:
    call("lvcreate", "--yes", "--name", "foreign", "--extents", "4", "kit")
    assert await bench.driver.list_volumes() == ()
    assert (await bench.driver.get_pool("kit")).free_bytes == pool.free_bytes - 4 * pool.extent_bytes
    with pytest.raises(ConflictError):
        await bench.driver.create_volume(block("foreign", 4 * pool.extent_bytes))
    await bench.driver.delete_volume("kit", "foreign")
    with pytest.raises(BusyError, match="foreign"):
        await bench.driver.delete_pool("kit")
    call("lvchange", "--activate", "n", "kit/foreign")
    await bench.driver.activate_pool("kit")
    assert call("lvs", "--noheadings", "-o", "lv_active", "kit/foreign").strip() == ""


async def test_a_group_of_somebody_else_is_no_pool(bench: LvmBench) -> None:
    call("vgcreate", "theirs", bench.disks[0])
    assert await bench.driver.list_pools() == ()
    with pytest.raises(ConflictError):
        await bench.driver.create_pool("theirs", bench.disks[:1], overwrite={})
    with pytest.raises(BusyError, match="theirs"):
        await bench.driver.create_pool("kit", bench.disks[:1], overwrite={bench.disks[0]: ("LVM2_member",)})
    with pytest.raises(NotFoundError):
        await bench.driver.create_volume(block(pool="theirs"))
    await bench.driver.delete_pool("theirs")
    assert call("vgs", "--noheadings", "-o", "vg_name").split() == ["theirs"]


async def test_a_disk_prepared_for_lvm_by_somebody_else_is_refused(bench: LvmBench) -> None:
    call("pvcreate", bench.disks[0])
    with pytest.raises(ConflictError, match="LVM2_member"):
        await make_pool(bench)
    overwrite = {bench.disks[0]: ("LVM2_member",)}
    assert (await bench.driver.create_pool("kit", bench.disks[:1], overwrite=overwrite)).name == "kit"


async def test_a_mounted_disk_is_used_by_its_mount_point_and_never_taken(bench: LvmBench) -> None:
    call("mkfs.xfs", "-q", bench.disks[0])
    bench.directory.mkdir()
    call("mount", bench.disks[0], str(bench.directory))
    disk = next(d for d in await bench.driver.list_disks() if d.path == bench.disks[0])
    assert disk.used_by == str(bench.directory)
    with pytest.raises(BusyError, match=str(bench.directory)):
        await bench.driver.create_pool("kit", bench.disks[:1], overwrite={bench.disks[0]: ("xfs",)})
    call("umount", str(bench.directory))


async def test_a_partition_table_is_a_signature(bench: LvmBench) -> None:
    # A boot record of MS-DOS with one partition of 1024 sectors from sector 2048.
    entry = bytes([0, 0, 0, 0, 0x83, 0, 0, 0]) + (2048).to_bytes(4, "little") + (1024).to_bytes(4, "little")
    with Path(bench.disks[0]).open("r+b") as disk:
        disk.write(bytes(446) + entry + bytes(48) + b"\x55\xaa")
    call("blockdev", "--rereadpt", bench.disks[0])
    with pytest.raises(ConflictError, match="dos"):
        await make_pool(bench)
    await bench.driver.create_pool("kit", bench.disks[:1], overwrite={bench.disks[0]: ("dos",)})


async def test_lvm_on_a_volume_is_its_initiators_and_never_seen(bench: LvmBench, pool: Pool) -> None:
    volume = await bench.driver.create_volume(block(size_bytes=2 * BLOCK_BYTES))
    config = "devices { scan_lvs=1 }"
    call("pvcreate", "--config", config, volume.device)
    call("vgcreate", "--config", config, "--addtag", "holdfast", "inner", volume.device)
    assert [found.name for found in await bench.driver.list_pools()] == ["kit"]


# --- interruptions ---

Operation = Callable[[VolumeDriver, LvmBench], Coroutine[Any, Any, object]]


async def _two_disk_pool(driver: VolumeDriver, bench: LvmBench) -> object:
    return _unnamed(await driver.create_pool("kit", bench.disks, overwrite={bench.disks[1]: ("swap",)}))


def _unnamed(pool: Pool) -> Pool:
    """A pool without the identifiers of its disks, which are made by chance."""
    return replace(pool, members=tuple(replace(disk, id="") for disk in pool.members))


async def _no_pool(driver: VolumeDriver, bench: LvmBench) -> object:
    await driver.delete_pool("kit")
    return [(disk.signatures, disk.used_by) for disk in await driver.list_disks() if disk.path in bench.disks]


async def _nas_volume(driver: VolumeDriver, bench: LvmBench) -> object:
    made = await driver.create_volume(nas())
    return replace(made, uuid="")


async def _block_volume(driver: VolumeDriver, bench: LvmBench) -> object:
    return replace(await driver.create_volume(block()), uuid="")


async def _metadata(driver: VolumeDriver, bench: LvmBench) -> object:
    return await driver.create_metadata("kit", "v0", MIB)


async def _snapshot(driver: VolumeDriver, bench: LvmBench) -> object:
    return replace(await driver.create_snapshot(copy_of()), used_percent=None)


async def _no_volume(driver: VolumeDriver, bench: LvmBench) -> object:
    await driver.delete_volume("kit", "v0")
    return await driver.list_volumes()


async def _larger_pool(driver: VolumeDriver, bench: LvmBench) -> object:
    return _unnamed(await driver.extend_pool("kit", bench.disks[1:], overwrite={bench.disks[1]: ("swap",)}))


async def _smaller_pool(driver: VolumeDriver, bench: LvmBench) -> object:
    # Whoever repeats it looks first whether the disk is still there, as the job does.
    if bench.disks[0] in (await driver.get_pool("kit")).disks:
        await driver.move_off("kit", bench.disks[0], Heard())
    pool = await driver.remove_disk("kit", bench.disks[0])
    disk = next(disk for disk in await driver.list_disks() if disk.path == bench.disks[0])
    return pool.disks, disk.signatures, disk.used_by


async def _imported(driver: VolumeDriver, bench: LvmBench) -> object:
    (found,) = await driver.list_found_pools()
    return replace(await driver.import_pool(found.id, "mine"), members=())


async def _thin_volume(driver: VolumeDriver, bench: LvmBench) -> object:
    await driver.create_thin_pool("kit", THIN_BYTES)
    return replace(await driver.create_volume(thin()), uuid="")


async def _pool_and_signature(bench: LvmBench) -> None:
    await make_pool(bench)
    await bench.sign(bench.disks[1])


async def _two_disks_and_volume(bench: LvmBench) -> None:
    await make_pool(bench)
    await bench.driver.create_volume(block())
    await bench.driver.extend_pool("kit", bench.disks[1:], overwrite={})


async def _foreign(bench: LvmBench) -> None:
    await bench.make_foreign("theirs", bench.disks[0])


async def _sign(bench: LvmBench) -> None:
    await bench.sign(bench.disks[1])


async def _pool(bench: LvmBench) -> None:
    await make_pool(bench)


async def _pool_and_volume(bench: LvmBench) -> None:
    await make_pool(bench)
    await bench.driver.create_volume(block())


@pytest.mark.parametrize(
    ("prepare", "operation"),
    [
        (_sign, _two_disk_pool),
        (_pool, _no_pool),
        (_pool, _nas_volume),
        (_pool, _block_volume),
        (_pool_and_volume, _metadata),
        (_pool_and_volume, _snapshot),
        (_pool_and_volume, _no_volume),
        (_pool_and_signature, _larger_pool),
        (_two_disks_and_volume, _smaller_pool),
        (_foreign, _imported),
        (_pool, _thin_volume),
    ],
)
async def test_what_was_interrupted_after_any_command_is_finished_by_repeating_it(
    bench: LvmBench, prepare: Callable[[LvmBench], Coroutine[Any, Any, None]], operation: Operation
) -> None:
    await prepare(bench)
    before = bench.commands.changed
    wanted = await operation(bench.driver, bench)
    commands = bench.commands.changed - before
    assert commands > 0
    for left in range(commands):
        await bench.clean()
        await prepare(bench)
        bench.commands.left = left
        with pytest.raises(Interrupted):
            await operation(bench.driver, bench)
        bench.commands.left = None
        assert await operation(bench.driver, bench) == wanted, f"interrupted after command {left} of {commands}"


async def test_a_half_made_file_system_is_made_again(bench: LvmBench, pool: Pool) -> None:
    await bench.driver.create_volume(nas())
    call("lvchange", "--deltag", "holdfast.ready", "kit/v0")
    call("xfs_db", "-x", "-c", "sb 0", "-c", "write -d inprogress 1", "/dev/kit/v0")
    assert not (await bench.driver.get_volume("kit", "v0")).is_active
    made = await bench.driver.create_volume(nas())
    assert made.is_active
    await bench.driver.mount(made.device, str(bench.directory))


async def test_an_unfinished_volume_that_carries_data_is_never_formatted(bench: LvmBench, pool: Pool) -> None:
    made = await bench.driver.create_volume(nas())
    await bench.driver.mount(made.device, str(bench.directory))
    bench.write(bench.directory / "file", b"kept")
    await bench.driver.unmount(str(bench.directory))
    call("lvchange", "--deltag", "holdfast.ready", "kit/v0")
    await bench.driver.create_volume(nas())
    await bench.driver.mount(made.device, str(bench.directory))
    assert (bench.directory / "file").read_bytes() == b"kept"
    await bench.driver.unmount(str(bench.directory))
    call("lvchange", "--deltag", "holdfast.ready", "kit/v0")
    call("mkfs.ext4", "-q", "-F", made.device)
    with pytest.raises(ConflictError, match="ext4"):
        await bench.driver.create_volume(nas())
    assert await bench.signatures(made.device) == ("ext4",)


async def test_a_snapshot_stump_is_no_snapshot_and_goes_with_its_volume(bench: LvmBench, pool: Pool) -> None:
    await bench.driver.create_volume(block())
    tags = ["--addtag", "holdfast", "--addtag", "holdfast.role=snapshot"]
    call("lvcreate", "--yes", "--name", "v0.snap.s0", "--extents", "4", *tags, "kit")
    assert await bench.driver.list_snapshots() == ()
    assert not (await bench.driver.create_snapshot(copy_of())).is_overflown
    await bench.driver.delete_snapshot("kit", "v0", "s0")
    call("lvcreate", "--yes", "--name", "v0.snap.s0", "--extents", "4", *tags, "kit")
    await bench.driver.delete_volume("kit", "v0")
    assert call("lvs", "--noheadings", "kit").strip() == ""


async def test_a_cancelled_change_is_run_to_its_end(bench: LvmBench, pool: Pool) -> None:
    await bench.driver.create_volume(block())
    for delay_s in (0.02, 0.1, 0.2, 0.4):
        making = asyncio.create_task(bench.driver.create_snapshot(copy_of()))
        await asyncio.sleep(delay_s)
        making.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await making
        assert "s" not in call("lvs", "--noheadings", "-o", "lv_attr", "kit/v0").strip()[4]
        await bench.driver.create_snapshot(copy_of())
        await bench.driver.delete_snapshot("kit", "v0", "s0")


# --- accidents ---


async def test_a_suspended_volume_is_resumed_by_activation(bench: LvmBench, pool: Pool) -> None:
    made = await bench.driver.create_volume(block())
    call("dmsetup", "suspend", "kit-v0")
    await asyncio.wait_for(bench.driver.list_volumes(), 20)
    await bench.driver.activate_pool("kit")
    assert await bench.signatures(made.device) == ()


async def test_a_snapshot_whose_device_was_removed_is_brought_back_by_activation(bench: LvmBench, pool: Pool) -> None:
    await bench.driver.create_volume(block())
    made = await bench.driver.create_snapshot(copy_of())
    call("dmsetup", "remove", "kit-v0.snap.s0")
    await bench.driver.activate_pool("kit")
    assert await bench.driver.list_snapshots() == (made,)


async def test_after_a_boot_volume_snapshot_and_metadata_are_back(bench: LvmBench, pool: Pool) -> None:
    volume = await bench.driver.create_volume(block())
    metadata = await bench.driver.create_metadata("kit", "v0", MIB)
    made = await bench.driver.create_snapshot(copy_of())
    await bench.reboot()
    (seen,) = await bench.driver.list_snapshots()
    assert seen.used_percent is None
    await bench.driver.activate_pool("kit")
    for device in (volume.device, metadata, made.device):
        assert Path(device).is_block_device()


async def test_a_snapshot_whose_device_died_in_use_can_be_cleared_away(bench: LvmBench, pool: Pool) -> None:
    volume = await bench.driver.create_volume(nas())
    place, past = bench.directory / "now", bench.directory / "past"
    await bench.driver.mount(volume.device, str(place))
    bench.write(place / "file", b"then")
    made = await bench.driver.create_snapshot(copy_of())
    await bench.driver.mount(made.device, str(past), read_only=True)
    with bench.hold(str(past / "file")):
        call("dmsetup", "remove", "--force", "kit-v0.snap.s0", check=False)
        started_s = time.monotonic()
        (seen,) = await bench.driver.list_snapshots()
        assert seen.is_overflown
        await bench.driver.unmount(str(past))
        assert time.monotonic() - started_s < 20
        assert not (past / "file").exists()
    await bench.driver.delete_snapshot("kit", "v0", "s0")
    assert (place / "file").read_bytes() == b"then"
    await bench.driver.create_snapshot(copy_of())


async def test_a_snapshot_removed_behind_our_back_ends_clean(bench: LvmBench, pool: Pool) -> None:
    volume = await bench.driver.create_volume(nas())
    place, past = bench.directory / "now", bench.directory / "past"
    await bench.driver.mount(volume.device, str(place))
    made = await bench.driver.create_snapshot(copy_of())
    await bench.driver.mount(made.device, str(past), read_only=True)
    call("umount", "--lazy", str(past))
    call("umount", "--lazy", str(place))
    call("lvremove", "--force", "--force", "--yes", "kit/v0")
    started_s = time.monotonic()
    await bench.driver.unmount(str(past))
    await bench.driver.delete_snapshot("kit", "v0", "s0")
    await bench.driver.delete_volume("kit", "v0")
    assert time.monotonic() - started_s < 20
    assert (await bench.driver.get_pool("kit")).free_bytes == pool.free_bytes


async def test_who_holds_a_volume_is_named(bench: LvmBench, pool: Pool) -> None:
    made = await bench.driver.create_volume(block())
    with bench.hold(made.device), pytest.raises(BusyError, match=f"process {os.getpid()}"):
        await bench.driver.delete_volume("kit", "v0")
    volume = await bench.driver.create_volume(nas("v1"))
    await bench.driver.mount(volume.device, str(bench.directory))
    with bench.hold(str(bench.directory)), pytest.raises(BusyError, match=f"process {os.getpid()}"):
        await bench.driver.unmount(str(bench.directory))


async def test_a_refusal_of_a_busy_volume_comes_at_once(bench: LvmBench, pool: Pool) -> None:
    made = await bench.driver.create_volume(block())
    started_s = time.monotonic()
    with bench.hold(made.device), pytest.raises(BusyError):
        await bench.driver.delete_volume("kit", "v0")
    assert time.monotonic() - started_s < 4


async def test_a_reserve_beyond_what_can_be_used_is_given_up_and_found_again(bench: LvmBench, pool: Pool) -> None:
    await bench.driver.create_volume(block())
    made = await bench.driver.create_snapshot(copy_of(reserve_bytes=4 * BLOCK_BYTES))
    assert BLOCK_BYTES < made.reserve_bytes < 4 * BLOCK_BYTES
    assert await bench.driver.create_snapshot(copy_of(reserve_bytes=4 * BLOCK_BYTES)) == made


async def test_a_nas_volume_too_small_for_xfs_is_refused_before_anything_is_made(bench: LvmBench, pool: Pool) -> None:
    with pytest.raises(HoldfastError, match="at least"):
        await bench.driver.create_volume(VolumeSpec("kit", "v0", 299 * MIB, VolumeKind.NAS))
    assert (await bench.driver.get_pool("kit")).free_bytes == pool.free_bytes
    made = await bench.driver.create_volume(VolumeSpec("kit", "v0", 300 * MIB, VolumeKind.NAS))
    assert made.is_active


async def test_a_name_of_dev_is_refused(bench: LvmBench) -> None:
    with pytest.raises(ConflictError, match="a file in /dev"):
        await bench.driver.create_pool("shm", bench.disks[:1], overwrite={})
    await bench.driver.delete_pool("shm")
    assert await bench.signatures(bench.disks[0]) == ()


async def test_disks_of_a_pool_are_marked_and_have_room_for_metadata(bench: LvmBench, pool: Pool) -> None:
    row = call("pvs", "--noheadings", "--units", "b", "--nosuffix", "-o", "pv_uuid,pv_mda_size").split()
    assert row[0].startswith(disk_mark("kit"))
    assert int(row[1]) >= bench.settings.pv_metadata_bytes


@pytest.mark.parametrize("bench", [Settings(zero_new_volumes=True)], indirect=True, ids=["zeroing"])
async def test_a_new_block_volume_shows_nothing_of_the_past_where_that_is_asked(bench: LvmBench, pool: Pool) -> None:
    made = await bench.driver.create_volume(block())
    with Path(made.device).open("r+b") as device:
        device.seek(BLOCK_BYTES // 2)
        device.write(b"secret" * 1000)
    await bench.driver.delete_volume("kit", "v0")
    again = await bench.driver.create_volume(block())
    with Path(again.device).open("rb") as device:
        assert device.read().strip(b"\0") == b""


async def test_the_probe_misses_nothing_and_loads_nothing(tmp_path: Path) -> None:
    before = Path("/proc/modules").read_text()
    assert await probe(Settings(), make_host(tmp_path, SystemCommands())) == ()
    assert Path("/proc/modules").read_text() == before
