"""Taking away what is bound where the kernel's server serves it from: clients lose what they hold there."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

from holdfast.errors import SystemCommandError
from holdfast.hooks.base import Host
from holdfast_share_nfs.clients import expire, read_clients
from holdfast_share_nfs.server import Server
from holdfast_share_nfs.settings import Settings

log = logging.getLogger(__name__)

_POLL_S = 0.1


async def unbind(place: Path, what: str, host: Host, server: Server, settings: Settings) -> None:
    """Unmount a directory that is exported no more.

    What the kernel has open yet is then out of everybody's reach; it may keep the file system below it from being
    unmounted for some time, and whoever unmounts it is told. `what` is for the log.
    """
    device = await asyncio.to_thread(_device, place)
    deadline_s = host.clock.boot_s() + settings.release_timeout_s
    while True:
        try:
            await server.run("umount", str(place))
            return
        except SystemCommandError as reason:
            if host.clock.boot_s() > deadline_s:
                log.warning("the kernel has files of %s open yet: %s", what, reason)
                await server.run("umount", "--lazy", str(place))
                return
        clients = await asyncio.to_thread(read_clients, host.kernel)
        for client in [each for each in clients if (os.major(device), os.minor(device)) in each.devices]:
            log.info("client %s loses what it holds: %s is offered no more", client.address, what)
            await asyncio.to_thread(expire, host.kernel, client)
        # The kernel keeps files open that were closed a moment ago; this has it close them.
        await server.run("exportfs", "-f")
        await host.clock.sleep(_POLL_S)


def _device(place: Path) -> int:
    try:
        return place.stat().st_dev
    except OSError:  # a snapshot that overflowed: nobody reads it
        return 0
