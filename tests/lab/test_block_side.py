"""A served group when a process dies or only the replication link is cut: it stays where it is, and loses nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from demo import blocks, files
from demo.bed import DAEMON, MONITOR, Bed, StorageNode, wait_for
from demo.files import POOL
from demo.initiator import Initiator, Writing, assert_clean
from demo.report import Report
from lab import Lab, Node
from tests.lab.product import begin_anew, end

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120, func_only=True)]

STARTS_AGAIN_WITHIN_S = 30.0
IN_SYNC_WITHIN_S = 60.0
FROZEN_AT_MOST_MS = 5000.0  # until a cut link is noticed (ping-int + ping-timeout) and the partner is outdated
UNTOUCHED_AT_MOST_MS = 1000.0
WATCH_EVERY_S = 0.2


@pytest.fixture(scope="module")
def served(lab_session: Lab) -> Iterator[tuple[Bed, str]]:
    """A pair whose node a serves a group, and the disk at the initiator."""
    bed = begin_anew(lab_session)
    report = Report()
    files.pair(bed, report)
    initiator = Initiator(bed.initiator, blocks.IQN, blocks.VIRTUAL_ADDRESS)
    blocks.build(bed, report, initiator)
    device = initiator.log_in()
    yield bed, device
    initiator.log_out()
    end(bed)


@pytest.fixture
def bed(served: tuple[Bed, str], lab_bed: Lab) -> Bed:
    """The pair, in sync, served by node a."""
    wait_for(lambda: states(served[0]) == WELL, IN_SYNC_WITHIN_S, "node a serves and node b is ready")
    return served[0]


@pytest.fixture
def device(served: tuple[Bed, str]) -> str:
    return served[1]


WELL = ("active-sync", "standby-ok")


def states(bed: Bed) -> tuple[str, str]:
    """Of the group on a and on b, each as its own monitor says it."""
    return state(bed.a), state(bed.b)


def state(storage: StorageNode) -> str:
    here = blocks.group_of(storage)["this_node"]
    return str(here["state"]) if here else "unknown"


def epochs(bed: Bed) -> tuple[int, ...]:
    return tuple(blocks.group_of(storage)["this_node"]["epoch"] for storage in (bed.a, bed.b))


def takeovers(storage: StorageNode) -> list[str]:
    """The decisions by which a node came to serve."""
    told = [str(decision["sentence"]) for decision in storage.api.items("/v1/decisions?page_size=1000")]
    return [sentence for sentence in told if "takes over" in sentence or "starts to serve" in sentence]


class Watch:
    """Asks both kernels again and again which of them serves: who is Primary, and who has the address."""

    def __init__(self, bed: Bed) -> None:
        self._bed = bed
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.seen: set[tuple[str, ...]] = set()

    def _look(self) -> None:
        while not self._over.wait(WATCH_EVERY_S):
            self.seen.add(tuple(storage.name for storage in (self._bed.a, self._bed.b) if serves(storage.node)))

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(30)


def serves(node: Node) -> bool:
    """Whether a kernel lets anybody write to the mirror, or answers for the virtual address."""
    script = f"grep -q 'ro:Primary/' /proc/drbd || ip -o addr | grep -qF ' {blocks.VIRTUAL_ADDRESS}/'"
    return node.run(["sh", "-c", script], check=False).returncode == 0


@contextmanager
def written(bed: Bed, device: str, run: str, gap_at_most_ms: float, *, first: int = 0) -> Iterator[Writing]:
    """Stamped writes go on all the while; afterwards none is lost, none failed, none waited for long."""
    writing = blocks.start_writing(bed, device, run, first)
    try:
        writing.wait_acknowledged(200, 30)
        yield writing
        writing.wait_acknowledged(200, 30)
    finally:
        writing.stop()
    verdict = writing.judge()
    print(f"{verdict.acknowledged} writes acknowledged, longest gap {verdict.longest_gap_ms:.0f} ms")
    assert_clean(verdict)
    assert verdict.longest_gap_ms < gap_at_most_ms


def kill(storage: StorageNode, service: str) -> None:
    """Kill -9, and return when the supervisor has started it again."""

    def starts() -> int:
        return storage.node.services()[service]["starts"] or 0

    before = starts()
    storage.node.kill_service(service)
    wait_for(lambda: starts() > before, STARTS_AGAIN_WITHIN_S, f"{service} is started again")


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
    with Watch(bed) as watch, written(bed, device, "monitor", UNTOUCHED_AT_MOST_MS, first=blocks.REGION_BLOCKS):
        kill(bed.a, MONITOR)
        wait_for(lambda: states(bed) == WELL, STARTS_AGAIN_WITHIN_S, "the monitor of node a has adopted the group")
    assert watch.seen == {("a",)}
    assert (documents(bed.a), epochs(bed), takeovers(bed.a), takeovers(bed.b)) == before


def test_a_cut_replication_link_makes_the_standby_stale_and_nobody_else_active(bed: Bed, device: str) -> None:
    before = epochs(bed), takeovers(bed.a), takeovers(bed.b)
    with (
        Watch(bed) as watch,
        written(bed, device, "link", FROZEN_AT_MOST_MS, first=2 * blocks.REGION_BLOCKS) as writing,
    ):
        bed.lab.link("a", "replication", up=False)
        wait_for(lambda: states(bed) == ("active-alone", "standby-not"), 30, "node a goes on alone")
        assert blocks.mirror_side(bed.b)["disk"] == "Outdated"
        writing.wait_acknowledged(200, 30)
        bed.lab.link("a", "replication", up=True)
        wait_for(lambda: states(bed) == WELL, IN_SYNC_WITHIN_S, "both sides are equal again")
    assert watch.seen == {("a",)}
    assert (epochs(bed), takeovers(bed.a), takeovers(bed.b)) == before
    blocks.verify(bed, Report())


# --- its target ---


def body_of(bed: Bed, **more: Any) -> dict[str, Any]:
    """The target as it is, with something else in it, as a change takes it."""
    target = bed.a.api.get(f"/v1/targets/{blocks.TARGET}")
    access = [{"initiator": initiator} for initiator in target["initiators"]]
    return {"mirror": target["mirror"], "units": target["units"], "access": access, **more}


def test_a_served_target_is_changed_under_load_on_both_nodes(bed: Bed, device: str) -> None:
    path = f"/v1/targets/{blocks.TARGET}"
    [before] = bed.a.api.get(path)["sessions"]
    [initiator] = bed.a.api.get(path)["initiators"]
    access = [{"initiator": initiator}, {"initiator": f"{initiator}-2", "chap": {"user": "u", "password": "p" * 12}}]
    # Blocks of its own: it ends before it has written over those of the tests before it.
    with written(bed, device, "change", UNTOUCHED_AT_MOST_MS, first=3 * blocks.REGION_BLOCKS):
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


def reserved(bed: Bed, device: str) -> str:
    """Keys and reservation of the disk, as the initiator is told."""
    asked = [["sg_persist", "--in", what, device] for what in ("--read-keys", "--read-reservation")]
    return "".join(bed.initiator.run(argv).stdout.decode() for argv in asked)


LONE = "lone"


def make_lone_target(bed: Bed) -> dict[str, Any]:
    """A target of node a alone, on a port of its own; as the API shows it."""
    api = bed.a.api
    api.change("POST", "/v1/volumes", {"pool": POOL, "name": LONE, "size_bytes": 16 << 20, "kind": "iscsi"})
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
    time.sleep(CARRIED_WITHIN_S)

    bed.a.node.cut()
    wait_for(lambda: blocks.active_node(bed.b) == "b", blocks.TAKES_OVER_WITHIN_S, "node b serves the group")
    assert told(reserved(bed, device)) == told(held)
    bed.a.node.boot()
    bed.a.api.wait_until_it_answers(blocks.BOOTS_WITHIN_S)
    wait_for(lambda: states(bed) == ("standby-ok", "active-sync"), IN_SYNC_WITHIN_S, "node a is ready")

    # Its serial and all else is what it was, and so is the address.
    assert bed.a.api.get(f"/v1/targets/{LONE}") == lone
    assert lone["iqn"].encode() in bed.initiator.run([*find, at]).stdout
    bed.a.api.change("DELETE", f"/v1/targets/{LONE}?confirm={LONE}")
    bed.a.api.change("DELETE", f"/v1/volumes/{LONE}?confirm={LONE}")

    bed.b.api.change("POST", f"/v1/groups/{blocks.GROUP}/switchover", {"to": "a"})
    assert told(reserved(bed, device)) == told(held)
    bed.initiator.run([*persist, "--register", f"--param-rk={KEY}", "--param-sark=0"])
    assert KEY not in reserved(bed, device)


CARRIED_WITHIN_S = 2.0


def told(text: str) -> list[str]:
    """What sg_persist says but the generation, which counts from 0 on each node."""
    return [line for line in text.splitlines() if "generation" not in line]
