"""The lab's switches: one bridge a network in one namespace, a tap for each link of a node."""

from __future__ import annotations

import hashlib

from lab.layout import Layout
from lab.tools import call
from lab.topology import CONTROL, CONTROL_SUBNET, HostSpec, NodeSpec, Topology


def control_address(node: NodeSpec) -> str:
    """Where the node's agent listens, as seen from the lab's namespace."""
    return str(CONTROL_SUBNET.network_address + node.number)


def link_name(topology: Topology, member: str, network: str) -> str:
    """The switch's end of a member's link, short enough for the kernel (15 characters)."""
    nets = [*topology.networks, CONTROL]
    return f"{member}-{nets.index(network)}"


def hardware_address(layout: Layout, member: str, network: str) -> str:
    """A locally administered address that is the same at every boot."""
    digest = hashlib.sha256(f"{layout.id}/{member}/{network}".encode()).hexdigest()
    return "02:" + ":".join(digest[i : i + 2] for i in range(0, 10, 2))


def create(layout: Layout, topology: Topology) -> None:
    """Make the namespace with every bridge and link, all of them up."""
    call(["ip", "netns", "add", layout.namespace])
    commands = ["link set lo up"]
    for net in topology.networks.values():
        commands += _bridge(_bridge_name(net.name))
        if net.host is not None:
            address = f"{net.address(net.host)}/{net.subnet.prefixlen}"
            commands.append(f"addr add {address} dev {_bridge_name(net.name)}")
    commands += _bridge(_bridge_name(CONTROL))
    commands.append(
        f"addr add {CONTROL_SUBNET.network_address + 1}/{CONTROL_SUBNET.prefixlen} dev {_bridge_name(CONTROL)}"
    )
    for node in topology.nodes.values():
        for network in (*node.networks, CONTROL):
            tap = link_name(topology, node.name, network)
            commands.append(f"tuntap add {tap} mode tap")
            commands.append(f"link set {tap} master {_bridge_name(network)} up")
    _batch(layout.namespace, commands)
    for host in topology.hosts.values():
        _create_host(layout, topology, host)


def remove(layout: Layout, hosts: list[str]) -> None:
    """Remove the namespaces and so everything in them; what is not there is no error."""
    known = namespaces()
    for name in [*(layout.host_namespace(host) for host in hosts), layout.namespace]:
        if name in known:
            call(["ip", "netns", "del", name], check=False)


def namespaces() -> set[str]:
    """All named network namespaces of the machine."""
    return {line.split()[0] for line in call(["ip", "netns", "list"]).splitlines() if line}


def process_ids(namespace: str) -> list[int]:
    """The processes that run in a namespace; none if it does not exist."""
    return [int(pid) for pid in call(["ip", "netns", "pids", namespace], check=False).split()]


def set_link(layout: Layout, topology: Topology, member: str, network: str, *, up: bool) -> None:
    """Plug or pull a member's cable at the switch.

    The tap itself stays up: linux.uml gives a NIC up for good after one failed write to its tap
    (arch/um/drivers/vector_kern.c, in_error). Out of its bridge and without ARP it leads nowhere.
    The node therefore sees no loss of carrier, as behind a switch that lost its uplink.
    """
    link = link_name(topology, member, network)
    if up:
        commands = [f"link set {link} arp on", f"link set {link} master {_bridge_name(network)}"]
    else:
        commands = [f"link set {link} nomaster", f"link set {link} arp off"]
    _batch(layout.namespace, commands)


def link_is_up(layout: Layout, topology: Topology, member: str, network: str) -> bool:
    """Whether a member's cable is plugged in."""
    link = link_name(topology, member, network)
    return " master " in call(["ip", "-n", layout.namespace, "-o", "link", "show", "dev", link])


def _bridge_name(network: str) -> str:
    return f"br-{network}"


def _bridge(name: str) -> list[str]:
    # No snooping: with nobody asking, a snooping bridge would only delay what it floods.
    return [f"link add {name} type bridge mcast_snooping 0", f"link set {name} up"]


def _create_host(layout: Layout, topology: Topology, host: HostSpec) -> None:
    own = layout.host_namespace(host.name)
    link = link_name(topology, host.name, host.network)
    net = topology.networks[host.network]
    call(["ip", "netns", "add", own])
    _batch(
        layout.namespace,
        [
            f"link add {link} type veth peer name {host.network} netns {own}",
            f"link set {link} master {_bridge_name(host.network)} up",
        ],
    )
    address = f"{net.address(host.number)}/{net.subnet.prefixlen}"
    _batch(
        own,
        [
            "link set lo up",
            f"addr add {address} dev {host.network}",
            f"link set {host.network} up",
        ],
    )


def _batch(namespace: str, commands: list[str]) -> None:
    call(["ip", "-n", namespace, "-batch", "-"], stdin="\n".join(commands) + "\n")
