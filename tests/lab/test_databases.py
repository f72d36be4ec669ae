"""Databases at work on a file system on the exported disk, and power cuts of the node that serves it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from demo import blocks
from demo.bed import Bed, StorageNode, wait_for
from demo.report import Report
from lab import Node
from lab.layout import CHECKOUT
from tests.lab.commits import Committing, Judgement, judge
from tests.lab.serving import IN_SYNC_WITHIN_S, WELL, Watch, boot_again, move_back, states

pytestmark = [
    pytest.mark.lab(seconds=60),
    pytest.mark.timed,
    pytest.mark.timeout(400, func_only=True),
]

CUTS = int(os.environ.get("HOLDFAST_CUTS", "3"))
WAITS_AT_MOST_MS = blocks.TAKES_OVER_WITHIN_S * 1000
PLACE = "/mnt/database"
LOAD = str(CHECKOUT / "tests/lab/sqlite_load.py")
SQLITE = f"{PLACE}/money.db"


def shell(node: Node, script: str, timeout_s: float = 60.0) -> str:
    return node.run(["sh", "-ec", script], timeout_s=timeout_s).stdout.decode()


@contextmanager
def file_system(node: Node, device: str, options: str = "") -> Iterator[None]:
    """An empty ext4 on the disk, mounted; as if it never was afterwards."""
    shell(node, f"mkdir -p {PLACE} && mke2fs -q -F -t ext4 {options} {device} && mount {device} {PLACE}")
    try:
        yield
    finally:
        node.run(["umount", PLACE], check=False)


def judge_file_system(node: Node, device: str) -> None:
    """Unmount; what fsck finds, from the disk and not from a cache; mount it again."""
    shell(node, f"umount {PLACE} && blockdev --flushbufs {device}")
    found = node.run(["e2fsck", "-fn", device], check=False, timeout_s=60)
    assert found.returncode == 0, found.stdout.decode()
    shell(node, f"echo 3 >/proc/sys/vm/drop_caches; mount {device} {PLACE}")


def lose_power_of(bed: Bed, active: StorageNode, other: StorageNode, wait: Callable[[], None]) -> None:
    """Cut who serves; return when the other does, the first has booted, and both are in sync."""
    active.node.cut()
    wait()
    wait_for(lambda: blocks.active_node(other) == other.name, blocks.TAKES_OVER_WITHIN_S, "the other node serves")
    boot_again(active)
    well = WELL if other is bed.a else WELL[::-1]
    wait_for(lambda: states(bed) == well, IN_SYNC_WITHIN_S, f"node {other.name} serves and the other has caught up")


def cut_in_turns(bed: Bed, count: int, wait: Callable[[], None]) -> None:
    """Power cuts of whoever serves, node a first; it serves again at the end."""
    with Watch(bed) as watch:
        for number in range(count):
            pair = (bed.a, bed.b) if number % 2 == 0 else (bed.b, bed.a)
            lose_power_of(bed, *pair, wait)
        wait()
    assert ("a", "b") not in watch.seen
    if count % 2:
        move_back(bed)
    else:
        blocks.verify(bed, Report())


def checked(node: Node, said: list[str]) -> tuple[Judgement, dict[str, Any]]:
    """What SQLite holds and what became of its commits."""
    told: dict[str, Any] = json.loads(shell(node, f"python3 {LOAD} check {SQLITE}"))
    return judge(said, told["numbers"]), told


def commit_through_cuts(bed: Bed, device: str, journal_mode: str, cuts: int) -> list[str]:
    """SQLite commits all the while; judged from the disk afterwards. What it said."""
    node = bed.initiator
    log = bed.lab.layout.root / f"commits-{journal_mode}.log"
    work = Committing(node, ["python3", LOAD, "write", SQLITE, journal_mode], log)
    try:
        work.wait_acknowledged(30, 30)
        cut_in_turns(bed, cuts, lambda: work.wait_acknowledged(30, 30))
    finally:
        work.stop()
    judge_file_system(node, device)
    verdict, held = checked(node, work.said)
    print(
        f"SQLite, journal {journal_mode}, {cuts} power cuts: {verdict.acknowledged} commits acknowledged,"
        f" {len(verdict.lost)} lost, longest wait {verdict.longest_gap_ms:.0f} ms"
    )
    assert (held["damage"], held["wrong"]) == ([], [])
    assert verdict.is_clean, verdict
    assert verdict.longest_gap_ms < WAITS_AT_MOST_MS
    return work.said


def test_a_database_loses_no_commit_when_the_active_node_loses_its_power(bed: Bed, device: str) -> None:
    node = bed.initiator
    with file_system(node, device):
        said = commit_through_cuts(bed, device, "wal", 1)
        # What judges is not blind: a commit that is not there, one that says something else, half of one, a torn page.
        numbers = [int(line.split()[1]) for line in said if line.startswith("commit")]
        middle = numbers[len(numbers) // 2]

        def after(change: str) -> tuple[Judgement, dict[str, Any]]:
            shell(node, f'cp {SQLITE} {PLACE}/kept.db && sqlite3 {SQLITE} "{change}"')
            found = checked(node, said)
            shell(node, f"mv {PLACE}/kept.db {SQLITE}")
            return found

        assert after(f"DELETE FROM notes WHERE number = {middle}")[0].lost == (middle,)  # noqa: S608
        assert after(f"UPDATE notes SET payload = 'x' WHERE number = {middle}")[1]["wrong"] == [middle]  # noqa: S608
        assert after("UPDATE accounts SET holds = holds - 1 WHERE number = 5")[1]["damage"]
        shell(node, f"dd if=/dev/zero of={SQLITE} bs=4k seek=20 count=4 conv=notrunc 2>/dev/null")
        assert checked(node, said)[1]["damage"]


@pytest.mark.long
@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
def test_a_database_loses_no_commit_in_several_power_cuts(bed: Bed, device: str, journal_mode: str) -> None:
    with file_system(bed.initiator, device):
        commit_through_cuts(bed, device, journal_mode, CUTS)
