"""The kit of what may be done to a pool: a plugin's tests subclass it and give it the bench of the volume kit."""

# The names of the tests are the sentences of the contract.
# ruff: noqa: D102

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest

from holdfast.errors import BusyError, ConflictError, InvalidError, NoSpaceError, NotFoundError, UnavailableError
from holdfast.hooks.base import Can
from holdfast.hooks.pools import Pool, PoolDisk
from holdfast.hooks.volume import VolumeKind, VolumeSpec
from holdfast.testing.volume import BAD_NAMES, BLOCK_BYTES, MIB, VolumeBench, block, make_pool, nas

THIN_BYTES = 64 * MIB
PROMISED_BYTES = 96 * MIB


class Heard:
    """Listens to how far something is."""

    def __init__(self) -> None:
        self.percents: list[float] = []

    async def __call__(self, percent: float) -> None:
        """See Told."""
        self.percents.append(percent)


def thin(name: str = "t0", size_bytes: int = PROMISED_BYTES) -> VolumeSpec:
    """A thin volume as asked for."""
    return VolumeSpec("kit", name, size_bytes, VolumeKind.ISCSI, is_thin=True)


async def extended(bench: VolumeBench) -> Pool:
    """The pool `kit` on both disks."""
    return await bench.driver.extend_pool("kit", bench.disks[1:], overwrite={})


def member(pool: Pool, path: str | None) -> PoolDisk:
    """A disk of a pool; None is the one that is missing."""
    (found,) = (disk for disk in pool.members if disk.path == path)
    return found


def need(bench: VolumeBench, *words: Can) -> None:
    """Leave out what the driver does not declare."""
    if not set(words) <= bench.driver.can:
        pytest.skip(f"the driver does not declare {', '.join(words)}")


class PoolContract:
    """What every volume driver must do that declares one of the pool's abilities."""

    @pytest.fixture
    def bench(self) -> VolumeBench:
        """Override this."""
        raise AssertionError("a contract is run by a subclass that gives the bench")

    @pytest.fixture
    async def pool(self, bench: VolumeBench) -> Pool:
        """A pool named `kit` on the first disk."""
        return await make_pool(bench)

    # --- disks ---

    async def test_a_pool_is_extended_by_a_blank_disk_once(self, bench: VolumeBench, pool: Pool) -> None:
        need(bench, Can.POOL_DISKS)
        seen = await extended(bench)
        assert set(seen.disks) == set(bench.disks)
        assert seen.size_bytes > pool.size_bytes
        assert seen.free_bytes > pool.free_bytes
        assert await extended(bench) == seen == await bench.driver.get_pool("kit")
        assert {disk.path for disk in seen.members} == set(bench.disks)
        assert sum(disk.size_bytes for disk in seen.members) == seen.size_bytes
        assert sum(disk.free_bytes for disk in seen.members) == seen.free_bytes
        assert {disk.used_bytes for disk in seen.members} == {0}
        assert len({disk.id for disk in seen.members}) == 2

    async def test_a_disk_that_carries_something_extends_no_pool_unasked(self, bench: VolumeBench, pool: Pool) -> None:
        need(bench, Can.POOL_DISKS)
        signature = await bench.sign(bench.disks[1])
        with pytest.raises(ConflictError) as caught:
            await extended(bench)
        assert signature in caught.value.message
        assert await bench.signatures(bench.disks[1]) == (signature,)
        assert await bench.driver.get_pool("kit") == pool
        overwrite = {bench.disks[1]: (signature,)}
        seen = await bench.driver.extend_pool("kit", bench.disks[1:], overwrite=overwrite)
        assert set(seen.disks) == set(bench.disks)

    async def test_a_disk_of_another_pool_or_none_extends_no_pool(self, bench: VolumeBench, pool: Pool) -> None:
        need(bench, Can.POOL_DISKS)
        await bench.driver.create_pool("other", bench.disks[1:], overwrite={})
        with pytest.raises(BusyError, match="other"):
            await extended(bench)
        with pytest.raises(NotFoundError):
            await bench.driver.extend_pool("kit", ("/dev/no-such-disk",), overwrite={})
        with pytest.raises(NotFoundError):
            await bench.driver.extend_pool("absent", bench.disks[1:], overwrite={})
        assert await bench.driver.get_pool("kit") == pool

    async def test_data_is_moved_off_a_disk_under_its_user(self, bench: VolumeBench) -> None:
        need(bench, Can.POOL_DISKS, Can.VOLUME_NAS)
        small, large = bench.disks[1], bench.disks[0]
        free_bytes = (await bench.driver.create_pool("kit", (small,), overwrite={})).free_bytes
        made = await bench.driver.create_volume(block(size_bytes=2 * BLOCK_BYTES))
        signature = await bench.sign(made.device)
        await bench.driver.extend_pool("kit", (large,), overwrite={})
        assert member(await bench.driver.get_pool("kit"), small).free_bytes == free_bytes - made.size_bytes
        assert member(await bench.driver.get_pool("kit"), small).used_bytes == made.size_bytes
        heard = Heard()
        with bench.hold(made.device):
            await bench.driver.move_off("kit", small, heard)
        left = member(await bench.driver.get_pool("kit"), small)
        assert left.is_leaving
        assert heard.percents
        assert all(0 <= percent <= 100 for percent in heard.percents)
        assert await bench.signatures(made.device) == (signature,)
        await bench.driver.move_off("kit", small, heard)
        seen = await bench.driver.remove_disk("kit", small)
        assert seen.disks == (large,)
        assert await bench.driver.remove_disk("kit", small) == seen
        assert await bench.signatures(small) == ()
        assert await bench.signatures(made.device) == (signature,)
        assert await bench.driver.get_volume("kit", "v0") == made

    async def test_a_disk_that_leaves_gets_nothing_new_until_it_stays(self, bench: VolumeBench, pool: Pool) -> None:
        need(bench, Can.POOL_DISKS)
        whole = await extended(bench)
        small = bench.disks[1]
        await bench.driver.move_off("kit", small, Heard())
        seen = await bench.driver.get_pool("kit")
        assert seen.free_bytes == whole.free_bytes - member(whole, small).free_bytes
        own = seen.reserves
        reserved = own.snapshots_bytes + own.replication_metadata_bytes + own.system_bytes + own.thin_metadata_bytes
        assert seen.free_bytes + reserved == seen.size_bytes
        with pytest.raises(NoSpaceError):
            await bench.driver.create_volume(block(size_bytes=seen.free_bytes + seen.extent_bytes))
        for _ in range(2):
            await bench.driver.stop_moving_off("kit", small)
            assert await bench.driver.get_pool("kit") == whole
        await bench.driver.stop_moving_off("kit", "/dev/no-such-disk")

    async def test_data_stays_where_the_other_disks_have_no_room(self, bench: VolumeBench, pool: Pool) -> None:
        need(bench, Can.POOL_DISKS)
        await bench.driver.create_volume(block(size_bytes=pool.free_bytes - 4 * pool.extent_bytes))
        second_bytes = member(await extended(bench), bench.disks[1]).free_bytes
        await bench.driver.create_volume(block("v1", second_bytes))
        whole = await bench.driver.get_pool("kit")
        with pytest.raises(NoSpaceError):
            await bench.driver.move_off("kit", bench.disks[0], Heard())
        assert await bench.driver.get_pool("kit") == whole
        with pytest.raises(NotFoundError):
            await bench.driver.move_off("kit", "/dev/no-such-disk", Heard())

    async def test_an_interrupted_move_keeps_the_data_and_goes_on(self, bench: VolumeBench) -> None:
        need(bench, Can.POOL_DISKS)
        small, large = bench.disks[1], bench.disks[0]
        await bench.driver.create_pool("kit", (small,), overwrite={})
        made = await bench.driver.create_volume(block(size_bytes=4 * BLOCK_BYTES))
        signature = await bench.sign(made.device)
        await bench.driver.extend_pool("kit", (large,), overwrite={})
        for is_stopped in (False, True):
            begun = asyncio.Event()

            async def told(percent: float, begun: asyncio.Event = begun) -> None:
                begun.set()
                await asyncio.sleep(60)

            moving = asyncio.create_task(bench.driver.move_off("kit", small, told))
            await asyncio.wait_for(begun.wait(), 20)
            moving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await moving
            if is_stopped:
                await bench.driver.stop_moving_off("kit", small)
                assert not member(await bench.driver.get_pool("kit"), small).is_leaving
            assert await bench.signatures(made.device) == (signature,)
        await bench.driver.move_off("kit", small, Heard())
        assert (await bench.driver.remove_disk("kit", small)).disks == (large,)
        assert await bench.signatures(made.device) == (signature,)

    async def test_a_disk_with_data_and_the_last_one_stay(self, bench: VolumeBench, pool: Pool) -> None:
        need(bench, Can.POOL_DISKS)
        with pytest.raises(BusyError):
            await bench.driver.remove_disk("kit", bench.disks[0])
        await bench.driver.create_volume(block())
        whole = await extended(bench)
        with pytest.raises(BusyError):
            await bench.driver.remove_disk("kit", bench.disks[0])
        assert await bench.driver.get_pool("kit") == whole

    async def test_a_missing_disk_is_shown_and_forgotten_only_where_nothing_is_lost(
        self, bench: VolumeBench, pool: Pool
    ) -> None:
        need(bench, Can.POOL_DISKS)
        made = await bench.driver.create_volume(block())
        whole = await extended(bench)
        small = bench.disks[1]
        assert await bench.driver.forget_missing("kit") == whole
        await bench.lose(small)
        seen = await bench.driver.get_pool("kit")
        assert (seen.disks, member(seen, None).is_missing) == (pool.disks, True)
        assert member(seen, None).id == member(whole, small).id
        assert seen.free_bytes == member(whole, bench.disks[0]).free_bytes
        seen = await bench.driver.forget_missing("kit")
        assert [disk.path for disk in seen.members] == [bench.disks[0]]
        assert (await bench.driver.get_volume("kit", "v0")).uuid == made.uuid
        await bench.bring_back(small)

    async def test_a_missing_disk_with_data_is_not_forgotten(self, bench: VolumeBench) -> None:
        need(bench, Can.POOL_DISKS)
        small, large = bench.disks[1], bench.disks[0]
        await bench.driver.create_pool("kit", (small,), overwrite={})
        await bench.driver.create_volume(block())
        await bench.driver.extend_pool("kit", (large,), overwrite={})
        await bench.reboot()
        await bench.lose(small)
        with pytest.raises(BusyError, match="v0"):
            await bench.driver.forget_missing("kit")
        await bench.bring_back(small)
        assert set((await bench.driver.get_pool("kit")).disks) == set(bench.disks)

    # --- names, and pools of others ---

    async def test_a_pool_is_renamed_under_its_users(self, bench: VolumeBench, pool: Pool) -> None:
        need(bench, Can.POOL_RENAME, Can.VOLUME_NAS)
        made = await bench.driver.create_volume(nas())
        place = bench.directory / "renamed"
        await bench.driver.mount(made.device, str(place))
        bench.write(place / "file", b"kept")
        renamed = await bench.driver.rename_pool("kit", "lake")
        assert (renamed.name, renamed.disks) == ("lake", pool.disks)
        assert await bench.driver.rename_pool("kit", "lake") == renamed
        assert [found.name for found in await bench.driver.list_pools()] == ["lake"]
        volume = await bench.driver.get_volume("lake", "v0")
        assert (volume.uuid, volume.is_active) == (made.uuid, True)
        assert await bench.driver.is_mounted(volume.device, str(place))
        assert (place / "file").read_bytes() == b"kept"
        await bench.driver.unmount(str(place))
        await bench.driver.delete_volume("lake", "v0")
        await bench.driver.delete_pool("lake")

    async def test_a_pool_takes_no_name_that_is_taken_or_bad(self, bench: VolumeBench, pool: Pool) -> None:
        need(bench, Can.POOL_RENAME)
        await bench.driver.create_pool("other", bench.disks[1:], overwrite={})
        with pytest.raises(ConflictError):
            await bench.driver.rename_pool("kit", "other")
        with pytest.raises(NotFoundError):
            await bench.driver.rename_pool("absent", "absent-too")
        for name in BAD_NAMES:
            with pytest.raises(InvalidError):
                await bench.driver.rename_pool("kit", name)
        assert [found.name for found in await bench.driver.list_pools()] == ["kit", "other"]

    async def test_what_others_made_is_found_and_imported(self, bench: VolumeBench, pool: Pool) -> None:
        need(bench, Can.POOL_IMPORT)
        made = await bench.make_foreign("theirs", bench.disks[1])
        own, foreign = await bench.driver.list_found_pools()
        assert (own.name, own.is_ours, own.disks) == ("kit", True, pool.disks)
        assert (foreign.id, foreign.name, foreign.is_ours) == (made, "theirs", False)
        assert (foreign.disks, foreign.missing_disks, foreign.contents) == (bench.disks[1:], 0, ("data",))
        assert await bench.driver.list_pools() == (pool,)
        taken = await bench.driver.import_pool(made, "mine")
        assert (taken.name, taken.disks) == ("mine", bench.disks[1:])
        assert await bench.driver.import_pool(made, "mine") == taken
        assert [found.name for found in await bench.driver.list_pools()] == ["kit", "mine"]
        assert {found.is_ours for found in await bench.driver.list_found_pools()} == {True}

    async def test_what_cannot_be_imported_is_left_alone(self, bench: VolumeBench, pool: Pool) -> None:
        need(bench, Can.POOL_IMPORT)
        made = await bench.make_foreign("theirs", bench.disks[1])
        with pytest.raises(NotFoundError):
            await bench.driver.import_pool("no-such-id", "mine")
        with pytest.raises(ConflictError):
            await bench.driver.import_pool(made, "kit")
        for name in BAD_NAMES:
            with pytest.raises(InvalidError):
                await bench.driver.import_pool(made, name)
        assert [found.is_ours for found in await bench.driver.list_found_pools()] == [True, False]

    async def test_a_pool_with_missing_disks_is_not_imported(self, bench: VolumeBench, pool: Pool) -> None:
        need(bench, Can.POOL_IMPORT, Can.POOL_DISKS)
        await extended(bench)
        await bench.lose(bench.disks[1])
        (found,) = await bench.driver.list_found_pools()
        assert found.missing_disks == 1
        with pytest.raises(BusyError):
            await bench.driver.import_pool(found.id, "mine")
        await bench.bring_back(bench.disks[1])
        assert [pool.name for pool in await bench.driver.list_pools()] == ["kit"]

    # --- thin pools ---

    async def test_a_disk_answers_of_its_health_or_is_said_to_be_silent(self, bench: VolumeBench, pool: Pool) -> None:
        need(bench, Can.DISK_HEALTH)
        for disk in bench.disks:
            with contextlib.suppress(UnavailableError):
                assert isinstance(json.loads(await bench.driver.ask_disk(disk)), dict)
        with pytest.raises((NotFoundError, UnavailableError)):
            await bench.driver.ask_disk("/dev/no-such-disk")
        assert await bench.driver.get_pool("kit") == pool

    async def test_a_thin_pool_is_made_once_and_counted(self, bench: VolumeBench, pool: Pool) -> None:
        need(bench, Can.VOLUME_THIN)
        seen = await bench.driver.create_thin_pool("kit", THIN_BYTES)
        assert seen.thin is not None
        assert (seen.thin.size_bytes, seen.thin.promised_bytes, seen.thin.used_bytes) == (THIN_BYTES, 0, 0)
        assert seen.reserves.thin_metadata_bytes >= seen.thin.metadata_bytes > 0
        assert seen.free_bytes == pool.free_bytes - THIN_BYTES - seen.reserves.thin_metadata_bytes
        own = seen.reserves
        reserved = own.snapshots_bytes + own.replication_metadata_bytes + own.system_bytes + own.thin_metadata_bytes
        assert seen.free_bytes + reserved + THIN_BYTES == seen.size_bytes
        assert await bench.driver.create_thin_pool("kit", THIN_BYTES) == seen
        with pytest.raises(ConflictError):
            await bench.driver.create_thin_pool("kit", 2 * THIN_BYTES)
        assert await bench.driver.list_volumes() == ()
        with pytest.raises(BusyError, match="thin"):
            await bench.driver.delete_pool("kit")
        for _ in range(2):
            await bench.driver.delete_thin_pool("kit")
        again = await bench.driver.get_pool("kit")
        assert again.thin is None
        await bench.driver.delete_pool("kit")

    async def test_a_thin_pool_without_room_is_refused(self, bench: VolumeBench, pool: Pool) -> None:
        need(bench, Can.VOLUME_THIN)
        with pytest.raises(NoSpaceError):
            await bench.driver.create_thin_pool("kit", pool.free_bytes)
        with pytest.raises(InvalidError):
            await bench.driver.create_thin_pool("kit", 0)
        with pytest.raises(NotFoundError):
            await bench.driver.create_thin_pool("absent", THIN_BYTES)
        assert await bench.driver.get_pool("kit") == pool

    async def test_a_thin_volume_takes_nothing_until_it_is_written(self, bench: VolumeBench, pool: Pool) -> None:
        need(bench, Can.VOLUME_THIN)
        with pytest.raises(NotFoundError):
            await bench.driver.create_volume(thin())
        before = await bench.driver.create_thin_pool("kit", THIN_BYTES)
        made = await bench.driver.create_volume(thin())
        assert (made.is_thin, made.size_bytes, made.used_bytes, made.is_active) == (True, PROMISED_BYTES, 0, True)
        thick = await bench.driver.create_volume(block())
        assert (thick.is_thin, thick.used_bytes) == (False, BLOCK_BYTES)
        seen = await bench.driver.get_pool("kit")
        assert seen.free_bytes == before.free_bytes - BLOCK_BYTES
        assert seen.thin is not None
        assert seen.thin.promised_bytes == PROMISED_BYTES
        assert await bench.driver.create_volume(thin()) == made
        with pytest.raises(ConflictError):
            await bench.driver.create_volume(block("t0", PROMISED_BYTES))
        with pytest.raises(BusyError, match="t0"):
            await bench.driver.delete_thin_pool("kit")
        await bench.driver.delete_volume("kit", "t0")
        await bench.driver.delete_thin_pool("kit")

    async def test_a_thin_pool_and_its_volumes_grow(self, bench: VolumeBench, pool: Pool) -> None:
        need(bench, Can.VOLUME_THIN, Can.VOLUME_GROW)
        with pytest.raises(NotFoundError):
            await bench.driver.grow_thin_pool("kit", size_bytes=THIN_BYTES, metadata_bytes=None)
        before = (await bench.driver.create_thin_pool("kit", THIN_BYTES)).thin
        assert before is not None
        await bench.driver.create_volume(thin())
        grown = await bench.driver.grow_volume("kit", "t0", 2 * pool.size_bytes)
        assert (grown.size_bytes >= 2 * pool.size_bytes, grown.is_thin) == (True, True)
        wanted = before.metadata_bytes + 8 * MIB
        for _ in range(2):
            seen = await bench.driver.grow_thin_pool("kit", size_bytes=2 * THIN_BYTES, metadata_bytes=wanted)
            assert seen.thin is not None
            assert (seen.thin.size_bytes, seen.thin.metadata_bytes) == (2 * THIN_BYTES, wanted)
        assert await bench.driver.grow_thin_pool("kit", size_bytes=THIN_BYTES, metadata_bytes=None) == seen
        with pytest.raises(NoSpaceError):
            await bench.driver.grow_thin_pool("kit", size_bytes=pool.size_bytes, metadata_bytes=None)
        assert await bench.driver.get_pool("kit") == seen
