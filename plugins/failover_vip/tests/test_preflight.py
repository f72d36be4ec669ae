"""What is said of links, ping nodes and virtual addresses before a start; the network is asked in test_network.py."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_interface

import pytest

from holdfast.hooks.failover import MonitorPlan, MonitorStatus, VirtualAddress
from holdfast.hooks.links import Link, PingNodeStatus
from holdfast.values import Secret
from holdfast_failover_vip.driver import judge_status
from holdfast_failover_vip.preflight import judge_addresses, judge_links

PLAN = MonitorPlan(
    version=2,
    node="a",
    partner="b",
    key=Secret("00"),
    links=(Link("one", "eth0", "192.0.2.1", "192.0.2.2"),),
    ping_nodes=("192.0.2.9", "192.0.2.10", "198.51.100.9"),
    groups=(),
    lone_mirrors=(),
)
OWN = {
    "eth0": (ip_interface("192.0.2.1/24"), ip_interface("2001:db8::1/64"), ip_interface("192.0.2.200/32")),
    "eth1": (ip_interface("198.51.100.1/24"),),
}


BARE = {**OWN, "eth2": ()}


@pytest.mark.parametrize(
    ("address", "interface", "codes"),
    [
        ("192.0.2.200/24", "eth0", []),
        ("192.0.2.100/24", "eth0", []),
        ("192.0.2.100/32", "eth0", []),
        ("2001:db8::64/64", "eth0", []),
        ("2001:db8::64/128", "eth0", []),
        # Whether there is such a NIC is judged elsewhere.
        ("192.0.2.100/24", "absent", []),
        ("192.0.2.1/24", "eth0", ["address-of-a-node"]),
        ("192.0.2.2/24", "eth0", ["address-of-a-node"]),
        ("198.51.100.1/24", "eth1", ["address-of-a-node"]),
        ("192.0.2.9/24", "eth0", ["address-of-the-ping-node"]),
        ("198.51.100.9/24", "eth1", ["address-of-the-ping-node"]),
        ("203.0.113.1/24", "eth0", ["address-outside"]),
        ("2001:db8:1::1/64", "eth0", ["address-outside"]),
        ("2001:db8::64/64", "eth1", ["address-outside"]),
        ("192.0.2.100/24", "eth2", ["address-outside"]),
        ("192.0.2.2/24", "eth1", ["address-of-a-node", "address-outside"]),
        # By the network that the NIC has, whatever netmask was given.
        ("192.0.2.0/32", "eth0", ["address-of-the-network"]),
        ("192.0.2.255/32", "eth0", ["address-of-the-network"]),
        ("192.0.2.255/16", "eth0", ["address-of-the-network", "netmask"]),
        ("2001:db8::/128", "eth0", ["address-of-the-network"]),
        ("2001:db8::ffff:ffff:ffff:ffff/64", "eth0", []),
        ("192.0.2.100/16", "eth0", ["netmask"]),
        ("2001:db8::64/48", "eth0", ["netmask"]),
    ],
)
def test_an_address_is_nobodys_and_of_the_network_of_its_nic(address: str, interface: str, codes: list[str]) -> None:
    text, _, length = address.partition("/")
    found = judge_addresses(PLAN, (VirtualAddress(text, int(length), interface),), BARE)
    assert [unmet.code for unmet in found] == codes
    assert all(unmet.remedy and text in unmet.text for unmet in found)


def test_without_a_ping_node_no_address_is_its() -> None:
    assert judge_addresses(replace(PLAN, ping_nodes=()), (VirtualAddress("192.0.2.9", 24, "eth0"),), OWN) == ()


def judged(*, link: Link = PLAN.links[0], ping_nodes: tuple[str, ...] = PLAN.ping_nodes) -> list[str]:
    found = judge_links(replace(PLAN, links=(link,), ping_nodes=ping_nodes), BARE)
    assert all(unmet.text and unmet.remedy for unmet in found)
    return [unmet.code for unmet in found]


def test_a_link_that_leads_from_its_nic_into_its_network_is_right() -> None:
    assert judged() == []


@pytest.mark.parametrize(
    ("link", "codes"),
    [
        (Link("one", "eth0", "192.0.2.1", "198.51.100.2"), ["link-networks"]),
        (Link("one", "eth0", "192.0.2.77", "192.0.2.2"), ["link-address"]),
        (Link("one", "eth0", "198.51.100.1", "198.51.100.2"), ["link-address"]),
        (Link("one", "eth2", "192.0.2.1", "192.0.2.2"), ["link-address"]),
        # As a single host it reaches nobody.
        (Link("one", "eth0", "192.0.2.200", "192.0.2.2"), ["link-networks"]),
        # A NIC that is missing is named by `check_nics`.
        (Link("one", "absent", "192.0.2.1", "192.0.2.2"), []),
    ],
)
def test_a_link_that_does_not_fit_its_nic_is_named(link: Link, codes: list[str]) -> None:
    assert judged(link=link) == codes


@pytest.mark.parametrize("address", ["192.0.2.1", "192.0.2.200", "198.51.100.1"])
def test_a_ping_node_that_is_any_address_of_this_node_is_named(address: str) -> None:
    """Also a virtual one, and also of a NIC that is no link."""
    assert judged(ping_nodes=("192.0.2.9", address, "192.0.2.11")) == ["ping-node-of-the-pair"]


def seen(*answers: bool) -> MonitorStatus:
    nodes = tuple(PingNodeStatus(a, answers=b, since_ms=1) for a, b in zip(PLAN.ping_nodes, answers, strict=False))
    return MonitorStatus(is_running=True, peer_heard=True, ping_nodes=nodes)


def test_a_start_needs_the_answers_of_a_majority_and_names_who_is_silent_without_one() -> None:
    assert judge_status(seen(True, True, True), PLAN) == ()
    assert judge_status(seen(True, False, True), PLAN) == ()
    found = judge_status(seen(False, True, False), PLAN)
    assert [unmet.code for unmet in found] == ["ping-node", "ping-node"]
    assert ["192.0.2.9" in found[0].text, "198.51.100.9" in found[1].text] == [True, True]
    assert len(judge_status(seen(False, False, False), PLAN)) == 3
    assert len(judge_status(seen(False), replace(PLAN, ping_nodes=PLAN.ping_nodes[:1]))) == 1
    assert judge_status(seen(), replace(PLAN, ping_nodes=())) == ()
