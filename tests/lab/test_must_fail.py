"""What finds lost writes and two active nodes is not blind: every unsafe way to go on without a partner is caught.

Two real kernels, without the product's monitor. Stamped blocks are written on the Primary past all caches, and each
acknowledgement is recorded outside the nodes. The link is cut, the Primary goes on or stands still, its power is cut,
the other side is promoted; then it is judged as in the tests of the product.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from demo.bed import wait_for
from demo.initiator import Writing, assert_clean
from holdfast.errors import RefusedError
from holdfast.hooks.replication import DiskState, FenceAnswer, FenceArbiter
from holdfast.testing.mirror import RecordingArbiter
from holdfast.testing.mirror import serving as answering
from lab import Lab
from lab.checker import Verdict, check
from tests.lab.mirror_remote import LabMirrorBed, NodeAgent
from tests.lab.serving import serves
from tests.lab.test_rep_block import DRBDSETUP, FREEZE_WITHIN_S, M, in_sync, is_frozen, see

pytestmark = [pytest.mark.lab(seconds=50), pytest.mark.timeout(60, func_only=True)]

DEVICE, MINOR = "/dev/drbd0", "0"
BLOCKS = 1024  # of 4 KiB
UNTOLD = 64
ALONE = 100
"""Writes acknowledged without the partner."""
GOES_ON_WITHIN_S = 8.0  # the kernel notices the loss after timeout * ko-count = 2.7 s
HELPER_PARAMETER = "/sys/module/drbd/parameters/usermode_helper"
OWN_HELPER = "/run/own-fence-peer"


@pytest.fixture(scope="module")
def agents() -> dict[str, NodeAgent]:
    return {}


@pytest.fixture
async def bed(lab_bed: Lab, agents: dict[str, NodeAgent]) -> LabMirrorBed:
    """A mirror in sync, Primary on node a, with the product's options and its fence helper."""
    made = LabMirrorBed(lab_bed, agents)
    made.make_blank()
    await in_sync(made)
    return made


@pytest.fixture
def own_helper(bed: LabMirrorBed) -> Iterator[str]:
    """A program that the kernels ask instead of the product's helper; the test is to write it."""
    nodes = [bed.lab.node(name) for name in ("a", "b")]
    before = [node.read_file(HELPER_PARAMETER).strip() for node in nodes]
    for node in nodes:
        node.write_file(HELPER_PARAMETER, OWN_HELPER.encode())
    yield OWN_HELPER
    for node, path in zip(nodes, before, strict=True):
        if node.is_running:  # booted anew, it knows the product's only
            node.write_file(HELPER_PARAMETER, path)


def fence_by(bed: LabMirrorBed, policy: str) -> None:
    """Set what the product's driver has no option for."""
    for name in ("a", "b"):
        bed.lab.node(name).run([DRBDSETUP, "disk-options", MINOR, f"--fencing={policy}"])


def answer_by(bed: LabMirrorBed, name: str, script: str) -> None:
    """What the helper of a node does when its kernel asks; of events it does nothing."""
    text = f'#!/bin/sh\n[ "$1" = fence-peer ] || exit 0\n{script}\n'
    bed.lab.node(name).write_file(OWN_HELPER, text.encode(), mode=0o755)


@asynccontextmanager
async def written(bed: LabMirrorBed) -> AsyncIterator[Writing]:
    """Stamped writes on node a, of which some were acknowledged by both sides."""
    log = bed.lab.layout.root / "writes-must-fail.log"
    writing = Writing(bed.lab.node("a"), DEVICE, "must-fail", first=0, blocks=BLOCKS, log=log)
    await asyncio.to_thread(writing.wait_acknowledged, ALONE, 10)
    yield writing
    # Not where a test fails: what is frozen would only be waited for.
    await asyncio.to_thread(writing.stop)


async def goes_on(writing: Writing) -> None:
    """Wait until writes are acknowledged again."""
    await asyncio.to_thread(writing.wait_acknowledged, ALONE, GOES_ON_WITHIN_S)


async def lose_power(bed: LabMirrorBed) -> None:
    await asyncio.to_thread(bed.lab.node("a").cut)


async def promote(bed: LabMirrorBed, name: str) -> None:
    """Promote a side after it left its partner, as a takeover does, and say the partner is out of reach."""
    driver = bed.driver(name)
    async with answering(driver, RecordingArbiter(FenceAnswer.PEER_UNREACHABLE)):
        await driver.disconnect(M, force=True)
        await driver.promote(M)


async def judge(bed: LabMirrorBed, writing: Writing, name: str) -> Verdict:
    """What became of the acknowledged writes on a side that was promoted."""
    verdict = check(issued_at_the_end(writing), await asyncio.to_thread(writing.read_back, bed.lab.node(name)))
    print(f"{verdict.acknowledged} writes acknowledged, {len(verdict.lost)} of them are not on node {name}")
    return verdict


def issued_at_the_end(writing: Writing) -> list[str]:
    """What the writer said, and the next it may have issued: its node lost its power before that was told."""
    _, last, _, time_s = next(line for line in reversed(writing.lines) if line.startswith("issue")).split()
    numbers = range(int(last) + 1, int(last) + 1 + UNTOLD)
    return [*writing.lines, *(f"issue {number} {(number - 1) % BLOCKS} {time_s}" for number in numbers)]


def assert_caught(verdict: Verdict) -> None:
    """The judgement names lost writes, and what the product's tests assert does not hold."""
    assert len(verdict.lost) >= ALONE
    with pytest.raises(AssertionError, match="acknowledged writes lost"):
        assert_clean(verdict)


# --- unsafe ways ---


async def test_going_on_without_fencing_is_caught(bed: LabMirrorBed) -> None:
    fence_by(bed, "dont-care")
    async with written(bed) as writing:
        await bed.cut_link()
        await goes_on(writing)
        await lose_power(bed)
    await promote(bed, "b")
    assert_caught(await judge(bed, writing, "b"))


async def test_going_on_while_the_helper_still_thinks_is_caught(bed: LabMirrorBed, own_helper: str) -> None:
    """`resource-only`: asked for, and not waited for."""
    fence_by(bed, "resource-only")
    answer_by(bed, "a", "sleep 60; exit 4")
    answer_by(bed, "b", "exit 5")
    async with written(bed) as writing:
        await bed.cut_link()
        await goes_on(writing)
        assert bed.lab.node("a").run(["pgrep", "-f", own_helper]).stdout, "the helper has not answered yet"
        await lose_power(bed)
    await promote(bed, "b")
    assert_caught(await judge(bed, writing, "b"))


async def test_a_helper_that_says_outdated_without_asking_is_caught(bed: LabMirrorBed, own_helper: str) -> None:
    """By both: two nodes acknowledge at once, and writes are lost."""
    for name in ("a", "b"):
        answer_by(bed, name, "exit 4")
    async with written(bed) as writing:
        await bed.cut_link()
        await goes_on(writing)
        await promote(bed, "b")
        await goes_on(writing)
        assert [serves(bed.lab.node(name)) for name in ("a", "b")] == [True, True]
        await lose_power(bed)
    assert_caught(await judge(bed, writing, "b"))


class Believing(FenceArbiter):
    """Has the partner run a plain `outdate`, and believes its exit code."""

    def __init__(self, bed: LabMirrorBed) -> None:
        self._bed = bed

    async def fence_peer(self, mirror: str) -> FenceAnswer:
        """See FenceArbiter."""
        done = await asyncio.to_thread(self._bed.lab.node("b").run, [DRBDSETUP, "outdate", MINOR], check=False)
        assert done.returncode == 0, done.stderr
        return FenceAnswer.PEER_OUTDATED

    async def mirror_event(self, mirror: str, event: str) -> None:
        """See FenceArbiter."""


async def test_believing_a_plain_outdate_of_a_side_that_thinks_it_is_connected_is_caught(bed: LabMirrorBed) -> None:
    async with written(bed) as writing:
        async with answering(bed.driver("a"), Believing(bed)):
            await bed.cut_link()
            # As the monitor does, whose heartbeats are faster than either kernel.
            await bed.driver("a").disconnect(M, force=True)
            await goes_on(writing)
        assert (await bed.driver("b").status(M)).volumes[0].disk is DiskState.UP_TO_DATE
        await lose_power(bed)
    await promote(bed, "b")
    assert_caught(await judge(bed, writing, "b"))


# --- the product's ways, under the same cut ---


class Outdating(Believing):
    """The product's way: the partner's side disconnects, is outdated, and is read back."""

    async def fence_peer(self, mirror: str) -> FenceAnswer:
        """See FenceArbiter."""
        assert await self._bed.driver("b").outdate(M) is DiskState.OUTDATED
        return FenceAnswer.PEER_OUTDATED


async def test_a_partner_that_read_back_outdated_refuses_and_nothing_is_lost(bed: LabMirrorBed) -> None:
    async with written(bed) as writing:
        async with answering(bed.driver("a"), Outdating(bed)):
            await bed.cut_link()
            await bed.driver("a").disconnect(M, force=True)
            await goes_on(writing)
        await lose_power(bed)
    with pytest.raises(RefusedError, match="Need access to UpToDate data"):
        await promote(bed, "b")
    assert not serves(bed.lab.node("b"))
    await bed.power_cycle("a")
    await bed.driver("a").attach(bed.specs["a"])
    await promote(bed, "a")
    assert_clean(await judge(bed, writing, "a"))


async def test_a_primary_that_stands_still_until_its_partner_is_promoted_loses_nothing(bed: LabMirrorBed) -> None:
    undecided = RecordingArbiter()
    async with written(bed) as writing:
        async with answering(bed.driver("a"), undecided):
            await bed.cut_link()
            await see(bed, "a", is_frozen, FREEZE_WITHIN_S)
            acknowledged = writing.acknowledged
            await promote(bed, "b")
            assert [serves(bed.lab.node(name)) for name in ("a", "b")] == [False, True]
            assert writing.acknowledged == acknowledged
            await asyncio.to_thread(wait_for, lambda: bool(undecided.asked), GOES_ON_WITHIN_S, "the kernel asks")
        await lose_power(bed)
    assert undecided.asked == [M]
    assert_clean(await judge(bed, writing, "b"))
