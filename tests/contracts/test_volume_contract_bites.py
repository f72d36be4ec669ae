"""The volume kit accepts the reference driver and rejects drivers with one fault each."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.errors import ConflictError, HoldfastError, NoSpaceError, UnavailableError
from holdfast.hooks.base import Can
from holdfast.hooks.volume import (
    Disk,
    FileSystem,
    FileSystemUse,
    FoundPool,
    IoType,
    Pool,
    Reserves,
    Snapshot,
    SnapshotSpec,
    Volume,
    VolumeKind,
    VolumeSpec,
)
from holdfast.testing.memory_pools import EXTENT_BYTES, MEMBER, MIB
from holdfast.testing.memory_volume import MemoryVolumes, Mounted
from holdfast.testing.volume import VolumeBench, VolumeContract, make_pool

Overwrite = Mapping[str, tuple[str, ...]]


class MemoryBench(VolumeBench):
    """Where the reference driver is at work."""

    def __init__(self, kind: type[MemoryVolumes], directory: Path) -> None:
        self.memory = self.driver = kind(directory / "content")
        self.disks = ("/dev/memory-1", "/dev/memory-2")
        self.directory = directory / "mounts"

    async def sign(self, device: str) -> str:
        self.memory.carried[device] = ("scribble",)
        return "scribble"

    async def signatures(self, device: str) -> tuple[str, ...]:
        return self.memory.carried.get(device, ())

    @contextlib.contextmanager
    def hold(self, path: str) -> Iterator[None]:
        self.memory.held.add(path)
        yield
        self.memory.held.discard(path)

    def shut_down(self, directory: str) -> None:
        self.memory.shut_down.add(directory)

    async def reboot(self) -> None:
        self.memory.reboot()

    async def make_foreign(self, name: str, disk: str) -> str:
        found = FoundPool("foreign-id", name, 1 << 30, (disk,), 0, is_ours=False, contents=("data",))
        self.memory.foreign[found.id] = found
        self.memory.carried[disk] = (MEMBER,)
        return found.id

    async def lose(self, disk: str) -> None:
        self.memory.missing.add(disk)

    async def bring_back(self, disk: str) -> None:
        self.memory.missing.discard(disk)

    def write(self, path: Path, data: bytes) -> None:
        self.memory.check_writable(path)
        super().write(path, data)


class TestMemoryVolumes(VolumeContract):
    """The reference driver keeps the contract."""

    @pytest.fixture
    def bench(self, tmp_path: Path) -> MemoryBench:
        return MemoryBench(MemoryVolumes, tmp_path)


# --- disks and pools ---


class ListsDisksBackwards(MemoryVolumes):
    async def list_disks(self) -> tuple[Disk, ...]:
        return tuple(reversed(await super().list_disks()))


class SeesNoSignatures(MemoryVolumes):
    async def list_disks(self) -> tuple[Disk, ...]:
        return tuple(replace(disk, signatures=()) for disk in await super().list_disks())


class TakesOneDisk(MemoryVolumes):
    async def create_pool(self, name: str, disks: tuple[str, ...], *, overwrite: Overwrite) -> Pool:
        return await super().create_pool(name, disks[:1], overwrite=overwrite)


class RefusesRepeatedPools(MemoryVolumes):
    async def create_pool(self, name: str, disks: tuple[str, ...], *, overwrite: Overwrite) -> Pool:
        if name in self.pools:
            raise ConflictError(f"there is a pool {name}")
        return await super().create_pool(name, disks, overwrite=overwrite)


class GrowsPools(MemoryVolumes):
    async def create_pool(self, name: str, disks: tuple[str, ...], *, overwrite: Overwrite) -> Pool:
        if name in self.pools:
            self.pools[name] = disks
        return await super().create_pool(name, disks, overwrite=overwrite)


class OverwritesUnasked(MemoryVolumes):
    async def create_pool(self, name: str, disks: tuple[str, ...], *, overwrite: Overwrite) -> Pool:
        return await super().create_pool(name, disks, overwrite=dict(self.carried))


class OverwritesWhateverIsThere(MemoryVolumes):
    async def create_pool(self, name: str, disks: tuple[str, ...], *, overwrite: Overwrite) -> Pool:
        named = {path: self.carried[path] for path in overwrite if path in self.carried}
        return await super().create_pool(name, disks, overwrite=named)


class WritesBeforeItJudges(MemoryVolumes):
    async def create_pool(self, name: str, disks: tuple[str, ...], *, overwrite: Overwrite) -> Pool:
        if name not in self.pools:
            self.carried.setdefault(disks[0], (MEMBER,))
        return await super().create_pool(name, disks, overwrite={disks[0]: (MEMBER,), **overwrite})


class NeverOverwrites(MemoryVolumes):
    async def create_pool(self, name: str, disks: tuple[str, ...], *, overwrite: Overwrite) -> Pool:
        return await super().create_pool(name, disks, overwrite={})


class StealsDisks(MemoryVolumes):
    def _pool_of_disk(self, path: str) -> str | None:
        return None


class InventsDisks(MemoryVolumes):
    async def create_pool(self, name: str, disks: tuple[str, ...], *, overwrite: Overwrite) -> Pool:
        self.disks |= {path: 1 << 30 for path in disks if path not in self.disks}
        return await super().create_pool(name, disks, overwrite=overwrite)


class InventsPools(MemoryVolumes):
    async def get_pool(self, name: str) -> Pool:
        return Pool(name, 0, 0, EXTENT_BYTES, (), Reserves(0, 0, 0))


class DropsVolumes(MemoryVolumes):
    async def delete_pool(self, name: str) -> None:
        self.volumes = {key: volume for key, volume in self.volumes.items() if key[0] != name}
        await super().delete_pool(name)


class LeavesDisksDirty(MemoryVolumes):
    async def delete_pool(self, name: str) -> None:
        self.pools.pop(name, None)


class ForgetsAReserve(MemoryVolumes):
    def _pool(self, name: str) -> Pool:
        pool = super()._pool(name)
        return replace(pool, reserves=replace(pool.reserves, replication_metadata_bytes=0))


class MendsNames(MemoryVolumes):
    async def create_volume(self, spec: VolumeSpec) -> Volume:
        return await super().create_volume(replace(spec, name="v0"))


# --- volumes ---


class MakesAnotherKind(MemoryVolumes):
    async def create_volume(self, spec: VolumeSpec) -> Volume:
        return await super().create_volume(replace(spec, kind=VolumeKind.FC))


class RoundsDown(MemoryVolumes):
    async def create_volume(self, spec: VolumeSpec) -> Volume:
        return await super().create_volume(replace(spec, size_bytes=spec.size_bytes // EXTENT_BYTES * EXTENT_BYTES))


class RefusesRepeatedVolumes(MemoryVolumes):
    async def create_volume(self, spec: VolumeSpec) -> Volume:
        if (spec.pool, spec.name) in self.volumes:
            raise ConflictError(f"there is a volume {spec.name}")
        return await super().create_volume(spec)


class TakesAnyVolumeOfTheName(MemoryVolumes):
    async def create_volume(self, spec: VolumeSpec) -> Volume:
        found = self.volumes.get((spec.pool, spec.name))
        return found or await super().create_volume(spec)


class PromisesAnyRoom(MemoryVolumes):
    def _need_room(self, pool: str, size_bytes: int) -> None:
        pass


class SaysNoMoreThanNo(MemoryVolumes):
    async def create_volume(self, spec: VolumeSpec) -> Volume:
        try:
            return await super().create_volume(spec)
        except HoldfastError as reason:
            raise type(reason)("no") from reason


class GivesOneByteForNothing(MemoryVolumes):
    async def create_volume(self, spec: VolumeSpec) -> Volume:
        return await super().create_volume(replace(spec, size_bytes=max(1, spec.size_bytes)))


class ListsVolumesByAge(MemoryVolumes):
    async def list_volumes(self, pool: str | None = None) -> tuple[Volume, ...]:
        return tuple(self.volumes.values())


class LosesConcurrentVolumes(MemoryVolumes):
    async def create_volume(self, spec: VolumeSpec) -> Volume:
        before = dict(self.volumes)
        await asyncio.sleep(0)
        made = await super().create_volume(spec)
        self.volumes = before | {(spec.pool, spec.name): made}
        return made


class LeavesOldSignatures(MemoryVolumes):
    async def create_volume(self, spec: VolumeSpec) -> Volume:
        left = self.carried.get(f"/dev/{spec.pool}/{spec.name}", ())
        made = await super().create_volume(spec)
        self.carried |= {made.device: left} if left else {}
        return made


class WipesWhenRepeated(MemoryVolumes):
    async def create_volume(self, spec: VolumeSpec) -> Volume:
        made = await super().create_volume(spec)
        self.carried.pop(made.device, None)
        return made


class NeedsVolumeToDelete(MemoryVolumes):
    async def delete_volume(self, pool: str, name: str) -> None:
        await self.get_volume(pool, name)
        await super().delete_volume(pool, name)


class LeaksRoom(MemoryVolumes):
    async def delete_volume(self, pool: str, name: str) -> None:
        await super().delete_volume(pool, name)
        self.metadata[pool, name] = EXTENT_BYTES


class DeletesWhatIsOpen(MemoryVolumes):
    async def delete_volume(self, pool: str, name: str) -> None:
        self.held.clear()
        await super().delete_volume(pool, name)


# --- replication metadata ---


class ListsMetadataAsVolumes(MemoryVolumes):
    async def list_volumes(self, pool: str | None = None) -> tuple[Volume, ...]:
        found = await super().list_volumes(pool)
        return found + tuple(replace(found[0], name=f"{name}.meta") for _, name in self.metadata)


class ErasesMetadataAgain(MemoryVolumes):
    async def create_metadata(self, pool: str, volume: str, size_bytes: int) -> str:
        device = await super().create_metadata(pool, volume, size_bytes)
        self.carried.pop(device, None)
        return device


class DeletesBesideMetadata(MemoryVolumes):
    async def delete_volume(self, pool: str, name: str) -> None:
        self.metadata.pop((pool, name), None)
        await super().delete_volume(pool, name)


class MakesMetadataOfNothing(MemoryVolumes):
    async def create_metadata(self, pool: str, volume: str, size_bytes: int) -> str:
        return f"/dev/{pool}/{volume}.meta"


# --- after a boot ---


class ActivatesNothing(MemoryVolumes):
    async def activate_pool(self, name: str) -> None:
        await self.get_pool(name)


class SaysAlwaysActive(MemoryVolumes):
    async def get_volume(self, pool: str, name: str) -> Volume:
        return replace(await super().get_volume(pool, name), is_active=True)


# --- file systems ---


class FormatsAgain(MemoryVolumes):
    async def create_volume(self, spec: VolumeSpec) -> Volume:
        if (spec.pool, spec.name) in self.volumes:
            for path in self._files(f"/dev/{spec.pool}/{spec.name}").iterdir():
                path.unlink()
        return await super().create_volume(spec)


class MountsOnce(MemoryVolumes):
    async def mount(self, device: str, directory: str, *, read_only: bool = False) -> None:
        if directory in self.mounts:
            raise ConflictError(f"{directory} is taken")
        await super().mount(device, directory, read_only=read_only)


class UnmountsOnce(MemoryVolumes):
    async def unmount(self, directory: str) -> None:
        if directory not in self.mounts:
            raise ConflictError(f"{directory} is no mount")
        await super().unmount(directory)


class MountsOverAnything(MemoryVolumes):
    async def mount(self, device: str, directory: str, *, read_only: bool = False) -> None:
        if directory not in self.mounts:
            await super().mount(device, directory, read_only=read_only)


class ForgetsReadOnly(MemoryVolumes):
    async def mount(self, device: str, directory: str, *, read_only: bool = False) -> None:
        await super().mount(device, directory)


class UnmountsWhatIsUsed(MemoryVolumes):
    async def unmount(self, directory: str) -> None:
        self.held.clear()
        await super().unmount(directory)


class DeletesWhatIsMounted(MemoryVolumes):
    async def delete_volume(self, pool: str, name: str) -> None:
        self.mounts.clear()
        await super().delete_volume(pool, name)


class MountsAnything(MemoryVolumes):
    async def mount(self, device: str, directory: str, *, read_only: bool = False) -> None:
        self.mounts[directory] = Mounted(device, read_only)


class SaysAlwaysMounted(MemoryVolumes):
    async def is_mounted(self, device: str, directory: str) -> bool:
        return True


class KnowsTheMountAndNotWhose(MemoryVolumes):
    async def is_mounted(self, device: str, directory: str) -> bool:
        return directory in self.mounts


# --- snapshots ---


class DeclaresWhatItCannot(MemoryVolumes):
    async def create_snapshot(self, spec: SnapshotSpec) -> Snapshot:
        raise self.unsupported("snapshots")


class CanButDoesNotSay(MemoryVolumes):
    can = frozenset()


class RefusesRepeatedSnapshots(MemoryVolumes):
    async def create_snapshot(self, spec: SnapshotSpec) -> Snapshot:
        if (spec.pool, spec.volume, spec.name) in self.snapshots:
            raise ConflictError(f"there is a snapshot {spec.name}")
        return await super().create_snapshot(spec)


class TakesAnySnapshotOfTheName(MemoryVolumes):
    async def create_snapshot(self, spec: SnapshotSpec) -> Snapshot:
        found = self.snapshots.get((spec.pool, spec.volume, spec.name))
        return found or await super().create_snapshot(spec)


class ListsSnapshotsByAge(MemoryVolumes):
    async def list_snapshots(self, pool: str | None = None) -> tuple[Snapshot, ...]:
        return tuple(self.snapshots.values())


class KeepsSnapshots(MemoryVolumes):
    async def delete_snapshot(self, pool: str, volume: str, name: str) -> None:
        pass


class NeedsSnapshotToDelete(MemoryVolumes):
    async def delete_snapshot(self, pool: str, volume: str, name: str) -> None:
        del self.snapshots[pool, volume, name]


class DeletesSnapshotsToo(MemoryVolumes):
    async def delete_volume(self, pool: str, name: str) -> None:
        self.snapshots = {key: found for key, found in self.snapshots.items() if key[:2] != (pool, name)}
        await super().delete_volume(pool, name)


class ShowsThePresent(MemoryVolumes):
    async def create_snapshot(self, spec: SnapshotSpec) -> Snapshot:
        made = await super().create_snapshot(spec)
        shutil.rmtree(self._files(made.device), ignore_errors=True)
        self._files(made.device).symlink_to(self._files(f"/dev/{spec.pool}/{spec.volume}"))
        return made


class NeverTellsOfOverflow(MemoryVolumes):
    def _snapshot(self, key: tuple[str, str, str]) -> Snapshot:
        return self.snapshots[key]


class KeepsDeadMounts(MemoryVolumes):
    async def unmount(self, directory: str) -> None:
        if directory in self.mounts and self.mounts[directory].device in self._void_devices():
            raise UnavailableError(f"{directory} cannot be read")
        await super().unmount(directory)


class TakesErrorsForFiles(MemoryVolumes):
    async def is_shut_down(self, directory: str) -> bool:
        return False


class KeepsThemShutDown(MemoryVolumes):
    def _take_away(self, directory: str) -> None:
        was = directory in self.shut_down
        super()._take_away(directory)
        if was:
            self.shut_down.add(directory)


class GrowsNothing(MemoryVolumes):
    async def grow_volume(self, pool: str, name: str, size_bytes: int) -> Volume:
        return await self.get_volume(pool, name)


class GrowsBlank(MemoryVolumes):
    async def grow_volume(self, pool: str, name: str, size_bytes: int) -> Volume:
        grown = await super().grow_volume(pool, name, size_bytes)
        self.carried.pop(grown.device, None)
        return grown


class Shrinks(MemoryVolumes):
    async def grow_volume(self, pool: str, name: str, size_bytes: int) -> Volume:
        self.volumes[pool, name] = replace(await self.get_volume(pool, name), size_bytes=size_bytes)
        return self.volumes[pool, name]


class GrowsFileSystemsOfNothing(MemoryVolumes):
    async def grow_file_system(self, directory: str) -> None:
        return


class HasFilesAndDoesNotSay(MemoryVolumes):
    can = MemoryVolumes.can - {Can.VOLUME_FILE}


class FillsFiles(MemoryVolumes):
    async def make_unit_file(self, directory: str, size_bytes: int) -> str:
        path = await super().make_unit_file(directory, size_bytes)
        await asyncio.to_thread(_scribble, Path(path), size_bytes - 1)
        return path


class CountsFilesByTheByte(MemoryVolumes):
    def unit_file_bytes(self, volume_bytes: int) -> int:
        return volume_bytes - 1


class MakesFilesAgain(MemoryVolumes):
    async def make_unit_file(self, directory: str, size_bytes: int) -> str:
        await asyncio.to_thread(Path(directory, "unit").unlink, missing_ok=True)
        return await super().make_unit_file(directory, size_bytes)


class PromisesFilesAnyRoom(MemoryVolumes):
    async def make_unit_file(self, directory: str, size_bytes: int) -> str:
        return await super().make_unit_file(directory, min(size_bytes, 4 * EXTENT_BYTES))


def _unit(directory: str) -> Path:
    return Path(directory, "unit")


class GrowsFilesBlank(MemoryVolumes):
    async def grow_unit_file(self, directory: str, size_bytes: int) -> None:
        if directory in self.mounts and (path := _unit(directory)).exists():
            os.truncate(path, 0)
        await super().grow_unit_file(directory, size_bytes)


class ShrinksFiles(MemoryVolumes):
    async def grow_unit_file(self, directory: str, size_bytes: int) -> None:
        await super().grow_unit_file(directory, size_bytes)
        os.truncate(_unit(directory), size_bytes)


class GrowsFilesPastTheirRoom(MemoryVolumes):
    async def grow_unit_file(self, directory: str, size_bytes: int) -> None:
        try:
            await super().grow_unit_file(directory, size_bytes)
        except NoSpaceError:
            os.truncate(_unit(directory), size_bytes)
            raise


class GrowsFilesThatAreNot(MemoryVolumes):
    async def grow_unit_file(self, directory: str, size_bytes: int) -> None:
        if directory in self.mounts and not _unit(directory).exists():
            return
        await super().grow_unit_file(directory, size_bytes)


class MakesFilesAnywhere(MemoryVolumes):
    async def make_unit_file(self, directory: str, size_bytes: int) -> str:
        if directory not in self.mounts:
            return f"{directory}/unit"
        return await super().make_unit_file(directory, size_bytes)


# --- what is done with snapshots ---


class DoesNotSayWhatItDoes(MemoryVolumes):
    can = MemoryVolumes.can - {Can.SNAPSHOT_ROLL_BACK}


class GrowsSnapshotsInWordsOnly(MemoryVolumes):
    async def grow_snapshot(self, pool: str, volume: str, name: str, reserve_bytes: int) -> Snapshot:
        before = self.snapshots[pool, volume, name]
        grown = await super().grow_snapshot(pool, volume, name, reserve_bytes)
        self.snapshots[pool, volume, name] = before
        return grown


class GrowsSnapshotsForEver(MemoryVolumes):
    async def grow_snapshot(self, pool: str, volume: str, name: str, reserve_bytes: int) -> Snapshot:
        grown = replace(await super().grow_snapshot(pool, volume, name, reserve_bytes), reserve_bytes=reserve_bytes)
        self.snapshots[pool, volume, name] = grown
        return grown


class ShrinksSnapshots(MemoryVolumes):
    async def grow_snapshot(self, pool: str, volume: str, name: str, reserve_bytes: int) -> Snapshot:
        self.snapshots[pool, volume, name] = replace(self.snapshots[pool, volume, name], reserve_bytes=EXTENT_BYTES)
        return await super().grow_snapshot(pool, volume, name, reserve_bytes)


class RollsNothingBack(MemoryVolumes):
    async def roll_back(self, pool: str, volume: str, name: str) -> None:
        self._need_snapshot(pool, volume, name)


class UsesTheSnapshotUp(MemoryVolumes):
    async def roll_back(self, pool: str, volume: str, name: str) -> None:
        await super().roll_back(pool, volume, name)
        del self.snapshots[pool, volume, name]


class RollsOtherSnapshotsBackToo(MemoryVolumes):
    async def roll_back(self, pool: str, volume: str, name: str) -> None:
        await super().roll_back(pool, volume, name)
        for key, snapshot in self.snapshots.items():
            if key[2] != name:
                shutil.rmtree(self._files(snapshot.device), ignore_errors=True)
                shutil.copytree(self._files(self.snapshots[pool, volume, name].device), self._files(snapshot.device))


class RollsBackUnderItsUsers(MemoryVolumes):
    async def roll_back(self, pool: str, volume: str, name: str) -> None:
        mounts, self.mounts = self.mounts, {}
        try:
            await super().roll_back(pool, volume, name)
        finally:
            self.mounts = mounts


class CopiesThePresent(MemoryVolumes):
    async def copy_snapshot(
        self, pool: str, volume: str, name: str, into: str, *, offset_bytes: int, size_bytes: int
    ) -> None:
        await super().copy_snapshot(pool, volume, name, into, offset_bytes=offset_bytes, size_bytes=size_bytes)
        present, copy = (self._files(self.volumes[pool, each].device) for each in (volume, into))
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(present, copy)


class CopiesIntoWhatIsMounted(MemoryVolumes):
    async def copy_snapshot(
        self, pool: str, volume: str, name: str, into: str, *, offset_bytes: int, size_bytes: int
    ) -> None:
        mounts, self.mounts = self.mounts, {}
        try:
            await super().copy_snapshot(pool, volume, name, into, offset_bytes=offset_bytes, size_bytes=size_bytes)
        finally:
            self.mounts = mounts


class CopiesPastTheEnd(MemoryVolumes):
    async def copy_snapshot(
        self, pool: str, volume: str, name: str, into: str, *, offset_bytes: int, size_bytes: int
    ) -> None:
        await super().copy_snapshot(pool, volume, name, into, offset_bytes=0, size_bytes=MIB)


class ReadsWhatOverflowed(MemoryVolumes):
    def _need_snapshot(self, pool: str, volume: str, name: str) -> Snapshot:
        return self._snapshot((pool, volume, name))


def _scribble(path: Path, offset: int) -> None:
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(b"x")


class ForgetsWhatItIsFor(MemoryVolumes):
    async def get_volume(self, pool: str, name: str) -> Volume:
        return replace(await super().get_volume(pool, name), io_type=IoType.BLOCK)


class NeverFillsUp(MemoryVolumes):
    async def file_system_use(self, directory: str) -> FileSystemUse:
        found = await super().file_system_use(directory)
        return FileSystemUse(found.size_bytes, 0, found.size_bytes)


class KnowsOneFileSystem(MemoryVolumes):
    async def create_volume(self, spec: VolumeSpec) -> Volume:
        return await super().create_volume(replace(spec, file_system=FileSystem.XFS))


FAULTY: list[tuple[type[MemoryVolumes], str]] = [
    (ListsDisksBackwards, "test_blank_disks_are_listed_in_order_and_carry_nothing"),
    (SeesNoSignatures, "test_what_a_disk_carries_is_named"),
    (TakesOneDisk, "test_a_pool_is_made_of_the_disks_named"),
    (RefusesRepeatedPools, "test_making_a_pool_again_is_success"),
    (GrowsPools, "test_a_pool_of_other_disks_under_a_taken_name_is_a_conflict"),
    (OverwritesUnasked, "test_a_disk_that_carries_something_is_refused_and_left_alone"),
    (OverwritesWhateverIsThere, "test_overwriting_must_name_exactly_what_is_there"),
    (WritesBeforeItJudges, "test_one_disk_that_is_refused_spares_the_others"),
    (NeverOverwrites, "test_what_was_named_exactly_is_overwritten"),
    (StealsDisks, "test_a_disk_of_another_pool_is_never_taken"),
    (InventsDisks, "test_a_disk_that_does_not_exist_is_not_found"),
    (InventsPools, "test_an_absent_pool_is_not_found"),
    (DropsVolumes, "test_a_pool_with_volumes_stays_and_they_are_named"),
    (LeavesDisksDirty, "test_a_deleted_pool_gives_its_disks_back_blank"),
    (ForgetsAReserve, "test_what_a_pool_has_adds_up"),
    (MendsNames, "test_a_name_that_cannot_be_borne_is_refused"),
    (MakesAnotherKind, "test_a_volume_is_as_asked_and_can_be_read_back"),
    (RoundsDown, "test_a_size_is_rounded_up_to_the_extent"),
    (RefusesRepeatedVolumes, "test_making_a_volume_again_is_success"),
    (TakesAnyVolumeOfTheName, "test_a_volume_of_another_size_or_kind_is_a_conflict"),
    (PromisesAnyRoom, "test_too_much_is_refused_saying_what_is_missing"),
    (SaysNoMoreThanNo, "test_too_much_is_refused_saying_what_is_missing"),
    (GivesOneByteForNothing, "test_a_size_of_nothing_is_refused"),
    (ListsVolumesByAge, "test_volumes_come_in_order"),
    (LosesConcurrentVolumes, "test_volumes_made_at_the_same_time_are_all_made"),
    (LeavesOldSignatures, "test_a_new_volume_carries_nothing_of_a_deleted_one"),
    (WipesWhenRepeated, "test_a_volume_made_again_keeps_what_it_carries"),
    (NeedsVolumeToDelete, "test_an_absent_volume_is_not_found_and_its_deletion_success"),
    (LeaksRoom, "test_a_deleted_volume_gives_its_room_back"),
    (DeletesWhatIsOpen, "test_a_volume_held_open_is_not_deleted"),
    (ListsMetadataAsVolumes, "test_replication_metadata_is_made_once_and_is_no_volume"),
    (ErasesMetadataAgain, "test_replication_metadata_made_again_is_not_erased"),
    (DeletesBesideMetadata, "test_a_volume_with_replication_metadata_is_not_deleted"),
    (GrowsNothing, "test_a_volume_grows_under_its_user_and_keeps_what_it_carries"),
    (GrowsBlank, "test_a_volume_grows_under_its_user_and_keeps_what_it_carries"),
    (Shrinks, "test_a_volume_is_never_made_smaller_nor_larger_than_its_pool"),
    (GrowsFileSystemsOfNothing, "test_a_file_system_takes_up_what_its_volume_gained"),
    (MakesMetadataOfNothing, "test_replication_metadata_needs_its_volume"),
    (ActivatesNothing, "test_after_a_boot_a_pool_is_made_available_again"),
    (SaysAlwaysActive, "test_a_volume_made_again_after_a_boot_is_available"),
    (FormatsAgain, "test_a_nas_volume_keeps_files"),
    (MountsOnce, "test_mounting_and_unmounting_again_is_success"),
    (UnmountsOnce, "test_mounting_and_unmounting_again_is_success"),
    (MountsOverAnything, "test_a_taken_mount_point_is_a_conflict"),
    (ForgetsReadOnly, "test_a_read_only_mount_cannot_be_written"),
    (UnmountsWhatIsUsed, "test_a_mounted_volume_is_neither_deleted_nor_unmounted_in_use"),
    (DeletesWhatIsMounted, "test_a_mounted_volume_is_neither_deleted_nor_unmounted_in_use"),
    (SaysAlwaysMounted, "test_what_is_mounted_where_is_told"),
    (KnowsTheMountAndNotWhose, "test_what_is_mounted_where_is_told"),
    (MountsAnything, "test_what_has_no_device_or_no_file_system_is_not_mounted"),
    (HasFilesAndDoesNotSay, "test_files_for_units_are_declared_or_unsupported"),
    (FillsFiles, "test_a_file_takes_up_what_it_may_and_reads_as_zeros"),
    (CountsFilesByTheByte, "test_a_file_takes_up_what_it_may_and_reads_as_zeros"),
    (ForgetsWhatItIsFor, "test_what_was_made_for_file_io_says_so"),
    (KnowsOneFileSystem, "test_files_are_kept_by_the_file_system_that_was_asked_for"),
    (NeverFillsUp, "test_how_full_a_file_system_is_can_be_read"),
    (MakesFilesAgain, "test_a_file_that_is_there_keeps_what_it_holds"),
    (PromisesFilesAnyRoom, "test_a_file_without_a_place_or_room_is_refused"),
    (MakesFilesAnywhere, "test_a_file_without_a_place_or_room_is_refused"),
    (TakesErrorsForFiles, "test_a_file_system_that_was_shut_down_is_known_until_it_is_unmounted"),
    (KeepsThemShutDown, "test_a_file_system_that_was_shut_down_is_known_until_it_is_unmounted"),
    (GrowsFilesBlank, "test_a_file_takes_up_what_its_volume_gained_and_keeps_what_it_holds"),
    (ShrinksFiles, "test_a_file_takes_up_what_its_volume_gained_and_keeps_what_it_holds"),
    (GrowsFilesPastTheirRoom, "test_a_file_takes_up_what_its_volume_gained_and_keeps_what_it_holds"),
    (GrowsFilesThatAreNot, "test_a_file_takes_up_what_its_volume_gained_and_keeps_what_it_holds"),
    (DeclaresWhatItCannot, "test_snapshots_are_declared_or_unsupported"),
    (CanButDoesNotSay, "test_snapshots_are_declared_or_unsupported"),
    (RefusesRepeatedSnapshots, "test_a_snapshot_is_as_asked_and_can_be_read_back"),
    (TakesAnySnapshotOfTheName, "test_a_snapshot_of_another_reserve_is_a_conflict"),
    (PromisesAnyRoom, "test_a_snapshot_of_nothing_or_without_room_is_refused"),
    (ListsSnapshotsByAge, "test_snapshots_come_in_order_and_go_one_by_one"),
    (KeepsSnapshots, "test_snapshots_come_in_order_and_go_one_by_one"),
    (NeedsSnapshotToDelete, "test_snapshots_come_in_order_and_go_one_by_one"),
    (DeletesSnapshotsToo, "test_a_volume_with_snapshots_is_not_deleted"),
    (ShowsThePresent, "test_a_snapshot_shows_the_past_beside_the_present"),
    (NeverTellsOfOverflow, "test_an_overflown_snapshot_is_told_and_can_be_cleared_away"),
    (KeepsDeadMounts, "test_an_overflown_snapshot_is_told_and_can_be_cleared_away"),
    (DoesNotSayWhatItDoes, "test_work_on_snapshots_is_declared_or_unsupported"),
    (GrowsSnapshotsInWordsOnly, "test_a_snapshot_that_grew_holds_more_and_what_it_held"),
    (GrowsSnapshotsForEver, "test_a_snapshot_that_grew_holds_more_and_what_it_held"),
    (ShrinksSnapshots, "test_a_snapshot_is_never_made_smaller_nor_larger_than_its_pool"),
    (PromisesAnyRoom, "test_a_snapshot_is_never_made_smaller_nor_larger_than_its_pool"),
    (RollsNothingBack, "test_a_volume_that_was_rolled_back_is_what_it_was_and_all_snapshots_stay"),
    (UsesTheSnapshotUp, "test_a_volume_that_was_rolled_back_is_what_it_was_and_all_snapshots_stay"),
    (RollsOtherSnapshotsBackToo, "test_a_volume_that_was_rolled_back_is_what_it_was_and_all_snapshots_stay"),
    (RollsBackUnderItsUsers, "test_what_is_in_use_or_not_there_is_not_rolled_back"),
    (CopiesThePresent, "test_the_parts_of_a_snapshot_make_a_volume_its_equal"),
    (CopiesIntoWhatIsMounted, "test_the_parts_of_a_snapshot_make_a_volume_its_equal"),
    (CopiesPastTheEnd, "test_what_is_not_there_is_not_copied"),
    (ReadsWhatOverflowed, "test_with_an_overflown_snapshot_nothing_is_done"),
]

SENTENCES = sorted(name for name in vars(VolumeContract) if name.startswith("test_"))


async def judge(kit: object, bench: MemoryBench, sentence: str) -> None:
    """Hold the bench's driver to one sentence of a kit for volumes, as pytest would."""
    test: Callable[..., object] = getattr(kit, sentence)
    fixtures: dict[str, object] = {"bench": bench}
    if "pool" in inspect.signature(test).parameters:
        fixtures["pool"] = await make_pool(bench)
    outcome = test(**fixtures)
    assert inspect.isawaitable(outcome)
    await outcome


@contextlib.contextmanager
def rejected() -> Iterator[None]:
    """The block must raise something that fails a test."""
    try:
        yield
    except (Exception, pytest.fail.Exception):
        return
    raise AssertionError("the kit accepted a faulty driver")


@pytest.mark.parametrize(("fault", "sentence"), FAULTY, ids=[f"{fault.__name__}-{name}" for fault, name in FAULTY])
async def test_the_kit_rejects_a_fault(fault: type[MemoryVolumes], sentence: str, tmp_path: Path) -> None:
    await judge(VolumeContract(), MemoryBench(MemoryVolumes, tmp_path / "good"), sentence)
    with rejected():
        await judge(VolumeContract(), MemoryBench(fault, tmp_path / "faulty"), sentence)


def test_every_sentence_of_the_kit_rejects_some_fault() -> None:
    assert set(SENTENCES) == {sentence for _, sentence in FAULTY}
