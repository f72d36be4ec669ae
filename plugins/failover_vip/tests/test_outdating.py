"""Being asked to be stale: what is known is looked at again once nothing else is under way."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from holdfast.hooks.failover import GroupPlan, GroupStack, GroupState, MirrorResource
from holdfast.hooks.replication import ConnectionState, DiskState, FenceAnswer, MirrorStatus, Role
from holdfast.testing.memory_mirror_bed import MemoryMirrorBed
from holdfast.testing.mirror import RecordingArbiter, eventually, serving
from holdfast_failover_vip import actions as do
from holdfast_failover_vip.address import VirtualAddresses
from holdfast_failover_vip.epoch import EpochFile
from holdfast_failover_vip.facts import FenceSay, NodeFacts, Record, Verdict
from holdfast_failover_vip.group import Group
from holdfast_failover_vip.surroundings import Surroundings
from holdfast_failover_vip.timers import Timers

PLAN = GroupPlan("g", 1, "m0", (), (), preferred="a", is_started=True)


class Side(MirrorResource):
    """One side of the mirror in memory."""

    def __init__(self, bed: MemoryMirrorBed, node: str) -> None:
        self.name, self._bed, self._node = "m0", bed, node

    async def prepare(self) -> None:
        await self._bed.driver(self._node).attach(self._bed.specs[self._node])

    async def connect(self) -> None:
        await self._bed.driver(self._node).connect(self._bed.specs[self._node])

    async def activate(self) -> None:
        await self._bed.driver(self._node).promote(self.name)

    async def deactivate(self) -> None:
        await self._bed.driver(self._node).demote(self.name)

    async def is_active(self) -> bool:
        return (await self.status()).role is Role.PRIMARY

    async def leave_peer(self) -> None:
        await self._bed.driver(self._node).disconnect(self.name, force=True)

    async def outdate(self) -> bool:
        return await self._bed.driver(self._node).outdate(self.name) is DiskState.OUTDATED

    async def status(self) -> MirrorStatus:
        return await self._bed.driver(self._node).status(self.name)


@pytest.fixture
async def bed() -> MemoryMirrorBed:
    """In sync, node a Primary."""
    made = MemoryMirrorBed()
    for node in ("a", "b"):
        await made.driver(node).create_metadata(made.specs[node])
        await made.driver(node).connect(made.specs[node])
    await eventually(made.driver("a"), "m0", lambda s: s.connection is ConnectionState.CONNECTED, made.within_s)
    await made.driver("a").skip_first_sync("m0")
    await made.driver("a").promote("m0")
    return made


def standby(bed: MemoryMirrorBed, path: Path, record: Record) -> Group:
    """The group on node b, which has not read its mirror yet."""
    file = EpochFile(path / "g.epoch")
    file.load()
    file.write(record)

    async def reboot() -> None:
        raise AssertionError("it restarts itself")

    around = Surroundings(
        node="b",
        partner="a",
        timers=Timers(),
        boot_s=lambda: 0.0,
        wall=lambda: "",
        net=NodeFacts,
        in_maintenance=lambda: (),
        link_silent_ms=lambda _link: None,
        is_punctual=lambda: True,
        wake=lambda: None,
        tell=lambda _decision: None,
        reboot=reboot,
        ask_fence=lambda _mirror, _epoch: None,
        offer=lambda _group, _epoch, _revision: None,
        refuse_offer=lambda _group, _epoch, _reason: None,
    )
    group = Group(GroupStack(PLAN, Side(bed, "b"), ()), VirtualAddresses(()), file, around)
    group.state = GroupState.STANDBY_NOT
    return group


async def disk_of(bed: MemoryMirrorBed) -> DiskState:
    return (await bed.driver("b").status("m0")).volumes[0].disk


async def test_a_standby_declares_its_data_stale(bed: MemoryMirrorBed, tmp_path: Path) -> None:
    group = standby(bed, tmp_path, Record(5, 0, "a"))
    assert await group.outdate_for_partner(5) == FenceSay(Verdict.OUTDATED, 0)
    assert await disk_of(bed) is DiskState.OUTDATED


async def test_one_that_its_kernel_has_promoted_meanwhile_stays_what_it_is(
    bed: MemoryMirrorBed, tmp_path: Path
) -> None:
    group = standby(bed, tmp_path, Record(6, 0, "a"))
    await bed.driver("b").disconnect("m0", force=True)
    async with serving(bed.driver("b"), RecordingArbiter(FenceAnswer.PEER_UNREACHABLE)):
        await bed.driver("b").promote("m0")
    await bed.driver("b").demote("m0")
    assert await group.outdate_for_partner(5) == FenceSay(Verdict.NEWER, 6)
    assert await disk_of(bed) is DiskState.UP_TO_DATE


async def test_a_question_that_waited_for_a_takeover_hears_what_came_of_it(
    bed: MemoryMirrorBed, tmp_path: Path
) -> None:
    group = standby(bed, tmp_path, Record(6, 0, "a"))
    async with group._lock:
        asked = asyncio.ensure_future(group.outdate_for_partner(5))
        await asyncio.sleep(0)
        group.record = Record(6, 6, "b")
    assert await asked == FenceSay(Verdict.NEWER, 6)
    assert await disk_of(bed) is DiskState.UP_TO_DATE


async def test_an_answer_counts_for_the_question_that_it_was_decided_for(bed: MemoryMirrorBed, tmp_path: Path) -> None:
    """The mirror may have been connected in between, and its partner have every write again."""
    group = standby(bed, tmp_path, Record(5, 0, "a"))
    first = asyncio.ensure_future(group.fence_peer())
    await asyncio.sleep(0)
    group._question = group._fence
    second = asyncio.ensure_future(group.fence_peer())
    await asyncio.sleep(0)

    await group._do(do.Answer(FenceAnswer.PEER_OUTDATED))
    await asyncio.sleep(0)
    assert (first.done(), second.done()) == (False, False)

    group._question = group._fence
    await group._do(do.Answer(FenceAnswer.PEER_OUTDATED))
    assert await second is FenceAnswer.PEER_OUTDATED
    first.cancel()
