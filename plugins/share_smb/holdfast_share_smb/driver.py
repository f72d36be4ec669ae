"""The SMB driver: it puts registry, server and accounts together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import replace

from holdfast.errors import BusyError, ConflictError, Reason, SystemCommandError, VerificationError
from holdfast.hooks.base import Host
from holdfast.hooks.share import ShareGroup, ShareSession, ShareUser, SmbDriver, SmbExposure
from holdfast.system.directories import admit_group, refuse_directory
from holdfast_share_smb import access, configuration
from holdfast_share_smb.accounts import Accounts
from holdfast_share_smb.former_versions import FormerVersions
from holdfast_share_smb.samba import Samba
from holdfast_share_smb.server import Server
from holdfast_share_smb.settings import Settings
from holdfast_share_smb.status import Connection, sessions_of

log = logging.getLogger(__name__)

_POLL_S = 0.1


class SambaDriver(SmbDriver):
    """See SmbDriver. smbd goes on after `close` and after the death of holdfastd; the next driver adopts it."""

    def __init__(self, settings: Settings, host: Host) -> None:
        self._settings = settings
        self._host = host
        self._samba = Samba(settings, host)
        self._server = Server(settings, host, self._samba)
        self._accounts = Accounts(settings, host, self._samba)
        self._versions = FormerVersions(settings, host, self._samba, self._server)
        self._lock = asyncio.Lock()

    async def close(self) -> None:
        """See Driver."""
        await self._server.leave()

    async def expose(self, exposure: SmbExposure) -> SmbExposure:
        """See ShareDriver."""
        section = configuration.render_share(exposure, self._settings)
        await asyncio.to_thread(refuse_directory, exposure.path)
        async with self._lock:
            await self._samba.prepare()
            if exposure.snapshots is not None:
                await self._samba.need_module(configuration.SNAPSHOT_MODULE)
            await self._accounts.ensure_group()
            there = await self._samba.sections()
            self._refuse_foreign(exposure.share, there)
            before = self._ours(there).get(exposure.share)
            if not exposure.is_read_only:
                await asyncio.to_thread(admit_group, exposure.path, self._settings.group_gid)
            await self._versions.show(exposure.share, exposure.snapshots)
            is_new = there.get(exposure.share) != section
            if is_new:
                await self._samba.put_section(exposure.share, section)
            await self._server.ensure()
            if is_new:
                await self._reload()
                await self._end_those_who_may_less(exposure, before)
            found = self._ours(await self._samba.sections()).get(exposure.share)
        if found is None or found != _sorted(exposure):
            raise VerificationError(f"the share {exposure.share} is not offered as was asked for: {found}")
        return found

    async def withdraw(self, share: str) -> None:
        """See ShareDriver."""
        async with self._lock:
            there = await self._samba.sections()
            if share in self._ours(there):
                path = there[share]["path"]
                await self._samba.remove_section(share)
                if await self._server.is_running():
                    await self._reload()
                    await self._end({share: path}, lambda connection: True)
                there.pop(share)
            await self._versions.show(share, None)
            if not any(name != "global" for name in there):
                await self._server.stop()

    async def list_exposures(self) -> tuple[SmbExposure, ...]:
        """See ShareDriver. While smbd does not run nothing is offered."""
        if not await self._server.is_running():
            return ()
        found = self._ours(await self._samba.sections())
        return tuple(found[name] for name in sorted(found))

    async def list_sessions(self) -> tuple[ShareSession, ...]:
        """See ShareDriver."""
        if not await self._server.is_running():
            return ()
        found = self._ours(await self._samba.sections())
        return sessions_of(await self._samba.connections({name: shown.path for name, shown in found.items()}))

    async def set_accounts(self, users: tuple[ShareUser, ...], groups: tuple[ShareGroup, ...]) -> None:
        """See SmbDriver."""
        async with self._lock:
            await self._samba.prepare()
            await self._accounts.apply(users, groups, self._end_sessions_of)

    async def _end_sessions_of(self, users: frozenset[str]) -> None:
        if users and await self._server.is_running():
            paths = {name: shown.path for name, shown in self._ours(await self._samba.sections()).items()}
            # Who is in which group is told once, when a session begins.
            await self._cut(paths, lambda connection: connection.user in users)

    async def list_accounts(self) -> tuple[tuple[str, ...], tuple[ShareGroup, ...]]:
        """See SmbDriver."""
        async with self._lock:
            await self._samba.prepare()
            return await self._accounts.read()

    # --- its clients ---

    async def _reload(self) -> None:
        await self._samba.tell("smbd", "reload-config")
        # Answered in turn: whoever comes from now on meets the new configuration.
        await self._samba.is_answering()

    async def _end_those_who_may_less(self, after: SmbExposure, before: SmbExposure | None) -> None:
        if before is None:
            return
        paths = {after.share: before.path}
        if before.path != after.path:
            await self._end(paths, lambda connection: True)
            return
        _, groups = await self._accounts.read()
        await self._end(paths, lambda connection: access.may_less(connection.user, groups, before, after))

    async def _end(self, paths: dict[str, str], is_meant: Callable[[Connection], bool]) -> None:
        """Close connections to shares. Clients connect again as they may now; smbd asks for rights only then."""
        meant = [c for c in await self._samba.connections(paths) if is_meant(c)]
        for pid, share in sorted({(connection.pid, connection.share) for connection in meant}):
            log.info("process %d of smbd closes the share %s: its client may do less now", pid, share)
            with contextlib.suppress(SystemCommandError):  # it may just have ended
                await self._samba.tell(str(pid), "close-share", share)
        if not await self._have_gone(paths, meant):
            await self._cut(paths, is_meant)

    async def _cut(self, paths: dict[str, str], is_meant: Callable[[Connection], bool]) -> None:
        """End the processes that serve these connections. Raises BusyError when one does not end."""
        meant = [c for c in await self._samba.connections(paths) if is_meant(c)]
        for pid in sorted({connection.pid for connection in meant}):
            log.info("process %d of smbd ends: the rights of its user have changed", pid)
            with contextlib.suppress(SystemCommandError):
                await self._samba.tell(str(pid), "shutdown")
        if not await self._have_gone(paths, meant):
            raise BusyError(f"processes of smbd do not end: {sorted({connection.pid for connection in meant})}")

    async def _have_gone(self, paths: dict[str, str], connections: list[Connection]) -> bool:
        """Whether these very connections end in time: a client may have come back with others meanwhile."""
        left = {connection.number for connection in connections}
        deadline_s = self._host.clock.boot_s() + self._settings.close_timeout_s
        while left and self._host.clock.boot_s() < deadline_s:
            left &= {connection.number for connection in await self._samba.connections(paths)}
            if left:
                await self._host.clock.sleep(_POLL_S)
        return not left

    @staticmethod
    def _refuse_foreign(share: str, there: dict[str, dict[str, str]]) -> None:
        # Samba does not tell names by case.
        other = next((name for name in there if name.lower() == share.lower()), None)
        if other is not None and not configuration.is_ours(there[other]):
            text = f"Samba's registry has a share {other} that was made outside of this configuration"
            raise ConflictError(text, reasons=[Reason("share-exists", text, "remove it, or choose another name")])

    def _ours(self, sections: dict[str, dict[str, str]]) -> dict[str, SmbExposure]:
        found = {
            name: configuration.read_share(name, section)
            for name, section in sections.items()
            if configuration.is_ours(section)
        }
        return {
            name: shown if shown.snapshots is None else replace(shown, snapshots=self._versions.read(name))
            for name, shown in found.items()
        }


def _sorted(exposure: SmbExposure) -> SmbExposure:
    found = configuration.read_share(exposure.share, configuration.render_share(exposure, Settings()))
    return replace(found, snapshots=exposure.snapshots)


async def open_driver(settings: Settings, host: Host) -> SambaDriver:
    """Make the driver. Nothing is started until a share is offered."""
    return SambaDriver(settings, host)
