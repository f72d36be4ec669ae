"""Who uses the disks of a loopback target: there is no login, but there are mounts, other devices and processes."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.hooks.target import TargetSession
from holdfast.system.kernelfs import KernelFs
from holdfast_iscsi_lio.tree import tpg_of

SCSI = "/sys/class/scsi_device"


def read_holders(kernel: KernelFs, iqn: str) -> tuple[TargetSession, ...]:
    """What holds a disk of a loopback target open, each as a session without an address."""
    disks = set(_disks(kernel, iqn))
    if not disks:
        return ()
    found = [*_mounts(kernel, disks), *_devices(kernel, disks), *_processes(kernel, disks)]
    return tuple(TargetSession(name, None, None) for name in found)


def _disks(kernel: KernelFs, iqn: str) -> Iterator[str]:
    """The names of its disks, such as `sda`, by the SCSI address that the kernel gave the portal group."""
    path = f"{tpg_of(iqn)}/address"
    if not kernel.exists(path):
        return
    address = kernel.read(path)
    for device in kernel.names(SCSI):
        if device.startswith(f"{address}:"):
            yield from kernel.names(f"{SCSI}/{device}/device/block")


def _mounts(kernel: KernelFs, disks: set[str]) -> Iterator[str]:
    for line in kernel.read("/proc/self/mounts").splitlines():
        device, place = line.split()[:2]
        if _is_of(device, disks):
            yield f"{device}, which is mounted at {place}"


def _devices(kernel: KernelFs, disks: set[str]) -> Iterator[str]:
    for disk in sorted(disks):
        for holder in kernel.names(f"/sys/block/{disk}/holders"):
            yield f"/dev/{disk}, which is part of {holder}"


def _processes(kernel: KernelFs, disks: set[str]) -> Iterator[str]:
    for pid in kernel.names("/proc"):
        if pid.isdigit() and _has_open(kernel, pid, disks):
            yield f"process {pid} ({_name_of(kernel, pid)})"


def _has_open(kernel: KernelFs, pid: str, disks: set[str]) -> bool:
    try:
        return any(_is_of(kernel.link_target(f"/proc/{pid}/fd/{fd}"), disks) for fd in kernel.names(f"/proc/{pid}/fd"))
    except OSError:
        return False  # it ended while it was looked at


def _name_of(kernel: KernelFs, pid: str) -> str:
    try:
        return kernel.read(f"/proc/{pid}/comm")
    except OSError:
        return "ended since"


def _is_of(device: str, disks: set[str]) -> bool:
    """Whether a path is one of these disks or a partition of one."""
    name = device.removeprefix("/dev/")
    return name != device and name.rstrip("0123456789") in disks
