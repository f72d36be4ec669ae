"""The files behind the nodes' disks."""

from __future__ import annotations

from pathlib import Path

from lab.layout import Layout
from lab.tools import call
from lab.topology import Disk, NodeSpec

_MKFS = {"ext4": ["mkfs.ext4", "-q", "-F"], "xfs": ["mkfs.xfs", "-q", "-f"]}


def create(layout: Layout, node: NodeSpec) -> None:
    """Make the disks of a node that do not exist yet; those that do keep their content."""
    for disk in node.disks:
        path = layout.disk(node.name, disk.name)
        if not path.exists():
            _create(path, disk)


def _create(path: Path, disk: Disk) -> None:
    # Under another name first: an interrupted mkfs must not look like a disk later.
    draft = path.with_suffix(".new")
    with draft.open("wb") as file:
        file.truncate(disk.size_mib << 20)
    if disk.filesystem:
        call([*_MKFS[disk.filesystem], str(draft)])
    draft.rename(path)
