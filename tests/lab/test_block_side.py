"""A served group and what can befall it, but for a plain power cut: nothing is lost, and never do two nodes serve."""

from __future__ import annotations

import time
from typing import Any

import pytest

from demo import blocks
from demo.bed import DAEMON, MONITOR, Bed, StorageNode, wait_for
from demo.client import Refused
from demo.files import POOL
from demo.initiator import INTERVAL_MS, Initiator
from demo.report import Report
from lab import Node
from tests.lab.serving import (
    IN_SYNC_WITHIN_S,
    RESETS_WITHIN_S,
    STARTS_AGAIN_WITHIN_S,
    WELL,
    Watch,
    boot_again,
    epochs,
    foreseen,
    kill,
    move_back,
    state,
    states,
    takeovers,
    written,
)
from tests.lab.test_mirrors import DRBDSETUP

pytestmark = [pytest.mark.lab(seconds=300), pytest.mark.timed, pytest.mark.timeout(120, func_only=True)]

FROZEN_AT_MOST_MS = 2500.0  # until a cut link is noticed, and the partner is outdated or known to be dead
MOVED_AT_MOST_MS = blocks.TAKES_OVER_WITHIN_S * 1000
WAITED_FOR_AT_MOST_MS = 90_000.0  # the initiator queues for as long: its node has to boot
UNTOUCHED_AT_MOST_MS = 1000.0
KEPT_WITHIN_S = 15.0
FILLER = "/var/lib/holdfast/filler"
NEVER_PROMOTED_S = 8.0  # longer than a lone node waits before it judges itself alone
WRITES_A_SECOND = 1000 / INTERVAL_MS


def documents(storage: StorageNode) -> Any:
    """What a node has on record, as far as it does not change by itself."""
    group = blocks.group_of(storage)
    volumes = storage.api.items("/v1/volumes")
    targets = [{**target, "sessions": len(target["sessions"])} for target in storage.api.items("/v1/targets")]
    mirror = storage.api.get(f"/v1/mirrors/{blocks.MIRROR}")
    return group["document"], volumes, targets, {key: mirror[key] for key in ("source", "is_started", "started_at")}


def test_a_killed_daemon_takes_nothing_with_it_and_adopts_what_runs(bed: Bed, device: str) -> None:
    before = documents(bed.a), epochs(bed), takeovers(bed.a), takeovers(bed.b)
    monitor = bed.a.node.service_pid(MONITOR)
    with Watch(bed) as watch, written(bed, device, "daemon", UNTOUCHED_AT_MOST_MS):
        kill(bed.a, DAEMON)
        bed.a.api.wait_until_it_answers(STARTS_AGAIN_WITHIN_S)
    assert watch.seen == {("a",)}
    assert states(bed) == WELL
    assert (documents(bed.a), epochs(bed), takeovers(bed.a), takeovers(bed.b)) == before
    assert bed.a.node.service_pid(MONITOR) == monitor


def test_a_killed_monitor_is_no_reason_to_take_over_and_adopts_what_runs(bed: Bed, device: str) -> None:
    before = documents(bed.a), epochs(bed), takeovers(bed.a), takeovers(bed.b)
    with Watch(bed) as watch, written(bed, device, "monitor", UNTOUCHED_AT_MOST_MS):
        kill(bed.a, MONITOR)
        wait_for(lambda: states(bed) == WELL, STARTS_AGAIN_WITHIN_S, "the monitor of node a has adopted the group")
    assert watch.seen == {("a",)}
    assert (documents(bed.a), epochs(bed), takeovers(bed.a), takeovers(bed.b)) == before


def test_a_killed_monitor_of_the_standby_disturbs_nothing(bed: Bed, device: str) -> None:
    before = documents(bed.a), epochs(bed), takeovers(bed.a), takeovers(bed.b)
    with Watch(bed) as watch, written(bed, device, "its-monitor", UNTOUCHED_AT_MOST_MS) as writing:
        kill(bed.b, MONITOR)
        wait_for(lambda: state(bed.b) != "standby-ok", STARTS_AGAIN_WITHIN_S, "the monitor of node b has started again")
        wait_for(lambda: states(bed) == WELL, STARTS_AGAIN_WITHIN_S, "node b stands by again")
        writing.wait_acknowledged(200, 30)
    assert watch.seen == {("a",)}
    assert (documents(bed.a), epochs(bed), takeovers(bed.a), takeovers(bed.b)) == before


def test_a_cut_replication_link_makes_the_standby_stale_and_nobody_else_active(bed: Bed, device: str) -> None:
    before = epochs(bed), takeovers(bed.a), takeovers(bed.b)
    assert foreseen(bed.b, "replication-link-cut") == "a"
    with Watch(bed) as watch, written(bed, device, "link", FROZEN_AT_MOST_MS) as writing:
        bed.lab.link("a", "replication", up=False)
        wait_for(lambda: states(bed) == ("active-alone", "standby-not"), 30, "node a goes on alone")
        assert blocks.mirror_side(bed.b)["disk"] == "Outdated"
        assert foreseen(bed.b, "active-power-cut") is None
        writing.wait_acknowledged(200, 30)
        bed.lab.link("a", "replication", up=True)
        wait_for(lambda: states(bed) == WELL, IN_SYNC_WITHIN_S, "both sides are equal again")
    assert watch.seen == {("a",)}
    assert (epochs(bed), takeovers(bed.a), takeovers(bed.b)) == before
    blocks.verify(bed, Report())


# --- the failure matrix: faults of links, of the ping node, of the kernel ---


def plug(bed: Bed, name: str, *, up: bool) -> None:
    """Pull every cable of a node at once, or plug them in."""
    for net in blocks.LINKS:
        bed.lab.link(name, net, up=up)


def test_an_active_node_without_any_link_lets_go_before_its_partner_takes_over(bed: Bed, device: str) -> None:
    assert foreseen(bed.a, "active-links-cut") == "b"
    with Watch(bed) as watch, written(bed, device, "island", MOVED_AT_MOST_MS) as writing:
        plug(bed, "a", up=False)
        wait_for(lambda: blocks.active_node(bed.b) == "b", blocks.TAKES_OVER_WITHIN_S, "node b serves the group")
        writing.wait_acknowledged(200, 30)
        plug(bed, "a", up=True)
        # It holds writes that its partner never had: they end with its kernel.
        wait_for(lambda: not bed.a.node.is_running, RESETS_WITHIN_S, "node a resets itself")
        boot_again(bed.a)
        wait_for(lambda: states(bed) == WELL[::-1], IN_SYNC_WITHIN_S, "node a stands by")
    assert watch.seen <= {(), ("a",), ("b",)}
    assert ("b",) in watch.seen
    move_back(bed)


def test_a_passive_node_without_any_link_is_stale_and_stops_nothing(bed: Bed, device: str) -> None:
    before = epochs(bed)
    assert foreseen(bed.a, "passive-links-cut") == "a"
    with Watch(bed) as watch, written(bed, device, "passive", FROZEN_AT_MOST_MS) as writing:
        plug(bed, "b", up=False)
        wait_for(lambda: state(bed.a) == "active-alone", 30, "node a goes on alone")
        writing.wait_acknowledged(200, 30)
        plug(bed, "b", up=True)
        wait_for(lambda: states(bed) == WELL, IN_SYNC_WITHIN_S, "both sides are equal again")
    assert watch.seen == {("a",)}
    assert epochs(bed) == before
    blocks.verify(bed, Report())


def test_without_a_ping_node_nothing_moves_and_a_lone_standby_waits_for_a_person(bed: Bed, device: str) -> None:
    with Watch(bed) as watch, written(bed, device, "no-ping", WAITED_FOR_AT_MOST_MS) as writing:
        bed.lab.link("ping", "client", up=False)
        writing.wait_acknowledged(int(5 * WRITES_A_SECOND), 60)
        assert states(bed) == WELL
        assert watch.seen == {("a",)}
        assert foreseen(bed.a, "active-power-cut") is None
        bed.a.node.cut()
        wait_for(lambda: state(bed.b) in ("standby-not", "manual"), 30, "node b gives up to stand by")
        time.sleep(NEVER_PROMOTED_S)
        assert state(bed.b) in ("standby-not", "manual")
        reasons = blocks.group_of(bed.b)["this_node"]["reasons"]
        assert any("ping node" in reason for reason in reasons), reasons
        assert ("b",) not in watch.seen
        bed.lab.link("ping", "client", up=True)
        boot_again(bed.a)
        wait_for(lambda: states(bed) == WELL, IN_SYNC_WITHIN_S, "node a serves again, and node b stands by")
    assert watch.seen <= {(), ("a",)}
    blocks.verify(bed, Report())


def test_a_frozen_kernel_that_wakes_after_the_takeover_gives_way(bed: Bed, device: str) -> None:
    with written(bed, device, "frozen", MOVED_AT_MOST_MS) as writing:
        bed.a.node.freeze()
        wait_for(lambda: blocks.active_node(bed.b) == "b", blocks.TAKES_OVER_WITHIN_S, "node b serves the group")
        writing.wait_acknowledged(200, 30)
        bed.a.node.thaw()
        wait_for(lambda: not bed.a.node.is_running, RESETS_WITHIN_S, "node a resets itself")
        boot_again(bed.a)
        wait_for(lambda: states(bed) == WELL[::-1], IN_SYNC_WITHIN_S, "node a stands by")
    move_back(bed)


# --- volumes added to its mirror, and taken out ---

ADDED = "disk2"
ADDED_VOLUME = {"pool": POOL, "name": ADDED, "size_bytes": 64 << 20, "kind": "iscsi"}
SLOWLY_BYTES_S = 8 << 20
ADDED_WITHIN_S = 60.0
ADD = f"/v1/mirrors/{blocks.MIRROR}/add-volume"


def begin_to_add(bed: Bed) -> tuple[Any, bytes]:
    """Ask for a volume with data to be added, slowly; the job, its first sync under way, and the sum of the data."""
    bed.a.api.change("POST", "/v1/volumes", ADDED_VOLUME)
    device = bed.a.api.get(f"/v1/volumes/{ADDED}")["actual"]["device"]
    fill_it = f"dd if=/dev/urandom of={device} bs=1M count=64 oflag=direct iflag=fullblock status=none"
    bed.a.node.run(["sh", "-ec", fill_it], timeout_s=60)
    total = sum_of(bed.a.node, device)
    limits = {"limits": {"max_bytes_s": SLOWLY_BYTES_S, "min_bytes_s": SLOWLY_BYTES_S}}
    bed.a.api.change("PATCH", f"/v1/mirrors/{blocks.MIRROR}", limits)
    body = {"volume": ADDED, "first_sync": "full"}
    job = bed.a.api.call("POST", ADD, body, headers={"Prefer": "respond-async"})
    wait_for(lambda: "cs:SyncSource" in drbd(bed.a), ADDED_WITHIN_S, "the first sync is under way")
    return job, total


def end_adding(bed: Bed) -> None:
    """Take the volume out again, and leave nothing of it."""
    bed.a.api.change("PATCH", f"/v1/mirrors/{blocks.MIRROR}", {"limits": {}})
    remove = f"/v1/mirrors/{blocks.MIRROR}/remove-volume?confirm={ADDED}"
    bed.a.api.change("POST", remove, {"volume": ADDED})
    for storage in (bed.a, bed.b):
        assert storage.api.get(f"/v1/mirrors/{blocks.MIRROR}")["volumes"] == [blocks.VOLUME]
        assert drbd(storage).count(" cs:") - drbd(storage).count("cs:Unconfigured") == 1, drbd(storage)
        storage.api.change("DELETE", f"/v1/volumes/{ADDED}?confirm={ADDED}")


def drbd(storage: StorageNode) -> str:
    """What a kernel says of its mirrors."""
    return storage.node.read_file("/proc/drbd").decode()


def sum_of(node: Node, device: str) -> bytes:
    """Of all that is on a disk, read past the page cache."""
    return node.run(["sh", "-c", f"dd if={device} bs=1M iflag=direct status=none | sha256sum"], timeout_s=60).stdout


def new_disk(bed: Bed, known: list[str]) -> str:
    """The disk that the initiator sees besides, when it looks."""
    initiator = Initiator(bed.initiator, blocks.IQN, blocks.VIRTUAL_ADDRESS)
    bed.initiator.run(["iscsiadm", "-m", "session", "--rescan"])
    wait_for(lambda: len(initiator.disks()) > len(known), 10, "the initiator sees one disk more")
    [name] = [name for name in initiator.disks() if name not in known]
    return f"/dev/{name}"


@pytest.mark.timeout(240, func_only=True)
def test_a_volume_is_added_under_load_served_by_both_nodes_and_taken_out_again(bed: Bed, device: str) -> None:
    known = Initiator(bed.initiator, blocks.IQN, blocks.VIRTUAL_ADDRESS).disks()
    before = epochs(bed), takeovers(bed.a), takeovers(bed.b)
    with Watch(bed) as watch, written(bed, device, "add", UNTOUCHED_AT_MOST_MS):
        job, total = begin_to_add(bed)
        seen = set()
        while "cs:SyncSource" in drbd(bed.a):
            seen.add(states(bed))
        job = bed.a.api.follow(job, "add", within_s=ADDED_WITHIN_S)
        units = body_of(bed)["units"]
        bed.a.api.change(
            "PUT", f"/v1/targets/{blocks.TARGET}", body_of(bed, units=[*units, {"lun": 2, "volume": ADDED}])
        )
        added = new_disk(bed, known)
        assert sum_of(bed.initiator, added) == total
        assert drbd(bed.a).count("ro:Primary/Secondary ds:UpToDate/UpToDate") == 2, drbd(bed.a)
    print(job["log"])
    # The standby stood by all the while, and the one that serves never took its new volume for a disk that it lost.
    assert seen == {WELL}
    assert (watch.seen, epochs(bed), takeovers(bed.a), takeovers(bed.b)) == ({("a",)}, *before)

    with written(bed, device, "added-cut", MOVED_AT_MOST_MS):
        bed.a.node.cut()
        wait_for(lambda: blocks.active_node(bed.b) == "b", blocks.TAKES_OVER_WITHIN_S, "node b serves the group")
        assert sum_of(bed.initiator, added) == total
    boot_again(bed.a)
    move_back(bed)
    with pytest.raises(Refused, match="is LUN 2 of the target"):
        bed.a.api.change("POST", f"/v1/mirrors/{blocks.MIRROR}/remove-volume?confirm={ADDED}", {"volume": ADDED})
    with Watch(bed) as watch, written(bed, device, "take-out", UNTOUCHED_AT_MOST_MS):
        bed.initiator.run(["sh", "-c", f"echo 1 >/sys/block/{added[5:]}/device/delete"])
        bed.a.api.change("PUT", f"/v1/targets/{blocks.TARGET}", body_of(bed, units=units))
        end_adding(bed)
    assert (watch.seen, states(bed)) == ({("a",)}, WELL)


@pytest.mark.long
@pytest.mark.timeout(240, func_only=True)
def test_a_power_cut_during_the_first_sync_moves_the_others_and_serves_nothing_stale(bed: Bed, device: str) -> None:
    with written(bed, device, "add-cut", MOVED_AT_MOST_MS):
        job, total = begin_to_add(bed)
        bed.a.node.cut()
        wait_for(lambda: blocks.active_node(bed.b) == "b", blocks.TAKES_OVER_WITHIN_S, "node b serves the group")
    # The control: the half of it that node b has is there, and its kernel refuses it to everybody.
    [line] = [line for line in drbd(bed.b).splitlines() if "Inconsistent" in line]
    assert "ro:Secondary/Unknown ds:Inconsistent/" in line
    minor = line.split(":")[0].strip()
    assert bed.b.node.run([DRBDSETUP, "primary", minor], check=False).returncode == 17
    assert bed.b.node.run(["head", "-c1", f"/dev/drbd{minor}"], check=False).returncode != 0
    assert bed.b.api.get(f"/v1/mirrors/{blocks.MIRROR}")["volumes"] == [blocks.VOLUME]
    units = [*body_of(bed, at=bed.b)["units"], {"lun": 2, "volume": ADDED}]
    with pytest.raises(Refused, match=f"{ADDED} is not in the mirror"):
        bed.b.api.change("PUT", f"/v1/targets/{blocks.TARGET}", body_of(bed, at=bed.b, units=units))
    with pytest.raises(Refused):
        bed.b.api.change("DELETE", f"/v1/volumes/{ADDED}?confirm={ADDED}")

    boot_again(bed.a)
    print(bed.a.api.follow(job, "add", within_s=ADDED_WITHIN_S)["log"])
    wait_for(lambda: states(bed) == WELL[::-1], IN_SYNC_WITHIN_S, "node a stands by, with both volumes")
    assert drbd(bed.b).count("ro:Primary/Secondary ds:UpToDate/UpToDate") == 2, drbd(bed.b)
    assert sum_of(bed.b.node, f"/dev/drbd{minor}") == total
    move_back(bed)
    end_adding(bed)


# --- its target ---


def body_of(bed: Bed, *, at: StorageNode | None = None, **more: Any) -> dict[str, Any]:
    """The target as it is, with something else in it, as a change takes it."""
    target = (at or bed.a).api.get(f"/v1/targets/{blocks.TARGET}")
    access = [{"initiator": initiator} for initiator in target["initiators"]]
    return {"mirror": target["mirror"], "units": target["units"], "access": access, **more}


def test_a_served_target_is_changed_under_load_on_both_nodes(bed: Bed, device: str) -> None:
    path = f"/v1/targets/{blocks.TARGET}"
    [before] = bed.a.api.get(path)["sessions"]
    [initiator] = bed.a.api.get(path)["initiators"]
    access = [{"initiator": initiator}, {"initiator": f"{initiator}-2", "chap": {"user": "u", "password": "p" * 12}}]
    with written(bed, device, "change", UNTOUCHED_AT_MOST_MS):
        bed.a.api.change("PUT", path, body_of(bed, access=access))
    wait_for(lambda: bed.b.api.get(path)["this_node"] == "staged", 10, "the standby has it too")
    for storage in (bed.a, bed.b):
        identity = storage.api.get(f"{path}/identity")
        assert (identity["is_same"], identity["serving_node"]) == (True, "a"), identity
    acls = f"/sys/kernel/config/target/iscsi/{blocks.IQN}/tpgt_1/acls"
    assert [len(storage.node.run(["ls", acls]).stdout.split()) for storage in (bed.a, bed.b)] == [2, 2]

    # Who changes a node's kernel behind our back is found out, with the field and the node.
    depth = f"{acls}/{initiator}-2/cmdsn_depth"
    bed.b.node.run(["sh", "-ec", f"echo 33 >{depth}"])
    [difference] = bed.a.api.get(f"{path}/identity")["differences"]
    field = f"access[{initiator}-2].cmdsn_depth"
    assert difference == {"field": field, "wanted": "64", "this_node": "64", "other_node": "33"}

    bed.a.api.change("PUT", path, body_of(bed, access=access[:1]))
    wait_for(lambda: bed.a.api.get(f"{path}/identity")["is_same"], 10, "both kernels are as wanted")
    [after] = bed.a.api.get(path)["sessions"]
    assert (after["port"], after["first_seen_at"]) == (before["port"], before["first_seen_at"])


KEY = "0x7777"
CARRIED_WITHIN_S = 10.0


def reserved(bed: Bed, device: str) -> str:
    """Keys and reservation of the disk, as the initiator is told."""
    asked = [["sg_persist", "--in", what, device] for what in ("--read-keys", "--read-reservation")]
    return "".join(bed.initiator.run(argv).stdout.decode() for argv in asked)


LONE = "lone"
LONE_VOLUME = {"pool": POOL, "name": LONE, "size_bytes": 16 << 20, "kind": "iscsi"}


def make_lone_target(bed: Bed) -> dict[str, Any]:
    """A target of node a alone, on a port of its own; as the API shows it."""
    api = bed.a.api
    api.change("POST", "/v1/volumes", LONE_VOLUME)
    portals = [{"address": bed.a.node.address("client"), "port": 3261}]
    unit = {"lun": 0, "volume": LONE, "vendor": "ACME", "may_unmap": False}
    body = {"name": LONE, "portals": portals, "units": [unit], "is_open": True}
    made: dict[str, Any] = api.change("POST", "/v1/targets", body)["result"]
    return made


def test_a_power_cut_and_a_switchover_keep_reservations_and_bring_back_targets_of_one_node(
    bed: Bed, device: str
) -> None:
    lone = make_lone_target(bed)
    assert (lone["this_node"], lone["mirror"]) == ("active", None)
    find = ["iscsiadm", "-m", "discovery", "-t", "st", "-o", "nonpersistent", "-p"]
    at = f"{bed.a.node.address('client')}:3261"
    assert lone["iqn"].encode() in bed.initiator.run([*find, at]).stdout
    persist = ["sg_persist", "--out", "--param-aptpl", device]
    bed.initiator.run([*persist, "--register", f"--param-sark={KEY}"])
    bed.initiator.run(["sg_persist", "--out", "--reserve", f"--param-rk={KEY}", "--prout-type=5", device])
    held = reserved(bed, device)
    assert f"Key={KEY}" in held.replace(" ", "")
    path = f"/v1/targets/{blocks.TARGET}"
    wait_for(lambda: bed.a.api.get(path)["are_reservations_on_partner"], CARRIED_WITHIN_S, "node b knows of it")

    assert foreseen(bed.a, "active-power-cut") == "b"
    bed.a.node.cut()
    wait_for(lambda: blocks.active_node(bed.b) == "b", blocks.TAKES_OVER_WITHIN_S, "node b serves the group")
    assert told(reserved(bed, device)) == told(held)
    bed.a.node.boot()
    bed.a.api.wait_until_it_answers(blocks.BOOTS_WITHIN_S)
    wait_for(lambda: states(bed) == ("standby-ok", "active-sync"), IN_SYNC_WITHIN_S, "node a is ready")
    # What both decided outlives the power cut, and either node tells it.
    decided = bed.a.api.items(f"/v1/groups/{blocks.GROUP}/decisions?page_size=1000")
    assert {decision["node"] for decision in decided} == {"a", "b"}
    [*_, served] = [decision for decision in decided if decision["timeline_ms"]]
    print(served)
    assert served["node"] == "b"
    assert list(served["timeline_ms"])[-1] == "address up"
    assert decided == bed.b.api.items(f"/v1/groups/{blocks.GROUP}/decisions?page_size=1000")

    # Its serial and all else is what it was, and so is the address.
    assert bed.a.api.get(f"/v1/targets/{LONE}") == lone
    assert lone["iqn"].encode() in bed.initiator.run([*find, at]).stdout
    bed.a.api.change("DELETE", f"/v1/targets/{LONE}?confirm={LONE}")
    bed.a.api.change("DELETE", f"/v1/volumes/{LONE}?confirm={LONE}")

    bed.b.api.change("POST", f"/v1/groups/{blocks.GROUP}/switchover", {"to": "a"})
    assert told(reserved(bed, device)) == told(held)
    bed.initiator.run([*persist, "--register", f"--param-rk={KEY}", "--param-sark=0"])
    assert KEY not in reserved(bed, device)


def fill(storage: StorageNode) -> None:
    """Leave no byte of the state disk free; root's reserve of an ext4 is used too."""
    script = f"for size in 1M 512; do dd if=/dev/zero of={FILLER}-$size bs=$size 2>/dev/null || true; done; sync"
    storage.node.run(["sh", "-c", script], timeout_s=30)


def make_room(storage: StorageNode) -> None:
    storage.node.run(["sh", "-c", f"rm -f {FILLER}-*"])


@pytest.mark.long
def test_a_full_state_disk_changes_nothing_is_told_and_is_no_obstacle_to_a_takeover(bed: Bed, device: str) -> None:
    before = documents(bed.b)[:2]
    decided = len(takeovers(bed.b))
    for storage in (bed.a, bed.b):
        fill(storage)
    try:
        for storage in (bed.a, bed.b):
            with pytest.raises(Refused, match="is full") as refused:
                storage.api.change("POST", "/v1/volumes", LONE_VOLUME)
            assert refused.value.status == 507
        with written(bed, device, "full disk", MOVED_AT_MOST_MS):
            bed.a.node.cut()
            wait_for(lambda: blocks.active_node(bed.b) == "b", blocks.TAKES_OVER_WITHIN_S, "node b serves the group")
        assert documents(bed.b)[:2] == before
    finally:
        make_room(bed.b)
    # What was decided without room for it is kept once there is some.
    wait_for(lambda: len(takeovers(bed.b)) > decided, KEPT_WITHIN_S, "the decision is kept")
    boot_again(bed.a)  # which starts without any room, too
    make_room(bed.a)
    move_back(bed)
    for storage in (bed.a, bed.b):  # and it takes changes again
        storage.api.change("POST", "/v1/volumes", LONE_VOLUME)
        storage.api.change("DELETE", f"/v1/volumes/{LONE}?confirm={LONE}")


def told(text: str) -> list[str]:
    """What sg_persist says but the generation, which counts from 0 on each node."""
    return [line for line in text.splitlines() if "generation" not in line]
