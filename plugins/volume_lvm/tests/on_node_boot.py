"""Two halves of a test with a power cut between them: `python -m plugins.volume_lvm.tests.on_node_boot HALF DISK`.

It prints what the driver reports, as JSON. Runs inside a lab node.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from holdfast.hooks.base import Host
from holdfast.hooks.volume import VolumeDriver
from holdfast.system.clock import SystemClock
from holdfast.system.command import SystemCommands
from holdfast.system.kernelfs import KernelFs
from holdfast.testing.volume import MIB, block, copy_of, nas
from holdfast.values import to_plain
from holdfast_volume_lvm.driver import open_driver
from holdfast_volume_lvm.settings import Settings

MOUNTS = Path("/run/holdfast-test")


async def before(driver: VolumeDriver, disk: str) -> None:
    """Make one of everything, the file and its snapshot on disk before the cut."""
    found = next(known for known in await driver.list_disks() if known.path == disk)
    await driver.create_pool("kit", (disk,), overwrite={disk: found.signatures})
    volume = await driver.create_volume(nas())
    await driver.create_volume(block("v1"))
    await driver.create_metadata("kit", "v1", MIB)
    await driver.mount(volume.device, str(MOUNTS / "now"))
    _write("then")
    await driver.create_snapshot(copy_of())
    _write("now!")


def _write(text: str) -> None:
    with (MOUNTS / "now/file").open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


async def after(driver: VolumeDriver, disk: str) -> None:
    """Bring all of it back."""
    await driver.activate_pool("kit")
    (snapshot,) = await driver.list_snapshots()
    await driver.mount("/dev/kit/v0", str(MOUNTS / "now"))
    await driver.mount(snapshot.device, str(MOUNTS / "past"), read_only=True)


async def clear(driver: VolumeDriver, disk: str) -> None:
    """Remove all of it."""
    for name in ("now", "past"):
        await driver.unmount(str(MOUNTS / name))
    await driver.delete_snapshot("kit", "v0", "s0")
    await driver.delete_metadata("kit", "v1")
    for name in ("v0", "v1"):
        await driver.delete_volume("kit", name)
    await driver.delete_pool("kit")


async def main(half: str, disk: str) -> dict[str, Any]:
    """Run one half; what is there afterwards."""
    host = Host("a", SystemCommands(), KernelFs(), SystemClock(), MOUNTS / "state", MOUNTS / "run")
    driver = await open_driver(Settings(), host)
    await {"before": before, "after": after, "clear": clear}[half](driver, disk)
    files = {name: MOUNTS / name / "file" for name in ("now", "past")}
    return {
        "volumes": to_plain(await driver.list_volumes()),
        "snapshots": [snapshot.name for snapshot in await driver.list_snapshots()],
        "metadata": await asyncio.to_thread(Path("/dev/kit/v1.meta").is_block_device),
        "files": {name: path.read_text() for name, path in files.items() if path.exists()},
        "disk": [to_plain(known) for known in await driver.list_disks() if known.path == disk],
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], sys.argv[2]))))
