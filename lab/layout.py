"""Where a lab keeps its things, and the names derived from that place."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
CACHE = CHECKOUT / ".cache" / "lab"


@dataclass(frozen=True)
class Layout:
    """The state directory of one lab. Two labs never share one, and so never share a name."""

    root: Path

    @classmethod
    def at(cls, state_dir: Path | None = None) -> Layout:
        """The given directory, else $HOLDFAST_LAB_DIR, else `.lab` of the checkout."""
        chosen = state_dir or Path(os.environ.get("HOLDFAST_LAB_DIR") or CHECKOUT / ".lab")
        return cls(chosen.absolute())

    @property
    def id(self) -> str:
        """A short name of this lab, unique on the machine."""
        return hashlib.sha256(str(self.root).encode()).hexdigest()[:6]

    @property
    def namespace(self) -> str:
        """The network namespace that holds the switches of this lab."""
        return f"holdfast-{self.id}"

    def host_namespace(self, host: str) -> str:
        """The network namespace of a host without a kernel."""
        return f"{self.namespace}-{host}"

    def make_root(self) -> None:
        """Make the directory, and keep it out of every git status."""
        make_ignored(self.root)

    @property
    def keeper_record(self) -> Path:
        """The process that keeps the lab; the lab is up while it lives."""
        return self.root / "keeper.json"

    @property
    def topology_copy(self) -> Path:
        """The topology the lab was started with."""
        return self.root / "topology.toml"

    def node_dir(self, node: str) -> Path:
        """Everything of one node."""
        return self.root / "nodes" / node

    def host_dir(self, node: str) -> Path:
        """What the node sees, writable, as /host."""
        return self.node_dir(node) / "host"

    @property
    def disks(self) -> Path:
        """The directory of all disks; a link where they lie in memory."""
        return self.root / "disks"

    def disk(self, node: str, disk: str) -> Path:
        """The file behind a disk."""
        return self.disks / f"{node}-{disk}.img"

    def console(self, node: str) -> Path:
        """The node's console, all boots in one file."""
        return self.node_dir(node) / "console.log"

    def process_record(self, node: str) -> Path:
        """The running machine of a node."""
        return self.node_dir(node) / "process.json"


def make_ignored(directory: Path) -> None:
    """Make a directory that git does not see, wherever it lies."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / ".gitignore").write_text("*\n")
