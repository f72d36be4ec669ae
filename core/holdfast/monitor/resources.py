"""Mirrors and targets as parts of a group's stack: all that the failover plugin sees of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from holdfast.errors import NotFoundError
from holdfast.hooks.failover import GroupResource, MirrorResource
from holdfast.hooks.replication import DiskState, MirrorDriver, MirrorSpec, MirrorStatus, Role
from holdfast.hooks.target import TargetDriver, TargetSpec, TargetState
from holdfast.planning.mirror_members import as_wanted
from holdfast.services.drivers import Drivers
from holdfast.services.groups.plans import FileSystem

STALE = (DiskState.OUTDATED, DiskState.INCONSISTENT, DiskState.DISKLESS)


@dataclass(frozen=True)
class MirrorPart:
    """A mirror as a plan has it, with the file systems on it that are mounted wherever it is served."""

    spec: MirrorSpec
    file_systems: tuple[FileSystem, ...] = ()

    @property
    def numbers(self) -> frozenset[int]:
        """Of its volumes."""
        return frozenset(volume.number for volume in self.spec.volumes)


class Mirror(MirrorResource):
    """A mirror through its driver, as the plan in force has it: volumes are added and taken out while its group runs.

    What its kernel has besides is none of the group's business: see planning/mirror_members.py.
    """

    def __init__(self, name: str, part: Callable[[str], MirrorPart], driver: MirrorDriver, drivers: Drivers) -> None:
        self.name = name
        self._part_of = part
        self._last = part(name)
        self._driver = driver
        self._drivers = drivers
        self._promoted: frozenset[int] = frozenset()
        """The volumes that were promoted, as far as is known."""

    def _part(self) -> MirrorPart:
        # The plan may have dropped it while it is served: then it must be let go as it was.
        with contextlib.suppress(NotFoundError):
            self._last = self._part_of(self.name)
        return self._last

    @property
    def _file_systems(self) -> tuple[FileSystem, ...]:
        return self._part().file_systems

    async def prepare(self) -> None:
        """See GroupResource."""
        await self._driver.attach(self._part().spec)

    async def connect(self) -> None:
        """See MirrorResource."""
        await self._driver.connect(self._part().spec)

    async def activate(self) -> None:
        """See GroupResource."""
        numbers = self._part().numbers
        await self._driver.promote(self.name, numbers=numbers)
        self._promoted = numbers
        mounts = [self._drivers.volume().mount(one.device, one.directory) for one in self._file_systems]
        # All of them end before anything is undone.
        ended = await asyncio.gather(*mounts, return_exceptions=True)
        if failures := [item for item in ended if isinstance(item, BaseException)]:
            raise failures[0]

    async def deactivate(self) -> None:
        """See GroupResource."""
        for one in self._file_systems:
            await self._drivers.volume().unmount(one.directory)
        self._promoted = frozenset()
        await self._driver.demote(self.name)

    async def take_up(self) -> None:
        """See MirrorResource."""
        if not self._part().numbers <= self._promoted:
            await self.activate()

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
        return as_wanted(await self._driver.status(self.name), self._part().numbers)


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
