"""What is said of virtual addresses before a group starts; the network is asked in test_network.py."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_interface

import pytest

from holdfast.hooks.failover import Link, MonitorPlan, VirtualAddress
from holdfast.values import Secret
from holdfast_failover_vip.preflight import judge_addresses

PLAN = MonitorPlan(
    version=1,
    node="a",
    partner="b",
    key=Secret("00"),
    links=(Link("one", "eth0", "192.0.2.1", "192.0.2.2"),),
    ping_node="192.0.2.9",
    groups=(),
    lone_mirrors=(),
)
OWN = {
    "eth0": (ip_interface("192.0.2.1/24"), ip_interface("2001:db8::1/64"), ip_interface("192.0.2.200/32")),
    "eth1": (ip_interface("198.51.100.1/24"),),
}


@pytest.mark.parametrize(
    ("address", "interface", "codes"),
    [
        ("192.0.2.200", "eth0", []),
        ("192.0.2.100", "eth0", []),
        ("2001:db8::64", "eth0", []),
        # Whether there is such a NIC is judged elsewhere.
        ("192.0.2.100", "absent", []),
        ("192.0.2.1", "eth0", ["address-of-a-node"]),
        ("192.0.2.2", "eth0", ["address-of-a-node"]),
        ("198.51.100.1", "eth1", ["address-of-a-node"]),
        ("192.0.2.9", "eth0", ["address-of-the-ping-node"]),
        ("203.0.113.1", "eth0", ["address-outside"]),
        ("2001:db8:1::1", "eth0", ["address-outside"]),
        ("192.0.2.2", "eth1", ["address-of-a-node", "address-outside"]),
    ],
)
def test_an_address_is_nobodys_and_of_the_network_of_its_nic(address: str, interface: str, codes: list[str]) -> None:
    found = judge_addresses(PLAN, (VirtualAddress(address, 24, interface),), OWN)
    assert [unmet.code for unmet in found] == codes
    assert all(unmet.remedy and address in unmet.text for unmet in found)


def test_without_a_ping_node_no_address_is_its() -> None:
    assert judge_addresses(replace(PLAN, ping_node=None), (VirtualAddress("192.0.2.9", 24, "eth0"),), OWN) == ()
