"""The contract of mirror drivers as tests: subclass `MirrorContract` and override the fixture `bed`.

The bed is two nodes with one driver each and one mirror that nobody has touched yet. The same sentences hold on the
model in memory and on two real kernels.
"""

# ruff: noqa: D102 - the names of the tests are the contract
from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace

import pytest

from holdfast.errors import BusyError, ConflictError, HoldfastError, RefusedError, VerificationError
from holdfast.hooks.base import Can
from holdfast.hooks.replication import (
    ConnectionState,
    DiskState,
    FenceAnswer,
    FenceArbiter,
    Lineage,
    MirrorDriver,
    MirrorSpec,
    MirrorStatus,
    MirrorVolume,
    ReplicationState,
    Role,
    Suspension,
    SyncLimits,
)
from holdfast.values import Secret

BLOCK = 4096
NODES = ("a", "b")


class MirrorBed(ABC):
    """Two nodes, and what tests may do to them beside the contract. Nodes are named `a` and `b`."""

    specs: dict[str, MirrorSpec]
    """One mirror, as each node sees it: one volume of at least 4 MiB on blank devices, no metadata, not up."""
    within_s: float = 5.0
    """How long anything that takes its time may take here."""

    @abstractmethod
    def driver(self, node: str) -> MirrorDriver:
        """The driver of a node; another one after a power cut."""

    @abstractmethod
    async def write(self, node: str, offset: int, data: bytes, *, number: int = 0) -> None:
        """Write whole blocks to a mirrored device, past all caches; returning is the acknowledgement."""

    @abstractmethod
    async def read(self, node: str, offset: int, length: int, *, number: int = 0) -> bytes:
        """Read a mirrored device."""

    @abstractmethod
    async def write_lower(self, node: str, offset: int, data: bytes, *, number: int = 0) -> None:
        """Write to a lower device, behind the mirror."""

    @abstractmethod
    async def read_lower(self, node: str, offset: int, length: int, *, number: int = 0) -> bytes:
        """Read a lower device, behind the mirror."""

    @abstractmethod
    def held_open(self, node: str, *, number: int = 0) -> AbstractAsyncContextManager[None]:
        """While inside, something has a mirrored device open."""

    @abstractmethod
    async def enlarge_lower(self, node: str, more_bytes: int) -> None:
        """Make the lower device larger; the new part reads zero. What is above is not told."""

    @abstractmethod
    async def make_second(self) -> None:
        """Make blank devices for a second volume on both nodes, number and minor 1, and put it into `second`."""

    second: dict[str, MirrorVolume]
    """The second volume, as each node sees it."""

    @abstractmethod
    async def cut_link(self) -> None:
        """Cut the replication link, and only that; return when it is cut, noticed or not."""

    @abstractmethod
    async def mend_link(self) -> None:
        """Join it again."""

    @abstractmethod
    async def power_cycle(self, node: str) -> None:
        """Cut the power of a node and boot it."""


@dataclass
class RecordingArbiter(FenceArbiter):
    """Answers with `verdict` once there is one, and remembers who asked."""

    verdict: FenceAnswer | None = None
    asked: list[str] = field(default_factory=list)
    events: list[tuple[str, str]] = field(default_factory=list)

    async def fence_peer(self, mirror: str) -> FenceAnswer:
        """See FenceArbiter."""
        self.asked.append(mirror)
        while self.verdict is None:  # noqa: ASYNC110 - a test sets it, in plain words
            await asyncio.sleep(0.01)
        return self.verdict

    async def mirror_event(self, mirror: str, event: str) -> None:
        """See FenceArbiter."""
        self.events.append((mirror, event))


@contextlib.asynccontextmanager
async def serving(driver: MirrorDriver, arbiter: FenceArbiter) -> AsyncIterator[None]:
    """Answer a node's fence requests while inside."""
    task = asyncio.ensure_future(driver.serve_fence_requests(arbiter))
    await asyncio.sleep(0.05)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def eventually(driver: MirrorDriver, name: str, is_so: Callable[[MirrorStatus], bool], within_s: float) -> None:
    """Wait for a status; fail with the last one seen."""
    loop = asyncio.get_running_loop()
    deadline_s, delay_s = loop.time() + within_s, 0.02
    while not is_so(status := await driver.status(name)):
        assert loop.time() < deadline_s, f"not within {within_s} s: {status}"
        await asyncio.sleep(delay_s)
        delay_s = min(delay_s * 1.5, 0.2)  # a driver may run a command for each look, on the machine it waits for


def pattern(number: int, length: int = BLOCK) -> bytes:
    """Bytes that differ for each number and are not zero."""
    return bytes([number % 255 + 1]) * length


class _Mirror:
    """Short words for the usual steps, on one bed."""

    def __init__(self, bed: MirrorBed) -> None:
        self.bed = bed
        self.name = bed.specs["a"].name

    async def attach_both(self) -> None:
        for node in NODES:
            await self.bed.driver(node).create_metadata(self.bed.specs[node])
            await self.bed.driver(node).attach(self.bed.specs[node])

    async def connect_both(self) -> None:
        for node in NODES:
            await self.bed.driver(node).connect(self.bed.specs[node])
        await self.see("a", lambda status: status.connection is ConnectionState.CONNECTED)
        await self.see("b", lambda status: status.connection is ConnectionState.CONNECTED)

    async def bring_in_sync(self) -> None:
        """Both sides zeroed, connected and declared equal."""
        for node in NODES:
            for volume in self.bed.specs[node].volumes:
                await self.bed.driver(node).zero(volume.device)
        await self.attach_both()
        await self.connect_both()
        await self.bed.driver("a").skip_first_sync(self.name)
        for node in NODES:
            await self.see(node, lambda status: status.is_in_sync)

    async def see(self, node: str, is_so: Callable[[MirrorStatus], bool]) -> None:
        await eventually(self.bed.driver(node), self.name, is_so, self.bed.within_s)

    async def switch(self, old: str, new: str) -> None:
        await self.bed.driver(old).demote(self.name)
        await self.bed.driver(new).promote(self.name)

    async def lineages(self) -> tuple[Lineage, Lineage]:
        """How a stands to b, and b to a."""
        (a,) = await self.bed.driver("a").generations(self.name)
        (b,) = await self.bed.driver("b").generations(self.name)
        return self.bed.driver("a").compare(a, b), self.bed.driver("b").compare(b, a)

    async def diverge(self) -> None:
        """In sync, then parted; a writes blocks 0 and 8, b block 4, and both meet again as Secondaries."""
        await self.bring_in_sync()
        for node in NODES:
            await self.bed.driver(node).disconnect(self.name, force=True)
        for node, blocks in (("a", (0, 8)), ("b", (4,))):
            async with serving(self.bed.driver(node), RecordingArbiter(FenceAnswer.PEER_UNREACHABLE)):
                await self.bed.driver(node).promote(self.name)
            for block in blocks:
                await self.bed.write(node, block * BLOCK, pattern(ord(node)))
            await self.bed.driver(node).demote(self.name)
        for node in NODES:
            await self.bed.driver(node).connect(self.bed.specs[node])
        for node in NODES:
            await self.see(node, lambda status: status.connection is ConnectionState.STANDALONE)

    async def disk(self, node: str) -> DiskState:
        return (await self.bed.driver(node).status(self.name)).volumes[0].disk


async def _with_second(bed: MirrorBed, *, on: tuple[str, ...] = NODES) -> _Mirror:
    """In sync and Primary on a; a second volume, made equal beside it, is added on these nodes."""
    mirror = _Mirror(bed)
    if any(Can.MIRROR_VOLUMES not in bed.driver(node).can for node in NODES):
        pytest.skip("the driver adds no volumes")
    await mirror.bring_in_sync()
    await bed.driver("a").promote(mirror.name)
    await bed.write("a", 0, pattern(1))
    await bed.make_second()
    for node in NODES:
        whole, driver = bed.specs[node], bed.driver(node)
        ends = [replace(end, port=end.port + 1) for end in (whole.local, whole.remote)]
        beside = MirrorSpec(f"{whole.name}+v1", ends[0], ends[1], (replace(bed.second[node], number=0),))
        await driver.create_metadata(beside)
        await driver.connect(beside)
    beside_name = f"{mirror.name}+v1"
    await eventually(bed.driver("a"), beside_name, lambda s: not _is_lost(s), bed.within_s)
    await bed.driver("a").skip_first_sync(beside_name)
    for node in NODES:
        await eventually(bed.driver(node), beside_name, lambda s: s.is_in_sync, bed.within_s)
    for node in NODES:
        await bed.driver(node).down(beside_name)
        bed.specs[node] = replace(bed.specs[node], volumes=(*bed.specs[node].volumes, bed.second[node]))
    for node in reversed(on):  # the side that is in use comes last
        await bed.driver(node).attach(bed.specs[node])
    for node in NODES if len(on) == len(NODES) else ():
        await mirror.see(node, lambda status: len(status.volumes) == 2 and status.is_in_sync)
    return mirror


def _is_frozen(status: MirrorStatus) -> bool:
    return status.suspended is Suspension.FENCING


def _is_lost(status: MirrorStatus) -> bool:
    return status.connection is not ConnectionState.CONNECTED


class MirrorContract:
    """What every mirror driver does. Each test is one sentence of MirrorDriver."""

    @pytest.fixture
    async def bed(self) -> MirrorBed:
        """Override: a bed that nobody has touched."""
        raise AssertionError("override the fixture `bed`")

    # --- being up ---

    async def test_a_mirror_nobody_attached_is_not_up_and_its_absence_is_no_error(self, bed: MirrorBed) -> None:
        driver, name = bed.driver("a"), bed.specs["a"].name
        status = await driver.status(name)
        assert not status.is_up
        assert status.volumes == ()
        assert name not in await driver.list_up()
        await driver.down(name)
        await driver.disconnect(name)

    async def test_room_for_metadata_grows_with_the_volume(self, bed: MirrorBed) -> None:
        driver = bed.driver("a")
        assert 0 < driver.metadata_bytes(2**30) <= driver.metadata_bytes(2**40) < 2**40 // 1000
        assert driver.metadata_bytes(2**40) >= 2**40 // 8 // BLOCK
        assert driver.largest_bytes(driver.metadata_bytes(2**40)) >= 2**40
        assert driver.largest_bytes(driver.metadata_bytes(2**30)) < 2**60

    async def test_an_attached_mirror_is_secondary_unconnected_and_without_data(self, bed: MirrorBed) -> None:
        mirror, driver, spec = _Mirror(bed), bed.driver("a"), bed.specs["a"]
        await driver.create_metadata(spec)
        status = await driver.attach(spec)
        assert (status.role, status.connection) == (Role.SECONDARY, ConnectionState.STANDALONE)
        assert [volume.disk for volume in status.volumes] == [DiskState.INCONSISTENT]
        assert status.volumes[0].device == driver.device_path(spec.volumes[0].minor)
        assert mirror.name in await driver.list_up()
        assert await driver.attach(spec) == status

    async def test_without_metadata_nothing_is_attached(self, bed: MirrorBed) -> None:
        with pytest.raises(HoldfastError):
            await bed.driver("a").attach(bed.specs["a"])

    async def test_down_takes_it_out_and_may_be_repeated(self, bed: MirrorBed) -> None:
        mirror, driver = _Mirror(bed), bed.driver("a")
        await mirror.attach_both()
        await mirror.connect_both()
        await driver.down(mirror.name)
        await driver.down(mirror.name)
        assert not (await driver.status(mirror.name)).is_up
        await mirror.see("b", _is_lost)

    async def test_connect_attaches_first_and_may_be_repeated(self, bed: MirrorBed) -> None:
        mirror = _Mirror(bed)
        for node in NODES:
            await bed.driver(node).create_metadata(bed.specs[node])
        await mirror.connect_both()
        again = await bed.driver("a").connect(bed.specs["a"])
        assert again.connection is ConnectionState.CONNECTED

    # --- metadata ---

    async def test_metadata_that_is_there_stays(self, bed: MirrorBed) -> None:
        mirror, driver, spec = _Mirror(bed), bed.driver("b"), bed.specs["b"]
        await mirror.bring_in_sync()
        await driver.create_metadata(spec)
        await driver.down(mirror.name)
        await driver.create_metadata(spec)
        await driver.attach(spec)
        assert await mirror.disk("b") is not DiskState.INCONSISTENT

    async def test_metadata_is_wiped_only_when_the_mirror_is_down(self, bed: MirrorBed) -> None:
        mirror, driver, spec = _Mirror(bed), bed.driver("a"), bed.specs["a"]
        await mirror.attach_both()
        with pytest.raises(ConflictError):
            await driver.wipe_metadata(spec)
        await driver.down(mirror.name)
        await driver.wipe_metadata(spec)
        await driver.wipe_metadata(spec)
        with pytest.raises(HoldfastError):
            await driver.attach(spec)
        await driver.create_metadata(spec)
        assert (await driver.attach(spec)).volumes[0].disk is DiskState.INCONSISTENT

    # --- the first sync ---

    async def test_zeroing_makes_every_byte_zero(self, bed: MirrorBed) -> None:
        volume = bed.specs["a"].volumes[0]
        last = volume.size_bytes - BLOCK
        await bed.write_lower("a", 0, pattern(1))
        await bed.write_lower("a", last, pattern(2))
        assert await bed.driver("a").zero(volume.device) == volume.size_bytes
        assert await bed.read_lower("a", 0, BLOCK) == bytes(BLOCK)
        assert await bed.read_lower("a", last, BLOCK) == bytes(BLOCK)

    async def test_zeroing_ends_when_its_time_is_over_and_goes_on_from_there(self, bed: MirrorBed) -> None:
        volume, driver = bed.specs["a"].volumes[0], bed.driver("a")
        last = volume.size_bytes - BLOCK
        await bed.write_lower("a", 0, pattern(1))
        await bed.write_lower("a", last, pattern(2))
        limit_bytes_s = 4 * volume.size_bytes
        done = await driver.zero(volume.device, most_s=0.0, limit_bytes_s=limit_bytes_s)
        assert 0 < done < volume.size_bytes
        assert await bed.read_lower("a", 0, BLOCK) == bytes(BLOCK)
        assert await bed.read_lower("a", last, BLOCK) == pattern(2)
        again = await driver.zero(volume.device, done_bytes=done, most_s=0.0, limit_bytes_s=limit_bytes_s)
        assert again > done
        assert await driver.zero(volume.device, done_bytes=again) == volume.size_bytes
        assert await bed.read_lower("a", last, BLOCK) == bytes(BLOCK)

    async def test_what_is_said_to_be_zero_already_is_looked_at_too(self, bed: MirrorBed) -> None:
        volume = bed.specs["a"].volumes[0]
        await bed.driver("a").zero(volume.device)
        await bed.write_lower("a", 0, pattern(1))
        with pytest.raises(VerificationError):
            await bed.driver("a").zero(volume.device, done_bytes=volume.size_bytes)

    async def test_a_device_in_use_is_not_zeroed(self, bed: MirrorBed) -> None:
        mirror = _Mirror(bed)
        await mirror.attach_both()
        with pytest.raises(BusyError):
            await bed.driver("a").zero(bed.specs["a"].volumes[0].device)

    async def test_the_first_sync_of_equal_sides_is_skipped_without_sending_data(self, bed: MirrorBed) -> None:
        mirror = _Mirror(bed)
        await mirror.bring_in_sync()
        status = await bed.driver("a").status(mirror.name)
        assert status.volumes[0].sent_bytes < bed.specs["a"].volumes[0].size_bytes // 10
        await bed.driver("a").skip_first_sync(mirror.name)

    async def test_the_first_sync_is_not_skipped_unconnected(self, bed: MirrorBed) -> None:
        mirror = _Mirror(bed)
        await mirror.attach_both()
        with pytest.raises(ConflictError):
            await bed.driver("a").skip_first_sync(mirror.name)
        assert await mirror.disk("a") is DiskState.INCONSISTENT

    async def test_a_side_with_data_behind_it_never_skips_a_sync(self, bed: MirrorBed) -> None:
        mirror, driver, spec = _Mirror(bed), bed.driver("b"), bed.specs["b"]
        await mirror.bring_in_sync()
        await driver.down(mirror.name)
        await driver.wipe_metadata(spec)
        await driver.create_metadata(spec)
        await driver.attach(spec)
        for node in NODES:
            with pytest.raises(ConflictError):
                await bed.driver(node).skip_first_sync(mirror.name)
        assert await mirror.disk("b") is DiskState.INCONSISTENT

    async def test_a_full_sync_keeps_the_source_and_brings_all_of_it_to_the_peer(self, bed: MirrorBed) -> None:
        mirror = _Mirror(bed)
        last = bed.specs["a"].volumes[0].size_bytes - BLOCK
        await bed.write_lower("a", 0, pattern(1))
        await bed.write_lower("a", last, pattern(2))
        await bed.write_lower("b", 0, pattern(3))
        await mirror.attach_both()
        await mirror.connect_both()
        await bed.driver("a").start_full_sync(bed.specs["a"])
        for node in NODES:
            await mirror.see(node, lambda status: status.is_in_sync)
        await bed.driver("a").start_full_sync(bed.specs["a"])
        for node in NODES:
            await bed.driver(node).down(mirror.name)
            assert await bed.read_lower(node, 0, BLOCK) == pattern(1)
            assert await bed.read_lower(node, last, BLOCK) == pattern(2)

    async def test_after_a_full_sync_the_metadata_is_fresh_no_more(self, bed: MirrorBed) -> None:
        """Else the next one who asks could skip a sync that is needed, or reconnecting would sync all again."""
        mirror = _Mirror(bed)
        await mirror.attach_both()
        await mirror.connect_both()
        await bed.driver("a").start_full_sync(bed.specs["a"])
        await mirror.see("a", lambda status: status.is_in_sync)
        await mirror.see("b", lambda status: status.is_in_sync)
        await bed.driver("a").promote(mirror.name)
        await bed.driver("b").disconnect(mirror.name)
        await mirror.see("a", _is_lost)
        await bed.write("a", 0, pattern(7))
        await mirror.connect_both()
        await mirror.see("a", lambda status: status.is_in_sync)
        sent = (await bed.driver("a").status(mirror.name)).volumes[0].sent_bytes
        assert BLOCK <= sent <= bed.specs["a"].volumes[0].size_bytes // 4

    # --- roles ---

    async def test_a_side_without_data_is_not_promoted(self, bed: MirrorBed) -> None:
        mirror = _Mirror(bed)
        await mirror.attach_both()
        with pytest.raises(RefusedError):
            await bed.driver("a").promote(mirror.name)
        await mirror.connect_both()
        with pytest.raises(RefusedError) as refusal:
            await bed.driver("a").promote(mirror.name)
        assert refusal.value.reasons

    async def test_roles_change_and_may_be_asked_for_twice(self, bed: MirrorBed) -> None:
        mirror, driver = _Mirror(bed), bed.driver("a")
        await mirror.bring_in_sync()
        await driver.promote(mirror.name)
        await driver.promote(mirror.name)
        assert (await driver.status(mirror.name)).role is Role.PRIMARY
        await mirror.see("b", lambda status: status.peer_role is Role.PRIMARY)
        await driver.demote(mirror.name)
        await driver.demote(mirror.name)
        assert (await driver.status(mirror.name)).role is Role.SECONDARY

    async def test_there_is_one_primary(self, bed: MirrorBed) -> None:
        mirror = _Mirror(bed)
        await mirror.bring_in_sync()
        await bed.driver("a").promote(mirror.name)
        with pytest.raises(RefusedError):
            await bed.driver("b").promote(mirror.name)
        assert (await bed.driver("b").status(mirror.name)).role is Role.SECONDARY

    async def test_a_device_held_open_is_neither_demoted_nor_taken_down(self, bed: MirrorBed) -> None:
        mirror, driver = _Mirror(bed), bed.driver("a")
        await mirror.bring_in_sync()
        await driver.promote(mirror.name)
        async with bed.held_open("a"):
            with pytest.raises(BusyError):
                await driver.demote(mirror.name)
            with pytest.raises(BusyError):
                await driver.down(mirror.name)
        await driver.demote(mirror.name)

    async def test_what_one_node_wrote_the_other_one_reads(self, bed: MirrorBed) -> None:
        mirror = _Mirror(bed)
        await mirror.bring_in_sync()
        await bed.driver("a").promote(mirror.name)
        for number in range(16):
            await bed.write("a", number * BLOCK, pattern(number))
        await mirror.switch("a", "b")
        for number in range(16):
            assert await bed.read("b", number * BLOCK, BLOCK) == pattern(number)

    # --- fencing ---

    async def test_a_lost_peer_freezes_the_primary_until_the_arbiter_decides(self, bed: MirrorBed) -> None:
        mirror, arbiter = _Mirror(bed), RecordingArbiter()
        await mirror.bring_in_sync()
        await bed.driver("a").promote(mirror.name)
        await bed.write("a", 0, pattern(1))
        async with serving(bed.driver("a"), arbiter):
            await bed.cut_link()
            late = asyncio.ensure_future(bed.write("a", BLOCK, pattern(2)))
            await mirror.see("a", _is_frozen)
            await asyncio.sleep(0.3)
            assert not late.done()
            assert is_out(await bed.driver("b").outdate(mirror.name))
            arbiter.verdict = FenceAnswer.PEER_OUTDATED
            await asyncio.wait_for(late, bed.within_s)
            await mirror.see("a", lambda status: not _is_frozen(status))
        assert arbiter.asked == [mirror.name]
        assert (await bed.driver("a").status(mirror.name)).volumes[0].peer_disk is DiskState.OUTDATED
        with pytest.raises(RefusedError):
            await bed.driver("b").promote(mirror.name)
        await bed.mend_link()
        await mirror.connect_both()
        for node in NODES:
            await mirror.see(node, lambda status: status.is_in_sync)
        await mirror.switch("a", "b")
        assert await bed.read("b", 0, 2 * BLOCK) == pattern(1) + pattern(2)

    async def test_a_frozen_primary_goes_on_when_its_peer_comes_back(self, bed: MirrorBed) -> None:
        mirror, arbiter = _Mirror(bed), RecordingArbiter()
        await mirror.bring_in_sync()
        await bed.driver("a").promote(mirror.name)
        async with serving(bed.driver("a"), arbiter):
            await bed.cut_link()
            late = asyncio.ensure_future(bed.write("a", 0, pattern(3)))
            await mirror.see("a", _is_frozen)
            await bed.mend_link()
            await asyncio.wait_for(late, bed.within_s)
        await mirror.see("a", lambda status: status.is_in_sync)
        await mirror.switch("a", "b")
        assert await bed.read("b", 0, BLOCK) == pattern(3)

    async def test_unconnected_nobody_is_promoted_without_an_arbiter(self, bed: MirrorBed) -> None:
        mirror = _Mirror(bed)
        await mirror.bring_in_sync()
        await bed.driver("b").disconnect(mirror.name, force=True)
        with pytest.raises(RefusedError):
            await bed.driver("b").promote(mirror.name)
        assert (await bed.driver("b").status(mirror.name)).role is Role.SECONDARY

    async def test_unconnected_an_up_to_date_side_is_promoted_by_the_arbiters_word(self, bed: MirrorBed) -> None:
        mirror = _Mirror(bed)
        await mirror.bring_in_sync()
        await bed.driver("b").disconnect(mirror.name, force=True)
        async with serving(bed.driver("b"), RecordingArbiter(FenceAnswer.PEER_UNREACHABLE)):
            await bed.driver("b").promote(mirror.name)
        await bed.write("b", 0, pattern(4))
        assert await bed.read("b", 0, BLOCK) == pattern(4)

    async def test_an_active_peer_forbids_the_promotion(self, bed: MirrorBed) -> None:
        mirror = _Mirror(bed)
        await mirror.bring_in_sync()
        await bed.driver("b").disconnect(mirror.name, force=True)
        async with serving(bed.driver("b"), RecordingArbiter(FenceAnswer.PEER_PRIMARY)):
            with pytest.raises(RefusedError):
                await bed.driver("b").promote(mirror.name)

    async def test_outdating_takes_even_while_connected_and_is_read_back(self, bed: MirrorBed) -> None:
        mirror = _Mirror(bed)
        await mirror.bring_in_sync()
        assert await bed.driver("b").outdate(mirror.name) is DiskState.OUTDATED
        assert await mirror.disk("b") is DiskState.OUTDATED
        assert await bed.driver("b").outdate(mirror.name) is DiskState.OUTDATED
        async with serving(bed.driver("b"), RecordingArbiter(FenceAnswer.PEER_UNREACHABLE)):
            with pytest.raises(RefusedError):
                await bed.driver("b").promote(mirror.name)

    async def test_a_primary_is_never_outdated(self, bed: MirrorBed) -> None:
        mirror = _Mirror(bed)
        await mirror.bring_in_sync()
        await bed.driver("a").promote(mirror.name)
        with pytest.raises(ConflictError):
            await bed.driver("a").outdate(mirror.name)
        status = await bed.driver("a").status(mirror.name)
        assert status.connection is ConnectionState.CONNECTED
        assert status.volumes[0].disk is DiskState.UP_TO_DATE

    async def test_a_rebooted_side_is_only_consistent_and_unreachable_does_not_promote_it(self, bed: MirrorBed) -> None:
        mirror = _Mirror(bed)
        await mirror.bring_in_sync()
        await bed.driver("a").promote(mirror.name)
        await bed.power_cycle("b")
        await bed.driver("b").attach(bed.specs["b"])
        assert await mirror.disk("b") is DiskState.CONSISTENT
        async with serving(bed.driver("b"), RecordingArbiter(FenceAnswer.PEER_UNREACHABLE)):
            with pytest.raises(RefusedError):
                await bed.driver("b").promote(mirror.name)

    # --- coming back ---

    async def test_a_reconnected_peer_gets_only_what_it_missed(self, bed: MirrorBed) -> None:
        mirror = _Mirror(bed)
        await mirror.bring_in_sync()
        await bed.driver("a").promote(mirror.name)
        await bed.write("a", 0, pattern(1))
        await bed.driver("b").disconnect(mirror.name)
        await mirror.see("a", _is_lost)
        await bed.write("a", 2 * BLOCK, pattern(5))
        await mirror.connect_both()
        for node in NODES:
            await mirror.see(node, lambda status: status.is_in_sync)
        sent = (await bed.driver("a").status(mirror.name)).volumes[0].sent_bytes
        assert BLOCK <= sent <= bed.specs["a"].volumes[0].size_bytes // 4
        await mirror.switch("a", "b")
        assert await bed.read("b", 0, 3 * BLOCK) == pattern(1) + bytes(BLOCK) + pattern(5)

    async def test_diverged_sides_stay_apart(self, bed: MirrorBed) -> None:
        mirror = _Mirror(bed)
        await mirror.bring_in_sync()
        for node in NODES:
            await bed.driver(node).disconnect(mirror.name, force=True)
        for node in NODES:
            async with serving(bed.driver(node), RecordingArbiter(FenceAnswer.PEER_UNREACHABLE)):
                await bed.driver(node).promote(mirror.name)
            await bed.write(node, 0, pattern(ord(node)))
            await bed.driver(node).demote(mirror.name)
        for node in NODES:
            await bed.driver(node).connect(bed.specs[node])
        await mirror.see("a", lambda status: status.connection is ConnectionState.STANDALONE)
        for node in NODES:
            await bed.driver(node).down(mirror.name)
            assert await bed.read_lower(node, 0, BLOCK) == pattern(ord(node))

    async def test_verifying_finds_nothing_in_equal_sides_and_a_planted_difference(self, bed: MirrorBed) -> None:
        mirror, driver = _Mirror(bed), bed.driver("a")
        if Can.MIRROR_VERIFY not in driver.can:
            pytest.skip("the driver does not verify")
        await mirror.bring_in_sync()
        await driver.promote(mirror.name)
        await bed.write("a", 0, pattern(1))
        await driver.verify(mirror.name)
        await mirror.see("a", _is_established)
        assert (await driver.status(mirror.name)).is_in_sync
        await bed.write_lower("b", 8 * BLOCK, pattern(9))
        await driver.verify(mirror.name)
        await mirror.see("a", lambda status: _is_established(status) and status.volumes[0].out_of_sync_bytes == BLOCK)

    async def test_after_a_comparison_that_was_cut_off_everything_is_compared_again(self, bed: MirrorBed) -> None:
        mirror, driver = _Mirror(bed), bed.driver("a")
        if not {Can.MIRROR_VERIFY, Can.MIRROR_SYNC_CONTROL} <= driver.can:
            pytest.skip("the driver does not verify, or never slowly")
        await mirror.bring_in_sync()
        await driver.promote(mirror.name)
        await driver.limit_sync(mirror.name, SyncLimits(2**21, 2**20))
        await driver.verify(mirror.name)
        await asyncio.sleep(bed.within_s / 20)
        await bed.driver("b").disconnect(mirror.name)
        await mirror.see("a", _is_lost)
        await bed.driver("b").connect(bed.specs["b"])
        await mirror.see("a", lambda status: status.is_in_sync)
        await bed.write_lower("b", 0, pattern(9))
        await driver.limit_sync(mirror.name, SyncLimits(2**30, 2**20))
        await driver.verify(mirror.name)
        await mirror.see("a", lambda status: _is_established(status) and status.volumes[0].out_of_sync_bytes == BLOCK)

    # --- who may connect ---

    async def test_a_peer_that_does_not_know_the_secret_is_never_connected(self, bed: MirrorBed) -> None:
        mirror = _Mirror(bed)
        await mirror.attach_both()
        for node, secret in (("a", Secret("correct horse")), ("b", Secret("battery staple"))):
            await bed.driver(node).connect(replace(bed.specs[node], secret=secret))
        await asyncio.sleep(bed.within_s / 5)
        for node in NODES:
            assert (await bed.driver(node).status(mirror.name)).connection is not ConnectionState.CONNECTED

    async def test_peers_that_know_the_same_secret_connect(self, bed: MirrorBed) -> None:
        for node in NODES:
            bed.specs[node] = replace(bed.specs[node], secret=Secret("correct horse"))
        mirror = _Mirror(bed)
        await mirror.bring_in_sync()

    # --- diverged sides ---

    async def test_generations_say_which_side_is_ahead(self, bed: MirrorBed) -> None:
        mirror = _Mirror(bed)
        await mirror.bring_in_sync()
        assert await mirror.lineages() == (Lineage.EQUAL, Lineage.EQUAL)
        await bed.driver("a").promote(mirror.name)
        await bed.driver("b").disconnect(mirror.name)
        await mirror.see("a", _is_lost)
        await bed.write("a", 0, pattern(1))
        assert await mirror.lineages() == (Lineage.AHEAD, Lineage.BEHIND)
        assert bed.driver("a").compare("", (await bed.driver("b").generations(mirror.name))[0]) is Lineage.UNRELATED

    async def test_diverged_sides_are_known_as_such_with_what_each_changed(self, bed: MirrorBed) -> None:
        mirror = _Mirror(bed)
        await mirror.diverge()
        assert await mirror.lineages() == (Lineage.DIVERGED, Lineage.DIVERGED)
        for node, blocks in (("a", 2), ("b", 1)):
            volume = (await bed.driver(node).status(mirror.name)).volumes[0]
            assert (volume.out_of_sync_bytes, volume.disk) == (blocks * BLOCK, DiskState.UP_TO_DATE)

    async def test_the_side_that_gives_way_gets_the_others_data_and_only_what_differs(self, bed: MirrorBed) -> None:
        mirror = _Mirror(bed)
        await mirror.diverge()
        await bed.driver("b").connect(bed.specs["b"], discard_changes=True)
        await bed.driver("a").connect(bed.specs["a"])
        for node in NODES:
            await mirror.see(node, lambda status: status.is_in_sync)
        sent = (await bed.driver("a").status(mirror.name)).volumes[0].sent_bytes
        assert BLOCK <= sent <= bed.specs["a"].volumes[0].size_bytes // 4
        for node in NODES:
            await bed.driver(node).down(mirror.name)
            assert await bed.read_lower(node, 0, BLOCK) == pattern(ord("a"))
            assert await bed.read_lower(node, 8 * BLOCK, BLOCK) == pattern(ord("a"))
            assert await bed.read_lower(node, 4 * BLOCK, BLOCK) == bytes(BLOCK)

    async def test_a_primary_never_gives_way(self, bed: MirrorBed) -> None:
        mirror = _Mirror(bed)
        await mirror.bring_in_sync()
        await bed.driver("a").promote(mirror.name)
        await bed.driver("b").disconnect(mirror.name)
        await mirror.see("a", _is_lost)
        await bed.driver("a").disconnect(mirror.name)
        with pytest.raises(ConflictError):
            await bed.driver("a").connect(bed.specs["a"], discard_changes=True)
        assert (await bed.driver("a").status(mirror.name)).role is Role.PRIMARY

    # --- resyncs and growing ---

    async def test_a_held_resync_waits_until_it_may_go_on(self, bed: MirrorBed) -> None:
        mirror, driver = _Mirror(bed), bed.driver("a")
        if Can.MIRROR_SYNC_CONTROL not in driver.can:
            pytest.skip("the driver does not hold resyncs")
        await mirror.bring_in_sync()
        await driver.promote(mirror.name)
        await bed.driver("b").disconnect(mirror.name)
        await mirror.see("a", _is_lost)
        await bed.write("a", 0, pattern(1))
        await driver.pause_sync(mirror.name)
        await driver.pause_sync(mirror.name)
        await mirror.connect_both()
        await asyncio.sleep(bed.within_s / 10)
        assert not (await driver.status(mirror.name)).is_in_sync
        await driver.limit_sync(mirror.name, SyncLimits(2**24, 2**20))
        await driver.resume_sync(mirror.name)
        await driver.resume_sync(mirror.name)
        await mirror.see("a", lambda status: status.is_in_sync)

    async def test_it_grows_under_its_user_and_what_is_new_is_mirrored(self, bed: MirrorBed) -> None:
        mirror, driver = _Mirror(bed), bed.driver("a")
        if Can.MIRROR_GROW not in driver.can:
            pytest.skip("the driver does not grow")
        await mirror.bring_in_sync()
        old_bytes = bed.specs["a"].volumes[0].size_bytes
        with pytest.raises(ConflictError):
            await driver.grow(mirror.name, new_part_is_zero=False)
        await driver.promote(mirror.name)
        assert (await driver.grow(mirror.name, new_part_is_zero=False)).volumes[0].size_bytes == old_bytes
        for node in NODES:
            await bed.enlarge_lower(node, old_bytes)
        async with bed.held_open("a"):
            await driver.grow(mirror.name, new_part_is_zero=False)
        for node in NODES:
            await mirror.see(node, lambda s: s.volumes[0].size_bytes == 2 * old_bytes and s.is_in_sync)
        await bed.write("a", 2 * old_bytes - BLOCK, pattern(5))
        await driver.demote(mirror.name)
        for node in NODES:
            await bed.driver(node).down(mirror.name)
            assert await bed.read_lower(node, 2 * old_bytes - BLOCK, BLOCK) == pattern(5)

    async def test_a_new_part_that_is_zero_on_both_sides_is_not_sent(self, bed: MirrorBed) -> None:
        mirror, driver = _Mirror(bed), bed.driver("a")
        if Can.MIRROR_GROW not in driver.can:
            pytest.skip("the driver does not grow")
        await mirror.bring_in_sync()
        await driver.promote(mirror.name)
        old_bytes = bed.specs["a"].volumes[0].size_bytes
        for node in NODES:
            await bed.enlarge_lower(node, old_bytes)
        before = (await driver.status(mirror.name)).volumes[0].sent_bytes
        await driver.grow(mirror.name, new_part_is_zero=True)
        await mirror.see("b", lambda s: s.volumes[0].size_bytes == 2 * old_bytes)
        status = await driver.status(mirror.name)
        assert status.is_in_sync
        assert status.volumes[0].sent_bytes - before < old_bytes // 4

    # --- without a disk ---

    async def test_without_its_disk_a_volume_is_served_by_the_peer_until_it_has_one_again(self, bed: MirrorBed) -> None:
        mirror, driver = _Mirror(bed), bed.driver("a")
        if Can.MIRROR_DETACH not in driver.can:
            pytest.skip("the driver takes no disks out")
        await mirror.bring_in_sync()
        await driver.promote(mirror.name)
        await bed.write("a", 0, pattern(1))
        for _ in range(2):
            assert (await driver.detach(mirror.name, 0)).volumes[0].disk is DiskState.DISKLESS
        await mirror.see("b", lambda status: status.volumes[0].peer_disk is DiskState.DISKLESS)
        assert await bed.read("a", 0, BLOCK) == pattern(1)
        await bed.write("a", BLOCK, pattern(2))
        before = (await driver.status(mirror.name)).volumes[0].received_bytes
        await driver.attach(bed.specs["a"])
        await mirror.see("a", lambda status: status.is_in_sync)
        received_bytes = (await driver.status(mirror.name)).volumes[0].received_bytes - before
        assert received_bytes < bed.specs["a"].volumes[0].size_bytes // 4, "more came than it had missed"
        await driver.demote(mirror.name)
        for node in NODES:
            await bed.driver(node).down(mirror.name)
            for number in range(2):
                assert await bed.read_lower(node, number * BLOCK, BLOCK) == pattern(number + 1)

    async def test_the_only_complete_disk_is_not_taken_out(self, bed: MirrorBed) -> None:
        mirror, driver = _Mirror(bed), bed.driver("a")
        if Can.MIRROR_DETACH not in driver.can:
            pytest.skip("the driver takes no disks out")
        await mirror.bring_in_sync()
        await bed.driver("b").disconnect(mirror.name)
        await mirror.see("a", _is_lost)
        with pytest.raises(RefusedError):
            await driver.detach(mirror.name, 0)
        assert await mirror.disk("a") is DiskState.UP_TO_DATE

    # --- volumes added and taken out ---

    async def test_a_volume_that_is_equal_is_added_under_a_primary_and_nothing_is_sent(self, bed: MirrorBed) -> None:
        mirror = await _with_second(bed)
        driver = bed.driver("a")
        with pytest.raises(OSError, match="Errno"):
            await bed.write("a", 0, pattern(2), number=1)
        await driver.promote(mirror.name, numbers={1})
        await bed.write("a", 0, pattern(2), number=1)
        await bed.write("a", BLOCK, pattern(3))
        volumes = (await driver.status(mirror.name)).volumes
        assert volumes[1].sent_bytes < bed.specs["a"].volumes[1].size_bytes // 4
        await mirror.switch("a", "b")
        assert await bed.read("b", 0, 2 * BLOCK) == pattern(1) + pattern(3)
        assert await bed.read("b", 0, BLOCK, number=1) == pattern(2)

    async def test_a_volume_of_one_side_only_keeps_nobody_from_serving_the_others(self, bed: MirrorBed) -> None:
        mirror = await _with_second(bed, on=("b",))
        driver = bed.driver("b")
        await bed.driver("a").demote(mirror.name)
        await bed.driver("a").disconnect(mirror.name, force=True)
        await driver.disconnect(mirror.name, force=True)
        async with serving(driver, RecordingArbiter(FenceAnswer.PEER_UNREACHABLE)):
            await driver.promote(mirror.name, numbers={0})
        assert await bed.read("b", 0, BLOCK) == pattern(1)
        with pytest.raises(OSError, match="Errno"):
            await bed.read("b", 0, BLOCK, number=1)

    async def test_of_several_volumes_all_are_promoted_or_none(self, bed: MirrorBed) -> None:
        mirror = await _with_second(bed, on=())
        await bed.driver("a").demote(mirror.name)
        with pytest.raises(RefusedError):
            await bed.driver("a").promote(mirror.name, numbers={0, 1})
        assert (await bed.driver("a").status(mirror.name)).role is Role.SECONDARY

    async def test_a_volume_is_taken_out_of_a_mirror_in_use_and_keeps_its_data(self, bed: MirrorBed) -> None:
        mirror = await _with_second(bed)
        await bed.driver("a").promote(mirror.name, numbers={1})
        await bed.write("a", 0, pattern(2), number=1)
        async with bed.held_open("a"):
            for node in NODES:
                for _ in range(2):
                    await bed.driver(node).take_out(mirror.name, 1)
            await bed.write("a", BLOCK, pattern(3))
        for node in NODES:
            status = await bed.driver(node).status(mirror.name)
            assert ([v.number for v in status.volumes], status.is_in_sync) == ([0], True)
            second = replace(bed.specs[node], volumes=(bed.second[node],))
            await bed.driver(node).wipe_metadata(second)
            assert await bed.read_lower(node, 0, BLOCK, number=1) == pattern(2)

    async def test_a_volume_that_is_open_is_not_taken_out(self, bed: MirrorBed) -> None:
        mirror = await _with_second(bed)
        driver = bed.driver("a")
        await driver.promote(mirror.name, numbers={1})
        async with bed.held_open("a", number=1):
            with pytest.raises(BusyError):
                await driver.take_out(mirror.name, 1)
        assert (await driver.status(mirror.name)).is_in_sync
        await bed.write("a", 0, pattern(2), number=1)

    # --- watching ---

    async def test_a_watcher_is_told_what_changed(self, bed: MirrorBed) -> None:
        mirror, driver = _Mirror(bed), bed.driver("a")
        await mirror.bring_in_sync()
        heard: list[MirrorStatus] = []

        def is_told() -> bool:
            return any(status.name == mirror.name and status.peer_role is Role.PRIMARY for status in heard)

        async def listen() -> None:
            async for status in driver.watch():
                heard.append(status)

        listening = asyncio.ensure_future(listen())
        try:
            await asyncio.sleep(bed.within_s / 10)
            heard.clear()
            await bed.driver("b").promote(mirror.name)
            await mirror.see("a", lambda _status: is_told())
        finally:
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listening
        assert _but_traffic(heard[-1]) == _but_traffic(await driver.status(mirror.name))

    async def test_only_one_answers_fence_requests(self, bed: MirrorBed) -> None:
        mirror = _Mirror(bed)
        await mirror.attach_both()
        async with serving(bed.driver("a"), RecordingArbiter()):
            with pytest.raises(BusyError):
                await asyncio.wait_for(bed.driver("a").serve_fence_requests(RecordingArbiter()), bed.within_s)


def is_out(disk: DiskState) -> bool:
    """Whether an answer of `outdate` means that it took."""
    return disk in (DiskState.OUTDATED, DiskState.INCONSISTENT, DiskState.DISKLESS)


def _but_traffic(status: MirrorStatus) -> MirrorStatus:
    """Without what has crossed the link: that goes on and is no news."""
    return replace(status, volumes=tuple(replace(v, sent_bytes=0, received_bytes=0) for v in status.volumes))


def _is_established(status: MirrorStatus) -> bool:
    return all(volume.replication is ReplicationState.ESTABLISHED for volume in status.volumes)
