"""A group whose logical unit is a file: the file system under it moves with the group, and is mounted nowhere else."""

from __future__ import annotations

import pytest

from demo import blocks
from demo.bed import MONITOR, Bed, StorageNode, wait_for
from tests.lab.serving import (
    IN_SYNC_WITHIN_S,
    STARTS_AGAIN_WITHIN_S,
    WELL,
    Watch,
    boot_again,
    kill,
    move_back,
    state,
    states,
    written,
)

pytestmark = [
    pytest.mark.lab(seconds=110),
    pytest.mark.long,
    pytest.mark.timed,
    pytest.mark.in_order,
    pytest.mark.timeout(120, func_only=True),
]

FILE_BYTES = 320 << 20
MOVED_AT_MOST_MS = blocks.TAKES_OVER_WITHIN_S * 1000
UNTOUCHED_AT_MOST_MS = 1000.0


def in_sync(bed: Bed) -> tuple[bool, bool]:
    """Whether the mirror is whole, by the word of each node."""
    here, there = (storage.api.get(f"/v1/mirrors/{blocks.MIRROR}")["is_in_sync"] for storage in (bed.a, bed.b))
    return here, there


def mounted_at(storage: StorageNode) -> str | None:
    """Where a node has the volume's file system, by its own word; its kernel's word is that it is the mirror's."""
    place = storage.api.get(f"/v1/volumes/{blocks.VOLUME}")["mounted_at"]
    lines = [line.split() for line in storage.node.read_file("/proc/mounts").decode().splitlines()]
    found = [line[1] for line in lines if line[0] == "/dev/drbd0"]
    assert found == ([] if place is None else [place])
    return None if place is None else str(place)


def test_the_node_that_serves_has_it_mounted_and_the_other_one_has_not(bed: Bed, device: str) -> None:
    place = mounted_at(bed.a)
    assert place is not None
    assert mounted_at(bed.b) is None
    unit = bed.a.api.get(f"/v1/volumes/{blocks.VOLUME}")["unit_bytes"]
    assert bed.a.node.run(["stat", "-c", "%s", f"{place}/unit"]).stdout.decode().strip() == str(unit)
    assert bed.initiator.run(["blockdev", "--getsize64", device]).stdout.decode().strip() == str(unit)
    for storage in (bed.a, bed.b):
        assert storage.api.get(f"/v1/volumes/{blocks.VOLUME}")["drift"] == []


def test_it_moves_with_its_group_after_a_power_cut_and_back_by_a_switchover(bed: Bed, device: str) -> None:
    with Watch(bed) as watch:
        with written(bed, device, "cut", MOVED_AT_MOST_MS) as writing:
            bed.a.node.cut()
            wait_for(lambda: state(bed.b) == "active-alone", blocks.TAKES_OVER_WITHIN_S, "node b serves")
            writing.wait_acknowledged(200, 30)
            print(bed.b.api.items("/v1/decisions?page_size=1000")[-1])
        assert mounted_at(bed.b) is not None
        boot_again(bed.a)
        wait_for(lambda: states(bed) == WELL[::-1], IN_SYNC_WITHIN_S, "node a has caught up")
        assert mounted_at(bed.a) is None
        with written(bed, device, "back", MOVED_AT_MOST_MS):
            move_back(bed)
    assert ("a", "b") not in watch.seen
    assert mounted_at(bed.b) is None
    assert mounted_at(bed.a) is not None


def test_a_killed_monitor_adopts_what_it_serves(bed: Bed, device: str) -> None:
    place = mounted_at(bed.a)
    with Watch(bed) as watch, written(bed, device, "monitor", UNTOUCHED_AT_MOST_MS):
        kill(bed.a, MONITOR)
        wait_for(lambda: states(bed) == WELL, STARTS_AGAIN_WITHIN_S, "the monitor of node a has adopted the group")
    assert watch.seen == {("a",)}
    assert mounted_at(bed.a) == place


def test_a_stopped_group_leaves_it_mounted_nowhere_and_a_start_mounts_it(bed: Bed, device: str) -> None:
    bed.a.api.change("POST", f"/v1/groups/{blocks.GROUP}/stop")
    wait_for(lambda: state(bed.a) == "stopped", IN_SYNC_WITHIN_S, "the group is stopped")
    assert (mounted_at(bed.a), mounted_at(bed.b)) == (None, None)
    bed.b.node.cut()
    boot_again(bed.b)
    wait_for(lambda: in_sync(bed) == (True, True), IN_SYNC_WITHIN_S, "the sides are equal again, though nobody serves")
    assert (mounted_at(bed.a), mounted_at(bed.b)) == (None, None)
    bed.a.api.change("POST", f"/v1/groups/{blocks.GROUP}/start")
    wait_for(lambda: states(bed) == WELL, IN_SYNC_WITHIN_S, "node a serves and node b is ready")
    # The initiator, which nobody answered for as long as a node boots, comes back when it next tries.
    with written(bed, device, "again", MOVED_AT_MOST_MS):
        pass
    blocks_differ = bed.a.api.change("POST", f"/v1/mirrors/{blocks.MIRROR}/verify")["result"]["out_of_sync_bytes"]
    assert blocks_differ == 0
