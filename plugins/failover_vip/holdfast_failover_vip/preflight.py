"""What stands against a group's virtual addresses on this node. It looks and asks, and changes nothing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface
from typing import Any

from pyroute2.iproute.linux import AsyncIPRoute

from holdfast.hooks.failover import GroupPlan, MonitorPlan, Unmet, VirtualAddress
from holdfast_failover_vip.arp import ArpProbe

# RFC 5227, section 2.2, allows shorter intervals on networks known to be quick; as in a takeover.
PROBES, PROBE_EVERY_S = 3, 0.04

Own = Mapping[str, tuple[IPv4Interface | IPv6Interface, ...]]
"""The addresses of each NIC, with their networks."""


async def check_nics(plan: MonitorPlan, group: GroupPlan) -> tuple[Unmet, ...]:
    """Each NIC that links or addresses need is there, and up with a carrier."""
    open_routes: Any = AsyncIPRoute  # pyroute2 has no types
    async with open_routes() as routes:
        dump: Any = await routes.link("dump")
        is_up = {link.get("ifname"): link.get("state") == "up" async for link in dump}
    found = []
    for name in sorted({link.interface for link in plan.links} | {a.interface for a in group.addresses}):
        if name not in is_up:
            found.append(Unmet("no-interface", f"there is no NIC {name}", "name a NIC that both nodes have"))
        elif not is_up[name]:
            found.append(Unmet("interface-down", f"the NIC {name} is down", "bring it up, or plug its cable"))
    return tuple(found)


async def check_addresses(plan: MonitorPlan, group: GroupPlan) -> tuple[Unmet, ...]:
    """The virtual addresses are nobody's, and belong to the networks of their NICs."""
    own = await _own_addresses()
    found = list(judge_addresses(plan, group.addresses, own))
    if not group.is_started and not found:
        # Of a started group one node answers, and should.
        for wanted in group.addresses:
            if wanted.interface in own and ip_address(wanted.address).version == 4:
                found.extend(await _claims(wanted))
    return tuple(found)


def judge_addresses(plan: MonitorPlan, addresses: tuple[VirtualAddress, ...], own: Own) -> tuple[Unmet, ...]:
    """What can be said of them without asking the network."""
    nodes = {ip_address(a) for link in plan.links for a in (link.local_address, link.peer_address)}
    # A virtual address itself is there as a single host (/32, /128); what a node has for itself has a network.
    nodes |= {each.ip for of_nic in own.values() for each in of_nic if each.network.num_addresses > 1}
    found = []
    for wanted in addresses:
        address = ip_address(wanted.address)
        if address in nodes:
            text = f"{wanted.address} is an address of one of the nodes"
            found.append(Unmet("address-of-a-node", text, "choose an address that neither node has"))
        elif plan.ping_node is not None and address == ip_address(plan.ping_node):
            text = f"{wanted.address} is the address of the ping node"
            found.append(Unmet("address-of-the-ping-node", text, "choose an address that nobody has"))
        of_nic = own.get(wanted.interface, ())
        if of_nic and not any(address in each.network for each in of_nic):
            networks = ", ".join(sorted({str(each.network) for each in of_nic}))
            text = f"{wanted.address} lies outside of the networks of {wanted.interface}: {networks}"
            found.append(Unmet("address-outside", text, "choose an address of that network, or another NIC"))
    return tuple(found)


async def _own_addresses() -> dict[str, tuple[IPv4Interface | IPv6Interface, ...]]:
    names = {index: name for index, name in socket.if_nameindex()}
    own: dict[str, tuple[IPv4Interface | IPv6Interface, ...]] = {}
    open_routes: Any = AsyncIPRoute
    async with open_routes() as routes:
        async for message in await routes.addr("dump"):
            shown = message.get("IFA_LOCAL") or message.get("IFA_ADDRESS")
            name = names.get(message["index"])
            if shown is not None and name is not None:
                own[name] = (*own.get(name, ()), ip_interface(f"{shown}/{message['prefixlen']}"))
    return own


async def _claims(wanted: VirtualAddress) -> tuple[Unmet, ...]:
    """Ask the network who has an address, without naming a sender: no neighbour learns anything from it."""
    macs: set[str] = set()
    probe = ArpProbe(wanted.interface, wanted.address, lambda mac: macs.add(mac.hex(":")))
    try:
        for _ in range(PROBES):
            probe.send()
            await asyncio.sleep(PROBE_EVERY_S)
    finally:
        probe.close()
    remedy = "find out whose it is and end that, or choose another address"
    return tuple(
        Unmet("address-taken", f"{wanted.address} is taken on {wanted.interface}: {mac} answers for it", remedy)
        for mac in sorted(macs)
    )
