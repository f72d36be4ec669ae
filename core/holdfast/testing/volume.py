"""The contract of the volume role as tests. Subclass VolumeContract and override `bench`."""

# The names of the tests are the sentences of the contract.
# ruff: noqa: D102

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.errors import (
    BusyError,
    ConflictError,
    HoldfastError,
    InvalidError,
    NoSpaceError,
    NotFoundError,
    UnsupportedError,
)
from holdfast.hooks.base import Can
from holdfast.hooks.volume import (
    UNIT_FILE,
    Disk,
    FileSystem,
    IoType,
    Pool,
    SnapshotSpec,
    Volume,
    VolumeDriver,
    VolumeKind,
    VolumeSpec,
)

MIB = 1024 * 1024
BLOCK_BYTES = 32 * MIB
NAS_BYTES = 320 * MIB
"""No file system of any mechanism needs more to exist."""
RESERVE_BYTES = 16 * MIB
BAD_NAMES = ("", "-rf", "--yes", "a b", "Tank", "a/b", "..", "v0.meta", "v0\n", "ü", "x" * 300)


class VolumeBench(ABC):
    """The place that the kit runs in: the driver, and what only the place itself can do."""

    driver: VolumeDriver
    disks: tuple[str, str]
    """Two blank disks; the first holds 1 GiB at least, the second 256 MiB."""
    directory: Path
    """An empty directory, for mount points."""

    @abstractmethod
    async def sign(self, device: str) -> str:
        """Write a signature to a blank disk or volume, around the driver, and say how the driver must call it."""

    @abstractmethod
    async def signatures(self, device: str) -> tuple[str, ...]:
        """What a device carries, read around the driver."""

    @abstractmethod
    def hold(self, path: str) -> AbstractContextManager[None]:
        """Hold a device open, or a file in a mounted directory."""

    @abstractmethod
    def shut_down(self, directory: str) -> None:
        """Have the kernel shut down the file system that is mounted there."""

    @abstractmethod
    async def reboot(self) -> None:
        """Forget what a boot forgets: mounts and what was activated."""

    @abstractmethod
    async def make_foreign(self, name: str, disk: str) -> str:
        """Make something on a blank disk, around the driver, that could be imported as a pool; return its id."""

    @abstractmethod
    async def lose(self, disk: str) -> None:
        """Take the second disk away, as if it were pulled out. Nothing uses it then."""

    @abstractmethod
    async def bring_back(self, disk: str) -> None:
        """Plug it in again."""

    def write(self, path: Path, data: bytes) -> None:
        """Write a file through a mount to its device. Raises OSError."""
        with path.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())


async def make_pool(bench: VolumeBench) -> Pool:
    """A pool on the first disk."""
    return await bench.driver.create_pool("kit", bench.disks[:1], overwrite={})


def block(name: str = "v0", size_bytes: int = BLOCK_BYTES, pool: str = "kit") -> VolumeSpec:
    """A block volume as asked for."""
    return VolumeSpec(pool, name, size_bytes, VolumeKind.ISCSI)


def nas(name: str = "v0") -> VolumeSpec:
    """A NAS volume as asked for."""
    return VolumeSpec("kit", name, NAS_BYTES, VolumeKind.NAS)


def copy_of(volume: str = "v0", name: str = "s0", reserve_bytes: int = RESERVE_BYTES) -> SnapshotSpec:
    """A snapshot as asked for."""
    return SnapshotSpec("kit", volume, name, reserve_bytes)


class VolumeContract:
    """What every volume driver must do."""

    @pytest.fixture
    def bench(self) -> VolumeBench:
        """Override this."""
        raise AssertionError("a contract is run by a subclass that gives the bench")

    @pytest.fixture
    async def pool(self, bench: VolumeBench) -> Pool:
        """A pool named `kit` on the first disk."""
        return await make_pool(bench)

    # --- disks ---

    async def test_blank_disks_are_listed_in_order_and_carry_nothing(self, bench: VolumeBench) -> None:
        listed = await bench.driver.list_disks()
        assert [disk.path for disk in listed] == sorted(disk.path for disk in listed)
        for path in bench.disks:
            disk = await _disk(bench, path)
            assert (disk.signatures, disk.used_by) == ((), None)
            assert disk.size_bytes > 0

    async def test_what_a_disk_carries_is_named(self, bench: VolumeBench) -> None:
        signature = await bench.sign(bench.disks[1])
        assert (await _disk(bench, bench.disks[1])).signatures == (signature,)

    # --- pools ---

    async def test_a_pool_is_made_of_the_disks_named(self, bench: VolumeBench) -> None:
        pool = await bench.driver.create_pool("kit", bench.disks, overwrite={})
        assert (pool.name, set(pool.disks)) == ("kit", set(bench.disks))
        assert await bench.driver.get_pool("kit") == pool
        assert await bench.driver.list_pools() == (pool,)
        assert {(await _disk(bench, path)).used_by for path in bench.disks} == {"kit"}

    async def test_making_a_pool_again_is_success(self, bench: VolumeBench, pool: Pool) -> None:
        assert await make_pool(bench) == pool

    async def test_a_pool_of_other_disks_under_a_taken_name_is_a_conflict(self, bench: VolumeBench, pool: Pool) -> None:
        with pytest.raises(ConflictError):
            await bench.driver.create_pool("kit", bench.disks, overwrite={})
        assert (await bench.driver.get_pool("kit")).disks == pool.disks

    async def test_a_disk_that_carries_something_is_refused_and_left_alone(self, bench: VolumeBench) -> None:
        signature = await bench.sign(bench.disks[1])
        with pytest.raises(ConflictError) as caught:
            await bench.driver.create_pool("kit", bench.disks[1:], overwrite={})
        assert signature in caught.value.message
        assert await bench.signatures(bench.disks[1]) == (signature,)
        assert await bench.driver.list_pools() == ()

    async def test_overwriting_must_name_exactly_what_is_there(self, bench: VolumeBench) -> None:
        signature, disk = await bench.sign(bench.disks[1]), bench.disks[1]
        for named in (("another",), (signature, "another"), ()):
            with pytest.raises(ConflictError):
                await bench.driver.create_pool("kit", (disk,), overwrite={disk: named})
        with pytest.raises(ConflictError):
            await bench.driver.create_pool("kit", (disk,), overwrite={bench.disks[0]: (signature,)})
        assert await bench.signatures(disk) == (signature,)

    async def test_one_disk_that_is_refused_spares_the_others(self, bench: VolumeBench) -> None:
        await bench.sign(bench.disks[1])
        with pytest.raises(ConflictError):
            await bench.driver.create_pool("kit", bench.disks, overwrite={})
        assert await bench.signatures(bench.disks[0]) == ()

    async def test_what_was_named_exactly_is_overwritten(self, bench: VolumeBench) -> None:
        disk = bench.disks[1]
        signature = await bench.sign(disk)
        pool = await bench.driver.create_pool("kit", (disk,), overwrite={disk: (signature,)})
        assert pool.disks == (disk,)

    async def test_a_disk_of_another_pool_is_never_taken(self, bench: VolumeBench, pool: Pool) -> None:
        disk = await _disk(bench, bench.disks[0])
        with pytest.raises(BusyError) as caught:
            await bench.driver.create_pool("other", (disk.path,), overwrite={disk.path: disk.signatures})
        assert "kit" in caught.value.message
        assert await bench.driver.list_pools() == (pool,)

    async def test_a_disk_that_does_not_exist_is_not_found(self, bench: VolumeBench) -> None:
        with pytest.raises(NotFoundError):
            await bench.driver.create_pool("kit", ("/dev/no-such-disk",), overwrite={})

    async def test_an_absent_pool_is_not_found(self, bench: VolumeBench) -> None:
        with pytest.raises(NotFoundError):
            await bench.driver.get_pool("absent")
        with pytest.raises(NotFoundError):
            await bench.driver.activate_pool("absent")
        with pytest.raises(NotFoundError):
            await bench.driver.create_volume(block(pool="absent"))

    async def test_a_pool_with_volumes_stays_and_they_are_named(self, bench: VolumeBench, pool: Pool) -> None:
        await bench.driver.create_volume(block())
        with pytest.raises(BusyError) as caught:
            await bench.driver.delete_pool("kit")
        assert "v0" in caught.value.message
        assert (await bench.driver.get_pool("kit")).disks == pool.disks

    async def test_a_deleted_pool_gives_its_disks_back_blank(self, bench: VolumeBench, pool: Pool) -> None:
        await bench.driver.delete_pool("kit")
        await bench.driver.delete_pool("kit")
        assert await bench.driver.list_pools() == ()
        disk = await _disk(bench, pool.disks[0])
        assert (disk.signatures, disk.used_by) == ((), None)

    async def test_what_a_pool_has_adds_up(self, bench: VolumeBench, pool: Pool) -> None:
        def total(seen: Pool, *volumes: Volume) -> int:
            own = seen.reserves
            reserved = own.snapshots_bytes + own.replication_metadata_bytes + own.system_bytes
            return seen.free_bytes + reserved + sum(volume.size_bytes for volume in volumes)

        assert total(pool) == pool.size_bytes
        volume = await bench.driver.create_volume(block())
        await bench.driver.create_metadata("kit", "v0", MIB)
        seen = await bench.driver.get_pool("kit")
        assert total(seen, volume) == seen.size_bytes == pool.size_bytes
        assert seen.reserves.replication_metadata_bytes >= MIB
        if Can.VOLUME_SNAPSHOT in bench.driver.can:
            made = await bench.driver.create_snapshot(copy_of())
            seen = await bench.driver.get_pool("kit")
            assert seen.reserves.snapshots_bytes == made.reserve_bytes
            assert total(seen, volume) == pool.size_bytes

    async def test_a_name_that_cannot_be_borne_is_refused(self, bench: VolumeBench, pool: Pool) -> None:
        for name in BAD_NAMES:
            with pytest.raises(InvalidError):
                await bench.driver.create_pool(name, bench.disks[1:], overwrite={})
            with pytest.raises(InvalidError):
                await bench.driver.create_volume(block(name))
        assert await bench.driver.list_pools() == (pool,)
        assert await bench.driver.list_volumes() == ()

    # --- volumes ---

    async def test_a_volume_is_as_asked_and_can_be_read_back(self, bench: VolumeBench, pool: Pool) -> None:
        made = await bench.driver.create_volume(block())
        assert (made.pool, made.name, made.size_bytes, made.kind) == ("kit", "v0", BLOCK_BYTES, VolumeKind.ISCSI)
        assert made.is_active
        assert made.uuid
        assert await bench.driver.get_volume("kit", "v0") == made
        assert await bench.driver.list_volumes("kit") == await bench.driver.list_volumes() == (made,)
        assert (await bench.driver.get_pool("kit")).free_bytes == pool.free_bytes - BLOCK_BYTES

    async def test_a_size_is_rounded_up_to_the_extent(self, bench: VolumeBench, pool: Pool) -> None:
        made = await bench.driver.create_volume(block(size_bytes=BLOCK_BYTES + 1))
        assert made.size_bytes == BLOCK_BYTES + pool.extent_bytes

    async def test_making_a_volume_again_is_success(self, bench: VolumeBench, pool: Pool) -> None:
        made = await bench.driver.create_volume(block(size_bytes=BLOCK_BYTES + 1))
        assert await bench.driver.create_volume(block(size_bytes=BLOCK_BYTES + 1)) == made

    async def test_a_volume_of_another_size_or_kind_is_a_conflict(self, bench: VolumeBench, pool: Pool) -> None:
        made = await bench.driver.create_volume(block())
        for other in (block(size_bytes=2 * BLOCK_BYTES), VolumeSpec("kit", "v0", BLOCK_BYTES, VolumeKind.FC)):
            with pytest.raises(ConflictError):
                await bench.driver.create_volume(other)
        assert await bench.driver.get_volume("kit", "v0") == made

    async def test_too_much_is_refused_saying_what_is_missing(self, bench: VolumeBench, pool: Pool) -> None:
        with pytest.raises(NoSpaceError) as caught:
            await bench.driver.create_volume(block(size_bytes=pool.free_bytes + 3 * pool.extent_bytes))
        assert str(3 * pool.extent_bytes) in caught.value.message
        assert await bench.driver.list_volumes() == ()

    async def test_a_size_of_nothing_is_refused(self, bench: VolumeBench, pool: Pool) -> None:
        for size_bytes in (0, -1):
            with pytest.raises(InvalidError):
                await bench.driver.create_volume(block(size_bytes=size_bytes))

    async def test_volumes_come_in_order(self, bench: VolumeBench, pool: Pool) -> None:
        for name in ("b1", "a2", "a10"):
            await bench.driver.create_volume(block(name))
        assert [volume.name for volume in await bench.driver.list_volumes()] == ["a10", "a2", "b1"]

    async def test_volumes_made_at_the_same_time_are_all_made(self, bench: VolumeBench, pool: Pool) -> None:
        made = await asyncio.gather(*(bench.driver.create_volume(block(f"v{i}")) for i in range(3)))
        assert await bench.driver.list_volumes() == tuple(made)

    async def test_a_new_volume_carries_nothing_of_a_deleted_one(self, bench: VolumeBench, pool: Pool) -> None:
        made = await bench.driver.create_volume(block())
        signature = await bench.sign(made.device)
        assert await bench.signatures(made.device) == (signature,)
        await bench.driver.delete_volume("kit", "v0")
        again = await bench.driver.create_volume(block())
        assert await bench.signatures(again.device) == ()

    async def test_a_volume_made_again_keeps_what_it_carries(self, bench: VolumeBench, pool: Pool) -> None:
        made = await bench.driver.create_volume(block())
        signature = await bench.sign(made.device)
        await bench.driver.create_volume(block())
        assert await bench.signatures(made.device) == (signature,)

    async def test_a_volume_grows_under_its_user_and_keeps_what_it_carries(
        self, bench: VolumeBench, pool: Pool
    ) -> None:
        if Can.VOLUME_GROW not in bench.driver.can:
            pytest.skip("the driver does not grow volumes")
        made = await bench.driver.create_volume(block())
        signature = await bench.sign(made.device)
        with bench.hold(made.device):
            grown = await bench.driver.grow_volume("kit", "v0", BLOCK_BYTES + pool.extent_bytes)
        size_bytes = made.size_bytes + pool.extent_bytes
        assert grown == replace(made, size_bytes=size_bytes, used_bytes=size_bytes)
        assert await bench.driver.grow_volume("kit", "v0", grown.size_bytes) == grown
        assert await bench.driver.get_volume("kit", "v0") == grown
        assert await bench.signatures(made.device) == (signature,)

    async def test_a_volume_is_never_made_smaller_nor_larger_than_its_pool(
        self, bench: VolumeBench, pool: Pool
    ) -> None:
        if Can.VOLUME_GROW not in bench.driver.can:
            pytest.skip("the driver does not grow volumes")
        made = await bench.driver.create_volume(block())
        with pytest.raises(ConflictError):
            await bench.driver.grow_volume("kit", "v0", made.size_bytes - pool.extent_bytes)
        with pytest.raises(NoSpaceError):
            await bench.driver.grow_volume("kit", "v0", made.size_bytes + pool.free_bytes)
        with pytest.raises(NotFoundError):
            await bench.driver.grow_volume("kit", "absent", made.size_bytes)
        assert await bench.driver.get_volume("kit", "v0") == made

    async def test_files_are_kept_by_the_file_system_that_was_asked_for(self, bench: VolumeBench, pool: Pool) -> None:
        assert (await bench.driver.create_volume(block("b0"))).file_system is None
        assert (await bench.driver.create_volume(nas("x0"))).file_system is FileSystem.XFS
        if Can.VOLUME_EXT4 not in bench.driver.can:
            pytest.skip("the driver makes no ext4")
        spec = replace(nas(), file_system=FileSystem.EXT4)
        made = await bench.driver.create_volume(spec)
        assert made.file_system is FileSystem.EXT4
        assert await bench.driver.create_volume(spec) == made
        with pytest.raises(ConflictError):
            await bench.driver.create_volume(nas())
        place = bench.directory / "ext4"
        await bench.driver.mount(made.device, str(place))
        bench.write(place / "file", b"kept")
        before = await bench.driver.file_system_use(str(place))
        if Can.VOLUME_GROW in bench.driver.can:
            await bench.driver.grow_volume("kit", "v0", NAS_BYTES + 8 * pool.extent_bytes)
            await bench.driver.grow_file_system(str(place))
            gained_bytes = (await bench.driver.file_system_use(str(place))).size_bytes - before.size_bytes
            assert 7 * pool.extent_bytes <= gained_bytes <= 8 * pool.extent_bytes
        if Can.VOLUME_SNAPSHOT in bench.driver.can:
            past = bench.directory / "ext4-past"
            taken = await bench.driver.create_snapshot(copy_of())
            await bench.driver.mount(taken.device, str(past), read_only=True)
            assert (past / "file").read_bytes() == b"kept"
            await bench.driver.unmount(str(past))
        await bench.driver.unmount(str(place))
        await bench.driver.mount(made.device, str(place))
        assert (place / "file").read_bytes() == b"kept"

    async def test_how_full_a_file_system_is_can_be_read(self, bench: VolumeBench, pool: Pool) -> None:
        made = await bench.driver.create_volume(nas())
        place = bench.directory / "filled"
        with pytest.raises(NotFoundError):
            await bench.driver.file_system_use(str(place))
        await bench.driver.mount(made.device, str(place))
        before = await bench.driver.file_system_use(str(place))
        bench.write(place / "file", bytes(8 * MIB))
        after = await bench.driver.file_system_use(str(place))
        assert NAS_BYTES // 2 < after.size_bytes == before.size_bytes <= NAS_BYTES
        assert 8 * MIB <= after.used_bytes - before.used_bytes < 9 * MIB
        assert after.free_bytes == after.size_bytes - after.used_bytes

    async def test_a_file_system_takes_up_what_its_volume_gained(self, bench: VolumeBench, pool: Pool) -> None:
        if Can.VOLUME_GROW not in bench.driver.can:
            pytest.skip("the driver does not grow volumes")
        made = await bench.driver.create_volume(nas())
        place = bench.directory / "grown"
        await bench.driver.mount(made.device, str(place))
        bench.write(place / "file", b"kept")
        await bench.driver.grow_volume("kit", "v0", made.size_bytes + 16 * MIB)
        await bench.driver.grow_file_system(str(place))
        await bench.driver.grow_file_system(str(place))
        assert (place / "file").read_bytes() == b"kept"
        await bench.driver.unmount(str(place))
        with pytest.raises(HoldfastError):
            await bench.driver.grow_file_system(str(place))

    async def test_an_absent_volume_is_not_found_and_its_deletion_success(self, bench: VolumeBench, pool: Pool) -> None:
        with pytest.raises(NotFoundError):
            await bench.driver.get_volume("kit", "v0")
        with pytest.raises(NotFoundError):
            await bench.driver.get_volume("absent", "v0")
        await bench.driver.delete_volume("kit", "v0")
        await bench.driver.delete_volume("absent", "v0")

    async def test_a_deleted_volume_gives_its_room_back(self, bench: VolumeBench, pool: Pool) -> None:
        await bench.driver.create_volume(block())
        await bench.driver.delete_volume("kit", "v0")
        assert await bench.driver.get_pool("kit") == pool

    async def test_a_volume_held_open_is_not_deleted(self, bench: VolumeBench, pool: Pool) -> None:
        made = await bench.driver.create_volume(block())
        with bench.hold(made.device), pytest.raises(BusyError):
            await bench.driver.delete_volume("kit", "v0")
        assert await bench.driver.get_volume("kit", "v0") == made
        await bench.driver.delete_volume("kit", "v0")

    # --- replication metadata ---

    async def test_replication_metadata_is_made_once_and_is_no_volume(self, bench: VolumeBench, pool: Pool) -> None:
        made = await bench.driver.create_volume(block())
        device = await bench.driver.create_metadata("kit", "v0", MIB)
        assert device != made.device
        assert await bench.driver.create_metadata("kit", "v0", MIB) == device
        assert await bench.driver.list_volumes() == (made,)
        assert await bench.driver.list_snapshots() == ()

    async def test_replication_metadata_made_again_is_not_erased(self, bench: VolumeBench, pool: Pool) -> None:
        await bench.driver.create_volume(block())
        device = await bench.driver.create_metadata("kit", "v0", MIB)
        assert await bench.signatures(device) == ()
        signature = await bench.sign(device)
        await bench.driver.create_metadata("kit", "v0", MIB)
        assert await bench.signatures(device) == (signature,)

    async def test_a_volume_with_replication_metadata_is_not_deleted(self, bench: VolumeBench, pool: Pool) -> None:
        await bench.driver.create_volume(block())
        await bench.driver.create_metadata("kit", "v0", MIB)
        with pytest.raises(BusyError):
            await bench.driver.delete_volume("kit", "v0")
        for _ in range(2):
            await bench.driver.delete_metadata("kit", "v0")
        await bench.driver.delete_volume("kit", "v0")

    async def test_replication_metadata_needs_its_volume(self, bench: VolumeBench, pool: Pool) -> None:
        with pytest.raises(NotFoundError):
            await bench.driver.create_metadata("kit", "v0", MIB)
        await bench.driver.delete_metadata("kit", "v0")

    # --- after a boot ---

    async def test_after_a_boot_a_pool_is_made_available_again(self, bench: VolumeBench, pool: Pool) -> None:
        made = await bench.driver.create_volume(block())
        signature = await bench.sign(made.device)
        await bench.reboot()
        for _ in range(2):
            await bench.driver.activate_pool("kit")
        assert await bench.driver.get_volume("kit", "v0") == made
        assert await bench.signatures(made.device) == (signature,)

    async def test_a_volume_made_again_after_a_boot_is_available(self, bench: VolumeBench, pool: Pool) -> None:
        made = await bench.driver.create_volume(block())
        await bench.reboot()
        assert not (await bench.driver.get_volume("kit", "v0")).is_active
        assert await bench.driver.create_volume(block()) == made

    # --- file systems ---

    async def test_a_nas_volume_keeps_files(self, bench: VolumeBench, pool: Pool) -> None:
        place = await _mounted(bench)
        bench.write(place / "file", b"kept")
        await bench.driver.unmount(str(place))
        assert not (place / "file").exists()
        await bench.driver.create_volume(nas())
        await bench.driver.mount((await bench.driver.get_volume("kit", "v0")).device, str(place))
        assert (place / "file").read_bytes() == b"kept"

    async def test_what_is_mounted_where_is_told(self, bench: VolumeBench, pool: Pool) -> None:
        place = await _mounted(bench)
        device = (await bench.driver.get_volume("kit", "v0")).device
        other = await bench.driver.create_volume(nas("v1"))
        assert await bench.driver.is_mounted(device, str(place))
        assert not await bench.driver.is_mounted(other.device, str(place))
        assert not await bench.driver.is_mounted("/dev/kit/absent", str(place))
        assert not await bench.driver.is_mounted(device, str(bench.directory / "elsewhere"))
        await bench.driver.unmount(str(place))
        assert not await bench.driver.is_mounted(device, str(place))

    async def test_mounting_and_unmounting_again_is_success(self, bench: VolumeBench, pool: Pool) -> None:
        place = await _mounted(bench)
        bench.write(place / "file", b"kept")
        await bench.driver.mount((await bench.driver.get_volume("kit", "v0")).device, str(place))
        assert (place / "file").read_bytes() == b"kept"
        for _ in range(2):
            await bench.driver.unmount(str(place))
        await bench.driver.delete_volume("kit", "v0")

    async def test_a_taken_mount_point_is_a_conflict(self, bench: VolumeBench, pool: Pool) -> None:
        place = await _mounted(bench)
        with pytest.raises(ConflictError):
            await bench.driver.mount((await bench.driver.get_volume("kit", "v0")).device, str(place), read_only=True)
        other = await bench.driver.create_volume(nas("v1"))
        with pytest.raises(ConflictError):
            await bench.driver.mount(other.device, str(place))

    async def test_a_read_only_mount_cannot_be_written(self, bench: VolumeBench, pool: Pool) -> None:
        made = await bench.driver.create_volume(nas())
        place = bench.directory / "here"
        await bench.driver.mount(made.device, str(place), read_only=True)
        with pytest.raises(OSError, match=r".*"):
            bench.write(place / "file", b"never")

    async def test_a_mounted_volume_is_neither_deleted_nor_unmounted_in_use(
        self, bench: VolumeBench, pool: Pool
    ) -> None:
        place = await _mounted(bench)
        with bench.hold(str(place)), pytest.raises(BusyError):
            await bench.driver.unmount(str(place))
        with pytest.raises(BusyError) as caught:
            await bench.driver.delete_volume("kit", "v0")
        assert str(place) in caught.value.message

    async def test_what_has_no_device_or_no_file_system_is_not_mounted(self, bench: VolumeBench, pool: Pool) -> None:
        made = await bench.driver.create_volume(block())
        with pytest.raises(NotFoundError):
            await bench.driver.mount("/dev/kit/absent", str(bench.directory / "here"))
        with pytest.raises(ConflictError):
            await bench.driver.mount(made.device, str(bench.directory / "here"))

    async def test_a_file_system_that_was_shut_down_is_known_until_it_is_unmounted(
        self, bench: VolumeBench, pool: Pool
    ) -> None:
        assert not await bench.driver.is_shut_down(str(bench.directory / "deep" / "here"))
        place = await _mounted(bench)
        bench.write(place / "file", b"kept")
        assert not await bench.driver.is_shut_down(str(place))
        bench.shut_down(str(place))
        assert await bench.driver.is_shut_down(str(place))
        await bench.driver.unmount(str(place))
        assert not await bench.driver.is_shut_down(str(place))
        await bench.driver.mount("/dev/kit/v0", str(place))
        assert not await bench.driver.is_shut_down(str(place))
        assert (place / "file").read_bytes() == b"kept"

    # --- files for logical units ---

    async def test_files_for_units_are_declared_or_unsupported(self, bench: VolumeBench, pool: Pool) -> None:
        if Can.VOLUME_FILE not in bench.driver.can:
            with pytest.raises(UnsupportedError):
                bench.driver.unit_file_bytes(NAS_BYTES)
            with pytest.raises(UnsupportedError):
                await bench.driver.make_unit_file(str(bench.directory), MIB)
            with pytest.raises(UnsupportedError):
                await bench.driver.grow_unit_file(str(bench.directory), MIB)

    async def test_a_file_takes_up_what_it_may_and_reads_as_zeros(self, bench: VolumeBench, pool: Pool) -> None:
        place, size_bytes = await _mounted_for_file_io(bench)
        assert (0 < size_bytes < NAS_BYTES, size_bytes % MIB) == (True, 0)
        path = Path(await bench.driver.make_unit_file(str(place), size_bytes))
        assert (path, _size_bytes(path)) == (place / UNIT_FILE, size_bytes)
        for offset in (0, size_bytes // 2 // MIB * MIB, size_bytes - MIB):
            assert _read(path, offset, MIB) == bytes(MIB)

    async def test_what_was_made_for_file_io_says_so(self, bench: VolumeBench, pool: Pool) -> None:
        if Can.VOLUME_FILE not in bench.driver.can:
            pytest.skip("the driver makes no files for units")
        spec = VolumeSpec("kit", "v0", NAS_BYTES, VolumeKind.ISCSI, IoType.FILE)
        assert (await bench.driver.create_volume(spec)).io_type is IoType.FILE
        assert (await bench.driver.create_volume(block("v1"))).io_type is IoType.BLOCK

    async def test_a_file_that_is_there_keeps_what_it_holds(self, bench: VolumeBench, pool: Pool) -> None:
        place, size_bytes = await _mounted_for_file_io(bench)
        path = Path(await bench.driver.make_unit_file(str(place), size_bytes))
        _overwrite(path, b"kept")
        assert await bench.driver.make_unit_file(str(place), size_bytes) == str(path)
        with pytest.raises(ConflictError):
            await bench.driver.make_unit_file(str(place), size_bytes - MIB)
        assert (_read(path, 0, 4), _size_bytes(path)) == (b"kept", size_bytes)

    async def test_a_file_without_a_place_or_room_is_refused(self, bench: VolumeBench, pool: Pool) -> None:
        place, _ = await _mounted_for_file_io(bench)
        with pytest.raises(NoSpaceError):
            await bench.driver.make_unit_file(str(place), 2 * NAS_BYTES)
        await bench.driver.unmount(str(place))
        with pytest.raises(NotFoundError):
            await bench.driver.make_unit_file(str(place), MIB)

    async def test_a_file_takes_up_what_its_volume_gained_and_keeps_what_it_holds(
        self, bench: VolumeBench, pool: Pool
    ) -> None:
        place, size_bytes = await _mounted_for_file_io(bench)
        if Can.VOLUME_GROW not in bench.driver.can:
            with pytest.raises(UnsupportedError):
                await bench.driver.grow_unit_file(str(place), size_bytes)
            return
        with pytest.raises(NotFoundError):
            await bench.driver.grow_unit_file(str(place), size_bytes)
        path = Path(await bench.driver.make_unit_file(str(place), size_bytes))
        _overwrite(path, b"kept")
        with pytest.raises(NoSpaceError):
            await bench.driver.grow_unit_file(str(place), 4 * NAS_BYTES)
        assert _size_bytes(path) == size_bytes
        grown = await bench.driver.grow_volume("kit", "v0", NAS_BYTES + 16 * MIB)
        await bench.driver.grow_file_system(str(place))
        larger_bytes = bench.driver.unit_file_bytes(grown.size_bytes)
        assert larger_bytes > size_bytes
        for asked in (larger_bytes, larger_bytes, size_bytes):
            await bench.driver.grow_unit_file(str(place), asked)
            assert (_read(path, 0, 4), _size_bytes(path)) == (b"kept", larger_bytes)
        assert _read(path, size_bytes, larger_bytes - size_bytes) == bytes(larger_bytes - size_bytes)
        await bench.driver.unmount(str(place))
        with pytest.raises(NotFoundError):
            await bench.driver.grow_unit_file(str(place), larger_bytes)

    # --- snapshots ---

    async def test_snapshots_are_declared_or_unsupported(self, bench: VolumeBench, pool: Pool) -> None:
        await bench.driver.create_volume(block())
        if Can.VOLUME_SNAPSHOT in bench.driver.can:
            await bench.driver.create_snapshot(copy_of())
        else:
            with pytest.raises(UnsupportedError):
                await bench.driver.create_snapshot(copy_of())

    async def test_a_snapshot_is_as_asked_and_can_be_read_back(self, bench: VolumeBench, pool: Pool) -> None:
        volume = await bench.driver.create_volume(block())
        _need_snapshots(bench)
        made = await bench.driver.create_snapshot(copy_of())
        assert (made.pool, made.volume, made.name, made.reserve_bytes) == ("kit", "v0", "s0", RESERVE_BYTES)
        assert not made.is_overflown
        assert await bench.driver.create_snapshot(copy_of()) == made
        assert await bench.driver.list_snapshots("kit") == await bench.driver.list_snapshots() == (made,)
        assert await bench.driver.list_volumes() == (volume,)

    async def test_a_snapshot_of_another_reserve_is_a_conflict(self, bench: VolumeBench, pool: Pool) -> None:
        await bench.driver.create_volume(block())
        _need_snapshots(bench)
        await bench.driver.create_snapshot(copy_of())
        with pytest.raises(ConflictError):
            await bench.driver.create_snapshot(copy_of(reserve_bytes=RESERVE_BYTES // 2))

    async def test_a_snapshot_of_nothing_or_without_room_is_refused(self, bench: VolumeBench, pool: Pool) -> None:
        _need_snapshots(bench)
        with pytest.raises(NotFoundError):
            await bench.driver.create_snapshot(copy_of())
        await bench.driver.create_volume(block())
        free_bytes = (await bench.driver.get_pool("kit")).free_bytes
        with pytest.raises(NoSpaceError) as caught:
            await bench.driver.create_snapshot(copy_of(reserve_bytes=free_bytes + pool.extent_bytes))
        assert str(pool.extent_bytes) in caught.value.message
        for name in ("-rf", "a.b"):
            with pytest.raises(InvalidError):
                await bench.driver.create_snapshot(copy_of(name=name))
        assert await bench.driver.list_snapshots() == ()

    async def test_snapshots_come_in_order_and_go_one_by_one(self, bench: VolumeBench, pool: Pool) -> None:
        _need_snapshots(bench)
        for volume in ("v1", "v0"):
            await bench.driver.create_volume(block(volume))
            for name in ("b", "a"):
                await bench.driver.create_snapshot(copy_of(volume, name))
        assert await _snapshot_names(bench) == [("v0", "a"), ("v0", "b"), ("v1", "a"), ("v1", "b")]
        for _ in range(2):
            await bench.driver.delete_snapshot("kit", "v0", "a")
        await bench.driver.delete_snapshot("kit", "absent", "a")
        assert await _snapshot_names(bench) == [("v0", "b"), ("v1", "a"), ("v1", "b")]

    async def test_a_volume_with_snapshots_is_not_deleted(self, bench: VolumeBench, pool: Pool) -> None:
        made = await bench.driver.create_volume(block())
        _need_snapshots(bench)
        await bench.driver.create_snapshot(copy_of())
        with pytest.raises(BusyError) as caught:
            await bench.driver.delete_volume("kit", "v0")
        assert "s0" in caught.value.message
        assert await bench.driver.get_volume("kit", "v0") == made
        assert await _snapshot_names(bench) == [("v0", "s0")]

    async def test_a_snapshot_shows_the_past_beside_the_present(self, bench: VolumeBench, pool: Pool) -> None:
        _need_snapshots(bench)
        place, past = await _mounted(bench), bench.directory / "past"
        bench.write(place / "file", b"then")
        made = await bench.driver.create_snapshot(copy_of())
        bench.write(place / "file", b"now!")
        await bench.driver.mount(made.device, str(past), read_only=True)
        assert (past / "file").read_bytes() == b"then"
        assert (place / "file").read_bytes() == b"now!"
        with pytest.raises(BusyError):
            await bench.driver.delete_snapshot("kit", "v0", "s0")
        await bench.driver.unmount(str(past))
        await bench.driver.delete_snapshot("kit", "v0", "s0")
        assert (place / "file").read_bytes() == b"now!"

    async def test_an_overflown_snapshot_is_told_and_can_be_cleared_away(self, bench: VolumeBench, pool: Pool) -> None:
        _need_snapshots(bench)
        place, past = await _mounted(bench), bench.directory / "past"
        made = await bench.driver.create_snapshot(copy_of())
        await bench.driver.mount(made.device, str(past), read_only=True)
        bench.write(place / "much", os.urandom(2 * RESERVE_BYTES))
        (seen,) = await bench.driver.list_snapshots()
        assert seen.is_overflown
        assert (place / "much").stat().st_size == 2 * RESERVE_BYTES
        await bench.driver.unmount(str(past))
        with pytest.raises(HoldfastError):
            await bench.driver.mount(made.device, str(past), read_only=True)
        await bench.driver.delete_snapshot("kit", "v0", "s0")
        assert await bench.driver.list_snapshots() == ()

    # --- what is done with snapshots ---

    async def test_work_on_snapshots_is_declared_or_unsupported(self, bench: VolumeBench, pool: Pool) -> None:
        _need_snapshots(bench)
        for name in ("v0", "v1"):
            await bench.driver.create_volume(block(name))
        await bench.driver.create_snapshot(copy_of())
        work: dict[Can, Callable[[], Awaitable[object]]] = {
            Can.SNAPSHOT_GROW: lambda: bench.driver.grow_snapshot("kit", "v0", "s0", RESERVE_BYTES),
            Can.SNAPSHOT_ROLL_BACK: lambda: bench.driver.roll_back("kit", "v0", "s0"),
            Can.SNAPSHOT_COPY: lambda: bench.driver.copy_snapshot(
                "kit", "v0", "s0", "v1", offset_bytes=0, size_bytes=MIB
            ),
        }
        for word in set(work) - bench.driver.can:  # what is declared other sentences speak of
            with pytest.raises(UnsupportedError):
                await work[word]()

    async def test_a_snapshot_that_grew_holds_more_and_what_it_held(self, bench: VolumeBench, pool: Pool) -> None:
        _need(bench, Can.SNAPSHOT_GROW)
        place, past = await _mounted(bench), bench.directory / "past"
        bench.write(place / "file", b"then")
        made = await bench.driver.create_snapshot(copy_of())
        bench.write(place / "file", b"now!")
        await bench.driver.mount(made.device, str(past), read_only=True)
        for _ in range(2):
            grown = await bench.driver.grow_snapshot("kit", "v0", "s0", 3 * RESERVE_BYTES)
            assert (grown.reserve_bytes, grown.is_overflown) == (3 * RESERVE_BYTES, False)
        bench.write(place / "much", os.urandom(3 * RESERVE_BYTES // 2))
        (seen,) = await bench.driver.list_snapshots()
        assert (seen.reserve_bytes, seen.is_overflown) == (3 * RESERVE_BYTES, False)
        assert (past / "file").read_bytes() == b"then"
        # Never more than it can use.
        most = (await bench.driver.grow_snapshot("kit", "v0", "s0", 2 * NAS_BYTES)).reserve_bytes
        assert NAS_BYTES <= most < 2 * NAS_BYTES
        assert (await bench.driver.get_pool("kit")).reserves.snapshots_bytes == most
        await bench.driver.unmount(str(past))

    async def test_a_snapshot_is_never_made_smaller_nor_larger_than_its_pool(
        self, bench: VolumeBench, pool: Pool
    ) -> None:
        _need(bench, Can.SNAPSHOT_GROW)
        free_bytes = pool.free_bytes
        await bench.driver.create_volume(block("large", free_bytes // 2 + 2 * pool.extent_bytes))
        made = await bench.driver.create_snapshot(copy_of("large"))
        with pytest.raises(ConflictError):
            await bench.driver.grow_snapshot("kit", "large", "s0", RESERVE_BYTES - pool.extent_bytes)
        with pytest.raises(NoSpaceError):
            await bench.driver.grow_snapshot("kit", "large", "s0", free_bytes // 2)
        with pytest.raises(NotFoundError):
            await bench.driver.grow_snapshot("kit", "large", "absent", RESERVE_BYTES)
        assert await bench.driver.list_snapshots() == (made,)

    async def test_a_volume_that_was_rolled_back_is_what_it_was_and_all_snapshots_stay(
        self, bench: VolumeBench, pool: Pool
    ) -> None:
        _need(bench, Can.SNAPSHOT_ROLL_BACK)
        place, past = await _mounted(bench), bench.directory / "past"
        bench.write(place / "file", b"then")
        made = await bench.driver.create_snapshot(copy_of())
        bench.write(place / "file", b"now!")
        bench.write(place / "new", b"new")
        await bench.driver.unmount(str(place))
        await bench.driver.create_snapshot(copy_of(name="later"))
        for _ in range(2):
            await bench.driver.roll_back("kit", "v0", "s0")
            assert await _snapshot_names(bench) == [("v0", "later"), ("v0", "s0")]
        for seen in await bench.driver.list_snapshots():
            assert (seen.reserve_bytes, seen.is_overflown) == (made.reserve_bytes, False)
        await bench.driver.mount((await bench.driver.get_volume("kit", "v0")).device, str(place))
        assert (place / "file").read_bytes() == b"then"
        assert not (place / "new").exists()
        bench.write(place / "file", b"more")
        for name, expected in (("s0", b"then"), ("later", b"now!")):
            device = next(s.device for s in await bench.driver.list_snapshots() if s.name == name)
            await bench.driver.mount(device, str(past), read_only=True)
            assert (past / "file").read_bytes() == expected
            await bench.driver.unmount(str(past))

    async def test_what_is_in_use_or_not_there_is_not_rolled_back(self, bench: VolumeBench, pool: Pool) -> None:
        _need(bench, Can.SNAPSHOT_ROLL_BACK)
        place, past = await _mounted(bench), bench.directory / "past"
        bench.write(place / "file", b"then")
        made = await bench.driver.create_snapshot(copy_of())
        bench.write(place / "file", b"now!")
        with pytest.raises(BusyError):
            await bench.driver.roll_back("kit", "v0", "s0")
        assert (place / "file").read_bytes() == b"now!"
        await bench.driver.unmount(str(place))
        await bench.driver.mount(made.device, str(past), read_only=True)
        with pytest.raises(BusyError):
            await bench.driver.roll_back("kit", "v0", "s0")
        await bench.driver.unmount(str(past))
        with pytest.raises(NotFoundError):
            await bench.driver.roll_back("kit", "v0", "absent")
        volume = await bench.driver.get_volume("kit", "v0")
        await bench.driver.mount(volume.device, str(place))
        assert (place / "file").read_bytes() == b"now!"

    async def test_the_parts_of_a_snapshot_make_a_volume_its_equal(self, bench: VolumeBench, pool: Pool) -> None:
        _need(bench, Can.SNAPSHOT_COPY)
        place, copy = await _mounted(bench), bench.directory / "copy"
        bench.write(place / "file", b"then")
        await bench.driver.create_snapshot(copy_of())
        bench.write(place / "file", b"now!")
        clone = await bench.driver.create_volume(nas("clone"))
        for offset_bytes in (NAS_BYTES // 2, 0):
            await bench.driver.copy_snapshot(
                "kit", "v0", "s0", "clone", offset_bytes=offset_bytes, size_bytes=NAS_BYTES // 2
            )
        await bench.driver.mount(clone.device, str(copy))
        assert (copy / "file").read_bytes() == b"then"
        assert (place / "file").read_bytes() == b"now!"
        with pytest.raises(BusyError):
            await bench.driver.copy_snapshot("kit", "v0", "s0", "clone", offset_bytes=0, size_bytes=MIB)
        await bench.driver.unmount(str(copy))

    async def test_what_is_not_there_is_not_copied(self, bench: VolumeBench, pool: Pool) -> None:
        _need(bench, Can.SNAPSHOT_COPY)
        for name in ("v0", "v1"):
            await bench.driver.create_volume(block(name))
        await bench.driver.create_snapshot(copy_of())
        for volume, name, into in (("v0", "absent", "v1"), ("absent", "s0", "v1"), ("v0", "s0", "absent")):
            with pytest.raises(NotFoundError):
                await bench.driver.copy_snapshot("kit", volume, name, into, offset_bytes=0, size_bytes=MIB)
        for offset_bytes, size_bytes in ((BLOCK_BYTES, MIB), (0, BLOCK_BYTES + MIB), (0, 0), (-MIB, MIB)):
            with pytest.raises(InvalidError):
                await bench.driver.copy_snapshot(
                    "kit", "v0", "s0", "v1", offset_bytes=offset_bytes, size_bytes=size_bytes
                )

    async def test_with_an_overflown_snapshot_nothing_is_done(self, bench: VolumeBench, pool: Pool) -> None:
        _need(bench, Can.SNAPSHOT_GROW, Can.SNAPSHOT_ROLL_BACK, Can.SNAPSHOT_COPY)
        place = await _mounted(bench)
        await bench.driver.create_snapshot(copy_of())
        bench.write(place / "much", os.urandom(2 * RESERVE_BYTES))
        await bench.driver.create_volume(block("v1"))
        await bench.driver.unmount(str(place))
        with pytest.raises(ConflictError):
            await bench.driver.grow_snapshot("kit", "v0", "s0", 4 * RESERVE_BYTES)
        with pytest.raises(ConflictError):
            await bench.driver.roll_back("kit", "v0", "s0")
        with pytest.raises(ConflictError):
            await bench.driver.copy_snapshot("kit", "v0", "s0", "v1", offset_bytes=0, size_bytes=MIB)
        await bench.driver.mount((await bench.driver.get_volume("kit", "v0")).device, str(place))
        assert (place / "much").stat().st_size == 2 * RESERVE_BYTES


def _need(bench: VolumeBench, *words: Can) -> None:
    _need_snapshots(bench)
    if not set(words) <= bench.driver.can:
        pytest.skip("this driver does not do that with snapshots")


def _need_snapshots(bench: VolumeBench) -> None:
    if Can.VOLUME_SNAPSHOT not in bench.driver.can:
        pytest.skip("this driver makes no snapshots")


async def _disk(bench: VolumeBench, path: str) -> Disk:
    return next(disk for disk in await bench.driver.list_disks() if disk.path == path)


def _size_bytes(path: Path) -> int:
    return path.stat().st_size


def _read(path: Path, offset: int, size_bytes: int) -> bytes:
    with path.open("rb") as stream:
        stream.seek(offset)
        return stream.read(size_bytes)


def _overwrite(path: Path, data: bytes) -> None:
    with path.open("r+b") as stream:
        stream.write(data)


async def _mounted_for_file_io(bench: VolumeBench) -> tuple[Path, int]:
    """A new volume with file I/O, mounted, and the size that its file is to have."""
    if Can.VOLUME_FILE not in bench.driver.can:
        pytest.skip("this driver makes no files for logical units")
    made = await bench.driver.create_volume(replace(block(size_bytes=NAS_BYTES), io_type=IoType.FILE))
    place = bench.directory / "unit-of"
    await bench.driver.mount(made.device, str(place))
    return place, bench.driver.unit_file_bytes(made.size_bytes)


async def _mounted(bench: VolumeBench) -> Path:
    """A new NAS volume, mounted."""
    if Can.VOLUME_NAS not in bench.driver.can:
        pytest.skip("this driver makes no file systems")
    made = await bench.driver.create_volume(nas())
    place = bench.directory / "deep" / "here"
    await bench.driver.mount(made.device, str(place))
    return place


async def _snapshot_names(bench: VolumeBench) -> list[tuple[str, str]]:
    return [(snapshot.volume, snapshot.name) for snapshot in await bench.driver.list_snapshots()]
