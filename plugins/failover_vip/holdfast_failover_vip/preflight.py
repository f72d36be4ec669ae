"""What stands against a group's virtual addresses on this node. It looks and asks, and changes nothing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface
from typing import Any

from pyroute2.iproute.linux import AsyncIPRoute

from holdfast.hooks.failover import GroupPlan, MonitorPlan, Unmet, VirtualAddress
from holdfast_failover_vip.claims import ClaimProbe

# RFC 5227, section 2.2, allows shorter intervals on networks known to be quick; as in a takeover.
PROBES, PROBE_EVERY_S = 3, 0.04

Own = Mapping[str, tuple[IPv4Interface | IPv6Interface, ...]]
"""The addresses of each NIC that there is, with their networks."""


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
    """Links and ping nodes fit this node; the virtual addresses are nobody's, and of the networks of their NICs."""
    own = await _own_addresses()
    found = [*judge_links(plan, own), *judge_addresses(plan, group.addresses, own)]
    if not group.is_started and not found:
        # Of a started group one node answers, and should.
        for wanted in group.addresses:
            if wanted.interface in own:
                found.extend(await _claims(wanted))
    return tuple(found)


def judge_links(plan: MonitorPlan, own: Own) -> tuple[Unmet, ...]:
    """What the addresses of this node say against links and ping nodes."""
    found = []
    for link in plan.links:
        here = [each for each in own.get(link.interface, ()) if str(each.ip) == link.local_address]
        if link.interface in own and not here:
            text = f"the link {link.name} needs {link.local_address} on {link.interface}, which does not have it"
            found.append(Unmet("link-address", text, f"give {link.interface} that address, or set the links anew"))
        elif here and not any(ip_address(link.peer_address) in each.network for each in here):
            text = f"the link {link.name} leads from {here[0]} to {link.peer_address}, which is of another network"
            found.append(Unmet("link-networks", text, "give both ends addresses of one network, with one netmask"))
    for address in plan.ping_nodes:
        nic = next((name for name, of_nic in own.items() if any(str(each.ip) == address for each in of_nic)), None)
        if nic is not None:
            text = f"the ping node {address} is this node itself: {nic} has that address"
            found.append(Unmet("ping-node-of-the-pair", text, "name a third system that answers ICMP"))
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
        elif wanted.address in plan.ping_nodes:
            text = f"{wanted.address} is the address of a ping node"
            found.append(Unmet("address-of-the-ping-node", text, "choose an address that nobody has"))
        if wanted.interface in own:  # whether there is such a NIC is judged elsewhere
            found.extend(_judge_network(wanted, own[wanted.interface]))
    return tuple(found)


def _judge_network(wanted: VirtualAddress, of_nic: tuple[IPv4Interface | IPv6Interface, ...]) -> Iterator[Unmet]:
    address = ip_address(wanted.address)
    all_of_nic = {each.network for each in of_nic if each.version == address.version}
    networks = sorted((n for n in all_of_nic if n.num_addresses > 1), key=str)
    around = [network for network in networks if address in network]
    if not around:
        has = (
            f"its networks are {', '.join(map(str, networks))}"
            if networks
            else f"it has no IPv{address.version} network"
        )
        text = f"{wanted.address} lies outside of the networks of {wanted.interface}: {has}"
        yield Unmet(
            "address-outside", text, f"choose an address of a network that {wanted.interface} has on both nodes"
        )
        return
    for network in around:
        # Of a network of two addresses each is a host's.
        ends = (network.network_address, network.broadcast_address) if network.num_addresses > 2 else ()
        if address in ends[: 2 if address.version == 4 else 1]:
            what = "address of the network itself" if address == network.network_address else "broadcast address"
            text = f"{wanted.address} is the {what} of {network} on {wanted.interface}"
            yield Unmet("address-of-the-network", text, "choose an address that a host may have")
    lengths = {network.prefixlen for network in around}
    if wanted.prefix_length not in (*lengths, address.max_prefixlen):
        text = (
            f"{wanted.address} is given with /{wanted.prefix_length}, its network on {wanted.interface} is {around[0]}"
        )
        remedy = f"give it with /{around[0].prefixlen}, or mend the netmask of {wanted.interface}"
        yield Unmet("netmask", text, remedy)


async def _own_addresses() -> dict[str, tuple[IPv4Interface | IPv6Interface, ...]]:
    names = {index: name for index, name in socket.if_nameindex()}
    own: dict[str, tuple[IPv4Interface | IPv6Interface, ...]] = dict.fromkeys(names.values(), ())
    open_routes: Any = AsyncIPRoute
    async with open_routes() as routes:
        async for message in await routes.addr("dump"):
            shown = message.get("IFA_LOCAL") or message.get("IFA_ADDRESS")
            name = names.get(message["index"])
            if shown is not None and name is not None:
                own[name] = (*own[name], ip_interface(f"{shown}/{message['prefixlen']}"))
    return own


async def _claims(wanted: VirtualAddress) -> tuple[Unmet, ...]:
    """Ask the network who has an address, without naming a sender: no neighbour learns anything from it."""
    macs: set[str] = set()
    probe = ClaimProbe(wanted.interface, wanted.address, lambda mac: macs.add(mac.hex(":")))
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
