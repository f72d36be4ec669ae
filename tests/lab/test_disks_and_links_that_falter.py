"""Under a served group: slow and erring disks on either side, a link that comes and goes, both daemons killed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from demo import blocks
from demo.bed import DAEMON, Bed, StorageNode, wait_for
from demo.files import POOL
from demo.report import Report
from tests.lab.serving import (
    IN_SYNC_WITHIN_S,
    STARTS_AGAIN_WITHIN_S,
    WELL,
    Watch,
    boot_again,
    kill,
    move_back,
    states,
    written,
)
from tests.lab.test_mirrors import sh

pytestmark = [
    pytest.mark.lab(seconds=105),
    pytest.mark.long,
    pytest.mark.timed,
    pytest.mark.timeout(150, func_only=True),
]

LOWER = f"/dev/{POOL}/{blocks.VOLUME}"
SLOW_MS = 150
WAITED_FOR_AT_MOST_MS = 3000.0
MOVED_AT_MOST_MS = blocks.TAKES_OVER_WITHIN_S * 1000
# Shorter and longer than what the monitor takes for a cut, in turn.
DOWN_S, UP_S, TIMES = (0.3, 1.5), 1.0, 6


@contextmanager
def below(storage: StorageNode, kind: str, more: str) -> Iterator[None]:
    """Another kind of map under a side's volume while this lasts, with the same disk below it."""
    sh(storage, f"modprobe dm-{kind}")
    before = sh(storage, f"dmsetup table {LOWER}").strip()
    start, sectors, was, disk, offset = before.split()
    assert was == "linear"
    load(storage, f"{start} {sectors} {kind} {disk} {offset} {more}")
    try:
        yield
    finally:
        if storage.node.is_running:
            load(storage, before)


def load(storage: StorageNode, table: str) -> None:
    sh(storage, f"dmsetup load {LOWER} --table '{table}'; dmsetup suspend --nolockfs {LOWER}; dmsetup resume {LOWER}")


def disk_of(storage: StorageNode) -> str:
    return str(blocks.mirror_side(storage)["disk"])


def assert_slow(storage: StorageNode) -> None:
    began_s = time.monotonic()
    sh(storage, f"dd if={LOWER} of=/dev/null bs=4k count=4 iflag=direct status=none")
    assert time.monotonic() - began_s > 4 * SLOW_MS / 1000, "the disk is not slow"


def test_a_slow_disk_of_the_active_node_makes_writes_slow_and_nothing_else(bed: Bed, device: str) -> None:
    with (
        Watch(bed) as watch,
        written(bed, device, "slow-a", WAITED_FOR_AT_MOST_MS) as writing,
        below(bed.a, "delay", str(SLOW_MS)),
    ):
        assert_slow(bed.a)
        writing.wait_acknowledged(200, 60)
        assert states(bed) == WELL
    assert watch.seen == {("a",)}


def test_a_standby_whose_disk_takes_seconds_is_left_out_and_comes_back(bed: Bed, device: str) -> None:
    """Each write waits behind the flushes of those before it, until the kernel gives up on that side (ko-count)."""
    with Watch(bed) as watch, written(bed, device, "slow-b", WAITED_FOR_AT_MOST_MS) as writing:
        with below(bed.b, "delay", str(SLOW_MS)):
            assert_slow(bed.b)
            wait_for(lambda: states(bed) == ("active-alone", "standby-not"), 60, "node a goes on without it")
            writing.wait_acknowledged(200, 60)
        wait_for(lambda: states(bed) == WELL, IN_SYNC_WITHIN_S, "it is in sync and stands by")
    assert watch.seen == {("a",)}
    blocks.verify(bed, Report())


def test_a_disk_of_the_standby_that_errs_now_and_then_is_left_out_and_told(bed: Bed, device: str) -> None:
    with Watch(bed) as watch, written(bed, device, "errs-b", WAITED_FOR_AT_MOST_MS) as writing:
        with below(bed.b, "flakey", "1 1"):
            wait_for(lambda: disk_of(bed.b) == "Diskless", 30, "the side that erred has no disk any more")
        assert "disk-lost" in [alert["code"] for alert in bed.b.api.get(f"/v1/mirrors/{blocks.MIRROR}")["alerts"]]
        assert states(bed)[1] != "standby-ok", "it could not take over"
        writing.wait_acknowledged(200, 60)
        bed.b.node.cut()
        boot_again(bed.b)
        wait_for(lambda: states(bed) == WELL, IN_SYNC_WITHIN_S, "node b is in sync and stands by")
    assert watch.seen == {("a",)}
    blocks.verify(bed, Report())


def test_an_active_node_whose_disk_errs_now_and_then_gives_way_to_its_partner(bed: Bed, device: str) -> None:
    with written(bed, device, "errs-a", MOVED_AT_MOST_MS) as writing:
        with below(bed.a, "flakey", "1 1"):
            wait_for(lambda: disk_of(bed.a) == "Diskless", 30, "the side that erred has no disk any more")
        moved = ("standby-not", "active-alone")
        wait_for(lambda: states(bed) == moved, IN_SYNC_WITHIN_S, "the node that has its disk serves, alone")
        writing.wait_acknowledged(200, 60)
        assert "disk-lost" in [alert["code"] for alert in bed.a.api.get(f"/v1/mirrors/{blocks.MIRROR}")["alerts"]]
        bed.a.node.cut()
        boot_again(bed.a)
        wait_for(lambda: states(bed) == WELL[::-1], IN_SYNC_WITHIN_S, "node a is in sync and stands by")
    move_back(bed)
    blocks.verify(bed, Report())


def test_a_link_that_comes_and_goes_moves_nothing_and_loses_nothing(bed: Bed, device: str) -> None:
    with Watch(bed) as watch, written(bed, device, "flapping", MOVED_AT_MOST_MS) as writing:
        for turn in range(TIMES):
            bed.lab.link("a", "replication", up=False)
            time.sleep(DOWN_S[turn % len(DOWN_S)])
            bed.lab.link("a", "replication", up=True)
            time.sleep(UP_S)
        wait_for(lambda: states(bed) == WELL, IN_SYNC_WITHIN_S, "both sides are equal again")
        writing.wait_acknowledged(200, 60)
    assert watch.seen == {("a",)}
    blocks.verify(bed, Report())


def test_both_daemons_that_are_killed_at_once_take_nothing_with_them(bed: Bed, device: str) -> None:
    with Watch(bed) as watch, written(bed, device, "daemons", WAITED_FOR_AT_MOST_MS) as writing:
        for storage in (bed.a, bed.b):
            kill(storage, DAEMON)
        for storage in (bed.a, bed.b):
            storage.api.wait_until_it_answers(STARTS_AGAIN_WITHIN_S)
        writing.wait_acknowledged(200, 60)
    assert watch.seen == {("a",)}
    assert states(bed) == WELL
    # Each finds the other again.
    wait_for(lambda: bool(bed.a.api.get("/v1/node")["partner"]["answers"]), IN_SYNC_WITHIN_S, "it is answered")
