"""The pool kit accepts the reference driver and rejects drivers with one fault each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.errors import HoldfastError
from holdfast.hooks.pools import FoundPool, Pool, PoolDisk, ThinPool, Told
from holdfast.hooks.volume import Volume, VolumeSpec
from holdfast.testing.memory_pools import round_up
from holdfast.testing.memory_volume import MemoryVolumes
from holdfast.testing.pools import PoolContract
from tests.contracts.test_volume_contract_bites import MemoryBench, judge, rejected

Overwrite = Mapping[str, tuple[str, ...]]


class TestMemoryPools(PoolContract):
    """The reference driver keeps the contract."""

    @pytest.fixture
    def bench(self, tmp_path: Path) -> MemoryBench:
        return MemoryBench(MemoryVolumes, tmp_path)


class AddsDisksTwice(MemoryVolumes):
    async def extend_pool(self, name: str, disks: tuple[str, ...], *, overwrite: Overwrite) -> Pool:
        if set(disks) & set(self.pools.get(name, ())):
            raise HoldfastError("they are in it")
        return await super().extend_pool(name, disks, overwrite=overwrite)


class ExtendsOverData(MemoryVolumes):
    async def extend_pool(self, name: str, disks: tuple[str, ...], *, overwrite: Overwrite) -> Pool:
        return await super().extend_pool(name, disks, overwrite=dict(self.carried))


class StealsDisksForGood(MemoryVolumes):
    def _pool_of_disk(self, path: str) -> str | None:
        return None


class MovesNothing(MemoryVolumes):
    async def move_off(self, name: str, disk: str, told: Told) -> None:
        await told(100.0)
        self.leaving.add(disk)


class MovesInSilence(MemoryVolumes):
    async def move_off(self, name: str, disk: str, told: Told) -> None:
        async def nobody(percent: float) -> None:
            pass

        await super().move_off(name, disk, nobody)


class LosesWhatItMoves(MemoryVolumes):
    async def move_off(self, name: str, disk: str, told: Told) -> None:
        await super().move_off(name, disk, told)
        for volume in self.volumes.values():
            self.carried.pop(volume.device, None)


class LeavesRemovedDisksDirty(MemoryVolumes):
    async def remove_disk(self, name: str, disk: str) -> Pool:
        pool = await super().remove_disk(name, disk)
        self.carried[disk] = ("memory_member",)
        return pool


class RemovesOnce(MemoryVolumes):
    async def remove_disk(self, name: str, disk: str) -> Pool:
        self._need_disk(name, disk)
        return await super().remove_disk(name, disk)


class FillsDisksThatLeave(MemoryVolumes):
    async def move_off(self, name: str, disk: str, told: Told) -> None:
        await super().move_off(name, disk, told)
        self.leaving.discard(disk)


class StopsForGood(MemoryVolumes):
    async def stop_moving_off(self, name: str, disk: str) -> None:
        return


class StartsWithoutRoom(MemoryVolumes):
    async def move_off(self, name: str, disk: str, told: Told) -> None:
        self._need_disk(name, disk)
        self.leaving.add(disk)
        await super().move_off(name, disk, told)


class ForgetsDataWhenInterrupted(MemoryVolumes):
    async def move_off(self, name: str, disk: str, told: Told) -> None:
        try:
            await super().move_off(name, disk, told)
        except BaseException:
            self.carried.clear()
            raise


class RemovesAnyDisk(MemoryVolumes):
    def _used_bytes(self, pool: str, path: str) -> int:
        return 0


class HidesMissingDisks(MemoryVolumes):
    def _pool(self, name: str) -> Pool:
        pool = super()._pool(name)
        return replace(pool, members=tuple(disk for disk in pool.members if not disk.is_missing))


class CountsMissingRoom(MemoryVolumes):
    def _member(self, pool: str, path: str) -> PoolDisk:
        return replace(super()._member(pool, path), is_missing=False)


class ForgetsWhateverIsGone(MemoryVolumes):
    async def forget_missing(self, name: str) -> Pool:
        self.pools[name] = tuple(path for path in self.pools[name] if path not in self.missing)
        return self._pool(name)


class UnmountsToRename(MemoryVolumes):
    async def rename_pool(self, name: str, new_name: str) -> Pool:
        for directory in list(self.mounts):
            await self.unmount(directory)
        return await super().rename_pool(name, new_name)


class RenamesOnce(MemoryVolumes):
    async def rename_pool(self, name: str, new_name: str) -> Pool:
        self._need_pool(name)
        return await super().rename_pool(name, new_name)


class MergesByName(MemoryVolumes):
    async def rename_pool(self, name: str, new_name: str) -> Pool:
        if new_name in self.pools and name in self.pools:
            self.pools[new_name] += self.pools.pop(name)
            return self._pool(new_name)
        return await super().rename_pool(name, new_name)


class FindsOnlyItsOwn(MemoryVolumes):
    async def list_found_pools(self) -> tuple[FoundPool, ...]:
        return tuple(pool for pool in await super().list_found_pools() if pool.is_ours)


class TakesThemAllForItsOwn(MemoryVolumes):
    async def list_found_pools(self) -> tuple[FoundPool, ...]:
        return tuple(replace(pool, is_ours=True) for pool in await super().list_found_pools())


class ImportsOverAnother(MemoryVolumes):
    async def import_pool(self, found: str, name: str) -> Pool:
        if found in self.foreign:
            self.pools.pop(name, None)
        return await super().import_pool(found, name)


class ImportsHalves(MemoryVolumes):
    async def list_found_pools(self) -> tuple[FoundPool, ...]:
        return tuple(replace(pool, missing_disks=0) for pool in await super().list_found_pools())


class MakesThinPoolsAgain(MemoryVolumes):
    async def create_thin_pool(self, pool: str, size_bytes: int) -> Pool:
        self.thin.pop(pool, None)
        return await super().create_thin_pool(pool, size_bytes)


class HidesThinMetadata(MemoryVolumes):
    def _pool(self, name: str) -> Pool:
        pool = super()._pool(name)
        return replace(pool, reserves=replace(pool.reserves, thin_metadata_bytes=0))


class PromisesThinPoolsAnyRoom(MemoryVolumes):
    async def create_thin_pool(self, pool: str, size_bytes: int) -> Pool:
        self._need_pool(pool)
        self.thin.setdefault(pool, ThinPool(round_up(size_bytes), 0.0, 4 << 20, 0.0, 0))
        return self._pool(pool)


class MakesThickOnes(MemoryVolumes):
    async def create_volume(self, spec: VolumeSpec) -> Volume:
        if spec.is_thin:
            self._need_thin(spec.pool)
        return await super().create_volume(replace(spec, is_thin=False))


class DropsThinVolumes(MemoryVolumes):
    async def delete_thin_pool(self, pool: str) -> None:
        self.thin.pop(pool, None)


class ShrinksThinPools(MemoryVolumes):
    async def grow_thin_pool(self, pool: str, *, size_bytes: int | None, metadata_bytes: int | None) -> Pool:
        grown = await super().grow_thin_pool(pool, size_bytes=size_bytes, metadata_bytes=metadata_bytes)
        if size_bytes is not None and grown.thin is not None:
            self.thin[pool] = replace(grown.thin, size_bytes=size_bytes)
        return self._pool(pool)


class AsksInWords(MemoryVolumes):
    async def ask_disk(self, disk: str) -> str:
        await super().ask_disk(disk)
        return "it is well"


class InventsAnswers(MemoryVolumes):
    async def ask_disk(self, disk: str) -> str:
        return self.told.get(disk, "{}")


FAULTY: list[tuple[type[MemoryVolumes], str]] = [
    (AddsDisksTwice, "test_a_pool_is_extended_by_a_blank_disk_once"),
    (ExtendsOverData, "test_a_disk_that_carries_something_extends_no_pool_unasked"),
    (StealsDisksForGood, "test_a_disk_of_another_pool_or_none_extends_no_pool"),
    (MovesNothing, "test_data_is_moved_off_a_disk_under_its_user"),
    (MovesInSilence, "test_data_is_moved_off_a_disk_under_its_user"),
    (LosesWhatItMoves, "test_data_is_moved_off_a_disk_under_its_user"),
    (LeavesRemovedDisksDirty, "test_data_is_moved_off_a_disk_under_its_user"),
    (RemovesOnce, "test_data_is_moved_off_a_disk_under_its_user"),
    (FillsDisksThatLeave, "test_a_disk_that_leaves_gets_nothing_new_until_it_stays"),
    (StopsForGood, "test_a_disk_that_leaves_gets_nothing_new_until_it_stays"),
    (StartsWithoutRoom, "test_data_stays_where_the_other_disks_have_no_room"),
    (ForgetsDataWhenInterrupted, "test_an_interrupted_move_keeps_the_data_and_goes_on"),
    (StopsForGood, "test_an_interrupted_move_keeps_the_data_and_goes_on"),
    (RemovesAnyDisk, "test_a_disk_with_data_and_the_last_one_stay"),
    (HidesMissingDisks, "test_a_missing_disk_is_shown_and_forgotten_only_where_nothing_is_lost"),
    (CountsMissingRoom, "test_a_missing_disk_is_shown_and_forgotten_only_where_nothing_is_lost"),
    (ForgetsWhateverIsGone, "test_a_missing_disk_with_data_is_not_forgotten"),
    (UnmountsToRename, "test_a_pool_is_renamed_under_its_users"),
    (RenamesOnce, "test_a_pool_is_renamed_under_its_users"),
    (MergesByName, "test_a_pool_takes_no_name_that_is_taken_or_bad"),
    (FindsOnlyItsOwn, "test_what_others_made_is_found_and_imported"),
    (TakesThemAllForItsOwn, "test_what_others_made_is_found_and_imported"),
    (ImportsOverAnother, "test_what_cannot_be_imported_is_left_alone"),
    (ImportsHalves, "test_a_pool_with_missing_disks_is_not_imported"),
    (AsksInWords, "test_a_disk_answers_of_its_health_or_is_said_to_be_silent"),
    (InventsAnswers, "test_a_disk_answers_of_its_health_or_is_said_to_be_silent"),
    (MakesThinPoolsAgain, "test_a_thin_pool_is_made_once_and_counted"),
    (HidesThinMetadata, "test_a_thin_pool_is_made_once_and_counted"),
    (PromisesThinPoolsAnyRoom, "test_a_thin_pool_without_room_is_refused"),
    (MakesThickOnes, "test_a_thin_volume_takes_nothing_until_it_is_written"),
    (DropsThinVolumes, "test_a_thin_volume_takes_nothing_until_it_is_written"),
    (ShrinksThinPools, "test_a_thin_pool_and_its_volumes_grow"),
]

SENTENCES = sorted(name for name in vars(PoolContract) if name.startswith("test_"))


@pytest.mark.parametrize(("fault", "sentence"), FAULTY, ids=[f"{fault.__name__}-{name}" for fault, name in FAULTY])
async def test_the_kit_rejects_a_fault(fault: type[MemoryVolumes], sentence: str, tmp_path: Path) -> None:
    await judge(PoolContract(), MemoryBench(MemoryVolumes, tmp_path / "good"), sentence)
    with rejected():
        await judge(PoolContract(), MemoryBench(fault, tmp_path / "faulty"), sentence)


def test_every_sentence_of_the_kit_rejects_some_fault() -> None:
    assert set(SENTENCES) == {sentence for _, sentence in FAULTY}
