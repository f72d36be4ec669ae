"""Which links, ping nodes and virtual addresses can never be right, whatever the network says (S52, S53). Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address, ip_interface

from holdfast.errors import Reason
from holdfast.hooks.failover import VirtualAddress
from holdfast.hooks.links import Link, WitnessHost

MOST_PING_NODES = 7


def judge_links(links: tuple[Link, ...], ping_nodes: tuple[str, ...], virtual: Mapping[str, str]) -> tuple[Reason, ...]:
    """Every reason against these links and ping nodes. `virtual` names the group of each virtual address."""
    return (*_judge_links(links, virtual), *_judge_ping_nodes(ping_nodes, _owners(links), virtual))


def judge_witness(
    witness: WitnessHost | None, links: tuple[Link, ...], virtual: Mapping[str, str]
) -> tuple[Reason, ...]:
    """Every reason against this address of a witness."""
    if witness is None:
        return ()
    field, address, owners = "witness.address", witness.address, _owners(links)
    if address in owners:
        text = f"{address} is one of the two nodes: it is an address of the link {owners[address]}"
    elif address in virtual:
        text = f"{address} is a virtual address of the group {virtual[address]}, which one of the two nodes has"
    elif (why := refuse_host(address)) is not None:
        text = f"{address}: {why}"
    else:
        return ()
    return (Reason("witness", text, "name a third system, on which holdfast-witness runs", field),)


def judge_group(
    addresses: tuple[VirtualAddress, ...], links: tuple[Link, ...], ping_nodes: tuple[str, ...]
) -> tuple[Reason, ...]:
    """Every reason against a group's virtual addresses beside these links and ping nodes."""
    owners, found, seen = _owners(links), [], set()
    for number, wanted in enumerate(addresses):
        field, address = f"addresses.{number}.address", wanted.address
        if address in seen:
            found.append(Reason("twice", f"{address} is named twice", "name each address once", field))
        seen.add(address)
        if address in owners:
            text = f"{address} is a node's own: it is an address of the link {owners[address]}"
            found.append(Reason("address-of-a-node", text, "choose an address that neither node has", field))
        if address in ping_nodes:
            text = f"{address} is a ping node"
            found.append(Reason("address-of-the-ping-node", text, "choose an address that nobody has", field))
    return tuple(found)


def refuse_host(text: str) -> str | None:
    """Why an address is no host's of a network that others reach; None: it may be one's."""
    address = ip_address(text)
    if address.is_unspecified or address.is_multicast or address.is_loopback or address.is_reserved:
        return "it is the address of no single host on a network"
    if isinstance(address, IPv6Address) and address.is_link_local:
        return "it is valid on one link only, and means nothing without the name of a NIC"
    return None


def refuse_in_network(text: str, prefix_length: int) -> str | None:
    """Why an address with its netmask is no host's; None: it may be one's."""
    return refuse_in(ip_interface(f"{text}/{prefix_length}"))


def refuse_in(given: IPv4Interface | IPv6Interface) -> str | None:
    """The same of an address with its network. Of one or two addresses each is a host's (RFC 3021, RFC 6164)."""
    network = given.network
    if network.num_addresses <= 2:
        return None
    if given.ip == network.network_address:
        return f"it is the address of the network {network} itself"
    if isinstance(given, IPv4Interface) and given.ip == network.broadcast_address:
        return f"it is the broadcast address of the network {network}"
    return None


def _owners(links: tuple[Link, ...]) -> dict[str, str]:
    return {address: link.name for link in links for address in (link.local_address, link.peer_address)}


def _judge_links(links: tuple[Link, ...], virtual: Mapping[str, str]) -> Iterator[Reason]:
    names: set[str] = set()
    seen: dict[str, str] = {}
    for number, link in enumerate(links):
        if link.name in names:
            yield Reason("twice", f"two links are named {link.name}", "name each differently", f"links.{number}.name")
        names.add(link.name)
        for end, address in (("local_address", link.local_address), ("peer_address", link.peer_address)):
            field = f"links.{number}.{end}"
            yield from _judge_ipv4(address, field)
            if address in virtual:
                text = f"{address} is a virtual address of the group {virtual[address]}"
                yield Reason("virtual-address", text, "give a link addresses that stay where they are", field)
            if seen.get(address) == link.name:
                text = f"both addresses of the link {link.name} are {address}"
                yield Reason("twice", text, "give this node's and the partner's address", field)
            elif address in seen:
                text = f"{address} is an address of the link {seen[address]} too"
                yield Reason("twice", text, "give each link addresses of its own", field)
            seen.setdefault(address, link.name)


def _judge_ping_nodes(
    ping_nodes: tuple[str, ...], owners: Mapping[str, str], virtual: Mapping[str, str]
) -> Iterator[Reason]:
    for number, address in enumerate(ping_nodes):
        field = f"ping_nodes.{number}"
        yield from _judge_ipv4(address, field)
        if address in owners:
            text = f"{address} is one of the two nodes: it is an address of the link {owners[address]}"
            yield Reason("ping-node", text, "name a third system that answers ICMP", field)
        if address in virtual:
            text = f"{address} is a virtual address of the group {virtual[address]}, which one of the two nodes has"
            yield Reason("ping-node", text, "name a third system that answers ICMP", field)
        if address in ping_nodes[:number]:
            text = f"the ping node {address} is named twice"
            yield Reason("twice", text, "name each once: one system is one voice", field)
    if ping_nodes and len(ping_nodes) % 2 == 0:
        count = len(ping_nodes)
        text = (
            f"of {count} ping nodes {count // 2 + 1} must answer, so no more may fail than of {count - 1}, "
            "and there is one more to fail"
        )
        yield Reason("even", text, f"name {count - 1} or {count + 1}", "ping_nodes")


def _judge_ipv4(address: str, field: str) -> Iterator[Reason]:
    if not isinstance(ip_address(address), IPv4Address):
        text = f"{address} is an IPv6 address: heartbeats and pings go over IPv4"
        yield Reason("not-ipv4", text, "give an IPv4 address; virtual addresses may be IPv6", field)
    elif (why := refuse_host(address)) is not None:
        yield Reason("no-host", f"{address} cannot be a host: {why}", "give the address of a host", field)
