"""Runs inside a node as root: volumes of each I/O type by the volume driver, as the services have it make them.

    python -m benchmarks.units_in_node DISK SIZE_BYTES NAME=IO_TYPE...

The line printed is JSON: by name the volume's device, and the unit's path and size (none for block I/O).
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from holdfast.hooks.base import Host
from holdfast.hooks.volume import IoType, VolumeDriver, VolumeKind, VolumeSpec
from holdfast.system.clock import SystemClock
from holdfast.system.command import SystemCommands
from holdfast.system.kernelfs import KernelFs
from holdfast_volume_lvm.driver import open_driver
from holdfast_volume_lvm.settings import Settings

POOL = "io"
STATE = Path("/run/bench")


async def make(driver: VolumeDriver, name: str, io_type: IoType, size_bytes: int) -> dict[str, str | int | None]:
    """One volume; with file I/O its file system is mounted, and its file made."""
    volume = await driver.create_volume(VolumeSpec(POOL, name, size_bytes, VolumeKind.ISCSI, io_type))
    if io_type is IoType.BLOCK:
        return {"volume": volume.device, "unit": volume.device, "file_bytes": None}
    directory = f"/srv/{POOL}/{name}"
    await driver.mount(volume.device, directory, read_only=False)
    file_bytes = driver.unit_file_bytes(volume.size_bytes)
    path = await driver.make_unit_file(directory, file_bytes)
    return {"volume": volume.device, "unit": path, "file_bytes": file_bytes}


async def main(disk: str, size_bytes: int, wanted: dict[str, IoType]) -> None:
    """Make all of them in a pool on the disk."""
    host = Host("here", SystemCommands(), KernelFs(), SystemClock(), STATE, STATE)
    driver = await open_driver(Settings(), host)
    await driver.create_pool(POOL, (disk,), overwrite={})
    made = {name: await make(driver, name, io_type, size_bytes) for name, io_type in wanted.items()}
    print(json.dumps(made))


if __name__ == "__main__":
    STATE.mkdir(exist_ok=True)
    pairs = (argument.split("=") for argument in sys.argv[3:])
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), {name: IoType(word) for name, word in pairs}))
