"""The kernel's parts that targets of each fabric need."""

from __future__ import annotations

import asyncio

from holdfast.errors import Reason, SystemCommandError, UnavailableError
from holdfast.hooks.target import Fabric, fabric_of
from holdfast.system.command import Commands
from holdfast.system.kernelfs import KernelFs
from holdfast_iscsi_lio.tree import ROOTS

FABRIC_MODULES = {Fabric.LOOPBACK: "tcm_loop", Fabric.FC: "tcm_qla2xxx", Fabric.FCOE: "tcm_fc"}
"""Those of iSCSI are there as long as the plugin is."""


async def load_fabric(iqn: str, kernel: KernelFs, commands: Commands | None) -> None:
    """Load what only targets of that kind need, and make their root."""
    fabric = fabric_of(iqn)
    if fabric is Fabric.ISCSI or kernel.exists(ROOTS[fabric]) or commands is None:
        return
    module = FABRIC_MODULES[fabric]
    try:
        await commands.run(["modprobe", module], timeout_s=30)
        await asyncio.to_thread(kernel.make_directory, ROOTS[fabric])
    except (SystemCommandError, OSError) as reason:
        text = f"the kernel offers no targets of {fabric.value}: {reason}"
        remedy = f"install the kernel's full set of modules: {module} is needed"
        raise UnavailableError(text, reasons=[Reason("no-fabric", text, remedy, "iqn")]) from reason
