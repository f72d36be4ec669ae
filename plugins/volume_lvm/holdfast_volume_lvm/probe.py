"""What this plugin needs of the machine. It only looks: no program named here opens device-mapper,
whose mere opening would load a module.
"""

from __future__ import annotations

from holdfast.errors import HoldfastError, SystemCommandError, UnavailableError
from holdfast.hooks.base import Host, Missing
from holdfast_volume_lvm.settings import Settings

_COMMAND_S = 10.0

_PROGRAMS = (
    (("lvm", "help"), "lvm2"),
    (("mkfs.xfs", "-V"), "xfsprogs"),
    (("xfs_db", "-V"), "xfsprogs"),
    (("xfs_growfs", "-V"), "xfsprogs"),
    (("wipefs", "--version"), "util-linux"),
    (("lsblk", "--version"), "util-linux"),
    (("blkdiscard", "--version"), "util-linux"),
    (("mount", "--version"), "mount"),
    (("umount", "--version"), "mount"),
)

# What shows that it is there already, else the module that would bring it.
_KERNEL = (
    ("/proc/misc", "device-mapper", "dm_mod"),
    ("/proc/modules", "dm_snapshot", "dm_snapshot"),
    ("/proc/filesystems", "xfs", "xfs"),
)


async def probe(settings: Settings, host: Host) -> tuple[Missing, ...]:
    """See Offer.probe."""
    found = []
    for argv, package in _PROGRAMS:
        if not await _is_there(host, argv):
            found.append(Missing(f"the program {argv[0]}", f"install the package {package}"))
    for path, word, module in _KERNEL:
        if not _is_listed(host, path, word) and not await _can_load(host, module):
            remedy = f"boot a kernel that has the module {module} (Debian: linux-image-amd64)"
            found.append(Missing(f"{module} in the kernel", remedy))
    return tuple(found)


async def _is_there(host: Host, argv: tuple[str, ...]) -> bool:
    try:
        await host.commands.run(argv, timeout_s=_COMMAND_S)
    except UnavailableError:
        return False
    except SystemCommandError:
        return True
    return True


def _is_listed(host: Host, path: str, word: str) -> bool:
    return host.kernel.exists(path) and word in host.kernel.read(path).split()


async def _can_load(host: Host, module: str) -> bool:
    try:
        await host.commands.run(["modprobe", "--dry-run", "--quiet", module], timeout_s=_COMMAND_S)
    except HoldfastError:
        return False
    return True
