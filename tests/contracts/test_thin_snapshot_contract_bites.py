"""The kit of thin snapshots accepts the reference driver and rejects drivers with one fault each."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.errors import ConflictError
from holdfast.hooks.pools import Pool
from holdfast.hooks.volume import Snapshot, SnapshotSpec
from holdfast.testing.memory_volume import MemoryVolumes
from holdfast.testing.thin_snapshots import ThinSnapshotContract
from holdfast.testing.volume import RESERVE_BYTES
from tests.contracts.test_volume_contract_bites import (
    MemoryBench,
    RollsNothingBack,
    RollsOtherSnapshotsBackToo,
    ShowsThePresent,
    UsesTheSnapshotUp,
    judge,
    rejected,
)


class TestMemoryThinSnapshots(ThinSnapshotContract):
    """The reference driver keeps the contract."""

    @pytest.fixture
    def bench(self, tmp_path: Path) -> MemoryBench:
        return MemoryBench(MemoryVolumes, tmp_path)


class GivesThinOnesAReserve(MemoryVolumes):
    async def create_snapshot(self, spec: SnapshotSpec) -> Snapshot:
        made = replace(await super().create_snapshot(spec), reserve_bytes=RESERVE_BYTES, used_percent=0.0)
        self.snapshots[spec.pool, spec.volume, spec.name] = made
        return made


class TakesAnyReserve(MemoryVolumes):
    async def create_snapshot(self, spec: SnapshotSpec) -> Snapshot:
        volume = await self.get_volume(spec.pool, spec.volume)
        return await super().create_snapshot(replace(spec, reserve_bytes=None if volume.is_thin else RESERVE_BYTES))


class ThinsOutWithTheVolume(MemoryVolumes):
    async def delete_volume(self, pool: str, name: str) -> None:
        self.snapshots = {key: found for key, found in self.snapshots.items() if key[:2] != (pool, name)}
        await super().delete_volume(pool, name)


class PromisesSnapshotsNothing(MemoryVolumes):
    def _pool(self, name: str) -> Pool:
        pool = super()._pool(name)
        promised = sum(volume.size_bytes for volume in self.volumes.values() if volume.is_thin)
        return replace(pool, thin=replace(pool.thin, promised_bytes=promised) if pool.thin else None)


class LeavesSnapshotsOut(MemoryVolumes):
    async def activate_pool(self, name: str) -> None:
        await super().activate_pool(name)
        self.active -= {snapshot.device for snapshot in self.snapshots.values()}


class BranchesThePresent(MemoryVolumes):
    async def branch_snapshot(self, pool: str, volume: str, name: str, into: str) -> None:
        await super().branch_snapshot(pool, volume, name, into)
        present, copy = (self._files(self.volumes[pool, each].device) for each in (volume, into))
        shutil.rmtree(copy)
        shutil.copytree(present, copy)


class BranchesOnce(MemoryVolumes):
    async def branch_snapshot(self, pool: str, volume: str, name: str, into: str) -> None:
        if (pool, into) in self.volumes:
            raise ConflictError(f"there is a volume {into}")
        await super().branch_snapshot(pool, volume, name, into)


class BranchesOverAnything(MemoryVolumes):
    async def branch_snapshot(self, pool: str, volume: str, name: str, into: str) -> None:
        if (pool, into) not in self.volumes:
            await super().branch_snapshot(pool, volume, name, into)


FAULTY: list[tuple[type[MemoryVolumes], str]] = [
    (GivesThinOnesAReserve, "test_a_snapshot_of_a_thin_volume_is_thin_and_takes_nothing_of_the_pool"),
    (TakesAnyReserve, "test_a_snapshot_of_a_thin_volume_is_thin_and_takes_nothing_of_the_pool"),
    (ThinsOutWithTheVolume, "test_a_snapshot_of_a_thin_volume_is_thin_and_takes_nothing_of_the_pool"),
    (PromisesSnapshotsNothing, "test_a_thin_snapshot_shows_the_past_and_is_promised_what_it_holds"),
    (ShowsThePresent, "test_a_thin_snapshot_shows_the_past_and_is_promised_what_it_holds"),
    (LeavesSnapshotsOut, "test_a_thin_snapshot_shows_the_past_and_is_promised_what_it_holds"),
    (RollsNothingBack, "test_after_a_rollback_to_a_thin_snapshot_all_are_there_and_show_the_same"),
    (UsesTheSnapshotUp, "test_after_a_rollback_to_a_thin_snapshot_all_are_there_and_show_the_same"),
    (RollsOtherSnapshotsBackToo, "test_after_a_rollback_to_a_thin_snapshot_all_are_there_and_show_the_same"),
    (BranchesThePresent, "test_a_volume_made_of_a_thin_snapshot_is_its_own"),
    (BranchesOnce, "test_a_volume_made_of_a_thin_snapshot_is_its_own"),
    (BranchesOverAnything, "test_a_volume_made_of_a_thin_snapshot_is_its_own"),
]

SENTENCES = sorted(name for name in vars(ThinSnapshotContract) if name.startswith("test_"))


@pytest.mark.parametrize(("fault", "sentence"), FAULTY, ids=[f"{fault.__name__}-{name}" for fault, name in FAULTY])
async def test_the_kit_rejects_a_fault(fault: type[MemoryVolumes], sentence: str, tmp_path: Path) -> None:
    await judge(ThinSnapshotContract(), MemoryBench(MemoryVolumes, tmp_path / "good"), sentence)
    with rejected():
        await judge(ThinSnapshotContract(), MemoryBench(fault, tmp_path / "faulty"), sentence)


def test_every_sentence_of_the_kit_rejects_some_fault() -> None:
    assert set(SENTENCES) == {sentence for _, sentence in FAULTY}
