"""What this plugin needs of the machine. It only looks."""

from __future__ import annotations

from holdfast.errors import HoldfastError
from holdfast.hooks.base import Host, Missing
from holdfast_rep_block import fencing
from holdfast_rep_block.settings import Settings

_COMMAND_S = 10.0
_TOOLS_REMEDY = "install the Debian package drbd-utils, or correct the path in the settings"
_MODULE_REMEDY = "install a kernel that has the DRBD module (Debian: linux-image-amd64), and boot it"
_VERSION_REMEDY = "unload it and use the kernel's own DRBD 8.4, for this plugin speaks no other"


async def probe(settings: Settings, host: Host) -> tuple[Missing, ...]:
    """See Offer.probe."""
    found = [Missing(reason.text, reason.remedy) for reason in fencing.unmet(host.state_dir, host.run_dir)]
    for program, remedy in (
        (settings.drbdsetup, _TOOLS_REMEDY),
        (settings.drbdmeta, _TOOLS_REMEDY),
        ("blkid", "install the Debian package util-linux"),
    ):
        if not host.commands.finds(program):
            found.append(Missing(f"the program {program}", remedy))
    version = await _module_version(host)
    if version is None:
        found.append(Missing("the kernel module drbd", _MODULE_REMEDY))
    elif not version.startswith("8.4."):
        found.append(Missing(f"DRBD 8.4 (the kernel has {version})", _VERSION_REMEDY))
    return tuple(found)


async def _module_version(host: Host) -> str | None:
    """The version of the loaded module, else of the one that modprobe would load; None for none."""
    if host.kernel.exists("/proc/drbd"):
        # "version: 8.4.11 (api:1/proto:86-101)"
        return host.kernel.read("/proc/drbd").removeprefix("version: ").split(" ")[0]
    try:
        done = await host.commands.run(["modinfo", "--field", "version", "drbd"], timeout_s=_COMMAND_S)
    except HoldfastError:
        return None
    return done.stdout.strip() or None
