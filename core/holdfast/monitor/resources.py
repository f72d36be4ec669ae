"""Mirrors and targets as parts of a group's stack: all that the failover plugin sees of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from holdfast.errors import NotFoundError
from holdfast.hooks.failover import GroupResource, MirrorResource
from holdfast.hooks.replication import DiskState, MirrorDriver, MirrorSpec, MirrorStatus, Role
from holdfast.hooks.target import TargetDriver, TargetSpec, TargetState
from holdfast.services.drivers import Drivers
from holdfast.services.groups.plans import FileSystem

STALE = (DiskState.OUTDATED, DiskState.INCONSISTENT, DiskState.DISKLESS)


class Mirror(MirrorResource):
    """A mirror through its driver, with the file systems on it that are mounted wherever it is served."""

    def __init__(
        self, spec: MirrorSpec, driver: MirrorDriver, file_systems: Sequence[FileSystem], drivers: Drivers
    ) -> None:
        self.name = spec.name
        self._spec = spec
        self._driver = driver
        self._file_systems = file_systems
        self._drivers = drivers

    async def prepare(self) -> None:
        """See GroupResource."""
        await self._driver.attach(self._spec)

    async def connect(self) -> None:
        """See MirrorResource."""
        await self._driver.connect(self._spec)

    async def activate(self) -> None:
        """See GroupResource."""
        await self._driver.promote(self.name)
        mounts = [self._drivers.volume().mount(one.device, one.directory) for one in self._file_systems]
        # All of them end before anything is undone.
        ended = await asyncio.gather(*mounts, return_exceptions=True)
        if failures := [item for item in ended if isinstance(item, BaseException)]:
            raise failures[0]

    async def deactivate(self) -> None:
        """See GroupResource."""
        for one in self._file_systems:
            await self._drivers.volume().unmount(one.directory)
        await self._driver.demote(self.name)

    async def is_active(self) -> bool:
        """See GroupResource."""
        return (await self.status()).role is Role.PRIMARY

    async def leave_peer(self) -> None:
        """See MirrorResource."""
        await self._driver.disconnect(self.name, force=True)

    async def outdate(self) -> bool:
        """See MirrorResource."""
        return await self._driver.outdate(self.name) in STALE

    async def status(self) -> MirrorStatus:
        """See MirrorResource."""
        return await self._driver.status(self.name)


class Target(GroupResource):
    """A target through its driver, as the plan in force has it: it may be changed while its group runs."""

    def __init__(self, name: str, spec: Callable[[str], TargetSpec], driver: TargetDriver) -> None:
        self.name = name
        self._spec_of = spec
        self._last = spec(name)
        self._driver = driver

    def _spec(self) -> TargetSpec:
        # The plan may have dropped it while the group still serves it: then it must be let go as it was.
        with contextlib.suppress(NotFoundError):
            self._last = self._spec_of(self.name)
        return self._last

    async def prepare(self) -> None:
        """See GroupResource."""
        await self._driver.stage(self._spec())

    async def activate(self) -> None:
        """See GroupResource."""
        await self._driver.activate(self._spec())

    async def deactivate(self) -> None:
        """See GroupResource."""
        await self._driver.deactivate(self.name, self._spec().iqn)

    async def is_active(self) -> bool:
        """See GroupResource."""
        return await self._driver.state(self._spec()) is TargetState.ACTIVE

    async def client_connections(self) -> tuple[tuple[str, int], ...]:
        """See GroupResource."""
        sessions = await self._driver.list_sessions(self._spec().iqn)
        return tuple((s.address, s.port) for s in sessions if s.address is not None and s.port is not None)
