"""Which disks there are, what they carry and who holds them. Pure, but for the one function that asks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from holdfast.errors import VerificationError
from holdfast.hooks.volume import Disk
from holdfast.system.kernelfs import KernelFs
from holdfast_volume_lvm.report import Report

ARGV = ("lsblk", "--json", "--bytes", "--output", "PATH,KNAME,TYPE,SIZE,RO,MOUNTPOINTS")

# Memory, what another part of the product makes, and what is no disk though it says so.
_NEVER = ("ram", "zram", "drbd", "fd", "sr", "mtdblock")
_KINDS = ("disk", "mpath")


@dataclass(frozen=True)
class BlockDevice:
    """One line of lsblk, with what lies on it."""

    path: str
    kernel_name: str
    kind: str
    size_bytes: int
    is_read_only: bool
    mount_points: tuple[str, ...]
    children: tuple[BlockDevice, ...]

    @property
    def is_disk(self) -> bool:
        """Whether a pool could ever use it."""
        if self.is_read_only or self.size_bytes == 0 or self.kernel_name.startswith(_NEVER):
            return False
        return self.kind in _KINDS or self.kind.startswith("raid")


def parse_devices(text: str) -> tuple[BlockDevice, ...]:
    """Read what `lsblk` printed. Raises VerificationError."""
    try:
        return tuple(_device(row) for row in json.loads(text)["blockdevices"])
    except (ValueError, KeyError, TypeError) as reason:
        raise VerificationError(f"the list of block devices cannot be read: {reason!r}") from reason


def _device(row: Mapping[str, Any]) -> BlockDevice:
    return BlockDevice(
        path=row["path"],
        kernel_name=row["kname"],
        kind=row["type"],
        size_bytes=int(row["size"]),
        is_read_only=bool(row["ro"]),
        mount_points=tuple(point for point in row["mountpoints"] if point),
        children=tuple(_device(child) for child in row.get("children", ())),
    )


def parse_signatures(text: str) -> tuple[str, ...]:
    """Read what `wipefs --json` printed: each kind once, in the order of their names."""
    try:
        rows = json.loads(text)["signatures"] if text.strip() else ()
        return tuple(sorted({row["type"] for row in rows}))
    except (ValueError, KeyError, TypeError) as reason:
        raise VerificationError(f"the signatures of a device cannot be read: {reason!r}") from reason


def holder(device: BlockDevice, report: Report) -> str | None:
    """Who holds a disk or a part of it: a pool or volume group, a mount point, another device."""
    if group := report.group_of_disk(device.path):
        return group
    if device.mount_points:
        return device.mount_points[0]
    for child in device.children:
        if child.kind != "part":
            return child.path
        if found := holder(child, report):
            return found
    return None


def flatten(devices: Iterable[BlockDevice]) -> tuple[BlockDevice, ...]:
    """All devices, those inside others too, each once."""
    found: dict[str, BlockDevice] = {}
    for device in devices:
        found.setdefault(device.path, device)
        for inner in flatten(device.children):
            found.setdefault(inner.path, inner)
    return tuple(found.values())


ASK_ARGV = ("smartctl", "--json=c", "-n", "standby,3", "-i", "-H", "-A", "-l", "error", "-l", "devstat")
"""Not `--all`: self-tests are nobody's here. With 3 it ends for a disk that sleeps (smartctl(8), `-n`)."""
ASK_TIMEOUT_S = 20.0
# All of them are bits of what it found, and of what a disk does not know (smartctl(8), EXIT STATUS).
ASK_CODES = tuple(range(256))


def faults(kernel: KernelFs, kernel_name: str) -> tuple[str, ...]:
    """What the driver of a disk says that a person should look at.

    `device/state` is that of SCSI and NVMe (drivers/scsi/scsi_sysfs.c, drivers/nvme/host/core.c); others have none.
    Counts of errors are left out: commands that a disk merely does not know count there, too.
    """
    path = f"/sys/block/{kernel_name}/device/state"
    state = kernel.read(path).strip() if kernel.exists(path) else "running"
    return () if state in ("running", "live") else (f"its driver says that it is {state}",)


async def list_disks(
    devices: Iterable[BlockDevice],
    report: Report,
    signatures: Callable[[str], Awaitable[tuple[str, ...]]],
    kernel: KernelFs,
) -> tuple[Disk, ...]:
    """See VolumeDriver."""
    whole = sorted((device for device in flatten(devices) if device.is_disk), key=lambda device: device.path)
    carried = await asyncio.gather(*(signatures(device.path) for device in whole))
    return tuple(
        Disk(device.path, device.size_bytes, found, holder(device, report), faults(kernel, device.kernel_name))
        for device, found in zip(whole, carried, strict=True)
    )
