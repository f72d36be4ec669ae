"""A target of one node with two files, one of them with a write cache, and what its initiator sees."""

from __future__ import annotations

from demo import files
from demo.bed import Bed, wait_for
from demo.initiator import Initiator

MIB = 1 << 20
IQN = "iqn.2026-01.org.holdfast.lab:files"
SAFE, CACHED = "file-safe", "file-cached"
TARGET = "files"
LUNS = {SAFE: 1, CACHED: 2}
BYTES = 320 * MIB
PATTERN_BLOCKS = 256  # of 4 KiB: 1 MiB


def volume(name: str) -> dict[str, object]:
    """What is asked for."""
    return {"pool": files.POOL, "name": name, "size_bytes": BYTES, "kind": "iscsi", "io_type": "file"}


def export(bed: Bed, initiator: Initiator) -> dict[str, str]:
    """Have node a export both, log in, and return the disk of each volume."""
    units = [{"lun": lun, "volume": name, "has_write_cache": name == CACHED} for name, lun in LUNS.items()]
    portals = [{"address": bed.a.node.address("client")}]
    access = [{"initiator": initiator.name}]
    body = {"name": TARGET, "iqn": IQN, "portals": portals, "units": units, "access": access}
    bed.a.api.change("POST", "/v1/targets", body)
    initiator.log_in(bed.a, TARGET)
    wait_for(lambda: len(disks(bed)) == len(LUNS), 10, "the initiator sees both disks")
    found = disks(bed)
    return {name: found[lun] for name, lun in LUNS.items()}


def disks(bed: Bed) -> dict[int, str]:
    """The initiator's disks by LUN."""
    told = bed.initiator.run(["sh", "-c", "cd /sys/block && for d in sd*; do readlink $d/device; echo $d; done"])
    words = told.stdout.decode().split()
    return {int(where.rpartition(":")[2]): f"/dev/{name}" for where, name in zip(words[::2], words[1::2], strict=True)}


def size_after_rescan(bed: Bed, device: str) -> int:
    """How large the initiator finds a disk when it looks again."""
    bed.initiator.run(["sh", "-c", f"echo 1 >/sys/block/{device[5:]}/device/rescan"])
    return int(bed.initiator.run(["blockdev", "--getsize64", device]).stdout)


def unit_bytes(bed: Bed, name: str) -> int:
    """How large the unit is by its volume."""
    return int(bed.a.api.get(f"/v1/volumes/{name}")["unit_bytes"])


def write_unflushed(bed: Bed, device: str) -> None:
    """A MiB of ones at the beginning, acknowledged but never flushed: past the initiator's own cache only."""
    script = f"tr '\\0' '\\377' </dev/zero | dd of={device} bs=4k count={PATTERN_BLOCKS} iflag=fullblock oflag=direct"
    bed.initiator.run(["sh", "-c", f"{script} 2>/dev/null"])


def written_bytes(bed: Bed, device: str) -> int:
    """How many bytes of that are there, read past every cache."""
    script = f"dd if={device} bs=4k count={PATTERN_BLOCKS} iflag=direct 2>/dev/null | tr -d '\\0' | wc -c"
    return int(bed.initiator.run(["sh", "-c", script]).stdout)


def mounts(bed: Bed) -> list[str]:
    """Where node a has file systems of volumes."""
    lines = bed.a.node.read_file("/proc/mounts").decode().splitlines()
    return [line.split()[1] for line in lines if line.split()[2] == "xfs"]
