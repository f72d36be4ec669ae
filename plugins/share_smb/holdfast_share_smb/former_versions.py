"""Snapshots as former versions: bound below a directory, by names that vfs_shadow_copy2(8) takes for times.

Bound and not linked: Samba would take a link for the share's root, and a file below it for one that leaves the share.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from holdfast.errors import BusyError, SystemCommandError
from holdfast.hooks.base import Host
from holdfast.hooks.share import ShownSnapshot
from holdfast.system.directories import refuse_directory
from holdfast.system.files import write_atomically
from holdfast.system.kernelfs import KernelFs
from holdfast.system.mounted import is_bound, mounted_in
from holdfast.values import from_plain, to_plain
from holdfast_share_smb.samba import Samba
from holdfast_share_smb.server import Server
from holdfast_share_smb.settings import Settings

log = logging.getLogger(__name__)

_TIMEOUT_S = 20.0
_POLL_S = 0.1
Shown = tuple[ShownSnapshot, ...]


class FormerVersions:
    """Binds them and lets go of them. What smbd has open there is closed for it."""

    def __init__(self, settings: Settings, host: Host, samba: Samba, server: Server) -> None:
        self._settings = settings
        self._host = host
        self._samba = samba
        self._server = server
        self._notes = host.run_dir / "snapshots"

    async def show(self, share: str, snapshots: Shown | None) -> None:
        """Have exactly these in the directory of a share; None: there is no such directory.

        Raises UnavailableError for one whose directory is not there, BusyError for one that cannot be taken away.
        """
        directory = self._settings.snapshots_of(share)
        wanted = {label(each.taken_at): each for each in snapshots or ()}
        for name in sorted(mounted_in(self._host.kernel, directory)):
            if name not in wanted or not is_bound(directory / name, wanted[name].path):
                await self._unbind(share, directory / name)
        if snapshots is None:
            await asyncio.to_thread(self._tidy, share, directory)
            return
        await asyncio.to_thread(self._prepare, directory)
        write_atomically(self._note(share), json.dumps(to_plain(snapshots)).encode())
        for name, each in wanted.items():
            if not is_bound(directory / name, each.path):
                await asyncio.to_thread(refuse_directory, each.path)
                await asyncio.to_thread((directory / name).mkdir, exist_ok=True)
                await self._run("mount", "-o", "bind,ro", each.path, str(directory / name))

    def read(self, share: str) -> Shown:
        """Those that are seen now, by name."""
        note, directory = self._note(share), self._settings.snapshots_of(share)
        if not note.exists():
            return ()
        noted = from_plain(Shown, json.loads(note.read_text()))
        return tuple(each for each in noted if is_bound(directory / label(each.taken_at), each.path))

    def _note(self, share: str) -> Path:
        return self._notes / f"{share}.json"

    def _tidy(self, share: str, directory: Path) -> None:
        if directory.is_dir():
            directory.rmdir()
        self._note(share).unlink(missing_ok=True)

    def _prepare(self, directory: Path) -> None:
        # smbd looks into it as the users whom it serves; the names of other shares are not theirs to list.
        for made, mode in ((self._notes, 0o700), (directory.parent, 0o711), (directory, 0o755)):
            made.mkdir(parents=True, exist_ok=True)
            made.chmod(mode)

    async def _unbind(self, share: str, place: Path) -> None:
        """Clients that have something open there lose the share, and connect to it again by themselves."""
        deadline_s = self._host.clock.boot_s() + self._settings.close_timeout_s
        told: set[int] = set()
        while True:
            try:
                await self._run("umount", str(place))
                break
            except SystemCommandError as reason:
                if self._host.clock.boot_s() > deadline_s:
                    raise BusyError(f"clients do not let go of a snapshot of the share {share}: {reason}") from reason
            pids = [process.pid for process in await self._server.find()]
            for pid in await asyncio.to_thread(_holders, self._host.kernel, pids, place):
                # Told twice, it goes for good.
                words = ("shutdown",) if pid in told else ("close-share", share)
                log.info("process %d of smbd is told %s: a snapshot that it reads goes", pid, words[0])
                told.add(pid)
                try:
                    await self._samba.tell(str(pid), *words)
                except SystemCommandError as reason:
                    log.info("process %d of smbd has ended meanwhile: %s", pid, reason)
            await self._host.clock.sleep(_POLL_S)
        await asyncio.to_thread(place.rmdir)

    async def _run(self, *argv: str) -> None:
        await self._host.commands.run(argv, timeout_s=_TIMEOUT_S)


def label(taken_at: datetime) -> str:
    """The name by which Samba and its clients tell when a snapshot was taken (`shadow:format`)."""
    return f"{taken_at.astimezone(UTC):@GMT-%Y.%m.%d-%H.%M.%S}"


def _holders(kernel: KernelFs, pids: Iterable[int], place: Path) -> list[int]:
    """Which of these processes have something open at or below a directory."""
    found = []
    for pid in pids:
        links = [f"/proc/{pid}/cwd", *(f"/proc/{pid}/fd/{name}" for name in kernel.names(f"/proc/{pid}/fd"))]
        if any(_is_below(kernel.path(link), place) for link in links):
            found.append(pid)
    return found


def _is_below(link: Path, place: Path) -> bool:
    try:
        return Path(os.readlink(link)).is_relative_to(place)
    except OSError:
        return False
