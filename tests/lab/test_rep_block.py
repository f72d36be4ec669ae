"""Mirrors by DRBD 8.4 on two real kernels: the contract, and what only real kernels can show."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from holdfast.errors import RefusedError
from holdfast.hooks.replication import (
    ConnectionState,
    DiskState,
    FenceAnswer,
    MirrorStatus,
    ReplicationState,
    Role,
    Suspension,
)
from holdfast.testing.mirror import MirrorBed, MirrorContract, RecordingArbiter, eventually, serving
from holdfast.values import Secret
from lab import Lab, Node, NodeOff
from tests.lab.mirror_remote import LabMirrorBed, NodeAgent

pytestmark = [pytest.mark.lab(seconds=300), pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def agents() -> dict[str, NodeAgent]:
    return {}


@pytest.fixture
def mirror_bed(lab_bed: Lab, agents: dict[str, NodeAgent]) -> Iterator[LabMirrorBed]:
    bed = LabMirrorBed(lab_bed, agents)
    bed.make_blank()
    yield bed
    for name, agent in agents.items():
        print(f"--- agent of {name}\n{agent.stderr[-2000:]}")


class TestDrbdKeepsTheContract(MirrorContract):
    @pytest.fixture
    async def bed(self, mirror_bed: LabMirrorBed) -> MirrorBed:
        return mirror_bed


# --- what only real kernels can show ------------------------------------------------------------------

M = "m0"
DRBDSETUP = "/usr/lib/drbd/drbdsetup-84"
FREEZE_WITHIN_S = 4.0  # the kernel notices an idle dead peer after ping-int + ping-timeout = 1.5 s
REFUSAL_WITHIN_S = 8.0  # the kernel asks four times
THAW_WITHIN_S = 1.5


async def in_sync(bed: LabMirrorBed, *, primary: str = "a") -> None:
    for node in ("a", "b"):
        await bed.driver(node).zero(bed.data)
        await bed.driver(node).create_metadata(bed.specs[node])
        await bed.driver(node).connect(bed.specs[node])
    await see(bed, "a", lambda status: status.connection is ConnectionState.CONNECTED)
    await bed.driver("a").skip_first_sync(M)
    await see(bed, "b", lambda status: status.is_in_sync)
    await bed.driver(primary).promote(M)


async def see(
    bed: LabMirrorBed, node: str, is_so: Callable[[MirrorStatus], bool], within_s: float | None = None
) -> None:
    await eventually(bed.driver(node), M, is_so, within_s or bed.within_s)


def is_frozen(status: MirrorStatus) -> bool:
    return status.suspended is Suspension.FENCING


class Stamps:
    """What a writer on a node tried and what was acknowledged, kept outside the nodes."""

    def __init__(self) -> None:
        self.tried: dict[int, int] = {}
        self.acked: dict[int, int] = {}
        self.gap_s = 0.0
        self._last_s = 0.0

    def hear(self, told: list[Any]) -> None:
        kind, place, count, at_s = told
        if kind == "try":
            self.tried[place] = count
            return
        self.acked[place] = count
        if self._last_s:
            self.gap_s = max(self.gap_s, at_s - self._last_s)
        self._last_s = at_s

    @contextlib.asynccontextmanager
    async def writing(self, bed: LabMirrorBed, node: str) -> AsyncIterator[None]:
        call = bed.driver(node).agent.call("stamp", self.hear, path="/dev/drbd0", blocks=bed.size_bytes // 4096)
        task = asyncio.ensure_future(call)
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError, NodeOff):
                await task

    async def lost(self, bed: LabMirrorBed, node: str) -> list[str]:
        """Acknowledged writes that the node does not have: neither they nor a later try is in their place."""
        agent = bed.driver(node).agent
        counts: list[int] = await agent.call("stamps", path="/dev/drbd0", blocks=bed.size_bytes // 4096)
        return [
            f"block {place}: {counts[place]} instead of {acked}"
            for place, acked in self.acked.items()
            if counts[place] not in range(acked, self.tried[place] + 1)
        ]


async def test_no_acknowledged_write_is_lost_when_the_replication_link_is_cut(mirror_bed: LabMirrorBed) -> None:
    bed, arbiter, stamps = mirror_bed, RecordingArbiter(), Stamps()
    await in_sync(bed)
    async with serving(bed.driver("a"), arbiter), stamps.writing(bed, "a"):
        await asyncio.sleep(0.5)
        await bed.cut_link()
        await see(bed, "a", is_frozen, FREEZE_WITHIN_S)
        acked = len(stamps.acked), sum(stamps.acked.values())
        await asyncio.sleep(1.0)
        assert (len(stamps.acked), sum(stamps.acked.values())) == acked, "a write was acknowledged while frozen"
        assert await bed.driver("b").outdate(M) is DiskState.OUTDATED
        arbiter.verdict = FenceAnswer.PEER_OUTDATED
        await see(bed, "a", lambda status: not is_frozen(status), THAW_WITHIN_S)
        await asyncio.sleep(0.5)
        assert sum(stamps.acked.values()) > acked[1]
        with pytest.raises(RefusedError):
            await bed.driver("b").promote(M)
        await bed.mend_link()
        await bed.driver("b").connect(bed.specs["b"])
        await see(bed, "a", lambda status: status.connection is ConnectionState.CONNECTED)
    await see(bed, "b", lambda status: status.is_in_sync)
    sent = (await bed.driver("a").status(M)).volumes[0].sent_bytes
    assert await stamps.lost(bed, "a") == []
    await bed.driver("a").demote(M)
    await bed.driver("b").promote(M)
    assert await stamps.lost(bed, "b") == []
    print(f"{len(stamps.acked)} blocks, longest gap {stamps.gap_s:.2f} s, resent {sent} bytes")


async def test_no_acknowledged_write_is_lost_when_the_primary_loses_its_power(mirror_bed: LabMirrorBed) -> None:
    bed, stamps = mirror_bed, Stamps()
    await in_sync(bed)
    async with stamps.writing(bed, "a"):
        await asyncio.sleep(0.7)
        await asyncio.to_thread(bed.lab.node("a").cut)
        async with serving(bed.driver("b"), RecordingArbiter(FenceAnswer.PEER_UNREACHABLE)):
            took_s = await bed.driver("b").agent.call(
                "timed", steps=[["disconnect", {"name": M, "force": True}], ["promote", {"name": M}]]
            )
    assert await stamps.lost(bed, "b") == []
    await bed.write("b", 0, b"\x77" * 4096)
    print(f"{len(stamps.acked)} blocks; disconnect {took_s[0]:.3f} s, promote with the handler {took_s[1]:.3f} s")
    await bed.power_cycle("a")
    await bed.driver("a").attach(bed.specs["a"])
    async with serving(bed.driver("a"), RecordingArbiter(FenceAnswer.PEER_UNREACHABLE)):
        with pytest.raises(RefusedError):
            await bed.driver("a").promote(M)
    for node in ("b", "a"):
        await bed.driver(node).connect(bed.specs[node])
    for node in ("a", "b"):
        await see(bed, node, lambda status: status.is_in_sync)
    sent = (await bed.driver("b").status(M)).volumes[0].sent_bytes
    print(f"the dead node came back with {sent} bytes sent")
    assert 4096 <= sent < bed.size_bytes
    await bed.driver("b").verify(M)
    await see(bed, "b", lambda status: status.volumes[0].replication is ReplicationState.ESTABLISHED)
    assert (await bed.driver("b").status(M)).is_in_sync


async def test_the_secret_is_in_the_kernel_and_in_nobodys_argument_list(mirror_bed: LabMirrorBed) -> None:
    """A program in the place of drbdsetup notes every argument list."""
    bed, secret, node = mirror_bed, "correct-horse-battery", mirror_bed.lab.node("a")
    for name in ("a", "b"):
        bed.specs[name] = replace(bed.specs[name], secret=Secret(secret))
    noting = f'#!/bin/sh\necho "$@" >>/run/arguments\nexec {DRBDSETUP}.real "$@"\n'
    node.run(["mv", DRBDSETUP, f"{DRBDSETUP}.real"])
    try:
        node.write_file(DRBDSETUP, noting.encode(), mode=0o755)
        await in_sync(bed)
    finally:
        node.run(["mv", f"{DRBDSETUP}.real", DRBDSETUP])
    noted = node.read_file("/run/arguments").decode()
    assert "attach 0" in noted
    assert secret not in noted
    shown = node.run([DRBDSETUP, "show", M]).stdout.decode()
    assert secret in shown, "the kernel has it, and tells root"
    nobody = node.run(["setpriv", "--reuid=65534", "--clear-groups", DRBDSETUP, "show", M], check=False)
    assert secret not in (nobody.stdout + nobody.stderr).decode()


async def test_a_plain_outdate_does_nothing_while_the_side_believes_to_be_connected(mirror_bed: LabMirrorBed) -> None:
    """The control of `outdate`: why it disconnects first and reads back."""
    bed = mirror_bed
    await in_sync(bed)
    plain = bed.lab.node("b").run(["/usr/lib/drbd/drbdsetup-84", "outdate", "0"])
    assert (plain.returncode, plain.stdout, plain.stderr) == (0, b"", b"")
    assert (await bed.driver("b").status(M)).volumes[0].disk is DiskState.UP_TO_DATE
    assert await bed.driver("b").outdate(M) is DiskState.OUTDATED


async def test_a_frozen_primary_waits_for_a_monitor_that_is_not_there_yet(mirror_bed: LabMirrorBed) -> None:
    """The helper goes on dialling; a monitor that dies while it is asked is asked again when it is back."""
    bed = mirror_bed
    await in_sync(bed)
    await bed.cut_link()
    await see(bed, "a", is_frozen, FREEZE_WITHIN_S)
    dying = RecordingArbiter()
    async with serving(bed.driver("a"), dying):
        await asyncio.sleep(1.0)
        assert dying.asked == [M]
    await asyncio.sleep(1.0)
    assert is_frozen(await bed.driver("a").status(M))
    assert await bed.driver("b").outdate(M) is DiskState.OUTDATED
    async with serving(bed.driver("a"), RecordingArbiter(FenceAnswer.PEER_OUTDATED)):
        await see(bed, "a", lambda status: not is_frozen(status), 3.0)
    await bed.write("a", 0, b"\x01" * 4096)


async def test_a_promotion_is_refused_soon_when_no_monitor_listens_or_answers(mirror_bed: LabMirrorBed) -> None:
    bed, loop = mirror_bed, asyncio.get_running_loop()
    await in_sync(bed)
    await bed.driver("b").disconnect(M, force=True)
    began_s = loop.time()
    with pytest.raises(RefusedError) as refusal:
        await bed.driver("b").promote(M)
    silent_s = loop.time() - began_s
    assert refusal.value.reasons[0].code == "drbd--7"
    began_s = loop.time()
    async with serving(bed.driver("b"), RecordingArbiter(None)):
        with pytest.raises(RefusedError):
            await bed.driver("b").promote(M)
    mute_s = loop.time() - began_s
    print(f"refused after {silent_s:.2f} s with nobody listening, {mute_s:.2f} s with a monitor that says nothing")
    assert silent_s < REFUSAL_WITHIN_S
    assert mute_s < 2 * REFUSAL_WITHIN_S


async def test_the_helper_ends_when_the_peer_is_back_and_tells_other_events(mirror_bed: LabMirrorBed) -> None:
    bed, arbiter = mirror_bed, RecordingArbiter()
    await in_sync(bed)
    async with serving(bed.driver("a"), arbiter):
        await bed.cut_link()
        await see(bed, "a", is_frozen, FREEZE_WITHIN_S)
        await bed.mend_link()
        await see(bed, "a", lambda status: not is_frozen(status))
        for _ in range(50):
            if not bed.lab.node("a").run(["pgrep", "-f", "fence-peer"], check=False).stdout:
                break
            await asyncio.sleep(0.1)
        assert bed.lab.node("a").run(["pgrep", "-f", "fence-peer"], check=False).stdout == b""
        await bed.driver("b").disconnect(M)
        await see(bed, "a", lambda status: status.connection is not ConnectionState.CONNECTED)
        await bed.write("a", 0, b"\x02" * 4096)
        await bed.driver("b").connect(bed.specs["b"])
        await see(bed, "a", lambda status: status.is_in_sync)
        for _ in range(50):
            if (M, "unfence-peer") in arbiter.events:
                break
            await asyncio.sleep(0.1)
    assert (M, "before-resync-source") in arbiter.events
    assert (M, "unfence-peer") in arbiter.events


async def test_two_volumes_of_one_mirror_move_and_freeze_together(mirror_bed: LabMirrorBed) -> None:
    bed = mirror_bed
    bed.split_in_two()
    try:
        await in_sync(bed)
        for node in ("a", "b"):
            assert [v.device for v in (await bed.driver(node).status(M)).volumes] == ["/dev/drbd0", "/dev/drbd1"]
        proc = bed.lab.node("a").read_file("/proc/drbd").decode()
        assert proc.count("ro:Primary/Secondary") == 2
        assert await bed.driver("b").outdate(M) is DiskState.OUTDATED
        await bed.driver("a").demote(M)
        assert (await bed.driver("a").status(M)).role is Role.SECONDARY
        assert bed.lab.node("a").read_file("/proc/drbd").decode().count("ro:Secondary/Unknown") == 2
    finally:
        for node in ("a", "b"):
            await bed.driver(node).down(M)


async def test_the_probe_finds_all_it_needs_in_a_node(mirror_bed: LabMirrorBed) -> None:
    assert await mirror_bed.driver("a").agent.call("probe") == []


async def test_a_primary_that_leaves_a_silent_peer_freezes_asks_and_is_thawed(mirror_bed: LabMirrorBed) -> None:
    """What the monitor does long before the kernel notices: the freeze is as short as its evidence."""
    bed, arbiter, stamps = mirror_bed, RecordingArbiter(FenceAnswer.PEER_OUTDATED), Stamps()
    await in_sync(bed)
    loop = asyncio.get_running_loop()
    async with serving(bed.driver("a"), arbiter), stamps.writing(bed, "a"):
        await asyncio.sleep(0.5)
        await bed.cut_link()
        assert await bed.driver("b").outdate(M) is DiskState.OUTDATED
        began_s = loop.time()
        await bed.driver("a").disconnect(M, force=True)
        await see(bed, "a", lambda status: not is_frozen(status), 3.0)
        thawed_s = loop.time() - began_s
        await asyncio.sleep(0.5)
    status = await bed.driver("a").status(M)
    assert (status.role, status.volumes[0].peer_disk) == (Role.PRIMARY, DiskState.OUTDATED)
    assert arbiter.asked == [M]
    assert await stamps.lost(bed, "a") == []
    print(f"disconnected, asked and thawed within {thawed_s:.2f} s; longest gap of the writer {stamps.gap_s:.2f} s")


async def test_a_difference_found_by_verifying_is_repaired_by_reconnecting_under_a_primary(
    mirror_bed: LabMirrorBed,
) -> None:
    bed = mirror_bed
    await in_sync(bed)
    await bed.write("a", 0, b"\x11" * 4096)
    await bed.write_lower("b", 0, b"\x22" * 4096)
    await bed.driver("a").verify(M)
    await see(bed, "a", lambda s: s.volumes[0].out_of_sync_bytes == 4096)
    await see(bed, "a", lambda s: s.volumes[0].replication is ReplicationState.ESTABLISHED)
    await bed.driver("a").demote(M)
    await bed.driver("b").disconnect(M)
    await bed.driver("b").connect(bed.specs["b"])
    await see(bed, "a", lambda s: s.connection is ConnectionState.CONNECTED)
    await asyncio.sleep(1.0)
    out_of_sync_bytes = (await bed.driver("a").status(M)).volumes[0].out_of_sync_bytes
    print(f"reconnected with two Secondaries: {out_of_sync_bytes} bytes still out of sync")
    await bed.driver("a").promote(M)
    await bed.driver("b").disconnect(M)
    await bed.driver("b").connect(bed.specs["b"])
    await see(bed, "a", lambda s: s.is_in_sync)
    await see(bed, "b", lambda s: s.is_in_sync)
    await bed.driver("a").demote(M)
    await bed.driver("b").promote(M)
    assert await bed.read("b", 0, 4096) == b"\x11" * 4096


async def test_a_frozen_primary_that_is_reset_comes_back_as_a_target(mirror_bed: LabMirrorBed) -> None:
    """The loser of a takeover: what it had written and not acknowledged is rolled back, and nothing diverges."""
    bed, stamps = mirror_bed, Stamps()
    await in_sync(bed)
    async with stamps.writing(bed, "a"):
        await asyncio.sleep(0.5)
        await bed.cut_link()
        await see(bed, "a", is_frozen, FREEZE_WITHIN_S)
        await bed.driver("b").disconnect(M, force=True)
        async with serving(bed.driver("b"), RecordingArbiter(FenceAnswer.PEER_UNREACHABLE)):
            await bed.driver("b").promote(M)
        await bed.write("b", bed.size_bytes - 4096, b"\x33" * 4096)
        await bed.power_cycle("a")
    await bed.mend_link()
    for node in ("b", "a"):
        await bed.driver(node).connect(bed.specs[node])
    for node in ("a", "b"):
        await see(bed, node, lambda s: s.is_in_sync)
    stamps.acked.pop(bed.size_bytes // 4096 - 1, None)
    assert await stamps.lost(bed, "b") == []
    await bed.driver("b").verify(M)
    await see(bed, "b", lambda s: s.volumes[0].replication is ReplicationState.ESTABLISHED)
    assert (await bed.driver("b").status(M)).is_in_sync


def make_thin(bed: LabMirrorBed, size_bytes: int, *features: str) -> None:
    """A thin volume `thin-v` on node a, behind what the bed has on the disk."""
    node, sectors = bed.lab.node("a"), size_bytes // 512
    disk, first, meta, data = node.device("data"), 1 << 21, 1 << 15, 1 << 19
    pool = f"0 {data} thin-pool /dev/mapper/thin-meta /dev/mapper/thin-data 128 0 {len(features)} {' '.join(features)}"
    node.run(
        [
            "sh",
            "-ec",
            f"""modprobe dm-thin-pool
            dmsetup create thin-meta --table '0 {meta} linear {disk} {first}'
            dmsetup create thin-data --table '0 {data} linear {disk} {first + meta}'
            dmsetup mknodes
            dd if=/dev/zero of=/dev/mapper/thin-meta bs=4k count=1 oflag=direct status=none
            dmsetup create thin-pool --table '{pool}'
            dmsetup message thin-pool 0 'create_thin 0'
            dmsetup mknodes
            dmsetup create thin-v --table '0 {sectors} thin /dev/mapper/thin-pool 0'
            dmsetup mknodes""",
        ]
    )


@pytest.mark.parametrize(
    ("size_bytes", "features", "mapped"),
    [(1 << 40, (), 0), (32 << 20, ("ignore_discard",), (32 << 20) // 512)],
    ids=["a tebibyte is emptied", "where discards are ignored it is filled"],
)
async def test_a_thin_volume_reads_zero(
    mirror_bed: LabMirrorBed, size_bytes: int, features: tuple[str, ...], mapped: int
) -> None:
    bed, path, last = mirror_bed, "/dev/mapper/thin-v", size_bytes - 4096
    node, agent = bed.lab.node("a"), bed.driver("a").agent
    make_thin(bed, size_bytes, *features)
    try:
        for offset in (0, last):
            await agent.call("write", path=path, offset=offset, hex_data=b"\xa5".hex() * 4096)
        assert mapped_of(node, path) == 2 * 128
        assert await bed.driver("a").zero(path) == size_bytes
        assert mapped_of(node, path) == mapped
        for offset in (0, last):
            found = await agent.call("read", path=path, offset=offset, length=4096)
            assert bytes.fromhex(found) == bytes(4096)
    finally:
        node.run(["sh", "-c", "for name in v pool data meta; do dmsetup remove thin-$name; done"])


def mapped_of(node: Node, path: str) -> int:
    """The sectors that a thin volume has of its pool."""
    return int(node.run(["dmsetup", "status", path]).stdout.split()[3])
