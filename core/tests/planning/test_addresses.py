"""Links, ping nodes and virtual addresses that can never be right are refused by field, with the remedy."""

from __future__ import annotations

import pytest

from holdfast.hooks.failover import VirtualAddress
from holdfast.hooks.links import Link, WitnessHost
from holdfast.planning.addresses import judge_group, judge_links, judge_witness, refuse_host, refuse_in_network

ONE = Link("one", "eth0", "192.0.2.1", "192.0.2.2")
TWO = Link("two", "eth1", "198.51.100.1", "198.51.100.2")
PING_NODES = ("192.0.2.9", "192.0.2.10", "198.51.100.9")
VIRTUAL = {"192.0.2.200": "g1"}


def judged(links: tuple[Link, ...] = (ONE, TWO), ping_nodes: tuple[str, ...] = PING_NODES) -> list[tuple[str, str]]:
    found = judge_links(links, ping_nodes, VIRTUAL)
    assert all(reason.text and reason.remedy for reason in found)
    return [(reason.field or "", reason.code) for reason in found]


@pytest.mark.parametrize("ping_nodes", [(), PING_NODES[:1], PING_NODES])
def test_two_links_and_no_one_or_an_odd_number_of_ping_nodes_are_right(ping_nodes: tuple[str, ...]) -> None:
    assert judged(ping_nodes=ping_nodes) == []


@pytest.mark.parametrize(
    ("ping_nodes", "expected"),
    [
        # A node of the pair is no third system, whatever address it is named by.
        (("192.0.2.1",), [("ping_nodes.0", "ping-node")]),
        (("192.0.2.2",), [("ping_nodes.0", "ping-node")]),
        (("192.0.2.9", "198.51.100.2", "192.0.2.10"), [("ping_nodes.1", "ping-node")]),
        (("192.0.2.200",), [("ping_nodes.0", "ping-node")]),
        (("192.0.2.9", "192.0.2.10", "192.0.2.9"), [("ping_nodes.2", "twice")]),
        (("192.0.2.9", "192.0.2.10"), [("ping_nodes", "even")]),
        ((*PING_NODES, "192.0.2.11"), [("ping_nodes", "even")]),
        (("2001:db8::9",), [("ping_nodes.0", "not-ipv4")]),
        (("224.0.0.1",), [("ping_nodes.0", "no-host")]),
        (("255.255.255.255",), [("ping_nodes.0", "no-host")]),
        (("127.0.0.1",), [("ping_nodes.0", "no-host")]),
        (("0.0.0.0",), [("ping_nodes.0", "no-host")]),  # noqa: S104
    ],
)
def test_a_ping_node_that_proves_nothing_is_refused(
    ping_nodes: tuple[str, ...], expected: list[tuple[str, str]]
) -> None:
    assert judged(ping_nodes=ping_nodes) == expected


@pytest.mark.parametrize("address", ["192.0.2.1", "198.51.100.2", "192.0.2.200", "127.0.0.1", "224.0.0.1", "::1"])
def test_a_witness_that_is_no_third_host_is_refused(address: str) -> None:
    [reason] = judge_witness(WitnessHost(address, 8446, ""), (ONE, TWO), VIRTUAL)
    assert (reason.field, reason.code) == ("witness.address", "witness")
    for good in (None, WitnessHost("203.0.113.7", 8446, ""), WitnessHost("2001:db8::7", 8446, "")):
        assert judge_witness(good, (ONE, TWO), VIRTUAL) == ()


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        ((ONE, Link("one", "eth1", "198.51.100.1", "198.51.100.2")), [("links.1.name", "twice")]),
        ((Link("one", "eth0", "192.0.2.1", "192.0.2.1"),), [("links.0.peer_address", "twice")]),
        ((ONE, Link("two", "eth1", "192.0.2.1", "198.51.100.2")), [("links.1.local_address", "twice")]),
        ((ONE, Link("two", "eth1", "192.0.2.2", "198.51.100.2")), [("links.1.local_address", "twice")]),
        ((Link("one", "eth0", "192.0.2.200", "192.0.2.2"),), [("links.0.local_address", "virtual-address")]),
        ((Link("one", "eth0", "192.0.2.1", "fd91::2"),), [("links.0.peer_address", "not-ipv4")]),
        ((Link("one", "eth0", "192.0.2.1", "239.1.1.1"),), [("links.0.peer_address", "no-host")]),
    ],
)
def test_a_link_that_leads_nowhere_is_refused(links: tuple[Link, ...], expected: list[tuple[str, str]]) -> None:
    assert judged(links) == expected


def test_every_reason_is_told_at_once() -> None:
    assert len(judged((ONE, ONE), ("192.0.2.1", "192.0.2.1"))) > 4


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        (("192.0.2.201", "fd91::100"), []),
        (("192.0.2.201", "192.0.2.201"), [("addresses.1.address", "twice")]),
        (("192.0.2.201", "192.0.2.2"), [("addresses.1.address", "address-of-a-node")]),
        (("198.51.100.1",), [("addresses.0.address", "address-of-a-node")]),
        (("198.51.100.9",), [("addresses.0.address", "address-of-the-ping-node")]),
    ],
)
def test_a_virtual_address_that_somebody_has_is_refused(
    addresses: tuple[str, ...], expected: list[tuple[str, str]]
) -> None:
    wanted = tuple(VirtualAddress(address, 24, "eth0") for address in addresses)
    found = judge_group(wanted, (ONE, TWO), PING_NODES)
    assert [(reason.field, reason.code) for reason in found] == expected
    assert all(reason.text and reason.remedy for reason in found)


@pytest.mark.parametrize(
    ("address", "prefix_length", "why"),
    [
        ("192.0.2.200", 24, None),
        ("192.0.2.200", 32, None),
        ("192.0.2.200", 31, None),
        ("192.0.2.0", 24, "network"),
        ("192.0.2.255", 24, "broadcast"),
        ("192.0.2.255", 23, None),
        ("192.0.3.255", 23, "broadcast"),
        ("192.0.2.127", 25, "broadcast"),
        ("2001:db8::", 64, "network"),
        ("2001:db8::ffff:ffff:ffff:ffff", 64, None),
        ("2001:db8::1", 127, None),
        ("2001:db8::1", 128, None),
    ],
)
def test_the_address_of_a_network_or_of_all_of_it_is_no_hosts(
    address: str, prefix_length: int, why: str | None
) -> None:
    found = refuse_in_network(address, prefix_length)
    assert (found is None) is (why is None)
    assert why is None or why in str(found)


@pytest.mark.parametrize("address", ["192.0.2.1", "10.0.0.1", "169.254.1.2", "2001:db8::1", "fd91::1"])
def test_a_hosts_address_is_one(address: str) -> None:
    assert refuse_host(address) is None


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0", "127.0.0.1", "224.0.0.5", "255.255.255.255", "::", "::1", "ff02::1", "fe80::1"],  # noqa: S104
)
def test_what_is_no_single_host_on_a_network_is_refused(address: str) -> None:
    assert refuse_host(address)
