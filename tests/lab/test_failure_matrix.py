"""Rows of the failure matrix beside those of test_block_side.py: networks, clocks, boots, and buttons pressed at once.

In each, stamped writes go on: nothing is lost, never do two nodes serve, and it is over by a deadline.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from demo import blocks
from demo.bed import MONITOR, Bed, StorageNode, wait_for
from demo.client import Refused
from demo.initiator import INTERVAL_MS
from demo.report import Report
from tests.lab.serving import (
    IN_SYNC_WITHIN_S,
    RESETS_WITHIN_S,
    WELL,
    Watch,
    boot_again,
    epochs,
    move_back,
    state,
    states,
    takeovers,
    written,
)
from tests.lab.test_mirrors import sh

pytestmark = [pytest.mark.lab(seconds=90), pytest.mark.timed, pytest.mark.timeout(120, func_only=True)]

UNTOUCHED_AT_MOST_MS = 1000.0
FROZEN_AT_MOST_MS = 2500.0
MOVED_AT_MOST_MS = blocks.TAKES_OVER_WITHIN_S * 1000
WAITED_FOR_AT_MOST_MS = 90_000.0  # the initiator queues for as long: a node has to boot
SERVES_AFTER_BOOT_WITHIN_S = 30.0
NEVER_SERVES_S = 8.0  # longer than a lone node waits before it judges itself alone
OUTAGE_S = 5.0
RESUMES_WITHIN_S = 15.0
HELPER_LOST_AT_MOST_MS = 8000.0
FREEZES_WITHIN_S = 6.0  # the kernel alone notices a lost link after timeout * ko-count = 2.7 s
STAYS_S = 5.0  # longer than an active node without its ping node waits before it hands over
SWITCHES_WITHIN_S = 15.0
WRITES_A_SECOND = 1000 / INTERVAL_MS


def plug(bed: Bed, name: str, *, up: bool) -> None:
    """Pull every cable of a node at once, or plug them in."""
    for net in blocks.LINKS:
        bed.lab.link(name, net, up=up)


def served_so_far(bed: Bed) -> tuple[Any, ...]:
    """What does not change where nothing moves."""
    return epochs(bed), takeovers(bed.a), takeovers(bed.b)


# --- boots ---


@pytest.mark.long
def test_after_both_lost_their_power_the_one_that_served_last_serves_again_by_itself(bed: Bed, device: str) -> None:
    """Not the preferred one: the last active node, which may have the only copy of the last writes."""
    bed.a.api.change("POST", f"/v1/groups/{blocks.GROUP}/switchover", {"to": "b"})
    wait_for(lambda: states(bed) == WELL[::-1], IN_SYNC_WITHIN_S, "node b serves and node a is ready")
    with Watch(bed) as watch, written(bed, device, "both", WAITED_FOR_AT_MOST_MS):
        for storage in (bed.b, bed.a):
            storage.node.cut()
        for storage in (bed.a, bed.b):
            storage.node.power_on()
        for storage in (bed.a, bed.b):
            storage.node.wait_booted()
            storage.api.wait_until_it_answers(blocks.BOOTS_WITHIN_S)
        began_s = time.monotonic()
        wait_for(lambda: states(bed) == WELL[::-1], SERVES_AFTER_BOOT_WITHIN_S, "node b serves, node a stands by")
        print(f"served {time.monotonic() - began_s:.1f} s after both APIs answered")
    assert watch.seen <= {(), ("b",)}
    move_back(bed)


@pytest.mark.long
def test_a_stale_node_that_boots_alone_serves_nobody_and_says_what_is_to_be_done(bed: Bed, device: str) -> None:
    with Watch(bed) as watch, written(bed, device, "stale", WAITED_FOR_AT_MOST_MS) as writing:
        bed.b.node.cut()
        wait_for(lambda: state(bed.a) == "active-alone", 30, "node a goes on alone")
        writing.wait_acknowledged(200, 30)
        bed.a.node.cut()
        boot_again(bed.b)
        wait_for(lambda: state(bed.b) == "manual", 30, "node b waits for a person")
        time.sleep(NEVER_SERVES_S)
        group = blocks.group_of(bed.b)
        assert (group["this_node"]["state"], group["active_node"]) == ("manual", None)
        reasons = group["this_node"]["reasons"]
        print(reasons)
        assert "b cannot know that its data are the newest" in reasons
        assert "bring a back, or confirm that it is down" in reasons
        with pytest.raises(Refused):
            bed.b.api.change("POST", f"/v1/groups/{blocks.GROUP}/switchover", {"to": "b"})
        boot_again(bed.a)
        wait_for(lambda: states(bed) == WELL, IN_SYNC_WITHIN_S, "node a serves again, and node b stands by")
    assert watch.seen <= {(), ("a",)}
    blocks.verify(bed, Report())


# --- networks ---


@pytest.mark.long
def test_a_switch_that_carries_everything_is_an_outage_that_ends_by_itself(bed: Bed, device: str) -> None:
    """Nobody can know who is at fault: the active side freezes, the passive one is stale; nothing moves."""
    before = served_so_far(bed)
    with Watch(bed) as watch, written(bed, device, "switch", OUTAGE_S * 1000 + RESUMES_WITHIN_S * 1000) as writing:
        for name in ("a", "b"):
            plug(bed, name, up=False)
        bed.lab.link("ping", "client", up=False)
        time.sleep(OUTAGE_S)
        acknowledged = writing.acknowledged
        bed.lab.link("ping", "client", up=True)
        for name in ("a", "b"):
            plug(bed, name, up=True)
        began_s = time.monotonic()
        wait_for(lambda: writing.acknowledged > acknowledged, RESUMES_WITHIN_S, "writes are acknowledged again")
        print(f"acknowledged again {time.monotonic() - began_s:.1f} s after the switch was back")
        wait_for(lambda: states(bed) == WELL, IN_SYNC_WITHIN_S, "both sides are equal again")
    assert watch.seen <= {(), ("a",)}
    assert served_so_far(bed) == before
    blocks.verify(bed, Report())


@contextmanager
def mute(storage: StorageNode, links: tuple[str, ...]) -> Iterator[None]:
    """What a node sends on some links is lost, its answers to who has an address too; it hears all."""
    for link in links:
        sh(storage, f"modprobe sch_netem; tc qdisc add dev {link} root netem loss 100%")
    try:
        yield
    finally:
        if storage.node.is_running:
            for link in links:
                sh(storage, f"tc qdisc del dev {link} root")


@pytest.mark.long
def test_an_active_node_that_hears_and_is_not_heard_is_replaced_and_restarts_itself(bed: Bed, device: str) -> None:
    with Watch(bed) as watch, written(bed, device, "mute-a", MOVED_AT_MOST_MS) as writing:
        with mute(bed.a, blocks.LINKS):
            wait_for(lambda: blocks.active_node(bed.b) == "b", blocks.TAKES_OVER_WITHIN_S, "node b serves the group")
            wait_for(lambda: not bed.a.node.is_running, RESETS_WITHIN_S, "node a, told so, resets itself")
        writing.wait_acknowledged(200, 30)
        boot_again(bed.a)
        wait_for(lambda: states(bed) == WELL[::-1], IN_SYNC_WITHIN_S, "node a stands by")
    assert watch.seen <= {(), ("a",), ("b",)}
    move_back(bed)


@pytest.mark.long
def test_a_passive_node_that_hears_and_is_not_heard_is_left_and_moves_nothing(bed: Bed, device: str) -> None:
    """It hears that it is not heard: from then on it may not take over."""
    before = epochs(bed)
    with Watch(bed) as watch, written(bed, device, "mute-b", FROZEN_AT_MOST_MS) as writing:
        with mute(bed.b, blocks.LINKS):
            wait_for(lambda: state(bed.a) == "active-alone", 30, "node a goes on alone")
            writing.wait_acknowledged(200, 30)
            time.sleep(STAYS_S)
        wait_for(lambda: states(bed) == WELL, IN_SYNC_WITHIN_S, "both sides are equal again")
    assert watch.seen == {("a",)}
    assert epochs(bed) == before
    blocks.verify(bed, Report())


@pytest.mark.parametrize("name", ["a", pytest.param("b", marks=pytest.mark.long)])
def test_a_replication_link_that_carries_one_direction_only_is_a_lost_one(bed: Bed, device: str, name: str) -> None:
    before = served_so_far(bed)
    with Watch(bed) as watch, written(bed, device, f"mute-link-{name}", FROZEN_AT_MOST_MS) as writing:
        with mute(bed.storage[name], ("replication",)):
            wait_for(lambda: states(bed) == ("active-alone", "standby-not"), 30, "node a goes on alone")
            assert blocks.mirror_side(bed.b)["disk"] == "Outdated"
            writing.wait_acknowledged(200, 30)
        wait_for(lambda: states(bed) == WELL, IN_SYNC_WITHIN_S, "both sides are equal again")
    assert watch.seen == {("a",)}
    assert served_so_far(bed) == before
    blocks.verify(bed, Report())


@pytest.mark.long
def test_an_active_node_that_lost_the_clients_network_hands_over(bed: Bed, device: str) -> None:
    with Watch(bed) as watch, written(bed, device, "clients-a", MOVED_AT_MOST_MS) as writing:
        bed.lab.link("a", "client", up=False)
        wait_for(lambda: states(bed)[1] == "active-sync", blocks.TAKES_OVER_WITHIN_S, "node b serves, in sync")
        writing.wait_acknowledged(200, 30)
        bed.lab.link("a", "client", up=True)
    assert watch.seen <= {(), ("a",), ("b",)}
    move_back(bed)


def test_a_clients_network_that_both_nodes_lost_moves_nothing(bed: Bed, device: str) -> None:
    """Neither would serve better; the copies stay equal by the other links."""
    before = served_so_far(bed)
    with Watch(bed) as watch, written(bed, device, "clients", STAYS_S * 1000 + RESUMES_WITHIN_S * 1000) as writing:
        for name in ("a", "b"):
            bed.lab.link(name, "client", up=False)
        time.sleep(STAYS_S)
        assert states(bed) == WELL
        acknowledged = writing.acknowledged
        for name in ("a", "b"):
            bed.lab.link(name, "client", up=True)
        began_s = time.monotonic()
        wait_for(lambda: writing.acknowledged > acknowledged, RESUMES_WITHIN_S, "writes are acknowledged again")
        print(f"acknowledged again {time.monotonic() - began_s:.1f} s after the network was back")
    assert watch.seen == {("a",)}
    assert served_so_far(bed) == before


# --- the kernel's question ---


def is_frozen(storage: StorageNode) -> bool:
    return storage.node.run(["grep", "-q", "ro:Primary/.* [ABC ] s", "/proc/drbd"], check=False).returncode == 0


def helper_pids(storage: StorageNode) -> list[str]:
    return storage.node.run(["pgrep", "-f", "fence-peer fence-peer"], check=False).stdout.decode().split()


@pytest.mark.long
def test_a_killed_fence_helper_is_run_again_and_the_active_node_goes_on(bed: Bed, device: str) -> None:
    """Its kernel asks once for each loss, and nothing may go on without an answer."""
    before = epochs(bed), takeovers(bed.a), takeovers(bed.b)
    with Watch(bed) as watch, written(bed, device, "helper", HELPER_LOST_AT_MOST_MS) as writing:
        bed.a.node.kill_service(MONITOR, signal.SIGSTOP)
        bed.lab.link("a", "replication", up=False)
        wait_for(lambda: is_frozen(bed.a) and bool(helper_pids(bed.a)), FREEZES_WITHIN_S, "the kernel asks")
        acknowledged = writing.acknowledged
        sh(bed.a, f"kill -9 {' '.join(helper_pids(bed.a))}")
        time.sleep(0.5)
        assert (is_frozen(bed.a), helper_pids(bed.a), writing.acknowledged) == (True, [], acknowledged)
        bed.a.node.kill_service(MONITOR, signal.SIGCONT)
        wait_for(lambda: states(bed) == ("active-alone", "standby-not"), 10, "node a goes on alone")
        assert blocks.mirror_side(bed.b)["disk"] == "Outdated"
        writing.wait_acknowledged(200, 10)
        bed.lab.link("a", "replication", up=True)
        wait_for(lambda: states(bed) == WELL, IN_SYNC_WITHIN_S, "both sides are equal again")
    assert watch.seen <= {(), ("a",)}
    assert (epochs(bed), takeovers(bed.a), takeovers(bed.b)) == before
    blocks.verify(bed, Report())


# --- clocks ---


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_clock_that_jumps_by_an_hour_moves_nothing(bed: Bed, device: str, name: str) -> None:
    before = served_so_far(bed)
    with Watch(bed) as watch, written(bed, device, f"clock-{name}", UNTOUCHED_AT_MOST_MS) as writing:
        for step in ("+1 hour", "-2 hours", "+1 hour"):
            sh(bed.storage[name], f"date -s '{step}'")
            writing.wait_acknowledged(200, 30)
            assert states(bed) == WELL
            assert [storage.api.get("/v1/node")["partner"]["answers"] for storage in (bed.a, bed.b)] == [True, True]
    assert watch.seen == {("a",)}
    assert served_so_far(bed) == before


# --- buttons ---


def press(pressed: list[tuple[StorageNode, str]]) -> list[str | None]:
    """Ask for switchovers at the same moment; what each was refused with."""
    told: list[str | None] = ["no answer"] * len(pressed)
    together = threading.Barrier(len(pressed))

    def ask(place: int, storage: StorageNode, to: str) -> None:
        together.wait(10)
        try:
            storage.api.change("POST", f"/v1/groups/{blocks.GROUP}/switchover", {"to": to}, within_s=30)
            told[place] = None
        except Refused as refused:
            told[place] = str(refused)

    threads = [threading.Thread(target=ask, args=(place, *one)) for place, one in enumerate(pressed)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    print(told)
    return told


def test_two_switchovers_pressed_at_once_move_it_once(bed: Bed, device: str) -> None:
    before = epochs(bed)
    with Watch(bed) as watch, written(bed, device, "pressed", MOVED_AT_MOST_MS) as writing:
        told = press([(bed.a, "b"), (bed.b, "b")])
        assert None in told
        wait_for(lambda: states(bed) == WELL[::-1], SWITCHES_WITHIN_S, "node b serves and node a is ready")
        assert epochs(bed) == tuple(epoch + 1 for epoch in before)
        writing.wait_acknowledged(200, 30)
        # Against each other: one of the two nodes serves afterwards, whichever.
        press([(bed.b, "a"), (bed.a, "b")])
        wait_for(lambda: states(bed) in (WELL, WELL[::-1]), SWITCHES_WITHIN_S, "one serves and the other is ready")
        writing.wait_acknowledged(200, 30)
    assert watch.seen <= {(), ("a",), ("b",)}
    if states(bed) != WELL:
        move_back(bed)


def test_a_switchover_to_a_node_that_is_not_in_sync_is_refused_with_reasons(bed: Bed, device: str) -> None:
    before = served_so_far(bed)
    with Watch(bed) as watch, written(bed, device, "not-in-sync", FROZEN_AT_MOST_MS) as writing:
        bed.lab.link("a", "replication", up=False)
        wait_for(lambda: states(bed) == ("active-alone", "standby-not"), 30, "node a goes on alone")
        for storage in (bed.a, bed.b):
            with pytest.raises(Refused) as refused:
                storage.api.change("POST", f"/v1/groups/{blocks.GROUP}/switchover", {"to": "b"})
            print(refused.value)
            reasons = {reason["code"]: reason["remedy"] for reason in refused.value.problem["reasons"]}
            assert reasons["mirror-not-in-sync"] == "wait for the resync to end"
        writing.wait_acknowledged(200, 30)
        bed.lab.link("a", "replication", up=True)
        wait_for(lambda: states(bed) == WELL, IN_SYNC_WITHIN_S, "both sides are equal again")
    assert watch.seen == {("a",)}
    assert served_so_far(bed) == before
