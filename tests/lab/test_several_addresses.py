"""A group with addresses of both families on two NICs, three ping nodes, and strangers on a link: on real kernels."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from demo import blocks
from demo.bed import Bed, StorageNode, wait_for
from demo.initiator import Initiator
from demo.report import Report
from lab import Lab, Node
from tests.lab.serving import (
    IN_SYNC_WITHIN_S,
    WELL,
    Watch,
    boot_again,
    move_back,
    serving,
    state,
    states,
    written,
)

pytestmark = [
    pytest.mark.lab(seconds=110),
    pytest.mark.long,
    pytest.mark.timed,
    pytest.mark.timeout(120, func_only=True),
]

NUMBERS = {"a": 11, "b": 12, "c": 21}
IPV6 = "fd77::200"
MANAGED = "10.77.3.200"
ADDRESSES = [
    {"address": blocks.VIRTUAL_ADDRESS, "prefix_length": blocks.PREFIX_LENGTH, "interface": "client"},
    {"address": IPV6, "prefix_length": 64, "interface": "client"},
    {"address": MANAGED, "prefix_length": 24, "interface": "management"},
]
MOVED_AT_MOST_MS = 1500.0
CUT_AT_MOST_MS = blocks.TAKES_OVER_WITHIN_S * 1000
DATAGRAMS = 3000


def give_ipv6(node: Node, name: str) -> None:
    """An address of the clients' IPv6 network, as a network administrator gives one."""
    node.run(["modprobe", "ipv6"])
    node.run(["ip", "addr", "replace", f"fd77::{NUMBERS[name]}/64", "dev", "client", "nodad"])


def ping_nodes_of(bed: Bed) -> list[str]:
    """The lab's ping host, and the lab's own addresses on two networks."""
    return [bed.lab.address("ping", "client"), "10.77.1.1", "10.77.3.1"]


def change_group(bed: Bed, addresses: list[dict[str, Any]]) -> None:
    """Stop it, give it other addresses, and start it again."""
    group = f"/v1/groups/{blocks.GROUP}"
    bed.a.api.change("POST", f"{group}/stop")
    body = {"mirror": blocks.MIRROR, "targets": [blocks.TARGET], "addresses": addresses}
    bed.a.api.change("PUT", group, body)
    wait_for(lambda: not blocks.unmet_of(bed.a), 10, "the preflight passes")
    bed.a.api.change("POST", f"{group}/start")
    wait_for(lambda: states(bed) == WELL, IN_SYNC_WITHIN_S, "node a serves and node b stands by")


@pytest.fixture(scope="module")
def served(lab_session: Lab) -> Iterator[tuple[Bed, str]]:
    """The pair of `serving` with three ping nodes, its group with three addresses, and the disk by the IPv6 one."""
    with serving(lab_session) as (bed, _), contextlib.ExitStack() as after:
        Initiator(bed.initiator, blocks.IQN, blocks.VIRTUAL_ADDRESS).log_out()
        for name, node in (("a", bed.a.node), ("b", bed.b.node), ("c", bed.initiator)):
            give_ipv6(node, name)
        after.callback(bed.initiator.run, ["ip", "addr", "flush", "dev", "client", "to", "fd77::/64"], check=False)
        links = bed.a.api.get("/v1/failover")["links"]
        bed.a.api.change("PUT", "/v1/failover", {"links": links, "ping_nodes": ping_nodes_of(bed)})
        change_group(bed, ADDRESSES)
        yield bed, Initiator(bed.initiator, blocks.IQN, f"[{IPV6}]").log_in(bed.a, blocks.TARGET)


def addresses_of(storage: StorageNode) -> set[str]:
    """Which of the group's addresses a node has, with NIC, prefix and broadcast as its kernel shows them."""
    lines = storage.node.run(["ip", "-o", "addr", "show"]).stdout.decode().splitlines()
    words = [line.split() for line in lines]
    wanted = {address["address"] for address in ADDRESSES}
    return {
        f"{word[1]} {word[3]}{' with broadcast' if 'brd' in word else ''}"
        for word in words
        if word[3].partition("/")[0] in wanted
    }


ALL_UP = {f"client {blocks.VIRTUAL_ADDRESS}/32", f"client {IPV6}/128", f"management {MANAGED}/32"}


def seen_by(storage: StorageNode) -> dict[str, Any]:
    """What a node's monitor says of links and ping nodes."""
    monitor: dict[str, Any] = storage.api.get("/v1/failover")["monitor"]
    return monitor


def test_a_switchover_moves_addresses_of_both_families_on_both_nics(bed: Bed, device: str) -> None:
    assert (addresses_of(bed.a), addresses_of(bed.b)) == (ALL_UP, set())
    [session] = bed.a.api.get(f"/v1/targets/{blocks.TARGET}")["sessions"]
    assert session["address"] == f"fd77::{NUMBERS['c']}"
    with Watch(bed) as watch, written(bed, device, "over", MOVED_AT_MOST_MS) as writing:
        bed.a.api.change("POST", f"/v1/groups/{blocks.GROUP}/switchover", {"to": "b"})
        wait_for(lambda: states(bed) == WELL[::-1], IN_SYNC_WITHIN_S, "node b serves and node a stands by")
        writing.wait_acknowledged(200, 30)
        assert (addresses_of(bed.a), addresses_of(bed.b)) == (set(), ALL_UP)
    assert watch.seen <= {(), ("a",), ("b",)}
    for address in (blocks.VIRTUAL_ADDRESS, IPV6, MANAGED):
        # The neighbours know the new place, and no claim of the old one is left.
        bed.initiator.run(["ping", "-c1", "-W2", address])
    assert blocks.group_of(bed.b)["this_node"]["reasons"] == []
    move_back(bed)


def test_with_one_of_three_ping_nodes_silent_a_power_cut_is_taken_over_from(bed: Bed, device: str) -> None:
    silent = bed.lab.address("ping", "client")
    with Watch(bed) as watch, written(bed, device, "voices", CUT_AT_MOST_MS) as writing:
        bed.lab.link("ping", "client", up=False)
        wait_for(lambda: not seen_by(bed.b)["ping_nodes"][0]["answers"], 10, "node b misses the ping node")
        [first, *others] = seen_by(bed.b)["ping_nodes"]
        assert (first["address"], [other["answers"] for other in others]) == (silent, [True, True])
        reasons = blocks.group_of(bed.b)["this_node"]["reasons"]
        assert [reason for reason in reasons if silent in reason], reasons
        assert states(bed) == WELL, "the majority that is left is enough to stay"
        bed.a.node.cut()
        wait_for(lambda: blocks.active_node(bed.b) == "b", blocks.TAKES_OVER_WITHIN_S, "node b serves the group")
        writing.wait_acknowledged(200, 30)
        bed.lab.link("ping", "client", up=True)
    assert watch.seen <= {(), ("a",), ("b",)}
    boot_again(bed.a)
    give_ipv6(bed.a.node, "a")
    move_back(bed)


def test_without_a_majority_of_ping_nodes_nobody_takes_over(bed: Bed, device: str) -> None:
    with Watch(bed) as watch, written(bed, device, "minority", 90_000.0):
        drop = "ip route add blackhole 10.77.1.1/32 && ip route add blackhole 10.77.1.5/32"
        bed.b.node.run(["sh", "-ec", drop])
        wait_for(lambda: sum(p["answers"] for p in seen_by(bed.b)["ping_nodes"]) == 1, 10, "one of three is left")
        bed.a.node.cut()
        wait_for(lambda: state(bed.b) in ("standby-not", "manual"), 30, "node b gives up to stand by")
        bed.b.node.run(["sh", "-ec", drop.replace("add", "del")])
        boot_again(bed.a)
        give_ipv6(bed.a.node, "a")
        wait_for(lambda: states(bed) == WELL, IN_SYNC_WITHIN_S, "node a serves again, and node b stands by")
    assert watch.seen <= {(), ("a",)}
    blocks.verify(bed, Report())


FLOOD = """
import socket, sys
to, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
sending = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sending.bind(("", port))
for number in range(count):
    sending.sendto(b"forged %d" % number * 20, (to, port))
"""


def test_strangers_on_a_link_are_counted_and_change_nothing(bed: Bed, device: str) -> None:
    """From a foreign address, and as from the partner's own with a wrong key."""
    partner = bed.b.node.address("client")
    with Watch(bed) as watch, written(bed, device, "flood", MOVED_AT_MOST_MS):
        before = seen_by(bed.a)["links"][0]["refused"]
        argv = ["python3", "-c", FLOOD, bed.a.node.address("client"), "7788", str(DATAGRAMS)]
        bed.initiator.run(argv, timeout_s=60)
        link = seen_by(bed.a)["links"][0]
        assert (link["name"], link["is_up"]) == ("client", True)
        assert link["refused"] > before
        assert link["last_refusal"] == f"it came from {bed.initiator.address('client')}"
        bed.b.node.run(["python3", "-c", FLOOD.replace('bind(("", port))', f'bind(("{partner}", 0))'), *argv[3:]])
        link = seen_by(bed.a)["links"][0]
        assert link["is_up"]
        assert "wrong signature" in link["last_refusal"] or "none of ours" in link["last_refusal"]
    assert watch.seen == {("a",)}
    assert states(bed) == WELL
