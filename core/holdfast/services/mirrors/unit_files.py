"""The files of mirrored logical units made larger, by whichever node has them mounted (decision 21)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.errors import HoldfastError, UnavailableError
from holdfast.hooks.target import TargetState
from holdfast.services.documents import MirrorDocument, MirrorMember
from holdfast.services.drivers import Drivers
from holdfast.services.groups.plans import Plans
from holdfast.services.partner import SLOW_S, PartnerLink, PeerHandler
from holdfast.services.steps import JobContext
from holdfast.services.targets.targets import Targets, TargetView
from holdfast.services.volumes.volumes import Volumes
from holdfast.system.clock import Clock

MOUNTED_WITHIN_S = 30.0
"""Longer than a takeover or a switchover that is under way, mount and replay of the log included."""
TAKEN_UP_WITHIN_S = 10.0
POLL_S = 0.2
_SERVED = (TargetState.ACTIVE, TargetState.STAGED)


class MirrorUnitFiles:
    """Acts for MirrorGrowth."""

    def __init__(
        self,
        volumes: Volumes,
        targets: Targets,
        drivers: Drivers,
        partner: PartnerLink,
        plans: Plans,
        clock: Clock,
        *,
        node: str,
    ) -> None:
        self._volumes = volumes
        self._targets = targets
        self._drivers = drivers
        self._partner = partner
        self._plans = plans
        self._clock = clock
        self._node = node

    def handlers(self) -> Mapping[str, PeerHandler]:
        """What the partner may ask of this side."""
        return {"mirror.grow-unit-file": self._on_grow}

    def bytes_on(self, member: MirrorMember, volume_bytes: int) -> int:
        """The size of the file on a mirrored volume of this size, which is never less than it has."""
        return max(member.file_bytes or 0, self._drivers.volume().unit_file_bytes(volume_bytes))

    async def mount(self, member: MirrorMember) -> None:
        """Mount what nobody serves; this node is Primary for the purpose."""
        await self._volumes.mount(member.on(self._node))

    async def unmount(self, member: MirrorMember) -> None:
        """Unmount it again; not mounted is success."""
        await self._drivers.volume().unmount(str(await self._volumes.directory_of(member.on(self._node))))

    async def grow(self, document: MirrorDocument, member: MirrorMember, file_bytes: int, job: JobContext) -> None:
        """Make the file system and its file larger where it is mounted.

        Raises UnavailableError when neither node has it mounted after a while.
        """
        other = document.other(self._node)
        there = {"volume": member.on(other), "file_bytes": file_bytes}
        deadline_s = self._clock.boot_s() + MOUNTED_WITHIN_S
        why = f"it is not mounted on {other}"
        while not await self._grow_here(member.on(self._node), file_bytes):
            try:
                if await self._partner.call("mirror.grow-unit-file", there, timeout_s=SLOW_S, job_id=job.job_id):
                    return
            except UnavailableError as reason:
                why = reason.message
            if self._clock.boot_s() > deadline_s:
                text = f"the file system of {member.volume} does not grow: it is not mounted on {self._node}, and {why}"
                raise UnavailableError(text)
            # Between a demotion and a promotion neither has it.
            await self._clock.sleep(POLL_S)

    async def _grow_here(self, volume: str, file_bytes: int) -> bool:
        """Whether it was mounted here, and grew."""
        driver = self._drivers.volume()
        if (directory := await self._mounted_directory(volume)) is None:
            return False
        try:
            await driver.grow_file_system(directory)
            await driver.grow_unit_file(directory, file_bytes)
        except HoldfastError:
            if await self._mounted_directory(volume) is not None:
                raise
            return False  # its group has gone to the other node meanwhile
        return True

    async def _mounted_directory(self, volume: str) -> str | None:
        try:
            return str(await self._volumes.mounted_directory(volume))
        except UnavailableError:
            return None

    async def _on_grow(self, body: dict[str, Any], job_id: str | None) -> Any:
        return await self._grow_here(body["volume"], body["file_bytes"])

    async def see_it_taken(self, mirror: str, volume: str, job: JobContext) -> None:
        """The group's monitors take the size up by themselves; say so in the job if one does not."""
        deadline_s = self._clock.boot_s() + TAKEN_UP_WITHIN_S
        for name in await self._served(mirror, volume):
            while not _is_taken(await self._targets.get(name)):
                if self._clock.boot_s() > deadline_s:
                    await job.log(f"the new size of {name} is not taken up yet: see the target's identity")
                    break
                await self._clock.sleep(POLL_S)

    async def _served(self, mirror: str, volume: str) -> list[str]:
        plan = await self._plans.build()
        groups = () if plan is None else plan.plan.groups
        started = {name for group in groups if group.is_started for name in group.targets}
        found = [target for target in await self._targets.list() if target.mirror == mirror and target.name in started]
        return [target.name for target in found if any(unit.volume == volume for unit in target.units)]


def _is_taken(target: TargetView) -> bool:
    return target.this_node in _SERVED and target.other_node in (*_SERVED, None)
