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
from dataclasses import replace
from pathlib import Path

from holdfast.errors import ConflictError, Reason, SystemCommandError, UnavailableError, VerificationError
from holdfast.hooks.base import Host
from holdfast.hooks.share import NfsDriver, NfsExposure, ShareSession, Squash
from holdfast.system.directories import admit_group, refuse_directory
from holdfast.system.files import write_atomically
from holdfast.values import from_plain, to_plain
from holdfast_share_nfs import exports
from holdfast_share_nfs.clients import Client, read_clients
from holdfast_share_nfs.exporting import Exporting
from holdfast_share_nfs.server import Server
from holdfast_share_nfs.settings import Settings
from holdfast_share_nfs.snapshot_folder import SnapshotFolder
from holdfast_share_nfs.unbinding import unbind

log = logging.getLogger(__name__)

Noted = dict[str, NfsExposure]


class KnfsdDriver(NfsDriver):
    """See NfsDriver. What is exported stays so after `close`, and after the death of holdfastd."""

    def __init__(self, settings: Settings, host: Host) -> None:
        self._settings = settings
        self._host = host
        self._server = Server(settings, host)
        self._exporting = Exporting(host, self._server)
        self._snapshots = SnapshotFolder(settings, host, self._server, self._exporting)
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
            if exposure.snapshots is not None:
                await self._snapshots.show(self._root / exposure.share, exposure)
            else:
                await self._snapshots.take_away(self._root / exposure.share)
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

    async def _export(self, exposure: NfsExposure) -> None:
        wanted = {client.network: exports.options(client, exposure, self._settings) for client in exposure.clients}
        await self._exporting.set(self._root / exposure.share, wanted)

    async def _export_root(self, noted: Noted) -> None:
        networks = {client.network for exposure in noted.values() for client in exposure.clients}
        await self._exporting.set(self._root, dict.fromkeys(sorted(networks), exports.ROOT_OPTIONS))

    async def _read(self, exposure: NfsExposure) -> NfsExposure | None:
        place = self._root / exposure.share
        there = self._exporting.of(place)
        if not _is_mount(place) or not (there or not exposure.clients):
            return None
        snapshots = None if exposure.snapshots is None else self._snapshots.read(place, exposure)
        return replace(exports.read_exposure(exposure, there.items(), self._settings), snapshots=snapshots)

    def _refuse_foreign_root(self) -> None:
        for (client, directory), found in self._exporting.table().items():
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
        """Export a share no more, and unbind it."""
        if not _is_mount(place):
            await self._exporting.set(place, {})
            return
        await self._snapshots.take_away(place)
        await self._exporting.set(place, {})
        await unbind(place, f"the share {share}", self._host, self._server, self._settings)

    async def _close_root(self) -> None:
        if not self._exporting.table():
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
