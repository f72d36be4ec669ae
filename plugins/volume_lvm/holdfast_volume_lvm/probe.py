"""What this plugin needs of the machine. It only looks, and runs as little as it can: every start of the daemon and of
the monitor waits for it.
"""

from __future__ import annotations

from holdfast.errors import HoldfastError
from holdfast.hooks.base import Host, Missing
from holdfast_volume_lvm.settings import Settings

_COMMAND_S = 10.0

_PROGRAMS = {
    "lvm": "lvm2",
    "mkfs.xfs": "xfsprogs",
    "xfs_db": "xfsprogs",
    "xfs_growfs": "xfsprogs",
    "mkfs.ext4": "e2fsprogs",
    "e2fsck": "e2fsprogs",
    "resize2fs": "e2fsprogs",
    "wipefs": "util-linux",
    "lsblk": "util-linux",
    "blkdiscard": "util-linux",
    "mount": "mount",
    "umount": "mount",
}

# What shows that it is there already, else the module that would bring it.
_KERNEL = (
    ("/proc/misc", "device-mapper", "dm_mod"),
    ("/proc/modules", "dm_snapshot", "dm_snapshot"),
    ("/proc/filesystems", "xfs", "xfs"),
)


async def probe(settings: Settings, host: Host) -> tuple[Missing, ...]:
    """See Offer.probe."""
    found = [
        Missing(f"the program {program}", f"install the package {package}")
        for program, package in _PROGRAMS.items()
        if not host.commands.finds(program)
    ]
    for path, word, module in _KERNEL:
        if not _is_listed(host, path, word) and not await _can_load(host, module):
            remedy = f"boot a kernel that has the module {module} (Debian: linux-image-amd64)"
            found.append(Missing(f"{module} in the kernel", remedy))
    return tuple(found)


def _is_listed(host: Host, path: str, word: str) -> bool:
    return host.kernel.exists(path) and word in host.kernel.read(path).split()


async def _can_load(host: Host, module: str) -> bool:
    try:
        await host.commands.run(["modprobe", "--dry-run", "--quiet", module], timeout_s=_COMMAND_S)
    except HoldfastError:
        return False
    return True
