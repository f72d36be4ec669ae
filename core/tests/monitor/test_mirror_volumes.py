"""A mirror whose volumes change while its group runs: what counts, what is promoted, and what is let go."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast.errors import NotFoundError, RefusedError
from holdfast.hooks.replication import DiskState, Role
from holdfast.loading.judging import Loaded
from holdfast.monitor.resources import Mirror, MirrorPart
from holdfast.services.drivers import Drivers
from holdfast.testing.memory_mirror import MemoryMirrors
from holdfast.testing.memory_mirror_bed import MemoryMirrorBed
from holdfast.testing.mirror import BLOCK, pattern


class Changing:
    """A mirror in sync, and the plan of node a, which may change."""

    def __init__(self) -> None:
        self.bed = MemoryMirrorBed()
        self.part: MirrorPart | None = MirrorPart(self.bed.specs["a"])
        self.mirror = Mirror("m0", self._plan, self.driver("a"), Drivers(Loaded((), {})))

    def _plan(self, name: str) -> MirrorPart:
        if self.part is None:
            raise NotFoundError(name)
        return self.part

    def driver(self, node: str) -> MemoryMirrors:
        return self.bed.driver(node)

    async def bring_up(self) -> None:
        for node in ("a", "b"):
            await self.driver(node).create_metadata(self.bed.specs[node])
            await self.driver(node).connect(self.bed.specs[node])
        await self.driver("a").skip_first_sync("m0")
        await self.bed.make_second()

    async def add(self, *nodes: str) -> None:
        """Have the kernels of these nodes take in the second volume, which was never equal."""
        for node in nodes:
            spec = replace(self.bed.specs[node], volumes=(*self.bed.specs[node].volumes, self.bed.second[node]))
            await self.driver(node).create_metadata(spec)
            await self.driver(node).attach(spec)

    def plan_second(self) -> None:
        spec = self.bed.specs["a"]
        self.part = MirrorPart(replace(spec, volumes=(*spec.volumes, self.bed.second["a"])))


@pytest.fixture
async def changing() -> Changing:
    made = Changing()
    await made.bring_up()
    return made


async def test_a_volume_that_the_plan_does_not_have_yet_takes_nothing_from_the_others(changing: Changing) -> None:
    await changing.add("a", "b")
    assert not (await changing.driver("a").status("m0")).is_in_sync
    assert (await changing.mirror.status()).is_in_sync
    await changing.mirror.activate()
    await changing.driver("a").write("m0", 0, pattern(1))
    with pytest.raises(OSError, match="Secondary"):
        await changing.driver("a").write("m0", 0, pattern(1), number=1)


async def test_one_that_the_plan_has_and_that_is_not_complete_is_not_served_and_no_other_is(changing: Changing) -> None:
    await changing.add("a", "b")
    changing.plan_second()
    assert not (await changing.mirror.status()).is_in_sync
    with pytest.raises(RefusedError):
        await changing.mirror.activate()
    assert (await changing.mirror.status()).role is Role.SECONDARY


async def test_one_that_the_plan_has_and_the_kernel_has_not_is_not_served_and_no_other_is(changing: Changing) -> None:
    changing.plan_second()
    assert [volume.disk for volume in (await changing.mirror.status()).volumes][1] is DiskState.DISKLESS
    with pytest.raises(RefusedError):
        await changing.mirror.activate()
    assert (await changing.mirror.status()).role is Role.SECONDARY


async def test_what_the_plan_gains_is_taken_up_where_it_is_served_and_once(changing: Changing) -> None:
    await changing.mirror.activate()
    for driver in (changing.driver("a"), changing.driver("b")):
        second = changing.bed.second["a"]
        media = driver.node.media[second.device]
        media.create_metadata()
        media.disk, media.current, media.dirty = DiskState.UP_TO_DATE, 7, set()
    await changing.add("b", "a")
    await changing.mirror.take_up()
    with pytest.raises(OSError, match="Secondary"):
        await changing.driver("a").write("m0", 0, pattern(1), number=1)
    changing.plan_second()
    await changing.mirror.take_up()
    await changing.driver("a").write("m0", BLOCK, pattern(1), number=1)
    await changing.mirror.deactivate()
    assert (await changing.mirror.status()).role is Role.SECONDARY


async def test_a_mirror_that_the_plan_has_no_more_is_let_go_as_it_was(changing: Changing) -> None:
    await changing.mirror.activate()
    changing.part = None
    await changing.mirror.deactivate()
    assert (await changing.mirror.status()).role is Role.SECONDARY
