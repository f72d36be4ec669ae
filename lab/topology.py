"""The bed as data: networks, nodes and disks, read from a TOML file."""

from __future__ import annotations

import ipaddress
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.errors import LabError

DEFAULT_FILE = Path(__file__).with_name("topology.toml")

# The agent's own wire. In a node it lies in a network namespace of its own, so that neither the
# product nor a test that cuts all links ever meets it.
CONTROL = "control"
CONTROL_SUBNET = ipaddress.IPv4Network("10.77.99.0/24")

# linux.uml names its disks ubda to ubdh, ubd0 to ubd7 on its command line.
MAX_DISKS = 8


@dataclass(frozen=True)
class Network:
    """One switch. `host` is the number of the lab's namespace on it, None for no address."""

    name: str
    subnet: ipaddress.IPv4Network
    host: int | None = None

    def address(self, number: int) -> str:
        """The address of the member with this number."""
        return str(self.subnet.network_address + number)


@dataclass(frozen=True)
class Disk:
    """One disk of a node; without a filesystem it stays blank."""

    name: str
    size_mib: int
    filesystem: str | None = None
    mount: str | None = None
    written_mib: int | None = None
    """How much of it is ever written, where that is less than all; only that takes room on the host."""

    @property
    def most_mib(self) -> int:
        """What its file can grow to."""
        return self.size_mib if self.written_mib is None else self.written_mib


@dataclass(frozen=True)
class NodeSpec:
    """One virtual machine."""

    name: str
    number: int
    memory_mib: int
    networks: tuple[str, ...]
    disks: tuple[Disk, ...]

    def device(self, disk: str) -> str:
        """The device path of a disk inside the node. Raises KeyError for an unknown disk."""
        for index, candidate in enumerate(self.disks):
            if candidate.name == disk:
                return f"/dev/ubd{'abcdefgh'[index]}"
        raise KeyError(disk)


@dataclass(frozen=True)
class HostSpec:
    """A host without a kernel: a namespace on one network."""

    name: str
    network: str
    number: int


@dataclass(frozen=True)
class Topology:
    """Everything a lab is made of."""

    networks: dict[str, Network]
    nodes: dict[str, NodeSpec]
    hosts: dict[str, HostSpec]

    @property
    def memory_mib(self) -> int:
        """What all nodes need together."""
        return sum(node.memory_mib for node in self.nodes.values())


def load(path: Path | None = None) -> Topology:
    """Read a topology file, the default one without a path.

    Raises LabError with the file's name for anything that cannot be a lab.
    """
    path = path or DEFAULT_FILE
    try:
        return _parse(tomllib.loads(path.read_text()))
    except OSError as reason:
        raise LabError(f"cannot read the topology {path}: {reason.strerror}") from reason
    except (KeyError, TypeError, ValueError) as reason:
        raise LabError(f"the topology {path} is not valid: {reason!r}") from reason


def _parse(data: dict[str, Any]) -> Topology:
    networks = {
        name: Network(name, ipaddress.IPv4Network(fields["subnet"]), fields.get("host"))
        for name, fields in data["networks"].items()
    }
    nodes = {
        name: NodeSpec(
            name,
            fields["number"],
            fields["memory_mib"],
            tuple(fields["networks"]),
            tuple(Disk(**disk) for disk in fields.get("disks", [])),
        )
        for name, fields in data["nodes"].items()
    }
    hosts = {name: HostSpec(name, **fields) for name, fields in data.get("hosts", {}).items()}
    for spec in nodes.values():
        if len(spec.disks) > MAX_DISKS:
            raise ValueError(f"node {spec.name} has more than {MAX_DISKS} disks")
    used = [net for spec in nodes.values() for net in spec.networks]
    for net in used + [host.network for host in hosts.values()]:
        if net not in networks:
            raise ValueError(f"unknown network {net}")
    for name in [*networks, *nodes, *hosts]:
        # Interface names end at 15 characters, with a prefix of ours in front.
        if not name.isalnum() or len(name) > 11:
            raise ValueError(f"{name!r}: names are 1 to 11 letters and digits")
    return Topology(networks, nodes, hosts)
