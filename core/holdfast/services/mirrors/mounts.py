"""The file systems of mirrored volumes: they lie on the mirrored device, and never on the volume below it.

That of a NAS volume is mounted on the source. That of a volume with file I/O is mounted by the monitor that serves it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from holdfast.errors import HoldfastError, UnavailableError
from holdfast.hooks.replication import ConnectionState, MirrorStatus, Role
from holdfast.hooks.volume import IoType, VolumeKind
from holdfast.services.documents import GroupDocument, MirrorDocument, MirrorMember
from holdfast.services.drivers import Drivers
from holdfast.services.jobs import Jobs
from holdfast.services.volumes.mount_users import MountUser
from holdfast.services.volumes.volumes import Volumes
from holdfast.store.intent import Intents


class MirrorMounts:
    """Moves mounts onto the mirrored device and off it. Every operation may be repeated."""

    def __init__(
        self,
        kept: Intents[MirrorDocument],
        groups: Intents[GroupDocument],
        volumes: Volumes,
        jobs: Jobs,
        drivers: Drivers,
        users: Sequence[MountUser] = (),
        *,
        node: str,
    ) -> None:
        self._users = users
        self._kept = kept
        self._groups = groups
        self._volumes = volumes
        self._jobs = jobs
        self._drivers = drivers
        self._node = node
        self._waited: set[str] = set()
        """Mirrors that were given the time between two looks to find their partner."""

    @staticmethod
    def has_files(document: MirrorDocument) -> bool:
        """Whether its source mounts it."""
        return bool(_of_source(document))

    async def leave_volumes(self, document: MirrorDocument) -> None:
        """Unmount the volumes themselves, so that the mirror can take them. Raises BusyError naming who uses them.

        From here on nobody but the mirror may have them: that is recorded first, since after a restart the
        reconciler mounts what it finds unmounted.
        """
        for member in _all(document):
            device = self._drivers.mirror().device_path(member.minor)
            await self._volumes.set_mirrored(member.on(self._node), device)
            await self._unmount(member)

    async def enter_volumes(self, document: MirrorDocument) -> None:
        """Mount the volumes themselves again; the mirror has left them."""
        for member in _all(document):
            await self._volumes.set_mirrored(member.on(self._node), None)
            await self._mount(member)

    async def enter_mirror(self, document: MirrorDocument) -> None:
        """Become Primary and mount the mirrored devices: on the source, if there is a file system at all."""
        found = _of_source(document)
        if not found or document.source != self._node:
            return
        if (await self._drivers.mirror().status(document.name)).role is not Role.PRIMARY:
            await self._drivers.mirror().promote(document.name)
        for member in found:
            await self._mount(member)

    async def leave_mirror(self, document: MirrorDocument) -> None:
        """Unmount the mirrored devices and become Secondary. Raises BusyError naming who uses them."""
        found = _of_source(document)
        if not found or document.source != self._node:
            return
        for member in found:
            await self._unmount(member)
        if (await self._drivers.mirror().status(document.name)).role is Role.PRIMARY:
            await self._drivers.mirror().demote(document.name)

    async def _mount(self, member: MirrorMember) -> None:
        await self._volumes.mount(member.on(self._node))
        for user in self._users:
            await user.take_up(member.on(self._node))

    async def _unmount(self, member: MirrorMember) -> None:
        for user in self._users:
            await user.release(member.on(self._node))
        await self._drivers.volume().unmount(await self._directory(member))

    async def _directory(self, member: MirrorMember) -> str:
        return str(await self._volumes.directory_of(member.on(self._node)))

    async def restore(self) -> tuple[str, ...]:
        """Mount what is not, as after a boot; return in sentences what could not be."""
        failed = []
        for name in await self._kept.all():
            try:
                await self.restore_one(name)
            except HoldfastError as reason:
                failed.append(f"the file systems of the mirror {name} are not mounted: {reason.message}")
        return tuple(failed)

    async def restore_one(self, name: str) -> None:
        """Mount what is not of one mirror, unless a group or a job has it.

        Raises UnavailableError while it must wait for its partner.
        """
        await self._jobs.locks.mend(f"mirror:{name}", partial(self._restore, name))

    async def _restore(self, name: str) -> None:
        kept = await self._kept.find(name)
        if kept is None or not _of_source(kept.document) or kept.document.source != self._node:
            return
        if any(group.mirror == name for group in (await self._groups.all()).values()):
            return
        status = await self._drivers.mirror().status(name)
        if status.role is not Role.PRIMARY and status.connection is not ConnectionState.CONNECTED:
            self._refuse_too_early(kept.document, status)
        self._waited.discard(name)
        await self.enter_mirror(kept.document)

    def _refuse_too_early(self, document: MirrorDocument, status: MirrorStatus) -> None:
        """Alone it may go on only by the fence handler's word, for which it has to be late and not just early."""
        if document.is_started and status.connection is ConnectionState.STANDALONE:
            raise UnavailableError("it has left its partner")
        if document.is_started and document.name not in self._waited:
            self._waited.add(document.name)
            raise UnavailableError("it waits for its partner")


def _all(document: MirrorDocument) -> list[MirrorMember]:
    return [m for m in document.members if m.kind is VolumeKind.NAS or m.io_type is IoType.FILE]


def _of_source(document: MirrorDocument) -> list[MirrorMember]:
    return [member for member in document.members if member.kind is VolumeKind.NAS]
