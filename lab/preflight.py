"""What the machine must offer before a lab can start, each lack as one sentence with its remedy."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from lab.errors import LabError
from lab.topology import Topology

# What the lab itself calls, and the Debian package it comes from.
TOOLS = {
    "linux.uml": "user-mode-linux",
    "ip": "iproute2",
    "depmod": "kmod",
    "modprobe": "kmod",
    "unshare": "util-linux",
    "mkfs.ext4": "e2fsprogs",
    "mkfs.xfs": "xfsprogs",
    "gcc": "gcc libc6-dev",
}

# The host's share beside the nodes: page cache for their disks, and the tests.
SPARE_MIB = 512


def check_machine() -> None:
    """Raise LabError naming what this machine lacks and what to do about it."""
    if os.geteuid() != 0:
        raise LabError("the lab needs root for namespaces and taps: run it as root or with sudo")
    missing = sorted({package for tool, package in TOOLS.items() if not find(tool)})
    if missing:
        raise LabError(f"packages are missing: run `apt-get install --yes {' '.join(missing)}` first")
    if not Path("/dev/net/tun").exists():
        raise LabError("/dev/net/tun is missing: run `modprobe tun`, or allow it to this container")


def check_memory(topology: Topology) -> None:
    """Raise LabError if the nodes do not fit into what is free now."""
    available = available_mib()
    needed = topology.memory_mib + SPARE_MIB
    if available < needed:
        raise LabError(
            f"{available} MiB of memory are free and the nodes need {needed}: "
            "end something, or give the nodes less in the topology"
        )


def find(tool: str) -> str | None:
    """The path of a program, also where only root's PATH would lead."""
    return shutil.which(tool, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin")


def available_mib() -> int:
    """What can be used without swapping (proc(5), /proc/meminfo)."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) // 1024
    return 0
