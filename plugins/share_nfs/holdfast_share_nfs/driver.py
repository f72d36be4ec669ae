"""The NFS driver: each share is bound to a name below one directory, and that is what is exported.

So a client mounts `/docs`, wherever the volume is mounted; and a root of our own is one that the kernel can export,
whatever the machine's own root is.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import logging
import os
from pathlib import Path

from holdfast.errors import ConflictError, Reason, SystemCommandError, UnavailableError, VerificationError
from holdfast.hooks.base import Host
from holdfast.hooks.share import NfsDriver, NfsExposure, ShareSession, Squash
from holdfast.system.directories import admit_group, refuse_directory
from holdfast.system.files import write_atomically
from holdfast.values import from_plain, to_plain
from holdfast_share_nfs import exports
from holdfast_share_nfs.clients import Client, expire, read_clients
from holdfast_share_nfs.server import TABLE, Server
from holdfast_share_nfs.settings import Settings

log = logging.getLogger(__name__)

_POLL_S = 0.1
Noted = dict[str, NfsExposure]


class KnfsdDriver(NfsDriver):
    """See NfsDriver. What is exported stays so after `close`, and after the death of holdfastd."""

    def __init__(self, settings: Settings, host: Host) -> None:
        self._settings = settings
        self._host = host
        self._server = Server(settings, host)
        self._root = host.run_dir / "root"
        self._file = host.run_dir / "exposures.json"
        self._lock = asyncio.Lock()

    async def expose(self, exposure: NfsExposure) -> NfsExposure:
        """See ShareDriver."""
        exports.check(exposure)
        await asyncio.to_thread(refuse_directory, exposure.path)
        async with self._lock:
            self._refuse_foreign_root()
            await self._ensure_root()
            noted = self._noted()
            # Noted first: whatever is exported below our directory is then known to be ours.
            self._note({**noted, exposure.share: exposure})
            if not exposure.is_read_only and any(client.squash is Squash.ALL for client in exposure.clients):
                await asyncio.to_thread(admit_group, exposure.path, self._settings.squash_gid)
            await self._bind(exposure)
            await self._export(exposure)
            await self._export_root({**noted, exposure.share: exposure})
            # Last: a client that comes back after a power cut is refused by a server that does not know the share yet.
            await self._server.ensure()
            found = await self._read(exposure)
        if found != exposure:
            raise VerificationError(f"the share {exposure.share} is not offered as was asked for: {found}")
        return found

    async def withdraw(self, share: str) -> None:
        """See ShareDriver."""
        async with self._lock:
            noted = self._noted()
            place = self._root / share
            await self._release(share, place)
            if place.is_dir():
                place.rmdir()
            if noted.pop(share, None) is not None:
                log.info("the share %s is offered by NFS no more", share)
                self._note(noted)
            if not noted and _is_mount(self._root):
                await self._export_root({})
                await self._close_root()

    async def list_exposures(self) -> tuple[NfsExposure, ...]:
        """See ShareDriver. While the kernel's server does not run nothing is offered."""
        if self._server.threads() == 0:
            return ()
        noted = self._noted()
        found = [await self._read(noted[share]) for share in sorted(noted)]
        return tuple(shown for shown in found if shown is not None)

    async def list_sessions(self) -> tuple[ShareSession, ...]:
        """See ShareDriver.

        The kernel tells of a client what it holds, by file system, and not what it has mounted: one that holds nothing
        is shown with each share that it may mount, and an open file with each share of its volume.
        """
        found = []
        clients = await asyncio.to_thread(read_clients, self._host.kernel)
        for exposure in await self.list_exposures():
            device, _ = _identity(self._root / exposure.share)
            for client in clients:
                files = client.files.get((os.major(device), os.minor(device)), ())
                if files or (not client.files and _may_mount(client, exposure)):
                    found.append(ShareSession(exposure.share, client.address, None, files))
        return tuple(found)

    # --- exports ---

    def _table(self) -> dict[exports.Export, frozenset[str]]:
        if not self._host.kernel.exists(TABLE):
            return {}
        return exports.read_table(self._host.kernel.read(TABLE))

    def _exports_of(self, place: Path) -> list[tuple[str, frozenset[str]]]:
        return [(client, found) for (client, directory), found in self._table().items() if directory == str(place)]

    async def _export(self, exposure: NfsExposure) -> None:
        """Change what differs: an export that stays as it is is not touched. `-i`: files of others are not read."""
        place = self._root / exposure.share
        there = dict(self._exports_of(place))
        wanted = {client.network: exports.options(client, exposure, self._settings) for client in exposure.clients}
        for network in there.keys() - wanted.keys():
            await self._server.run("exportfs", "-u", f"{_quoted(network)}:{place}")
        for network, options in wanted.items():
            if not there.get(network, frozenset()).issuperset(options):
                await self._server.run("exportfs", "-i", "-o", ",".join(options), f"{_quoted(network)}:{place}")

    async def _export_root(self, noted: Noted) -> None:
        wanted = {client.network for exposure in noted.values() for client in exposure.clients}
        there = dict(self._exports_of(self._root))
        for network in there.keys() - wanted:
            await self._server.run("exportfs", "-u", f"{_quoted(network)}:{self._root}")
        for network in wanted - there.keys():
            await self._server.run(
                "exportfs", "-i", "-o", ",".join(exports.ROOT_OPTIONS), f"{_quoted(network)}:{self._root}"
            )

    async def _read(self, exposure: NfsExposure) -> NfsExposure | None:
        place = self._root / exposure.share
        there = self._exports_of(place)
        if not _is_mount(place) or not (there or not exposure.clients):
            return None
        return exports.read_exposure(exposure, there, self._settings)

    def _refuse_foreign_root(self) -> None:
        for (client, directory), found in self._table().items():
            if found.intersection(("fsid=0", "fsid=root")) and directory != str(self._root):
                text = f"{directory} is exported to {client} as the root of NFS, by somebody else"
                remedy = "take fsid=0 out of that export: there is one root only"
                raise ConflictError(text, reasons=[Reason("root-exists", text, remedy)])

    # --- what is bound where ---

    async def _ensure_root(self) -> None:
        if not _is_mount(self._root):
            self._root.mkdir(mode=0o755, exist_ok=True)
            options = "size=1m,mode=755,nosuid,nodev,noexec"
            await self._server.run("mount", "-t", "tmpfs", "-o", options, "holdfast-shares", str(self._root))

    async def _bind(self, exposure: NfsExposure) -> None:
        place = self._root / exposure.share
        if _is_mount(place):
            if _identity(place) == _identity(Path(exposure.path)):
                return
            await self._release(exposure.share, place)
        # Who may not mount the share finds this one in its place.
        place.mkdir(mode=0o700, exist_ok=True)
        await self._server.run("mount", "--bind", exposure.path, str(place))
        try:
            # The clients of a share around it could have put a link there since it was looked at.
            await asyncio.to_thread(refuse_directory, exposure.path)
        except UnavailableError:
            await self._server.run("umount", str(place))
            raise

    async def _release(self, share: str, place: Path) -> None:
        """Export a share no more, and unbind it.

        What the kernel has open yet is then out of everybody's reach; it may keep the volume from being unmounted for
        some time, and whoever unmounts it is told.
        """
        for network, _ in self._exports_of(place):
            await self._server.run("exportfs", "-u", f"{_quoted(network)}:{place}")
        if not _is_mount(place):
            return
        device, _ = _identity(place)
        deadline_s = self._host.clock.boot_s() + self._settings.release_timeout_s
        while True:
            try:
                await self._server.run("umount", str(place))
                return
            except SystemCommandError as reason:
                if self._host.clock.boot_s() > deadline_s:
                    log.warning("the kernel has files of the share %s open yet: %s", share, reason)
                    await self._server.run("umount", "--lazy", str(place))
                    return
            clients = await asyncio.to_thread(read_clients, self._host.kernel)
            for client in [each for each in clients if (os.major(device), os.minor(device)) in each.devices]:
                log.info("client %s loses what it holds: the share %s is offered no more", client.address, share)
                await asyncio.to_thread(expire, self._host.kernel, client)
            # The kernel keeps files open that were closed a moment ago; this has it close them.
            await self._server.run("exportfs", "-f")
            await self._host.clock.sleep(_POLL_S)

    async def _close_root(self) -> None:
        if not self._table():
            await self._server.stop()
        with contextlib.suppress(SystemCommandError):  # a client looks at it: it is empty, and used again
            await self._server.run("umount", str(self._root))

    # --- what was asked for ---

    def _noted(self) -> Noted:
        if not self._file.exists():
            return {}
        return from_plain(Noted, json.loads(self._file.read_text()))

    def _note(self, noted: Noted) -> None:
        if noted != self._noted():
            write_atomically(self._file, json.dumps(to_plain(noted)).encode())


def _quoted(network: str) -> str:
    # exportfs(8): an IPv6 address stands in brackets, since a colon ends the client.
    if ":" not in network:
        return network
    address, slash, length = network.partition("/")
    return f"[{address}]{slash}{length}"


def _may_mount(client: Client, exposure: NfsExposure) -> bool:
    address = ipaddress.ip_address(client.address)
    return any(address in ipaddress.ip_network(allowed.network) for allowed in exposure.clients)


def _is_mount(place: Path) -> bool:
    # By what lies above it, which tells nothing of one directory bound to another of one file system; ours are bound
    # into a file system of their own.
    return place.is_dir() and place.stat().st_dev != place.parent.stat().st_dev


def _identity(place: Path) -> tuple[int, int]:
    found = place.stat()
    return found.st_dev, found.st_ino


async def open_driver(settings: Settings, host: Host) -> KnfsdDriver:
    """Make the driver. Nothing is started until a share is offered."""
    return KnfsdDriver(settings, host)
