"""A group whose logical unit is a file: the file system under it moves with the group, and is mounted nowhere else."""

from __future__ import annotations

import hashlib

import pytest

from demo import blocks
from demo.bed import DAEMON, MONITOR, Bed, StorageNode, wait_for
from tests.lab.serving import (
    IN_SYNC_WITHIN_S,
    RESETS_WITHIN_S,
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
    pytest.mark.lab(seconds=190),
    pytest.mark.long,
    pytest.mark.timed,
    pytest.mark.in_order,
    pytest.mark.timeout(120, func_only=True),
]

MIB = 1 << 20
FILE_BYTES, GROWN_BYTES = 320 * MIB, 384 * MIB
PART_MIB = 4
KEY = "0x7777"
MOVED_AT_MOST_MS = blocks.TAKES_OVER_WITHIN_S * 1000
UNTOUCHED_AT_MOST_MS = 1000.0


def in_sync(bed: Bed) -> tuple[bool, bool]:
    """Whether the mirror is whole, by the word of each node."""
    here, there = (storage.api.get(f"/v1/mirrors/{blocks.MIRROR}")["is_in_sync"] for storage in (bed.a, bed.b))
    return here, there


def unit_bytes(storage: StorageNode) -> int:
    """How large the unit is, by the record of a node."""
    return int(storage.api.get(f"/v1/volumes/{blocks.VOLUME}")["unit_bytes"])


def rescanned_bytes(bed: Bed, device: str) -> int:
    """How large its initiator finds the unit when it looks again."""
    bed.initiator.run(["sh", "-c", f"echo 1 >/sys/block/{device[5:]}/device/rescan"])
    return int(bed.initiator.run(["blockdev", "--getsize64", device]).stdout)


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
    unit = unit_bytes(bed.a)
    assert bed.a.node.run(["stat", "-c", "%s", f"{place}/unit"]).stdout.decode().strip() == str(unit)
    assert rescanned_bytes(bed, device) == unit
    for storage in (bed.a, bed.b):
        assert storage.api.get(f"/v1/volumes/{blocks.VOLUME}")["drift"] == []


def reserved(bed: Bed, device: str) -> str:
    """Keys and reservation of the disk, as the initiator is told."""
    asked = [["sg_persist", "--in", what, device] for what in ("--read-keys", "--read-reservation")]
    return "".join(bed.initiator.run(argv).stdout.decode() for argv in asked)


def content(bed: Bed, device: str, first_bytes: int) -> str:
    """Some MiB from there on, as the initiator reads them past its cache."""
    part = f"bs=1M skip={first_bytes // MIB} count={PART_MIB} iflag=direct status=none"
    return bed.initiator.run(["sh", "-c", f"dd if={device} {part} | sha256sum"]).stdout.decode()


def fill(bed: Bed, device: str, first_bytes: int) -> str:
    """Write as much at random, and return what is there then."""
    part = f"bs=1M seek={first_bytes // MIB} count={PART_MIB} iflag=fullblock oflag=direct status=none"
    bed.initiator.run(["sh", "-c", f"dd if=/dev/urandom of={device} {part}"])
    return content(bed, device, first_bytes)


def test_it_grows_under_load_by_two_daemons_and_its_initiator_is_not_disturbed(bed: Bed, device: str) -> None:
    old_bytes = unit_bytes(bed.a)
    persist = ["sg_persist", "--out", "--param-aptpl", device]
    bed.initiator.run([*persist, "--register", f"--param-sark={KEY}"])
    bed.initiator.run(["sg_persist", "--out", "--reserve", f"--param-rk={KEY}", "--prout-type=5", device])
    held, kept = reserved(bed, device), fill(bed, device, old_bytes - PART_MIB * MIB)
    assert f"Key={KEY}" in held.replace(" ", "")
    body = {"volume": blocks.VOLUME, "size_bytes": GROWN_BYTES}
    with Watch(bed) as watch, written(bed, device, "grow", UNTOUCHED_AT_MOST_MS):
        asked = {"Prefer": "respond-async"}
        job = bed.a.api.call("POST", f"/v1/mirrors/{blocks.MIRROR}/grow", body, headers=asked)
        kill(bed.a, DAEMON)
        bed.a.api.wait_until_it_answers(STARTS_AGAIN_WITHIN_S)
        print(bed.a.api.follow(job, "mirror.grow", within_s=IN_SYNC_WITHIN_S)["log"])
        assert rescanned_bytes(bed, device) == unit_bytes(bed.a)
    assert watch.seen == {("a",)}
    new_bytes = unit_bytes(bed.a)
    assert new_bytes - old_bytes > PART_MIB * MIB
    assert unit_bytes(bed.b) == new_bytes
    assert (reserved(bed, device), states(bed)) == (held, WELL)
    path = f"/v1/targets/{blocks.TARGET}"
    assert bed.a.api.get(f"{path}/identity")["is_same"] is True
    for storage in (bed.a, bed.b):
        assert storage.api.get(f"/v1/volumes/{blocks.VOLUME}")["drift"] == []
    assert content(bed, device, old_bytes - PART_MIB * MIB) == kept
    # What is new reads as zeros, and takes data to its very end.
    assert content(bed, device, old_bytes).split()[0] == hashlib.sha256(bytes(PART_MIB * MIB)).hexdigest()
    assert fill(bed, device, new_bytes - PART_MIB * MIB) != kept
    bed.initiator.run([*persist, "--clear", f"--param-rk={KEY}"])


def test_it_moves_with_its_group_after_a_power_cut_and_back_by_a_switchover(bed: Bed, device: str) -> None:
    size_bytes = unit_bytes(bed.a)
    # The last, which the volume was given when it grew, and one further to the front.
    parts = (size_bytes - PART_MIB * MIB, size_bytes // MIB // 2 * MIB)
    held = [fill(bed, device, first_bytes) for first_bytes in parts]
    with Watch(bed) as watch:
        with written(bed, device, "cut", MOVED_AT_MOST_MS) as writing:
            bed.a.node.cut()
            wait_for(lambda: state(bed.b) == "active-alone", blocks.TAKES_OVER_WITHIN_S, "node b serves")
            writing.wait_acknowledged(200, 30)
            print(bed.b.api.items("/v1/decisions?page_size=1000")[-1])
        assert mounted_at(bed.b) is not None
        assert [content(bed, device, first_bytes) for first_bytes in parts] == held
        assert rescanned_bytes(bed, device) == size_bytes
        boot_again(bed.a)
        wait_for(lambda: states(bed) == WELL[::-1], IN_SYNC_WITHIN_S, "node a has caught up")
        assert mounted_at(bed.a) is None
        with written(bed, device, "back", MOVED_AT_MOST_MS):
            move_back(bed)
    assert ("a", "b") not in watch.seen
    assert [content(bed, device, first_bytes) for first_bytes in parts] == held
    assert mounted_at(bed.b) is None
    assert mounted_at(bed.a) is not None


def test_a_frozen_kernel_that_wakes_after_the_takeover_gives_way(bed: Bed, device: str) -> None:
    with Watch(bed) as watch:
        with written(bed, device, "frozen", MOVED_AT_MOST_MS) as writing:
            bed.a.node.freeze()
            wait_for(lambda: blocks.active_node(bed.b) == "b", blocks.TAKES_OVER_WITHIN_S, "node b serves the group")
            writing.wait_acknowledged(200, 30)
            bed.a.node.thaw()
            wait_for(lambda: not bed.a.node.is_running, RESETS_WITHIN_S, "node a resets itself")
            boot_again(bed.a)
        move_back(bed)
    assert ("a", "b") not in watch.seen


def test_a_file_system_that_its_kernel_shut_down_is_told_and_a_switchover_leaves_it(bed: Bed, device: str) -> None:
    """No other node is asked to serve by itself: what the initiator gets until then is errors, and nothing is lost."""
    place, offset_bytes = mounted_at(bed.a), 64 * MIB
    held = fill(bed, device, offset_bytes)
    bed.a.node.run(["xfs_io", "-x", "-c", "shutdown", str(place)])
    writes = ["dd", "if=/dev/zero", f"of={device}", "bs=1M", "count=1", f"seek={offset_bytes // MIB}", "oflag=direct"]
    assert bed.initiator.run(writes, check=False).returncode != 0
    [told] = bed.a.api.get(f"/v1/volumes/{blocks.VOLUME}")["drift"]
    assert "shut down" in told
    assert bed.b.api.get(f"/v1/volumes/{blocks.VOLUME}")["drift"] == []
    bed.a.api.change("POST", f"/v1/groups/{blocks.GROUP}/switchover", {"to": "b"})
    assert content(bed, device, offset_bytes) == held
    assert bed.a.api.get(f"/v1/volumes/{blocks.VOLUME}")["drift"] == []
    with written(bed, device, "shut", MOVED_AT_MOST_MS):
        move_back(bed)
    assert content(bed, device, offset_bytes) == held


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
