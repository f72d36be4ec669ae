"""Whether this machine's kernel can be an iSCSI target. Changes nothing."""

from __future__ import annotations

import re

from holdfast.errors import SystemCommandError
from holdfast.hooks.base import Host, Missing
from holdfast.system.kernelfs import KernelFs
from holdfast_iscsi_lio.settings import Settings

CORE_MODULES = ("configfs", "target_core_mod", "target_core_iblock", "target_core_file")
MODULES = (*CORE_MODULES, "iscsi_target_mod")
CONFIGFS = "/sys/kernel/config"
OLDEST_KERNEL = (6, 0)
"""The first with `authentication` for each ACL (iscsi_target_nodeattrib.h), which mixed access lists need."""


async def probe(settings: Settings, host: Host) -> tuple[Missing, ...]:
    """See Offer.probe."""
    missing = [*_old_kernel(host.kernel)]
    if host.commands.finds("modprobe"):
        missing += await _missing_modules(host)
    else:
        missing.append(Missing("the program modprobe", "install the package kmod"))
    if not _is_configfs_mounted(host.kernel):
        remedy = f"systemctl start sys-kernel-config.mount, or mount -t configfs configfs {CONFIGFS}"
        missing.append(Missing(f"configfs on {CONFIGFS}", remedy))
    return tuple(missing)


async def _missing_modules(host: Host) -> list[Missing]:
    """Ask modprobe what it would do; a module that is built in is as good."""
    if await _can_load(host, *MODULES):
        return []
    remedy = "install the kernel's full set of modules, then run depmod -a"
    return [Missing(f"the kernel module {name}", remedy) for name in MODULES if not await _can_load(host, name)]


async def _can_load(host: Host, *modules: str) -> bool:
    try:
        await host.commands.run(["modprobe", "--dry-run", "--quiet", "--all", *modules], timeout_s=5)
    except SystemCommandError:
        return False
    return True


def _old_kernel(kernel: KernelFs) -> list[Missing]:
    release = kernel.read("/proc/sys/kernel/osrelease")
    match = re.match(r"(\d+)\.(\d+)", release)
    if match and (int(match[1]), int(match[2])) >= OLDEST_KERNEL:
        return []
    return [Missing(f"Linux {OLDEST_KERNEL[0]}.{OLDEST_KERNEL[1]} or newer", f"this is {release}: install a newer one")]


def _is_configfs_mounted(kernel: KernelFs) -> bool:
    rows = (line.split() for line in kernel.read("/proc/self/mounts").splitlines())
    return any(row[1:3] == [CONFIGFS, "configfs"] for row in rows)
