"""Opens the driver: modules, the root of targets, and where the kernel writes reservations."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from holdfast.errors import UnavailableError
from holdfast.hooks.base import Host
from holdfast.system.kernelfs import KernelFs
from holdfast_iscsi_lio.driver import LioTargets
from holdfast_iscsi_lio.probe import CORE_MODULES, MODULES
from holdfast_iscsi_lio.reservations import ReservationFiles
from holdfast_iscsi_lio.settings import Settings
from holdfast_iscsi_lio.tree import ISCSI

log = logging.getLogger(__name__)

DBROOT = "/sys/kernel/config/target/dbroot"


async def open_driver(settings: Settings, host: Host) -> LioTargets:
    """See Offer.open. Loads the modules and makes the root of all iSCSI targets."""
    await host.commands.run(["modprobe", "--all", *CORE_MODULES], timeout_s=30)
    try:
        files = await asyncio.to_thread(place_reservations, host.kernel, host.state_dir)
        await host.commands.run(["modprobe", "--all", *MODULES], timeout_s=30)
        await asyncio.to_thread(host.kernel.make_directory, ISCSI)
    except OSError as reason:
        raise UnavailableError(f"the kernel offers no iSCSI targets: {reason}") from reason
    return LioTargets(settings, host.kernel, files, host.commands)


def place_reservations(kernel: KernelFs, state_dir: Path) -> ReservationFiles:
    """Have the kernel write reservations where they survive a reboot.

    It takes no other place once any fabric is loaded (target_core_configfs.c, target_core_item_dbroot_store): then
    the one it has stays, and our copies alone survive.
    """
    ours = state_dir / "dbroot"
    (ours / "pr").mkdir(mode=0o700, parents=True, exist_ok=True)
    if kernel.read(DBROOT) != str(ours):
        try:
            kernel.write(DBROOT, str(ours))
        except OSError as reason:
            log.info("reservations are written below %s: %s", kernel.read(DBROOT), reason.strerror)
    kernel_dir = Path(kernel.read(DBROOT)) / "pr"
    kernel_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return ReservationFiles(kernel_dir, state_dir / "reservations")
