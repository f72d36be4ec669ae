"""Snapshots that are readable beside their volume: mounted read-only, until somebody unmounts them."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from pathlib import Path

from holdfast.errors import ConflictError, HoldfastError, InvalidError, Reason
from holdfast.services.documents import VolumeDocument
from holdfast.services.drivers import Drivers
from holdfast.services.jobs import Jobs
from holdfast.services.snapshots.checks import refuse_overflown
from holdfast.services.snapshots.documents import SnapshotDocument, place_of, remove_place, snapshot_lock
from holdfast.services.snapshots.snapshots import Snapshots
from holdfast.services.steps import JobContext, JobDefinition, Step
from holdfast.store.intent import Intents

log = logging.getLogger(__name__)


class SnapshotMounts:
    """Mounts and unmounts them, and mounts them again after a boot."""

    def __init__(
        self,
        volumes: Intents[VolumeDocument],
        kept: Intents[SnapshotDocument],
        snapshots: Snapshots,
        jobs: Jobs,
        drivers: Drivers,
        mount_dir: Path,
    ) -> None:
        self._volumes = volumes
        self._kept = kept
        self._snapshots = snapshots
        self._jobs = jobs
        self._drivers = drivers
        self._mount_dir = mount_dir
        # On record first: what is mounted is known to be in use, and a boot between the two mounts it.
        on = (Step("record", self._record_on, self._record_off), Step("mount", self._mount, self._unmount))
        jobs.define(JobDefinition("snapshot.mount", on))
        off = (Step("unmount", self._unmount, self._mount), Step("record", self._record_off))
        jobs.define(JobDefinition("snapshot.unmount", off))

    async def mount(self, volume: str, name: str, *, validate_only: bool) -> str | None:
        """Make a snapshot readable beside its volume. Mounted already is success."""
        return await self._start("snapshot.mount", volume, name, validate_only=validate_only)

    async def unmount(self, volume: str, name: str, *, validate_only: bool) -> str | None:
        """The contrary. Refused while somebody has something open there."""
        return await self._start("snapshot.unmount", volume, name, validate_only=validate_only)

    async def _start(self, kind: str, volume: str, name: str, *, validate_only: bool) -> str | None:
        async def check() -> None:
            snapshot, document = await self._snapshots.get(volume, name), await self._volumes.get(volume)
            if not document.has_file_system:
                text = f"the volume {volume} has no file system of this node's that could be mounted"
                raise InvalidError(text, reasons=[Reason("no-file-system", text, "clone it to a volume", "volume")])
            if kind == "snapshot.mount":
                refuse_overflown(snapshot)

        if validate_only:
            await check()
            return None
        parameters = {"volume": volume, "name": name}
        return await self._jobs.start(kind, snapshot_lock(volume, name), parameters, check=check)

    async def place(self, volume: str, name: str) -> Path:
        """Where it is mounted, or would be."""
        return place_of(self._mount_dir, await self._volumes.get(volume), name)

    async def restore(self) -> tuple[str, ...]:
        """Mount what is to be mounted, as after a boot; return in sentences what could not be.

        One that overflowed is taken away: it shows nothing, and gives errors to whoever looks.
        """
        wanted = [document for document in (await self._kept.all()).values() if document.is_mounted]
        failed = []
        for document in wanted:
            try:
                lock = snapshot_lock(document.volume, document.name)
                await self._jobs.locks.mend(lock, partial(self._bring_back, document.key))
            except HoldfastError as reason:
                failed.append(f"the snapshot {document.name} of {document.volume} could not be mounted: {reason}")
        return tuple(failed)

    async def _bring_back(self, key: str) -> None:
        kept = await self._kept.find(key)
        if kept is None or not kept.document.is_mounted:
            return
        document = kept.document
        snapshot = await self._snapshots.get(document.volume, document.name)
        place = str(await self.place(document.volume, document.name))
        if not snapshot.is_overflown:
            await self._drivers.volume().mount(snapshot.device, place, read_only=True)
            return
        await self._drivers.volume().unmount(place)
        remove_place(Path(place))
        await self._kept.put(key, replace(document, is_mounted=False))
        log.warning("the snapshot %s overflowed, and is not mounted any more", key)

    # --- steps ---

    async def _record(self, job: JobContext, *, is_mounted: bool) -> None:
        volume, name = job.parameters["volume"], job.parameters["name"]
        kept = await self._kept.find(f"{volume}/{name}")
        document = kept.document if kept is not None else SnapshotDocument(volume, name, None)
        await self._kept.put(document.key, replace(document, is_mounted=is_mounted))
        job.result = await self._snapshots.view(volume, name)

    async def _record_on(self, job: JobContext) -> None:
        await self._record(job, is_mounted=True)

    async def _record_off(self, job: JobContext) -> None:
        await self._record(job, is_mounted=False)

    async def _mount(self, job: JobContext) -> None:
        volume, name = job.parameters["volume"], job.parameters["name"]
        snapshot = await self._snapshots.get(volume, name)
        if snapshot.is_overflown:
            raise ConflictError(f"the snapshot {name} of the volume {volume} overflowed")
        place = await self.place(volume, name)
        await self._drivers.volume().mount(snapshot.device, str(place), read_only=True)
        job.result = await self._snapshots.view(volume, name)

    async def _unmount(self, job: JobContext) -> None:
        volume, name = job.parameters["volume"], job.parameters["name"]
        place = await self.place(volume, name)
        # Where a share shows it, it is mounted again for that by the next look.
        async with self._snapshots.leaving.of(volume, name):
            await self._drivers.volume().unmount(str(place))
            remove_place(place)
