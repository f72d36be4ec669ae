"""The files behind the nodes' disks.

They lie in the host's memory where there is plenty: a flush of a node is then no matter of the host's disk, which
makes everybody wait for seconds while somebody else fills it. What the nodes lose at a power cut is the same.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from lab.layout import Layout
from lab.preflight import SPARE_MIB, available_mib
from lab.tools import call
from lab.topology import Disk, NodeSpec, Topology

MEMORY = Path("/dev/shm")  # noqa: S108 - a directory of root's own is made in it
_MKFS = {"ext4": ["mkfs.ext4", "-q", "-F"], "xfs": ["mkfs.xfs", "-q", "-f"]}


def place(layout: Layout, topology: Topology, memory: Path = MEMORY) -> None:
    """Choose where the disks lie, unless they are somewhere already."""
    if layout.disks.is_dir():
        return
    layout.disks.unlink(missing_ok=True)  # its memory did not survive a boot of the host
    if _fits(topology, memory):
        inside = memory / f"holdfast-lab-{layout.id}"
        # The link first: by it whoever clears up finds the directory.
        layout.disks.symlink_to(inside)
        inside.mkdir(mode=0o700, exist_ok=True)
    else:
        layout.disks.mkdir()


def _fits(topology: Topology, memory: Path) -> bool:
    disks_mib = total_mib(topology)
    if not memory.is_dir() or shutil.disk_usage(memory).free < disks_mib << 20:
        return False
    return available_mib() >= topology.memory_mib + disks_mib + 2 * SPARE_MIB


def total_mib(topology: Topology) -> int:
    """What the disks of all nodes can grow to."""
    return sum(disk.most_mib for node in topology.nodes.values() for disk in node.disks)


def create(layout: Layout, node: NodeSpec) -> None:
    """Make the disks of a node that do not exist yet; those that do keep their content."""
    for disk in node.disks:
        path = layout.disk(node.name, disk.name)
        if not path.exists():
            _create(path, disk)


def forget(layout: Layout) -> None:
    """Remove the disks that lie in memory; those on the host's disk go with the state directory."""
    if layout.disks.is_symlink():
        shutil.rmtree(layout.disks.readlink(), ignore_errors=True)
        layout.disks.unlink()


def _create(path: Path, disk: Disk) -> None:
    # Under another name first: an interrupted mkfs must not look like a disk later.
    draft = path.with_suffix(".new")
    with draft.open("wb") as file:
        file.truncate(disk.size_mib << 20)
    if disk.filesystem:
        call([*_MKFS[disk.filesystem], str(draft)])
    draft.rename(path)
