"""What this plugin needs of the machine."""

from __future__ import annotations

from holdfast.errors import SystemCommandError, UnavailableError
from holdfast.hooks.base import Host, Missing
from holdfast_share_nfs.settings import Settings

_PROGRAMS = {
    "nfs-kernel-server": ("exportfs", "rpc.nfsd", "rpc.mountd"),
    "mount": ("mount", "umount"),
    "kmod": ("modprobe",),
}


async def probe(settings: Settings, host: Host) -> tuple[Missing, ...]:
    """See Offer.probe."""
    lacking = tuple(
        Missing(f"the program {program}", f"install the package {package}")
        for package, programs in _PROGRAMS.items()
        for program in programs
        if not host.commands.finds(program)
    )
    if lacking:
        return lacking
    if "\tnfsd\n" in host.kernel.read("/proc/filesystems") + "\n":
        return ()
    try:
        await host.commands.run(["modprobe", "--dry-run", "--quiet", "nfsd"], timeout_s=10)
    except (SystemCommandError, UnavailableError):
        return (Missing("the kernel module nfsd", "run a kernel that has it"),)
    return ()
