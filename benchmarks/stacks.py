"""Two nodes that serve one iSCSI target from a virtual address: ours, and what every stock pair has in common.

Each stack has a pair of its own in the bed, so that nothing of another is in its way; all are written to by the same
initiator, which is set to the same profile.
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from demo import files
from demo.bed import Bed, StorageNode, wait_for
from demo.blocks import BOOTS_WITHIN_S, LINKS
from demo.report import Report
from lab import Lab, LabError, Node
from lab.layout import CACHE, CHECKOUT

MIB = 1 << 20
TOPOLOGY = CHECKOUT / "benchmarks" / "failover.toml"
WHOLE_WITHIN_S = 240.0  # Pacemaker starts a target in several runs of targetcli
PREFIX_LENGTH = 24
CLIENT = "iqn.2026-01.org.holdfast.lab:c"


def with_nodes(topology: str, names: Iterable[str]) -> str:
    """A topology with those of its nodes that are named."""
    wanted = set(names)
    head, *sections = re.split(r"(?m)^(?=\[nodes\.\w+\]$)", topology)
    return "".join([head, *(text for text in sections if text.partition("]")[0].removeprefix("[nodes.") in wanted)])


def start_lab(nodes: Iterable[str]) -> Lab:
    """Boot those storage nodes of the bed that are named, and the initiator."""
    CACHE.mkdir(parents=True, exist_ok=True)
    topology = CACHE / "failover-bench.toml"
    topology.write_text(with_nodes(TOPOLOGY.read_text(), [*nodes, "c"]))
    # Who runs labs side by side holds the machine's lock, as for the tests.
    state_dir = Path(os.environ.get("HOLDFAST_LAB_DIR") or CHECKOUT / ".lab-bench")
    return Lab.start(topology=topology, state_dir=state_dir, lock="HOLDFAST_TEST_LAB" not in os.environ)


class Silent(Report):
    """Says nothing of the set-up: the figures are what is to be read."""

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """See Report."""
        yield

    def say(self, sentence: str) -> None:
        """See Report."""


class Stack(ABC):
    """A pair that serves, and what is done to it. `names` are its nodes, the one that serves first at the start."""

    name: str
    names: tuple[str, str]
    address: str

    def __init__(self, lab: Lab, units: int, unit_mib: int) -> None:
        self.lab = lab
        self.units = units
        self.unit_mib = unit_mib
        self.is_whole = False

    @property
    def iqn(self) -> str:
        """Of its target."""
        return f"iqn.2026-01.org.holdfast.bench:{self.name.replace('_', '-')}"

    @property
    def nodes(self) -> tuple[Node, Node]:
        """Both."""
        return self.lab.node(self.names[0]), self.lab.node(self.names[1])

    @abstractmethod
    def build(self) -> None:
        """From blank disks to a target that is served."""

    @abstractmethod
    def serves(self, node: Node) -> bool:
        """Whether a node serves, by its own word."""

    @abstractmethod
    def begin_again(self, node: Node) -> None:
        """Start on a node that was booted what its init would start."""

    @abstractmethod
    def is_well(self) -> bool:
        """Whether both nodes are up, one serves, and both sides of the mirror are equal."""

    @abstractmethod
    def move(self) -> None:
        """The planned way to have the other node serve; returns when it was told to."""

    def steps_ms(self) -> dict[str, float]:
        """What the stack itself says of how long its last takeover took."""
        return {}

    def active(self) -> Node:
        """The node that serves."""
        found = [node for node in self.nodes if node.is_running and self.serves(node)]
        assert len(found) == 1, f"{self.name}: {[node.name for node in found]} serve"
        return found[0]

    def other(self, node: Node) -> Node:
        """Its partner."""
        return next(each for each in self.nodes if each.name != node.name)

    def wait_well(self) -> None:
        """Return when all is well. Raises TimeoutError."""
        wait_for(self._is_well_now, WHOLE_WITHIN_S, f"{self.name}: both nodes are up and equal, and one serves")
        self.is_whole = True

    def _is_well_now(self) -> bool:
        try:
            return self.is_well()
        except (LabError, OSError):
            return False

    def cut(self, node: Node) -> None:
        """Take its power."""
        self.is_whole = False
        node.cut()

    def make_whole(self) -> None:
        """Boot what has no power, and wait until all is well."""
        for node in self.nodes:
            if not node.is_running:
                node.boot()
                self.begin_again(node)
        self.wait_well()


class Ours(Stack):
    """Two nodes with the product, set up through its API."""

    name, names, address = "ours", ("a", "b"), "10.77.1.200"

    def __init__(self, lab: Lab, units: int, unit_mib: int) -> None:
        super().__init__(lab, units, unit_mib)
        self.bed = Bed(lab)

    def build(self) -> None:
        """See Stack."""
        self.bed.start_product()
        files.pair(self.bed, Silent())
        api = self.bed.a.api
        volumes = [f"unit{number}" for number in range(self.units)]
        for volume in volumes:
            spec = {"pool": files.POOL, "name": volume, "size_bytes": self.unit_mib * MIB, "kind": "iscsi"}
            api.change("POST", "/v1/volumes", spec)
        links = [
            {
                "name": net,
                "interface": net,
                "local_address": self.bed.a.node.address(net),
                "peer_address": self.bed.b.node.address(net),
            }
            for net in LINKS
        ]
        api.change("PUT", "/v1/failover", {"links": links, "ping_nodes": [self.lab.address("ping", "client")]})
        api.change("POST", "/v1/mirrors", {"name": "bench", "volumes": volumes, "first_sync": "zero"})
        units = [{"lun": number, "volume": volume} for number, volume in enumerate(volumes)]
        target = {"name": "bench", "mirror": "bench", "iqn": self.iqn, "units": units}
        api.change("POST", "/v1/targets", {**target, "access": [{"initiator": CLIENT}]})
        address = {"address": self.address, "prefix_length": PREFIX_LENGTH, "interface": "client"}
        group = {"name": "bench", "mirror": "bench", "targets": ["bench"], "addresses": [address]}
        api.change("POST", "/v1/groups", group)
        wait_for(lambda: not api.get("/v1/groups/bench/preflight")["unmet"], 10, "the preflight passes")
        api.change("POST", "/v1/groups/bench/start")

    def storage(self, node: Node) -> StorageNode:
        """The node with its API."""
        return self.bed.storage[node.name]

    def state(self, node: Node) -> str:
        """Of the group, by the word of a node's own monitor."""
        here: dict[str, Any] | None = self.storage(node).api.get("/v1/groups/bench")["this_node"]
        return str(here["state"]) if here else "unknown"

    def serves(self, node: Node) -> bool:
        """See Stack."""
        return self.state(node).startswith("active")

    def begin_again(self, node: Node) -> None:
        """See Stack: the services start at boot."""
        self.storage(node).api.wait_until_it_answers(BOOTS_WITHIN_S)

    def is_well(self) -> bool:
        """See Stack."""
        return sorted(self.state(node) for node in self.nodes) == ["active-sync", "standby-ok"]

    def move(self) -> None:
        """See Stack."""
        active = self.active()
        to = {"to": self.other(active).name}
        self.storage(active).api.change("POST", "/v1/groups/bench/switchover", to)

    def steps_ms(self) -> dict[str, float]:
        """See Stack: until its address was up, from when it decided."""
        decisions = self.storage(self.active()).api.items("/v1/decisions?page_size=1000")
        told = [item["timeline_ms"] for item in decisions if "address up" in (item["timeline_ms"] or {})]
        return {"steps_ms": float(told[-1]["address up"])} if told else {}
