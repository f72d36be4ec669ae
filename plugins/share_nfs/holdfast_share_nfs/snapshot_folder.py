"""The folder of a share in which its clients find snapshots: names, and a snapshot bound at each.

It needs a directory in the share to be mounted at. That one is empty, is taken away with the folder, and is left out of
copies. What is mounted there is seen through the share as it is bound for NFS and nowhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from holdfast.errors import ConflictError, Reason
from holdfast.hooks.base import Host
from holdfast.hooks.share import SNAPSHOTS_FOLDER, NfsExposure, ShownSnapshot
from holdfast.system.directories import refuse_directory
from holdfast.system.mounted import is_bound, mounted_in
from holdfast_share_nfs import exports
from holdfast_share_nfs.exporting import Exporting
from holdfast_share_nfs.server import Server
from holdfast_share_nfs.settings import Settings
from holdfast_share_nfs.unbinding import unbind


class SnapshotFolder:
    """Makes it and takes it away. `place` is where the share is bound."""

    def __init__(self, settings: Settings, host: Host, server: Server, exporting: Exporting) -> None:
        self._settings = settings
        self._host = host
        self._server = server
        self._exporting = exporting

    def _is_there(self, place: Path) -> bool:
        return SNAPSHOTS_FOLDER in mounted_in(self._host.kernel, place)

    async def show(self, place: Path, exposure: NfsExposure) -> None:
        """Have exactly the snapshots of an exposure in it; it is made if need be.

        Raises ConflictError when the share has files of its own there, UnavailableError for a directory that is gone.
        """
        folder = place / SNAPSHOTS_FOLDER
        if not self._is_there(place):
            await asyncio.to_thread(_make, exposure.path)
            # Else it would be mounted in the share itself, too, of which this is a peer where mounts are shared.
            await self._server.run("mount", "--make-private", str(place))
            options = "size=1m,mode=755,nosuid,nodev,noexec"
            await self._server.run("mount", "-t", "tmpfs", "-o", options, "holdfast-snapshots", str(folder))
        wanted = {each.name: each for each in exposure.snapshots or ()}
        for name in sorted(mounted_in(self._host.kernel, folder)):
            if name not in wanted or not is_bound(folder / name, wanted[name].path):
                await self._take_away(folder / name)
        await self._exporting.set(folder, self._options(exposure, None))
        for name, each in wanted.items():
            if not is_bound(folder / name, each.path):
                await asyncio.to_thread(refuse_directory, each.path)
                await asyncio.to_thread((folder / name).mkdir, exist_ok=True)
                await self._server.run("mount", "-o", "bind,ro", each.path, str(folder / name))
            await self._exporting.set(folder / name, self._options(exposure, each))

    async def take_away(self, place: Path) -> None:
        """Take it away with all that is in it; the absent is success."""
        folder = place / SNAPSHOTS_FOLDER
        if not self._is_there(place):
            return
        for name in sorted(mounted_in(self._host.kernel, folder)):
            await self._take_away(folder / name)
        await self._exporting.set(folder, {})
        await unbind(folder, str(folder), self._host, self._server, self._settings)
        with contextlib.suppress(OSError):  # somebody put something there: it is his
            await asyncio.to_thread(folder.rmdir)

    async def _take_away(self, place: Path) -> None:
        await self._exporting.set(place, {})
        await unbind(place, str(place), self._host, self._server, self._settings)
        await asyncio.to_thread(place.rmdir)

    def read(self, place: Path, exposure: NfsExposure) -> tuple[ShownSnapshot, ...] | None:
        """Those of an exposure that are seen now; None while the folder is not as it should be."""
        folder = place / SNAPSHOTS_FOLDER
        if not self._is_there(place) or not self._is_exported(folder, self._options(exposure, None)):
            return None
        return tuple(
            each
            for each in exposure.snapshots or ()
            if is_bound(folder / each.name, each.path)
            and self._is_exported(folder / each.name, self._options(exposure, each))
        )

    def _is_exported(self, place: Path, wanted: Mapping[str, tuple[str, ...]]) -> bool:
        there = self._exporting.of(place)
        return there.keys() == wanted.keys() and all(there[name].issuperset(wanted[name]) for name in wanted)

    def _options(self, exposure: NfsExposure, snapshot: ShownSnapshot | None) -> dict[str, tuple[str, ...]]:
        """To whom, and how, the folder is exported, or a snapshot in it: as the share, and read-only.

        Each is a file system with a name that stays: what the kernel would call a snapshot by is what it calls its
        volume by.
        """
        what = "" if snapshot is None else f"{snapshot.name} {snapshot.taken_at.isoformat()}"
        fsid = str(uuid.uuid5(uuid.UUID(exposure.fsid), f"{SNAPSHOTS_FOLDER}/{what}"))
        shown = replace(exposure, fsid=fsid, is_read_only=True)
        return {client.network: exports.options(client, shown, self._settings) for client in exposure.clients}


def _make(share: str) -> None:
    """Make an empty directory to mount at, following no link that a client may have put there."""
    text = None
    descriptor = os.open(share, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(SNAPSHOTS_FOLDER, 0o555, dir_fd=descriptor)
        try:
            inner = os.open(SNAPSHOTS_FOLDER, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
        except OSError:
            text = f"{share}/{SNAPSHOTS_FOLDER} is no directory"
        else:
            if os.listdir(inner):
                text = f"{share}/{SNAPSHOTS_FOLDER} is not empty"
            os.close(inner)
    finally:
        os.close(descriptor)
    if text is not None:
        remedy = f"give {SNAPSHOTS_FOLDER} another name, or offer the share without snapshots"
        raise ConflictError(text, reasons=[Reason("folder-taken", text, remedy, "shows_snapshots")])
