"""What is refused of a volume that is write once, by whatever way somebody comes."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from holdfast.errors import InvalidError, NotFoundError, Reason, RefusedError, UnavailableError
from holdfast.hooks.volume import VolumeKind, VolumeSpec
from holdfast.planning.write_once import Act, Held, VolumeClock, advanced, asks_for_held, refuse_act
from holdfast.services.documents import VolumeDocument
from holdfast.services.drivers import Drivers
from holdfast.services.volumes.file_io import directory_of
from holdfast.services.worm.files import Terms, VolumeMark, Walk, read_mark, write_mark
from holdfast.store.intent import Intents
from holdfast.system.clock import Clock

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class WormGuard:
    """Refuses. Ordinary volumes are never refused here."""

    def __init__(self, kept: Intents[VolumeDocument], drivers: Drivers, clock: Clock, mount_dir: Path) -> None:
        self._kept = kept
        self._drivers = drivers
        self._clock = clock
        self._mount_dir = mount_dir

    async def refuse(self, document: VolumeDocument, act: Act, field: str | None = None) -> None:
        """Raise RefusedError if this must not be done to a volume, UnavailableError where that cannot be known now."""
        if reasons := await self.reasons(document, act, field):
            raise RefusedError(reasons[0].text, reasons=reasons)

    async def refuse_named(self, volume: str, act: Act, field: str | None = None) -> None:
        """The same of a volume that may not be on record."""
        kept = await self._kept.find(volume)
        if kept is not None:
            await self.refuse(kept.document, act, field)

    async def reasons(self, document: VolumeDocument, act: Act, field: str | None = None) -> tuple[Reason, ...]:
        """Why this must not be done to a volume."""
        if document.worm_retention_s is None:
            return ()
        held = await self._held(document) if asks_for_held(act) else None
        return refuse_act(document.name, act, held, field)

    async def _held(self, document: VolumeDocument) -> Held | None:
        assert document.worm_retention_s is not None
        try:
            directory, uuid = await self.place(document)
        except NotFoundError:
            return None  # it was removed from outside
        boot_s = self._clock.boot_s()
        try:
            mark = await asyncio.to_thread(noted, directory, uuid, document.worm_retention_s, boot_s)
            walk = Walk(directory, Terms(mark.retention_s, mark.clock.clock_s))
            return await asyncio.to_thread(walk.first_held)
        except OSError as reason:
            raise UnavailableError(f"the files of {document.name} could not be looked at: {reason}") from reason

    async def place(self, document: VolumeDocument) -> tuple[Path, str]:
        """Where a volume is mounted, and its identity. Raises UnavailableError where it is not, NotFoundError."""
        directory = directory_of(self._mount_dir, document)
        volume = await self._drivers.volume().get_volume(document.pool, document.name)
        is_mounted = await self._drivers.volume().is_mounted(volume.device, str(directory))
        # All of a file system is watched: it must never be the system's own.
        if not is_mounted or not await asyncio.to_thread(os.path.ismount, directory):
            text = f"the volume {document.name} is not mounted at {directory}, and its files cannot be looked at"
            raise UnavailableError(text, reasons=[Reason("not-mounted", text, "see why it is not mounted")])
        return directory, volume.uuid


def refuse_kinds_without_files(spec: VolumeSpec, worm_retention_s: int | None) -> None:
    """Raise InvalidError for a block volume that is to be write once."""
    if worm_retention_s is not None and spec.kind is not VolumeKind.NAS:
        text = "only files are write once, and a volume for a target has none of its own"
        remedy = "leave worm_retention_s out, or make a volume of kind nas"
        raise InvalidError(text, reasons=[Reason("no-files", text, remedy, "worm_retention_s")])


def noted(directory: Path, uuid: str, retention_s: int, boot_s: float) -> VolumeMark:
    """Note with a volume what is on record, and its clock as it is now. Raises OSError."""
    found = read_mark(directory)
    clock = VolumeClock() if found is None or found.volume != uuid else found.clock
    mark = VolumeMark(uuid, retention_s, advanced(clock, BOOT_ID.read_text().strip(), boot_s))
    if found != mark:
        write_mark(directory, mark)
    return mark
