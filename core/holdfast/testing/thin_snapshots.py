"""The kit of thin snapshots: a plugin's tests subclass it and give it the bench of the volume kit."""

# The names of the tests are the sentences of the contract.
# ruff: noqa: D102

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.errors import BusyError, ConflictError, InvalidError, NotFoundError
from holdfast.hooks.base import Can
from holdfast.hooks.pools import Pool
from holdfast.hooks.volume import SnapshotSpec
from holdfast.testing.pools import THIN_BYTES, need, thin
from holdfast.testing.volume import MIB, RESERVE_BYTES, VolumeBench, block, copy_of, make_pool, nas

FILES_BYTES = 192 * MIB
"""Of a thin pool with a file system in it, and room for what is written."""


def thin_copy_of(volume: str = "v0", name: str = "s0") -> SnapshotSpec:
    """A thin snapshot as asked for."""
    return SnapshotSpec("kit", volume, name, None)


async def mounted(bench: VolumeBench) -> Path:
    """A new thin NAS volume with a file, mounted."""
    need(bench, Can.VOLUME_THIN, Can.VOLUME_SNAPSHOT, Can.VOLUME_NAS)
    await bench.driver.create_thin_pool("kit", FILES_BYTES)
    made = await bench.driver.create_volume(replace(nas(), is_thin=True))
    place = bench.directory / "now"
    await bench.driver.mount(made.device, str(place))
    bench.write(place / "file", b"then")
    return place


async def shown(bench: VolumeBench, device: str) -> bytes:
    """What the file holds on a device, mounted for a moment."""
    place = bench.directory / "past"
    await bench.driver.mount(device, str(place), read_only=True)
    try:
        return (place / "file").read_bytes()
    finally:
        await bench.driver.unmount(str(place))


class ThinSnapshotContract:
    """What every volume driver must do that declares thin volumes and snapshots."""

    @pytest.fixture
    def bench(self) -> VolumeBench:
        """Override this."""
        raise AssertionError("a contract is run by a subclass that gives the bench")

    @pytest.fixture
    async def pool(self, bench: VolumeBench) -> Pool:
        """A pool named `kit` on the first disk."""
        return await make_pool(bench)

    async def test_a_snapshot_of_a_thin_volume_is_thin_and_takes_nothing_of_the_pool(
        self, bench: VolumeBench, pool: Pool
    ) -> None:
        need(bench, Can.VOLUME_THIN, Can.VOLUME_SNAPSHOT)
        await bench.driver.create_thin_pool("kit", THIN_BYTES)
        volume = await bench.driver.create_volume(thin())
        await bench.driver.create_volume(block())
        before = await bench.driver.get_pool("kit")
        for wrong in (copy_of("t0"), thin_copy_of("v0")):
            with pytest.raises(InvalidError):
                await bench.driver.create_snapshot(wrong)
        assert await bench.driver.list_snapshots() == ()
        made = await bench.driver.create_snapshot(thin_copy_of("t0"))
        assert (made.is_thin, made.reserve_bytes, made.used_percent, made.is_overflown) == (True, 0, None, False)
        assert await bench.driver.create_snapshot(thin_copy_of("t0")) == made
        assert await bench.driver.list_snapshots("kit") == (made,)
        assert await bench.driver.get_volume("kit", "t0") == volume
        assert [found.name for found in await bench.driver.list_volumes("kit")] == ["t0", "v0"]
        after = await bench.driver.get_pool("kit")
        assert (after.free_bytes, after.reserves) == (before.free_bytes, before.reserves)
        if Can.SNAPSHOT_GROW in bench.driver.can:
            with pytest.raises(InvalidError):
                await bench.driver.grow_snapshot("kit", "t0", "s0", RESERVE_BYTES)
        with pytest.raises(BusyError, match="s0"):
            await bench.driver.delete_volume("kit", "t0")
        for _ in range(2):
            await bench.driver.delete_snapshot("kit", "t0", "s0")
        await bench.driver.delete_volume("kit", "t0")
        assert await bench.driver.list_snapshots() == ()

    async def test_a_thin_snapshot_shows_the_past_and_is_promised_what_it_holds(
        self, bench: VolumeBench, pool: Pool
    ) -> None:
        place = await mounted(bench)
        bench.write(place / "more", bytes(range(256)) * 4096)
        made = await bench.driver.create_snapshot(thin_copy_of())
        volume = await bench.driver.get_volume("kit", "v0")
        thin_pool = (await bench.driver.get_pool("kit")).thin
        assert made.used_bytes is not None
        assert made.used_bytes >= MIB
        assert thin_pool is not None
        assert thin_pool.promised_bytes == volume.size_bytes + made.used_bytes
        bench.write(place / "file", b"now!")
        assert await shown(bench, made.device) == b"then"
        assert (place / "file").read_bytes() == b"now!"
        await bench.driver.unmount(str(place))
        await bench.reboot()
        await bench.driver.activate_pool("kit")
        assert await shown(bench, made.device) == b"then"

    async def test_after_a_rollback_to_a_thin_snapshot_all_are_there_and_show_the_same(
        self, bench: VolumeBench, pool: Pool
    ) -> None:
        need(bench, Can.SNAPSHOT_ROLL_BACK)
        place = await mounted(bench)
        made = await bench.driver.create_snapshot(thin_copy_of())
        bench.write(place / "file", b"now!")
        with pytest.raises(BusyError):
            await bench.driver.roll_back("kit", "v0", "s0")
        later = await bench.driver.create_snapshot(thin_copy_of(name="later"))
        await bench.driver.unmount(str(place))
        before = await bench.driver.get_volume("kit", "v0")
        for _ in range(2):
            await bench.driver.roll_back("kit", "v0", "s0")
            found = await bench.driver.list_snapshots("kit")
            assert [(s.volume, s.name, s.is_thin) for s in found] == [("v0", "later", True), ("v0", "s0", True)]
            volume = await bench.driver.get_volume("kit", "v0")
            assert (volume.is_active, volume.size_bytes, volume.kind) == (True, before.size_bytes, before.kind)
            assert await bench.driver.list_volumes() == (volume,)
            assert await shown(bench, volume.device) == b"then"
        await bench.driver.mount(volume.device, str(place))
        bench.write(place / "file", b"more")
        assert (await shown(bench, made.device), await shown(bench, later.device)) == (b"then", b"now!")
        await bench.driver.unmount(str(place))
        with pytest.raises(BusyError, match="later"):
            await bench.driver.delete_volume("kit", "v0")
        await bench.driver.roll_back("kit", "v0", "later")
        assert await shown(bench, volume.device) == b"now!"

    async def test_a_volume_made_of_a_thin_snapshot_is_its_own(self, bench: VolumeBench, pool: Pool) -> None:
        need(bench, Can.SNAPSHOT_COPY)
        place = await mounted(bench)
        await bench.driver.create_snapshot(thin_copy_of())
        bench.write(place / "file", b"now!")
        origin = await bench.driver.get_volume("kit", "v0")
        for _ in range(2):
            await bench.driver.branch_snapshot("kit", "v0", "s0", "clone")
        clone = await bench.driver.get_volume("kit", "clone")
        assert (clone.is_thin, clone.is_active, clone.kind) == (True, True, origin.kind)
        assert (clone.size_bytes, clone.file_system) == (origin.size_bytes, origin.file_system)
        await bench.driver.delete_snapshot("kit", "v0", "s0")
        assert await shown(bench, clone.device) == b"then"
        copy = bench.directory / "clone"
        await bench.driver.mount(clone.device, str(copy))
        bench.write(copy / "file", b"mine")
        assert (place / "file").read_bytes() == b"now!"
        await bench.driver.unmount(str(copy))
        await bench.driver.create_snapshot(thin_copy_of())
        await bench.driver.create_volume(block("thick"))
        await bench.driver.create_snapshot(copy_of("thick"))
        with pytest.raises(ConflictError):
            await bench.driver.branch_snapshot("kit", "v0", "s0", "thick")
        with pytest.raises(InvalidError):
            await bench.driver.branch_snapshot("kit", "thick", "s0", "other")
        with pytest.raises(NotFoundError):
            await bench.driver.branch_snapshot("kit", "v0", "absent", "other")
        assert [volume.name for volume in await bench.driver.list_volumes()] == ["clone", "thick", "v0"]
